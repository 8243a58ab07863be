"""A change to the rated legs of a UTC day: old and new ones side by side, and how it is written.

Where nothing about a price changed the leg stays bit for bit; slices without a changed leg are
not written at all. One commit replaces the changed slices of `rated_leg`: a run that dies leaves
old prices or new ones, and the next run finishes what is derived from them.
"""

from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from billing_assets.core.errors import BillingError, SliceConflict
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY
from billing_assets.rating.day import suspended_legs
from billing_assets.rating.plan import RatingPlan
from billing_assets.rating.usage import as_usage, average_prices, daily_usage, usage_sums

KEY = ["record_id", "leg"]
"""What names a leg."""

ATTEMPTS = 5
"""How often a change is made anew that lost its slice to another writer."""

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
        "before_e10": pl.Int128,
        "after_e10": pl.Int128,
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


class Change:
    """New legs of a day beside those that they replace.

    `held` (KEY) names legs that may change, `new` (LEG_SCHEMA) are those that shall stand: with a
    `reason` in suspense, else in `rated_leg`. What `held` names and `new` has not goes. `version`
    of `rated_leg` is the one that the change was made from; `old` are its rows of the held legs,
    where they are known.
    """

    def __init__(
        self,
        lake: Lake,
        day: date,
        version: int | None,
        held: pl.DataFrame,
        new: pl.DataFrame,
        plan: RatingPlan | None,
        old: pl.DataFrame | None = None,
    ) -> None:
        self.lake, self.day, self.version, self.plan = lake, day, version, plan
        rated = lake.scan(RATED_LEG, version, {"day": day})
        waiting = lake.scan(SUSPENSE, part={"day": day, "stage": "rating"})
        came = new.select(KEY).join(held, on=KEY, how="anti")
        parts = [_joined(rated, held) if old is None else old, _joined(rated, came)]
        self.new = new
        self.old = pl.concat(parts).with_columns(pl.lit(None, pl.String).alias("reason"))
        self.waiting = _joined(waiting, pl.concat([held, came]))
        self.candidates = held.height + came.height
        self.changed = self._changed()

    def _changed(self) -> pl.DataFrame:
        """Keys of the legs whose price, or want of one, is another now, with the reason why."""
        old = self.old.select(*KEY, pl.struct(PRICED).alias("old"))
        waiting = self.waiting.select(*KEY, pl.col("reason").alias("waited"))
        now = self.new.select(*KEY, pl.struct(PRICED).alias("new"), pl.col("reason").alias("waits"))
        both = old.join(waiting, on=KEY, how="full", coalesce=True).join(
            now, on=KEY, how="full", coalesce=True
        )
        return both.select(*KEY, _why().alias("why")).filter(pl.col("why").is_not_null())

    @property
    def buckets(self) -> list[int]:
        """The slices that lose or gain a leg."""
        rows = [frame.join(self.changed, on=KEY, how="semi") for frame in (self.old, self.priced)]
        return sorted(set(pl.concat([row.select("bucket") for row in rows])["bucket"]))

    @property
    def priced(self) -> pl.DataFrame:
        """The new legs that have a price."""
        return self.new.filter(pl.col("reason").is_null())

    def outcome(self) -> DayRerated:
        """What the change does to the day."""
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
        before = self.old.join(self.changed, on=KEY).with_columns(
            pl.col("amount_e10").alias("before_e10"), pl.lit(0, pl.Int64).alias("after_e10")
        )
        after = self.new.join(self.changed, on=KEY).with_columns(
            pl.lit(0, pl.Int64).alias("before_e10"),
            pl.when(pl.col("reason").is_null()).then("amount_e10").otherwise(0).alias("after_e10"),
        )
        columns = [*KEY, *words, "why", "duration_ms", "before_e10", "after_e10"]
        sides = pl.concat([after.select(columns), before.select(columns)])
        legs = sides.group_by(KEY, maintain_order=True).agg(
            pl.col(*words, "why", "duration_ms").first(),
            pl.col("before_e10", "after_e10").sum(),
        )
        return (
            legs.group_by("leg", *words, "why")
            .agg(
                pl.len().cast(pl.Int64).alias("records"),
                (pl.col("duration_ms").sum() // 1000).alias("seconds"),
                # a day of a small currency may pass what 64 bits hold
                pl.col("before_e10", "after_e10").cast(pl.Int128).sum(),
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
                self.changed.lazy(), on=KEY, how="anti"
            )
            added = self.priced.join(self.changed, on=KEY, how="semi")
            rows = pl.concat([kept, added.lazy().select(RATED_LEG.schema.names())])
            stored = self.lake.scan(RATED_LEG, self.version, slices).select(pl.len())
            before = stored.collect().item()
            with self.lake.replacing(RATED_LEG, slices, read=self.version) as new:
                _, (sums,) = new.write(rows, results=[usage_sums(rows)])
                usage = as_usage(sums)
                self._assert_balanced(before, int(usage["records"].sum()))
            self.lake.replace_slice(USAGE_DAILY, usage.lazy(), slices)
        else:
            self._mend_usage()
        self._write_suspense(gone=True)

    def _assert_balanced(self, before: int, after: int) -> None:
        """Raise `BillingError` unless the slices hold their former legs, less those that left,
        plus those that came: none is lost or doubled."""
        left = self.old.join(self.changed, on=KEY, how="semi").height
        came = self.priced.join(self.changed, on=KEY, how="semi").height
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
        if unpriced.is_empty() and self.waiting.is_empty():
            return
        priced = self.priced.select(KEY)
        for attempt in range(ATTEMPTS):
            version = self.lake.version(SUSPENSE)
            held = self.lake.scan(SUSPENSE, version, part).collect()
            usage = self.lake.scan(USAGE_DAILY, part={"day": self.day}).collect()
            added = suspended_legs(unpriced, average_prices(usage)).join(
                held, on=[*KEY, "reason"], how="anti"
            )
            kept = held.join(added, on=KEY, how="anti")
            if gone:
                kept = kept.join(pl.concat([priced, self._vanished]), on=KEY, how="anti")
            if added.is_empty() and kept.height == held.height:
                return
            try:
                with self.lake.replacing(SUSPENSE, part, read=version) as new:
                    new.write(pl.concat([kept, added]))
                return
            except SliceConflict:
                if attempt == ATTEMPTS - 1:
                    raise

    @property
    def _vanished(self) -> pl.DataFrame:
        """Keys that were a leg and are none any more: their trunk is our own now, say."""
        return self.changed.select(KEY).join(self.new, on=KEY, how="anti")


LEG_SCHEMA = pl.Schema({**RATED_LEG.schema, "reason": pl.String})
"""A leg, priced or with the reason why not."""

PRICED = [
    name
    for name in RATED_LEG.schema
    if name not in (*KEY, "day", "plan", "rerate_request", "answered", "duration_ms")
]
"""What a price is made of: a leg with the same is left as it is."""


def since(lake: Lake, done: DayRerated, version: int | None, request: int) -> DayRerated:
    """What a request did to a day since a `version` of `rated_leg`: a run that died, and `done`,
    which completed it."""
    day = {"day": done.day}
    was, now = lake.scan(RATED_LEG, version, day), lake.scan(RATED_LEG, part=day)
    reasons = lake.scan(SUSPENSE, part={**day, "stage": "rating"}).select(*KEY, "reason")
    none = pl.lit(None, pl.String).alias("reason")
    priced = now.filter(pl.col("rerate_request") == request).with_columns(none)
    lost = was.join(now.select(KEY), on=KEY, how="anti").collect(engine="streaming")
    waiting = lost.lazy().join(reasons, on=KEY)
    new = pl.concat([rows.select(LEG_SCHEMA.names()) for rows in (priced, waiting)]).collect()
    held = pl.concat([new.select(KEY), lost.select(KEY)]).unique()
    both = Change(lake, done.day, version, held, new, None).outcome()
    return replace(done, changed=both.changed, changes=both.changes, buckets=both.buckets)


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
        .when(differs(*PRICED))
        .then(pl.lit("source of the rate"))
        .otherwise(None)
    )


def _joined(rows: pl.LazyFrame, keys: pl.DataFrame) -> pl.DataFrame:
    if keys.is_empty():  # reads nothing then, where a join would read all
        return pl.DataFrame(schema=rows.collect_schema())
    return rows.join(keys.lazy(), on=KEY, how="semi").collect(engine="streaming")
