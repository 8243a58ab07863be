"""Every rendering of a document: the formats that all get, those that its partner asks for, and
the journal for our own ledger. What they say is compared before any of them is kept.
"""

from pathlib import Path

from billing_assets.invoicing.agreement import require_agreement
from billing_assets.invoicing.annex import annex_of
from billing_assets.invoicing.bill import customer_bill
from billing_assets.invoicing.cii import render_cii
from billing_assets.invoicing.csvs import summary_csv
from billing_assets.invoicing.document import UNNUMBERED, Document
from billing_assets.invoicing.erp import netsuite_csv, oracle_csv, sap_csv
from billing_assets.invoicing.hybrid import embed
from billing_assets.invoicing.journal import (
    POSTED,
    journal_csv,
    journal_json,
    journal_of,
    journal_xml,
)
from billing_assets.invoicing.pdf import render_pdf
from billing_assets.invoicing.texts import render_text
from billing_assets.invoicing.ubl import render_ubl
from billing_assets.invoicing.xlsx import summary_xlsx
from billing_assets.reference.channels import FIXED_FORMATS
from billing_assets.reference.ledger import Ledger

EXTENSIONS = {
    "factur-x": "factur-x.pdf",
    "customer-bill": "bill.json",
    "itemised": "itemised.csv",
    "journal-csv": "journal.csv",
    "journal-xml": "journal.xml",
    "journal-json": "journal.json",
    "journal-oracle": "journal.oracle.csv",
    "journal-netsuite": "journal.netsuite.csv",
    "journal-sap": "journal.sap.csv",
}
"""Ends of file names by format, where the format's word is not the end itself."""


def render(
    document: Document,
    templates: Path,
    *,
    ledger: Ledger | None = None,
    home_currency: str = "",
    itemised: bytes | None = None,
) -> dict[str, bytes]:
    """The files of a document by format: json, csv and pdf, and what else belongs to it.

    A document that takes no number has no more; others have their xml, and the formats that
    `document.formats` names besides. `ledger` adds the journal of a numbered document, in the
    exports that it lists; of the content of the `itemised` CSV the PDF prints an annex where the
    document has one. Raises what the renderers raise, and `BillingError` when the files do
    not agree on the totals.
    """
    files = {"json": document.canonical(), "csv": summary_csv(document)}
    fiscal = document.kind not in UNNUMBERED
    if fiscal:
        files["xml"] = render_ubl(document)
    annex = annex_of(document, itemised)
    files["pdf"] = render_pdf(document, templates, files.get("xml"), annex)
    if fiscal:
        for name in document.formats:
            if name not in files:
                files |= _asked(name, document, templates, annex)
    if ledger and document.number and document.kind in POSTED:
        files |= _posted(document, ledger, home_currency)
    require_agreement(document, files)
    return files


def _asked(name: str, document: Document, templates: Path, annex: str | None) -> dict[str, bytes]:
    """A format that a partner asks for; nothing for what is made elsewhere (itemised records)."""
    match name:
        case "xlsx":
            return {name: summary_xlsx(document)}
        case "customer-bill":
            return {name: customer_bill(document)}
        case "factur-x":
            cii = render_cii(document)
            return {name: embed(render_pdf(document, templates, annex=annex), cii, document)}
        case _ if name in FIXED_FORMATS:
            return {}
        case _:
            facts = {"document": document.model_dump()}
            text = render_text(templates, document.template_name, f"{name}.j2", facts)
            return {name: text.encode()}


def _posted(document: Document, ledger: Ledger, home_currency: str) -> dict[str, bytes]:
    journal = journal_of(document, ledger)
    writers = {
        "csv": lambda: journal_csv(journal),
        "xml": lambda: journal_xml(journal),
        "json": lambda: journal_json(journal),
        "oracle": lambda: oracle_csv(journal, ledger, home_currency),
        "netsuite": lambda: netsuite_csv(journal, ledger),
        "sap": lambda: sap_csv(journal, ledger),
    }
    return {f"journal-{name}": writers[name]() for name in dict.fromkeys(ledger.exports)}
