"""What the tests of intake share: sources, files of text, and their rows read back."""

import gzip
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl

from billing_assets.core.ids import file_key, sha256_of
from billing_assets.intake.parse import ParsedFile, parse_file
from billing_assets.intake.preset import CANONICAL
from billing_assets.reference.sources import Source

ARRIVED = date(2026, 3, 20)
NAME = "s1_000001.csv"


def source_of(preset: str = "canonical-csv", **changes: Any) -> Source:
    """A source `s1` of switch `sw1`."""
    return Source.model_validate({"source": "s1", "preset": preset, "switch": "sw1", **changes})


def parse(text: str | bytes, source: Source | None = None, name: str = NAME) -> ParsedFile:
    """Parse a file as intake does, with the key of its content."""
    content = text.encode() if isinstance(text, str) else text
    sha256 = sha256_of(content)
    return parse_file(
        content,
        name,
        source or source_of(),
        key=file_key(sha256),
        sha256=sha256,
        arrived=datetime.combine(ARRIVED, time(6), UTC),
    )


def packed(text: str) -> bytes:
    """The text as one gzip member, without a time stamp."""
    return gzip.compress(text.encode(), mtime=0)


def only(frame: pl.DataFrame) -> dict[str, Any]:
    """The one row of a frame."""
    assert frame.height == 1, frame
    return frame.row(0, named=True)


def rows_of(landed: pl.DataFrame) -> list[int]:
    """The lines of the file that landed, from their record ids."""
    return [value & ((1 << 27) - 1) for value in landed["record_id"]]


def refusals(parsed: ParsedFile) -> list[tuple[int, str, str, str]]:
    """Row, reason, field and value of every rejected row."""
    return parsed.rejected.select("row", "reason", "field", "value").rows()


def utc(text: str) -> datetime:
    """A UTC stamp from 'YYYY-MM-DD HH:MM:SS[.fff]'."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


GOOD: dict[str, str] = {
    "service": "voice",
    "in_trunk": "TG01",
    "out_trunk": "TG09",
    "setup_time": "2026-03-10T12:00:00.000Z",
    "answer_time": "2026-03-10T12:00:05.250Z",
    "end_time": "2026-03-10T12:01:35.250Z",
    "duration_ms": "90000",
    "a_number": "351211234567",
    "b_number": "442071234567",
    "status": "16",
    "call_id": "c1",
    "record_sequence": "1",
}
"""A good canonical voice record; other columns are empty."""


def line(columns: tuple[str, ...] = CANONICAL, /, **changes: str) -> str:
    """A canonical CSV line: the good record with some cells changed."""
    cells = {**GOOD, **changes}
    return ",".join(cells.get(name, "") for name in columns)


def table(*lines: str, columns: tuple[str, ...] = CANONICAL) -> str:
    """A canonical CSV file of a header and lines."""
    return "\n".join([",".join(columns), *lines]) + "\n"


FREESWITCH_ROW = (
    '"Anna","351211234567","442071234567","carriers","2026-03-10 12:00:00","2026-03-10 12:00:05",'
    '"2026-03-10 12:01:35","95","90","NORMAL_CLEARING","uuid-1","uuid-2","acc","PCMA","PCMA"'
)
ASTERISK_ROW = (
    '"","351211234567","442071234567","carriers","""Anna, B."" <351211234567>",'
    '"PJSIP/tg-01-0000001a","PJSIP/tg09-0000001b","Dial","PJSIP/442071234567@tg09,60",'
    '"2026-03-10 12:00:00","2026-03-10 12:00:05","2026-03-10 12:01:35",95,90,"ANSWERED",'
    '"DOCUMENTATION"'
)


def sansay_row(**changes: str) -> str:
    """A Sansay line of 59 fields by the catalogue's numbering; `f7="..."` changes field 7."""
    cells = {
        1: "2712",
        2: "V1.10",
        3: "R",
        4: "0",
        5: "session-1",
        6: "0",
        7: "Tue Mar 10 12:00:00 2026",
        8: "Tue Mar 10 12:00:05 2026",
        9: "Tue Mar 10 12:01:35 2026",
        10: "0",
        11: "Normal call clearing",
        12: "16",
        13: "O",
        14: "TG01",
        15: "SIP",
        16: "351211234567",
        17: "192.0.2.10",
        18: "442071234567",
        19: "198.51.100.3",
        20: "call-1@198.51.100.3",
        33: "TG09",
        34: "SIP",
        35: "351211234567",
        37: "442071234567",
        39: "call-2@198.51.100.3",
        52: "F",
        53: "442071234567",
        54: "90",
        55: "1",
        56: "5",
        57: "90250",
        58: "0",
        59: "351211234567",
        **{int(name[1:]): value for name, value in changes.items()},
    }
    return ";".join(cells.get(n, "") for n in range(1, max(cells) + 1))
