"""Accounts of the general ledger, and what its uploads must say: the file ledger.yaml."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from billing_assets.reference.forms import Form, Identifier, Name

Account = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]

JournalFormat = Literal["csv", "xml", "json", "oracle", "netsuite", "sap"]


class PostingRule(Form):
    """The account of lines of a section, service and leg; what is left out fits any."""

    account: Account
    leg: Literal["customer", "supplier"] | None = None
    section: str | None = None
    service: str | None = None
    kind: str | None = None
    cost_center: str = ""

    def fits(self, leg: str, section: str, service: str, kind: str) -> bool:
        """Whether a line is posted by this rule."""
        asked = ((self.leg, leg), (self.section, section), (self.service, service))
        return all(mine in (None, theirs) for mine, theirs in (*asked, (self.kind, kind)))


class OracleTerms(Form):
    """What Oracle's GL_INTERFACE asks for besides the entries.

    `purchase_category` is that of what stands against payables (self-billed documents and their
    notes), `category` that of all else. `segments` are the parts of an account combination;
    '{account}', '{cost_center}' and '{partner}' stand for an entry's own.
    """

    ledger_id: Name
    source: Name = "Interconnect"
    category: Name = "Sales Invoices"
    purchase_category: Name = "Purchase Invoices"
    segments: tuple[Name, ...] = ("{account}",)
    conversion_type: Name = "Corporate"


class NetSuiteTerms(Form):
    """What NetSuite's journal import asks for besides the entries."""

    subsidiary: Name


class SapTerms(Form):
    """What SAP's upload of general journal entries asks for; tax codes by category and rate.

    `purchase_document_type` is that of what stands against payables. `tax_codes` maps 'S 0.23'
    or 'AE' to the code of the company's tax procedure.
    """

    company_code: Annotated[str, StringConstraints(min_length=1, max_length=4)]
    document_type: Name = "SA"
    purchase_document_type: Name = "SA"
    tax_codes: dict[str, str] = Field(default_factory=dict)

    def tax_code(self, category: str, rate: Decimal) -> str:
        """The code of a category and rate, or of the category alone; empty when none is set."""
        exact = f"{category} {rate.normalize():f}"
        return self.tax_codes.get(exact, self.tax_codes.get(category, ""))


class Ledger(Form):
    """How documents are posted; the first rule that fits a line decides its account.

    A line that no rule fits is an error: nothing is posted to an account of last resort.
    `accrued_income` and `accrued_cost` stand against accruals, and are needed for them alone.
    """

    ledger: Identifier
    receivable: Account
    payable: Account
    output_tax: Account
    input_tax: Account
    accrued_income: Account | None = None
    accrued_cost: Account | None = None
    rules: Annotated[tuple[PostingRule, ...], Field(min_length=1)]
    exports: tuple[JournalFormat, ...] = ("csv", "xml", "json")
    oracle: OracleTerms | None = None
    netsuite: NetSuiteTerms | None = None
    sap: SapTerms | None = None
