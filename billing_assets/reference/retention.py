"""How long records are kept: the file retention.yaml.

A rule is a table and a number of days; a hold keeps days from every rule while it stands.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.values import WHOLE, Day

RAW_FILES = "raw_files"
"""The rule for archived mediation files, each by the last UTC day of its records."""

RecordTable = Literal[
    "raw_files", "landed", "rejected", "duplicate", "partial", "xdr", "suspense", "rated_leg"
]
"""Raw files, and tables of single records. Aggregates, charges and documents are kept."""


class RetentionRule(Form):
    """What becomes of a table's days that are older than a number of days.

    Only `xdr` holds telephone numbers in columns of its own and can be pseudonymised.
    """

    table: RecordTable
    keep_days: Annotated[int, Field(ge=1, le=36_500), WHOLE]
    then: Literal["delete", "pseudonymise"]

    @model_validator(mode="after")
    def _can_be_done(self) -> "RetentionRule":
        if self.then == "pseudonymise" and self.table != "xdr":
            raise ValueError(f"{self.table} has no numbers to pseudonymise; delete it instead")
        return self


class LegalHold(Form):
    """Days of which nothing may be deleted or changed, and why."""

    hold: Identifier
    first_day: Day = Field(alias="from")
    last_day: Day = Field(alias="to")
    reason: Name

    @model_validator(mode="after")
    def _in_order(self) -> "LegalHold":
        if self.last_day < self.first_day:
            raise ValueError("a hold ends before it begins")
        return self


class Retention(Form):
    """The rules and the holds."""

    rules: tuple[RetentionRule, ...] = ()
    holds: tuple[LegalHold, ...] = ()
