"""The intake bench: files of mixed presets through the product's own intake, beside plain Polars.

Files have a hundred thousand records each, some packed, as switches deliver them. Each figure is
measured in a process of its own, and timings never decide anything but this table.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from billing_assets.demo.formats import FORMATS
from billing_assets.intake.landing import Intake
from billing_assets.lake.store import Lake
from billing_assets.reference.sources import Source
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry

PER_FILE = 100_000
FIRST = date(2026, 3, 2)
NOW = datetime(2026, 4, 1, tzinfo=UTC)

_SHARES = {
    "canonical-csv": 5,
    "canonical-jsonl": 1,
    "canonical-parquet": 2,
    "freeswitch": 4,
    "asterisk": 3,
    "sansay": 3,
    "kamailio-cdrs": 2,
}
"""Files of each preset in every twenty."""

_PACKED = ("canonical-csv", "sansay", "canonical-jsonl")
_EXTRA = ["in_trunk", "out_trunk"]
_CDRS = ["call_id", "a_number", "b_number", *_EXTRA]
_OPTIONS: Mapping[str, dict[str, object]] = {
    "freeswitch": {"zone": "Europe/Lisbon", "options": {"extra_columns": _EXTRA}},
    "kamailio-cdrs": {"options": {"extra_columns": _CDRS}},
}


def sources() -> dict[str, Source]:
    """A source a preset."""
    return {
        preset: Source.model_validate(
            {"source": preset, "preset": preset, "switch": "SW", **_OPTIONS.get(preset, {})}
        )
        for preset in _SHARES
    }


def calls(count: int, day: date, first: int) -> pl.DataFrame:
    """A file's calls in the columns of `Format.render`: whole seconds, in the order of setup."""
    rng = np.random.default_rng(first)
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    utc = pl.Datetime("ms", "UTC")
    answered = pl.col("answered")
    raw = pl.DataFrame(
        {
            "setup": (np.sort(rng.integers(0, 86_000, count)) + midnight) * 1000,
            "ring": rng.integers(1, 10, count) * 1000,
            "talk": (rng.gamma(1.2, 90, count).astype(np.int64) + 1) * 1000,
            "answered": rng.random(count) < 0.6,
            "sequence": np.arange(first, first + count),
            "a": 351_210_000_000 + rng.integers(0, 10**7, count),
            "b": 442_070_000_000 + rng.integers(0, 10**8, count),
            "entry": rng.integers(0, 60, count),
            "way_out": rng.integers(0, 60, count),
        }
    )
    return raw.with_columns(
        pl.when(answered).then("talk").otherwise(0).alias("duration_ms"),
        (pl.col("setup") + pl.col("ring")).alias("ringing_ends"),
    ).select(
        pl.lit("voice").alias("service"),
        pl.format("TG{}", "entry").alias("in_trunk"),
        pl.format("TG{}", "way_out").alias("out_trunk"),
        pl.col("setup").cast(utc),
        pl.when(answered).then("ringing_ends").cast(utc).alias("answer"),
        (pl.col("ringing_ends") + pl.col("duration_ms")).cast(utc).alias("end"),
        "duration_ms",
        pl.col("a").cast(pl.String),
        pl.col("b").cast(pl.String),
        pl.col("b").cast(pl.String).alias("b_plain"),
        pl.lit(None, pl.Int64).alias("network"),
        pl.lit(None, pl.Int64).alias("quantity"),
        pl.when(answered).then(pl.lit("16")).otherwise(pl.lit("19")).alias("status"),
        pl.format("call-{}@198.51.100.3", "sequence").alias("call"),
        "sequence",
        pl.lit(None, pl.Int64).alias("part"),
        pl.lit(None, pl.Boolean).alias("last_part"),
    )


def generate(folder: Path, records: int) -> int:
    """Write files of mixed presets into an inbox, and return their records."""
    turn = [preset for preset, share in _SHARES.items() for _ in range(share)]
    made = sources()
    for number in range(-(-records // PER_FILE)):
        source = made[turn[number % len(turn)]]
        day = FIRST + timedelta(days=number * 28 // max(1, -(-records // PER_FILE)))
        frame = calls(min(PER_FILE, records - number * PER_FILE), day, number * PER_FILE)
        content, ending = _written(frame, source)
        if source.preset in _PACKED:
            content, ending = gzip.compress(content, 3, mtime=0), f"{ending}.gz"
        path = folder / source.source / f"{source.source}_{number + 1:06}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return records


def _written(frame: pl.DataFrame, source: Source) -> tuple[bytes, str]:
    """A file's bytes by its preset, and the ending of its name."""
    stream = io.BytesIO()
    if source.preset in FORMATS:
        return FORMATS[source.preset].render(frame, source, compress=False), "csv"
    if source.preset == "kamailio-cdrs":
        stamp = pl.col("answer", "end").dt.strftime("%Y-%m-%d %H:%M:%S")
        seconds = pl.format("{}.000", pl.col("duration_ms") // 1000)
        calls = frame.with_columns(pl.coalesce("answer", "setup").alias("answer"))
        calls.select("sequence", stamp, seconds, "call", "a", "b", *_EXTRA).write_csv(
            stream, include_header=False
        )
        return stream.getvalue(), "csv"
    named = frame.select(
        "service",
        *_EXTRA,
        *(pl.col(name).alias(f"{name}_time") for name in ("setup", "answer", "end")),
        "duration_ms",
        pl.col("a").alias("a_number"),
        pl.col("b").alias("b_number"),
        "status",
        pl.col("call").alias("call_id"),
        pl.col("sequence").alias("record_sequence"),
    )
    if source.preset == "canonical-parquet":
        named.write_parquet(stream)
        return stream.getvalue(), "parquet"
    named.with_columns(pl.col("^.*_time$").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).write_ndjson(
        stream
    )
    return stream.getvalue(), "jsonl"


# what is measured, each in a process of its own


def _intake(folder: Path) -> int:
    """Archive, read, normalise, land and log every file of the inbox."""
    home = folder / "home"
    home.mkdir()
    with Registry.open(f"sqlite:///{home / 'registry.db'}") as registry:
        intake = Intake(
            lake=Lake(str(home / "lake")),
            registry=registry,
            blobs=BlobStore(home / "archive"),
            quarantine=home / "quarantine",
            now=NOW,
            who="bench",
        )
        report = intake.take_in(folder / "inbox", sources())
    assert not report.quarantined and not report.rejected, report.quarantined[:3]
    return report.received


def _polars(folder: Path, *, typed: bool) -> int:
    """Read every file into a frame: cells as text, or numbers and dates as Polars finds them."""
    rows = 0
    for path in sorted((folder / "inbox").glob("*/*")):
        preset = path.parent.name
        if preset == "canonical-parquet":
            frame = pl.read_parquet(path)
        elif preset == "canonical-jsonl":
            frame = pl.read_ndjson(io.BytesIO(gzip.decompress(path.read_bytes())))
        else:
            frame = pl.read_csv(
                path,
                has_header=preset == "canonical-csv",
                separator=";" if preset == "sansay" else ",",
                quote_char=None if preset == "sansay" else '"',
                infer_schema=typed,
                try_parse_dates=typed,
            )
        rows += frame.height
    return rows


_MEASURES: Mapping[str, Callable[[Path], int]] = {
    "cut": lambda folder: _polars(folder, typed=False),
    "parsed": lambda folder: _polars(folder, typed=True),
    "intake": _intake,
}


def measure(name: str, folder: Path) -> dict[str, float]:
    """One figure in a process of its own: rows, seconds, those of the processors, peak bytes.

    `intake` empties the inbox, so it comes last.
    """
    done = subprocess.run(
        [sys.executable, "-m", "billing_assets.demo.bench_intake", name, str(folder)],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring {name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak() -> int:
    """Most bytes this process held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(words: Sequence[str]) -> None:
    """Measure one figure in this process and print it as JSON."""
    name, folder = words[0], Path(words[1])
    begin, worked = time.perf_counter(), time.process_time()
    rows = _MEASURES[name](folder)
    found = {
        "rows": rows,
        "seconds": time.perf_counter() - begin,
        "processor": time.process_time() - worked,
        "peak": _peak(),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
