"""Itemised records of a document: one row a billed record, by time, in flat memory.

Numbers of callers and called are masked unless the partner's terms say otherwise (catalogue 4.4:
in full only in a dispute). A day's records are written in stretches of time, so that neither a
large partner nor a large day has to fit into memory. Large files are compressed.
"""

import gzip
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from billing_assets.core.errors import NotFound
from billing_assets.core.money import SCALE, from_e10
from billing_assets.installation import Installation
from billing_assets.invoicing.csvs import FORMULA_STARTS, LINE_END
from billing_assets.lake.tables import XDR
from billing_assets.registry.documents import Document

MASKED_DIGITS: Final = 4

STRETCH: Final = 250_000
"""Records that are held in memory at a time."""

GZIP_FROM_BYTES: Final = 10_000_000
"""Larger files are compressed."""

NumberColumn = Literal["a_number", "b_number"]

ITEMISED_COLUMNS: Final = {
    "record_id": "our identifier of the record",
    "time_utc": "stamp that the agreement rates by, ISO 8601 in UTC",
    "time_local": "the same in the document's zone, with its offset",
    "service": "voice, sms, data or event",
    "agreement": "agreement id and version",
    "account": "commercial account of the traffic",
    "a_number": "caller's digits, the last four masked; or missing, anonymous, alpha",
    "b_number": "called digits, the last four masked; empty when there are none",
    "code": "matched code of the rate sheet",
    "destination": "destination name of the rate sheet",
    "origin": "origin class",
    "band": "time band",
    "duration_s": "answered duration in seconds",
    "billed_units": "seconds, messages, segments, bytes or events after increments",
    "rate": "price of one unit of account (minute, message, MB), surcharges included",
    "fees": "setup, attempt and per-call fees inside the amount",
    "amount": "amount of the record, rounded as the agreement says",
    "currency": "ISO 4217 code",
    "pricing": "priced or bill_and_keep (counted, free on purpose)",
}
"""Columns of the itemised CSV and what they mean."""


TAKEN_BACK: Final = ("duration_ms", "quantity", "billed_units", "fees_e10", "amount_e10")
"""Measures of a leg that are negative where it was billed before and is billed no more."""

_SAME_PRICE: Final = (
    "day",
    "record_id",
    "agreement",
    "destination",
    "band",
    "origin",
    "pricing",
    "rate_e10",
    "billed_units",
    "amount_e10",
)


@dataclass(frozen=True)
class Itemised:
    """A written file: its path (with '.gz' when compressed), its records and their sum."""

    path: Path
    records: int
    amount: Decimal


def billed_since(now: pl.LazyFrame, before: pl.LazyFrame) -> pl.LazyFrame:
    """What a day's legs have gained since they were billed, and, negative, what they have lost."""
    charged = pl.col("pricing") != "not_chargeable"
    now, before = now.filter(charged), before.filter(charged)
    keys = list(_SAME_PRICE)
    gained = now.join(before, on=keys, how="anti", nulls_equal=True)
    lost = before.join(now, on=keys, how="anti", nulls_equal=True)
    return pl.concat([gained, lost.with_columns(-pl.col(name) for name in TAKEN_BACK)])


def write_itemised(
    legs: pl.LazyFrame,
    records: pl.LazyFrame,
    days: Iterable[date],
    path: Path,
    *,
    zone: str,
    in_full: Collection[NumberColumn] = (),
) -> Itemised:
    """Write the billed records of some UTC days, by time.

    `legs` are rows of `rated_leg` already narrowed to one document's, `records` the table `xdr`
    that lends their numbers; `zone` is the document's. Legs that cost nothing because nothing
    was delivered are left out, so the amounts sum to the document's usage. `in_full` names the
    number columns that are not masked.
    """
    rows, units = 0, 0
    billed = legs.filter(pl.col("pricing") != "not_chargeable")
    with path.open("wb") as stream:
        _write_header(stream)
        for day in sorted(days):
            # both sides are narrowed before the join, so that only this day's slices are read
            today = billed.filter(pl.col("day") == day)
            numbers = records.filter(pl.col("day") == day).select(_NUMBERS)
            for stretch in _stretches(today):
                frame = _itemised(stretch, numbers, zone, in_full)
                frame.write_csv(stream, include_header=False, line_terminator=LINE_END)
                rows += stretch.height
                units += int(stretch["amount_e10"].cast(pl.Int128).sum() or 0)
    return Itemised(compressed(path), rows, from_e10(units))


def compressed(path: Path) -> Path:
    """The file itself, or its gzip in its place when it is large; equal files stay equal."""
    if path.stat().st_size < GZIP_FROM_BYTES:
        return path
    target = path.with_name(f"{path.name}.gz")
    with (
        path.open("rb") as source,
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 5, raw, mtime=0) as stream,
    ):
        shutil.copyfileobj(source, stream, 1 << 20)
    path.unlink()
    return target


def unmask(masked: Path, records: pl.LazyFrame, path: Path) -> int:
    """Write a masked itemised file again with its numbers in full; returns its records.

    `masked` may be compressed; `records` is the table `xdr`. A record
    that is not there any more keeps its masked numbers.
    """
    rows = 0
    with path.open("wb") as target:
        _write_header(target)
        for frame in _read(masked):
            _in_full(frame, records).write_csv(
                target, include_header=False, line_terminator=LINE_END
            )
            rows += frame.height
    return rows


def rows_of_record(path: Path, record_id: int) -> list[dict[str, str]]:
    """The rows of an itemised file, compressed or not, that bill a record; flat memory."""
    wanted = pl.col("record_id") == str(record_id)
    return [row for frame in _read(path) for row in frame.filter(wanted).rows(named=True)]


def _read(path: Path) -> Iterator[pl.DataFrame]:
    """An itemised file in parts, every cell as text, empty ones null."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    with pa.input_stream(path, compression="gzip" if zipped else None) as source:
        batches = arrow_csv.open_csv(
            source,
            read_options=arrow_csv.ReadOptions(block_size=32 << 20),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(ITEMISED_COLUMNS, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        for batch in batches:
            yield cast("pl.DataFrame", pl.from_arrow(batch))


def save_itemised(home: Installation, document: Document, path: Path) -> None:
    """Copy a document's itemised records as they were issued, uncompressed.

    Raises `NotFound` when it has none.
    """
    with _issued(home, document).open("rb") as source, path.open("wb") as target:
        zipped = source.peek(2)[:2] == _GZIP
        shutil.copyfileobj(gzip.GzipFile(fileobj=source) if zipped else source, target, 1 << 20)


def save_unmasked(
    home: Installation, document: Document, path: Path, *, reason: str, now: datetime, who: str
) -> int:
    """Write a document's itemised records with all numbers in full; returns how many.

    That it was asked for, by whom and why stands in the audit log before anything is written.
    Raises `NotFound` when the document has none, `ValueError` for a blank reason.
    """
    if not reason.strip():
        raise ValueError("unmasking needs a reason")
    masked = _issued(home, document)
    home.registry.audit.note(
        "document.unmask",
        f"document:{document.id}",
        now=now,
        who=who,
        after={"reason": reason, "number": document.number_text},
    )
    # as they are now: numbers that retention has taken out must not come back
    return unmask(masked, home.lake.scan(XDR), path)


def _issued(home: Installation, document: Document) -> Path:
    stored = document.files.get("itemised")
    if stored is None:
        raise NotFound(f"{document.number_text} has no itemised records")
    home.blobs.prove(stored.sha256)
    return home.blobs.path(stored.sha256)


_GZIP: Final = b"\x1f\x8b"

_NUMBERS: Final = ("record_id", "a_number", "a_length", "a_kind", "b_number", "b_length")


def _write_header(stream: BinaryIO) -> None:
    stream.write((",".join(ITEMISED_COLUMNS) + LINE_END).encode())


def _in_full(frame: pl.DataFrame, records: pl.LazyFrame) -> pl.DataFrame:
    frame = frame.with_columns(id=pl.col("record_id").cast(pl.Int64))
    when = frame["time_utc"].str.slice(0, 10).str.to_date()
    first, last = cast("date", when.min()), cast("date", when.max())
    # the stamp that an agreement rates by lies within a day of the record's slice
    day = pl.col("day").is_between(first - timedelta(days=1), last + timedelta(days=1))
    numbers = _of(records.filter(day).select(_NUMBERS), frame["id"]).with_columns(
        a_full=pl.coalesce(_digits("a_number", "a_length", masked=False), "a_kind"),
        b_full=_digits("b_number", "b_length", masked=False),
    )
    joined = frame.join(
        numbers.select("record_id", "a_full", "b_full"),
        left_on="id",
        right_on="record_id",
        how="left",
        maintain_order="left",
    )
    return joined.with_columns(
        a_number=pl.coalesce("a_full", "a_number"), b_number=pl.coalesce("b_full", "b_number")
    ).select(list(ITEMISED_COLUMNS))


def _of(records: pl.LazyFrame, ids: pl.Series) -> pl.DataFrame:
    """The rows of some record ids, read in flat memory."""
    wanted = ids.rename("record_id").unique().to_frame().lazy()
    return records.join(wanted, on="record_id", how="semi").collect(engine="streaming")


def _stretches(legs: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A day's legs in stretches of time, each small enough for memory."""
    times = legs.select("event_time").collect(engine="streaming")["event_time"].sort()
    starts: list[datetime] = times.gather_every(STRETCH).unique().sort().to_list()
    del times
    time = pl.col("event_time")
    ends = [*starts[1:], None] if starts else []
    for start, end in zip(starts, ends, strict=True):
        within = time >= start if end is None else time.is_between(start, end, closed="left")
        yield legs.filter(within).collect(engine="streaming")


def _itemised(
    legs: pl.DataFrame, records: pl.LazyFrame, zone: str, in_full: Collection[NumberColumn]
) -> pl.DataFrame:
    numbers = _of(records, legs["record_id"])
    time = pl.col("event_time")
    a_digits = _digits("a_number", "a_length", masked="a_number" not in in_full)
    cells = {
        "record_id": pl.col("record_id").cast(pl.String),
        "time_utc": time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "time_local": time.dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z"),
        "service": pl.col("service"),
        "agreement": _guarded("agreement"),
        "account": _guarded("account"),
        "a_number": pl.coalesce(a_digits, "a_kind"),
        "b_number": _digits("b_number", "b_length", masked="b_number" not in in_full),
        "code": pl.col("code").cast(pl.String),
        "destination": _guarded("destination"),
        "origin": _guarded("origin"),
        "band": _guarded("band"),
        "duration_s": _decimal_text("duration_ms", 3),
        "billed_units": pl.col("billed_units").cast(pl.String),
        "rate": _decimal_text("rate_e10", SCALE),
        "fees": _decimal_text("fees_e10", SCALE),
        "amount": _decimal_text("amount_e10", SCALE),
        "currency": pl.col("currency"),
        "pricing": pl.col("pricing"),
    }
    return (
        legs.join(numbers, on="record_id", how="left")
        .sort("event_time", "record_id", "agreement")
        .select(cell.alias(name) for name, cell in cells.items())
    )


def _guarded(column: str) -> pl.Expr:
    """`guarded` for a column."""
    text = pl.col(column)
    risky = text.str.slice(0, 1).is_in(list(FORMULA_STARTS))
    return pl.when(risky).then("'" + text).otherwise(text)


def _digits(number: str, length: str, *, masked: bool) -> pl.Expr:
    """A number's digits as text with its leading zeros; masked, the last four are asterisks."""
    digits = pl.col(number).cast(pl.String).str.zfill(pl.col(length))
    if not masked:
        return digits
    shown = (digits.str.len_chars().cast(pl.Int64) - MASKED_DIGITS).clip(lower_bound=0)
    return digits.str.slice(0, shown) + "*" * MASKED_DIGITS


def _decimal_text(column: str, places: int) -> pl.Expr:
    """An integer of 10^-places units as exact decimal text without trailing zeros."""
    units = pl.col(column)
    whole = (units.abs() // 10**places).cast(pl.String)
    part = (units.abs() % 10**places).cast(pl.String).str.zfill(places).str.strip_chars_end("0")
    sign = pl.when(units < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return sign + whole + pl.when(part == "").then(pl.lit("")).otherwise("." + part)
