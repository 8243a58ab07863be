"""The rating plan: a UTC day's reference data compiled into tables that gathers can read.

`(second, trunk, service) -> plan row` absorbs trunk maps, validity, zones, DST, calendars and
bands; `(deck, code id) -> node` and `(rate set, node) -> rate row` absorb longest match, blocked
codes, withdrawals, origin classes and surcharges. Rate rows of one destination and price share an
offer: a deck has few of them, which lie together in memory. A plan is a value: equal reference
data give an equal hash.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

import numpy as np
import polars as pl

from billing_assets.core.ids import canonical_json
from billing_assets.rating.codes import CodeIndex
from billing_assets.rating.terms import Terms
from billing_assets.reference.models import Leg, Service

SERVICES = tuple(service.value for service in Service)
STAMPS = ("setup", "answer", "end")
A_KINDS = ("number", "invalid", "missing", "anonymous", "alpha")
JURISDICTIONS = ("INDETERMINATE", "INTRA", "INTER")

NO_ROW = 0
"""Plan row, and rate row, of a trunk that is mapped to no account at that second."""
NO_AGREEMENT = 1
"""That of an account that has no agreement for the service at that second."""
OUTSIDE = 2
"""That of a known trunk at a second that the plan does not cover."""

FAR = np.int32(2**31 - 1)

MIXED = 3
"""Stamp of a trunk and service whose agreements do not all rate by the same one."""

NO_RATE, OPEN, BLOCKED, BILL_AND_KEEP = 0, 1, 2, 3
NO_TERMS = 4
"""What an offer is; those of `NO_ROW`, `NO_AGREEMENT` and `OUTSIDE` are `NO_TERMS` plus these."""

DAYS_BEFORE, DAYS_AFTER = 1, 3
"""A plan covers its UTC day, days before it, and up to so many days after the day begins."""


@dataclass(frozen=True)
class PlanRow:
    """What holds for a trunk and service in a stretch of time.

    `leg` and `service` are the agreement's places in `Leg` and `SERVICES`. `rate_set` is where
    the rates of the first class begin; those of each further class begin `stride` later. A
    record's class is also added to `class_base` to name it. `scheme` is an origin scheme (>= 0),
    a jurisdiction scheme (<= -2: number -2 - scheme), or -1 where the calling number does not
    matter. `stamp` is that of the agreement (setup 0, answer 1, end 2; -1 without one); `split`
    its row in the plan's split tables, or -1 where it prices calls whole. Records that arrive
    more than `late_us` microseconds after their event are refused; -1: none are.
    """

    leg: int
    service: int
    partner: str
    account: str
    agreement: str
    currency: str
    bucket: int
    band: str
    offset: int
    deck: int
    rate_set: int
    stride: int
    scheme: int
    class_base: int
    match: str
    stamp: int
    split: int
    late_us: int


@dataclass
class LegPlan:
    """The plan of one leg.

    `rows[segment, trunk, service]` is a plan row; one further segment stands for every second
    outside the plan, one further trunk for every unknown one.
    `stamps[trunk, service]` tells setup (0), answer (1), end (2) or `MIXED`.
    `split_trunks` are the trunks on which an agreement prices calls by parts.
    """

    leg: Leg
    rows: np.ndarray
    stamps: np.ndarray
    split_trunks: list[str]


@dataclass
class RatingPlan:
    """Everything that the kernel needs to price a UTC day; see the module for the tables.

    `rates` has the columns rate_id, code and offer (place in `offers`); `offers` has destination
    (id), price_e10, first_e10 (price of the first block), call_e10 (surcharges a call), terms,
    kind (`OPEN` and the like). An agreement's numbers without a rate have a rate row of its own
    terms and the kind `NO_RATE`. `origins[scheme, code id]` is the class of a calling number, and
    `kinds[scheme, kind of A-number]` that of a kind, or -1 where the code tells;
    `states[scheme, code id]` is the state of a number (0: unknown). `own` marks trunks of our
    own side. `split_sets[agreement, segment]` is the rate set of each splitting agreement (-1
    where it is not in force), `split_until` the second from which another one holds. `buckets` is
    into how many slices of partners the day is cut.
    """

    day: date
    reference: str
    version: str
    start: datetime
    seconds: int
    trunks: list[str]
    own: np.ndarray
    segments: np.ndarray
    legs: dict[Leg, LegPlan]
    rows: list[PlanRow]
    terms: list[Terms]
    codes: CodeIndex
    callers: CodeIndex
    decks: np.ndarray
    rate_sets: np.ndarray
    rates: pl.DataFrame
    offers: pl.DataFrame
    destinations: list[str]
    class_names: list[str]
    origins: np.ndarray
    kinds: np.ndarray
    states: np.ndarray
    event_types: dict[str, int]
    split_sets: np.ndarray
    split_until: np.ndarray
    buckets: int

    @cached_property
    def offers_shown(self) -> pl.Series:
        """Which offers are of rates: blocked codes and none at all have no rate to show."""
        return self.offers["kind"].is_in((OPEN, BILL_AND_KEEP))

    @cached_property
    def terms_in_use(self) -> list[int]:
        """The places in `terms` that a leg of an agreement may have."""
        return self.offers["terms"][OUTSIDE + 1 :].unique().sort().to_list() or [0]

    @cached_property
    def dearest_e10(self) -> int:
        """The highest price of any rate."""
        return int(self.offers.select(pl.max_horizontal("price_e10", "first_e10").max()).item())

    @cached_property
    def first_prices(self) -> bool:
        """Whether a first block of any rate has a price of its own."""
        return bool(self.offers.select((pl.col("first_e10") != pl.col("price_e10")).any()).item())

    @cached_property
    def call_surcharges(self) -> bool:
        """Whether any rate has a surcharge a call."""
        return bool((self.offers["call_e10"] != 0).any())

    def summary(self) -> dict[str, object]:
        """What a person wants to know of a plan, as plain values."""
        return {
            "day": self.day.isoformat(),
            "plan": self.version,
            "buckets": self.buckets,
            "reference": self.reference,
            "trunks": len(self.trunks),
            "segments": int(self.segments.max()) + 1,
            "plan_rows": len(self.rows) - OUTSIDE - 1,
            "decks": self.decks.shape[0],
            "codes": len(self.codes.codes) - 1,
            "rate_rows": int((self.rates["rate_id"] != 0).sum()),
            "agreements": sorted({row.agreement for row in self.rows if row.agreement}),
        }


def content_hash(plan: RatingPlan) -> str:
    """A hash of everything that can change a price."""
    digest = hashlib.sha256()
    described = [
        [repr(row) for row in plan.rows],
        [repr(terms) for terms in plan.terms],
        plan.trunks,
        plan.destinations,
        plan.class_names,
        plan.event_types,
        plan.start.isoformat(),
    ]
    digest.update(canonical_json(described))
    for leg in plan.legs.values():
        for part in (leg.rows, leg.stamps):
            digest.update(np.ascontiguousarray(part).tobytes())
    arrays = (
        plan.own,
        plan.segments,
        plan.codes.codes,
        plan.callers.codes,
        plan.decks,
        plan.rate_sets,
        plan.origins,
        plan.kinds,
        plan.states,
        plan.split_sets,
        plan.split_until,
    )
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    for column in (*plan.rates.iter_columns(), *plan.offers.iter_columns()):
        digest.update(column.to_numpy().tobytes())
    return digest.hexdigest()[:32]
