"""Itemised files in flat memory, compressed when large, unmasked only on record."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.invoicing import itemised as subject
from billing_assets.invoicing.itemised import billed_since, unmask, write_itemised
from billing_assets.lake.tables import RATED_LEG, XDR
from tests.support.issued_home import issued_home

DAYS = [date(2026, 3, 1), date(2026, 3, 2)]
COUNT = 1000


def table(schema: pl.Schema, columns: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(columns).select(
        (pl.col(name) if name in columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def legs(count: int = COUNT) -> pl.DataFrame:
    """Calls of 30 s at 0.01, two a second, half of them on each day, the newest first."""
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    half = count // 2
    return table(
        RATED_LEG.schema,
        {
            "day": [DAYS[n // half] for n in range(count)],
            "record_id": range(count, 0, -1),
            "leg": ["customer"] * count,
            "service": ["voice"] * count,
            "agreement": ["A@1"] * count,
            "event_time": [
                start + timedelta(days=n // half, seconds=(count - n) // 2) for n in range(count)
            ],
            "duration_ms": [30_000] * count,
            "billed_units": [30] * count,
            "fees_e10": [0] * count,
            "amount_e10": [100_000_000] * count,
            "currency": ["EUR"] * count,
            "pricing": ["priced"] * count,
        },
    )


def records(count: int = COUNT) -> pl.DataFrame:
    frame = legs(count)
    return table(
        XDR.schema,
        {
            "day": frame["day"],
            "record_id": frame["record_id"],
            "a_number": frame["record_id"] + 351_910_000_000,
            "a_length": [12] * count,
            "a_kind": ["number"] * count,
            "b_number": frame["record_id"] + 441_000_000_000,
            "b_length": [12] * count,
        },
    )


def write(path: Path) -> subject.Itemised:
    return write_itemised(legs().lazy(), records().lazy(), DAYS, path, zone="UTC")


def test_stretches_of_time_give_the_same_file_as_whole_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write(tmp_path / "whole.csv")
    monkeypatch.setattr(subject, "STRETCH", 7)
    parts = write(tmp_path / "parts.csv")
    assert parts.path.read_bytes() == whole.path.read_bytes()
    assert (whole.records, whole.amount) == (COUNT, Decimal(COUNT) / 100)
    times = [row["time_utc"] for row in csv.DictReader(io.StringIO(whole.path.read_text()))]
    assert times == sorted(times)


def test_a_large_file_is_compressed_to_the_same_bytes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write(tmp_path / "plain.csv").path.read_bytes()
    monkeypatch.setattr(subject, "GZIP_FROM_BYTES", 1000)
    first = write(tmp_path / "first.csv").path
    assert first.name == "first.csv.gz"
    assert not (tmp_path / "first.csv").exists()
    assert gzip.decompress(first.read_bytes()) == plain
    assert write(tmp_path / "second.csv").path.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("size", [1_000, 10_000_000])
def test_unmasking_restores_every_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(subject, "GZIP_FROM_BYTES", size)
    masked = write(tmp_path / "masked.csv").path
    assert unmask(masked, records().lazy(), tmp_path / "full.csv") == COUNT
    full = write_itemised(
        legs().lazy(),
        records().lazy(),
        DAYS,
        tmp_path / "expected.csv",
        zone="UTC",
        in_full=("a_number", "b_number"),
    ).path
    expected = gzip.decompress(full.read_bytes()) if full.suffix == ".gz" else full.read_bytes()
    assert (tmp_path / "full.csv").read_bytes() == expected


def test_of_a_day_billed_before_only_what_changed_is_listed() -> None:
    before = legs(10)
    # one call is gone, one is repriced, one is new
    now = pl.concat(
        [before.filter(pl.col("record_id") != 1), legs(12).filter(pl.col("record_id") == 12)]
    ).with_columns(
        amount_e10=pl.when(pl.col("record_id") == 2).then(300_000_000).otherwise("amount_e10")
    )
    changed = billed_since(now.lazy(), before.lazy()).sort("record_id", "amount_e10").collect()
    assert changed.select("record_id", "amount_e10").rows() == [
        (1, -100_000_000),
        (2, -100_000_000),
        (2, 300_000_000),
        (12, 100_000_000),
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A home with one issued document whose records are those of this module."""
    path = write(tmp_path / "source.csv").path
    opened = issued_home(tmp_path, {}, itemised=path.read_text())
    opened.lake.replace_slice(XDR, records(), {"day": DAYS})
    monkeypatch.setenv("ICB_HOME", str(opened.settings.root))
    monkeypatch.setenv("ICB_USER", "ana")
    return opened


def test_the_command_gives_the_file_as_issued_and_logs_nothing(
    home: Installation, tmp_path: Path
) -> None:
    before = home.registry.audit.head()
    out = tmp_path / "out.csv"
    said = CliRunner().invoke(app, ["document", "itemised", "FT 2026/000001", "--out", str(out)])
    assert said.exit_code == 0, said.output
    assert "35191000****" in out.read_text()
    assert home.registry.audit.head() == before


def test_unmasking_by_command_is_logged_with_who_and_why(
    home: Installation, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    command = ["document", "itemised", "FT 2026/000001", "--out", str(out), "--unmask"]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, BillingError)
    assert not out.exists()
    said = CliRunner().invoke(app, [*command, "--reason", "dispute D-17"])
    assert said.exit_code == 0, said.output
    assert "351910000001" in out.read_text()
    entry = home.registry.audit.head()
    assert entry is not None
    assert (entry.action, entry.who) == ("document.unmask", "ana")
    assert json.loads(entry.after or "")["reason"] == "dispute D-17"
