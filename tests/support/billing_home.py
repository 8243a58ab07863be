"""A home with the demo carrier's reference data and usage given by hand, ready to bill."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from billing_assets.charging.cycles import Cycle, cycles_of_month
from billing_assets.core.ids import bucket_of
from billing_assets.core.settings import PROJECT_ROOT, Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.run import CycleRun, approve_and_issue, run_cycle
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.load import read_folder
from billing_assets.reference.versions import take_reference
from billing_assets.registry.documents import Document

NOW = datetime(2026, 5, 5, 9, tzinfo=UTC)
ISSUED = date(2026, 5, 5)
DEMO = PROJECT_ROOT / "data" / "demo" / "reference"


def open_home(root: Path, changes: Mapping[str, Mapping[str, str]] | None = None) -> Installation:
    """A home with the demo's reference data; `changes` replaces texts in its files by path."""
    files = dict(read_folder(DEMO))
    for path, replaced in (changes or {}).items():
        text = files[path].decode()
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
    """Add rows of `usage_daily`: a minute at 0.0060 a call, unless they say otherwise.

    A row names `partner`, `agreement`, `local_day` and `records`.
    """
    full = []
    for row in rows:
        records = int(str(row["records"]))
        full.append(
            {
                "day": row["local_day"],
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
                "answered": records,
                "duration_ms": 60_000 * records,
                "quantity": 60 * records,
                "billed_units": 60 * records,
                "fees": Decimal(0),
                "amount": records * Decimal("0.0060"),
                **row,
            }
        )
    new = pl.DataFrame(full, schema=USAGE_DAILY.schema)
    for (day, bucket), part in new.partition_by(["day", "bucket"], as_dict=True).items():
        where = {"day": day, "bucket": bucket}
        kept = home.lake.scan(USAGE_DAILY, part={"day": [day]}).collect()
        kept = kept.filter(pl.col("bucket") == bucket).select(part.columns)
        home.lake.replace_slice(USAGE_DAILY, pl.concat([kept.cast(part.schema), part]), where)


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
