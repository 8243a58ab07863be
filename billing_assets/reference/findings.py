"""What importing sheets found that is no reason to refuse them, for the person who approves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

MOST = 50
"""So many findings of one kind are told a sheet; the last tells how many more there are."""


class Kind(StrEnum):
    """Kinds of findings (catalogue 2.1: RS2 to RS7)."""

    MARKER = "marker"
    PREVIOUS_RATE = "previous rate"
    OUTLIER = "outlier"
    ZERO = "zero rate"
    OTHER_CURRENCY = "other currency"
    INCREMENTS = "increments"
    RETROACTIVE = "retroactive"
    NOTICE = "notice"
    DUPLICATE = "duplicate"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    MANGLED = "mangled"
    COUNTRY_CODE = "country code"
    PASSED_OVER = "passed over"


@dataclass(frozen=True)
class Finding:
    """Something in a sheet that a person should look at; its rows are loaded nevertheless."""

    kind: Kind
    agreement: str
    file: str
    row: int | None
    field: str
    value: str
    message: str


@dataclass(frozen=True)
class Breach:
    """A change that was announced too late and is loaded at its earliest valid date.

    `change` is increase, decrease, new, withdrawn or blocked; `row` is None for a code that a
    full sheet withdraws by leaving it out. Until `loaded`, the partner may bill as of `requested`
    what the agreement does not allow: it is for dispute (RS4, B09, S07).
    """

    agreement: str
    file: str
    row: int | None
    code: str
    requested: datetime
    loaded: datetime
    change: str = "increase"
    destination: str = ""


def shortened(findings: Iterable[Finding]) -> list[Finding]:
    """At most `MOST` of a kind and sheet, and one that counts the rest."""
    groups: dict[tuple[str, Kind], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.file, one.kind), []).append(one)
    kept: list[Finding] = []
    for group in groups.values():
        kept += group[:MOST]
        if len(group) > MOST:
            kept.append(
                replace(
                    group[MOST], row=None, value="", message=f"{len(group) - MOST} more like it"
                )
            )
    return kept


def rows_of(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """Findings as rows of a table."""
    return [{**vars(one), "kind": one.kind.value} for one in findings]
