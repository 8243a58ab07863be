"""A leg's numbers in words, and the numbers of its group in `usage_daily` as one integer.

The kernel knows a leg by places in the plan's tables: `_side` (customer 0, supplier 1), `_svc`,
`_row` (plan row), `_class` (of the calling number), `_destination` (null: none), `_pricing` and
`_local` (day in the agreement's zone, days since 1970).
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from billing_assets.rating.plan import SERVICES, RatingPlan
from billing_assets.reference.models import Leg

PRICINGS = ("priced", "split", "not_chargeable", "bill_and_keep")
LEGS = tuple(leg.value for leg in Leg)

GROUP = ("group", "rate_e10")
"""What legs of one row of `usage_daily` have in common."""

_PARTS = ("_side", "_svc", "_row", "_class", "_destination", "_pricing", "_local")
_DAYS, _BEFORE = 16, 8
"""Local days that a group tells apart, and how many of them before the plan's: more than any
plan covers."""
_EPOCH = date(1970, 1, 1)


def gather(values: np.ndarray | pl.Series | Sequence[int], index: pl.Expr) -> pl.Expr:
    """Read a small table at a column of positions."""
    series = values if isinstance(values, pl.Series) else pl.Series(np.asarray(values))
    return pl.lit(series).gather(index)


def words_of(plan: RatingPlan) -> dict[str, pl.Expr]:
    """The columns of `rated_leg` that a leg's numbers say, by name.

    Words are Enums, so that gathering and writing them moves integers.
    """

    def words(values: Sequence[str], place: str) -> pl.Expr:
        return gather(pl.Series(values, dtype=_word_type(values)), pl.col(place))

    rows, row = plan.rows, pl.col("_row")
    names = gather(np.array([r.class_base for r in rows], np.int64), row) + pl.col("_class")
    return {
        "bucket": gather(np.array([r.bucket for r in rows], np.int32), row),
        "leg": words(LEGS, "_side"),
        "service": words(SERVICES, "_svc"),
        "partner": words([r.partner for r in rows], "_row"),
        "account": words([r.account for r in rows], "_row"),
        "agreement": words([r.agreement for r in rows], "_row"),
        "destination": words(plan.destinations, "_destination"),
        "band": words([r.band for r in rows], "_row"),
        "origin": gather(pl.Series(plan.class_names, dtype=_word_type(plan.class_names)), names),
        "local_day": pl.col("_local").cast(pl.Date),
        "currency": words([r.currency for r in rows], "_row"),
        "pricing": words(PRICINGS, "_pricing"),
    }


def _word_type(values: Sequence[str]) -> pl.DataType:
    """An Enum, which is written in a third of a Categorical's time but with all its words in every
    row group; so a Categorical where there are many."""
    words = sorted(set(values))
    return pl.Enum(words) if len(words) <= _MANY_WORDS else pl.Categorical()


_MANY_WORDS = 4096


def group_of(plan: RatingPlan) -> pl.Expr:
    """All keys of `usage_daily` but the rate, as one integer (Int64).

    Grouping by it takes a third of what grouping by ten words takes.
    """
    key = pl.lit(0, pl.Int64)
    for name, room in _rooms(plan).items():
        part = pl.col(name).cast(pl.Int64)
        if name == "_row":
            part = gather(_first_alike(plan), pl.col(name))
        if name == "_destination":
            part = part.fill_null(room - 1)
        if name == "_local":
            part = part - _first_day(plan)
        key = key * room + part
    return key


def _first_alike(plan: RatingPlan) -> np.ndarray:
    """Of each plan row the first one that says the same words: rows differ by prices as well."""
    words = [
        (row.account, row.agreement, row.band, row.class_base, row.partner, row.currency)
        for row in plan.rows
    ]
    first = {said: place for place, said in reversed(list(enumerate(words)))}
    return np.array([first[said] for said in words], np.int64)


def added(sums: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sums by `GROUP` of several sets of legs as those of all."""
    # streamed, it holds less than half of what it holds in memory, where days of many groups peak
    whole = pl.concat([one.lazy() for one in sums])
    return whole.group_by(GROUP).agg(pl.all().sum()).collect(engine="streaming")


def ungrouped(plan: RatingPlan, sums: pl.DataFrame) -> pl.DataFrame:
    """Sums by `GROUP`, with the words that a group stands for in its place; legs without a price
    left out."""
    rest, places = pl.col("group"), {}
    for name, room in reversed(_rooms(plan).items()):
        places[name] = rest % room
        rest = rest // room
    places["_local"] = (places["_local"] + _first_day(plan)).cast(pl.Int32)
    none = len(plan.destinations)
    places["_destination"] = pl.when(places["_destination"] < none).then(places["_destination"])
    priced = sums.filter(pl.col("group").is_not_null())
    numbered = priced.with_columns(place.alias(name) for name, place in places.items())
    named = numbered.with_columns(word.alias(name) for name, word in words_of(plan).items())
    return named.with_columns(pl.lit(plan.day).alias("day")).drop("group", *_PARTS)


def _rooms(plan: RatingPlan) -> dict[str, int]:
    """How many values each part of a group has."""
    rooms = (
        len(LEGS),
        len(SERVICES),
        len(plan.rows),
        len(plan.class_names),
        len(plan.destinations) + 1,
        len(PRICINGS),
        _DAYS,
    )
    return dict(zip(_PARTS, rooms, strict=True))


def _first_day(plan: RatingPlan) -> int:
    return (plan.day - _EPOCH).days - _BEFORE
