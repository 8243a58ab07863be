"""What there is to share out: usage of a month that a revenue share names, added up.

Each destination, band, origin and price makes a pool of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.accumulator import held_days, in_scope, windows
from billing_assets.charging.line import ByDay, Facts, count_text
from billing_assets.charging.waterfall import Part, net_of_vat, waterfall
from billing_assets.rating.terms import units_per_price
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement
from billing_assets.reference.share_terms import RevenueShare
from billing_assets.reference.volume_terms import Window

KEYS = ("destination", "band", "origin", "rate_e10")
_SUMS = ("records", "answered", "billed_units", "amount")


@dataclass(frozen=True)
class Pool:
    """What callers have paid for some usage: `gross` as it was rated, `net` of VAT."""

    rule: RevenueShare
    records: int
    calls: int
    units: Fraction
    gross: Fraction

    @property
    def net(self) -> Fraction:
        """What is shared out."""
        return net_of_vat(self.rule, self.gross)

    def parts(self) -> list[Part]:
        """Who gets what of it."""
        return waterfall(self.rule, self.net, self.units, self.calls)


@dataclass(frozen=True)
class Change:
    """A pool before this cycle's usage, and with it; `labels` are those of its usage."""

    labels: Mapping[str, Any]
    was: Pool
    now: Pool

    @property
    def title(self) -> list[str]:
        """The labels that documents show."""
        return [str(self.labels[key]) for key in KEYS[:3] if self.labels[key]]


@dataclass(frozen=True, eq=False)
class Shared:
    """The usage that a share takes of a window: what this cycle bills, and what others do."""

    agreement: InForce
    rule: RevenueShare
    window: Window
    own: pl.DataFrame
    before: pl.DataFrame

    def changes(self) -> Iterator[Change]:
        """Its pools that this cycle changes, in the order of their labels."""
        for change in self.pools():
            was, now = change.was, change.now
            if (was.records, was.calls, was.units, was.gross) != (
                now.records,
                now.calls,
                now.units,
                now.gross,
            ):
                yield change

    def pools(self) -> Iterator[Change]:
        """All its pools, in the order of their labels."""
        terms = self.agreement.terms
        frames = [
            frame.select(
                *(pl.col(key).cast(pl.String) if key != "rate_e10" else key for key in KEYS),
                *(pl.col(name).alias(f"{name}{word}") for name in _SUMS),
            )
            for frame, word in ((self.own, "_own"), (self.before, "_was"))
        ]
        sums = pl.concat(frames, how="diagonal").group_by(KEYS).agg(pl.exclude(KEYS).sum())
        for row in sums.sort(KEYS, nulls_last=True).iter_rows(named=True):
            was, now = (
                _pool(terms, self.rule, row, ends) for ends in (("_was",), ("_was", "_own"))
            )
            yield Change({key: row[key] for key in KEYS}, was, now)

    def by_day(self, change: Change) -> ByDay:
        """What each day of a pool's own usage was rated at."""
        labels = [pl.col(key).eq_missing(pl.lit(change.labels[key])) for key in KEYS]
        days = self.own.filter(labels).group_by("local_day").agg(pl.col("amount").sum())
        return [(day, Fraction(amount)) for day, amount in days.sort("local_day").iter_rows()]

    def until(self, day: date, destination: str) -> "Shared":
        """What of it is usage to a destination before a day."""
        some = (pl.col("local_day") < day) & (pl.col("destination").cast(pl.String) == destination)
        return replace(self, own=self.own.filter(some), before=self.before.filter(some))

    @property
    def destinations(self) -> list[str]:
        """The destinations of its usage."""
        frames = (frame["destination"].cast(pl.String) for frame in (self.own, self.before))
        return sorted({name for names in frames for name in names})

    def shown_days(self, facts: Facts) -> Window:
        """The first and last day that lines show: those of the cycle's period that it holds."""
        first, end = held_days(self.agreement, self.rule, self.window)
        period, last = facts.cycle.period, end - timedelta(days=1)
        shown = max(first, period.start), min(last, period.last_day)
        return shown if shown[0] <= shown[1] else (first, last)


def shared_usage(
    facts: Facts, usage: pl.DataFrame, billed: pl.DataFrame
) -> tuple[list[Shared], pl.DataFrame, pl.DataFrame]:
    """The usage that shares take of a cycle's and of other cycles' usage, and what they leave.

    Shares are taken in the order of their agreement; the first that names some usage has it.
    """
    found: list[Shared] = []
    for agreement in facts.agreements:
        for rule in agreement.terms.shares:
            for window in windows(facts, agreement, rule):
                first, end = held_days(agreement, rule, window)
                days = pl.col("local_day").is_between(first, end, closed="left")
                held = in_scope(agreement.terms, rule) & days
                found.append(
                    Shared(agreement, rule, window, usage.filter(held), billed.filter(held))
                )
                usage, billed = usage.filter(~held), billed.filter(~held)
    return found, usage, billed


def shortages(shared: Shared, change: Change) -> list[str]:
    """Where a pool is too little for what was agreed, a sentence each."""
    pool, currency = change.now, shared.agreement.terms.currency
    name = ", ".join([shared.rule.name, *change.title])
    found = []
    for part in pool.parts():
        take = part.take
        if take is None or not part.is_short:
            continue
        who = take.title or part.to
        if take.passes_on is not None:
            floor = f" and keep {take.at_least} a {take.per}" if take.at_least else ""
            found.append(
                f"{name}: {who} must pass on {take.passes_on} a {take.per}{floor}, and "
                f"{count_text(part.there)} {currency} is there"
            )
        elif take.required:
            found.append(
                f"{name}: {who} must get {count_text(part.due)} {currency}, and "
                f"{count_text(part.there)} is left"
            )
    return found


def _pool(
    terms: Agreement, rule: RevenueShare, row: Mapping[str, Any], ends: tuple[str, ...]
) -> Pool:
    records, calls, units, gross = (
        sum((Fraction(row[f"{name}{word}"]) for word in ends), Fraction(0)) for name in _SUMS
    )
    # the sign of money is the leg's: what is shared is what callers have paid
    sign = -1 if terms.reverse else 1
    return Pool(rule, int(records), int(calls), units / units_per_price(terms), sign * gross)
