"""Dagster runs from the command line: the same assets, recorded in the home's own instance.

A run goes through the same global asset job as one launched in the UI, so it shows there with
its logs, metadata and partitions.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg

from billing_assets.controls.balance import unmade_days
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import RECORD_FATE
from billing_assets.orchestration.assets.controls import OUTPUTS as CONTROL_DAYS
from billing_assets.orchestration.build import build_defs
from billing_assets.orchestration.jobs import END_TAG, REASON_TAG, START_TAG, month_tags, neighbours
from billing_assets.orchestration.partitions import MONTHS, USAGE_DAYS
from billing_assets.orchestration.terms import announce_terms

_DAGSTER_YAML = """\
# Runs are recorded here (SQLite); a production home names PostgreSQL instead.
telemetry:
  enabled: false
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    max_concurrent_runs: 4
"""


_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""The run's log goes to the instance; a failure is told as a sentence (`_run`)."""


def prepare_dagster_home(settings: Settings) -> None:
    """Make the folder of Dagster's own storage, and let Dagster find it."""
    folder = settings.dagster_home
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(_DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(folder)


def announce_in_force(home: Installation) -> None:
    """Tell the home's Dagster which rated days the reference data in force have changed."""
    prepare_dagster_home(home.settings)
    with dg.DagsterInstance.get() as instance:
        announce_terms(instance, home, home.reference)


class Runs:
    """Launches runs in this process and records them."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.installation = Installation.open(settings)
        self._instance = instance
        self._defs = build_defs(settings)
        self._job = self._defs.resolve_implicit_global_asset_job_def()

    @classmethod
    @contextmanager
    def of(cls, settings: Settings) -> Iterator["Runs"]:
        """Runs recorded in the settings' home."""
        prepare_dagster_home(settings)
        with dg.DagsterInstance.get() as instance:
            yield cls(settings, instance)

    def take_in(self) -> None:
        """Load the reference folder and take in new files."""
        self._run(["reference_data", "mediation_files"])

    def unrated(self, days: Collection[date]) -> list[date]:
        """Those of some UTC days that no run has rated yet."""
        rated = self._instance.get_materialized_partitions(dg.AssetKey("usage_daily"))
        return sorted(day for day in days if day.isoformat() not in rated)

    def to_make(self) -> list[date]:
        """UTC days whose records have not their fates: new files brought them, or an earlier run
        ended before it was through."""
        home = self.installation
        held = self._landed().union(home.lake.days(RECORD_FATE)).difference(self.outside())
        return sorted({*self.unrated(held), *unmade_days(home.lake, home.registry, sorted(held))})

    def outside(self) -> list[date]:
        """UTC days of landed records that are before usage is kept, or not yet here."""
        known = set(USAGE_DAYS.get_partition_keys())
        return sorted(day for day in self._landed() if day.isoformat() not in known)

    def _landed(self) -> set[date]:
        counts = self.installation.registry.files.counts(date.min, date.max)
        return {count.day for count in counts if count.landed}

    def rate(self, days: Sequence[date]) -> None:
        """Make the records of UTC days, and price them; consecutive days share one run."""
        for first, last in _stretches(days):
            self._run(
                ["day_terms", "xdr", "rated_leg", "suspense", "usage_daily", *CONTROL_DAYS],
                tags={START_TAG: first.isoformat(), END_TAG: last.isoformat()},
            )

    def control(self, days: Sequence[date]) -> None:
        """Add up the records of UTC days for the controls anew, after a leg of theirs changed."""
        for first, last in _stretches(days):
            self._run(
                list(CONTROL_DAYS),
                tags={START_TAG: first.isoformat(), END_TAG: last.isoformat()},
            )

    def rerate(self, request: int, days: Sequence[date], *, records: bool = False) -> None:
        """Carry out a re-rate request on some UTC days, in the asset that rates them.

        With `records` the days' records are made anew first.
        """
        reason = self.installation.registry.rerates.get(request).reason
        for first, last in _stretches(days):
            self._run(
                [
                    "day_terms",
                    *(["xdr"] if records else []),
                    "rated_leg",
                    "suspense",
                    "usage_daily",
                    *CONTROL_DAYS,
                ],
                tags={
                    START_TAG: first.isoformat(),
                    END_TAG: last.isoformat(),
                    "icb/rerate_request": str(request),
                    REASON_TAG: reason,
                },
                run_config={"ops": {"rated_usage": {"config": {"request": request}}}},
            )
        # legs outside the scope may stand on older terms still
        announce_terms(self._instance, self.installation, self.installation.reference)

    def marts(self, months: Sequence[str]) -> None:
        """Build the marts of some months."""
        for month in months:
            self._run(_mart_names(self._defs), partition=month)

    def draft(
        self,
        month: str,
        partners: Sequence[str],
        issue_date: date | None,
        cycles: Sequence[str] = (),
    ) -> None:
        """Charge, validate and draft cycles that end in a month; all of them, or those named."""
        self._billing(
            ["charge", "validation", "invoice_draft"],
            month,
            partners,
            "billing_cycle",
            {"issue_date": _text(issue_date), "cycles": list(cycles)},
        )

    def issue(
        self,
        month: str,
        partners: Sequence[str],
        issue_date: date | None,
        approver: str,
        cycles: Sequence[str] = (),
    ) -> None:
        """Issue drafted cycles of a month, approved in another person's name."""
        self._billing(
            ["invoice"],
            month,
            partners,
            "issued_invoices",
            {"issue_date": _text(issue_date), "cycles": list(cycles), "approver": approver},
        )

    def deliver(self, month: str, partners: Sequence[str]) -> None:
        """Send the issued documents of a month; raises `BillingError` when one did not arrive."""
        everyone = sorted(self.installation.reference.partners)
        for group in neighbours(everyone, partners):
            self._run(["delivery"], tags=month_tags(month, group))

    def _billing(
        self,
        assets: Sequence[str],
        month: str,
        partners: Sequence[str],
        op: str,
        config: Mapping[str, object],
    ) -> None:
        everyone = sorted(self.installation.reference.partners)
        for group in neighbours(everyone, partners):
            self._run(
                assets, tags=month_tags(month, group), run_config={"ops": {op: {"config": config}}}
            )

    def _run(
        self,
        assets: Sequence[str],
        *,
        partition: str | None = None,
        tags: Mapping[str, str] | None = None,
        run_config: Mapping[str, object] | None = None,
    ) -> None:
        """Run some assets and wait; raises `BillingError` that says why steps failed, and
        `KeyboardInterrupt` when a person or the system ended the run."""
        result = self._job.execute_in_process(
            instance=self._instance,
            asset_selection=[dg.AssetKey(name) for name in assets],
            partition_key=partition,
            tags=dict(tags or {}),
            run_config={**_QUIET, **(run_config or {})},
            raise_on_error=False,
        )
        if result.success:
            return
        failures = [
            event.step_failure_data.error
            for event in result.all_events
            if event.is_step_failure and event.step_failure_data.error
        ]
        causes = [error.cause or error for error in failures]
        if any(cause.cls_name == dg.DagsterExecutionInterruptedError.__name__ for cause in causes):
            raise KeyboardInterrupt
        reasons = [_reason(cause.message) for cause in causes]
        raise BillingError(
            f"run of {', '.join(assets)} failed: {'; '.join(reasons) or 'see its log'}",
            hint=f"run {result.run_id} in the UI (`make ui`) has the whole log",
        )


def _reason(message: str) -> str:
    """What an exception said, without the name of its class where it is one of our sentences."""
    name, _, words = message.strip().partition(": ")
    package = BillingError.__module__.partition(".")[0]
    ours = name.startswith(f"{package}.") or name.endswith(f".{dg.Failure.__name__}")
    return words if ours else message.strip()


def _stretches(days: Sequence[date]) -> list[tuple[date, date]]:
    """Group days into consecutive stretches: each is one run over a range of partitions."""
    known = set(USAGE_DAYS.get_partition_keys())
    outside = [day for day in days if day.isoformat() not in known]
    if outside:
        raise BillingError(
            f"{outside[0]} is outside the days that usage is kept for",
            hint=f"they begin on {min(known)}",
        )
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _text(day: date | None) -> str:
    return day.isoformat() if day else ""


def _mart_names(defs: dg.Definitions) -> list[str]:
    graph = defs.resolve_asset_graph()
    return [
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).partitions_def == MONTHS
    ]
