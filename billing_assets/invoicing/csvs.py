"""CSV of a document: one row a line.

RFC 4180, UTF-8, decimal points, no thousands marks. Text that a spreadsheet would run as a
formula gets an apostrophe in front; figures never do.
"""

import csv
import io
from typing import Final

from billing_assets.invoicing.document import Document, Line, plain

FORMULA_STARTS: Final = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - full-width signs run formulas too
LINE_END: Final = "\r\n"

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
    "self_assessed": "tax that the buyer accounts for, under reverse charge",
    "withheld": "tax that the payer keeps back for its tax office",
    "payable": "gross less what is withheld",
    "home_currency": "our own currency, where tax is shown in it too; else empty",
    "home_gross": "gross in that currency, likewise",
    "home_tax": "tax in that currency, at the fixing of the period's last day",
    "home_self_assessed": "self-assessed tax in that currency",
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
    "price_currency": "currency of `price`, where the line was converted from it",
}
"""Columns of the summary CSV and what they mean."""


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
    zero, home = document.totals.net * 0, document.home_tax
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
        "self_assessed": format(sum((row.tax for row in document.self_assessed), zero), "f"),
        "withheld": format(sum((row.amount for row in document.withheld), zero), "f"),
        "payable": format(document.payable, "f"),
        "home_currency": home.currency if home else "",
        "home_gross": format(home.gross, "f") if home else "",
        "home_tax": format(home.tax, "f") if home else "",
        "home_self_assessed": format(home.self_assessed, "f") if home else "",
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
        "price_currency": line.priced_in,
    }
