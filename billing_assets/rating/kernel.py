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
from billing_assets.rating.labels import LEG, PRICINGS, gather, group_of, words_of
from billing_assets.rating.plan import (
    A_KINDS,
    BILL_AND_KEEP,
    BLOCKED,
    MIXED,
    NO_AGREEMENT,
    NO_RATE,
    NO_ROW,
    NO_TERMS,
    OPEN,
    OUTSIDE,
    SERVICES,
    STAMPS,
    LegPlan,
    RatingPlan,
)
from billing_assets.rating.term_columns import TermColumns, amount_of, round_to_seconds, signed
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

REASON = pl.Enum([*REASONS, BY_PARTS])

_HELD = {
    "rate_id": "_rate",
    "code": "_code",
    "rate_e10": "_class",
    "fees_e10": "_fees",
    "amount_e10": "_cell",
}
"""Which columns of `rated_leg` hold which places of a leg `BY_PARTS`, so that no record is read
and found again."""

MAX_DIGITS = 15
"""Digits of the longest number that E.164 allows."""

MAX_SECONDS = 30 * 86400
"""A longer call is an error of the switch, not a call."""

MAX_QUANTITY = 10**15
"""More messages, bytes or events are an error of the record too."""

MAX_E10 = 8 * 10**18
"""Largest cost of a record's units; int64 has room above it for fees and surcharges."""
_MICRO = 1_000_000
_INDEX = pl.UInt32
"""The type by which Polars reads a table at positions without a cast."""
_PRICED = 0
"""In the place of a reason's number: the leg has a price."""
_VOICE, _SMS, _DATA, _EVENT = (SERVICES.index(service) for service in Service)


def _place(reason: str) -> int:
    """The number of a reason, or of `BY_PARTS`: words are made of them last of all."""
    return [*REASONS, BY_PARTS].index(reason) + 1


def _case() -> pl.Expr:
    """Four times the kind of a leg's offer, and two for one that is charged (UInt8)."""
    return pl.col("_status") * 4 + pl.col("_charged").cast(pl.UInt8) * 2


def _reasons() -> pl.Series:
    """Why a leg has no price, by twice its `_case` with one for a number that no code can match,
    and one for an amount or a call beyond all bounds; an uncharged leg needs no rate, only its
    agreement."""
    by_kind = {
        NO_RATE: ("", "", "NO_RATE", "INVALID_NUMBER"),
        OPEN: ("", "", "", "INVALID_NUMBER"),
        BLOCKED: ("", "", "BLOCKED_CODE", "INVALID_NUMBER"),
        BILL_AND_KEEP: ("", "", "", "INVALID_NUMBER"),
        NO_TERMS + NO_ROW: ("UNKNOWN_TRUNK",) * 4,
        NO_TERMS + NO_AGREEMENT: ("NO_AGREEMENT",) * 4,
        NO_TERMS + OUTSIDE: ("OUT_OF_RANGE",) * 4,
    }
    words = [(word, word or "OUT_OF_RANGE") for kind in sorted(by_kind) for word in by_kind[kind]]
    places = [_place(word) if word else _PRICED for pair in words for word in pair]
    return pl.Series(places, dtype=_INDEX)


def _pricings(priced: int) -> pl.Series:
    """How a leg was priced, by its `_case` with one for an amount; `priced` is what charged legs
    are."""
    kept, nothing = PRICINGS.index("bill_and_keep"), PRICINGS.index("not_chargeable")
    places = [
        kept if charged and kind == BILL_AND_KEEP else priced if charged or amount else nothing
        for kind in range(NO_TERMS + OUTSIDE + 1)
        for charged in (False, True)
        for amount in (False, True)
    ]
    return pl.Series(places, dtype=_INDEX)


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

    `legs(records)` gives a frame with the columns of `rated_leg`, `reason` (null for a priced
    leg) and `group` (`labels.group_of`; null for any other): every record with a trunk on this
    side that is not our own gives one row.
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

    @property
    def counts_little(self) -> bool:
        """Whether all its legs are calls measured by `duration_ms`, which `MAX_SECONDS` bounds: a
        day of them adds up to far less than int64 holds."""
        terms = TermColumns(self.plan)
        by_stamps = "floor_stamps" in terms.values("duration_rounding") or terms.any("from_setup")
        return self._services() == {_VOICE} and not by_stamps

    @property
    def _trunk(self) -> pl.Expr:
        return pl.col("in_trunk" if self.leg is Leg.CUSTOMER else "out_trunk")

    @cached_property
    def _trunk_type(self) -> pl.Enum:
        return pl.Enum(self.plan.trunks)

    def legs(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Price records (columns of `xdr`) at one price each.

        Legs that cross a price change of a splitting agreement have the reason `BY_PARTS`, and in
        the columns that their parts will fill their places in the plan (`_HELD`): `split` prices
        those.
        """
        return self._labelled(self._priced(self._resolved(records)))

    def crossable(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """The records of which a leg of this side may be `BY_PARTS`."""
        return records.filter(self._trunk.is_in(self.side.split_trunks))

    def crossing(self, legs: pl.DataFrame) -> pl.LazyFrame:
        """Legs `BY_PARTS` of this side in the columns that parts and labels are made of."""
        plan = self.plan
        mine = (pl.col("leg") == self.leg.value) & (pl.col("reason") == BY_PARTS)
        frame = (
            legs.lazy()
            .filter(mine)
            .select(
                "day",
                "record_id",
                "answered",
                "duration_ms",
                pl.col("event_time").dt.epoch("us").alias("_at"),
                pl.col("quantity").alias("_quantity"),
                pl.col("billed_units").alias("_units"),
                *(pl.col(column).alias(name) for column, name in _HELD.items()),
                pl.lit(True).alias("_charged"),
                pl.lit(_VOICE, _INDEX).alias("_svc"),
            )
        )
        frame = frame.with_columns(
            gather(self.side.rows.ravel(), pl.col("_cell")).alias("_row"),
            gather(plan.rates["offer"], pl.col("_rate")).alias("_offer"),
        )
        return frame.with_columns(self._of_offer())

    # resolution: which plan row and which rate row

    def _resolved(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Add `_row` (plan row), `_class`, `_rate` (rate row) and the rating time of each leg."""
        plan, side = self.plan, self.side
        trunk = self._trunk
        index = trunk.cast(self._trunk_type, strict=False).to_physical().cast(_INDEX)
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
        code = pl.col("_code").fill_null(0).cast(_INDEX)
        place = self._of_row([row.deck * codes for row in plan.rows], np.uint32) + code
        node = gather(plan.decks.ravel(), place).cast(_INDEX)
        rate = self._of_row([row.rate_set for row in plan.rows], np.uint32) + node
        if self._classes:
            stride = self._of_row([row.stride for row in plan.rows], np.uint32)
            rate = rate + pl.col("_class").cast(_INDEX) * stride
        return frame.with_columns(gather(plan.rate_sets, rate).alias("_rate"))

    def _of_row(self, values: Sequence[int], dtype: type = np.int64) -> pl.Expr:
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
        second = _second(plan, at).clip(-1, plan.seconds) + 1
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
        frame = frame.with_columns(self._of_row(schemes).alias("_scheme"))
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

    # price

    def _priced(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add units, amounts, `_reason` and `_split`."""
        plan = self.plan
        frame = frame.with_columns(gather(plan.rates["offer"], pl.col("_rate")).alias("_offer"))
        frame = frame.with_columns(self._of_offer())
        terms = TermColumns(plan)
        frame = frame.with_columns(
            self._quantity(terms).alias("_quantity"),
            terms.value("first").alias("_first"),
            terms.value("next").alias("_next"),
        )
        frame = frame.with_columns(self._chargeable(terms).alias("_charged"))
        frame = frame.with_columns(
            pl.when("_charged").then(self._units()).otherwise(0).alias("_units"),
            self._fees(terms).alias("_fees"),
        )
        frame = frame.with_columns(self._reason(terms).alias("_reason"))
        whole, part = self._cost(terms)
        frame = frame.with_columns(whole.alias("_whole"), part.alias("_part"))
        frame = frame.with_columns(amount_of(terms, pl.col("_whole"), pl.col("_part")))
        return frame.with_columns(self._crosses().alias("_split"))

    def _of_offer(self) -> list[pl.Expr]:
        """What each leg's offer says."""
        named = {"kind": "_status", "terms": "_terms", "price_e10": "_price"}
        offers, offer = self.plan.offers, pl.col("_offer")
        return [gather(offers[column], offer).alias(name) for column, name in named.items()]

    def _quantity(self, terms: TermColumns) -> pl.Expr:
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

    def _seconds(self, terms: TermColumns) -> pl.Expr:
        """Whole seconds of a call by the agreement's stamps, rounding, grace and minimum."""
        milliseconds = pl.col("duration_ms")
        if terms.any("from_setup"):
            since_setup = (pl.col("end_time") - pl.col("setup_time")).dt.total_milliseconds()
            milliseconds = (
                pl.when(terms.flag("from_setup") & pl.col("answered"))
                .then(since_setup)
                .otherwise(milliseconds)
            )
        seconds = round_to_seconds(terms, milliseconds)
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

    def _chargeable(self, terms: TermColumns) -> pl.Expr:
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
                        gather(np.array(these), pl.col("_terms"))
                        & pl.col("status").is_in(list(words)).fill_null(False)
                    )
                delivered = ~terms.flag("on_delivery") | listed
            voice = pl.col("_svc") == _VOICE
            charged = pl.when(voice).then(charged).otherwise((pl.col("_quantity") > 0) & delivered)
        return charged

    def _units(self) -> pl.Expr:
        """Quantity in steps a/b: the first block, then steps counted from its end (A01 to A12)."""
        quantity, first, step = pl.col("_quantity"), pl.col("_first"), pl.col("_next")
        return first + ((quantity - first + step - 1) // step).clip(0) * step

    def _reason(self, terms: TermColumns) -> pl.Expr:
        """Why a leg cannot be priced (`_reasons`), or that it comes too late for its agreement.

        What cannot be told is beyond all bounds: null would mean that there is a price.
        """
        case = (_case() + pl.col("_code").is_null().cast(pl.UInt8)) * 2
        beyond = self._beyond(terms).fill_null(True).cast(pl.UInt8)
        reason = gather(_reasons(), case + beyond).fill_null(_place("OUT_OF_RANGE"))
        late = self._too_late()
        if late is None:
            return reason
        late = late & (pl.col("_status") < NO_TERMS)
        return pl.when(late).then(pl.lit(_place("TOO_LATE"), _INDEX)).otherwise(reason)

    def _too_late(self) -> pl.Expr | None:
        """Whether a record arrived later after its event than its agreement takes it; None where
        all agreements take every record."""
        limits = np.array([row.late_us for row in self.plan.rows], np.int64)
        if (limits < 0).all():
            return None
        limit = gather(limits, pl.col("_row"))
        after = pl.col("arrived_time").dt.epoch("us") - pl.col("_at")
        return ((limit >= 0) & (after > limit)).fill_null(False)

    def _fees(self, terms: TermColumns) -> pl.Expr:
        """Attempt fee of every record, setup fee and surcharges of every charged one."""
        call = pl.lit(0, pl.Int64)
        if terms.any("setup_e10"):
            call = call + terms.value("setup_e10")
        if self.plan.call_surcharges:
            call = call + gather(self.plan.offers["call_e10"], pl.col("_offer"))
        fees = pl.when(pl.col("_charged") & (pl.col("_status") == OPEN)).then(call).otherwise(0)
        return fees + terms.value("attempt_e10") if terms.any("attempt_e10") else fees

    def _beyond(self, terms: TermColumns) -> pl.Expr:
        """Whether int64 cannot hold an amount, or a record counts more than any can."""
        services = self._services()
        most = pl.lit(MAX_SECONDS if services == {_VOICE} else MAX_QUANTITY)
        if _VOICE in services and services != {_VOICE}:
            most = pl.when(pl.col("_svc") == _VOICE).then(MAX_SECONDS).otherwise(MAX_QUANTITY)
        beyond = pl.col("_quantity") > most
        dearest_call = self.plan.dearest_e10 * (self._longest_call(terms) // 60 + 1)
        if services != {_VOICE} or dearest_call >= MAX_E10:
            price = pl.max_horizontal(pl.col("_price"), self._first_price(), 1)
            beyond = beyond | (pl.col("_units") // terms.value("per") + 1 > MAX_E10 // price)
        return beyond

    def _longest_call(self, terms: TermColumns) -> int:
        """Seconds that no call is billed more of."""
        return MAX_SECONDS + terms.largest("first") + terms.largest("next")

    def _first_price(self) -> pl.Expr:
        return gather(self.plan.offers["first_e10"], pl.col("_offer"))

    def _product(
        self, terms: TermColumns, units: pl.Expr, price: pl.Expr
    ) -> tuple[pl.Expr, pl.Expr]:
        """units * price / per as whole 10^-10 units and a rest in per-ths, without overflow.

        With units = uq * per + ur and price = pq * per + pr it is uq * price + ur * pq, and
        ur * pr (below per^2) divided by per. Where the longest call at the dearest price fits
        into an int64 as it is, which calls at usual prices do, one division does.
        """
        per = terms.value("per")
        dearest_call = self.plan.dearest_e10 * self._longest_call(terms)
        if self._services() == {_VOICE} and dearest_call < 2**63:
            cost = units * price
            whole = cost // per
            return whole, cost - whole * per
        rest_units, rest_price = units % per, price % per
        fraction = rest_units * rest_price
        whole = units // per * price + rest_units * (price // per) + fraction // per
        return whole, fraction % per

    def _cost(self, terms: TermColumns) -> tuple[pl.Expr, pl.Expr]:
        """Exact cost as whole 10^-10 units and a rest in per-ths of one (0 <= rest < per)."""
        units, price, per = pl.col("_units"), pl.col("_price"), terms.value("per")
        if not self.plan.first_prices:
            whole, part = self._product(terms, units, price)
            return whole + pl.col("_fees"), part
        first = pl.min_horizontal(units, pl.col("_first"))
        whole_first, part_first = self._product(terms, first, self._first_price())
        whole_next, part_next = self._product(terms, units - first, price)
        part = part_first + part_next
        return whole_first + whole_next + part // per + pl.col("_fees"), part % per

    def _crosses(self) -> pl.Expr:
        """Whether a charged call of a splitting agreement runs into another price."""
        if not self.splits:
            return pl.lit(False)
        plan = self.plan
        number = gather(np.array([row.split for row in plan.rows], np.int64), pl.col("_row"))
        segment = pl.col("_cell") // (self.side.rows.shape[1] * len(SERVICES))
        width = plan.split_until.shape[1]
        until = gather(
            plan.split_until.ravel(), pl.when(number >= 0).then(number * width + segment)
        )
        ends = _second(plan, pl.col("_at")) + pl.col("_units")
        priced = pl.col("_reason") == _PRICED
        return (priced & pl.col("_charged") & (ends > until)).fill_null(False)

    # labels

    def _labelled(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Turn plan numbers into the words of `rated_leg`; suspended legs keep a `reason`."""
        reason = pl.col("_reason")
        if self.splits:
            reason = pl.when("_split").then(pl.lit(_place(BY_PARTS), _INDEX)).otherwise(reason)
        words = pl.Series([None, *REASON.categories], dtype=REASON)
        frame = self.numbered(frame.with_columns(reason.alias("_reason")))
        group = pl.when(pl.col("_reason") == _PRICED).then(group_of(self.plan))
        columns = self.label_columns()
        if self.splits:
            held = {column: pl.col(place).cast(pl.Int64) for column, place in _HELD.items()}
            columns |= {
                name: pl.when("_split").then(place).otherwise(columns[name])
                for name, place in held.items()
            }
        return frame.select(
            **columns,
            reason=gather(words, pl.col("_reason")),
            group=group,
        )

    def numbered(self, frame: pl.LazyFrame, single: pl.Expr | None = None) -> pl.LazyFrame:
        """Add the numbers that `labels` turns into words.

        `single` tells, of legs priced by parts, which met one rate alone; the others have none.
        """
        plan = self.plan
        # blocked codes and none at all have no rate to show
        opened = (pl.col("_status") == OPEN) | (pl.col("_status") == BILL_AND_KEEP)
        offsets = self._of_row([row.offset * _MICRO for row in plan.rows])
        case = _case() + (pl.col("_amount") != 0).cast(pl.UInt8)
        pricing = gather(_pricings(PRICINGS.index("priced")), case)
        if single is not None:
            parts = gather(_pricings(PRICINGS.index("split")), case)
            pricing = pl.when(single).then(pricing).otherwise(parts)
        destination = gather(plan.offers["destination"], pl.col("_offer"))
        return frame.with_columns(
            opened.alias("_opened"),
            pl.when(opened if single is None else opened & single).then("_price").alias("_price"),
            pl.when(opened).then(destination).alias("_destination"),
            pricing.alias("_pricing"),
            ((pl.col("_at") + offsets) // (86400 * _MICRO)).cast(pl.Int32).alias("_local"),
        )

    def label_columns(self) -> dict[str, pl.Expr]:
        """The columns of `rated_leg` from a frame that is `numbered`."""
        plan, rate = self.plan, pl.col("_rate")
        names = words_of(plan) | {
            "leg": pl.lit(self.leg.value, LEG),
            "record_id": pl.col("record_id"),
            "day": pl.col("day"),
            "rate_id": pl.when("_opened").then(gather(plan.rates["rate_id"], rate)),
            "code": pl.when("_opened").then(gather(plan.rates["code"], rate)),
            "event_time": pl.col("_at").cast(UTC_TIME),
            "answered": pl.col("answered"),
            "duration_ms": pl.col("duration_ms"),
            "quantity": pl.col("_quantity"),
            "billed_units": pl.col("_units"),
            "rate_e10": pl.col("_price"),
            "fees_e10": signed(TermColumns(plan), pl.col("_fees")),
            "amount_e10": pl.col("_amount"),
            "plan": pl.lit(plan.version, pl.Enum([plan.version])),
            "rerate_request": pl.lit(self.rerate_request, pl.Int64),
        }
        return {column: names[column] for column in RATED_LEG.schema}


def _place_among(words: Sequence[str], column: str) -> pl.Expr:
    """The place of a column's word among a few: comparisons are faster than a cast to an Enum."""
    first, *others = words
    place = pl.when(pl.col(column) == first).then(pl.lit(0, _INDEX))
    for number, word in enumerate(others, start=1):
        place = place.when(pl.col(column) == word).then(pl.lit(number, _INDEX))
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


def _second(plan: RatingPlan, at: pl.Expr) -> pl.Expr:
    """Microseconds since 1970 as whole seconds of the plan."""
    return (at - int(plan.start.timestamp()) * _MICRO) // _MICRO
