"""Rates from the fixings of the reference: of a day, of a period, across a third currency."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.core.errors import BillingError, Problem
from billing_assets.core.fx import Rate, cross
from billing_assets.core.money import parse_decimal


class MissingFixing(BillingError):
    """No fixing of a currency pair for a day or a period; the message names all and the source."""


COLUMNS = ("source", "date", "base", "currency", "units_per_base")
"""Columns of fixings.csv."""


def read_fixings(content: bytes | None, path: str) -> tuple[pl.DataFrame, list[Problem]]:
    """fixings.csv as text, and what is wrong with it; empty where there is none.

    Each date, currency pair and source stands in it at most once.
    """
    empty = pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    if content is None:
        return empty, []
    try:
        frame = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        return empty, [Problem(f"is not a CSV file: {error}", path)]
    if tuple(frame.columns) != COLUMNS:
        said = f"must have the columns {', '.join(COLUMNS)}"
        return empty, [Problem(said, path, 1, "header", ",".join(frame.columns))]
    problems: list[Problem] = []
    for row, (_, day, _, _, units) in enumerate(frame.iter_rows(), start=2):
        try:
            date.fromisoformat(day or "")
        except ValueError:
            problems.append(Problem("is not a date", path, row, "date", str(day)))
        try:
            positive = parse_decimal(units or "") > Decimal(0)
        except ValueError:
            positive = False
        if not positive:
            said = "is not a positive decimal"
            problems.append(Problem(said, path, row, "units_per_base", str(units)))
    for row, duplicate in enumerate(frame.select(COLUMNS[:4]).is_duplicated(), start=2):
        if duplicate:
            problems.append(Problem("fixing stands twice", path, row))
    return frame, problems


@dataclass(frozen=True)
class Fixings:
    """The fixings of one source.

    Without a source there must be one alone in them. `frame` has the `COLUMNS` as text. On a day
    without a fixing the last one before it counts when it is at most `fallback_days` old
    (weekends, holidays); a later one never does, for it was not known.
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
                pl.col("source").is_in([self.source]) | pl.lit(not self.source),
                pl.col("base") == base,
                pl.col("currency") == currency,
            )
            if rows["source"].n_unique() > 1:
                sources = " and ".join(rows["source"].unique().sort())
                raise MissingFixing(
                    f"{one} and {other} are quoted by {sources}",
                    hint="say whose fixings hold: fixing_source in carrier.yaml",
                )
            if rows.height:
                return [
                    (date.fromisoformat(on), Rate(base, currency, Fraction(Decimal(units))))
                    for on, units in rows.select("date", "units_per_base").iter_rows()
                ]
        return []

    def _missing(self, one: str, other: str, when: str) -> MissingFixing:
        return MissingFixing(
            f"no fixing between {one} and {other} {when} by source {self.source or 'any'}",
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


NO_FIXINGS = Fixings(read_fixings(None, "")[0], "")
"""Of a world with one currency."""
