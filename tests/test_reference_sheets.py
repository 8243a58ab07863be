"""Rate sheets as they are received: layouts, full sheets, markers, notice, what a sheet hides."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from billing_assets.core.errors import InputError, Problem
from billing_assets.reference.findings import Kind
from billing_assets.reference.load import Loaded
from billing_assets.reference.standalone import Standalone, standalone_reference
from tests.support.references import agreement
from tests.support.sheets import found, good, load, rates, workbook

# layouts


def test_a_header_may_stand_anywhere_in_the_words_that_carriers_use() -> None:
    text = (
        "Nordsee Carrier Services;;;\n"
        "Rate amendment 17;valid for all routes;;\n"
        ";;;\n"
        "Destination;Country Code;Area Codes;Rate;Effective Date;Billing Increment;Comment\n"
        "UK Mobile;44;7400-7409, 7420;0,0210;13.03.2026;60-60;good\n"
        "All rates are in EUR and exclude value added tax;;;\n"
    ).replace("0,0210", "EUR 0.0210")
    result = good([({"layout": "common"}, text)])
    assert rates(result) == {(44740, "0.0210", "03-13", None), (447420, "0.0210", "03-13", None)}
    rows = result.reference.agreements[0].deck.rows
    assert rows.select("row", "first_units", "next_units", "destination").unique().rows() == [
        (5, 60, 60, "UK Mobile")
    ]
    ((_, message),) = found(result, Kind.PASSED_OVER)
    assert message == "is no row of rates"


def test_rates_and_codes_on_two_worksheets_are_joined_by_destination() -> None:
    book = workbook(
        {
            "Read me": [["Prices per minute"]],
            "Rates": [["Destination", "Rate"], ["UK  mobile", 0.021], ["Haiti", 0.21]],
            "Codes": [["Code", "Destination"], ["447400-447409", "UK Mobile"], [509, "Haiti"],
                      [33, "France"]],
        }
    )  # fmt: skip
    result = good([({"layout": "common"}, book)])
    assert {(code, rate) for code, rate, *_ in rates(result)} == {
        (44740, "0.0210"),
        (509, "0.2100"),
    }
    assert found(result, Kind.PASSED_OVER) == [("France", "has codes but no rate")]


def test_worksheets_that_a_layout_names_must_be_there() -> None:
    layout = {"columns": {"code": "Code", "rate": "Rate"}, "rates": "Prices"}
    book = workbook({"Old": [["Code", "Rate"], [44, 1]], "Prices": [["Code", "Rate"], [33, 2]]})
    assert {c for c, *_ in rates(good([({"layout": "x"}, book)], layouts={"x": layout}))} == {33}
    missing = load(
        [({"layout": "x"}, workbook({"Old": [["Code", "Rate"]]}))], layouts={"x": layout}
    )
    assert "has no worksheet 'Prices'" in missing.problems[0].message
    assert load([({"layout": "y"}, book)]).problems[0].field == "layout"


def test_a_jurisdictional_sheet_has_three_prices_a_row() -> None:
    text = (
        "code,duration,increment,interrate,intrarate,ijrate,effective_date\n"
        "1212,6,6,0.0070,0.0110,0.0120,2026-02-01\n"
    )
    result = good(
        [({"layout": "nanp-jurisdiction"}, text)], jurisdiction={"states": {"NY": [1212]}}
    )
    rows = result.reference.agreements[0].deck.rows
    assert set(rows.select("origin", "price_e10", "first_units", "next_units").rows()) == {
        ("INTER", 70_000_000, 6, 6),
        ("INTRA", 110_000_000, 6, 6),
        ("INDETERMINATE", 120_000_000, 6, 6),
    }


def test_a_column_that_the_layout_does_not_name_is_refused_not_dropped() -> None:
    text = "Destination,Code,Rate,Setup Charge\nUK,44,0.01,0.05\n"
    (problem,) = load([({"layout": "common"}, text)]).problems
    assert (problem.row, problem.field, problem.value) == (1, "header", "Setup Charge")


def test_a_column_that_is_none_of_ours_is_refused_where_it_is_mapped() -> None:
    said = "setupfee is not a column of a rate sheet; known: code, country_code, destination"
    text = "code,rate,Fee\n44,1,0.5\n"
    entry = {"columns": {"code": "code", "rate": "rate", "setupfee": "Fee"}}
    (problem,) = load([(entry, text)]).problems
    assert (problem.file, problem.row) == ("agreements/A.yaml", 1)
    assert (problem.field, problem.value) == ("sheets.0.columns.setupfee", "setupfee")
    assert problem.message.startswith(said)
    told = load([({"layout": "x"}, text)], layouts={"x": entry}).problems[0]
    assert (told.file, told.row, told.field) == ("layouts.yaml", 1, "x.columns.setupfee")
    assert told.message.startswith(said)
    fee = good([({"columns": {"setup_fee": "Fee"}}, text)]).reference.agreements[0].deck.rows
    assert fee["setup_fee_e10"].to_list() == [5 * 10**9]


# what spreadsheets do


MANGLED = [
    ("code,rate\n4.474E+05,1\n", "code", "4.474E+05", "cut to a few digits"),
    ("code,rate\n3.51E+11,1\n", "code", "3.51E+11", "cut to a few digits"),
    ("code,rate\n01/02/2026,1\n", "code", "01/02/2026", "is a date that a spreadsheet made"),
    ("code,rate\n2-Jan,1\n", "code", "2-Jan", "is a date that a spreadsheet made"),
    ("code,rate\n44,5.4E-05\n", "rate", "5.4E-05", "cut to a few digits"),
    ("code,rate,from\n44,1,31/02/2026\n", "from", "31/02/2026", "not a day of the calendar"),
    ("code,rate,from\n44,1,03/04/2026\n", "from", "03/04/2026", "may have the day or the month"),
    ("code,rate,currency\n44,1,USD\n", "currency", "USD", "not the agreement's currency, EUR"),
    ("code,rate,status\n44,1,gone\n", "status", "gone", "no word for a status"),
    ("code,rate\n44,1,9\n", "row", "9", "right of the last column"),
]


@pytest.mark.parametrize(
    ("text", "field", "value", "message"), MANGLED, ids=[m[2] for m in MANGLED]
)
def test_what_cannot_be_read_for_sure_is_refused_with_its_cell(
    text: str, field: str, value: str, message: str
) -> None:
    (problem, *_) = load([({}, text)]).problems
    assert (problem.file, problem.row, problem.field, problem.value) == (
        "sheets/0.csv", 2, field, value,
    )  # fmt: skip
    assert message in problem.message


def test_a_range_or_an_increment_that_a_workbook_turned_into_a_date_is_refused() -> None:
    book = workbook({"Rates": [["code", "rate", "increments"],
                               [date(2026, 2, 1), 0.1, date(2026, 6, 6)]]})  # fmt: skip
    assert {(p.row, p.field) for p in load([({}, book)]).problems} == {
        (2, "code"),
        (2, "increments"),
    }


@pytest.mark.parametrize(("other", "first_day"), [("13/03/2026", "04-03"), ("03/13/2026", "03-04")])
def test_the_order_of_day_and_month_is_told_by_the_whole_column(other: str, first_day: str) -> None:
    result = good([({}, f"code,rate,from\n44,1,03/04/2026\n33,1,{other}\n")])
    days = {code: day for code, _, day, _ in rates(result)}
    assert days == {44: first_day, 33: "03-13"}
    assert len(found(result, Kind.MANGLED)) == 1
    mixed = load([({}, "code,rate,from\n44,1,13/04/2026\n33,1,04/13/2026\n")])
    assert "the day first and with the month first" in mixed.problems[0].message
    told = {"columns": {"code": "code", "rate": "rate", "from": "from"}, "dates": "mdy"}
    stated = good([({"layout": "x"}, "code,rate,from\n44,1,03/04/2026\n")], layouts={"x": told})
    assert rates(stated) == {(44, "1.0000", "03-04", None)}


def test_dates_of_which_a_workbook_turned_some_are_refused() -> None:
    book = workbook({"R": [["code", "rate", "from"], [44, 1, "13/03/2026"],
                           [33, 1, date(2026, 12, 3)]]})  # fmt: skip
    (problem,) = load([({}, book)]).problems
    assert (problem.row, problem.value) == (3, "2026-12-03")
    assert "has turned some" in problem.message


def test_a_spreadsheet_s_day_number_is_read_and_told() -> None:
    result = good([({}, "code,rate,from\n44,1,46094\n")])
    assert rates(result) == {(44, "1.0000", "03-13", None)}
    assert found(result, Kind.MANGLED) == [("46094", "is a spreadsheet's number of 2026-03-13")]


def test_a_decimal_comma_is_read_where_the_layout_says_so() -> None:
    layout = {"columns": {"code": "Code", "rate": "Preis"}, "decimal": ","}
    result = good([({"layout": "x"}, "Code;Preis\n44;0,0125\n")], layouts={"x": layout})
    assert rates(result) == {(44, "0.0125", "01-01", None)}


# full sheets and amendments

FIRST = "code,destination,rate,from\n" + "".join(
    f"{code},{name},{rate},2026-01-01\n"
    for code, name, rate in [
        (44, "UK", "0.0100"), (447, "UK Mobile", "0.0200"), (33, "France", "0.0100"),
        (336, "France Mobile", "0.0300"), (49, "Germany", "0.0100"),
        (491, "Germany Mobile", "0.0200"),
    ]
)  # fmt: skip


def test_an_amendment_leaves_alone_what_it_leaves_out_and_a_full_sheet_withdraws_it() -> None:
    changed = "code,destination,rate\n447,UK Mobile,0.0190\n"
    amended = good([({}, FIRST), ({"effective": "2026-03-01"}, changed)])
    assert len(rates(amended)) == 7
    assert (447, "0.0200", "01-01", "03-01") in rates(amended)
    rest = "".join(line for line in FIRST.splitlines(keepends=True) if not line.startswith("491"))
    full = good([({}, FIRST), ({"mode": "full", "effective": "2026-03-01"}, rest)])
    assert (491, "0.0200", "01-01", "03-01") in rates(full)
    assert (447, "0.0200", "01-01", None) in rates(full)
    assert [value for value, _ in found(full, Kind.WITHDRAWN)] == ["491"]


def test_a_full_sheet_that_drops_over_a_fifth_of_the_codes_must_be_confirmed() -> None:
    half = "".join(FIRST.splitlines(keepends=True)[:5])
    entry = {"mode": "full", "effective": "2026-03-01"}
    (problem,) = load([({}, FIRST), (entry, half)]).problems
    assert problem.file == "sheets/1.csv"
    assert "leaves out 2 of 6 codes in force" in problem.message
    confirmed = good([({}, FIRST), ({**entry, "drop_confirmed": True}, half)])
    assert {code for code, *_, end in rates(confirmed) if end == "03-01"} == {49, 491}
    dates = half + "7,Russia,0.1,2026-02-01\n"
    assert load([({}, FIRST), ({"mode": "full"}, dates)]).problems[0].field == "effective"


def test_a_withdrawn_code_falls_back_to_a_shorter_one_from_its_date() -> None:
    gone = "code,rate,status,from\n447,,Deleted,2026-03-05\n"
    result = good([({}, FIRST), ({}, gone)])
    assert {row for row in rates(result) if row[0] in (44, 447)} == {
        (44, "0.0100", "01-01", None),
        (447, "0.0200", "01-01", "03-05"),
    }


def test_a_full_sheet_ends_what_was_announced_before_it() -> None:
    announced = "code,destination,rate,from\n44,UK,0.0500,2026-06-01\n"
    result = good(
        [({}, FIRST), ({}, announced), ({"mode": "full", "effective": "2026-03-01"}, FIRST)]
    )
    assert (44, "0.0100", "01-01", None) in rates(result)
    assert [value for value, _ in found(result, Kind.SUPERSEDED)] == ["2026-06-01"]


def test_the_same_instant_twice_is_refused_or_the_last_wins_but_never_silently() -> None:
    twice = "code,rate\n44,1\n44,2\n"
    assert [p.row for p in load([({}, twice)]).problems] == [2, 3]
    result = good([({"duplicates": "last"}, twice)])
    assert rates(result) == {(44, "2.0000", "01-01", None)}
    assert len(found(result, Kind.DUPLICATE)) == 1
    again = "code,destination,rate,from\n44,UK,0.0110,2026-01-01\n"
    (problem,) = load([({}, FIRST), ({}, again)]).problems
    assert "stands otherwise in an earlier sheet" in problem.message
    corrected = good([({}, FIRST), ({"duplicates": "last"}, again)])
    assert (44, "0.0110", "01-01", None) in rates(corrected)
    repeated = good([({}, FIRST), ({}, FIRST)])
    assert rates(repeated) == rates(good([({}, FIRST)]))


# markers, outliers, notice


def test_markers_are_computed_and_disagreement_with_the_sender_s_is_told() -> None:
    text = (
        "code,destination,rate,status,from\n"
        "44,UK,0.0120,decrease,2026-03-01\n"
        "447,UK Mobile,0.0200,unchanged,2026-03-01\n"
        "33,France,0.0090,Decreased,2026-03-01\n"
        "336,France Premium,0.0400,increase,2026-03-01\n"
        "491,Germany,0.0250,code moved to Germany,2026-03-01\n"
        "351,Portugal,0.0100,increase,2026-03-01\n"
        "49,Germany,0.0100,pending,2026-03-01\n"
    )
    result = good([({}, FIRST), ({}, text)])
    assert found(result, Kind.MARKER) == [
        ("decrease", "is increase from 0.01 to 0.012"),
        ("increase", "is new"),
        ("France Premium", "is increase from 0.03 to 0.04, moved from France Mobile"),
    ]
    assert (49, "0.0100", "01-01", None) in rates(result)


def test_a_blocked_code_stops_and_prices_that_look_wrong_are_told() -> None:
    text = (
        "code,destination,rate,status,increments,previous_rate,from\n"
        "44,UK,0.1000,,1/1,0.0100,2026-03-01\n"
        "447,UK Mobile,0,,1/1,0.0200,2026-03-01\n"
        "33,France,0.0100,,60/60,0.0150,2026-03-01\n"
        "336,France Mobile,,Blocked,1/1,,2026-03-01\n"
    )
    result = good([({}, FIRST), ({}, text)])
    assert found(result, Kind.OUTLIER) == [("0.1", "was 0.01: ten times apart or more")]
    assert [value for value, _ in found(result, Kind.ZERO)] == ["0"]
    assert found(result, Kind.INCREMENTS) == [("60/60", "was 1/1")]
    assert found(result, Kind.PREVIOUS_RATE) == [("0.015", "is not what was in force, 0.01")]
    rows = result.reference.agreements[0].deck.rows
    assert rows.filter(rows["status"] == "blocked")["code"].to_list() == [336]


def test_prices_that_all_change_by_one_factor_may_be_in_another_currency() -> None:
    dollars = "code,destination,rate,from\n" + "".join(
        f"{code},{name},{rate},2026-03-01\n"
        for code, name, rate in [
            (44, "UK", "0.01085"), (447, "UK Mobile", "0.0217"), (33, "France", "0.01085"),
            (336, "France Mobile", "0.03255"), (49, "Germany", "0.01085"),
        ]
    )  # fmt: skip
    one_destination = dollars.replace("UK Mobile", "UK").replace("France Mobile", "France")
    assert found(good([({}, FIRST), ({}, one_destination)]), Kind.OTHER_CURRENCY) == []
    ((_, message),) = found(good([({}, FIRST), ({}, dollars)]), Kind.OTHER_CURRENCY)
    assert "5 of 5 prices change by one factor, about 1.085" in message


def change(text: str, received: str, notice: Mapping[str, object], zone: str = "UTC") -> Loaded:
    entry = {"received": received}
    return good(
        [({}, FIRST), (entry, f"code,destination,rate,from\n{text}")], notice=notice, zone=zone
    )


def test_an_increase_without_its_notice_is_loaded_at_its_earliest_valid_day() -> None:
    """B09: sent on 10 March, asking for 13 March, with seven days of notice."""
    result = change("44,UK,0.0120,2026-03-13\n", "2026-03-10", {"increase_days": 7})
    assert {r for r in rates(result) if r[0] == 44} == {
        (44, "0.0100", "01-01", "03-17"), (44, "0.0120", "03-17", None),
    }  # fmt: skip
    (breach,) = result.reference.breaches
    assert (breach.code, breach.change, breach.destination) == ("44", "increase", "UK")
    assert (breach.requested.date(), breach.loaded.date()) == (date(2026, 3, 13), date(2026, 3, 17))


@pytest.mark.parametrize(
    ("row", "notice", "day"),
    [
        ("44,UK,0.0120,2026-03-17\n", {"increase_days": 7}, "03-17"),
        ("44,UK,0.0120,2026-03-16\n", {"increase_days": 7}, "03-17"),
        ("44,UK,0.0090,2026-03-10\n", {"increase_days": 7}, "03-10"),
        ("44,UK,0.0090,2026-03-10\n", {"decrease_days": 1}, "03-11"),
        ("351,Portugal,0.0090,2026-03-10\n", {"increase_days": 7}, "03-10"),
        ("351,Portugal,0.0090,2026-03-10\n", {"new_days": 7}, "03-17"),
    ],
)
def test_each_kind_of_change_has_its_own_notice(
    row: str, notice: Mapping[str, object], day: str
) -> None:
    result = change(row, "2026-03-10", notice)
    assert max(r[2] for r in rates(result)) == day


@pytest.mark.parametrize(
    ("received", "zone", "day"),
    [
        ("2026-03-10T16:59:59", "Africa/Banjul", "03-17"),
        ("2026-03-10T17:00:01", "Africa/Banjul", "03-18"),
        # 16:30 in UTC is 18:30 in Riyadh's evening, and 23:30 is the next day there
        ("2026-03-10T16:30:00Z", "Asia/Riyadh", "03-18"),
        ("2026-03-10T21:30:00Z", "Asia/Riyadh", "03-18"),
        ("2026-03-10", "Asia/Riyadh", "03-17"),
    ],
)
def test_notice_counts_before_the_cut_off_in_the_contract_s_zone(
    received: str, zone: str, day: str
) -> None:
    notice = {"increase_days": 7, "cut_off": "17:00"}
    (breach,) = change("44,UK,0.0120,2026-03-13\n", received, notice, zone).reference.breaches
    assert f"{breach.loaded.astimezone(ZoneInfo(zone)):%m-%d %H:%M}" == f"{day} 00:00"


def test_a_coarser_increment_at_the_same_rate_is_an_increase() -> None:
    text = "code,destination,rate,increments,from\n44,UK,0.0100,60/60,2026-03-13\n"
    result = good([({}, FIRST), ({"received": "2026-03-10"}, text)], notice={"increase_days": 7})
    assert [b.change for b in result.reference.breaches] == ["increase"]


def test_codes_that_a_full_sheet_leaves_out_have_their_notice_too() -> None:
    rest = "".join(line for line in FIRST.splitlines(keepends=True) if not line.startswith("491"))
    entry = {"mode": "full", "effective": "2026-03-11", "received": "2026-03-10"}
    result = good([({}, FIRST), (entry, rest)], notice={"withdrawal_days": 7})
    assert (491, "0.0200", "01-01", "03-17") in rates(result)
    (breach,) = result.reference.breaches
    assert (breach.code, breach.change, breach.row) == ("491", "withdrawn", None)


def test_a_past_date_is_kept_and_told_as_retroactive() -> None:
    result = change("44,UK,0.0120,2026-02-01\n", "2026-03-10", {})
    assert (44, "0.0120", "02-01", None) in rates(result)
    ((value, message),) = found(result, Kind.RETROACTIVE)
    assert value == "2026-02-01"
    assert message.startswith("increase of UK is before the sheet came: kept")


def test_an_agreement_alone_is_priced_with_the_layouts_beside_it(tmp_path: Path) -> None:
    layout = {"own": {"columns": {"code": "Vorwahl", "rate": "Preis"}, "decimal": ","}}
    (tmp_path / "layouts.yaml").write_text(json.dumps(layout))
    (tmp_path / "s.csv").write_text("Vorwahl;Preis\n44;0,0125\n")
    path = tmp_path / "A.yaml"
    path.write_text(json.dumps(agreement(sheets=[{"file": "s.csv", "layout": "own"}])))
    (version,) = standalone_reference([path]).versions("A")
    assert version.deck.rows["price_e10"].to_list() == [125_000_000]


# agreements alone

CAPACITY = {
    "capacity": "c", "title": "C", "commit": 1, "commit_price": 1, "burst_price": 1,
    "ports": ["p"], "from": "2026-01-01",
}  # fmt: skip


def alone(folder: Path, files: Mapping[str, object], *names: str) -> Standalone:
    """The reference of the agreements of some names, beside some files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text)
    return standalone_reference([folder / name for name in names])


def refused(folder: Path, files: Mapping[str, object], *names: str) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as told:
        alone(folder, files, *names)
    return told.value.problems


@pytest.mark.parametrize(
    "name",
    ["../" * 40 + "..", "../" * 40 + "etc/hostname", "..", "x" * 300, "x" * 300 + "/s.csv", "\0",
     "a**.csv", "**/s.csv", "[", "/etc/hostname", "own.yaml"],
)  # fmt: skip
def test_a_name_that_no_sheet_and_no_samples_have_is_told_where_it_stands(
    name: str, tmp_path: Path
) -> None:
    terms = {"sheets": [{"file": name}], "capacity": [{**CAPACITY, "samples": name}]}
    found = refused(tmp_path, {"own.yaml": agreement(**terms)}, "own.yaml")
    assert [(p.file, p.row, p.field, p.value) for p in found] == [
        (str(tmp_path / "own.yaml"), 1, "capacity.0.samples", name),
    ]
    del terms["capacity"]
    (problem,) = refused(tmp_path, {"own.yaml": agreement(**terms)}, "own.yaml")
    assert (problem.file, problem.row) == (str(tmp_path / "own.yaml"), 1)
    assert (problem.field, problem.value) == ("file", name)
    assert problem.message == "names a sheet that does not exist"


@pytest.mark.parametrize("pattern", ["port-*.csv", "port**.csv", "port-[12].csv", "port-?.csv"])
def test_samples_beside_an_agreement_are_those_that_their_pattern_names(
    pattern: str, tmp_path: Path
) -> None:
    samples = "port,at,mbps\np,2026-03-{:02d}T00:00:00Z,1\n"
    files = {f"port-{n}.csv": samples.format(n) for n in (1, 2)} | {"other.csv": "none"}
    own = agreement(capacity=[{**CAPACITY, "samples": pattern}])
    found = alone(tmp_path, {**files, "own.yaml": own}, "own.yaml").reference.samples
    assert sorted(Path(path).name for path in found) == ["port-1.csv", "port-2.csv"]


def test_agreements_whose_names_differ_by_their_ending_alone_are_kept_apart(tmp_path: Path) -> None:
    files = {"x": agreement("X", rates=[]), "x.yaml": agreement("Y", rates=[])}
    both = alone(tmp_path, files, "x", "x.yaml", "x.yaml")
    assert [a.terms.agreement for a in both.reference.agreements] == ["X", "Y"]
    late = {name: {**one, "to": "2025-12-31"} for name, one in files.items()}
    found = refused(tmp_path, late, "x", "x.yaml")
    assert [(p.file, p.row, p.field, p.value) for p in found] == [
        (str(tmp_path / "x"), 1, "to", "2025-12-31"),
        (str(tmp_path / "x.yaml"), 1, "to", "2025-12-31"),
    ]


def test_problems_name_files_by_paths_that_the_user_knows(tmp_path: Path) -> None:
    own, other = (agreement(name, rates=[]) for name in ("A", "B"))
    bands = {"calendar": "c", "windows": [{"band": "b"}]}
    calendars = {"calendars.yaml": "c: {holidays: [x]}"}
    found = refused(tmp_path, {**calendars, "own/a.yaml": {**own, "bands": bands}}, "own/a.yaml")
    assert [(p.file, p.row, p.field, p.value) for p in found] == [
        (str(tmp_path / "calendars.yaml"), 1, "c.holidays.0", "x"),
        (str(tmp_path / "own/a.yaml"), 1, "calendar", "c"),
    ]
    assert found[1].message == f"is not in {tmp_path / 'calendars.yaml'}"
    (tmp_path / "calendars.yaml").unlink()
    (problem,) = refused(tmp_path, {"fixings.csv": "a\n", "own/a.yaml": own}, "own/a.yaml")
    assert (problem.file, problem.row) == (str(tmp_path / "fixings.csv"), 1)
    (tmp_path / "fixings.csv").unlink()
    layouts = {"layouts.yaml": "x: {dates: ymd}", "own/a.yaml": own}
    (problem,) = refused(tmp_path, layouts, "own/a.yaml")
    assert (problem.file, problem.row) == (str(tmp_path / "layouts.yaml"), 1)
    (tmp_path / "layouts.yaml").unlink()
    rule = {"rule": "r", "model": "bundle", "period": "month", "included": 1, "fee": 1}
    files = {"own/a.yaml": {**own, "volume": [{**rule, "agreements": ["B"]}]}, "own/b.yaml": other}
    (problem, *_) = refused(tmp_path, files, "own/a.yaml", "own/b.yaml")
    assert problem.file == str(tmp_path / "own/b.yaml")
    assert f"overlaps A@1 of {tmp_path / 'own/a.yaml'} for P01-A" in problem.message


def test_an_account_that_stands_twice_is_told_as_that(tmp_path: Path) -> None:
    text = agreement(accounts=["P01-A", "P01-A"], rates=[])
    (problem,) = refused(tmp_path, {"a.yaml": text}, "a.yaml")
    assert problem == Problem(
        "stands twice: accounts.0 is P01-A too",
        str(tmp_path / "a.yaml"), 1, "accounts.1", "P01-A",
    )  # fmt: skip


def test_a_sheet_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def guarded(path: Path) -> bytes:
        if path.name == "s.csv":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    files = {"a.yaml": agreement(sheets=[{"file": "s.csv"}]), "s.csv": "code,rate\n44,1\n"}
    found = refused(tmp_path, files, "a.yaml")
    assert (str(tmp_path / "s.csv"), "cannot be read: Permission denied") in [
        (p.file, p.message) for p in found
    ]
