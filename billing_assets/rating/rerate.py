"""Selective re-rating of a UTC day: legs of a scope are priced anew, all others stay as they are.

A leg is in the scope when its old or its new price is. Where nothing about a price changed the
leg stays bit for bit; slices without a changed leg are not written at all. One commit replaces
the changed slices of `rated_leg`: a run that dies leaves old prices or new ones, and the next
run finishes what is derived from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError, SliceConflict
from billing_assets.lake.slices import Slice
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.day import (
    as_usage,
    average_prices,
    daily_usage,
    rate_day,
    suspended_legs,
    usage_sums,
)
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.plan import RatingPlan, compile_plan
from billing_assets.rating.scope import RatingScope
from billing_assets.rating.split import priced_legs
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg

_KEY = ["record_id", "leg"]
_LEG = [*RATED_LEG.schema.names(), "reason"]
_ATTEMPTS = 5

CHANGES_SCHEMA = pl.Schema(
    {
        "day": pl.Date,
        "local_day": pl.Date,
        "partner": pl.String,
        "leg": pl.String,
        "service": pl.String,
        "destination": pl.String,
        "currency": pl.String,
        "why": pl.String,
        "records": pl.Int64,
        "seconds": pl.Int64,
        "before_e10": pl.Int64,
        "after_e10": pl.Int64,
    }
)
"""What a re-rating changes, summed: money in 10^-10 units, before and after; 0 where unpriced."""


@dataclass(frozen=True)
class DayRerated:
    """What re-rating did, or would do, to a day.

    `candidates` legs lie in the scope; `changes` (CHANGES_SCHEMA) sums those whose price changed;
    `buckets` are the slices of `rated_leg` with one of them; `plan` is the plan's hash, empty
    when no record could lie in the scope, and `compiled` the plan itself.
    """

    day: date
    plan: str
    candidates: int
    changed: int
    changes: pl.DataFrame
    buckets: tuple[int, ...]
    compiled: RatingPlan | None = None


def rerate_day(
    lake: Lake,
    reference: Reference,
    scope: RatingScope,
    day: date,
    *,
    buckets: int,
    request: int | None,
    dry_run: bool = False,
) -> DayRerated:
    """Price the legs of a scope on a day by a reference, and keep what changed.

    `request` is the re-rate request that stands in every leg it priced. A dry run writes nothing.
    Raises `SliceConflict` when other runs kept replacing the same slices, and `BillingError` when
    the day would not balance; it then is as it was.
    """
    if not scope.narrowed:
        return _whole_day(lake, reference, day, buckets, request, dry_run=dry_run)
    for attempt in range(_ATTEMPTS):
        change = _Change(lake, reference, scope, day, buckets, request)
        try:
            if not dry_run:
                change.write()
            return change.outcome()
        except SliceConflict:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _whole_day(
    lake: Lake,
    reference: Reference,
    day: date,
    buckets: int,
    request: int | None,
    *,
    dry_run: bool,
) -> DayRerated:
    """Rate a day anew as a whole: in one streaming pass, since no leg is out of the scope."""
    before = lake.scan(USAGE_DAILY, part={"day": day}).collect()
    plan = compile_plan(reference, day, buckets=buckets)
    if dry_run:
        records = lake.scan(XDR, part={"day": day})
        legs = pl.concat([priced_legs(Kernel(plan, leg), records) for leg in Leg])
        after = as_usage([usage_sums(legs).collect(engine="streaming")])
    else:
        rate_day(lake, plan, rerate_request=request)
        after = lake.scan(USAGE_DAILY, part={"day": day}).collect()
    changes = _usage_changes(day, before, after)
    return DayRerated(
        day=day,
        plan=plan.version,
        candidates=int(after["records"].sum()),
        changed=int(changes["records"].sum()),
        changes=changes,
        buckets=tuple(sorted(set(after["bucket"]))),
        compiled=plan,
    )


def _usage_changes(day: date, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """What differs between two states of a day's `usage_daily`, as CHANGES_SCHEMA."""
    words = ["local_day", "partner", "leg", "service", "destination", "currency"]

    def sums(usage: pl.DataFrame, name: str) -> pl.DataFrame:
        return usage.group_by(words).agg(
            pl.col("records").sum().alias(f"records_{name}"),
            (pl.col("duration_ms").sum() // 1000).alias(f"seconds_{name}"),
            (pl.col("amount").sum() * 10**10).cast(pl.Int64).alias(f"{name}_e10"),
        )

    return (
        sums(before, "before")
        .join(sums(after, "after"), on=words, how="full", coalesce=True)
        .with_columns(pl.exclude(words).fill_null(0))
        .filter(
            (pl.col("before_e10") != pl.col("after_e10"))
            | (pl.col("records_before") != pl.col("records_after"))
        )
        .with_columns(
            pl.lit(day).alias("day"),
            pl.lit("whole day").alias("why"),
            pl.max_horizontal("records_before", "records_after").alias("records"),
            pl.max_horizontal("seconds_before", "seconds_after").alias("seconds"),
        )
        .select(CHANGES_SCHEMA.names())
        .cast(CHANGES_SCHEMA)
        .sort("partner", "leg", "destination", "local_day", nulls_last=True)
    )


class _Change:
    """Old and new legs of a scope side by side, from one version of the lake."""

    def __init__(
        self,
        lake: Lake,
        reference: Reference,
        scope: RatingScope,
        day: date,
        buckets: int,
        request: int | None,
    ) -> None:
        self.lake, self.day, self.scope = lake, day, scope
        self.version = lake.version(RATED_LEG)
        self.records = lake.scan(XDR, part={"day": day})
        rated = lake.scan(RATED_LEG, self.version, {"day": day})
        waiting = lake.scan(SUSPENSE, part={"day": day, "stage": "rating"})
        matching_old = rated.filter(scope.matches()).select(_KEY)
        waiting_old = waiting.filter(_waiting_in(scope)).select(_KEY)
        old_keys = pl.concat([matching_old, waiting_old]).collect(engine="streaming")
        trunks = self._trunks(reference, old_keys)
        if trunks is None or any(trunks.values()):
            used = None if trunks is None else set().union(*trunks.values())
            self.plan = compile_plan(_owners(reference, used), day, buckets=buckets)
            kernels = [Kernel(self.plan, leg, request) for leg in scope.legs or Leg]
            new = self._new(kernels, trunks, old_keys)
        else:
            self.plan, new = None, pl.DataFrame(schema=_LEG_SCHEMA)
        keys = pl.concat([old_keys, new.select(_KEY)]).unique()
        self.new = new
        self.old = _joined(rated, keys).with_columns(pl.lit(None, pl.String).alias("reason"))
        self.waiting = _joined(waiting, keys)
        self.candidates = keys.height
        self.changed = self._changed()

    def _trunks(self, reference: Reference, old_keys: pl.DataFrame) -> dict[Leg, list[str]] | None:
        """Trunks by leg that may lie in the scope now or lay in it before; None for all."""
        partners = set(self.scope.partners)
        if self.scope.agreements:
            of_agreements = {
                a.terms.partner
                for a in reference.agreements
                if a.terms.agreement in self.scope.agreements
            }
            partners = partners & of_agreements if partners else of_agreements
        elif not partners:
            return None
        mapped = {
            trunk.trunk
            for name in partners & set(reference.partners)
            for account in reference.partners[name].accounts
            for trunk in account.trunks
        }
        found = {}
        for leg in self.scope.legs or Leg:
            held = old_keys.filter(pl.col("leg") == leg.value)["record_id"]
            rows = self.records.filter(pl.col("record_id").is_in(held.implode()))
            before = rows.select(pl.col(_SIDES[leg]).unique()).collect(engine="streaming")
            found[leg] = sorted(mapped | set(before.to_series().drop_nulls()))
        return found

    def _new(
        self, kernels: Iterable[Kernel], trunks: dict[Leg, list[str]] | None, old_keys: pl.DataFrame
    ) -> pl.DataFrame:
        """New legs of the scope, and of all legs that were in it."""
        found = []
        for kernel in kernels:
            records = self.records
            if trunks is not None:
                records = records.filter(pl.col(_SIDES[kernel.leg]).is_in(trunks[kernel.leg]))
            held = old_keys.filter(pl.col("leg") == kernel.leg.value)["record_id"]
            wanted = self.scope.matches() | pl.col("record_id").is_in(held.implode())
            found.append(
                priced_legs(kernel, records)
                .filter(wanted)
                .select(_LEG)
                .cast(_LEG_SCHEMA)
                .collect(engine="streaming")
            )
        return pl.concat(found)

    def _changed(self) -> pl.DataFrame:
        """Keys of the legs whose price, or want of one, is another now, with the reason why."""
        old = self.old.select(*_KEY, pl.struct(_PRICED).alias("old"))
        waiting = self.waiting.select(*_KEY, pl.col("reason").alias("waited"))
        now = self.new.select(
            *_KEY, pl.struct(_PRICED).alias("new"), pl.col("reason").alias("waits")
        )
        both = old.join(waiting, on=_KEY, how="full", coalesce=True).join(
            now, on=_KEY, how="full", coalesce=True
        )
        return both.select(*_KEY, _why().alias("why")).filter(pl.col("why").is_not_null())

    @property
    def buckets(self) -> list[int]:
        """The slices that lose or gain a leg."""
        rows = [frame.join(self.changed, on=_KEY, how="semi") for frame in (self.old, self._priced)]
        return sorted(set(pl.concat([row.select("bucket") for row in rows])["bucket"]))

    @property
    def _priced(self) -> pl.DataFrame:
        return self.new.filter(pl.col("reason").is_null())

    def outcome(self) -> DayRerated:
        return DayRerated(
            day=self.day,
            plan=self.plan.version if self.plan else "",
            candidates=self.candidates,
            changed=self.changed.height,
            changes=self._summary(),
            buckets=tuple(self.buckets),
            compiled=self.plan,
        )

    def _summary(self) -> pl.DataFrame:
        """Records, seconds and money of the changed legs, before and after."""
        words = ["local_day", "partner", "service", "destination", "currency"]
        before = self.old.join(self.changed, on=_KEY).with_columns(
            pl.col("amount_e10").alias("before_e10"), pl.lit(0, pl.Int64).alias("after_e10")
        )
        after = self.new.join(self.changed, on=_KEY).with_columns(
            pl.lit(0, pl.Int64).alias("before_e10"),
            pl.when(pl.col("reason").is_null()).then("amount_e10").otherwise(0).alias("after_e10"),
        )
        columns = [*_KEY, *words, "why", "duration_ms", "before_e10", "after_e10"]
        sides = pl.concat([after.select(columns), before.select(columns)])
        legs = sides.group_by(_KEY, maintain_order=True).agg(
            pl.col(*words, "why", "duration_ms").first(),
            pl.col("before_e10", "after_e10").sum(),
        )
        return (
            legs.group_by("leg", *words, "why")
            .agg(
                pl.len().cast(pl.Int64).alias("records"),
                (pl.col("duration_ms").sum() // 1000).alias("seconds"),
                pl.col("before_e10", "after_e10").sum(),
            )
            .with_columns(pl.lit(self.day).alias("day"))
            .select(CHANGES_SCHEMA.names())
            .cast(CHANGES_SCHEMA)
            .sort("partner", "leg", "destination", "local_day", "why", nulls_last=True)
        )

    def write(self) -> None:
        """Replace the changed slices, then what is derived from them.

        `suspense` first gains what lost its price and last loses what gained one: a leg is never
        in neither table, and one found in both is put right by the next run.
        """
        if self.version is None:
            return
        slices = {"day": self.day, "bucket": self.buckets}
        if self.buckets:
            self._write_suspense(gone=False)
            kept = self.lake.scan(RATED_LEG, self.version, slices).join(
                self.changed.lazy(), on=_KEY, how="anti"
            )
            added = self._priced.join(self.changed, on=_KEY, how="semi")
            rows = pl.concat([kept, added.lazy().select(RATED_LEG.schema.names())])
            with self.lake.replacing(RATED_LEG, slices, read=self.version) as new:
                labelled = rows.with_columns(pl.lit(None, pl.String).alias("reason"))
                _, sums = new.write(rows, results=[usage_sums(labelled)])
                usage = as_usage(sums)
                self._assert_balanced(slices, usage)
            self.lake.replace_slice(USAGE_DAILY, usage, slices)
        else:
            self._mend_usage()
        self._write_suspense(gone=True)

    def _assert_balanced(self, slices: Slice, usage: pl.DataFrame) -> None:
        """Raise `BillingError` unless the slices hold their former legs, less those that left,
        plus those that came: none is lost or doubled."""
        before = self.lake.scan(RATED_LEG, self.version, slices).select(pl.len()).collect().item()
        left = self.old.join(self.changed, on=_KEY, how="semi").height
        came = self._priced.join(self.changed, on=_KEY, how="semi").height
        after = int(usage["records"].sum())
        if after != before - left + came:
            raise BillingError(
                f"re-rating {self.day} does not balance: {before} legs before, {left} left, "
                f"{came} came, {after} after",
                hint="the day stays as it was; please report this as a defect",
            )

    def _mend_usage(self) -> None:
        """Write sums that a run left behind which died after its legs were written."""
        buckets = sorted(set(self.old["bucket"]))
        slices = {"day": self.day, "bucket": buckets}
        if not buckets:
            return
        usage = daily_usage(self.lake.scan(RATED_LEG, self.version, slices))
        stored = self.lake.scan(USAGE_DAILY, part=slices).collect()
        if not stored.sort(stored.columns).equals(usage.sort(usage.columns)):
            self.lake.replace_slice(USAGE_DAILY, usage, slices)

    def _write_suspense(self, *, gone: bool) -> None:
        """Bring the day's suspense up to date; other runs may change other legs of it."""
        part = {"day": self.day, "stage": "rating"}
        unpriced = self.new.filter(pl.col("reason").is_not_null())
        priced = self._priced.select(_KEY)
        for attempt in range(_ATTEMPTS):
            version = self.lake.version(SUSPENSE)
            held = self.lake.scan(SUSPENSE, version, part).collect()
            usage = self.lake.scan(USAGE_DAILY, part={"day": self.day}).collect()
            added = suspended_legs(unpriced, average_prices(usage)).join(
                held, on=[*_KEY, "reason"], how="anti"
            )
            kept = held.join(added, on=_KEY, how="anti")
            if gone:
                kept = kept.join(pl.concat([priced, self._vanished]), on=_KEY, how="anti")
            if added.is_empty() and kept.height == held.height:
                return
            try:
                with self.lake.replacing(SUSPENSE, part, read=version) as new:
                    new.write(pl.concat([kept, added]))
                return
            except SliceConflict:
                if attempt == _ATTEMPTS - 1:
                    raise

    @property
    def _vanished(self) -> pl.DataFrame:
        """Keys that were a leg and are none any more: their trunk is our own now, say."""
        return self.changed.select(_KEY).join(self.new, on=_KEY, how="anti")


_LEG_SCHEMA = pl.Schema({**RATED_LEG.schema, "reason": pl.String})
_PRICED = [
    name
    for name in RATED_LEG.schema
    if name not in (*_KEY, "day", "plan", "rerate_request", "answered", "duration_ms")
]
"""What a price is made of: a leg with the same is left as it is."""


def _why() -> pl.Expr:
    """Why a leg's price changed, in the words of the first cause; null when it did not."""

    def differs(*names: str) -> pl.Expr:
        return pl.any_horizontal(
            pl.col("old").struct.field(name).ne_missing(pl.col("new").struct.field(name))
            for name in names
        )

    had, has = pl.col("old").is_not_null(), pl.col("new").is_not_null() & pl.col("waits").is_null()
    return (
        pl.when(~had & has)
        .then(pl.concat_str(pl.lit("priced now, was "), pl.col("waited").fill_null("no leg")))
        .when(had & pl.col("waits").is_not_null())
        .then(pl.concat_str(pl.lit("no price now: "), pl.col("waits")))
        .when(had & pl.col("new").is_null())
        .then(pl.lit("no leg any more"))
        .when(~had & pl.col("waits").ne_missing(pl.col("waited")))
        .then(pl.concat_str(pl.lit("waits now for "), pl.col("waits").fill_null("nothing")))
        .when(~had)
        .then(None)
        .when(differs("partner", "account", "agreement"))
        .then(pl.lit("agreement"))
        .when(differs("code", "destination"))
        .then(pl.lit("code or destination"))
        .when(differs("band", "origin"))
        .then(pl.lit("band or origin"))
        .when(differs("rate_e10"))
        .then(pl.lit("rate"))
        .when(differs("amount_e10", "billed_units", "fees_e10"))
        .then(pl.lit("terms"))
        .when(differs(*_PRICED))
        .then(pl.lit("source of the rate"))
        .otherwise(None)
    )


def _waiting_in(scope: RatingScope) -> pl.Expr:
    """Whether a row of `suspense` lies in a scope; what has no price has no destination."""
    if scope.services or scope.destinations or scope.codes or scope.agreements:
        return pl.lit(False)
    matched = pl.lit(True)
    if scope.partners:
        matched &= pl.col("partner").is_in(list(scope.partners))
    if scope.legs:
        matched &= pl.col("leg").is_in([leg.value for leg in scope.legs])
    return matched.fill_null(False)


def _joined(rows: pl.LazyFrame, keys: pl.DataFrame) -> pl.DataFrame:
    return rows.join(keys.lazy(), on=_KEY, how="semi").collect(engine="streaming")


_SIDES = {Leg.CUSTOMER: "in_trunk", Leg.SUPPLIER: "out_trunk"}


def _owners(reference: Reference, trunks: set[str] | None) -> Reference:
    """The reference with the agreements of the partners that some trunks belong to."""
    if trunks is None:
        return reference
    owners = {
        partner.partner
        for partner in reference.partners.values()
        for account in partner.accounts
        for trunk in account.trunks
        if trunk.trunk in trunks
    }
    kept = tuple(a for a in reference.agreements if a.terms.partner in owners)
    return replace(reference, agreements=kept)
