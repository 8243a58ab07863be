"""What changed between two trial runs of a cycle, line by line and in money."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document, Line


@dataclass(frozen=True)
class Change:
    """A line that the last run bills otherwise than the run before; None where one lacks it."""

    document: str
    description: str
    currency: str
    quantity_before: Decimal | None
    quantity: Decimal | None
    before: Decimal | None
    now: Decimal | None

    @property
    def difference(self) -> Decimal:
        """What the line bills more than before."""
        return (self.now or Decimal(0)) - (self.before or Decimal(0))


@dataclass(frozen=True)
class Trial:
    """The last run of a cycle against the last one before it that made drafts."""

    run: int
    against: int | None
    changes: tuple[Change, ...]


def trial_of(home: Installation, cycle_id: str) -> Trial:
    """Compare the drafts of a cycle's last run with those before; raises `NotFound`.

    The first drafts have nothing before them (`against` is None). A run that was blocked made no
    drafts and is passed over.
    """
    run = home.registry.cycles.get(cycle_id).runs
    for against in range(run - 1, 0, -1):
        before = _drafts(home, cycle_id, against)
        if before:
            return Trial(run, against, tuple(changes(before, _drafts(home, cycle_id, run))))
    return Trial(run, None, ())


def changes(before: Mapping[str, Document], now: Mapping[str, Document]) -> Iterable[Change]:
    """Lines that differ between two sets of documents by id; a line is known by its charge."""
    for name in sorted({*before, *now}):
        old, new = _lines(before.get(name)), _lines(now.get(name))
        currency = (now.get(name) or before[name]).currency
        for charge in dict.fromkeys([*new, *old]):
            one, other = old.get(charge), new.get(charge)
            if one and other and (one.amount, one.quantity) == (other.amount, other.quantity):
                continue
            yield Change(
                document=name,
                description=(other or old[charge]).description,
                currency=currency,
                quantity_before=one.quantity if one else None,
                quantity=other.quantity if other else None,
                before=one.amount if one else None,
                now=other.amount if other else None,
            )


def _lines(document: Document | None) -> dict[str, Line]:
    return {line.charge_id: line for line in document.lines} if document else {}


def _drafts(home: Installation, cycle_id: str, run: int) -> dict[str, Document]:
    return {
        draft.id: Document.model_validate_json(home.blobs.get(draft.canonical_sha256))
        for draft in home.registry.documents.drafts(cycle_id, run)
    }
