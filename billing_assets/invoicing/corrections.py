"""Credit and debit notes: the only way to change what a final document says.

A note is drafted by one person and approved by another, in a correction cycle of its own, which
keeps who, when and why. It names the document that it corrects (VAT Directive Art. 219); a line
may be credited in parts, and never beyond what it billed.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from billing_assets.core.errors import BillingError, NotFound, StateError
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.installation import Installation
from billing_assets.invoicing.document import (
    CORRECTION_LINE,
    Corrected,
    Document,
    Kind,
    Line,
    plain,
    subtotals_of,
)
from billing_assets.invoicing.finalise import keep_draft, require_after
from billing_assets.invoicing.layout import template_hash
from billing_assets.invoicing.pdf import engine_versions
from billing_assets.invoicing.tax import retaxed
from billing_assets.reference.values import MAX_MONEY
from billing_assets.registry import documents as registered
from billing_assets.registry.cycles import CORRECTION, FINALISED, Cycle

CORRECTS = "corrects"
"""The figure of a correction that names the document it corrects."""

_CREDIT = "credited_line_"
"""Before a line's number: the figure of a correction that tells how much of it is credited."""

_BEFORE = "credited_before_line_"
"""Before a line's number: how much of it final notes had credited when the note was drafted."""


def draft_credit_note(
    home: Installation,
    document: str,
    *,
    reason: str,
    lines: Sequence[int] = (),
    amount: Decimal | None = None,
    issue_date: date,
    now: datetime,
    who: str,
) -> Cycle:
    """Draft a credit note to an issued document: of some lines, or of all that is left of it.

    `amount` credits a part of a single line, in the document's currency; a line that was credited
    in part gives what is left of it. Returns the correction, which another person has to approve.
    Raises `NotFound` for an unknown document or line, `BillingError` for a blank reason, a line
    that is named twice or an amount that does not fit, and `StateError` when nothing is left.
    """
    original, stored = _original(home, document)
    if original.kind is Kind.CREDIT_NOTE:
        raise StateError(f"{document} is a credit note", hint="correct the document it names")
    corrections = home.registry.cycles.list(partner=stored.partner, corrections=True)
    issued = [one for one in corrections if one.state in FINALISED]
    before = _figures(issued, _CREDIT).get(stored.id, {})
    numbers = lines or [
        line.number for line in original.lines if before.get(line.number) != line.amount
    ]
    if not numbers:
        raise StateError(f"every line of {document} has been credited")
    if len(set(numbers)) < len(numbers):
        raise BillingError("a line is named twice", hint="name each line once")
    if amount is not None and len(lines) != 1:
        raise BillingError("an amount is credited to one line", hint="name it with --line")
    chosen = [_creditable(original, n, before.get(n), amount, reason) for n in numbers]
    note = _note(home, original, Kind.CREDIT_NOTE, chosen, reason, issue_date)
    credits = {f"{_CREDIT}{line.number}": plain(line.amount) for line in chosen}
    credits |= {f"{_BEFORE}{n}": plain(before[n]) for n in numbers if n in before}
    return _keep(home, stored, note, credits, now=now, who=who)


def draft_debit_note(
    home: Installation,
    document: str,
    *,
    reason: str,
    line: int,
    amount: Decimal,
    issue_date: date,
    now: datetime,
    who: str,
) -> Cycle:
    """Draft a debit note: an amount above zero that is owed beyond an issued document's line.

    Raises as `draft_credit_note` does.
    """
    original, stored = _original(home, document)
    if original.kind is Kind.CREDIT_NOTE:
        raise StateError(f"{document} is a credit note", hint="correct the document it names")
    if amount <= 0:
        raise BillingError(f"a debit note needs an amount above zero, not {amount}")
    owed = _part(_line(original, line), amount, original.currency, reason)
    # what we issue in a partner's name is self-billed, whatever it adds to
    kind = Kind.DEBIT_NOTE if original.ours else Kind.SELF_BILLED
    note = _note(home, original, kind, [owed], reason, issue_date)
    return _keep(home, stored, note, {}, now=now, who=who)


def require_creditable(current: Cycle, registered_cycles: Sequence[Cycle]) -> None:
    """Raise `StateError` when a line of a credit note was credited by another meanwhile.

    To be called in the transaction that finalises it: what it leaves of a line was worked out
    from the notes that were final when it was drafted.
    """
    document = str(current.totals.get(CORRECTS))
    final = [one for one in registered_cycles if one.id != current.id and one.state in FINALISED]
    now = _figures(final, _CREDIT).get(document, {})
    then = _figures([current], _BEFORE).get(document, {})
    mine = _figures([current], _CREDIT).get(document, {})
    moved = sorted(number for number in mine if now.get(number) != then.get(number))
    if moved:
        raise StateError(
            f"{current.id}: line {', '.join(map(str, moved))} was credited by another note",
            hint="draft the credit note again",
        )


def _original(home: Installation, name: str) -> tuple[Document, registered.Document]:
    """An issued document by its number or id."""
    numbered = home.registry.documents.with_number(name)
    if len(numbered) > 1:
        raise BillingError(
            f"{len(numbered)} documents bear {name}",
            hint=f"name one by its id: {', '.join(one.id for one in numbered)}",
        )
    stored = numbered[0] if numbered else home.registry.documents.get(name)
    return Document.model_validate_json(home.blobs.get(stored.canonical_sha256)), stored


def _line(original: Document, number: int) -> Line:
    for line in original.lines:
        if line.number == number:
            return line
    raise NotFound(
        f"{original.number} has no line {number}", hint=f"it has {len(original.lines)} lines"
    )


def _creditable(
    original: Document, number: int, before: Decimal | None, amount: Decimal | None, reason: str
) -> Line:
    """The line of a note that credits `amount` of a line, or all that is left of it.

    `before` is what final notes have credited of it, None when there are none.
    """
    line = _line(original, number)
    if before is None and amount is None:
        return line
    left = line.amount - (before or 0)
    if before is not None and not left:
        raise StateError(f"line {number} of {original.number} is credited already by {before}")
    part = _part(line, left if amount is None else amount, original.currency, reason)
    if not left or not 0 < Fraction(part.amount) / Fraction(left) <= 1:
        gone = f", of which {before} is credited" if before else ""
        raise BillingError(
            f"line {number} of {original.number} billed {line.amount}{gone}: "
            f"{part.amount} cannot be credited"
        )
    return part


def _part(line: Line, amount: Decimal, currency: str, reason: str) -> Line:
    """A line over an amount instead of its own, which keeps its tax and what it was for."""
    if abs(amount) > MAX_MONEY:
        raise BillingError(f"{amount} is more than {MAX_MONEY:,} {currency}")
    decimals = minor_units(currency)
    exact = round_amount(amount, decimals, Rounding.DOWN)
    if exact != amount:
        raise BillingError(f"{amount} has more than the {decimals} decimals of {currency}")
    return line.model_copy(
        update={
            "kind": CORRECTION_LINE,
            "quantity": Decimal(1 if exact >= 0 else -1),
            "unit": "event",
            "price": None,
            "exact_amount": exact,
            "amount": exact,
            "records": 0,
            "answered": 0,
            "steps": (reason,),
        }
    )


def _figures(corrections: Sequence[Cycle], prefix: str) -> Mapping[str, Mapping[int, Decimal]]:
    """By document and line: the sum of the figures of some corrections that begin so."""
    found: dict[str, dict[int, Decimal]] = {}
    for one in corrections:
        for name, value in one.totals.items():
            if name.startswith(prefix):
                lines = found.setdefault(str(one.totals[CORRECTS]), {})
                number = int(name.removeprefix(prefix))
                lines[number] = lines.get(number, Decimal(0)) + Decimal(value)
    return found


def _note(
    home: Installation,
    original: Document,
    kind: Kind,
    lines: Sequence[Line],
    reason: str,
    issue_date: date,
) -> Document:
    """The draft of a note over some lines, its sums and taxes made anew."""
    if not reason.strip():
        raise BillingError(f"a {kind.replace('_', ' ')} needs a reason")
    corrects = Corrected(number=original.number or "", issue_date=original.issue_date)
    require_after(corrects, issue_date)
    changes = {
        "kind": kind,
        "number": None,
        "issue_date": issue_date,
        "due_date": issue_date + timedelta(days=original.terms_days),
        "lines": [line.model_dump() for line in lines],
        "subtotals": [part.model_dump() for part in subtotals_of(lines)],
        **retaxed(original, lines),
        "references": {**original.references.model_dump(), "corrects": corrects.model_dump()},
        "notes": (reason,),
        "traffic": (),
        "provenance": {
            **original.provenance.model_dump(),
            "template": template_hash(home.templates, original.template_name),
            "engines": engine_versions(),
        },
    }
    return Document.model_validate({**original.model_dump(), **changes})


def _keep(
    home: Installation,
    stored: registered.Document,
    note: Document,
    credits: Mapping[str, str],
    *,
    now: datetime,
    who: str,
) -> Cycle:
    """Open a correction for a note and store the note as its draft."""
    cycles, known = home.registry.cycles, home.registry.cycles.get(stored.cycle)
    taken = {one.id for one in cycles.list(partner=stored.partner, corrections=True)}
    number = next(n for n in range(1, len(taken) + 2) if f"{stored.cycle}/C{n}" not in taken)
    name = f"{stored.cycle}/C{number}"
    carrier = home.reference.carrier
    note = note.model_copy(
        update={"provenance": note.provenance.model_copy(update={"cycle": name})}
    )
    draft = keep_draft(
        note, carrier=carrier, templates=home.templates, blobs=home.blobs, pins=stored.pins
    )
    cycles.open_cycle(name, stored.partner, known.period, CORRECTION, now=now, who=who)
    sign = -1 if note.kind is Kind.CREDIT_NOTE else 1
    net = {f"{note.leg} {note.currency}": plain(sign * note.totals.net)}
    cycles.record_run(name, {CORRECTS: stored.id, **credits, **net}, now=now, who=who)
    cycles.record_validation(name, [], now=now, who=who)
    return home.registry.documents.record_drafts(name, [draft], now=now, who=who)
