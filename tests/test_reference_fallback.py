"""What stays in force when a file changes so that another one no longer goes with it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from billing_assets.reference.load import Loaded, load_reference
from tests.support.references import agreement, partner, reference_files

RATES = [{"code": 44, "rate": "0.1"}]
LATER = {"from": "2026-03-01"}


def after(good: Mapping[str, bytes], new: Mapping[str, bytes]) -> Loaded:
    """The new files loaded over good ones."""
    before = load_reference(good)
    assert not before.problems
    return load_reference(new, before.in_force)


def keys(result: Loaded) -> list[str]:
    return [one.terms.key for one in result.reference.agreements]


@pytest.mark.parametrize("names", [("A", "Z"), ("Z", "A")])
def test_a_new_agreement_that_overlaps_one_in_force_is_the_one_left_out(
    names: tuple[str, str],
) -> None:
    old, new = (agreement(name, rates=RATES) for name in names)
    result = after(reference_files([old]), reference_files([old, new]))
    assert keys(result) == [f"{names[0]}@1"]
    assert f"agreements/{names[1]}-1.yaml" in {problem.file for problem in result.problems}


def test_a_trunk_that_a_new_partner_claims_stays_with_its_partner() -> None:
    taking = partner("P01", [{"account": "P01-A", "trunks": [{"trunk": "sw/P02"}]}])
    old = [partner("P01"), partner("P02")]
    result = after(reference_files([], old), reference_files([], [taking, old[1]]))
    trunks = {
        name: [trunk.trunk for account in one.accounts for trunk in account.trunks]
        for name, one in result.reference.partners.items()
    }
    assert trunks == {"P01": ["sw/P01"], "P02": ["sw/P02"]}
    assert [str(problem) for problem in result.problems][-1] == (
        "partners/P01.yaml: does not go with partners/P02.yaml, which is as it was: "
        "its last good version stays"
    )


def test_what_an_agreement_in_force_needs_is_neither_removed_nor_changed() -> None:
    bands = {"calendar": "x", "windows": [{"band": "h", "days": ["holiday"]}], "otherwise": "o"}
    old = reference_files(
        [agreement("A", rates=RATES, bands=bands)],
        calendars={"x": {"holidays": ["2026-01-01"]}},
    )
    moved = partner("P01", [{"account": "P01-B"}])
    for change, said in (
        ({"partners/P01.yaml": None}, "partners/P01.yaml: stays: agreements/A-1.yaml needs it"),
        ({"calendars.yaml": None}, "calendars.yaml: stays: agreements/A-1.yaml needs it"),
        (
            {"partners/P01.yaml": json.dumps(moved).encode()},
            "partners/P01.yaml: does not go with agreements/A-1.yaml, which is as it was: "
            "its last good version stays",
        ),
    ):
        new = {path: content for path, content in {**old, **change}.items() if content}
        result = after(old, new)
        assert result.in_force == old
        assert str(result.problems[-1]) == said


def test_a_layout_that_no_longer_reads_a_sheet_in_force_gives_way() -> None:
    form = agreement("A", sheets=[{"file": "../sheets/a.csv", "layout": "x"}])
    old = reference_files([form], sheets={"a.csv": "code,rate\n44,0.1\n"})
    old["layouts.yaml"] = b'{"x": {"columns": {"code": "code", "rate": "rate"}}}'
    changed = b'{"x": {"columns": {"code": "code", "rate": "Preis"}}}'
    result = after(old, {**old, "layouts.yaml": changed})
    assert result.in_force == old and keys(result) == ["A@1"]


def test_what_goes_with_nothing_is_removed_with_what_needed_it() -> None:
    old = reference_files([agreement("A", rates=RATES)], [partner("P01"), partner("P02")])
    new = reference_files([], [partner("P02")])
    result = after(old, new)
    assert not result.problems and result.in_force == new


# partners and files that would be silent


@pytest.mark.parametrize(
    ("trunks", "said"),
    [
        ([{"trunk": "sw/1", "from": "2026-03-02", "to": "2026-03-02"}], "ends before it begins on"),
        ([{"trunk": "sw/OWN"}], "is a trunk of our own (own_trunks in carrier.yaml)"),
    ],
)
def test_a_mapping_that_would_hold_for_no_usage_is_refused(trunks: list, said: str) -> None:
    files = reference_files([], [partner("P01", [{"account": "P01-A", "trunks": trunks}])])
    (problem,) = load_reference(files).problems
    assert problem.file == "partners/P01.yaml" and said in problem.message


def test_an_account_stands_in_its_partner_once() -> None:
    accounts = [{"account": "P01-A", "trunks": [{"trunk": f"sw/{n}"}]} for n in (1, 2)]
    (problem,) = load_reference(reference_files([], [partner("P01", accounts)])).problems
    assert problem.field == "accounts" and problem.message == "account P01-A stands twice"


@pytest.mark.parametrize("name", ["agreements/B.yml", "partners/P09.YAML", "calender.yaml"])
def test_yaml_that_nobody_reads_is_refused_and_the_rest_loads(name: str) -> None:
    files = reference_files([agreement("A", rates=RATES)])
    result = load_reference({**files, name: b"x: 1", "README.md": b"", "sheets/new.csv": b"x"})
    (problem,) = result.problems
    assert problem.file == name and "is not read: known are calendars.yaml" in problem.message
    assert keys(result) == ["A@1"]


# versions of one agreement


def test_versions_in_the_wrong_order_name_both_files_and_the_old_one_stays() -> None:
    old = agreement("A", rates=RATES, **LATER)
    new = agreement("A", version=2, rates=RATES, **{"from": "2026-02-01"})
    both = reference_files([old, new])
    assert str(load_reference(both).problems[0]) == (
        "agreements/A-1.yaml:1 from='2026-03-01': version 2 in agreements/A-2.yaml begins on "
        "2026-02-01, not after version 1"
    )
    assert keys(after(reference_files([old]), both)) == ["A@1"]


def test_one_version_in_two_files_is_told_once_with_both() -> None:
    old = reference_files([agreement("A", rates=RATES)])
    result = after(old, {**old, "agreements/0.yaml": old["agreements/A-1.yaml"]})
    (problem,) = result.problems
    assert problem.file == "agreements/0.yaml"
    assert problem.message == "version 1 stands in agreements/A-1.yaml too"
    assert result.in_force == old


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partner": "P02", "accounts": ["P02-A"]}, "is of P02"),
        ({"leg": "supplier"}, "is of supplier"),
        ({"service": "sms"}, "is of sms"),
    ],
)
def test_a_later_version_of_another_partner_leg_or_service_is_refused(
    change: dict[str, Any], said: str
) -> None:
    old = agreement("A", rates=RATES)
    new = agreement("A", **{"version": 2, "rates": RATES, **LATER, **change})
    partners = [partner("P01"), partner("P02")]
    result = after(reference_files([old], partners), reference_files([old, new], partners))
    assert said in result.problems[0].message and keys(result) == ["A@1"]
    other = {**new, "agreement": "B", "accounts": ["P02-A"], "partner": "P02"}
    assert not load_reference(reference_files([old, other], partners)).problems
