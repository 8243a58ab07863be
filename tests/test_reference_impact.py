"""Versions of reference data at the command line: load, approve, differ, and what it costs."""

import csv
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.installation import Installation
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.impact import impact_of
from billing_assets.reference.schemas import FORMS, json_schema
from billing_assets.reference.yamltext import Located
from tests.support.records import frame, record
from tests.support.references import CARRIER, agreement, partner, reference

GAMBIA = agreement(
    "P07-VOICE", partner="P07", leg="supplier", accounts=["P07-A"], zone="Africa/Banjul",
    increments="60/1", notice={"increase_days": 7},
    sheets=[{"file": "../sheets/old.csv", "received": "2025-12-20"},
            {"file": "../sheets/new.csv", "received": "2026-03-10"}],
)  # fmt: skip
OLD = "code,destination,rate,from\n2207,Gambia Mobile,0.6200,2026-01-01\n"
NEW = "code,destination,rate,from\n2207,Gambia Mobile,0.6600,2026-03-13\n"


class Home:
    """A home with a folder that a test edits, and the command line on it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._patch = root, monkeypatch
        monkeypatch.setenv("ICB_HOME", str(root))
        for name in ("ICB_REFERENCE_DIR", "ICB_LAKE_URI", "ICB_REGISTRY_URL"):
            monkeypatch.delenv(name, raising=False)

    def write(self, files: Mapping[str, Any]) -> None:
        for name, content in files.items():
            path = self.root / "reference" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    def run(self, *words: str, user: str = "ana") -> Result:
        self._patch.setenv("ICB_USER", user)
        return CliRunner().invoke(app, ["reference", *words])

    def json(self, *words: str, user: str = "ana") -> Any:
        result = self.run(*words, "--json", user=user)
        assert result.exit_code == 0, result.output + repr(result.exception)
        return json.loads(result.output)

    def rate(self, *records: dict[str, object]) -> None:
        """Put records into the lake and rate their days by what is in force."""
        home = Installation.open()
        usage = frame(*records)
        for day in usage["day"].unique().sort():
            home.lake.replace_slice(XDR, usage.filter(usage["day"] == day).lazy(), {"day": day})
            plan = compile_plan(home.reference, day, buckets=4)
            rate_day(home.lake, plan)
            home.registry.versions.record_plan(
                plan.version, day, home.reference.version, {}, now=datetime.now(UTC), who="ana"
            )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path, monkeypatch)
    made.write(
        {
            "carrier.yaml": CARRIER,
            "partners/P07.yaml": partner("P07"),
            "partners/P01.yaml": partner("P01"),
            "agreements/P07-VOICE.yaml": {**GAMBIA, "sheets": GAMBIA["sheets"][:1]},
            "agreements/A.yaml": agreement(rates=[{"code": 2207, "rate": "0.7"}]),
            "sheets/old.csv": OLD,
        }
    )
    return made


def calls(first: date, days: int, each: int, seconds: int) -> list[dict[str, object]]:
    """Transit calls of P01 to Gambia Mobile, so many a day."""
    return [
        record(
            int(f"{(first + timedelta(days=day)):%m%d}") * 100_000 + number,
            at=datetime(2026, 3, 1, 10, tzinfo=UTC)
            + (first - date(2026, 3, 1))
            + timedelta(days=day, seconds=number),
            seconds=seconds,
            b="2207123456",
            out_trunk="sw/P07",
        )
        for day in range(days)
        for number in range(each)
    ]


def usage_of_s07(home: Home) -> None:
    """S07: 1,000 calls of 61 s on 13 to 16 March, 500 from 17 March on, some before."""
    home.rate(
        *calls(date(2026, 3, 10), 3, 10, 12),
        *calls(date(2026, 3, 13), 4, 250, 61),
        *calls(date(2026, 3, 17), 5, 100, 61),
    )


def announce(home: Home) -> None:
    home.write({"agreements/P07-VOICE.yaml": GAMBIA, "sheets/new.csv": NEW})


def test_a_sheet_waits_for_a_second_person_and_its_impact_is_known_before(home: Home) -> None:
    assert home.json("load")["in force"] is True
    usage_of_s07(home)
    announce(home)
    assert home.json("load") | {"hash": ""} == {
        "version": 2, "in force": False, "problems": [], "hash": "",
    }  # fmt: skip
    # 500 x (0.671000 - 0.630333), on the days from the end of the notice on, and nothing else
    foreseen = home.json("impact")
    assert foreseen["days"] == [f"2026-03-{day}" for day in range(17, 22)]
    assert foreseen["records"] == 500
    assert Decimal(foreseen["difference"]["EUR"]) == Decimal("20.3335")
    assert foreseen["partners"] == ["P07"]
    assert {row["destination"] for row in foreseen["usage"]} == {"Gambia Mobile"}
    for who in ("ana", " Ana"):
        assert "cannot approve" in str(home.run("approve", "2", user=who).exception)
    assert Installation.open().reference.files.get("sheets/new.csv") is None
    assert home.run("approve", "2", user="bruno").exit_code == 0
    assert "sheets/new.csv" in Installation.open().reference.files
    history = home.json("history")
    assert [(one["version"], one["by"], one["approved by"]) for one in history] == [
        (1, "ana", None), (2, "ana", "bruno"),
    ]  # fmt: skip


def test_what_a_late_notice_may_cost_is_for_dispute(home: Home) -> None:
    """S07: the partner bills 1,000 calls from 13 to 16 March at 0.66: 40.67 too much."""
    announce(home)
    home.json("load")
    usage_of_s07(home)
    claimed = home.json("impact", "--as-claimed")
    assert claimed["days"] == [f"2026-03-{day}" for day in range(13, 17)]
    assert claimed["records"] == 1000
    assert Decimal(claimed["difference"]["EUR"]) == Decimal("40.667")
    told = home.json("check")
    (breach,) = told["notice"]
    assert (breach["code"], breach["asked for"][:10], breach["valid from"][:10]) == (
        "2207", "2026-03-13", "2026-03-17",
    )  # fmt: skip
    assert "Announced too late" in home.run("check").output


def test_a_past_day_is_priced_as_known_then_and_as_known_now(home: Home) -> None:
    home.json("load")
    usage_of_s07(home)
    then = datetime.now(UTC).isoformat()
    announce(home)
    home.json("load")
    home.run("approve", "2", user="bruno")
    now = home.json("impact", "--from", then, "--to", "current")
    assert Decimal(now["difference"]["EUR"]) == Decimal("20.3335")
    back = home.json("impact", "--from", "2", "--to", "1", "--first", "2026-03-18")
    assert Decimal(back["difference"]["EUR"]) == Decimal("-16.2668")
    plans = [home.json("plan", "2026-03-18", "--version", v)["plan"] for v in (then, "1", "2")]
    assert plans[0] == plans[1] != plans[2]
    assert "in force at" in str(home.run("impact", "--from", "2020-01-01").exception)
    assert "names no reference" in str(home.run("impact", "--from", "soon").exception)
    assert "no reference version 9" in str(home.run("diff", "--to", "9").exception)


def test_days_that_stand_on_an_older_sheet_are_told_and_only_those(home: Home) -> None:
    home.json("load")
    usage_of_s07(home)
    assert home.json("stale") == []
    announce(home)
    home.json("load")
    assert home.json("stale") == []
    home.run("approve", "2", user="bruno")
    # a record of the 16th may be rated by a stamp of the 17th, so that day is looked at too
    assert [(one["day"], one["version"], one["partners"]) for one in home.json("stale")] == [
        (f"2026-03-{day}", 1, "P07") for day in range(16, 22)
    ]
    usage_of_s07(home)
    assert home.json("stale") == []


def test_the_difference_names_terms_by_field_and_rates_by_time(home: Home) -> None:
    home.json("load")
    announce(home)
    home.write({"partners/P01.yaml": partner("P01", terms_days=45)})
    home.json("load")
    found = home.json("diff")
    assert {(t["subject"], t["name"], t["field"], t["before"], t["after"])
            for t in found["terms"] if t["subject"] == "partner"} == {
        ("partner", "P01", "terms_days", "30", "45")
    }  # fmt: skip
    (rate,) = found["rates"]
    assert (rate["change"], Decimal(rate["before"]), Decimal(rate["after"])) == (
        "increase", Decimal("0.62"), Decimal("0.66"),
    )  # fmt: skip
    assert (rate["valid_from"][:10], rate["valid_to"]) == ("2026-03-17", None)
    assert "Gambia Mobile" in home.run("diff").output


def test_the_csv_of_an_impact_adds_up_to_its_total(home: Home, tmp_path: Path) -> None:
    home.json("load")
    usage_of_s07(home)
    announce(home)
    home.json("load")
    path = tmp_path / "impact.csv"
    result = home.run("impact", "--csv", str(path))
    assert "500 legs of 5 days change, 2026-03-17 to 2026-03-21" in result.output
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(Decimal(row["difference"]) for row in rows) == Decimal("20.3335")
    assert {row["day"] for row in rows} == {f"2026-03-{day}" for day in range(17, 22)}


def test_loading_is_atomic_a_refused_sheet_leaves_all_of_its_agreement_as_it_was(
    home: Home,
) -> None:
    home.json("load")
    announce(home)
    home.write({"sheets/new.csv": NEW.replace("0.6600", "0,66")})
    result = home.run("load")
    assert result.exit_code == 1
    assert "sheets/new.csv" in result.output
    assert [one["version"] for one in home.json("history")] == [1]


def test_editing_the_folder_changes_nothing_until_it_is_loaded(home: Home) -> None:
    home.json("load")
    before = Installation.open().reference.version
    announce(home)
    assert Installation.open().reference.version == before


# the function itself


@pytest.mark.usefixtures("home")
def test_the_impact_equals_rating_the_days_again() -> None:
    rates = [{"code": 44, "rate": "0.60", "destination": "UK"}, {"code": 33, "rate": "0.10"}]
    moved = [
        {"code": 44, "rate": "0.90", "destination": "UK", "from": "2026-03-11"},
        {"code": 44, "rate": "0.60", "destination": "UK"},
        {"code": 4477, "rate": "0.30", "destination": "UK Mobile", "from": "2026-03-12"},
    ]
    usage = [
        record(day * 10 + n, at=f"2026-03-{day}T12:00:00", b=b)
        for day in range(10, 14)
        for n, b in enumerate(("447700900123", "442071234567", "331234567890"))
    ]
    lake, old, new = (
        Installation.open().lake,
        reference(agreement(rates=rates)),
        reference(agreement(rates=moved)),
    )
    everything = frame(*usage)
    for day in everything["day"].unique():
        lake.replace_slice(XDR, everything.filter(everything["day"] == day).lazy(), {"day": day})
        rate_day(lake, compile_plan(old, day, buckets=4))
    found = impact_of(lake, old, new)
    before, after = [], []
    for one, sums in ((old, before), (new, after)):
        for day in range(10, 14):
            sums.append(rate_day(lake, compile_plan(one, date(2026, 3, day), buckets=4)))
    sums = [sum(day.amounts.get("EUR", Decimal(0)) for day in days) for days in (before, after)]
    # 44: +0.30 on 11 to 13 March and twice that call moves to 0.30 instead; 33: no rate any more
    assert found.total()["EUR"] == sums[1] - sums[0]
    assert found.total()["EUR"] == Decimal("0.30") * 4 - Decimal("0.30") * 2 - Decimal("0.10") * 4
    # a call that moves to another destination stands in two rows
    table = {row["destination"]: row for row in found.by("destination").to_dicts()}
    assert (table["UK Mobile"]["records_before"], table["UK Mobile"]["records_after"]) == (0, 2)
    assert (table["33"]["records_before"], table["33"]["records_after"]) == (4, 0)
    assert found.by("leg")["suspended_after"].sum() == 4
    assert found.records == 10


@pytest.mark.usefixtures("home")
def test_what_changes_no_price_has_no_impact_and_looks_at_no_day() -> None:
    rates = [{"code": 44, "rate": "0.60"}]
    old = reference(agreement(rates=rates))
    new = reference(agreement(rates=rates, title="Another title", contract_reference="X"))
    found = impact_of(Installation.open().lake, old, new)
    assert (found.days, found.records, found.usage.height) == ((), 0, 0)
    assert [c.field for c in found.differences.terms] == ["title", "contract_reference"]


@pytest.mark.usefixtures("home")
def test_a_trunk_that_changes_hands_moves_money_from_one_partner_to_another() -> None:
    rates = [{"code": 44, "rate": "0.60"}]
    both = [agreement("A", rates=rates), agreement("B", rates=rates, partner="P02",
                                                   accounts=["P02-A"])]  # fmt: skip
    trunk = {"trunk": "sw/P01"}

    def of(owner: str):
        partners = [
            partner(name, [{"account": f"{name}-A", "trunks": [trunk] if name == owner else []}])
            for name in ("P01", "P02")
        ]
        return reference(*both, partners=partners)

    lake = Installation.open().lake
    lake.replace_slice(XDR, frame(record(1)).lazy(), {"day": date(2026, 3, 10)})
    rate_day(lake, compile_plan(of("P01"), date(2026, 3, 10), buckets=4))
    found = impact_of(lake, of("P01"), of("P02"))
    sums = dict(found.by("partner").select("partner", "difference").iter_rows())
    assert sums == {"P01": Decimal("-0.6"), "P02": Decimal("0.6")}
    assert found.total() == {"EUR": 0}
    assert lake.scan(RATED_LEG).select("partner").collect().item() == "P01"


# schemas


@pytest.mark.parametrize("form", [name for name, (path, _) in FORMS.items() if "yaml" in path])
def test_the_demo_s_files_fit_their_published_schemas(form: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(form))
    files = sorted((PROJECT_ROOT / "data/demo/reference").glob(FORMS[form][0]))
    assert files or form in ("layouts", "traffic")
    for file in files:
        errors = list(validator.iter_errors(Located(file.read_bytes(), file.name).value))
        assert errors == [], f"{file.name}: {errors[0].json_path} {errors[0].message}"


def test_a_schema_refuses_what_loading_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("agreement"))
    good = {**agreement(), "increments": "60/1", "rates": [{"code": 44, "rate": "0.1"}]}
    assert validator.is_valid(good)
    for wrong in (
        {"tarif": 1}, {"increments": "60"}, {"leg": "x"}, {"from": "20260101"}, {"accounts": []},
        {"sheets": [{"file": "x", "mode": "part"}]}, {"setup_fee": "1,5"},
    ):  # fmt: skip
        assert not validator.is_valid({**good, **wrong}), wrong


def test_schemas_are_written_for_editors(home: Home, tmp_path: Path) -> None:
    assert home.run("schema", "--out", str(tmp_path / "s")).exit_code == 0
    written = {path.name for path in (tmp_path / "s").iterdir()}
    assert written == {f"{name}.schema.json" for name in FORMS}
    assert json.loads(home.run("schema", "agreement").output)["title"] == "Agreement"
    assert isinstance(home.run("schema", "nothing").exception, BillingError)
