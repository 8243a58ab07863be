"""What was billed before and is adjusted now: by original document and line, on the next invoice
or at once as a credit or debit note of its own (catalogue B10, 3.4)."""

import json
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from billing_assets.charging.cycles import Cycle, adjustment_of
from billing_assets.charging.line import ADJUSTS
from billing_assets.core.errors import StateError
from billing_assets.installation import Installation
from billing_assets.invoicing.document import (
    Corrected,
    Document,
    Kind,
    subtotals_of,
)
from billing_assets.invoicing.tax import retaxed
from billing_assets.registry import cycles as registered
from billing_assets.registry.cycles import ADJUSTMENT, FINALISED

_USAGE_WORDS = ("kind", "agreement", "service", "destination", "band", "origin")
_RULE_WORDS = ("kind", "agreement", "description")


def open_adjustment(home: Installation, name: str, *, now: datetime, who: str) -> registered.Cycle:
    """Register the cycle that bills at once what a final cycle's days have gained or lost.

    Its document is a credit note or a debit note to the cycle's own. An adjustment that is still
    open is returned as it is. Raises `StateError` for a cycle that is not final, and where terms
    count whole periods (volume, commitments, deals): those the partner's next cycle adjusts.
    """
    known = home.registry.cycles.get(name)
    if known.state not in FINALISED or known.is_correction:
        raise StateError(f"{name} is {known.state}, not final", hint="run it again instead")
    if known.cadence == ADJUSTMENT:
        raise StateError(f"{name} adjusts a cycle itself", hint="adjust that one again")
    counted = [
        one.terms.key
        for one in home.reference.agreements_of(known.partner)
        if one.terms.counts_periods
    ]
    counted += [deal.deal for deal in home.reference.deals_of(known.partner)]
    if counted:
        raise StateError(
            f"{', '.join(sorted(counted))} count whole periods: {known.partner}'s next cycle "
            "adjusts them",
            hint="run the partner's next cycle",
        )
    of_partner = home.registry.cycles.list(partner=known.partner, corrections=True)
    for other in of_partner:
        if other.id.startswith(f"{name}/A") and other.state not in FINALISED:
            return other
    cycle = adjustment_of(known, [other.id for other in of_partner])
    return home.registry.cycles.open_cycle(
        cycle.cycle, cycle.partner, cycle.period, cycle.cadence, now=now, who=who
    )


def naming_originals(home: Installation, charges: pl.DataFrame) -> pl.DataFrame:
    """Charges whose description names the document and line that first billed the same:
    'Jamaica Mobile, re FT 2026/000012:3'; only the document where no line is alike."""
    cycles = {
        row["charge_id"]: json.loads(row["inputs"] or "{}").get(ADJUSTS, "")
        for row in charges.select("charge_id", "inputs").iter_rows(named=True)
    }
    originals = {one: _documents(home, one) for one in set(cycles.values()) if one}
    if not originals:
        return charges
    said = []
    for row in charges.iter_rows(named=True):
        text, cycle = row["description"], cycles[row["charge_id"]]
        place = _place(originals.get(cycle, ()), row)
        said.append(f"{text}, re {place or cycle}" if cycle else text)
    return charges.with_columns(pl.Series("description", said, pl.String))


def as_note(home: Installation, cycle: Cycle, document: Document) -> Document:
    """The document of an adjustment as a credit note (below zero) or debit note to the one that
    it adjusts. What we do not issue ourselves stays as it is, and so does what no document of the
    cycle has billed before: an invoice."""
    if cycle.cadence != ADJUSTMENT or document.kind is not Kind.INVOICE:
        return document
    originals = [
        one
        for one in _documents(home, cycle.cycle.rpartition("/")[0])
        if (one.leg, one.stream, one.currency, one.turned)
        == (document.leg, document.stream, document.currency, document.turned)
    ]
    if not originals:
        return document
    credit = document.totals.net < 0
    sign = -1 if credit else 1
    lines = [
        line.model_copy(
            update={
                name: sign * getattr(line, name) + 0  # a decimal zero keeps no minus
                for name in ("amount", "exact_amount", "quantity", "records", "answered")
            }
        )
        for line in document.lines
    ]
    first = originals[0]
    references = document.references.model_dump()
    references["corrects"] = Corrected(
        number=first.number or "", issue_date=first.issue_date
    ).model_dump()
    changes = {
        "kind": Kind.CREDIT_NOTE if credit else Kind.DEBIT_NOTE,
        "lines": [line.model_dump() for line in lines],
        "subtotals": [part.model_dump() for part in subtotals_of(lines)],
        **retaxed(document, lines),
        "references": references,
    }
    return Document.model_validate({**document.model_dump(), **changes})


def _documents(home: Installation, cycle: str) -> Sequence[Document]:
    """The issued documents of a final cycle."""
    return [
        Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
        for stored in home.registry.documents.of_cycle(cycle)
    ]


def _place(documents: Sequence[Document], row: dict[str, object]) -> str:
    """'NUMBER:LINE' of the line that billed the same before, the number alone without one."""
    numbers = []
    for document in documents:
        if (document.leg.value, document.currency) != (row["leg"], row["currency"]):
            continue
        numbers.append(document.number or "")
        words = _USAGE_WORDS if row["kind"] == "usage" else _RULE_WORDS
        alike = [
            line
            for line in document.lines
            if all(getattr(line, word) == (row[word] or "") for word in words)
        ]
        same_price = [line for line in alike if line.price == row["price"]]
        for line in (*same_price, *alike):
            return f"{document.number}:{line.number}"
    return numbers[0] if numbers else ""
