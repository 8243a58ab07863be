"""Bill-and-keep: traffic is free while balanced, and only what exceeds that is charged.

What counts is the flow each way in a window; who sent more than the smaller flow and its
tolerance owes the rest (F03, H04, S09), once a ratio was passed in enough windows in a row (F04).
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from billing_assets.charging.accumulator import Settled, life, settled_at, windows
from billing_assets.charging.line import (
    Facts,
    Line,
    count_text,
    plain,
    rule_line,
)
from billing_assets.charging.volume_lines import counted
from billing_assets.reference.deals import Balance, Deal, Direction
from billing_assets.reference.load import InForce
from billing_assets.reference.volume_terms import Window

Flows = tuple[Fraction, Fraction]
"""What was received and what was sent in a window, in the unit of price."""


def balance_charge(
    received: int | Decimal | Fraction,
    sent: int | Decimal | Fraction,
    *,
    ratio: Decimal,
    rate: Decimal,
) -> tuple[Fraction, Fraction]:
    """Quantity beyond `ratio` times what was sent, and its price; both exact, at least 0.

    `received` and `sent` are messages or minutes of a period, `rate` the price of one.

    >>> balance_charge(1_500_000, 1_200_000, ratio=Decimal("1.10"), rate=Decimal("0.0100"))
    (Fraction(180000, 1), Fraction(1800, 1))
    """
    beyond = max(Fraction(0), Fraction(received) - Fraction(ratio) * Fraction(sent))
    return beyond, beyond * Fraction(rate)


def imbalance(terms: Balance, flows: Flows) -> Fraction:
    """What is charged of a window's flows: above 0 the partner owes it, below 0 we do.

    >>> str(imbalance(Balance(tolerance="0.10", price="0.0008"), (Fraction(1200), Fraction(1000))))
    '100'
    """
    received, sent = flows
    ratio = 1 + terms.tolerance
    theirs, _ = balance_charge(received, sent, ratio=ratio, rate=terms.price)
    ours, _ = balance_charge(sent, received, ratio=ratio, rate=terms.price)
    return theirs if theirs or terms.payer == "partner" else -ours


def passes(terms: Balance, flows: Flows) -> bool:
    """Whether the larger flow is more than the ratio times the smaller one."""
    return terms.ratio is None or max(flows) > Fraction(terms.ratio) * min(flows)


def balance_lines(facts: Facts) -> list[Line]:
    """What imbalance costs in the windows that a cycle settles, on the side that owes it."""
    return [
        line
        for deal in facts.deals
        if deal.balance and deal.received and deal.sent
        for line in _deal_lines(facts, deal, deal.balance, deal.received, deal.sent)
    ]


def _deal_lines(
    facts: Facts, deal: Deal, terms: Balance, received: Direction, sent: Direction
) -> Iterator[Line]:
    theirs, ours = (_latest(facts, one) for one in (received, sent))
    if theirs is None or ours is None:
        return
    touched = {
        window
        for direction in (received, sent)
        for version in facts.agreements
        if version.terms.agreement == direction.agreement
        for window in windows(facts, version, deal.counted(direction))
    }
    for window in sorted(touched):
        when = _settled(facts, deal, theirs, window)
        if not when.now and not when.before:
            continue
        was, now = (_due(facts, deal, terms, window, index) for index in (0, 1))
        flows = _flows(facts, deal, window, 1)
        for side, sign in ((theirs, 1), (ours, -1)):
            units = max(Fraction(0), sign * now)
            units -= max(Fraction(0), sign * was) if when.before else 0
            if units:
                yield _line(deal, terms, side, window, flows, units)


def running_imbalance(
    facts: Facts, day: date
) -> Iterator[tuple[Deal, InForce, Window, Fraction, Fraction]]:
    """Imbalance so far in the windows that are not settled by the end of a day.

    Deal, the version that bills it, window, units, and their exact price.
    """
    for deal in facts.deals:
        window = deal.window(day)
        if not (deal.balance and deal.received and deal.sent) or window is None:
            continue
        theirs, ours = (_latest(facts, one) for one in (deal.received, deal.sent))
        if theirs is None or ours is None:
            continue
        if _settled(facts, deal, theirs, window).now:
            continue
        units = _due(facts, deal, deal.balance, window, 1)
        if units:
            side = theirs if units > 0 else ours
            yield deal, side, window, abs(units), abs(units) * Fraction(deal.balance.price)


def _settled(facts: Facts, deal: Deal, theirs: InForce, window: Window) -> Settled:
    """Whether a cycle settles a window: the one with the last day of the deal or its agreement,
    which a new version does not end."""
    end = deal.counted(deal.directions[0]).held(window)[1]
    return settled_at(facts, min(end, life(facts, theirs)[1]))


def _latest(facts: Facts, direction: Direction) -> InForce | None:
    """The version of a direction's agreement that bills it: the latest begun in the period."""
    end = facts.cycle.period.end
    versions = [a for a in facts.agreements if a.terms.agreement == direction.agreement]
    begun = [a for a in versions if a.local_days[0] < end]
    return max(begun, key=lambda one: one.terms.version, default=None)


def _flows(facts: Facts, deal: Deal, window: Window, index: int) -> Flows:
    """Flows of a window before this cycle's usage (index 0) and with it (1)."""
    amounts: list[Fraction] = []
    for direction in (deal.received, deal.sent):
        side = _latest(facts, direction) if direction else None
        if direction is None or side is None:
            amounts.append(Fraction(0))
            continue
        amounts.append(counted(facts, side, deal.counted(direction), window)[index])
    return amounts[0], amounts[1]


def _due(facts: Facts, deal: Deal, terms: Balance, window: Window, index: int) -> Fraction:
    """The imbalance charged for a window, 0 until its ratio was passed often enough in a row."""
    flows = _flows(facts, deal, window, index)
    if not passes(terms, flows):
        return Fraction(0)
    earlier: Window | None = window
    for _ in range(terms.consecutive - 1):
        earlier = deal.window(earlier[0] - timedelta(days=1)) if earlier else None
        if earlier is None or not passes(terms, _flows(facts, deal, earlier, index)):
            return Fraction(0)
    return imbalance(terms, flows)


def _line(
    deal: Deal, terms: Balance, side: InForce, window: Window, flows: Flows, units: Fraction
) -> Line:
    unit = side.terms.priced_unit
    received, sent = (count_text(one) for one in flows)
    free = count_text(min(flows) * (1 + Fraction(terms.tolerance)))
    steps = [f"received {received} {unit}s, sent {sent}"]
    if terms.ratio is not None:
        steps.append(f"more than {plain(terms.ratio)} to 1, {terms.consecutive} times in a row")
    steps += [
        f"free up to {free} {unit}s: the smaller flow and {plain(100 * terms.tolerance)}%",
        f"{count_text(units)} {unit}s at {plain(terms.price)} {side.terms.currency}",
    ]
    return rule_line(
        side.terms,
        key=("balance", side.terms.agreement, deal.deal, window[0]),
        kind="balance",
        section="volume",
        title=deal.name,
        days=(window[0], window[1] - timedelta(days=1)),
        exact=units * Fraction(terms.price),
        steps=steps,
        rule=deal.deal,
        quantity=units,
        unit=unit,
        price=terms.price,
        inputs={"received": received, "sent": sent, "window": f"{window[0]}/{window[1]}"},
    )
