"""The journal in the columns that ERP uploads read: Oracle, NetSuite, SAP.

Column names are those of Oracle's GL_INTERFACE, NetSuite's journal entry import and SAP's
"Upload General Journal Entries"; what differs by company comes from ledger.yaml.
"""

from billing_assets.core.errors import BillingError
from billing_assets.invoicing.journal import Entry, Journal, csv_of
from billing_assets.reference.ledger import Ledger


def oracle_csv(journal: Journal, ledger: Ledger, home_currency: str) -> bytes:
    """Rows of GL_INTERFACE; a foreign currency is converted there, by type and date."""
    terms = ledger.oracle
    if terms is None:
        raise _missing("oracle")
    foreign = journal.currency != home_currency
    segments = tuple(f"SEGMENT{n}" for n in range(1, len(terms.segments) + 1))
    columns = (
        "STATUS",
        "LEDGER_ID",
        "ACCOUNTING_DATE",
        "DATE_CREATED",
        "CURRENCY_CODE",
        "ACTUAL_FLAG",
        "USER_JE_SOURCE_NAME",
        "USER_JE_CATEGORY_NAME",
        "USER_CURRENCY_CONVERSION_TYPE",
        "CURRENCY_CONVERSION_DATE",
        *segments,
        "ENTERED_DR",
        "ENTERED_CR",
        "ACCOUNTED_DR",
        "ACCOUNTED_CR",
        "REFERENCE1",
        "REFERENCE4",
        "REFERENCE5",
        "REFERENCE10",
    )

    category = terms.purchase_category if _is_purchase(journal, ledger) else terms.category

    def row(entry: Entry) -> dict[str, str]:
        debit, credit = _amount(entry)
        parts = {
            "account": entry.account,
            "cost_center": entry.cost_center,
            "partner": entry.partner,
        }
        return {
            "STATUS": "NEW",
            "LEDGER_ID": terms.ledger_id,
            "ACCOUNTING_DATE": journal.date,
            "DATE_CREATED": journal.date,
            "CURRENCY_CODE": journal.currency,
            "ACTUAL_FLAG": "A",
            "USER_JE_SOURCE_NAME": terms.source,
            "USER_JE_CATEGORY_NAME": category,
            "USER_CURRENCY_CONVERSION_TYPE": terms.conversion_type if foreign else "",
            "CURRENCY_CONVERSION_DATE": journal.date if foreign else "",
            **{
                name: part.format(**parts)
                for name, part in zip(segments, terms.segments, strict=True)
            },
            "ENTERED_DR": debit,
            "ENTERED_CR": credit,
            "ACCOUNTED_DR": "" if foreign else debit,
            "ACCOUNTED_CR": "" if foreign else credit,
            "REFERENCE1": f"{ledger.ledger} {journal.date}",
            "REFERENCE4": journal.document,
            "REFERENCE5": f"{journal.kind} {journal.period}",
            "REFERENCE10": entry.text,
        }

    return csv_of(columns, [row(entry) for entry in journal.entries])


def netsuite_csv(journal: Journal, ledger: Ledger) -> bytes:
    """One row a journal line; all rows of a journal share its External ID."""
    terms = ledger.netsuite
    if terms is None:
        raise _missing("netsuite")
    line = "Journal Entry - Line: "
    own = (line + name for name in ("Account", "Debit", "Credit", "Name", "Class", "Memo"))
    columns = ("External ID", "Date", "Currency", "Subsidiary", "Memo", *own)

    def row(entry: Entry) -> dict[str, str]:
        debit, credit = _amount(entry)
        cells = (
            journal.document,
            journal.date,
            journal.currency,
            terms.subsidiary,
            f"{journal.document} {journal.partner_name}",
            entry.account,
            debit,
            credit,
            entry.partner,
            entry.cost_center,
            entry.text,
        )
        return dict(zip(columns, cells, strict=True))

    return csv_of(columns, [row(entry) for entry in journal.entries])


def sap_csv(journal: Journal, ledger: Ledger) -> bytes:
    """One row an item, by the technical names of the upload's fields."""
    terms = ledger.sap
    if terms is None:
        raise _missing("sap")
    columns = (
        "BUKRS",
        "BLART",
        "BLDAT",
        "BUDAT",
        "WAERS",
        "BKTXT",
        "XBLNR",
        "HKONT",
        "SGTXT",
        "WRSOL",
        "WRHAB",
        "MWSKZ",
        "KOSTL",
        "ZUONR",
    )

    purchase = _is_purchase(journal, ledger)
    document_type = terms.purchase_document_type if purchase else terms.document_type

    def row(entry: Entry) -> dict[str, str]:
        debit, credit = _amount(entry)
        rate = entry.tax_rate
        cells = (
            terms.company_code,
            document_type,
            journal.date,
            journal.date,
            journal.currency,
            journal.kind[:25],
            # XBLNR takes 16 characters, SGTXT 50
            journal.document[-16:],
            entry.account,
            entry.text[:50],
            debit,
            credit,
            "" if rate is None else terms.tax_code(entry.tax_category, rate),
            entry.cost_center,
            journal.partner,
        )
        return dict(zip(columns, cells, strict=True))

    return csv_of(columns, [row(entry) for entry in journal.entries])


def _is_purchase(journal: Journal, ledger: Ledger) -> bool:
    """Whether a journal stands against what we owe."""
    return any(entry.account == ledger.payable for entry in journal.entries)


def _amount(entry: Entry) -> tuple[str, str]:
    """Debit and credit as text, the side without an amount empty."""
    return (
        f"{entry.debit:f}" if entry.debit else "",
        f"{entry.credit:f}" if entry.credit else "",
    )


def _missing(name: str) -> BillingError:
    return BillingError(
        f"the export {name} has no terms", hint=f"add a section `{name}` to ledger.yaml"
    )
