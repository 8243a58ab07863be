"""Statement of account: the documents between a partner and us in a currency, and their balance.

It lists what was issued (credit and debit notes included); payments are not known here, so the
balance is what the documents add up to and not what is still to be paid.
"""

from datetime import date
from decimal import Decimal

from billing_assets.core.errors import NotFound
from billing_assets.core.ids import canonical_json
from billing_assets.core.money import minor_units
from billing_assets.core.periods import Period
from billing_assets.installation import Installation
from billing_assets.invoicing.assemble import carrier_party, partner_party
from billing_assets.invoicing.document import Amount, Document, DocumentPeriod, Kind, Part, Party


class Entry(Part):
    """One document: `debit` is owed to us, `credit` to the partner; `balance` is after it."""

    issue_date: date
    number: str
    kind: Kind
    due_date: date
    debit: Amount
    credit: Amount
    balance: Amount


class Statement(Part):
    """Documents issued in a period; a balance above zero is owed to us."""

    seller: Party
    buyer: Party
    currency: str
    language: str
    template_name: str
    issue_date: date
    period: DocumentPeriod
    opening: Amount
    entries: tuple[Entry, ...]
    closing: Amount

    def canonical(self) -> bytes:
        """The bytes that stand for the statement."""
        return canonical_json(self.model_dump(mode="json"))


def statements(
    home: Installation, partner_id: str, period: Period, issue_date: date
) -> list[Statement]:
    """The statements of a partner for the days of a period, one a currency.

    Raises `NotFound` for an unknown partner, and for one without any document up to its end.
    """
    partner, carrier = home.reference.partner(partner_id), home.reference.carrier
    issued = sorted(
        (
            Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
            for cycle in home.registry.cycles.list(partner=partner_id, corrections=True)
            for stored in home.registry.documents.of_cycle(cycle.id)
            if stored.issue_date < period.end
        ),
        key=lambda one: (one.issue_date, one.number or ""),
    )
    if not issued:
        raise NotFound(f"{partner_id} has no document up to {period.last_day}")
    return [
        Statement(
            seller=carrier_party(carrier),
            buyer=partner_party(partner),
            currency=currency,
            language=partner.document.language,
            template_name=partner.document.template,
            issue_date=issue_date,
            period=DocumentPeriod.of(period),
            opening=opening,
            entries=tuple(entries),
            closing=entries[-1].balance if entries else opening,
        )
        for currency in sorted({one.currency for one in issued})
        for opening, entries in [_entries([d for d in issued if d.currency == currency], period)]
    ]


def _entries(documents: list[Document], period: Period) -> tuple[Decimal, list[Entry]]:
    """The balance before a period, and the entries in it; documents are by time."""
    zero = Decimal(0).scaleb(-minor_units(documents[0].currency))
    opening = balance = zero
    entries: list[Entry] = []
    for one in documents:
        # a credit note turns round who owes
        owed_to_us = one.ours is not (one.kind is Kind.CREDIT_NOTE)
        amount = one.totals.gross if owed_to_us else -one.totals.gross
        balance += amount
        if one.issue_date < period.start:
            opening = balance
            continue
        entries.append(
            Entry(
                issue_date=one.issue_date,
                number=one.number or "",
                kind=one.kind,
                due_date=one.due_date,
                debit=max(amount, zero),
                credit=max(-amount, zero),
                balance=balance,
            )
        )
    return opening, entries
