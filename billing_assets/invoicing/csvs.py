"""CSV of a document: one row a line, and one row a billed record.

RFC 4180, UTF-8, decimal points, no thousands marks. Text that a spreadsheet would run as a
formula gets an apostrophe in front; figures never do. Numbers of callers and called are masked
unless asked for (catalogue 4.4: in full only in a dispute).
"""

import csv
import io
from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path
from typing import Final, Literal

import polars as pl

from billing_assets.core.money import SCALE
from billing_assets.invoicing.document import Document, Line, plain

FORMULA_STARTS: Final = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - full-width signs run formulas too
MASKED_DIGITS: Final = 4
LINE_END: Final = "\r\n"

NumberColumn = Literal["a_number", "b_number"]

SUMMARY_COLUMNS: Final = {
    "kind": "invoice, credit_note, debit_note, self_billed or cost_statement",
    "number": "the document's number; empty in a draft",
    "issue_date": "YYYY-MM-DD, as all dates",
    "due_date": "day by which to pay",
    "period_first_day": "first local day of the document's period",
    "period_last_day": "last local day, included",
    "zone": "IANA zone of these days",
    "seller": "seller's name",
    "seller_vat_id": "seller's VAT id",
    "buyer_id": "buyer's id with the seller",
    "buyer": "buyer's name",
    "buyer_vat_id": "buyer's VAT id",
    "purchase_order": "buyer's order number",
    "currency": "ISO 4217 code of every amount and price",
    "net": "net total of the document, the same in every row",
    "tax": "tax total of the document",
    "gross": "gross total of the document",
    "line": "line number, from 1",
    "charge_id": "identifier of the charge behind the line",
    "section": "usage, prior_period, recurring, ...",
    "service": "voice, sms, data or event; empty when none",
    "agreement": "agreement id and version",
    "description": "the line's text",
    "destination": "destination name of the rate sheet",
    "origin": "origin class, when it decides the price",
    "band": "time band, when it decides the price",
    "first_day": "first local day of the line",
    "last_day": "last local day of the line, included",
    "records": "records counted, answered or not",
    "answered": "records answered or delivered",
    "quantity": "billed quantity in `unit`; negative in a credit",
    "unit": "minute, message, segment, kb, mb, event, month, ...",
    "price": "price of one unit; empty where no single price applies",
    "amount": "net amount of the line",
    "tax_category": "EN 16931 code: S, AE, O, E, G or Z",
    "tax_rate": "fraction: 0.23 is 23 %",
}
"""Columns of the summary CSV and what they mean."""

ITEMISED_COLUMNS: Final = {
    "record_id": "our identifier of the record",
    "time_utc": "stamp that the agreement rates by, ISO 8601 in UTC",
    "time_local": "the same in the document's zone, with its offset",
    "service": "voice, sms, data or event",
    "agreement": "agreement id and version",
    "account": "commercial account of the traffic",
    "a_number": "caller's digits, the last four masked; or missing, anonymous, alpha",
    "b_number": "called digits, the last four masked; empty when there are none",
    "code": "matched code of the rate sheet",
    "destination": "destination name of the rate sheet",
    "origin": "origin class",
    "band": "time band",
    "duration_s": "answered duration in seconds",
    "billed_units": "seconds, messages, segments, bytes or events after increments",
    "rate": "price of one unit of account (minute, message, MB), surcharges included",
    "fees": "setup, attempt and per-call fees inside the amount",
    "amount": "amount of the record, rounded as the agreement says",
    "currency": "ISO 4217 code",
    "pricing": "priced or bill_and_keep (counted, free on purpose)",
}
"""Columns of the itemised CSV and what they mean."""


def guarded(text: str) -> str:
    """Text that no spreadsheet runs as a formula.

    >>> guarded('=cmd|calc')
    "'=cmd|calc"
    """
    return f"'{text}" if text[:1] and text[0] in FORMULA_STARTS else text


def summary_csv(document: Document) -> bytes:
    """One row a line with the document's own columns repeated; see `SUMMARY_COLUMNS`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, SUMMARY_COLUMNS, lineterminator=LINE_END)
    writer.writeheader()
    shared = document_cells(document)
    writer.writerows(shared | line_cells(line) for line in document.lines)
    return stream.getvalue().encode()


def document_cells(document: Document) -> dict[str, str]:
    """The columns that are the same in every row, as text."""
    return {
        "kind": document.kind,
        "number": guarded(document.number or ""),
        "issue_date": document.issue_date.isoformat(),
        "due_date": document.due_date.isoformat(),
        "period_first_day": document.period.first_day.isoformat(),
        "period_last_day": document.period.last_day.isoformat(),
        "zone": document.period.zone,
        "seller": guarded(document.seller.name),
        "seller_vat_id": guarded(document.seller.vat_id),
        "buyer_id": guarded(document.buyer.id),
        "buyer": guarded(document.buyer.name),
        "buyer_vat_id": guarded(document.buyer.vat_id),
        "purchase_order": guarded(document.references.purchase_order),
        "currency": document.currency,
        "net": format(document.totals.net, "f"),
        "tax": format(document.totals.tax, "f"),
        "gross": format(document.totals.gross, "f"),
    }


def line_cells(line: Line) -> dict[str, str]:
    """A line's columns, as text."""
    return {
        "line": str(line.number),
        "charge_id": line.charge_id,
        "section": guarded(line.section),
        "service": guarded(line.service),
        "agreement": guarded(line.agreement),
        "description": guarded(line.description),
        "destination": guarded(line.destination),
        "origin": guarded(line.origin),
        "band": guarded(line.band),
        "first_day": line.first_day.isoformat(),
        "last_day": line.last_day.isoformat(),
        "records": str(line.records),
        "answered": str(line.answered),
        "quantity": plain(line.quantity),
        "unit": guarded(line.unit),
        "price": "" if line.price is None else plain(line.price),
        "amount": format(line.amount, "f"),
        "tax_category": line.tax_category,
        "tax_rate": plain(line.tax_rate),
    }


def write_itemised(
    legs: pl.LazyFrame,
    records: pl.LazyFrame,
    days: Iterable[date],
    path: Path,
    *,
    zone: str,
    in_full: Collection[NumberColumn] = (),
) -> int:
    """Write the billed records of some UTC days, by time; returns how many.

    `legs` are rows of `rated_leg` already narrowed to one document's, `records` the table `xdr`
    that lends their numbers; `zone` is the document's. Legs that cost nothing because nothing
    was delivered are left out, so the amounts sum to the document's usage. One UTC day is held
    in memory at a time. `in_full` names the number columns that are not masked.
    """
    rows = 0
    with path.open("wb") as stream:
        stream.write((",".join(ITEMISED_COLUMNS) + LINE_END).encode())
        for day in sorted(days):
            # both sides are narrowed before the join, so that only this day's slices are read
            today = pl.col("day") == day
            plan = _itemised(legs.filter(today), records.filter(today), zone, in_full)
            frame = plan.collect(engine="streaming")
            frame.write_csv(stream, include_header=False, line_terminator=LINE_END)
            rows += frame.height
    return rows


def _itemised(
    legs: pl.LazyFrame, records: pl.LazyFrame, zone: str, in_full: Collection[NumberColumn]
) -> pl.LazyFrame:
    numbers = records.select(
        "day", "record_id", "a_number", "a_length", "a_kind", "b_number", "b_length"
    )
    billed = legs.filter(pl.col("pricing") != "not_chargeable")
    time = pl.col("event_time")
    a_digits = _digits("a_number", "a_length", masked="a_number" not in in_full)
    cells = {
        "record_id": pl.col("record_id").cast(pl.String),
        "time_utc": time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "time_local": time.dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z"),
        "service": pl.col("service"),
        "agreement": _guarded("agreement"),
        "account": _guarded("account"),
        "a_number": pl.coalesce(a_digits, "a_kind"),
        "b_number": _digits("b_number", "b_length", masked="b_number" not in in_full),
        "code": pl.col("code").cast(pl.String),
        "destination": _guarded("destination"),
        "origin": _guarded("origin"),
        "band": _guarded("band"),
        "duration_s": _decimal_text("duration_ms", 3),
        "billed_units": pl.col("billed_units").cast(pl.String),
        "rate": _decimal_text("rate_e10", SCALE),
        "fees": _decimal_text("fees_e10", SCALE),
        "amount": _decimal_text("amount_e10", SCALE),
        "currency": pl.col("currency"),
        "pricing": pl.col("pricing"),
    }
    return (
        billed.join(numbers, on=["day", "record_id"], how="left")
        .sort("event_time", "record_id", "agreement")
        .select(cell.alias(name) for name, cell in cells.items())
    )


def _guarded(column: str) -> pl.Expr:
    """`guarded` for a column."""
    text = pl.col(column)
    risky = text.str.slice(0, 1).is_in(list(FORMULA_STARTS))
    return pl.when(risky).then("'" + text).otherwise(text)


def _digits(number: str, length: str, *, masked: bool) -> pl.Expr:
    """A number's digits as text with its leading zeros; masked, the last four are asterisks."""
    digits = pl.col(number).cast(pl.String).str.zfill(pl.col(length))
    if not masked:
        return digits
    shown = (digits.str.len_chars().cast(pl.Int64) - MASKED_DIGITS).clip(lower_bound=0)
    return digits.str.slice(0, shown) + "*" * MASKED_DIGITS


def _decimal_text(column: str, places: int) -> pl.Expr:
    """An integer of 10^-places units as exact decimal text without trailing zeros."""
    units = pl.col(column)
    whole = (units.abs() // 10**places).cast(pl.String)
    part = (units.abs() % 10**places).cast(pl.String).str.zfill(places).str.strip_chars_end("0")
    sign = pl.when(units < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return sign + whole + pl.when(part == "").then(pl.lit("")).otherwise("." + part)
