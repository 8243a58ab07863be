"""Matching: which row of a plan's terms, and which rate row, each record meets on one side.

By trunk, service and instant to the terms, by the number that these match to the code, by the
calling number to the class; the three together are the place of the rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from billing_assets.core.ids import event_code
from billing_assets.rating.bounds import MAX_DIGITS
from billing_assets.rating.labels import INDEX, gather
from billing_assets.rating.plan import (
    A_KINDS,
    MIXED,
    OUTSIDE,
    SERVICES,
    STAMPS,
    LegPlan,
    RatingPlan,
)
from billing_assets.reference.models import Leg

MICRO = 1_000_000
"""Microseconds of a second."""


@dataclass(frozen=True)
class Matching:
    """What the records of one leg of one plan meet; columns that begin with `_` are numbers."""

    plan: RatingPlan
    leg: Leg

    @property
    def side(self) -> LegPlan:
        """The plan's tables of this leg."""
        return self.plan.legs[self.leg]

    @property
    def trunk(self) -> pl.Expr:
        """The trunk of a record on this side."""
        return pl.col("in_trunk" if self.leg is Leg.CUSTOMER else "out_trunk")

    def resolved(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Add `_row` (plan row), `_class`, `_rate` (rate row) and the rating time of each leg."""
        plan, side = self.plan, self.side
        trunk = self.trunk
        index = trunk.cast(pl.Enum(plan.trunks), strict=False).to_physical().cast(INDEX)
        # told by its words: the scan passes over records of our own trunks before it reads the rest
        own = [name for name, is_own in zip(plan.trunks, plan.own, strict=True) if is_own]
        frame = records.filter(~trunk.is_in(own)).with_columns(
            index.fill_null(len(plan.trunks)).alias("_trunk"),
            _place_among(SERVICES, "service").alias("_svc"),
        )
        frame = frame.with_columns(self._event_time().alias("_at"))
        frame = frame.with_columns(self._cell(pl.col("_at")).alias("_cell"))
        frame = frame.with_columns(gather(side.rows.ravel(), pl.col("_cell")).alias("_row"))
        frame = self._with_code(frame)
        frame = self._with_class(frame)
        codes = plan.decks.shape[1]
        code = pl.col("_code").fill_null(0).cast(INDEX)
        place = self.of_row([row.deck * codes for row in plan.rows], np.uint32) + code
        node = gather(plan.decks.ravel(), place).cast(INDEX)
        rate = self.of_row([row.rate_set for row in plan.rows], np.uint32) + node
        if self._classes:
            stride = self.of_row([row.stride for row in plan.rows], np.uint32)
            rate = rate + pl.col("_class").cast(INDEX) * stride
        return frame.with_columns(gather(plan.rate_sets, rate).alias("_rate"))

    def of_row(self, values: Sequence[int], dtype: type = np.int64) -> pl.Expr:
        """A whole number of each leg's plan row."""
        return gather(np.array(values, dtype), pl.col("_row"))

    @cached_property
    def _classes(self) -> bool:
        """Whether the calling number of any leg of this side matters to its price."""
        return any(self.plan.rows[row].scheme != -1 for row in np.unique(self.side.rows))

    def _cell(self, at: pl.Expr) -> pl.Expr:
        """Place of a record in the leg's table of rows at an instant."""
        plan = self.plan
        segments, trunks, services = self.side.rows.shape
        # a segment's first cell by second; one second more at both ends stands for all beyond
        known = np.concatenate([[segments - 1], plan.segments, [segments - 1]])
        cells = (known * (trunks * services)).astype(np.uint32)
        second = second_of(plan, at).clip(-1, plan.seconds) + 1
        return gather(cells, second) + pl.col("_trunk") * services + pl.col("_svc")

    def _event_time(self) -> pl.Expr:
        """The stamp that the agreement rates by, in microseconds since 1970."""
        used = {int(stamp) for stamp in np.unique(self.side.stamps)}
        answer = pl.coalesce("answer_time", "setup_time").dt.epoch("us")
        if used <= {STAMPS.index("answer")}:
            return answer
        setup = pl.col("setup_time").dt.epoch("us")
        end = pl.when("answered").then(pl.col("end_time").dt.epoch("us")).otherwise(answer)
        stamp = gather(self.side.stamps.ravel(), pl.col("_trunk") * len(SERVICES) + pl.col("_svc"))
        if MIXED in used:
            own = np.array([row.stamp for row in self.plan.rows], np.int8)
            rows = self.side.rows.ravel()
            held = [gather(rows, self._cell(at)) for at in (setup, answer, end)]
            said = [pl.when(row > OUTSIDE).then(gather(own, row)) for row in held]
            first = pl.coalesce(*said, pl.lit(STAMPS.index("answer"), pl.Int8))
            stamp = pl.when(stamp == MIXED).then(first).otherwise(stamp)
        return (
            pl.when(stamp == STAMPS.index("setup"))
            .then(setup)
            .when(stamp == STAMPS.index("end"))
            .then(end)
            .otherwise(answer)
        )

    def _with_code(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add `_code`: the code id of the number that the agreement matches; null without one.

        That number and its length are `_number` and `_digits`.
        """
        plan = self.plan
        used = {row.match for row in plan.rows[OUTSIDE + 1 :]}
        if used <= {"dialled"}:
            frame = frame.with_columns(
                pl.col("b_number").alias("_number"), pl.col("b_length").alias("_digits")
            )
        else:
            match = gather(
                pl.Series([_MATCHES.index(row.match) for row in plan.rows], dtype=pl.Int8),
                pl.col("_row"),
            )
            number = pl.when(match == 0).then("b_number")
            for name in sorted(used - {"dialled"}):
                number = number.when(match == _MATCHES.index(name)).then(_numeric(name, plan))
            frame = frame.with_columns(number.alias("_number"))
            frame = frame.with_columns(_digits(pl.col("_number")).alias("_digits"))
        return plan.codes.with_ids(frame, "_number", "_digits", "_code")

    def _with_class(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add `_class`: the calling number's within its agreement; 0 where it does not matter."""
        plan = self.plan
        if not self._classes:
            return frame.with_columns(pl.lit(0, pl.Int64).alias("_class"))
        schemes = [row.scheme for row in plan.rows]
        frame = frame.with_columns(self.of_row(schemes).alias("_scheme"))
        frame = plan.callers.with_ids(frame, "a_number", "a_length", "_caller")
        caller = pl.col("_caller").fill_null(0)
        origin, width = pl.col("_scheme").clip(0), plan.origins.shape[1]
        kind = _place_among(A_KINDS, "a_kind").cast(pl.Int64)
        by_kind = gather(plan.kinds.ravel(), origin * len(A_KINDS) + kind)
        by_code = gather(plan.origins.ravel(), origin * width + caller)
        frame = frame.with_columns(by_kind.alias("_by_kind"), by_code.alias("_by_code"))
        result = pl.when(pl.col("_scheme") >= 0).then(
            pl.when(pl.col("_by_kind") >= 0).then("_by_kind").otherwise("_by_code").cast(pl.Int64)
        )
        if min(schemes) <= -2:
            frame = plan.callers.with_ids(frame, "_number", "_digits", "_callee")
            result = result.when(pl.col("_scheme") <= -2).then(self._jurisdiction(caller))
        return frame.with_columns(result.otherwise(0).alias("_class"))

    def _jurisdiction(self, caller: pl.Expr) -> pl.Expr:
        """0 where a number's state is unknown, 1 for calls inside a state, 2 between states; an
        invalid calling number has none."""
        place = (-2 - pl.col("_scheme")).clip(0) * self.plan.origins.shape[1]
        states = self.plan.states.ravel()
        ours = gather(states, place + caller)
        theirs = gather(states, place + pl.col("_callee").fill_null(0))
        invalid = pl.col("a_kind") == "invalid"
        unknown = (ours == 0) | (theirs == 0) | invalid
        return (pl.when(unknown).then(0).when(ours == theirs).then(1).otherwise(2)).cast(pl.Int64)


def _place_among(words: Sequence[str], column: str) -> pl.Expr:
    """The place of a column's word among a few: comparisons are faster than a cast to an Enum."""
    first, *others = words
    place = pl.when(pl.col(column) == first).then(pl.lit(0, INDEX))
    for number, word in enumerate(others, start=1):
        place = place.when(pl.col(column) == word).then(pl.lit(number, INDEX))
    return place


_MATCHES = ("dialled", "routing_number", "serving_network", "event_type")


def _numeric(name: str, plan: RatingPlan) -> pl.Expr:
    """The number of a record that an agreement matches instead of the dialled one."""
    if name == "event_type":
        codes = plan.event_types or {"": event_code("")}
        named = pl.col("event_type")
        priced = named.replace_strict(codes, default=10**14, return_dtype=pl.Int64)
        return pl.when(named.is_not_null()).then(priced)
    number = pl.col(name).cast(pl.Int64)
    if name == "routing_number":
        number = pl.coalesce(number, "b_number")
    return pl.when(number.is_between(1, 10**MAX_DIGITS - 1)).then(number)


def _digits(number: pl.Expr) -> pl.Expr:
    """How many decimal digits a positive number has."""
    count = pl.lit(1, pl.Int8)
    for power in range(1, MAX_DIGITS):
        count = pl.when(number >= 10**power).then(pl.lit(power + 1, pl.Int8)).otherwise(count)
    return count


def second_of(plan: RatingPlan, at: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 as whole seconds of the plan."""
    return (at - int(plan.start.timestamp()) * MICRO) // MICRO
