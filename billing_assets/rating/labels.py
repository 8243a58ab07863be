"""A leg's numbers in words, and the numbers of its group in `usage_daily` as one integer.

The kernel knows a leg by places in the plan's tables: `_svc`, `_row` (plan row), `_class` (of the
calling number), `_offer`, `_destination` (null: none), `_pricing` and `_local` (day in the
agreement's zone, days since 1970).
"""

from collections.abc import Sequence
from datetime import date
from math import prod

import numpy as np
import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.rating.plan import SERVICES, RatingPlan
from billing_assets.reference.models import Leg

PRICINGS = ("priced", "split", "not_chargeable", "bill_and_keep")
LEGS = tuple(leg.value for leg in Leg)
LEG = pl.Enum(LEGS)

_PARTS = ("_row", "_class", "_offer", "_several", "_pricing", "_local")
"""What the number of a group is made of; `_several`: more than one price, so none to show."""
_DAYS, _BEFORE = 16, 8
"""Local days that a group tells apart, and how many of them before the plan's: more than any
plan covers."""
_EPOCH = date(1970, 1, 1)


INDEX = pl.UInt32
"""The type by which Polars reads a table at positions without a cast."""


def gather(values: np.ndarray | pl.Series, index: pl.Expr) -> pl.Expr:
    """Read a table at a column of positions."""
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return pl.lit(series).gather(index)


def words_of(plan: RatingPlan) -> dict[str, pl.Expr]:
    """The columns of `rated_leg`, but the leg, that its numbers say, by name.

    Words are Enums, so that gathering and writing them moves integers.
    """

    def words(values: Sequence[str], place: str) -> pl.Expr:
        return gather(pl.Series(values, dtype=_word_type(values)), pl.col(place))

    rows, row = plan.rows, pl.col("_row")
    names = gather(np.array([r.class_base for r in rows], np.int64), row) + pl.col("_class")
    return {
        "bucket": gather(np.array([r.bucket for r in rows], np.int32), row),
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


def group_of(plan: RatingPlan, several: pl.Expr | None = None) -> pl.Expr:
    """All keys of `usage_daily` as one integer (Int64).

    Grouping by it takes a quarter of what grouping by eleven columns takes. Groups of offers that
    say the same are told apart all the same. `several` tells which legs have more than one price.
    """
    rooms = _rooms(plan)
    key = gather(_rows_alike(plan), pl.col("_row"))
    for name, part in {
        "_class": pl.col("_class"),
        "_offer": pl.col("_offer"),
        "_several": pl.lit(0) if several is None else several,
        "_pricing": pl.col("_pricing"),
        "_local": pl.col("_local") - _first_day(plan),
    }.items():
        key = key * rooms[name] + part.cast(pl.Int64)
    return key


def _rows_alike(plan: RatingPlan) -> np.ndarray:
    """Of each plan row the first one that says the same words: rows differ by prices as well."""
    words = [
        (row.account, row.agreement, row.band, row.class_base, row.partner, row.currency)
        for row in plan.rows
    ]
    first = {said: place for place, said in reversed(list(enumerate(words)))}
    return np.array([first[said] for said in words], np.int64)


def added(sums: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sums by group of several sets of legs as those of all."""
    # streamed, it holds less than half of what it holds in memory, where days of many groups peak
    whole = pl.concat([one.lazy() for one in sums])
    return whole.group_by("group").agg(pl.all().sum()).collect(engine="streaming")


def bucket_of_group(plan: RatingPlan) -> pl.Expr:
    """The bucket of a group's partner (Int32), of a column `group`."""
    _, *rooms = _rooms(plan).values()
    place = pl.col("group") // prod(rooms)
    return gather(np.array([r.bucket for r in plan.rows], np.int32), place)


def ungrouped(plan: RatingPlan, sums: pl.DataFrame) -> pl.DataFrame:
    """Sums by group, with the words and the rate that a group stands for in its place. Several
    rows may say the same."""
    rest, places = pl.col("group"), {}
    for name, room in reversed(_rooms(plan).items()):
        places[name] = rest % room if name != "_row" else rest
        rest = rest // room
    numbered = sums.with_columns(
        place.cast(pl.Int32 if name == "_local" else INDEX).alias(name)
        for name, place in places.items()
    )
    offers, offer, row = plan.offers, pl.col("_offer"), pl.col("_row")
    shown = gather(plan.offers_shown, offer)
    several = pl.col("_several") == 1
    leg_of = dict(enumerate(LEGS))
    numbered = numbered.with_columns(
        pl.when(shown).then(gather(offers["destination"], offer)).alias("_destination"),
        pl.when(shown & ~several).then(gather(offers["price_e10"], offer)).alias("rate_e10"),
        gather(pl.Series([leg_of.get(r.leg) for r in plan.rows], dtype=LEG), row).alias("leg"),
        gather(np.array([r.service for r in plan.rows], np.int32), row).alias("_svc"),
        pl.col("_local") + _first_day(plan),
    )
    measures = [name for name in sums.columns if name != "group"]
    words = words_of(plan)
    return numbered.select(pl.lit(plan.day).alias("day"), "leg", "rate_e10", *measures, **words)


def _rooms(plan: RatingPlan) -> dict[str, int]:
    """How many values each part of a group has; raises `BillingError` where no integer has so
    much room."""
    sizes = (
        len(plan.rows),
        len(plan.class_names),
        plan.offers.height,
        2,
        len(PRICINGS),
        _DAYS,
    )
    if prod(sizes) >= 2**63:
        raise BillingError(
            f"the plan of {plan.day} is too large: {len(plan.rows)} plan rows, "
            f"{len(plan.class_names)} classes of callers and {plan.offers.height} offers",
            hint="end agreements that are not in use, or rate fewer partners at once",
        )
    return dict(zip(_PARTS, sizes, strict=True))


def _first_day(plan: RatingPlan) -> int:
    return (plan.day - _EPOCH).days - _BEFORE
