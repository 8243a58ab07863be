"""Lines of volume rules: usage that a rule prices instead of its records, credits on volume.

What a cycle bills under a rule is what the window comes to now, less what it came to before the
cycle's usage: so late and re-rated usage moves every tier back and forth exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

import polars as pl

from billing_assets.charging.accumulator import (
    Accumulator,
    Cut,
    accumulators,
    by_destination,
    counts_from,
    cut,
    held_days,
    in_scope,
    ruled_days,
    settled,
    units_by_day,
    windows,
)
from billing_assets.charging.line import (
    BILLED_AT,
    ByDay,
    Facts,
    Line,
    count_text,
    days_matter,
    plain,
    rule_line,
    shown_text,
)
from billing_assets.charging.priced import Priced, Worth
from billing_assets.charging.share_lines import share_out
from billing_assets.charging.usage_lines import replaced_lines
from billing_assets.charging.volume import (
    all_unit,
    credited,
    graduated,
    inside_bundle,
    tier_parts,
    tier_reached,
)
from billing_assets.rating.terms import units_per_price
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement
from billing_assets.reference.volume_terms import (
    CREDITS,
    Commitment,
    Counted,
    Tier,
    VolumeRule,
    Window,
)


def price_volumes(facts: Facts) -> Priced:
    """Price a cycle's usage by the volume rules of its agreements, and share it out.

    Rules are taken in the order of their agreement; usage is priced by the first that names it.
    """
    legs = None if facts.legs is None else facts.legs.with_columns(is_part=False)
    priced = Priced(facts.usage, facts.billed, legs)
    since = _spend_counts_from(facts)
    for agreement in facts.agreements:
        for rule in agreement.terms.volume:
            if rule.model not in CREDITS:
                for window in windows(facts, agreement, rule, since):
                    _replace(facts, agreement, rule, window, priced)
    share_out(facts, priced)
    return priced


def _spend_counts_from(facts: Facts) -> date:
    """The first day whose charges a term on the spend counts: fees are due without usage too.

    What came before the days of an opening is in its amount.
    """
    terms = [
        term
        for agreement in facts.agreements
        for term in (*agreement.terms.volume, *agreement.terms.commitments)
        if (term.amount if isinstance(term, Commitment) else term.model == "discount")
    ]
    if not terms:
        return facts.cycle.period.start
    opened = [one.until + timedelta(days=1) for term in terms for one in term.opening]
    return max([counts_from(facts), *opened])


def _replace(
    facts: Facts, agreement: InForce, rule: VolumeRule, window: Window, priced: Priced
) -> None:
    """Price the usage of one window by a rule, and keep what it was rated at."""
    terms = agreement.terms
    taken = priced.taken[terms.agreement, rule.rule]
    for one in accumulators(facts, agreement, rule, window, priced):
        step = _Step(facts, rule, one, priced)
        priced.lines += [line for line in step.lines() if line.columns["exact_amount"]]
        now, before = step.cut(), step.cut_before()
        priced.lines += replaced_lines(facts, now.under, rule.rule)
        taken += [now.under, before.under]
        priced.worth.append(step.worth())
        priced.kept = pl.concat([priced.kept.filter(~one.held), now.above])
        priced.kept_before = pl.concat([priced.kept_before.filter(~one.held), before.above])
        priced.legs = _legs_left(priced.legs, one, now)


def _legs_left(legs: pl.LazyFrame | None, one: Accumulator, now: Cut) -> pl.LazyFrame | None:
    """The legs behind the usage that a rule leaves: all or none of its own unless it cut calls."""
    if legs is None:
        return None
    if now.legs is not None:
        return pl.concat([legs.filter(~one.held), now.legs.lazy()])
    return legs.filter(~one.held) if now.above.is_empty() else legs


class _Step:
    """One accumulator of a rule that prices usage: its lines, and what they stand for."""

    def __init__(self, facts: Facts, rule: VolumeRule, one: Accumulator, priced: Priced):
        self.facts, self.rule, self.one = replace(facts, legs=priced.legs), rule, one
        self.usage, self.billed = priced.kept, priced.kept_before
        self.terms = one.terms
        self.per = units_per_price(self.terms)
        self.sign = -1 if self.terms.reverse else 1
        self.start = (one.opening + one.before) / self.per
        self.own = one.own / self.per
        self.settled = settled(facts, one.agreement, rule.rule, rule, one.window)
        self.days = held_days(one.agreement, rule, one.window)
        first, end = ruled_days(facts, one.agreement, rule, one.window)
        whole = (one.window[1] - one.window[0]).days
        self.share = Fraction((end - first).days, whole) if rule.prorate else Fraction(1)
        self.included = Fraction(rule.included or 0) * self.share

    def worth(self) -> Worth:
        """What the rule charges for the accumulator's usage."""
        rule, of = self.rule, frozenset({self.one.of})
        return Worth(
            frozenset(rule.agreements or (self.terms.agreement,)),
            of if rule.accumulate == "by_destination" else frozenset(rule.destinations),
            of if rule.accumulate == "by_account" else frozenset(rule.accounts),
            self._until,
        )

    def _until(self, day: date) -> tuple[Fraction, Fraction]:
        was, own = (
            sum((units for one, units in days if one < day), Fraction(0)) / self.per
            for days in self._daily
        )
        is_over = day >= self.days[1] and (self.settled.now or self.settled.before)
        before, now = (self._comes_to(units, is_over) for units in (was, was + own))
        return self.sign * before, self.sign * now

    @cached_property
    def _daily(self) -> list[ByDay]:
        """Counted units by day: those that other cycles bill, and this cycle's."""
        return [units_by_day(frame.filter(self.one.held)) for frame in (self.billed, self.usage)]

    def _comes_to(self, own: Fraction, is_over: bool) -> Fraction:
        """What so much usage of the window comes to, and its fee once that is settled."""
        rule, opening = self.rule, self.one.opening / self.per
        if rule.model == "graduated":
            return graduated(rule, opening, own)
        if rule.model == "all_unit":
            return all_unit(rule, own, opening, self.one.foreign / self.per)
        if rule.model == "flat_fee":
            due = Fraction(tier_reached(rule, opening + own).fee or 0) * self.share
            return due if is_over else Fraction(0)
        inside = inside_bundle(self.included, opening, own)
        fee = Fraction(rule.fee) * self.share if is_over else Fraction(0)
        return (
            fee + inside * Fraction(rule.price) + (own - inside) * Fraction(rule.overage_price or 0)
        )

    def cut(self) -> Cut:
        """The cycle's usage that the rule prices (under), and what it leaves at its records'."""
        if self._prices_all:
            held = self.usage.filter(self.one.held)
            return Cut(held, held.clear(), None)
        return cut(self.facts, self.one, self.usage, self.included * self.per)

    def cut_before(self) -> Cut:
        """The same for usage that other cycles bill, in the order of its days."""
        if self._prices_all:
            held = self.billed.filter(self.one.held)
            return Cut(held, held.clear(), None)
        bound = self.included * self.per
        return cut(self.facts, self.one.of_others(), self.billed, bound, by_day=True)

    @property
    def _prices_all(self) -> bool:
        return self.rule.model != "bundle" or self.rule.overage_price is not None

    def lines(self) -> Iterator[Line]:
        """What the cycle bills."""
        model = self.rule.model
        if model == "graduated":
            yield from self._graduated()
        elif model == "all_unit":
            yield from self._all_unit()
        elif model == "flat_fee":
            yield from self._flat_fee()
        else:
            yield from self._bundle()

    def _graduated(self) -> Iterator[Line]:
        tiers = self.rule.tiers
        bounds = [Fraction(tier.up_to) for tier in tiers if tier.up_to is not None]
        if not self.rule.in_call_order:
            edges = [Fraction(0), *bounds, None]
            for tier, part in tier_parts(tiers, self.start, self.own):
                number = tiers.index(tier)
                yield self._tier(tier, part, "", self._by_day(edges[number], edges[number + 1]))
            return
        shares = by_destination(
            self.facts, self.one, self.usage, [bound * self.per for bound in bounds]
        )
        for (destination, number), days in sorted(shares.items()):
            units = sum((units for _, units in days), Fraction(0))
            yield self._tier(tiers[number], units / self.per, destination, days)

    def _by_day(self, low: Fraction | None, high: Fraction | None) -> ByDay:
        """What of the cycle's own usage lies between two bounds, day after day; told where days
        have fixings of their own."""
        if not days_matter(self.terms):
            return []
        found, end = [], self.start
        for day, units in self._daily[1]:
            begin, end = end, end + units / self.per
            inside = [
                min(floor, high) if high is not None else floor
                for position in (begin, end)
                for floor in [position if low is None else max(position, low)]
            ]
            found.append((day, inside[1] - inside[0]))
        return found

    def _tier(self, tier: Tier, part: Fraction, destination: str, days: ByDay) -> Line:
        price = tier.price or 0
        said = f"tier {self._said(tier)}: {shown_text(part)} {self._unit}s at {price}"
        return self._line(
            (self.rule.tiers.index(tier), destination),
            part * Fraction(price),
            [self._position(), said],
            title=f"{destination or self._name}, {self._said(tier)}",
            quantity=part,
            price=tier.price,
            by_day=days,
            destination=destination,
        )

    def _all_unit(self) -> Iterator[Line]:
        was, end = self.start, self.start + self.own
        reached = tier_reached(self.rule, end)
        price, earlier = Fraction(reached.price or 0), tier_reached(self.rule, was).price or 0
        yield self._line(
            ("reached",),
            self.own * price,
            [self._position(), f"{shown_text(end)} {self._unit}s reach {self._said(reached)}"],
            title=f"{self._name}, {self._said(reached)}",
            quantity=self.own,
            price=reached.price,
            by_day=self._by_day(None, None),
        )
        own = was - self.one.foreign / self.per
        if own and price != earlier:
            yield self._line(
                ("repriced",),
                own * (price - Fraction(earlier)),
                [
                    f"{shown_text(own)} {self._unit}s of before, billed at {earlier}",
                    f"now all at {reached.price}",
                ],
                title=f"{self._name}, earlier usage priced again",
                quantity=own,
                price=abs(reached.price - earlier) if reached.price is not None else None,
                inputs={BILLED_AT: plain(Decimal(earlier))},
                by_day=self._daily[0] if days_matter(self.terms) else [],
            )

    def _flat_fee(self) -> Iterator[Line]:
        if not (self.settled.now or self.settled.before):
            return
        now, was = self.start + self.own, self.start
        reached = tier_reached(self.rule, now)
        fee = Fraction(reached.fee or 0) * self.share
        steps = [f"{shown_text(now)} {self._unit}s reach {self._said(reached)}: {reached.fee}"]
        if self.settled.before:
            fee -= Fraction(tier_reached(self.rule, was).fee or 0) * self.share
            steps.append(f"less what {shown_text(was)} {self._unit}s came to")
        yield self._line(("fee",), fee, steps, title=self._name, quantity=1, unit="period")

    def _bundle(self) -> Iterator[Line]:
        rule = self.rule
        inside = inside_bundle(self.included, self.start, self.own)
        if self.settled.now and rule.fee:
            said = f"{plain(rule.fee)} {self.terms.currency} for {shown_text(self.included)} "
            steps = [f"{said}{self._unit}s, used or not"]
            if self.share != 1:
                steps.append(f"{self.share} of the period's days")
            yield self._line(
                ("fee",), Fraction(rule.fee) * self.share, steps, title=self._name,
                quantity=1, unit="period", price=rule.fee,
            )  # fmt: skip
        parts = [("inside", inside, rule.price, f"up to {shown_text(self.included)}")]
        if rule.overage_price is not None:
            above = f"above {shown_text(self.included)}"
            parts.append(("above", self.own - inside, rule.overage_price, above))
        for word, part, price, said in parts:
            bounds = (None, self.included) if word == "inside" else (self.included, None)
            yield self._line(
                (word,),
                part * Fraction(price),
                [self._position(), f"{said}: {shown_text(part)} {self._unit}s at {plain(price)}"],
                title=f"{self._name}, {said} {self._unit}s",
                quantity=part,
                price=price,
                by_day=self._by_day(*bounds),
            )

    def _line(
        self,
        key: tuple[object, ...],
        exact: Fraction,
        steps: Sequence[str],
        *,
        destination: str = "",
        inputs: Mapping[str, object] | None = None,
        by_day: ByDay = (),
        **columns: object,
    ) -> Line:
        one = self.one
        alone = self.rule.destinations[0] if len(self.rule.destinations) == 1 else ""
        line = rule_line(
            self.terms,
            key=("volume", self.terms.key, self.rule.rule, one.window[0], one.of, *key),
            kind="fixed_fee" if key == ("fee",) else "tier" if self.rule.tiers else "bundle",
            days=_shown_days(self.facts, self.days),
            exact=self.sign * exact,
            steps=steps,
            rule=self.rule.rule,
            inputs={**_inputs(self.terms, one), **(inputs or {})},
            section="volume",
            **{"unit": self._unit, "destination": destination or alone, **columns},  # pyright: ignore[reportArgumentType]
        )
        return replace(line, by_day=by_day)

    @property
    def _unit(self) -> str:
        return self.terms.priced_unit

    @property
    def _name(self) -> str:
        return self.rule.name + (f", {self.one.of}" if self.one.of else "")

    def _said(self, tier: Tier) -> str:
        """A tier by its bounds."""
        number = self.rule.tiers.index(tier)
        below = (number and self.rule.tiers[number - 1].up_to) or Decimal(0)
        ends = f"up to {plain(tier.up_to)}" if tier.up_to is not None else f"above {plain(below)}"
        return f"{ends} {self._unit}s"

    def _position(self) -> str:
        return (
            f"{self.one.window[0]} to {self.one.window[1] - timedelta(days=1)}: "
            f"{shown_text(self.start)} {self._unit}s before, {shown_text(self.own)} in this cycle"
        )


def credit_lines(facts: Facts, priced: Priced) -> list[Line]:
    """Discounts and rebates, each credited once, in the cycle that ends its window (S10)."""
    return [
        line
        for agreement in facts.agreements
        for rule in agreement.terms.volume
        if rule.model in CREDITS
        for window in windows(facts, agreement, rule)
        if (line := _credit(facts, agreement, rule, window, priced)) is not None
    ]


def _credit(
    facts: Facts, agreement: InForce, rule: VolumeRule, window: Window, priced: Priced
) -> Line | None:
    terms = agreement.terms
    when = settled(facts, agreement, rule.rule, rule, window)
    if not when.now and not when.before:
        return None
    if rule.model == "rebate":
        was, now = counted(facts, agreement, rule, window)
        unit = f"{terms.priced_unit}s"
    else:
        was, now = spent(agreement, rule, window, priced)
        unit = terms.currency
    days = f"{window[0]} to {window[1] - timedelta(days=1)}"
    due, steps = credited(rule, now), [f"{days}: {shown_text(now)} {unit}"]
    if when.before:
        due -= credited(rule, was)
        steps.append(f"less what {shown_text(was)} {unit} came to")
    else:
        reached = tier_reached(rule, now)
        share = reached.price if rule.model == "rebate" else reached.discount
        steps.append(f"tier reached: {share}, on {rule.on}")
    if not due:
        return None
    return rule_line(
        terms,
        key=("credit", terms.key, rule.rule, window[0]),
        kind=rule.model,
        title=rule.name,
        days=_shown_days(facts, held_days(agreement, rule, window)),
        exact=due if terms.reverse else -due,
        steps=steps,
        rule=rule.rule,
        unit="period",
        section="volume",
        inputs={"counted": count_text(now), "window": f"{window[0]}/{window[1]}"},
    )


def counted(
    facts: Facts, agreement: InForce, term: Counted, window: Window
) -> tuple[Fraction, Fraction]:
    """Units of price that a term counts in a window: before this cycle's usage, and with it.

    All versions of its agreements count, from the window's first day to the term's last.
    """
    held = window_of(agreement, term, window)
    per = units_per_price(agreement.terms)
    given = Fraction(term.opened(window)[0])
    was, own = (
        Fraction(int(frame.filter(held)["billed_units"].sum() or 0), per)
        for frame in (facts.billed, facts.usage)
    )
    return given + was, given + was + own


def spent(
    agreement: InForce, term: Counted, window: Window, priced: Priced
) -> tuple[Fraction, Fraction]:
    """Spend that a term counts in a window, the same way: records, and what rules charge."""
    terms = agreement.terms
    held = window_of(agreement, term, window)
    sign = -1 if terms.reverse else 1
    was = Fraction(term.opened(window)[1])
    was += sign * Fraction(priced.kept_before.filter(held)["amount"].sum() or 0)
    now = was + sign * Fraction(priced.kept.filter(held)["amount"].sum() or 0)
    for worth in priced.worth:
        if worth.is_counted_by(terms.agreement, term):
            before, with_own = worth.over(term.held(window))
            was, now = was + sign * before, now + sign * with_own
    return was, now


def window_of(agreement: InForce, term: Counted, window: Window) -> pl.Expr:
    """The condition on usage that a term counts in a window, whatever the agreement's version."""
    first, end = term.held(window)
    return in_scope(agreement.terms, term) & pl.col("local_day").is_between(
        first, end, closed="left"
    )


def _shown_days(facts: Facts, held: Window) -> tuple[date, date]:
    """The days that a line shows: those of the cycle's period on which its term holds."""
    period = facts.cycle.period
    first, last = max(held[0], period.start), min(held[1] - timedelta(days=1), period.last_day)
    return (first, last) if first <= last else (held[0], held[1] - timedelta(days=1))


def _inputs(terms: Agreement, one: Accumulator) -> dict[str, object]:
    per = units_per_price(terms)
    return {
        "window": f"{one.window[0]}/{one.window[1]}",
        "opening": count_text(one.opening / per),
        "before": count_text(one.before / per),
        "own": count_text(one.own / per),
        "unit": terms.priced_unit,
    }
