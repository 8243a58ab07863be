"""A home with the demo carrier's reference data and usage given by hand, ready to bill."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from billing_assets.charging.cycles import Cycle, cycles_of_month
from billing_assets.core.ids import bucket_of, stable_id
from billing_assets.core.settings import PROJECT_ROOT, Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.run import CycleRun, approve_and_issue, run_cycle
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY, Table
from billing_assets.reference.load import read_folder
from billing_assets.reference.versions import take_reference
from billing_assets.registry.documents import Document

NOW = datetime(2026, 5, 5, 9, tzinfo=UTC)
ISSUED = date(2026, 5, 5)
DEMO = PROJECT_ROOT / "data" / "demo" / "reference"


def open_home(root: Path, changes: Mapping[str, Mapping[str, str]] | None = None) -> Installation:
    """A home with the demo's reference data; `changes` replaces texts in its files by path.

    In a path that is none of theirs the text '' is replaced.
    """
    files = dict(read_folder(DEMO))
    for path, replaced in (changes or {}).items():
        text = files.get(path, b"").decode()
        for old, new in replaced.items():
            assert old in text, f"{path} has no {old!r}"
            text = text.replace(old, new)
        files[path] = text.encode()
    home = Installation.open(Settings(home=root, user="ana"))
    take_reference(
        files, lake=home.lake, registry=home.registry, blobs=home.blobs, now=NOW, who="ana"
    )
    return home


def use(home: Installation, *rows: Mapping[str, object]) -> None:
    """Add calls of a minute at 0.0060 as rows of `usage_daily`, and their `rated_leg` rows.

    A row names `partner`, `agreement`, `local_day` and `records`, and may name other columns
    that both tables have.
    """
    for row in rows:
        day, records = row["local_day"], int(str(row["records"]))
        each = {
            "day": day,
            "bucket": bucket_of(str(row["partner"]), home.settings.buckets),
            "leg": "customer",
            "service": "voice",
            "account": "",
            "destination": "Somewhere",
            "rate_e10": 60_000_000,
            "band": "",
            "origin": "",
            "pricing": "priced",
            "currency": "EUR",
            **{name: value for name, value in row.items() if name != "records"},
        }
        daily = {
            "records": records,
            "answered": records,
            "duration_ms": 60_000 * records,
            "quantity": 60 * records,
            "billed_units": 60 * records,
            "fees": Decimal(0),
            "amount": records * Decimal("0.0060"),
        }
        call = {
            "answered": True,
            "duration_ms": 60_000,
            "quantity": 60,
            "billed_units": 60,
            "fees_e10": 0,
            "amount_e10": 60_000_000,
            "event_time": datetime(2026, 1, 1, 12, tzinfo=UTC),
        }
        legs = pl.select(pl.int_range(records).alias("record_id")).with_columns(
            (pl.col("record_id") + stable_id(str(row))).alias("record_id"),
            *(pl.lit(value).alias(name) for name, value in {**each, **call}.items()),
        )
        _append(home, USAGE_DAILY, pl.DataFrame([{**each, **daily}], schema=USAGE_DAILY.schema))
        _append(
            home,
            RATED_LEG,
            legs.select(
                pl.col(name).cast(dtype)
                if name in legs.columns
                else pl.lit(None, dtype).alias(name)
                for name, dtype in RATED_LEG.schema.items()
            ),
        )


def _append(home: Installation, table: Table, new: pl.DataFrame) -> None:
    """Add rows of one slice to a table."""
    where = {name: new[name][0] for name in ("day", "bucket")}
    kept = home.lake.scan(table, part={"day": [where["day"]]}).collect()
    kept = kept.filter(pl.col("bucket") == where["bucket"]).select(new.columns)
    home.lake.replace_slice(table, pl.concat([kept.cast(new.schema), new]), where)


def cycle_of(home: Installation, name: str) -> Cycle:
    """A cycle of a partner's calendar by its name."""
    partner, _, period = name.partition("/")
    month = period[:7] if "W" not in period else "2026-03"
    cycles = cycles_of_month(home.reference.partner(partner), month)
    return next(cycle for cycle in cycles if cycle.cycle == name)


def run(home: Installation, name: str, who: str = "ana") -> CycleRun:
    """Run a cycle of a calendar."""
    return run_cycle(
        home, home.reference, cycle_of(home, name), issue_date=ISSUED, now=NOW, who=who
    )


def issue(home: Installation, name: str) -> list[Document]:
    """Issue a drafted cycle, approved by another person."""
    return approve_and_issue(home, name, approver="bruno", issue_date=ISSUED, now=NOW, who="bruno")
