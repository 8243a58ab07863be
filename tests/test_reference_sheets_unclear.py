"""What a sheet, its layout or the order of sheets leaves open: refused or told, never guessed."""

import io
from typing import Any

import openpyxl
import pytest

from billing_assets.reference.findings import Kind
from billing_assets.reference.load import Loaded
from tests.support.sheets import found, good, load, rates, workbook

HEADER = ["code", "destination", "rate"]
OLD = "code,destination,rate,from\n44,UK,0.01,2026-01-01\n"


def told(result: Loaded) -> list[tuple[str, str]]:
    return [(problem.value, problem.message) for problem in result.problems]


# workbooks


def test_a_hidden_worksheet_is_passed_over_and_told() -> None:
    book = workbook(
        {"old": [HEADER, [44, "UK", 9.9]], "March": [HEADER, [44, "UK", 0.1]]}, hidden=["old"]
    )
    result = good([({}, book)])
    assert rates(result) == {(44, "0.1000", "01-01", None)}
    assert found(result, Kind.PASSED_OVER) == [("old", "is hidden")]
    named = good(
        [({"layout": "x"}, book)],
        layouts={"x": {"columns": dict(zip(HEADER, HEADER, strict=True)), "rates": "old"}},
    )
    assert rates(named) == {(44, "9.9000", "01-01", None)}


def test_two_worksheets_of_prices_and_codes_are_refused_until_one_is_named() -> None:
    book = workbook({"A-M": [HEADER, [44, "UK", 0.1]], "N-Z": [HEADER, [351, "Portugal", 0.2]]})
    ((value, message),) = told(load([({}, book)]))
    assert value == "A-M and N-Z" and "name those of prices and codes in a layout" in message
    prices = workbook(
        {
            "March": [["destination", "rate"], ["UK", 0.1]],
            "April": [["destination", "rate"], ["UK", 0.2]],
            "Codes": [["destination", "code"], ["UK", 44]],
        }
    )
    assert [value for value, _ in told(load([({}, prices)]))] == ["March and April"]


def test_a_list_of_codes_without_a_price_is_no_note_under_the_table() -> None:
    rows = [HEADER, [44, "UK", 0.1], ["4474, 4475, 4476, 4477", None, None]]
    (problem,) = load([({}, workbook({"March": rows}))]).problems
    assert (problem.row, problem.field) == (3, "rate") and "is missing" in problem.message
    rows[-1] = ["Prices without VAT, 2026", None, None]
    assert found(good([({}, workbook({"March": rows}))]), Kind.PASSED_OVER)


def test_a_sheet_without_a_row_is_refused() -> None:
    assert told(load([({}, "code,rate\n")])) == [("", "has no row of rates below its header")]


# decimals


def comma(cells: str) -> Loaded:
    columns = {name: name for name in HEADER}
    text = "code;destination;rate\n" + "".join(
        f"{code};D{code};{cell}\n" for code, cell in enumerate(cells.split(), start=31)
    )
    return load([({"layout": "x"}, text)], layouts={"x": {"columns": columns, "decimal": ","}})


@pytest.mark.parametrize("cell", ["1.2.3,4", "12.34,5", "1.234", "12.345.678", ",5", "1,2,3"])
def test_points_and_commas_that_are_no_decimal_are_refused(cell: str) -> None:
    ((value, _),) = told(comma(cell))
    assert value == cell


def test_decimal_commas_with_points_between_thousands_are_read() -> None:
    assert {rate for _, rate, _, _ in rates(comma("0,0125 1.234,5 0.0350 12,5"))} == {
        "0.0125", "1234.5000", "0.0350", "12.5000",
    }  # fmt: skip


def test_a_number_of_a_workbook_has_a_decimal_point_whatever_the_layout_says() -> None:
    layouts = {"x": {"columns": {"code": "code", "rate": "rate"}, "decimal": ","}}
    book = workbook({"a": [["code", "rate"], [44, 1.234]]})
    assert rates(good([({"layout": "x"}, book)], layouts=layouts)) == {
        (44, "1.2340", "01-01", None)
    }
    text = workbook({"a": [["code", "rate"], [44, "1.234"]]})
    assert "may be thousands" in told(load([({"layout": "x"}, text)], layouts=layouts))[0][1]


@pytest.mark.parametrize(
    ("number_format", "currency", "said"),
    [
        ('"$"0.0000', "EUR", "is shown with $, not as the agreement's currency, EUR"),
        ("[$$-409]#,##0.00", "EUR", "is shown with $"),
        ("[$€-407] 0.00", "USD", "is shown with €, not as the agreement's currency, USD"),
        ("[$USD] 0.000", "EUR", "is shown as USD"),
        ("0.0%", "EUR", "is shown as a percentage"),
        ('"$"0.0000', "USD", ""),
        ("[$$-1009]0.00", "CAD", ""),
        ("0.00 [$€-407]", "EUR", ""),
        ("[$R$-416] 0.00", "BRL", ""),
        ("[Red][$EUR] 0.000", "EUR", ""),
        ("[$-409]#,##0.0000", "EUR", ""),
        ("General", "EUR", ""),
    ],
)
def test_a_number_that_a_workbook_shows_in_another_currency_is_refused(
    number_format: str, currency: str, said: str
) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["code", "rate"])
    book.worksheets[0].append([44, 0.0123])
    book.worksheets[0]["B2"].number_format = number_format
    content = io.BytesIO()
    book.save(content)
    problems = load([({}, content.getvalue())], currency=currency).problems
    assert [p.row for p in problems] == ([2] if said else [])
    assert all(said in p.message and p.value == "0.0123" for p in problems)


# columns


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"columns": {"code": "Code", "rate": "Price", "minimum": "price"}},
         "'price' stands for rate and for minimum"),
        ({"columns": {"code": "Code", "rate": "Price"}, "ignore": ["Price"]},
         "'Price' stands for rate and for ignore"),
        ({"columns": {"code": "Code"}, "prices": [{"column": "P"}, {"column": "P"}]},
         "'P' stands for prices.0 and for prices.1"),
        ({"columns": {"code": "Code"}, "words": {"new": ["neu"], "increase": ["Neu"]}},
         "'Neu' stands for new and for increase"),
    ],
)  # fmt: skip
def test_a_layout_says_one_thing_of_a_name(layout: dict[str, Any], said: str) -> None:
    problems = load([({"layout": "x"}, "Code;Price\n44;1\n")], layouts={"x": layout}).problems
    assert said in [problem.message for problem in problems]


def test_columns_of_a_sheet_are_in_it_once_and_come_before_those_of_its_layout() -> None:
    text = "destination,Price\n44,0.01\n"
    columns = {"code": "destination", "rate": "Price"}
    assert rates(good([({"columns": columns}, text)])) == {(44, "0.0100", "01-01", None)}
    twice = load([({"columns": {**columns, "setup_fee": "Price"}}, text)])
    assert told(twice)[0][1] == "'Price' stands for rate and for setup_fee"
    lost = load([({"columns": {**columns, "setup_fee": "Connect"}}, text)])
    assert told(lost) == [("Connect (setup_fee)", "column is missing")]


def test_codes_that_repeat_their_country_or_keep_a_zero_are_told() -> None:
    header = "country_code,code,rate\n"
    zero = good([({}, header + "44,07400,0.1\n39,06,0.1\n44,20,0.1\n")])
    ((value, message),) = found(zero, Kind.COUNTRY_CODE)
    assert value == "07400" and "follows country code 44" in message
    again = good([({}, header + "44,447400,0.1\n44,4420,0.1\n")])
    assert [value for value, _ in found(again, Kind.COUNTRY_CODE)] == ["447400"]
    assert not found(good([({}, header + "44,7400,0.1\n44,4420,0.1\n")]), Kind.COUNTRY_CODE)


# bounds


@pytest.mark.parametrize(
    ("terms", "column", "message"),
    [
        ({"cap": "0.2"}, "minimum", "is above the agreement's cap, 0.2"),
        ({"minimum": "0.8"}, "cap", "is below the agreement's minimum, 0.8"),
    ],
)
def test_a_row_and_its_agreement_may_not_contradict_each_other(
    terms: dict[str, str], column: str, message: str
) -> None:
    result = load([({}, f'code,rate,{column}\n"44,45",0.1,0.5\n')], **terms)
    assert told(result) == [("0.5", message)]
    rate = {"code": 44, "rate": "0.1", column: "0.5"}
    assert told(load([], rates=[rate], **terms)) == [("0.5", message)]
    both = {**rate, "minimum": "0.1", "cap": "0.9"}
    assert not load([], rates=[both], **terms).problems


# the order of sheets, and notice


def test_a_sheet_that_came_before_the_one_listed_before_it_is_refused() -> None:
    newer = ({"received": "2026-03-01T12:00", "mode": "full", "effective": "2026-03-10"}, OLD)
    older = ({"received": "2026-02-20", "mode": "full", "effective": "2026-03-01"}, OLD)
    (problem,) = load([newer, older]).problems
    assert problem.field == "sheets.1.received" and problem.value == "2026-02-20"
    assert problem.message == "is before 2026-03-01T12:00:00, when a sheet listed before it came"
    for same in ("2026-03-01", "2026-03-01T12:00"):
        assert not load([newer, ({**newer[0], "received": same}, OLD)]).problems


def noticed(*changes: tuple[str, str], **notice: object) -> Loaded:
    """The old sheet, and amendments: the day of receipt and the rows of each."""
    sheets: list[tuple[dict[str, Any], str]] = [({"received": "2025-12-01"}, OLD)]
    for received, rows in changes:
        sheets.append(({"received": received}, f"code,destination,rate,from,to,status\n{rows}\n"))
    return good(sheets, notice={"increase_days": 7, **notice})


@pytest.mark.parametrize("announced", ["03-10", "03-11"])
def test_a_late_increase_does_not_undo_one_that_was_announced_for_later(announced: str) -> None:
    result = noticed(
        ("2026-03-01", f"44,UK,0.03,2026-{announced},,"), ("2026-03-04", "44,UK,0.02,2026-03-05,,")
    )
    assert rates(result) == {
        (44, "0.0100", "01-01", announced),
        (44, "0.0300", announced, None),
    }
    assert [(b.change, b.requested.day) for b in result.reference.breaches] == [("increase", 5)]


def test_rows_of_one_sheet_are_compared_as_they_will_hold() -> None:
    result = noticed(("2026-03-04", "44,UK,0.02,2026-03-05,,\n44,UK,0.015,2026-03-08,,"))
    assert rates(result) == {
        (44, "0.0100", "01-01", "03-11"),
        (44, "0.0150", "03-11", None),
    }
    assert [(b.row, b.requested.day, b.loaded.day) for b in result.reference.breaches] == [
        (2, 5, 11),
        (3, 8, 11),
    ]


def test_a_change_after_a_rate_for_a_while_is_measured_by_the_one_that_holds_again() -> None:
    promotion = ("2026-01-01", "44,UK,0.005,2026-02-01,2026-03-01,")
    result = noticed(promotion, ("2026-03-04", "44,UK,0.02,2026-03-05,,increase"), new_days=0)
    assert rates(result) == {
        (44, "0.0100", "01-01", "02-01"),
        (44, "0.0050", "02-01", "03-01"),
        (44, "0.0100", "03-01", "03-11"),
        (44, "0.0200", "03-11", None),
    }
    assert not found(result, Kind.MARKER)


def test_a_withdrawal_of_what_is_not_in_force_is_told() -> None:
    result = noticed(("2026-03-04", "4474,UK,,2026-03-20,,closed"))
    assert found(result, Kind.WITHDRAWN) == [("4474", "is withdrawn and was not in force")]


def test_a_sheet_without_its_receipt_is_told_where_there_is_a_notice() -> None:
    sheets = [({}, OLD), ({}, "code,destination,rate,from\n44,UK,0.03,2026-03-05\n")]
    told = found(good(sheets, notice={"increase_days": 7}), Kind.NOTICE)
    assert told == [("", "is missing: its changes hold whatever the notice of the agreement")]
    assert not found(good(sheets), Kind.NOTICE)
