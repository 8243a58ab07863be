import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from billing_assets.invoicing.csvs import SUMMARY_COLUMNS, guarded, summary_csv
from billing_assets.invoicing.itemised import ITEMISED_COLUMNS, write_itemised
from billing_assets.lake.tables import RATED_LEG, XDR
from tests.support.invoicing_cases import charge, document, partner

DAY = date(2026, 3, 29)


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def leg(**fields: Any) -> dict[str, Any]:
    return {
        "day": DAY,
        "record_id": 1,
        "leg": "customer",
        "service": "voice",
        "agreement": "P14-VOICE@1",
        "account": "P14-A",
        "code": 35191,
        "destination": "Portugal Mobile",
        "event_time": datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
        "duration_ms": 61_500,
        "billed_units": 62,
        "rate_e10": 60_000_000,
        "fees_e10": 0,
        "amount_e10": 62_000_000,
        "currency": "EUR",
        "pricing": "priced",
        **fields,
    }


def record(**fields: Any) -> dict[str, Any]:
    return {
        "day": DAY,
        "record_id": 1,
        "a_number": 351912345678,
        "a_length": 12,
        "a_kind": "number",
        "b_number": 4915112345,
        "b_length": 10,
        **fields,
    }


def frame(schema: pl.Schema, rows: list[dict[str, Any]]) -> pl.LazyFrame:
    return pl.LazyFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)


def itemised(
    path: Path, legs: list[dict[str, Any]], records: list[dict[str, Any]], **options: Any
) -> list[dict[str, str]]:
    days = {row["day"] for row in legs}
    write_itemised(
        frame(RATED_LEG.schema, legs),
        frame(XDR.schema, records),
        days,
        path / "itemised.csv",
        zone="Europe/Lisbon",
        **options,
    )
    return rows_of((path / "itemised.csv").read_bytes())


def test_the_summary_repeats_the_document_beside_each_line_and_adds_up() -> None:
    made = document()
    rows = rows_of(summary_csv(made))
    assert list(rows[0]) == list(SUMMARY_COLUMNS)
    assert {row["gross"] for row in rows} == {"118.08"}
    assert sum(Decimal(row["amount"]) for row in rows) == made.totals.net
    assert [row["line"] for row in rows] == ["1", "2"]
    assert {row["number"] for row in rows} == {""}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_that_a_spreadsheet_would_run_is_held_back(start: str) -> None:
    hostile = f"{start}cmd|' /C calc'!A0"
    assert guarded(hostile) == "'" + hostile
    [row] = rows_of(summary_csv(document([charge(hostile)], to=partner(name="=1+1"))))
    assert row["description"][0] == "'"
    assert row["buyer"] == "'=1+1"


def test_a_negative_figure_stays_a_figure() -> None:
    [row] = rows_of(summary_csv(document([charge("Rebate", "100", "0.1", "-10.00")])))
    assert (row["quantity"], row["price"], row["amount"]) == ("-100", "0.1", "-10.00")


def test_numbers_are_masked_unless_asked_for(tmp_path: Path) -> None:
    [row] = itemised(tmp_path, [leg()], [record()])
    assert list(row) == list(ITEMISED_COLUMNS)
    assert (row["a_number"], row["b_number"]) == ("35191234****", "491511****")
    [row] = itemised(tmp_path, [leg()], [record()], in_full=["b_number"])
    assert (row["a_number"], row["b_number"]) == ("35191234****", "4915112345")


def test_a_short_number_shows_no_digit_and_leading_zeros_are_kept(tmp_path: Path) -> None:
    short = record(a_number=11, a_length=3, a_kind="invalid")
    [row] = itemised(tmp_path, [leg()], [short])
    assert row["a_number"] == "****"
    [row] = itemised(tmp_path, [leg()], [short], in_full=["a_number"])
    assert row["a_number"] == "011"


@pytest.mark.parametrize("kind", ["missing", "anonymous", "alpha"])
def test_a_caller_without_a_number_is_told_by_kind(tmp_path: Path, kind: str) -> None:
    nobody = record(a_number=None, a_length=None, a_kind=kind)
    [row] = itemised(tmp_path, [leg()], [nobody])
    assert row["a_number"] == kind


def test_local_time_follows_the_clock_change_and_utc_does_not(tmp_path: Path) -> None:
    later = leg(record_id=2, event_time=datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
    rows = itemised(tmp_path, [later, leg()], [record(), record(record_id=2)])
    assert [row["time_utc"] for row in rows] == ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"]
    assert [row["time_local"] for row in rows] == [
        "2026-03-29T00:59:59+00:00",
        "2026-03-29T02:00:00+01:00",
    ]


def test_amounts_are_exact_and_signed(tmp_path: Path) -> None:
    # 95 s at 0.0035 a minute is 0.005542 at six decimals; reverse billed it is negative
    [row] = itemised(
        tmp_path, [leg(amount_e10=-55_420_000, rate_e10=35_000_000, fees_e10=10**10)], [record()]
    )
    assert (row["amount"], row["rate"], row["fees"]) == ("-0.005542", "0.0035", "1")
    assert row["duration_s"] == "61.5"


def test_unanswered_calls_are_left_out_and_free_ones_are_not(tmp_path: Path) -> None:
    legs = [
        leg(record_id=1, pricing="not_chargeable", amount_e10=0),
        leg(record_id=2, pricing="bill_and_keep", amount_e10=0),
    ]
    rows = itemised(tmp_path, legs, [record(), record(record_id=2)])
    assert [row["record_id"] for row in rows] == ["2"]


def test_days_follow_each_other_and_the_order_of_input_does_not_matter(tmp_path: Path) -> None:
    legs = [
        leg(
            day=DAY + timedelta(days=d),
            record_id=n,
            event_time=datetime(2026, 3, 29 + d, n, tzinfo=UTC),
        )
        for d in (0, 1)
        for n in (1, 2, 3)
    ]
    records = [record(day=row["day"], record_id=row["record_id"]) for row in legs]
    rows = itemised(tmp_path, legs, records)
    assert itemised(tmp_path, legs[::-1], records[::-1]) == rows
    assert [row["time_utc"] for row in rows] == sorted(row["time_utc"] for row in rows)
    assert len(rows) == 6


def test_a_destination_that_a_spreadsheet_would_run_is_held_back(tmp_path: Path) -> None:
    [row] = itemised(tmp_path, [leg(destination="=HYPERLINK(1)")], [record()])
    assert row["destination"] == "'=HYPERLINK(1)"
