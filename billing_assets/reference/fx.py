"""Rates from the fixings of the reference: of a day, of a period, across a third currency."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import polars as pl
from iso4217 import Currency

from billing_assets.core.errors import BillingError, Problem
from billing_assets.core.fx import Rate, cross
from billing_assets.core.money import parse_decimal
from billing_assets.reference.values import check_exchange, parse_moment


class MissingFixing(BillingError):
    """No fixing of a currency pair for a day or a period; the message names all and the source."""


COLUMNS = ("source", "date", "base", "currency", "units_per_base")
"""Columns of fixings.csv."""


def read_fixings(content: bytes | None, path: str) -> tuple[pl.DataFrame, list[Problem]]:
    """fixings.csv as text, and what is wrong with it; empty where there is none.

    Each date, currency pair and source stands in it at most once, and each pair of a source in one
    direction.
    """
    empty = pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    if content is None:
        return empty, []
    try:
        frame = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        said = str(error).splitlines()[0]
        return empty, [Problem(f"is not a CSV file of {len(COLUMNS)} cells a row: {said}", path)]
    if tuple(frame.columns) != COLUMNS:
        said = f"must have the columns {', '.join(COLUMNS)}"
        return empty, [Problem(said, path, 1, "header", ",".join(frame.columns))]
    rows = {
        row: cells
        for row, cells in enumerate(frame.iter_rows(named=True), start=2)
        if any(cells.values())
    }
    problems = [
        Problem(message, path, row, field, value or "")
        for row, cells in rows.items()
        for field, value in cells.items()
        if (message := _wrong(field, value))
    ]
    problems += [Problem(message, path, row) for row, message in _contradictions(rows)]
    return frame.filter(~pl.all_horizontal(pl.all().is_null())), problems


def _wrong(field: str, value: str | None) -> str:
    """Why a cell of fixings.csv cannot be what its column holds; empty when it can."""
    if not value:
        return "is missing"
    try:
        if field == "date" and isinstance(parse_moment(value), datetime):
            return "is not a date such as 2026-03-01"
        if field in ("base", "currency"):
            Currency(value)
        if field == "units_per_base":
            check_exchange(parse_decimal(value))
    except ValueError as error:
        said = {"date": "is not a date such as 2026-03-01", "units_per_base": str(error)}
        return said.get(field, "is not an ISO 4217 currency")
    return ""


def _contradictions(rows: Mapping[int, Mapping[str, str]]) -> Iterator[tuple[int, str]]:
    """Rows that say again, or the other way round, what an earlier one of their source says."""
    first: dict[tuple[str, ...], int] = {}
    pairs: dict[tuple[str, str, str], int] = {}
    for row, cells in rows.items():
        source, day, base, currency, _ = (cells[name] for name in COLUMNS)
        if base == currency:
            yield row, f"converts {base} to {base}"
        if (before := first.setdefault((source, day, base, currency), row)) != row:
            yield row, f"fixing stands twice: row {before} is of the same source, day and pair"
        pairs.setdefault((source, base, currency), row)
        if base != currency and (turned := pairs.get((source, currency, base))):
            yield row, f"is quoted the other way round in row {turned}: a pair has one direction"


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
