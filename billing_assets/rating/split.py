"""Calls over a band or rate change, priced by parts: each increment at the price that holds
when the increment begins (catalogue C02 to C04, B05).

Only the few legs that cross come here; the loop is over changes inside a call, not over calls.
"""

import numpy as np
import polars as pl
import polars.selectors as cs

from billing_assets.rating.bounds import MAX_E10
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.labels import group_of
from billing_assets.rating.matching import MICRO
from billing_assets.rating.outcomes import BY_PARTS, REASON
from billing_assets.rating.plan import BILL_AND_KEEP, BLOCKED, OPEN, SERVICES
from billing_assets.rating.term_columns import TermColumns, amount_of


def priced_legs(kernel: Kernel, records: pl.LazyFrame) -> pl.LazyFrame:
    """Every leg of the kernel's side, those priced by parts included.

    Columns as `Kernel.legs` gives them, words as Categorical.
    """
    legs = kernel.legs(records)
    if kernel.splits:
        crossing = kernel.legs(kernel.crossable(records)).filter(pl.col("reason") == BY_PARTS)
        parts = split_legs(kernel, crossing.collect(engine="streaming"))
        legs = pl.concat([legs.filter(pl.col("reason").ne_missing(BY_PARTS)), parts.lazy()])
    # an Enum refuses to be compared with a word that it has not
    return legs.with_columns(cs.enum().cast(pl.Categorical))


def split_legs(kernel: Kernel, crossing: pl.DataFrame) -> pl.DataFrame:
    """Price legs that `Kernel.legs` gave the reason `BY_PARTS`; columns as it gives them.

    A leg whose later part meets no price is suspended whole, with the reason NO_RATE or
    BLOCKED_CODE; one that runs past the plan's days, with OUT_OF_RANGE. A leg is free only if all
    its parts are.
    """
    legs = kernel.crossing(crossing).collect()
    terms = TermColumns(kernel.plan)
    parts = _Parts(kernel, legs)
    parts.run()
    priced = legs.lazy().with_columns(
        pl.Series("_whole", parts.whole),
        pl.Series("_part", parts.part),
        pl.Series("_reason", parts.reason.tolist(), dtype=REASON),
        pl.Series("_single", parts.single),
        pl.Series("_fees", parts.fees),
        pl.when(pl.Series(parts.reason == "BLOCKED_CODE"))
        .then(pl.Series(parts.rate))
        .otherwise("_rate")
        .alias("_rate"),
        pl.when(pl.Series(parts.paid)).then(OPEN).otherwise("_status").alias("_status"),
    )
    priced = priced.with_columns(amount_of(terms, pl.col("_whole"), pl.col("_part")))
    numbered = kernel.numbered(priced, single=pl.col("_single"))
    group = group_of(kernel.plan, several=~pl.col("_single"))
    labelled = numbered.select(
        **kernel.label_columns(),
        reason=pl.col("_reason"),
        group=pl.when(pl.col("_reason").is_null()).then(group),
    )
    return labelled.collect()


class _Parts:
    """Walks all legs from change to change, adding each part's exact cost."""

    def __init__(self, kernel: Kernel, legs: pl.DataFrame) -> None:
        plan = self.plan = kernel.plan

        def column(name: str) -> np.ndarray:
            return legs[name].to_numpy().astype(np.int64)

        used = legs["_terms"].to_numpy()
        self.first = np.array([t.first for t in plan.terms], np.int64)[used]
        self.next = np.array([t.next for t in plan.terms], np.int64)[used]
        self.per = np.array([t.per for t in plan.terms], np.int64)[used]
        self.units, self.fees = column("_units"), column("_fees")
        self.code, self.cls = column("_code"), column("_class")
        self.start = column("_at") - int(plan.start.timestamp()) * MICRO
        row = column("_row")
        self.agreement = np.array([r.split for r in plan.rows])[row]
        self.deck = np.array([r.deck for r in plan.rows])[row]
        self.stride = np.array([r.stride for r in plan.rows])[row]
        self.segment = column("_cell") // (kernel.side.rows.shape[1] * len(SERVICES))
        self.rate = column("_rate")
        setup = np.array([t.setup_e10 for t in plan.terms], np.int64)[used]
        self.once = setup + plan.offers["call_e10"].to_numpy()[column("_offer")]
        self.free = legs["_status"].to_numpy() == BILL_AND_KEEP
        self.paid = np.zeros(legs.height, bool)
        self.done = np.zeros(legs.height, np.int64)
        self.whole, self.part = self.fees.copy(), np.zeros(legs.height, np.int64)
        self.reason = np.full(legs.height, None, object)
        self.single = np.ones(legs.height, bool)
        self.offer = plan.rates["offer"].to_numpy()
        self.price = plan.offers["price_e10"].to_numpy()
        self.first_price = plan.offers["first_e10"].to_numpy()
        self.kind = plan.offers["kind"].to_numpy()
        self.rate_id = plan.rates["rate_id"].to_numpy()

    def run(self) -> None:
        """Price part after part until every leg's units are spent."""
        open_legs = np.arange(len(self.units))
        while len(open_legs):
            reached = self._reach(open_legs)
            open_legs, reached = self._bounded(open_legs, reached)
            self._add(open_legs, reached)
            self.done[open_legs] = reached
            open_legs = open_legs[reached < self.units[open_legs]]
            open_legs = self._step(open_legs)
        owed = np.where(self.free & self.paid, self.once, 0)
        self.fees += owed
        carry = self.part // self.per
        self.whole += carry + owed
        self.part -= carry * self.per

    def _reach(self, legs: np.ndarray) -> np.ndarray:
        """Units priced when the next price begins: increments that begin before it count whole."""
        until = self.plan.split_until[self.agreement[legs], self.segment[legs]]
        boundary = until.astype(np.int64) * MICRO
        seconds = -((self.start[legs] - boundary) // MICRO)
        first, following = self.first[legs], self.next[legs]
        steps = np.maximum(0, -((first - seconds) // following))
        return np.minimum(self.units[legs], first + steps * following)

    def _bounded(self, legs: np.ndarray, reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Suspend legs whose next part would pass what int64 holds."""
        offer = self.offer[self.rate[legs]]
        dearest = np.maximum(1, np.maximum(self.price[offer], self.first_price[offer]))
        whole_units = (reached - self.done[legs]) // self.per[legs] + 1
        beyond = whole_units > (MAX_E10 - self.whole[legs]) // dearest
        self.reason[legs[beyond]] = "OUT_OF_RANGE"
        return legs[~beyond], reached[~beyond]

    def _add(self, legs: np.ndarray, reached: np.ndarray) -> None:
        beginning = self.done[legs] == 0
        first = np.where(beginning, np.minimum(self.first[legs], reached), 0)
        offer = self.offer[self.rate[legs]]
        opened = self.kind[offer] == OPEN
        self.paid[legs] |= opened
        per = self.per[legs]
        for units, price in (
            (first, self.first_price[offer]),
            (reached - self.done[legs] - first, self.price[offer]),
        ):
            cost = np.where(opened, price, 0)
            fraction = units % per * (cost % per)
            self.whole[legs] += units // per * cost + units % per * (cost // per) + fraction // per
            self.part[legs] += fraction % per

    def _step(self, legs: np.ndarray) -> np.ndarray:
        """Move legs to the rate that holds when their next increment begins."""
        second = (self.start[legs] + self.done[legs] * MICRO) // MICRO
        beyond = second >= self.plan.seconds
        self.reason[legs[beyond]] = "OUT_OF_RANGE"
        legs, second = legs[~beyond], second[~beyond]
        self.segment[legs] = self.plan.segments[second]
        sets = self.plan.split_sets[self.agreement[legs], self.segment[legs]]
        node = self.plan.decks[self.deck[legs], self.code[legs]].astype(np.int64)
        rate = self.plan.rate_sets[sets + self.cls[legs] * self.stride[legs] + node]
        # where the agreement itself ends inside the call, its last price holds to the call's end
        rate = np.where(sets >= 0, rate, self.rate[legs])
        self.single[legs] &= self.rate_id[rate] == self.rate_id[self.rate[legs]]
        self.rate[legs] = rate
        kind = self.kind[self.offer[rate]]
        unpriced = ~np.isin(kind, (OPEN, BILL_AND_KEEP))
        self.reason[legs[unpriced]] = "NO_RATE"
        self.reason[legs[kind == BLOCKED]] = "BLOCKED_CODE"
        return legs[~unpriced]
