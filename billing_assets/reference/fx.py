"""Rates from the fixings of the reference: of a day, of a period, across a third currency."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.core.fx import Rate, cross


class MissingFixing(BillingError):
    """No fixing of a currency pair for a day or a period; the message names all and the source."""


@dataclass(frozen=True)
class Fixings:
    """The fixings of one source.

    `frame` has the columns of fixings.csv as text: source, date, base, currency,
    units_per_base. On a day without a fixing the last one before it counts when it is at most
    `fallback_days` old (weekends, holidays); a later one never does, for it was not known.
    """

    frame: pl.DataFrame
    source: str
    fallback_days: int = 7

    def on(self, source: str, target: str, day: date, through: str = "") -> Rate:
        """The rate between two currencies on a day, as quoted in either direction.

        With `through`, and no fixing of the pair itself, the exact cross by that currency. Raises
        `MissingFixing`.
        """

        def latest(one: str, other: str) -> Rate:
            quoted = [q for q in self._quoted(one, other) if q[0] <= day]
            on, rate = max(quoted, key=lambda q: q[0], default=(date.min, None))
            if rate is None or (day - on).days > self.fallback_days:
                within = f"on {day} or the {self.fallback_days} days before"
                raise self._missing(one, other, within)
            return rate

        return _either(latest, source, target, through)

    def average(self, source: str, target: str, first: date, last: date, through: str = "") -> Rate:
        """The exact mean of the fixings published from `first` to `last`, both included.

        The mean is of the units per base as quoted: the other direction divides by it. Days
        without a fixing do not count. Raises `MissingFixing` when there is none in the period.
        """

        def mean(one: str, other: str) -> Rate:
            rates = [rate for on, rate in self._quoted(one, other) if first <= on <= last]
            if not rates:
                raise self._missing(one, other, f"from {first} to {last}")
            total = sum((rate.units_per_base for rate in rates), Fraction(0))
            return Rate(rates[0].base, rates[0].currency, total / len(rates))

        return _either(mean, source, target, through)

    def _quoted(self, one: str, other: str) -> list[tuple[date, Rate]]:
        """Every fixing of a pair with its day, all in one direction: `other` per `one` first."""
        for base, currency in ((one, other), (other, one)):
            rows = self.frame.filter(
                (pl.col("source") == self.source)
                & (pl.col("base") == base)
                & (pl.col("currency") == currency)
            ).select("date", "units_per_base")
            if rows.height:
                return [
                    (date.fromisoformat(on), Rate(base, currency, Fraction(Decimal(units))))
                    for on, units in rows.iter_rows()
                ]
        return []

    def _missing(self, one: str, other: str, when: str) -> MissingFixing:
        return MissingFixing(
            f"no fixing between {one} and {other} {when} by source {self.source!r}",
            hint="add it to fixings.csv",
        )


def _either(lookup: Callable[[str, str], Rate], source: str, target: str, through: str) -> Rate:
    """The rate of the pair itself, else the cross by `through`."""
    if source == target:
        return Rate(source, target, Fraction(1))
    try:
        return lookup(source, target)
    except MissingFixing:
        if through in ("", source, target):
            raise
    return cross(lookup(source, through), lookup(through, target), source, through, target)
