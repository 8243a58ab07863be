"""The rating kernel: one lazy query of integer gathers from records to priced legs.

Amounts are exact. A price p for `per` units makes units * p / per: whole prices and the rest are
kept apart as integers (`whole` in 10^-10, `part` in per-ths of it), so nothing overflows up to
800 million currency units a record, and the one rounding sees the exact value. Records whose
call crosses a price change of a splitting agreement are priced by parts in `split`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from billing_assets.core.ids import event_code
from billing_assets.lake.tables import RATED_LEG, UTC_TIME, XDR
from billing_assets.rating.plan import (
    A_KINDS,
    BILL_AND_KEEP,
    BLOCKED,
    MIXED,
    NO_AGREEMENT,
    NO_ROW,
    OPEN,
    OUTSIDE,
    SERVICES,
    STAMPS,
    LegPlan,
    RatingPlan,
)
from billing_assets.reference.models import Agreement, Leg, Service

REASONS = (
    "UNKNOWN_TRUNK",
    "NO_AGREEMENT",
    "TOO_LATE",
    "INVALID_NUMBER",
    "NO_RATE",
    "BLOCKED_CODE",
    "OUT_OF_RANGE",
)
"""Why a leg cannot be priced, in the order in which it is found out."""

BY_PARTS = "BY_PARTS"
"""In the place of a reason: the leg has more than one price."""

PRICINGS = ("priced", "split", "not_chargeable", "bill_and_keep")

MAX_DIGITS = 15
"""Digits of the longest number that E.164 allows."""

MAX_SECONDS = 30 * 86400
"""A longer call is an error of the switch, not a call."""

MAX_E10 = 8 * 10**18
"""Largest cost of a record's units; int64 has room above it for fees and surcharges."""
_MICRO = 1_000_000
_VOICE, _SMS, _DATA, _EVENT = (SERVICES.index(service) for service in Service)


def _gather(values: np.ndarray | pl.Series | Sequence[int], index: pl.Expr) -> pl.Expr:
    """Read a small table at a column of positions; one value everywhere needs no reading."""
    series = values if isinstance(values, pl.Series) else pl.Series(np.asarray(values))
    return pl.lit(series).gather(index)


def columns_read(agreements: Iterable[Agreement]) -> list[str]:
    """The columns of `xdr` that pricing under some agreements reads: every other costs its part
    of the time that reading few records among many takes."""
    terms = list(agreements)
    unread = {"switch", "call_key", "parts"}
    by_end = [a.event_time == "end" or a.duration.start == "setup" for a in terms]
    by_stamps = [a.duration.rounding == "floor_stamps" for a in terms]
    if not any([*by_end, *by_stamps]):
        unread |= {"end_time"}
    if not any(a.origins or a.jurisdiction for a in terms):
        unread |= {"a_number", "a_length", "a_kind"}
    if all(a.refuse_after_days is None for a in terms):
        unread |= {"arrived_time"}
    return [name for name in XDR.schema if name not in unread]


@dataclass(frozen=True)
class Kernel:
    """The query of one leg of one plan.

    `legs(records)` gives a frame with the columns of `rated_leg`, and `reason` (null for a
    priced leg): every record with a trunk on this side that is not our own gives one row.
    """

    plan: RatingPlan
    leg: Leg
    rerate_request: int | None = None

    @property
    def side(self) -> LegPlan:
        """The plan's tables of this leg."""
        return self.plan.legs[self.leg]

    @property
    def splits(self) -> bool:
        """Whether any leg may be priced by parts (`split.priced_legs`)."""
        return bool(self.side.split_trunks)

    @cached_property
    def _trunk_type(self) -> pl.Enum:
        return pl.Enum(self.plan.trunks)

    def legs(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Price records (columns of `xdr`) at one price each.

        Legs that cross a price change of a splitting agreement have the reason `BY_PARTS`:
        `split` prices those.
        """
        return self._labelled(self._priced(self._resolved(records)))

    def crossing(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """The legs that are priced by parts, with the kernel's own columns."""
        trunk = "in_trunk" if self.leg is Leg.CUSTOMER else "out_trunk"
        records = records.filter(pl.col(trunk).is_in(self.side.split_trunks))
        return self._priced(self._resolved(records)).filter("_split")

    # resolution: which plan row and which rate row

    def _resolved(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Add `_row` (plan row), `_class`, `_rate` (rate row) and the rating time of each leg."""
        plan, side = self.plan, self.side
        trunk = pl.col("in_trunk" if self.leg is Leg.CUSTOMER else "out_trunk")
        index = trunk.cast(self._trunk_type, strict=False).to_physical().cast(pl.Int64)
        frame = records.filter(trunk.is_not_null()).with_columns(
            index.fill_null(len(plan.trunks)).alias("_trunk"),
            pl.col("service").cast(pl.Enum(SERVICES)).to_physical().cast(pl.Int64).alias("_svc"),
        )
        if plan.own.any():
            frame = frame.filter(~_gather([*plan.own, False], pl.col("_trunk")))
        frame = frame.with_columns(self._event_time().alias("_at"))
        frame = frame.with_columns(self._cell(pl.col("_at")).alias("_cell"))
        frame = frame.with_columns(_gather(side.rows.ravel(), pl.col("_cell")).alias("_row"))
        frame = self._with_code(frame)
        frame = self._with_class(frame)
        place = self._of_row("deck") * plan.decks.shape[1] + pl.col("_code").fill_null(0)
        node = _gather(plan.decks.ravel(), place)
        start = self._of_row("rate_set") + pl.col("_class") * self._of_row("stride")
        return frame.with_columns(_gather(plan.rate_sets, start + node).alias("_rate"))

    def _of_row(self, name: str) -> pl.Expr:
        """A whole-number field of each leg's plan row."""
        values = np.array([getattr(row, name) for row in self.plan.rows], np.int64)
        return _gather(values, pl.col("_row"))

    def _cell(self, at: pl.Expr) -> pl.Expr:
        """Place of a record in the leg's table of rows at an instant."""
        plan = self.plan
        segments, trunks, services = self.side.rows.shape
        outside = np.int32(segments - 1)
        known = np.concatenate([plan.segments, [outside]]).astype(np.int32)
        second = _second(plan, at)
        inside = (second >= 0) & (second < plan.seconds)
        segment = _gather(known, pl.when(inside).then(second).otherwise(plan.seconds))
        return (segment.cast(pl.Int64) * trunks + pl.col("_trunk")) * services + pl.col("_svc")

    def _event_time(self) -> pl.Expr:
        """The stamp that the agreement rates by, in microseconds since 1970."""
        used = {int(stamp) for stamp in np.unique(self.side.stamps)}
        answer = pl.coalesce("answer_time", "setup_time").dt.epoch("us")
        if used <= {STAMPS.index("answer")}:
            return answer
        setup = pl.col("setup_time").dt.epoch("us")
        end = pl.when("answered").then(pl.col("end_time").dt.epoch("us")).otherwise(answer)
        stamp = _gather(self.side.stamps.ravel(), pl.col("_trunk") * len(SERVICES) + pl.col("_svc"))
        if MIXED in used:
            own = np.array([row.stamp for row in self.plan.rows], np.int8)
            rows = self.side.rows.ravel()
            held = [_gather(rows, self._cell(at)) for at in (setup, answer, end)]
            said = [pl.when(row > OUTSIDE).then(_gather(own, row)) for row in held]
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
            match = _gather(
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
        schemes = np.array([row.scheme for row in plan.rows], np.int64)
        if (schemes == -1).all():
            return frame.with_columns(pl.lit(0, pl.Int64).alias("_class"))
        frame = plan.callers.with_ids(frame, "a_number", "a_length", "_caller")
        if (schemes <= -2).any():
            frame = plan.callers.with_ids(frame, "_number", "_digits", "_callee")
        return frame.with_columns(self._class(schemes).alias("_class"))

    def _class(self, schemes: np.ndarray) -> pl.Expr:
        plan = self.plan
        scheme = _gather(schemes, pl.col("_row"))
        width = plan.origins.shape[1]
        caller = pl.col("_caller").fill_null(0)
        kind = pl.col("a_kind").cast(pl.Enum(A_KINDS)).to_physical().cast(pl.Int64)
        origin = scheme.clip(0)
        by_kind = _gather(plan.kinds.ravel(), origin * len(A_KINDS) + kind)
        by_code = _gather(plan.origins.ravel(), origin * width + caller)
        result = pl.when(scheme >= 0).then(
            pl.when(by_kind >= 0).then(by_kind).otherwise(by_code).cast(pl.Int64)
        )
        if (schemes <= -2).any():
            place = (-2 - scheme).clip(0) * width
            states = plan.states.ravel()
            ours = _gather(states, place + caller)
            theirs = _gather(states, place + pl.col("_callee").fill_null(0))
            unknown = (ours == 0) | (theirs == 0)
            jurisdiction = (
                pl.when(unknown).then(0).when(ours == theirs).then(1).otherwise(2)
            ).cast(pl.Int64)
            result = result.when(scheme <= -2).then(jurisdiction)
        return result.otherwise(0)

    # price

    def _priced(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add units, amounts, `_kind` of pricing, `_reason` and `_split`."""
        plan = self.plan
        kinds = plan.rates["kind"].cast(pl.Int8)
        base_terms = np.array([row.terms for row in plan.rows], np.int64)
        matched = pl.col("_rate") > 0
        frame = frame.with_columns(
            _gather(kinds, pl.col("_rate")).alias("_status"),
            pl.when(matched)
            .then(_gather(plan.rates["terms"], pl.col("_rate")))
            .otherwise(_gather(base_terms, pl.col("_row")))
            .alias("_terms"),
        )
        terms = TermColumns(plan)
        frame = frame.with_columns(self._quantity(terms).alias("_quantity"))
        frame = frame.with_columns(self._chargeable(terms).alias("_charged"))
        frame = frame.with_columns(
            pl.when("_charged").then(self._units(terms)).otherwise(0).alias("_units"),
            self._reason().alias("_reason"),
        )
        frame = frame.with_columns(
            pl.when(pl.col("_status") == OPEN)
            .then(_gather(plan.rates["price_e10"], pl.col("_rate")))
            .otherwise(0)
            .alias("_price"),
            self._fees(terms).alias("_fees"),
        )
        frame = frame.with_columns(self._out_of_range(terms).alias("_reason"))
        whole, part = self._cost(terms)
        frame = frame.with_columns(whole.alias("_whole"), part.alias("_part"))
        frame = frame.with_columns(amount_of(terms, pl.col("_whole"), pl.col("_part")))
        return frame.with_columns(self._crosses().alias("_split"))

    def _quantity(self, terms: "TermColumns") -> pl.Expr:
        """Measured seconds, messages, segments, bytes or events, before increments."""
        services = self._services()
        counted = pl.col("quantity").fill_null(1)
        branches: list[tuple[int, pl.Expr]] = []
        if _VOICE in services:
            branches.append((_VOICE, self._seconds(terms)))
        if _SMS in services:
            by_segment = terms.flag("by_segment")
            branches.append((_SMS, pl.when(by_segment).then(counted).otherwise(1)))
        if _DATA in services:
            branches.append((_DATA, pl.col("quantity").fill_null(0)))
        if len(services) == 1 and branches:
            return branches[0][1]
        expression = counted
        for service, value in branches:
            expression = pl.when(pl.col("_svc") == service).then(value).otherwise(expression)
        return expression

    def _services(self) -> set[int]:
        """Services that any trunk of this leg has an agreement for; voice stands for none."""
        used = np.flatnonzero((self.side.rows > OUTSIDE).any(axis=(0, 1)))
        return {int(service) for service in used} or {_VOICE}

    def _seconds(self, terms: "TermColumns") -> pl.Expr:
        """Whole seconds of a call by the agreement's stamps, rounding, grace and minimum."""
        milliseconds = pl.col("duration_ms")
        if terms.any("from_setup"):
            since_setup = (pl.col("end_time") - pl.col("setup_time")).dt.total_milliseconds()
            milliseconds = (
                pl.when(terms.flag("from_setup") & pl.col("answered"))
                .then(since_setup)
                .otherwise(milliseconds)
            )
        seconds = _round_to_seconds(terms, milliseconds)
        if terms.any("grace"):
            grace = terms.value("grace")
            seconds = (
                pl.when(terms.flag("grace_deducts"))
                .then(pl.max_horizontal(seconds - grace, 0))
                .when(seconds <= grace)
                .then(0)
                .otherwise(seconds)
            )
        if terms.any("minimum_duration"):
            seconds = (
                pl.when(seconds > 0)
                .then(pl.max_horizontal(seconds, terms.value("minimum_duration")))
                .otherwise(seconds)
            )
        return seconds

    def _chargeable(self, terms: "TermColumns") -> pl.Expr:
        """Whether anything but the attempt is charged: answered, delivered, above grace."""
        services = self._services()
        some = pl.col("_quantity") > 0
        if terms.any("zero_duration"):
            some = some | terms.flag("zero_duration")
        charged = pl.col("answered") & some
        if services != {_VOICE}:
            delivered = pl.lit(True)
            if terms.any("on_delivery"):
                listed = pl.lit(False)
                for words in sorted({t.delivered for t in self.plan.terms}):
                    these = [t.delivered == words for t in self.plan.terms]
                    listed = listed | (
                        _gather(np.array(these), pl.col("_terms"))
                        & pl.col("status").is_in(list(words)).fill_null(False)
                    )
                delivered = ~terms.flag("on_delivery") | listed
            voice = pl.col("_svc") == _VOICE
            charged = pl.when(voice).then(charged).otherwise((pl.col("_quantity") > 0) & delivered)
        return charged

    def _units(self, terms: "TermColumns") -> pl.Expr:
        """Quantity in steps a/b: the first block, then steps counted from its end (A01 to A12)."""
        quantity, first, step = pl.col("_quantity"), terms.value("first"), terms.value("next")
        further = (quantity - first + step - 1) // step * step
        return pl.when(quantity <= first).then(first).otherwise(first + further)

    def _reason(self) -> pl.Expr:
        """Why a leg cannot be priced; an uncharged one needs no rate, only its agreement."""
        row, status = pl.col("_row"), pl.col("_status")
        charged = pl.col("_charged")
        return (
            pl.when(row == NO_ROW)
            .then(pl.lit("UNKNOWN_TRUNK"))
            .when(row == OUTSIDE)
            .then(pl.lit("OUT_OF_RANGE"))
            .when(row == NO_AGREEMENT)
            .then(pl.lit("NO_AGREEMENT"))
            .when(self._too_late())
            .then(pl.lit("TOO_LATE"))
            .when(charged & pl.col("_code").is_null())
            .then(pl.lit("INVALID_NUMBER"))
            .when(charged & (status == 0))
            .then(pl.lit("NO_RATE"))
            .when(charged & (status == BLOCKED))
            .then(pl.lit("BLOCKED_CODE"))
            .otherwise(pl.lit(None, pl.String))
        )

    def _too_late(self) -> pl.Expr:
        """Whether a record arrived later after its event than its agreement takes it."""
        limits = np.array([row.late_us for row in self.plan.rows], np.int64)
        if (limits < 0).all():
            return pl.lit(False)
        limit = _gather(limits, pl.col("_row"))
        after = pl.col("arrived_time").dt.epoch("us") - pl.col("_at")
        return ((limit >= 0) & (after > limit)).fill_null(False)

    def _fees(self, terms: "TermColumns") -> pl.Expr:
        """Attempt fee of every record, setup fee and surcharges of every charged one."""
        call = pl.lit(0, pl.Int64)
        if terms.any("setup_e10"):
            call = call + terms.value("setup_e10")
        surcharges = self.plan.rates["call_e10"]
        if (surcharges > 0).any():
            call = call + _gather(surcharges, pl.col("_rate"))
        fees = pl.when(pl.col("_charged") & (pl.col("_status") == OPEN)).then(call).otherwise(0)
        return fees + terms.value("attempt_e10") if terms.any("attempt_e10") else fees

    def _out_of_range(self, terms: "TermColumns") -> pl.Expr:
        """Refuse amounts that int64 cannot hold, and calls longer than any call."""
        beyond = pl.lit(False)
        services = self._services()
        if _VOICE in services:
            beyond = (pl.col("_svc") == _VOICE) & (pl.col("_quantity") > MAX_SECONDS)
        dearest = int(self.plan.rates.select("price_e10", "first_e10").to_numpy().max())
        if services != {_VOICE} or dearest * (MAX_SECONDS // 60 + 1) >= MAX_E10:
            price = pl.max_horizontal(pl.col("_price"), self._first_price(), 1)
            beyond = beyond | (pl.col("_units") // terms.value("per") + 1 > MAX_E10 // price)
        reason = pl.col("_reason")
        return pl.when(reason.is_null() & beyond).then(pl.lit("OUT_OF_RANGE")).otherwise(reason)

    def _first_price(self) -> pl.Expr:
        return _gather(self.plan.rates["first_e10"], pl.col("_rate"))

    def _cost(self, terms: "TermColumns") -> tuple[pl.Expr, pl.Expr]:
        """Exact cost as whole 10^-10 units and a rest in per-ths of one (0 <= rest < per)."""
        rates = self.plan.rates
        units, price, per = pl.col("_units"), pl.col("_price"), terms.value("per")
        if (rates["first_e10"] == rates["price_e10"]).all():
            whole, part = _product(units, price, per)
            return whole + pl.col("_fees"), part
        first = pl.min_horizontal(units, terms.value("first"))
        opened = pl.col("_status") == OPEN
        dear = pl.when(opened).then(self._first_price()).otherwise(0)
        whole_first, part_first = _product(first, dear, per)
        whole_next, part_next = _product(units - first, price, per)
        part = part_first + part_next
        return whole_first + whole_next + part // per + pl.col("_fees"), part % per

    def _crosses(self) -> pl.Expr:
        """Whether a charged call of a splitting agreement runs into another price."""
        if not self.splits:
            return pl.lit(False)
        plan = self.plan
        number = _gather(np.array([row.split for row in plan.rows], np.int64), pl.col("_row"))
        segment = pl.col("_cell") // (self.side.rows.shape[1] * len(SERVICES))
        width = plan.split_until.shape[1]
        until = _gather(
            plan.split_until.ravel(), pl.when(number >= 0).then(number * width + segment)
        )
        ends = _second(plan, pl.col("_at")) + pl.col("_units")
        return (pl.col("_reason").is_null() & pl.col("_charged") & (ends > until)).fill_null(False)

    # labels

    def _labelled(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Turn plan numbers into the words of `rated_leg`; suspended legs keep a `reason`."""
        reason = pl.col("_reason")
        if self.splits:
            reason = pl.when("_split").then(pl.lit(BY_PARTS)).otherwise(reason)
        return frame.select(*self.label_columns(), reason.alias("reason"))

    def label_columns(self, single: pl.Expr | None = None) -> list[pl.Expr]:
        """The columns of `rated_leg` from the kernel's own.

        `single` tells, of legs priced by parts, which met one rate alone; the others have none.
        """
        plan = self.plan
        row, rate = pl.col("_row"), pl.col("_rate")
        # blocked codes and none at all have no rate to show
        shown = plan.rates["kind"].is_in([OPEN, BILL_AND_KEEP])
        rates = plan.rates.select(
            pl.when(shown).then(name).alias(name) for name in ("rate_id", "code", "destination")
        )
        opened = (pl.col("_status") == OPEN) | (pl.col("_status") == BILL_AND_KEEP)
        bases = np.array([r.class_base for r in plan.rows], np.int64)
        offsets = np.array([r.offset * _MICRO for r in plan.rows], np.int64)
        local = (pl.col("_at") + _gather(offsets, row)) // (86400 * _MICRO)
        priced = pl.lit(0) if single is None else pl.when(single).then(0).otherwise(1)
        pricing = (
            pl.when(pl.col("_charged") & (pl.col("_status") == BILL_AND_KEEP))
            .then(3)
            .when(pl.col("_charged") | (pl.col("_amount") != 0))
            .then(priced)
            .otherwise(2)
        )
        names = {
            "record_id": pl.col("record_id"),
            "day": pl.col("day"),
            "bucket": _gather(np.array([r.bucket for r in plan.rows], np.int32), row),
            "leg": pl.lit(self.leg.value).cast(pl.Categorical),
            "service": pl.lit(_words(SERVICES)).gather(pl.col("_svc")),
            "partner": pl.lit(_words([r.partner for r in plan.rows])).gather(row),
            "account": pl.lit(_words([r.account for r in plan.rows])).gather(row),
            "agreement": pl.lit(_words([r.agreement for r in plan.rows])).gather(row),
            "rate_id": _gather(rates["rate_id"], rate),
            "code": _gather(rates["code"], rate),
            "destination": pl.lit(_words(plan.destinations)).gather(
                _gather(rates["destination"], rate)
            ),
            "band": pl.lit(_words([r.band for r in plan.rows])).gather(row),
            "origin": pl.lit(_words(plan.class_names)).gather(
                _gather(bases, row) + pl.col("_class")
            ),
            "event_time": pl.col("_at").cast(UTC_TIME),
            "local_day": local.cast(pl.Int32).cast(pl.Date),
            "answered": pl.col("answered"),
            "duration_ms": pl.col("duration_ms"),
            "quantity": pl.col("_quantity"),
            "billed_units": pl.col("_units"),
            "rate_e10": pl.when(opened if single is None else opened & single).then("_price"),
            "fees_e10": pl.col("_fees") * TermColumns(plan).value("sign"),
            "amount_e10": pl.col("_amount"),
            "currency": pl.lit(_words([r.currency for r in plan.rows])).gather(row),
            "pricing": pl.lit(_words(PRICINGS)).gather(pricing),
            "plan": pl.lit(plan.version).cast(pl.Categorical),
            "rerate_request": pl.lit(self.rerate_request, pl.Int64),
        }
        return [names[column].alias(column) for column in RATED_LEG.schema]


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


def _words(values: Sequence[str]) -> pl.Series:
    """A table of words as Categorical, so that gathering and writing them moves integers."""
    return pl.Series(values, dtype=pl.Categorical)


def _second(plan: RatingPlan, at: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 as whole seconds of the plan."""
    return (at - int(plan.start.timestamp()) * _MICRO) // _MICRO


class TermColumns:
    """Columns of the plan's terms by leg; a term that is the same everywhere becomes a constant."""

    def __init__(self, plan: RatingPlan) -> None:
        self.terms = plan.terms
        used = {row.terms for row in plan.rows[OUTSIDE + 1 :]} | set(
            plan.rates["terms"][1:].unique()
        )
        self.used = sorted(used) or [0]

    def values(self, name: str) -> list[int | bool | str]:
        """The values that a term takes in this plan."""
        return [getattr(self.terms[n], name) for n in self.used]

    def any(self, name: str) -> bool:
        """Whether any terms in use have it."""
        return any(self.values(name))

    def value(self, name: str, otherwise: int = 0) -> pl.Expr:
        """A whole-number term of each leg."""
        values = set(self.values(name))
        if len(values) == 1:
            return pl.lit(int(values.pop()), pl.Int64)
        column = [
            getattr(t, name) if n in set(self.used) else otherwise for n, t in enumerate(self.terms)
        ]
        return _gather(pl.Series(column, dtype=pl.Int64), pl.col("_terms"))

    def flag(self, name: str) -> pl.Expr:
        """A yes-or-no term of each leg."""
        return self.value(name) != 0

    def word(self, name: str, word: str) -> pl.Expr:
        """Whether a term of each leg is a word."""
        values = set(self.values(name))
        if len(values) == 1:
            return pl.lit(values.pop() == word)
        return _gather(np.array([getattr(t, name) == word for t in self.terms]), pl.col("_terms"))


def _round_to_seconds(terms: TermColumns, milliseconds: pl.Expr) -> pl.Expr:
    """Milliseconds to whole seconds: up, half up, down, or each stamp floored first (A13)."""
    rules = {
        "up": (milliseconds + 999) // 1000,
        "half_up": (milliseconds + 500) // 1000,
        "floor": milliseconds // 1000,
        "floor_stamps": pl.when("answered")
        .then(
            pl.col("end_time").dt.epoch("us") // _MICRO
            - pl.when(terms.flag("from_setup"))
            .then("setup_time")
            .otherwise("answer_time")
            .dt.epoch("us")
            // _MICRO
        )
        .otherwise(0),
    }
    used = sorted({str(rule) for rule in terms.values("duration_rounding")})
    expression = rules[used[0]]
    for rule in used[1:]:
        here = terms.word("duration_rounding", rule)
        expression = pl.when(here).then(rules[rule]).otherwise(expression)
    return expression


def _product(units: pl.Expr, price: pl.Expr, per: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """units * price / per as whole 10^-10 units and a rest in per-ths, without overflow.

    With units = uq * per + ur and price = pq * per + pr it is uq * price + ur * pq, and ur * pr
    (below per^2) divided by per.
    """
    rest_units, rest_price = units % per, price % per
    fraction = rest_units * rest_price
    whole = units // per * price + rest_units * (price // per) + fraction // per
    return whole, fraction % per


def amount_of(terms: TermColumns, whole: pl.Expr, part: pl.Expr) -> pl.Expr:
    """`_amount`: minimum, cap, then a record's one rounding, in 10^-10 units with its sign."""
    if terms.any("minimum_e10"):
        low = terms.value("minimum_e10")
        raised = pl.col("_charged") & (pl.col("_status") == OPEN) & (whole < low)
        part = pl.when(raised).then(0).otherwise(part)
        whole = pl.when(raised).then(low).otherwise(whole)
    if set(terms.values("cap_e10")) != {-1}:
        high = terms.value("cap_e10", -1)
        capped = (high >= 0) & ((whole > high) | ((whole == high) & (part > 0)))
        part = pl.when(capped).then(0).otherwise(part)
        whole = pl.when(capped).then(high).otherwise(whole)
    return _rounded(terms, whole, part).alias("_amount")


def _rounded(terms: TermColumns, whole: pl.Expr, part: pl.Expr) -> pl.Expr:
    """Round whole + part/per to the agreement's decimals and method, and apply the sign."""
    per, step = terms.value("per"), terms.value("step")
    steps = whole // step
    rest = whole % step * per + part
    unit = step * per
    rules = {
        "half_up": 2 * rest >= unit,
        "half_even": (2 * rest > unit) | ((2 * rest == unit) & (steps % 2 == 1)),
        "up": rest > 0,
        "down": pl.lit(False),
    }
    used = sorted({str(rule) for rule in terms.values("method")})
    upward = rules[used[0]]
    for rule in used[1:]:
        upward = pl.when(terms.word("method", rule)).then(rules[rule]).otherwise(upward)
    amount = (steps + upward.cast(pl.Int64)) * step
    return amount * terms.value("sign") if set(terms.values("sign")) != {1} else amount
