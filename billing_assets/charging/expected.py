"""What windows that still run will bring: rebates, fees and shortfalls expected so far.

What a window comes to is forecast at the rate of use so far, as live positions are, and accrued
by the share of its days that are gone (catalogue 3.6). At its end nothing is expected any more:
the cycle that settles it charges it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from billing_assets.charging.accumulator import accumulators, held_days, life, ruled_days
from billing_assets.charging.balance import running_imbalance
from billing_assets.charging.commitments import active_share, due, reached
from billing_assets.charging.line import Facts, count_text, plain
from billing_assets.charging.priced import Priced
from billing_assets.charging.recurring import pieces
from billing_assets.charging.volume import all_unit, credited, tier_reached
from billing_assets.charging.volume_lines import (
    counted,
    price_volumes,
    spent,
)
from billing_assets.core.money import Rounding, round_amount
from billing_assets.core.periods import Period
from billing_assets.rating.terms import units_per_price
from billing_assets.reference.load import InForce
from billing_assets.reference.volume_terms import (
    CREDITS,
    Commitment,
    Counted,
    VolumeRule,
    Window,
    calendar_window,
)

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Expected:
    """A term's money that has grown by the end of a day in a window that is not settled.

    `first` and `last` are the days of the window on which the term holds; `exact` is signed as
    charges are: below zero a credit.
    """

    agreement: InForce
    kind: str
    section: str
    rule: str
    title: str
    first: date
    last: date
    exact: Decimal
    steps: tuple[str, ...]


@dataclass(frozen=True)
class _Gone:
    """How far a window has come: `gone` of `days`, from `first` up to, not including, `end`."""

    first: date
    end: date
    gone: int

    @property
    def share(self) -> Fraction:
        return Fraction(self.gone, (self.end - self.first).days)

    @property
    def words(self) -> str:
        return f"{self.gone} of {(self.end - self.first).days} days from {self.first}"


def expected(facts: Facts, day: date) -> list[Expected]:
    """What the terms of a partner have come to expect by the end of a day.

    `facts` are those of the cycle that has the day as its last.
    """
    priced = price_volumes(facts)
    found: list[Expected] = []
    for agreement in facts.agreements:
        zone = agreement.terms.zone
        begins = Period(day, day + _DAY, zone).start_utc
        if not agreement.start <= begins < agreement.end:
            continue
        found += _fees(agreement, day)
        for rule in agreement.terms.volume:
            if window := _running(agreement, rule, day):
                found += _rule(facts, agreement, rule, window, day, priced)
        for terms in agreement.terms.commitments:
            if window := _running(agreement, terms, day):
                found += _commitment(facts, agreement, terms, window, day, priced)
    for deal, side, window, units, exact in running_imbalance(facts, day):
        said = f"{count_text(units)} {side.terms.priced_unit}s beyond balance so far"
        found.append(
            _made(
                side, "balance", "volume", deal.deal, deal.name,
                window, exact, [said],
            )
        )  # fmt: skip
    return [one for one in found if one.exact]


def _running(agreement: InForce, term: Counted, day: date) -> Window | None:
    """The window of a day when it is not settled by the day's end."""
    window = term.window(day)
    return window if window and held_days(agreement, term, window)[1] > day + _DAY else None


def _gone(facts: Facts, agreement: InForce, term: Counted, window: Window, day: date) -> _Gone:
    held, lives = term.held(window), life(facts, agreement)
    first, end = max(held[0], lives[0]), min(held[1], lives[1])
    return _Gone(first, end, (day + _DAY - first).days)


def _rule(
    facts: Facts, agreement: InForce, rule: VolumeRule, window: Window, day: date, priced: Priced
) -> Iterator[Expected]:
    """A rule's rebate, discount, later price or fee; graduated tiers expect nothing."""
    terms, passed = agreement.terms, _gone(facts, agreement, rule, window, day)
    sign, share = -1 if terms.reverse else 1, passed.share
    held = passed.first, passed.end
    if rule.model in CREDITS:
        _, now = (
            counted(facts, agreement, rule, window)
            if rule.model == "rebate"
            else spent(agreement, rule, window, priced)
        )
        whole = credited(rule, now / share)
        unit = f"{terms.priced_unit}s" if rule.model == "rebate" else terms.currency
        steps = [*_forecast(passed, now, unit), f"credit expected: {count_text(whole)}"]
        yield _made(agreement, rule.model, "volume", rule.rule, rule.name, held,
                    -sign * whole * share, steps)  # fmt: skip
        return
    if rule.model == "graduated":
        return
    begins, ends = ruled_days(facts, agreement, rule, window)
    part = Fraction((ends - begins).days, (window[1] - window[0]).days)
    part = part if rule.prorate else Fraction(1)
    if rule.model == "bundle":
        whole = Fraction(rule.fee) * part
        steps = [passed.words, f"fee {plain(rule.fee)} {terms.currency}"]
        yield _made(agreement, "fixed_fee", "volume", rule.rule, rule.name, held,
                    sign * whole * share, steps)  # fmt: skip
        return
    per = units_per_price(terms)
    all_usage = Priced(facts.usage, facts.billed, taken=priced.taken)
    for one in accumulators(facts, agreement, rule, window, all_usage):
        opening, foreign, now = (
            units / per for units in (one.opening, one.foreign, one.before + one.own)
        )
        steps = _forecast(passed, now, f"{terms.priced_unit}s")
        reached_tier = tier_reached(rule, opening + now / share)
        if rule.model == "flat_fee":
            exact = Fraction(reached_tier.fee or 0) * part * share
            kind, said = "fixed_fee", f"fee of the tier forecast: {reached_tier.fee}"
        else:
            billed = all_unit(rule, now, opening, foreign)
            whole = all_unit(rule, now / share, opening, foreign)
            exact = whole * share - billed
            kind, said = "tier", f"price of the tier forecast: {reached_tier.price}"
        name = rule.name + (f", {one.of}" if one.of else "")
        yield _made(agreement, kind, "volume", rule.rule, name, held, sign * exact,
                    [*steps, said])  # fmt: skip


def _commitment(
    facts: Facts,
    agreement: InForce,
    terms: Commitment,
    window: Window,
    day: date,
    priced: Priced,
) -> Iterator[Expected]:
    def forecast(of: InForce, one: Commitment) -> Fraction:
        _, now = reached(facts, of, one, window, priced)
        return now / _gone(facts, of, one, window, day).share

    passed = _gone(facts, agreement, terms, window, day)
    _, now = reached(facts, agreement, terms, window, priced)
    short = due(facts, agreement, terms, window, priced, forecast)
    price = Fraction(terms.price) if terms.price is not None else Fraction(1)
    of = agreement.terms.currency if terms.quantity is None else f"{agreement.terms.priced_unit}s"
    whole = Fraction(terms.amount or terms.quantity or 0)
    committed = whole * active_share(facts, agreement, terms, window)
    steps = [
        f"committed {count_text(committed)} {of}",
        *_forecast(passed, now, of),
        f"missing at the end: {count_text(short)} {of}",
    ]
    sign = -1 if agreement.terms.reverse else 1
    yield _made(
        agreement, "shortfall", "shortfall", terms.commitment, terms.name,
        (passed.first, passed.end), sign * short * price * passed.share, steps,
    )  # fmt: skip


def _fees(agreement: InForce, day: date) -> Iterator[Expected]:
    """Recurring fees in arrears of periods that run on after the day."""
    begins, ends = agreement.local_days
    for fee in agreement.terms.recurring:
        if fee.bill != "arrears":
            continue
        window = calendar_window(fee.every, day)
        first = max(window[0], fee.valid_from, begins)
        end = min(window[1], fee.valid_to or date.max, ends)
        if first <= day < end - _DAY:
            exact = sum((piece.amount for piece in pieces(fee, (first, day + _DAY))), Fraction(0))
            words = _Gone(first, end, (day + _DAY - first).days).words
            yield _made(agreement, "recurring", "recurring", fee.fee, fee.title, (first, end),
                        exact, [words, "billed in arrears"])  # fmt: skip


def _forecast(passed: _Gone, now: Fraction, unit: str) -> list[str]:
    at_end = count_text(now / passed.share)
    return [f"{passed.words}: {count_text(now)} {unit}", f"forecast {at_end} {unit}"]


def _made(
    agreement: InForce,
    kind: str,
    section: str,
    rule: str,
    title: str,
    held: Window,
    exact: Fraction,
    steps: list[str],
) -> Expected:
    return Expected(
        agreement,
        kind,
        section,
        rule,
        title,
        held[0],
        held[1] - _DAY,
        round_amount(exact, 10, Rounding.HALF_UP),
        tuple(steps),
    )
