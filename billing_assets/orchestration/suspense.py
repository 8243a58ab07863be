"""What waits in suspense, tried again: days of calls, then legs, then the marts that show them.

What changed is told to Dagster as materialisations of the days' assets, so that everything made
of them shows as out of date.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg
import polars as pl

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.intake.landing import make_day
from billing_assets.lake.tables import SUSPENSE, XDR
from billing_assets.orchestration.resources import now
from billing_assets.orchestration.runs import Runs
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.retry import Retried, retry_day


@dataclass(frozen=True)
class Waiting:
    """Which rows of suspense are meant: those of a reason, a partner, a UTC day (None: any)."""

    reason: str | None = None
    partner: str | None = None
    day: date | None = None

    @property
    def chosen(self) -> pl.Expr:
        """The rows, as a condition over `suspense`."""
        wanted: Mapping[str, object] = vars(self)
        named = [pl.col(k) == pl.lit(v) for k, v in wanted.items() if v is not None]
        return pl.all_horizontal(pl.lit(True), *named).fill_null(False)

    def days(self, home: Installation) -> list[date]:
        """UTC days on which such rows wait."""
        found = home.lake.scan(SUSPENSE).filter(self.chosen).select(pl.col("day").unique().sort())
        return found.collect()["day"].to_list()


def retry_suspense(settings: Settings, waiting: Waiting) -> list[Retried]:
    """Try every chosen row again by the reference data in force; legs with a price stay.

    Days whose calls were put together anew are rated for the calls that this brought, and months
    with a change get their marts anew, so that the record balance is true at the end.
    """
    with Runs.of(settings) as runs:
        home = runs.installation
        done = [_retry(runs, home, day, waiting) for day in waiting.days(home)]
        changed = [one for one in done if one.rated or one.settled]
        _report([one.day for one in changed])
        runs.control([one.day for one in changed])
        runs.marts(sorted({one.day.isoformat()[:7] for one in changed}))
        return done


def _retry(runs: Runs, home: Installation, day: date, waiting: Waiting) -> Retried:
    part = {"day": day}
    parts_wait = home.lake.scan(SUSPENSE, part={**part, "stage": "xdr"}).filter(waiting.chosen)
    fresh: set[int] = set()
    if not parts_wait.head(1).collect().is_empty():
        before = set(home.lake.scan(XDR, part=part).select("record_id").collect()["record_id"])
        made = make_day(home.lake, day, now())
        after = set(made.xdr["record_id"])
        fresh = after - before
        if before - after:
            # a call that was rated is another one now: the day is rated as a whole
            runs.rate([day])
            return Retried(day, len(fresh), len(fresh), 0, 0)
    plan = compile_plan(home.reference, day, buckets=home.settings.buckets)
    done = retry_day(home.lake, plan, waiting.chosen & (pl.col("stage") == "rating"), sorted(fresh))
    if done.rated:
        home.registry.versions.record_plan(
            plan.version,
            day,
            home.reference.version,
            plan.summary(),
            now=now(),
            who=home.settings.user,
        )
    return done


def _report(days: Sequence[date]) -> None:
    """Tell Dagster that the rated usage of some days is another than before."""
    with dg.DagsterInstance.get() as instance:
        for day in days:
            for asset in ("rated_leg", "suspense", "usage_daily"):
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        asset_key=asset,
                        partition=day.isoformat(),
                        description="suspended legs were priced",
                    )
                )
