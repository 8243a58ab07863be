"""The figures of a document's files against each other: what is issued says one thing.

Each file is read back as its reader would: the XML is parsed, the CSV summed, the journal added
up, the text of the PDF searched. Nothing is issued whose files disagree.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from decimal import Decimal

import pypdfium2
from babel.numbers import format_decimal
from lxml import etree

from billing_assets.core.errors import BillingError
from billing_assets.core.money import minor_units
from billing_assets.invoicing.document import Check, Document
from billing_assets.invoicing.layout import locale_of

Figures = tuple[Decimal, Decimal, Decimal]
"""Net, tax and gross."""


def agreement(document: Document, files: Mapping[str, bytes]) -> list[Check]:
    """A check for each file whose format bears totals: they are the document's."""
    totals = document.totals
    expected = (totals.net, totals.tax, totals.gross)
    checks = [
        Check(
            name=f"totals of {name}",
            ok=(found := read(files[name])) == expected,
            detail=" ".join(f"{figure:f}" for figure in found),
        )
        for name, read in READERS.items()
        if name in files
    ]
    for name in ("pdf", "factur-x"):
        if name in files:
            checks.append(_printed(name, files[name], document, expected))
    for name in ("journal-csv",):
        if name in files:
            checks.append(_posted(name, files[name], totals.gross))
    return checks


def require_agreement(document: Document, files: Mapping[str, bytes]) -> None:
    """Raise `BillingError` that names each file whose totals are not the document's."""
    wrong = [
        f"{check.name}: {check.detail}" for check in agreement(document, files) if not check.ok
    ]
    if wrong:
        raise BillingError(
            f"files of {document.number or document.provenance.cycle} disagree: {'; '.join(wrong)}",
            hint="a layout or text template shows other figures than the document's",
        )


def _of_xml(content: bytes) -> Figures:
    root = etree.fromstring(content)

    def amount(path: str) -> Decimal:
        return Decimal(root.findtext(path, "NaN", root.nsmap))

    total = "cac:LegalMonetaryTotal/cbc:"
    return (
        amount(f"{total}TaxExclusiveAmount"),
        amount("cac:TaxTotal/cbc:TaxAmount"),
        amount(f"{total}TaxInclusiveAmount"),
    )


def _of_csv(content: bytes) -> Figures:
    """Net as the sum of the rows' amounts; tax and gross as every row says them."""
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    said = {(row["net"], row["tax"], row["gross"]) for row in rows}
    if len(said) != 1:
        return Decimal("NaN"), Decimal("NaN"), Decimal("NaN")
    _, tax, gross = said.pop()
    return sum((Decimal(row["amount"]) for row in rows), Decimal(0)), Decimal(tax), Decimal(gross)


def _of_bill(content: bytes) -> Figures:
    bill = json.loads(content, parse_float=Decimal, parse_int=Decimal)
    tax = sum((row["taxAmount"]["value"] for row in bill["taxItem"]), Decimal(0))
    return bill["taxExcludedAmount"]["value"], tax, bill["taxIncludedAmount"]["value"]


READERS: Mapping[str, Callable[[bytes], Figures]] = {
    "xml": _of_xml,
    "csv": _of_csv,
    "customer-bill": _of_bill,
}


def _printed(name: str, content: bytes, document: Document, expected: Figures) -> Check:
    """The PDF's text shows net, tax and gross as its language writes them."""
    locale, _ = locale_of(document.language)
    pattern = "#,##0" + ("." + "0" * places if (places := minor_units(document.currency)) else "")
    with pypdfium2.PdfDocument(content) as pdf:
        text = _bare("".join(page.get_textpage().get_text_range() for page in pdf))
    shown = [
        format_decimal(figure, pattern, locale=locale, decimal_quantization=False)
        for figure in expected
    ]
    missing = [figure for figure in shown if _bare(figure) not in text]
    return Check(
        name=f"totals of {name}",
        ok=not missing,
        detail=f"does not show {', '.join(missing)}" if missing else " ".join(shown),
    )


def _bare(text: str) -> str:
    """Text without blanks of any kind, with one kind of minus."""
    return "".join(text.split()).replace("\u2212", "-").replace("\ufffe", "-").replace("\x02", "-")


def _posted(name: str, content: bytes, gross: Decimal) -> Check:
    """Debits are credits, and the partner's account bears the gross total."""
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    debit = sum((Decimal(row["debit"]) for row in rows), Decimal(0))
    credit = sum((Decimal(row["credit"]) for row in rows), Decimal(0))
    control = Decimal(rows[0]["debit"]) + Decimal(rows[0]["credit"]) if rows else Decimal(0)
    return Check(
        name=f"totals of {name}",
        ok=debit == credit and (not rows or not gross or control == abs(gross)),
        detail=f"debits {debit}, credits {credit}, partner's account {control}",
    )
