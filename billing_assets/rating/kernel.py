"""The rating kernel: one lazy query of integer gathers from records to priced legs.

Amounts are exact. A price p for `per` units makes units * p / per: whole prices and the rest are
kept apart as integers (`whole` in 10^-10, `part` in per-ths of it), so nothing overflows up to
800 million currency units a record, and the one rounding sees the exact value. Records whose
call crosses a price change of a splitting agreement are priced by parts in `split`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from billing_assets.lake.tables import RATED_LEG, UTC_TIME, XDR
from billing_assets.rating import outcomes
from billing_assets.rating.bounds import MAX_E10, MAX_QUANTITY, MAX_SECONDS
from billing_assets.rating.labels import INDEX, LEG, PRICINGS, gather, group_of, words_of
from billing_assets.rating.matching import MICRO, Matching, second_of
from billing_assets.rating.outcomes import BY_PARTS, PRICED, REASON
from billing_assets.rating.plan import (
    BILL_AND_KEEP,
    BLOCKED,
    NO_TERMS,
    OPEN,
    OUTSIDE,
    SERVICES,
    LegPlan,
    RatingPlan,
)
from billing_assets.rating.term_columns import TermColumns, amount_of, round_to_seconds, signed
from billing_assets.reference.models import Agreement, Leg, Service

_HELD = {
    "rate_id": "_rate",
    "code": "_code",
    "rate_e10": "_class",
    "fees_e10": "_fees",
    "amount_e10": "_cell",
}
"""Which columns of `rated_leg` hold which places of a leg `BY_PARTS`, so that no record is read
and found again."""

_VOICE, _SMS, _DATA, _EVENT = (SERVICES.index(service) for service in Service)


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
        return self._matching.side

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

    @cached_property
    def _matching(self) -> Matching:
        return Matching(self.plan, self.leg)

    def legs(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """Price records (columns of `xdr`) at one price each.

        Legs that cross a price change of a splitting agreement have the reason `BY_PARTS`, and in
        the columns that their parts will fill their places in the plan (`_HELD`): `split` prices
        those.
        """
        return self._labelled(self._priced(self._matching.resolved(records)))

    def crossable(self, records: pl.LazyFrame) -> pl.LazyFrame:
        """The records of which a leg of this side may be `BY_PARTS`."""
        return records.filter(self._matching.trunk.is_in(self.side.split_trunks))

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
                pl.lit(_VOICE, INDEX).alias("_svc"),
            )
        )
        frame = frame.with_columns(
            gather(self.side.rows.ravel(), pl.col("_cell")).alias("_row"),
            gather(plan.rates["offer"], pl.col("_rate")).alias("_offer"),
        )
        return frame.with_columns(self._of_offer())

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
        """Why a leg cannot be priced, or that it comes too late for its agreement.

        What cannot be told is beyond all bounds: null would mean that there is a price.
        """
        case = (outcomes.case() + pl.col("_code").is_null().cast(pl.UInt8)) * 2
        beyond = self._beyond(terms).fill_null(True).cast(pl.UInt8)
        reason = gather(outcomes.reasons(), case + beyond).fill_null(outcomes.place("OUT_OF_RANGE"))
        late = self._too_late()
        if late is None:
            return reason
        late = late & (pl.col("_status") < NO_TERMS)
        return pl.when(late).then(pl.lit(outcomes.place("TOO_LATE"), INDEX)).otherwise(reason)

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
        ends = second_of(plan, pl.col("_at")) + pl.col("_units")
        priced = pl.col("_reason") == PRICED
        return (priced & pl.col("_charged") & (ends > until)).fill_null(False)

    # labels

    def _labelled(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Turn plan numbers into the words of `rated_leg`; suspended legs keep a `reason`."""
        reason = pl.col("_reason")
        if self.splits:
            reason = (
                pl.when("_split").then(pl.lit(outcomes.place(BY_PARTS), INDEX)).otherwise(reason)
            )
        words = pl.Series([None, *REASON.categories], dtype=REASON)
        frame = self.numbered(frame.with_columns(reason.alias("_reason")))
        group = pl.when(pl.col("_reason") == PRICED).then(group_of(self.plan))
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
        # blocked codes and none at all have no rate to show; what waits for one that is names it
        opened = (pl.col("_status") == OPEN) | (pl.col("_status") == BILL_AND_KEEP)
        offsets = self._matching.of_row([row.offset * MICRO for row in plan.rows])
        case = outcomes.case() + (pl.col("_amount") != 0).cast(pl.UInt8)
        pricing = gather(outcomes.pricings(PRICINGS.index("priced")), case)
        if single is not None:
            parts = gather(outcomes.pricings(PRICINGS.index("split")), case)
            pricing = pl.when(single).then(pricing).otherwise(parts)
        destination = gather(plan.offers["destination"], pl.col("_offer"))
        return frame.with_columns(
            opened.alias("_opened"),
            (opened | ((pl.col("_status") == BLOCKED) & pl.col("_charged"))).alias("_coded"),
            pl.when(opened if single is None else opened & single).then("_price").alias("_price"),
            pl.when(opened).then(destination).alias("_destination"),
            pricing.alias("_pricing"),
            ((pl.col("_at") + offsets) // (86400 * MICRO)).cast(pl.Int32).alias("_local"),
        )

    def label_columns(self) -> dict[str, pl.Expr]:
        """The columns of `rated_leg` from a frame that is `numbered`."""
        plan, rate = self.plan, pl.col("_rate")
        names = words_of(plan) | {
            "leg": pl.lit(self.leg.value, LEG),
            "record_id": pl.col("record_id"),
            "day": pl.col("day"),
            "rate_id": pl.when("_opened").then(gather(plan.rates["rate_id"], rate)),
            "code": pl.when("_coded").then(gather(plan.rates["code"], rate)),
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
