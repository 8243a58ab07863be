"""What `icb price` tells of what it does not charge: days, codes, files as the user knows them."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from billing_assets.cli.price import quote
from billing_assets.core.errors import InputError
from tests.support.pricing import priced
from tests.support.references import agreement

CALL = {"duration_s": 60, "b_number": "447412345678"}


def test_a_record_before_its_agreement_is_of_the_agreement_s_local_day(tmp_path: Path) -> None:
    terms = {"from": "2026-03-11", "zone": "America/New_York", "rates": [{"code": 44, "rate": 1}]}
    usage = [
        {**CALL, "start": "2026-03-11T01:30:00Z"},
        {**CALL, "start": "2026-03-11T04:00:00Z"},
    ]
    early, first = priced(tmp_path, [terms], usage)["legs"]
    assert (early["reason"], early["local_day"]) == ("NO_AGREEMENT", date(2026, 3, 10))
    assert (first["reason"], first["local_day"]) == ("", date(2026, 3, 11))


def test_a_blocked_code_is_named_where_the_call_begins_and_where_it_is_met(tmp_path: Path) -> None:
    bands = {"windows": [{"band": "day", "from": "08:00", "to": "20:00"}], "otherwise": "night"}
    rates = [
        {"code": 44, "rate": 1},
        {"code": 4474, "rate": 1, "band": "day"},
        {"code": 4474, "status": "blocked", "band": "night"},
    ]
    usage = [
        {**CALL, "start": f"2026-03-10T{start}:00Z", "answered": answered}
        for start, answered in (("21:00", "yes"), ("19:59", "yes"), ("21:00", "no"))
    ]
    usage[1]["duration_s"] = 120
    legs = priced(tmp_path, [{"bands": bands, "crossing": "split", "rates": rates}], usage)["legs"]
    assert [(leg["reason"], leg["code"]) for leg in legs] == [
        ("BLOCKED_CODE", "4474"),
        ("BLOCKED_CODE", "4474"),
        ("", ""),
    ]


def priced_with_sheets(folder: Path, forms: dict[str, Any], files: dict[str, str]) -> dict:
    for name, text in {**{n: json.dumps(form) for n, form in forms.items()}, **files}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    usage = folder / "usage.jsonl"
    usage.write_text(json.dumps({**CALL, "start": "2026-03-10T12:00:00Z"}))
    paths = [folder / name for name in forms]
    return quote(paths, usage, calendar=None, month="", zone="UTC")


def test_a_breach_names_the_sheet_as_the_user_does_and_times_of_the_agreement(
    tmp_path: Path,
) -> None:
    sheets = [
        {"file": "sheets/old.csv", "received": "2026-01-01"},
        {"file": "sheets/new.csv", "received": "2026-03-01"},
    ]
    form = agreement(zone="America/New_York", notice={"increase_days": 7}, sheets=sheets)
    files = {
        "sheets/old.csv": "code,rate\n44,0.1\n",
        "sheets/new.csv": "code,rate,from\n44,0.2,2026-03-03\n",
    }
    (breach,) = priced_with_sheets(tmp_path, {"A.yaml": form}, files)["breaches"]
    assert breach["file"] == str(tmp_path / "sheets/new.csv")
    assert str(breach["requested"]) == "2026-03-03 00:00:00-05:00"
    assert str(breach["loaded"]) == "2026-03-08 00:00:00-05:00"


def test_agreements_that_are_counted_together_have_one_layouts_file(tmp_path: Path) -> None:
    sheet = {"sheets": [{"file": "../s.csv", "layout": "x"}]}
    discount = {
        "rule": "d", "model": "discount", "period": "month", "agreements": ["A", "B"],
        "tiers": [{"discount": "0.1"}],
    }  # fmt: skip
    forms = {
        "a/A.yaml": agreement("A", **sheet),
        "b/B.yaml": agreement("B", accounts=["P01-B"], volume=[discount], **sheet),
    }
    layout = {"columns": {"code": "c", "rate": "r"}, "ignore": ["q"]}
    other = {"columns": {"code": "c", "rate": "q"}, "ignore": ["r"]}
    files = {
        "s.csv": "c,r,q\n44,0.1,0.2\n",
        "a/layouts.yaml": json.dumps({"x": layout}),
        "b/layouts.yaml": json.dumps({"x": layout}),
    }
    assert priced_with_sheets(tmp_path, forms, files)["legs"]
    with pytest.raises(InputError) as refused:
        priced_with_sheets(tmp_path, forms, {**files, "b/layouts.yaml": json.dumps({"x": other})})
    assert [(Path(p.file).parent.name, p.message) for p in refused.value.problems] == [
        (folder, "differs from that of an agreement that is counted with this")
        for folder in ("a", "b")
    ]
