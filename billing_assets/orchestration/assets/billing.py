"""Cycles that end in a month: charges, validation, drafts; and the issued invoices.

Many partners run as one run over many partitions. Each is isolated: a success is reported on its
own partition, a failure becomes the run's exception list and leaves its partition as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import TypeVar

import dagster as dg
import polars as pl
from pydantic import Field

from billing_assets.charging.cycles import Cycle, registered_cycle
from billing_assets.charging.deals import (
    ALARMS,
    as_table,
    chart,
    last_rated_day,
    live_positions,
)
from billing_assets.charging.run import imbalance
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.periods import month_period
from billing_assets.invoicing.accruals import sums, take_accrual
from billing_assets.invoicing.delivery.run import deliver
from billing_assets.invoicing.parallel import draft_cycles, render_ahead
from billing_assets.invoicing.run import CycleRun, approve_and_issue, due_cycles
from billing_assets.orchestration.groups import Group
from billing_assets.orchestration.partitions import CYCLES, MONTHS
from billing_assets.orchestration.resources import Home, now
from billing_assets.orchestration.tables import markdown
from billing_assets.registry.schema import CycleState, DeliveryState

T = TypeVar("T")


class BillingConfig(dg.Config):
    """Which cycles are billed, when documents are dated, and who approves what is issued."""

    issue_date: str = Field(
        default="", description="date on the documents, YYYY-MM-DD; default today"
    )
    cycles: list[str] = Field(
        default=[], description="only these cycles, such as P03/2026-W11; default all of the month"
    )
    approver: str = Field(
        default="", description="who approves; another person than the one who runs"
    )


STEPS = {
    "charge": "Charges of the cycle: usage lines and recurring fees, each with its derivation.",
    "validation": "What must be known or mended before the cycle is billed.",
    "invoice_draft": "Draft documents without numbers: PDF, XML, CSV, itemised records.",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            name,
            deps=upstream,
            description=about,
            group_name=Group.BILLING.value,
            partitions_def=CYCLES,
            skippable=True,
        )
        for (name, about), upstream in zip(
            STEPS.items(),
            (["usage_daily"], ["charge", "record_fate", "traffic_hourly"], ["validation"]),
            strict=True,
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "charges_add_up",
            asset="charge",
            blocking=True,
            description="Rated usage is on usage lines or replaced by a named rule, to the last "
            "unit, by cycle, agreement and currency.",
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def billing_cycle(
    context: dg.AssetExecutionContext,
    config: BillingConfig,
    installation: Home,
) -> Iterator[dg.AssetCheckResult]:
    """Charge, validate and draft the cycles that end in the month and are over.

    Final cycles are left alone.
    """
    reference = installation.reference

    def due(month: str, partner: str) -> list[Cycle]:
        cycles = due_cycles(installation, reference.partner(partner), month, now())
        return [cycle for cycle in cycles if not config.cycles or cycle.cycle in config.cycles]

    runs_of = draft_cycles(
        installation,
        [
            cycle
            for month, partner in _keys(context)
            if partner in reference.partners
            for cycle in due(month, partner)
        ],
        issue_date=_issue_date(config),
        now=now(),
        who=installation.settings.user,
    )

    def draft(key: dg.MultiPartitionKey, month: str, partner: str) -> None:
        runs = _each_cycle(due(month, partner), lambda cycle: _come_to(runs_of[cycle.cycle]))
        blocked = any(run.state is CycleState.BLOCKED for run in runs)
        _report(context, key, runs, ["charge", "validation"] if blocked else list(STEPS))

    wrong = [
        (cycle.cycle, agreement, currency, str(rated), str(lines))
        for month, partner in _keys(context)
        if partner in reference.partners
        for cycle in due(month, partner)
        for (agreement, currency), (rated, lines) in imbalance(
            cycle, reference, installation.lake, installation.registry
        ).items()
    ]
    columns = ["cycle", "agreement", "currency", "rated", "charged"]
    differences = pl.DataFrame(wrong, schema=dict.fromkeys(columns, pl.String), orient="row")
    yield dg.AssetCheckResult(
        passed=not wrong,
        asset_key="charge",
        check_name="charges_add_up",
        metadata={"cycles": len(runs_of), "differences": markdown(differences)},
    )
    _each_partner(context, draft)


@dg.asset(
    deps=["usage_daily", "reference_data"],
    group_name=Group.BILLING.value,
    description="Where every commitment and deal stands: used, due, needed a day, forecast.",
)
def deal_position(installation: Home) -> dg.MaterializeResult:
    """Positions at the end of the last rated day, as a table and a chart."""
    day = last_rated_day(installation.lake)
    found = live_positions(installation.reference, installation.lake, day)
    return dg.MaterializeResult(
        metadata={
            "day": day.isoformat(),
            "positions": markdown(as_table(found)),
            "chart": dg.MetadataValue.md(f"```\n{chart(found)}\n```"),
            "alarms": sum(one.status in ALARMS for one in found),
        }
    )


@dg.asset(
    deps=["usage_daily", "reference_data"],
    partitions_def=MONTHS,
    group_name=Group.BILLING.value,
    description="What is owed and not billed at the month's end, on both sides; reversed next day.",
)
def accrual(context: dg.AssetExecutionContext, installation: Home) -> dg.MaterializeResult:
    """Take the accrual of the month's last day, or of yesterday while the month runs."""
    last = month_period(context.partition_key).last_day
    taken = take_accrual(installation, min(last, now().date() - timedelta(days=1)))
    return dg.MaterializeResult(
        metadata={
            "day": taken.at.isoformat(),
            "dagster/row_count": taken.rows.height,
            "accrued": markdown(sums(taken)),
            "not known": markdown(pl.DataFrame({"not known": taken.unknown})),
        }
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "invoice",
            deps=["invoice_draft"],
            description="Issued documents: numbered, frozen, hashed, never changed again.",
            group_name=Group.BILLING.value,
            partitions_def=CYCLES,
            skippable=True,
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def issued_invoices(
    context: dg.AssetExecutionContext,
    config: BillingConfig,
    installation: Home,
) -> Iterator[dg.MaterializeResult]:
    """Issue the drafted cycles of some partners, approved in the approver's name."""

    def named(month: str, partner: str) -> list[Cycle]:
        known = installation.registry.cycles.list(month=month, partner=partner)
        return [
            registered_cycle(cycle)
            for cycle in sorted(known, key=lambda cycle: cycle.period)
            if not config.cycles or cycle.id in config.cycles
        ]

    ahead = render_ahead(
        installation,
        [cycle.cycle for key in _keys(context) for cycle in named(*key)],
        _issue_date(config),
    )

    def issue(key: dg.MultiPartitionKey, month: str, partner: str) -> None:
        known = installation.registry.cycles.list(month=month, partner=partner)
        if not known:
            raise NotFound(f"no cycle of {month} was run", hint="materialise `invoice_draft` first")
        issued = _each_cycle(
            named(month, partner),
            lambda cycle: approve_and_issue(
                installation,
                cycle.cycle,
                approver=config.approver,
                issue_date=_issue_date(config),
                now=now(),
                who=installation.settings.user,
                ahead=ahead,
            ),
        )
        rows = [
            (d.number_text, str(d.net), str(d.tax), str(d.gross), d.currency)
            for documents in issued
            for d in documents
        ]
        table = pl.DataFrame(
            rows, schema=["number", "net", "tax", "gross", "currency"], orient="row"
        )
        context.log_event(
            dg.AssetMaterialization(
                "invoice", partition=str(key), metadata={"documents": markdown(table)}
            )
        )

    _each_partner(context, issue)
    yield from ()


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "delivery",
            deps=["invoice"],
            description="Issued documents at their receivers, each channel's attempts recorded.",
            group_name=Group.BILLING.value,
            partitions_def=CYCLES,
            skippable=True,
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def delivered_documents(
    context: dg.AssetExecutionContext, installation: Home
) -> Iterator[dg.MaterializeResult]:
    """Deliver the issued documents of some partners; what was delivered is not sent again."""

    def send(key: dg.MultiPartitionKey, month: str, partner: str) -> None:
        cycles = installation.registry.cycles.list(month=month, partner=partner, corrections=True)
        found = [
            one
            for cycle in cycles
            # a cycle may end without a document: nothing was owed, or only costs were stated
            if cycle.state is CycleState.FINAL
            and installation.registry.documents.of_cycle(cycle.id)
            for one in deliver(
                installation, what=cycle.id, clock=now, who=installation.settings.user
            )
        ]
        missing = [one.message for one in found if one.state is not DeliveryState.DELIVERED]
        if missing:
            raise BillingError("; ".join(missing))
        rows = [(one.id, one.address, str(one.attempts)) for one in found]
        table = pl.DataFrame(rows, schema=["delivery", "to", "tries"], orient="row")
        context.log_event(
            dg.AssetMaterialization(
                "delivery", partition=str(key), metadata={"deliveries": markdown(table)}
            )
        )

    _each_partner(context, send)
    yield from ()


def _each_cycle(cycles: Sequence[Cycle], step: Callable[[Cycle], T]) -> list[T]:
    """Take a step for every cycle of a partner; one that fails stops no other.

    Raises `BillingError` at the end that names each cycle that failed, and why.
    """
    done: list[T] = []
    failures: list[str] = []
    for cycle in cycles:
        try:
            done.append(step(cycle))
        except BillingError as error:
            failures.append(f"{cycle.cycle}: {error}")
    if failures:
        raise BillingError("; ".join(failures))
    return done


def _come_to(outcome: T | Exception) -> T:
    """What came of a step elsewhere; raises what it raised."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _keys(context: dg.AssetExecutionContext) -> list[tuple[str, str]]:
    """Month and partner of each partition of the run."""
    return [
        (key.keys_by_dimension["month"], key.keys_by_dimension["partner"])
        for key in context.partition_keys
        if isinstance(key, dg.MultiPartitionKey)
    ]


def _each_partner(
    context: dg.AssetExecutionContext, step: Callable[[dg.MultiPartitionKey, str, str], None]
) -> None:
    """Take a step for every partition of the run; whatever fails stops that partner alone.

    Raises `dg.Failure` at the end that names each partner that failed, and why.
    """
    failures: list[str] = []
    for key in context.partition_keys:
        if not isinstance(key, dg.MultiPartitionKey):
            raise TypeError(f"{key} is no partition of month and partner")
        names = key.keys_by_dimension
        try:
            step(key, names["month"], names["partner"])
        except BillingError as error:
            failures.append(f"{names['partner']}: {error}")
            context.log.error(failures[-1])
        except Exception:
            failures.append(f"{names['partner']}: a defect of the product; the log has the trace")
            context.log.exception(failures[-1])
    if failures:
        raise dg.Failure(
            f"{len(failures)} partners failed, the others are done: {'; '.join(failures)}",
            metadata={"failures": dg.MetadataValue.md("\n".join(f"- {f}" for f in failures))},
            allow_retries=False,
        )


def _issue_date(config: BillingConfig) -> date:
    return date.fromisoformat(config.issue_date) if config.issue_date else now().date()


def _report(
    context: dg.AssetExecutionContext,
    key: dg.MultiPartitionKey,
    runs: Sequence[CycleRun],
    assets: Sequence[str],
) -> None:
    """Report the cycles of a partner's month on its own partition."""
    cycles = pl.DataFrame(
        [
            (
                run.cycle,
                run.state.value,
                run.lines,
                ", ".join(f"{name} {amount:,f}" for name, amount in run.totals.items()),
            )
            for run in runs
        ],
        schema={"cycle": pl.String, "state": pl.String, "lines": pl.Int64, "net": pl.String},
        orient="row",
    )
    findings = pl.DataFrame(
        [(run.cycle, f.rule, f.message, f.blocks) for run in runs for f in run.findings],
        schema={
            "cycle": pl.String,
            "rule": pl.String,
            "finding": pl.String,
            "blocks": pl.Boolean,
        },
        orient="row",
    )
    metadata = {
        "cycles": markdown(cycles),
        "findings": markdown(findings),
        "files": dg.MetadataValue.md("\n".join(f"- {p.name}" for run in runs for p in run.files)),
    }
    for asset in assets:
        context.log_event(dg.AssetMaterialization(asset, partition=str(key), metadata=metadata))
