"""Defects of files: gaps, repeats, torn and foreign files, rows that are not records.

Each is planted in the first file of its source on or after its day that can bear it, and never
takes a record of the scenario away. What must catch each stands in `data/demo/defects.yaml`.
"""

import gzip
from collections.abc import Sequence

import polars as pl

from billing_assets.demo.files import Batch, SwitchFolder
from billing_assets.demo.formats import FORMATS
from billing_assets.demo.scenario import FileDefect, Seed
from billing_assets.reference.sources import Source

_BAD_ROWS = 5


class DefectPlanter:
    """Writes the batches of one source, and plants its seeds on the way."""

    def __init__(
        self, folder: SwitchFolder, seeds: Sequence[Seed], sources: Sequence[Source]
    ) -> None:
        self.folder = folder
        self.sources = {source.source: source for source in sources}
        self.waiting = [
            (seed.seed, seed.file)
            for seed in seeds
            if seed.file and seed.file.source == folder.source.source
        ]

    def write(self, batch: Batch) -> None:
        """Write one batch with the defects that are due."""
        due = [item for item in self.waiting if _can_bear(item[1], batch)]
        self.waiting = [item for item in self.waiting if item not in due]
        folder = self.folder
        if any(defect.kind == "sequence_gap" for _, defect in due):
            folder.next_name(batch.day)
        name = folder.next_name(batch.day)
        content = self._render(batch.records)
        rows = batch.records.height
        spoilt = ""
        for seed, defect in due:
            if defect.kind == "torn":
                folder.put(batch.day, _again(name, "part"), content[: len(content) // 2], 0, seed)
            elif defect.kind == "wrong_encoding":
                text = self._plain(batch.records)
                folder.put(batch.day, _again(name, "utf"), text.encode("utf-16"), 0, seed)
            elif defect.kind == "malformed_rows":
                content, spoilt = self._with_bad_rows(batch.records), seed
                rows += _BAD_ROWS
        folder.put(batch.day, name, content, rows, spoilt)
        for seed, defect in due:
            if defect.kind == "redelivered":
                folder.put(batch.day, _again(name, "again"), content, rows, seed)
            elif defect.kind == "duplicate_records":
                repeated = batch.records.filter(pl.col("key") == defect.group).head(defect.records)
                again = self._render(repeated)
                folder.put(batch.day, folder.next_name(batch.day), again, repeated.height, seed)
            elif defect.kind == "wrong_preset":
                foreign = batch.records.head(defect.records)
                other = self.sources[defect.like]
                wrong = FORMATS[other.preset].render(
                    foreign, other, compress=self.folder.compressed
                )
                folder.put(batch.day, folder.next_name(batch.day), wrong, foreign.height, seed)
            elif defect.kind == "empty":
                folder.put(batch.day, folder.next_name(batch.day), b"", 0, seed)

    def _render(self, records: pl.DataFrame) -> bytes:
        return self.folder.format.render(
            records, self.folder.source, compress=self.folder.compressed
        )

    def _plain(self, records: pl.DataFrame) -> str:
        return self.folder.format.render(records, self.folder.source, compress=False).decode()

    def _with_bad_rows(self, records: pl.DataFrame) -> bytes:
        """A canonical file with five rows that cannot be records, in its middle."""
        lines = self._plain(records).splitlines(keepends=True)
        names = lines[0].strip().split(",")
        good = dict(zip(names, lines[1].strip().split(","), strict=True))
        first = self.folder.take_rows(_BAD_ROWS)
        day = good["setup_time"][:10]
        wrong: list[dict[str, str]] = [
            {"setup_time": "", "answer_time": "", "end_time": ""},
            {"answer_time": f"{day[:4]}-02-30{good['setup_time'][10:]}"},
            {"duration_ms": "-60000", "end_time": f"{day}T00:00:00.000Z"},
            {"b_number": "35121O4711xx"},
            {},
        ]
        rows = []
        for number, cells in enumerate(wrong):
            ids = {"call_id": f"bad-{number + 1}", "record_sequence": str(first + number)}
            rows.append(",".join((good | ids | cells).values()) + "\n")
        rows[-1] = ",".join(rows[-1].split(",")[:6]) + "\n"
        middle = 1 + (len(lines) - 1) // 2
        text = "".join([*lines[:middle], *rows, *lines[middle:]])
        plain = text.encode()
        return gzip.compress(plain, mtime=0) if self.folder.compressed else plain


def _can_bear(defect: FileDefect, batch: Batch) -> bool:
    if batch.day < defect.day:
        return False
    return not defect.group or (batch.records["key"] == defect.group).any()


def _again(name: str, mark: str) -> str:
    """The name of another delivery of a file."""
    stem, dot, ending = name.partition(".")
    return f"{stem}_{mark}{dot}{ending}"
