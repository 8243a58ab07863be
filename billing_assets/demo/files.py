"""Cut a switch's records into numbered files, as its mediation delivers them.

A record lies in the file of the UTC hours in which it was closed. Numbers of files and of
records run on from file to file; a file number wraps where the source's does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from billing_assets.demo.formats import FORMATS, Format
from billing_assets.demo.scenario import SwitchFiles, UsageGroup
from billing_assets.demo.traffic import DAY, EPOCH, RECORDS, Layout, records_of_day
from billing_assets.reference.models import Service
from billing_assets.reference.sources import Source


@dataclass(frozen=True)
class FileEntry:
    """A file in the inbox: its rows of records, its bytes, and the seed that spoilt it, if any."""

    source: str
    name: str
    day: date
    rows: int
    size: int
    seed: str = ""


@dataclass
class SwitchFolder:
    """The inbox folder of a source: names, numbers and writes its files."""

    folder: Path
    source: Source
    layout: SwitchFiles
    entries: list[FileEntry] = field(default_factory=list)
    rows: int = 0
    _sequence: int = 0

    def __post_init__(self) -> None:
        self._sequence = self.layout.first_sequence - 1
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def format(self) -> Format:
        """The source's format."""
        return FORMATS[self.source.preset]

    @property
    def compressed(self) -> bool:
        """Whether the source delivers gzip files."""
        return self.layout.name.endswith(".gz")

    def next_name(self, day: date) -> str:
        """Take the next number of the sequence and name a file by it."""
        self._sequence = self._sequence % self.source.sequence_wrap + 1
        return self.layout.name.format(day=f"{day:%Y%m%d}", sequence=self._sequence)

    def take_rows(self, count: int) -> int:
        """Take the next `count` record numbers of the switch; returns the first."""
        first = self.rows + 1
        self.rows += count
        return first

    def put(self, day: date, name: str, content: bytes, rows: int, seed: str = "") -> None:
        """Write a file and enter it in the list."""
        (self.folder / name).write_bytes(content)
        self.entries.append(FileEntry(self.source.source, name, day, rows, len(content), seed))


@dataclass(frozen=True)
class Batch:
    """The records of one file, complete, before they are rendered."""

    day: date
    records: pl.DataFrame


def batches(
    folder: SwitchFolder,
    layouts: Sequence[Layout],
    groups: Sequence[UsageGroup],
    *,
    seed: int,
    on_day: Callable[[int], None],
) -> Iterator[Batch]:
    """The files of a switch in order of time; `on_day` is told how many records a day brought.

    Layouts are those of the switch; `groups` are all groups, by layout index.
    """
    if not layouts:
        return
    constants = _Constants(groups)
    first = min(layout.days[0] for layout in layouts)
    last = max(layout.days[1] for layout in layouts)
    width = DAY // folder.layout.files_a_day
    waiting = RECORDS.to_frame()
    day = first
    while day <= last or not waiting.is_empty():
        made = [
            records_of_day(layout, day, seed=seed, tick_ms=folder.format.tick_ms)
            for layout in layouts
        ]
        on_day(sum(frame.height for frame in made))
        waiting = pl.concat([waiting, *made])
        midnight = (day - EPOCH).days * DAY
        closed = waiting.filter(pl.col("closed_ms") < midnight + DAY).sort(
            "closed_ms", maintain_order=True
        )
        waiting = waiting.filter(pl.col("closed_ms") >= midnight + DAY)
        for start in range(midnight, midnight + DAY, width):
            records = closed.filter(
                (pl.col("closed_ms") >= start) & (pl.col("closed_ms") < start + width)
            )
            if not records.is_empty():
                yield Batch(day, constants.complete(records, folder.take_rows(records.height)))
        day += timedelta(days=1)


class _Constants:
    """What all records of a group share, gathered by the group's number."""

    def __init__(self, groups: Sequence[UsageGroup]) -> None:
        def bare(trunk: str | None) -> str | None:
            return trunk.partition("/")[2] if trunk else None

        def status(group: UsageGroup) -> str | None:
            if group.service is not Service.VOICE:
                return group.status or None
            return "NORMAL_CLEARING" if group.answered else "NO_ANSWER"

        self.columns = {
            "key": pl.Series([group.key for group in groups], dtype=pl.String),
            "service": pl.Series([str(group.service) for group in groups], dtype=pl.String),
            "in_trunk": pl.Series([bare(g.in_trunk) for g in groups], dtype=pl.String),
            "out_trunk": pl.Series([bare(g.out_trunk) for g in groups], dtype=pl.String),
            "network": pl.Series([group.network for group in groups], dtype=pl.Int64),
            "quantity": pl.Series([group.quantity for group in groups], dtype=pl.Int64),
            "status": pl.Series([status(group) for group in groups], dtype=pl.String),
            "_a": pl.Series([group.written.a for group in groups], dtype=pl.String),
            "_b": pl.Series([group.written.b for group in groups], dtype=pl.String),
        }

    def complete(self, records: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """Records as formats take them, numbered from `first_row`."""

        def moment(name: str) -> pl.Expr:
            return pl.from_epoch(f"{name}_ms", "ms").dt.replace_time_zone("UTC").alias(name)

        number = pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int64)
        midnight = pl.col("setup_ms") // DAY
        return (
            records.with_columns(
                pl.lit(series).gather(pl.col("group")).alias(name)
                for name, series in self.columns.items()
            )
            .with_columns(
                number.alias("sequence"),
                moment("setup"),
                moment("answer"),
                moment("end"),
                (pl.col("end_ms") - pl.col("answer_ms")).fill_null(0).alias("duration_ms"),
                pl.concat_str("_a", "a").alias("a"),
                pl.concat_str("_b", "b").alias("b"),
                pl.col("b").cast(pl.String).alias("b_plain"),
            )
            .with_columns(
                # parts of one call share its id, whichever files they lie in
                pl.when(pl.col("part").is_null())
                .then(pl.col("sequence").cast(pl.String))
                .otherwise(pl.concat_str(pl.lit("long-"), midnight, pl.lit("-"), "call"))
                .alias("call")
            )
        )
