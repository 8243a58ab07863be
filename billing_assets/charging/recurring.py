"""Recurring fees by calendar periods: by the days of a cycle, in arrears, in advance (I01 to I05).

What final cycles have billed of a fee decides: days that none has billed are charged, and days
that were billed at what the terms no longer say are corrected once. So a fee that ends after its
period was billed in advance is credited for the unused days.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from billing_assets.charging.line import Facts, Line, plain, rule_line
from billing_assets.core.money import Rounding, round_amount
from billing_assets.reference.fees import Recurring
from billing_assets.reference.models import Agreement
from billing_assets.reference.volume_terms import calendar_window

_DAY = timedelta(days=1)
_RULES = {
    "days": "recurring by {} days",
    "arrears": "recurring in arrears, {} days",
    "advance": "recurring in advance, {} days",
}

Span = tuple[date, date]
"""Days: the first, and the one after the last."""


@dataclass(frozen=True)
class Piece:
    """Days of one calendar period at one price and quantity.

    `part` of `whole` is the share of the period, in days of the fee's day count.
    """

    days: Span
    price: Decimal
    quantity: Decimal
    part: int
    whole: int

    @property
    def amount(self) -> Fraction:
        """Exact amount."""
        return Fraction(self.price) * Fraction(self.quantity) * Fraction(self.part, self.whole)


def recurring_lines(facts: Facts) -> list[Line]:
    """The recurring fees that a cycle bills, and the corrections of those billed before."""
    lines: list[Line] = []
    lives: dict[str, Span] = {}
    for one in facts.agreements:
        begins, ends = one.local_days
        known = lives.get(one.terms.agreement, (begins, ends))
        lives[one.terms.agreement] = (min(begins, known[0]), max(ends, known[1]))
    for one in facts.agreements:
        begins, ends = one.local_days
        for fee in one.terms.recurring:
            # the version's own days: the next version of an agreement takes over its fees
            held = max(fee.valid_from, begins), min(fee.valid_to or date.max, ends)
            lines += _Fee(facts, one.terms, fee, held, lives[one.terms.agreement]).lines()
    return lines


def pieces(fee: Recurring, days: Span) -> list[Piece]:
    """The pieces of a fee over some days, in order of time."""
    first, end = days
    found = []
    while first < end:
        window = calendar_window(fee.every, first)
        stop = min([end, window[1], *(day for day in fee.changes if day > first)])
        found.append(
            Piece(
                (first, stop),
                fee.price_on(first),
                fee.quantity_on(first),
                _days(fee, (first, stop)),
                _days(fee, window),
            )
        )
        first = stop
    return found


def _days(fee: Recurring, span: Span) -> int:
    """Days of a span: of the calendar, or of months of 30 days, whose 31st counts nothing."""
    first, end = span
    if fee.day_count == "actual":
        return (end - first).days
    return _position(end) - _position(first)


def _position(day: date) -> int:
    """A day's place in years of 360 days; differences of places add up over any split."""
    return 360 * day.year + 30 * day.month + min(day.day, 30)


@dataclass(frozen=True)
class _Fee:
    """A fee of one version of an agreement; `held` are its days there, `life` the agreement's."""

    facts: Facts
    terms: Agreement
    fee: Recurring
    held: Span
    life: Span

    def lines(self) -> list[Line]:
        billed = self._billed()
        taken = {day for span in billed for day in _each(span)}
        lines = [line for span in self._due(taken) if (line := self._charge(span))]
        if self.facts.late_since is not None:
            for span, before in sorted(billed.items()):
                if line := self._correction(span, before):
                    lines.append(line)
        return lines

    def _billed(self) -> dict[Span, Decimal]:
        """What final cycles have billed, by days; corrections are of the same days."""
        found: dict[Span, Decimal] = {}
        for one in self.facts.billed_fees:
            if (one.kind, one.agreement, one.fee) == ("recurring", self.terms.key, self.fee.fee):
                span = (one.first, one.last + _DAY)
                found[span] = found.get(span, Decimal(0)) + one.exact
        return found

    def _due(self, taken: set[date]) -> Iterator[Span]:
        """The days that the cycle bills, as unbroken spans that no final cycle has billed."""
        period = self.facts.cycle.period
        since = min(self.facts.late_since or period.start, period.start)
        if self.fee.bill == "days":
            yield from _spans(
                day
                for day in _each((max(since, self.held[0]), min(period.end, self.held[1])))
                if day not in taken and self.facts.bills_fee_of(day)
            )
            return
        # a period is billed by the cycle of one of its days, which another version may hold
        window = calendar_window(self.fee.every, since)
        while window[0] < min(self.held[1], period.end + self.fee.lead_days * _DAY):
            inside = max(window[0], self.held[0]), min(window[1], self.held[1])
            if inside[0] < inside[1] and self._bills(window):
                yield from _spans(day for day in _each(inside) if day not in taken)
            window = calendar_window(self.fee.every, window[1])

    def _bills(self, window: Span) -> bool:
        """Whether the cycle bills a period: it has its last day, or its first one less the lead."""
        fee, (begins, ends) = self.fee, self.life
        if fee.bill == "arrears":
            return self.facts.bills_fee_of(min(window[1], fee.valid_to or date.max, ends) - _DAY)
        first = max(window[0], fee.valid_from, begins)
        due = first - fee.lead_days * _DAY
        # the first cycle of all bills a period of its own that was due before there was any
        own = first >= self.facts.cycle.period.start and self.facts.bills_day(due)
        return own or self.facts.bills_fee_of(due)

    def _charge(self, span: Span) -> Line | None:
        parts = pieces(self.fee, span)
        if not any(piece.quantity for piece in parts):
            return None
        kinds = {(piece.price, piece.quantity) for piece in parts}
        price, quantity = kinds.pop() if len(kinds) == 1 else (None, Decimal(1))
        return self._line(
            ("recurring", self.terms.key, self.fee.fee, span[0]),
            self.fee.title,
            span,
            sum((piece.amount for piece in parts), Fraction(0)),
            self._steps(parts),
            quantity=quantity,
            price=price,
        )

    def _correction(self, span: Span, before: Decimal) -> Line | None:
        """What is due for days that were billed, less what was; None when it is the same."""
        held = max(span[0], self.held[0]), min(span[1], self.held[1])
        parts = pieces(self.fee, held)
        due = round_amount(sum((p.amount for p in parts), Fraction(0)), 10, Rounding.HALF_UP)
        if due == before:
            return None
        currency, last = self.terms.currency, span[1] - _DAY
        return self._line(
            ("recurring", self.terms.key, self.fee.fee, "corrected", span[0], last),
            f"{self.fee.title}, {'credit' if due < before else 'correction'}",
            span,
            Fraction(due) - Fraction(before),
            [
                f"billed before for {span[0]} to {last}: {plain(before)} {currency}",
                *(self._steps(parts) if parts else ["the fee does not hold on these days"]),
                f"due: {plain(due)} {currency}",
            ],
            quantity=Decimal(1),
            price=None,
        )

    def _steps(self, parts: Sequence[Piece]) -> list[str]:
        fee, currency = self.fee, self.terms.currency

        def price_of(piece: Piece) -> str:
            return f"{plain(piece.quantity)} x {plain(piece.price)} {currency} a {fee.every}"

        def share_of(piece: Piece) -> str:
            convention = " (30/360)" if fee.day_count == "30/360" else ""
            return f"{piece.part} of {piece.whole} days{convention}"

        if len({price_of(piece) for piece in parts}) == 1:
            cut = [share_of(piece) for piece in parts if piece.part != piece.whole]
            return [price_of(parts[0]), *cut]
        return [f"{p.days[0]} to {p.days[1] - _DAY}: {price_of(p)}, {share_of(p)}" for p in parts]

    def _line(
        self,
        key: tuple[object, ...],
        title: str,
        span: Span,
        exact: Fraction,
        steps: list[str],
        *,
        quantity: Decimal,
        price: Decimal | None,
    ) -> Line:
        return rule_line(
            self.terms,
            key=key,
            kind="recurring",
            title=title,
            days=(span[0], span[1] - _DAY),
            exact=exact,
            steps=steps,
            rule=_RULES[self.fee.bill].format(self.fee.day_count),
            quantity=quantity,
            unit=self.fee.every if price is not None else "unit",
            price=price,
            inputs={"fee": self.fee.fee},
        )


def _each(span: Span) -> Iterator[date]:
    for offset in range((span[1] - span[0]).days):
        yield span[0] + timedelta(days=offset)


def _spans(days: Iterable[date]) -> Iterator[Span]:
    """Days in order as unbroken spans."""
    first = following = None
    for day in days:
        if first is not None and following is not None and day != following:
            yield first, following
            first = day
        first, following = first or day, day + _DAY
    if first is not None and following is not None:
        yield first, following
