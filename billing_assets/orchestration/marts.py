"""The marts of a month: dbt builds them from the lake, and they are published back by month.

Which models there are, what they mean and how they are tested stands in `dbt_project/`; here is
what they read and where they go. No dagster here: the assets and the command line both call it.
Source of the controls: catalogue 1.5 and 3.7.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds

from billing_assets.controls.traffic import COLUMNS, traffic_of_day
from billing_assets.core.errors import BillingError
from billing_assets.core.periods import month_period
from billing_assets.invoicing.document import Document, Kind
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import MONEY, RATED_LEG, TABLES, Table
from billing_assets.orchestration.dbt_manifest import mart_tables
from billing_assets.orchestration.dbt_types import Source, TestOutcome
from billing_assets.reference.controls import Controls
from billing_assets.reference.load import Reference
from billing_assets.reference.traffic import DEFAULT, Traffic
from billing_assets.registry import BlobStore, Registry
from billing_assets.registry.cycles import Cycle

FILE_COUNTS = pl.Schema(
    {
        "file": pl.String,
        "file_key": pl.Int64,
        "source": pl.String,
        "day": pl.Date,
        "received": pl.Int64,
        "landed": pl.Int64,
        "rejected": pl.Int64,
        "filtered": pl.Int64,
    }
)
"""Rows of each mediation file by UTC day, as the registry counted them; `file` is its SHA-256."""

CYCLES = pl.Schema(
    {
        "cycle": pl.String,
        "partner": pl.String,
        "month": pl.String,
        "start_day": pl.Date,
        "end_day": pl.Date,
    }
)
"""Billing cycles in local days, `end_day` exclusive; `month` ('YYYY-MM') is where they end."""

INVOICED = pl.Schema(
    {
        "cycle": pl.String,
        "charge_id": pl.Int64,
        "currency": pl.String,
        "amount": MONEY,
        "state": pl.String,
    }
)
"""Lines of the documents of cycles by the charge that they show, in the document's currency and
with the charge's sign; `state` is final, or draft as long as nothing of the cycle is issued."""


THRESHOLDS = pl.Schema(
    {
        "partner": pl.String,
        **dict.fromkeys(
            (
                "spike_score",
                "spike_records",
                "quality_attempts",
                "asr_shift",
                "ner_shift",
                "acd_shift",
                "short_share",
                "new_destination_value",
                "calm_jump",
                "high_risk_minutes",
                "counter_share",
            ),
            pl.Decimal(28, 10),
        ),
    }
)
"""Thresholds of the anomalies by partner, exact: some are compared with money and minutes."""


@dataclass(frozen=True)
class MartInputs:
    """What the marts need beside the lake: `FILE_COUNTS`, `CYCLES`, `THRESHOLDS` and `INVOICED`,
    and which traffic marts there are."""

    file_counts: pl.DataFrame
    thresholds: pl.DataFrame
    cycles: pl.DataFrame
    invoiced: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INVOICED))
    traffic: Traffic = DEFAULT


def collect_inputs(
    registry: Registry, blobs: BlobStore, reference: Reference, month: str
) -> MartInputs:
    """The inputs of a month's marts: file counts, cycles, lines of documents and thresholds."""
    period = month_period(month)
    counts = registry.files.counts(period.start, period.end)
    files = {key: registry.files.by_key(key) for key in {count.file_key for count in counts}}
    return MartInputs(
        file_counts=pl.DataFrame(
            [
                {**asdict(count), "file": entry.sha256, "source": entry.source}
                for count in counts
                if (entry := files[count.file_key]) is not None
            ],
            schema=FILE_COUNTS,
        ),
        thresholds=threshold_rows(reference.controls, reference.partners),
        cycles=pl.DataFrame(
            [
                {
                    "cycle": cycle.id,
                    "partner": cycle.partner,
                    "month": cycle.month,
                    "start_day": cycle.period.start,
                    "end_day": cycle.period.end,
                }
                for cycle in registry.cycles.list(month=month)
            ],
            schema=CYCLES,
        ),
        invoiced=pl.DataFrame(
            [
                row
                for cycle in registry.cycles.list(month=month)
                for row in _invoiced(registry, blobs, cycle)
            ],
            schema=INVOICED,
            orient="row",
        ),
        traffic=reference.traffic,
    )


def _invoiced(
    registry: Registry, blobs: BlobStore, cycle: Cycle
) -> Iterator[tuple[str, int, str, Decimal, str]]:
    """The lines of a cycle's documents: the final ones, or else the drafts of its last run."""
    final = registry.documents.of_cycle(cycle.id)
    state = "final" if final else "draft"
    for stored in final or registry.documents.drafts(cycle.id, cycle.runs):
        document = Document.model_validate_json(blobs.get(stored.canonical_sha256))
        sign = -1 if document.turned is not (document.kind is Kind.CREDIT_NOTE) else 1
        for line in document.lines:
            yield (cycle.id, int(line.charge_id), document.currency, sign * line.amount, state)


def threshold_rows(controls: Controls, partners: Iterable[str]) -> pl.DataFrame:
    """The thresholds of some partners as a frame of `THRESHOLDS`."""
    names = [name for name in THRESHOLDS if name != "partner"]
    return pl.DataFrame(
        [
            {
                "partner": partner,
                **{name: Decimal(getattr(controls.thresholds_of(partner), name)) for name in names},
            }
            for partner in partners
        ],
        schema=THRESHOLDS,
    )


@dataclass(frozen=True)
class MartBuild:
    """The marts of a month by name, what their tests found, and the lake versions they read."""

    month: str
    frames: Mapping[str, pl.DataFrame]
    outcomes: list[TestOutcome]
    versions: Mapping[str, int]


def build_marts(
    lake: Lake,
    inputs: MartInputs,
    month: str,
    scratch: Path,
    marts: Collection[str] | None = None,
) -> MartBuild:
    """Build and test marts of a month ('YYYY-MM'), all of them unless `marts` names some.

    dbt writes only to `scratch`, a folder that no other run uses. A data test that fails is an
    outcome and hides no mart. Raises `DbtError` when the project or a model fails, and
    `BillingError` for a mart that does not exist or input frames of another schema.
    """
    # dbt takes seconds to import, and loading the definitions should not pay them
    from billing_assets.orchestration.dbt_runner import open_project  # noqa: PLC0415

    period = month_period(month)
    tables = _wanted(marts)
    versions = lake.pins(list(TABLES.values()))
    sources = _input_sources(inputs)
    for name, table in TABLES.items():
        sources[name] = lake.dataset(table, versions.get(name))
    # only its own mart pays for it
    days = lake.days(RATED_LEG) if "traffic" in tables else []
    sources["traffic_day"] = _traffic_by_day(
        lake, inputs.traffic, [day for day in days if f"{day:%Y-%m}" == month], scratch
    )
    variables = {
        "month_start": period.start.isoformat(),
        "month_end": period.end.isoformat(),
        "traffic_marts": [one.mart for one in inputs.traffic.marts],
    }
    select = ["billing.staging", *(f"+{name}" for name in tables)]
    with open_project(scratch, sources, variables) as project:
        project.run(*select)
        outcomes = project.test(*select)
    with duckdb.connect(str(project.database), read_only=True) as connection:
        frames = {name: _built(connection, table) for name, table in tables.items()}
    return MartBuild(month, frames, outcomes, versions)


def publish_marts(lake: Lake, build: MartBuild) -> dict[str, int]:
    """Replace the month's slice of each mart in the lake; returns the new versions by mart.

    Raises `SliceConflict` when another run published the same month meanwhile.
    """
    tables = mart_tables()
    return {
        name: lake.replace_slice(tables[name], frame, {"month": build.month})
        for name, frame in build.frames.items()
    }


def _wanted(marts: Collection[str] | None) -> dict[str, Table]:
    tables = mart_tables()
    unknown = sorted(set(marts or ()) - set(tables))
    if unknown:
        raise BillingError(
            f"there is no mart {', '.join(unknown)}", hint=f"there are {', '.join(tables)}"
        )
    return {name: table for name, table in tables.items() if marts is None or name in marts}


def _traffic_by_day(lake: Lake, traffic: Traffic, days: Sequence[date], scratch: Path) -> Source:
    """The rows of the traffic marts by day, kept in the scratch folder, a file a day."""
    folder = scratch / "traffic_day"
    folder.mkdir(parents=True)
    empty = pl.DataFrame(schema=COLUMNS)
    empty.write_parquet(folder / "none.parquet")
    for day in days:
        traffic_of_day(lake, traffic.marts, day).write_parquet(folder / f"{day}.parquet")
    return ds.dataset(folder, format="parquet")


def _input_sources(inputs: MartInputs) -> dict[str, Source]:
    for name, frame, schema in (
        ("file counts", inputs.file_counts, FILE_COUNTS),
        ("cycles", inputs.cycles, CYCLES),
        ("thresholds", inputs.thresholds, THRESHOLDS),
        ("lines of documents", inputs.invoiced, INVOICED),
    ):
        if frame.schema != schema:
            raise BillingError(f"{name} have the columns {frame.schema}, not {schema}")
    return {
        "file_count": inputs.file_counts.to_arrow(),
        "cycle": inputs.cycles.to_arrow(),
        "invoiced_line": inputs.invoiced.to_arrow(),
        "threshold": inputs.thresholds.to_arrow(),
    }


def _built(connection: duckdb.DuckDBPyConnection, table: Table) -> pl.DataFrame:
    """A mart as dbt built it, in the order of its grain."""
    frame = connection.table(table.name).pl()
    if frame.schema != table.schema:
        raise BillingError(
            f"mart {table.name} has other columns than the manifest says",
            hint="run `make manifest`",
        )
    return frame.sort(table.order, nulls_last=True)
