"""The journal of a document: balanced double entry, as neutral CSV, XML and JSON.

What we are owed: receivable against revenue and output tax. What we owe by our own self-billed
document: cost and input tax against payable, and tax that we assess ourselves on both accounts.
A credit note turns the sides around. An amount below zero changes its side, so debits and credits
are never negative. Lines are posted together by account, cost centre and tax.
"""

import csv
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

from lxml import etree

from billing_assets.core.errors import BillingError
from billing_assets.core.money import minor_units
from billing_assets.invoicing.csvs import LINE_END, guarded
from billing_assets.invoicing.document import Document, Kind
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Leg

POSTED = (Kind.INVOICE, Kind.CREDIT_NOTE, Kind.DEBIT_NOTE, Kind.SELF_BILLED)
"""Kinds that move money in the ledger."""

XML_SPACE = "urn:interconnect-billing:journal:1"


@dataclass(frozen=True)
class Entry:
    """One side of a posting; exactly one of `debit` and `credit` is not zero."""

    line: int
    account: str
    cost_center: str
    partner: str
    text: str
    debit: Decimal
    credit: Decimal
    tax_category: str
    tax_rate: Decimal | None


@dataclass(frozen=True)
class Journal:
    """The entries of one document, whose debits are its credits."""

    document: str
    kind: str
    date: str
    due_date: str
    currency: str
    partner: str
    partner_name: str
    period: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        debit = sum(entry.debit for entry in self.entries)
        credit = sum(entry.credit for entry in self.entries)
        if debit != credit:
            raise BillingError(
                f"journal of {self.document}: debits {debit} are not credits {credit}"
            )


def journal_of(document: Document, ledger: Ledger) -> Journal:
    """Post a document. Raises `BillingError` when no rule fits a line, naming it."""
    customer = document.ours
    leg = Leg.CUSTOMER if customer else Leg.SUPPLIER
    partner = document.buyer if customer else document.seller
    # +1: lines are credited and the partner debited
    side = 1 if customer else -1
    if document.kind is Kind.CREDIT_NOTE:
        side = -side
    zero = Decimal(0).scaleb(-minor_units(document.currency))
    posted: dict[tuple[str, str, str, Decimal], Decimal] = defaultdict(lambda: zero)
    for line in document.lines:
        rule = next(
            (
                rule
                for rule in ledger.rules
                if rule.fits(leg.value, line.section, line.service, line.kind)
            ),
            None,
        )
        if rule is None:
            raise BillingError(
                f"no ledger account for line {line.number} ({leg}, section "
                f"{line.section}, service {line.service or 'none'}, kind {line.kind})",
                hint="add a rule to ledger.yaml",
            )
        key = (rule.account, rule.cost_center, line.tax_category, line.tax_rate)
        posted[key] += line.amount
    number = document.number or ""
    entries: list[Entry] = []

    def post(account: str, amount: Decimal, text: str, **more: object) -> None:
        """Add an entry: above zero a debit, below zero a credit; nothing for zero."""
        if not amount:
            return
        facts = {"cost_center": "", "tax_category": "", "tax_rate": None, **more}
        entries.append(
            Entry(
                line=len(entries) + 1,
                account=account,
                partner=partner.id,
                text=text,
                debit=max(amount, zero),
                credit=max(-amount, zero),
                **facts,  # pyright: ignore[reportArgumentType]
            )
        )

    control = ledger.receivable if customer else ledger.payable
    post(control, side * document.totals.gross, f"{number} {partner.name}")
    for (account, center, category, rate), amount in sorted(posted.items()):
        text = f"{number} net {category}"
        post(
            account,
            -side * amount,
            text,
            cost_center=center,
            tax_category=category,
            tax_rate=rate,
        )
    tax_account = ledger.output_tax if customer else ledger.input_tax
    for row in document.taxes:
        text = f"{number} tax {row.category} {row.rate:f}"
        post(tax_account, -side * row.tax, text, tax_category=row.category, tax_rate=row.rate)
    for row in document.self_assessed:
        text = f"{number} self-assessed tax {row.rate:f}"
        facts = {"tax_category": row.category, "tax_rate": row.rate}
        post(ledger.input_tax, -side * row.tax, text, **facts)
        post(ledger.output_tax, side * row.tax, text, **facts)
    return Journal(
        document=number,
        kind=document.kind.value,
        date=document.issue_date.isoformat(),
        due_date=document.due_date.isoformat(),
        currency=document.currency,
        partner=partner.id,
        partner_name=partner.name,
        period=f"{document.period.first_day}/{document.period.last_day}",
        entries=tuple(entries),
    )


COLUMNS = (
    "document",
    "kind",
    "date",
    "due_date",
    "period",
    "partner",
    "line",
    "account",
    "cost_center",
    "debit",
    "credit",
    "currency",
    "tax_category",
    "tax_rate",
    "text",
)
"""Columns of the neutral journal; amounts with the currency's decimals, dates YYYY-MM-DD."""


def rows_of(journal: Journal) -> list[dict[str, str]]:
    """The neutral journal as rows of text, one an entry."""
    return [
        {
            "document": journal.document,
            "kind": journal.kind,
            "date": journal.date,
            "due_date": journal.due_date,
            "period": journal.period,
            "partner": journal.partner,
            "line": str(entry.line),
            "account": entry.account,
            "cost_center": entry.cost_center,
            "debit": f"{entry.debit:f}",
            "credit": f"{entry.credit:f}",
            "currency": journal.currency,
            "tax_category": entry.tax_category,
            "tax_rate": "" if entry.tax_rate is None else f"{entry.tax_rate.normalize():f}",
            "text": entry.text,
        }
        for entry in journal.entries
    ]


def csv_of(columns: tuple[str, ...], rows: list[dict[str, str]]) -> bytes:
    """Rows as CSV (RFC 4180, UTF-8); text that a spreadsheet would run gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator=LINE_END)
    writer.writeheader()
    writer.writerows({name: guarded(text) for name, text in row.items()} for row in rows)
    return stream.getvalue().encode()


def journal_csv(journal: Journal) -> bytes:
    """The neutral journal as CSV; see `COLUMNS`."""
    return csv_of(COLUMNS, rows_of(journal))


def journal_json(journal: Journal) -> bytes:
    """The neutral journal as JSON; amounts are text, so that no reader rounds them."""
    head, entry = COLUMNS[:6], COLUMNS[6:]
    rows = rows_of(journal)
    content = {name: rows[0][name] for name in (*head, "currency")} if rows else {}
    return json.dumps(
        {**content, "entries": [{name: row[name] for name in entry} for row in rows]},
        indent=1,
        ensure_ascii=False,
    ).encode()


def journal_xml(journal: Journal) -> bytes:
    """The neutral journal as XML, in a namespace of its own."""
    rows = rows_of(journal)
    root = etree.Element(f"{{{XML_SPACE}}}journal", nsmap={None: XML_SPACE})
    for name in (*COLUMNS[:6], "currency"):
        etree.SubElement(root, f"{{{XML_SPACE}}}{name}").text = rows[0][name] if rows else ""
    for row in rows:
        entry = etree.SubElement(root, f"{{{XML_SPACE}}}entry", {"line": row["line"]})
        for name in COLUMNS[7:]:
            if name != "currency" and row[name]:
                etree.SubElement(entry, f"{{{XML_SPACE}}}{name}").text = row[name]
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
