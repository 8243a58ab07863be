"""How a file would land, without taking it in: its first rows, and what would be refused."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.ids import MAX_ROW, file_key, sha256_of
from billing_assets.intake.inbox import check_source, sequence_of
from billing_assets.intake.parse import ParsedFile, kept_content, parse_file
from billing_assets.reference.sources import Source

SHOWN = (
    "row",
    "service",
    "in_trunk",
    "out_trunk",
    "setup_time",
    "answer_time",
    "end_time",
    "duration_ms",
    "a_number",
    "a_kind",
    "b_number",
    "quantity",
    "event_type",
    "status",
    "record_sequence",
    "part",
)


@dataclass(frozen=True)
class Trial:
    """A file as it would land: rows as they would stand, refusals, warnings, figures."""

    rows: list[dict[str, object]]
    refused: list[Problem]
    warnings: list[Problem]
    figures: dict[str, object]


def try_file(path: Path, source: Source, shown: int, now: datetime) -> Trial:
    """Read a file by a source, and show its first rows and refusals.

    A file that would be refused whole has that as its only refusal. Raises `BillingError` when
    the file is not there or the source cannot be used.
    """
    check_source(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BillingError(f"{path} cannot be read: {error.strerror}") from error
    sha256 = sha256_of(content)
    try:
        kept = kept_content(content, path.name, source)
        parsed = parse_file(
            kept, path.name, source, key=file_key(sha256), sha256=sha256, arrived=now
        )
    except InputError as error:
        return Trial([], list(error.problems), [], {"file": "refused"})
    refused = [
        Problem(row["reason"], path.name, row["row"], row["field"], row["value"])
        for row in parsed.rejected.head(shown).iter_rows(named=True)
    ]
    return Trial(
        _rows(parsed, shown), refused, list(parsed.warnings), _figures(parsed, path, source)
    )


def _rows(parsed: ParsedFile, shown: int) -> list[dict[str, object]]:
    """The first rows that land, in the columns that any of them has a value in."""
    landed = parsed.landed.head(shown).with_columns(
        # digits, not quantities; stamps in UTC
        pl.col("a_number", "b_number").cast(pl.String),
        pl.col("setup_time", "answer_time", "end_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
    )
    found = [
        {"row": row["record_id"] & MAX_ROW, **{name: row[name] for name in SHOWN[1:]}}
        for row in landed.iter_rows(named=True)
    ]
    used = [name for name in SHOWN if any(row[name] is not None for row in found)]
    return [{name: row[name] for name in used} for row in found]


def _figures(parsed: ParsedFile, path: Path, source: Source) -> dict[str, object]:
    counts = parsed.counts
    return {
        "received": parsed.received,
        "would land": sum(count.landed for count in counts),
        "would be refused": parsed.rejected.height,
        "passed over": sum(count.filtered for count in counts),
        "days": ", ".join(str(count.day) for count in counts if count.landed),
        "file number": sequence_of(source, path.name),
    }
