"""The lake: Delta tables under one URI, read at a version and replaced slice by slice.

A slice is some values of a table's partition columns. Replacing one writes Parquet files with
Polars' streaming sink into the table's folder, then commits them and the removal of the slice's
former files in one metadata transaction. A refused write takes its files back; what it and a
killed one leave behind is invisible and goes with the next vacuum.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from operator import and_

import polars as pl
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction

from billing_assets.core.errors import BillingError, NotFound, SliceConflict
from billing_assets.lake.files import files_below, remove_files, write_files
from billing_assets.lake.order import in_order
from billing_assets.lake.schemas import conform
from billing_assets.lake.slices import Slice, partition_filters, slice_text
from billing_assets.lake.tables import Table

_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.checkpointInterval": "50",
}
_NO_BOUNDS = {"delta.dataSkippingNumIndexedCols": "0"}
"""What tells readers of the log not to skip files by bounds: to one that was not told, a bound that
is missing is null, and the file is skipped in silence."""
_ONCE = CommitProperties(max_commit_retries=0)
"""Commit the version after the one that was read, or nothing: what may be tried again we decide."""
_ATTEMPTS = 60
_ORPHAN_HOURS = 48
"""Files without a commit may be those of a write that still runs; none runs this long."""


@dataclass(frozen=True)
class Lake:
    """The tables under a URI (a folder, or s3://... with `storage_options`)."""

    uri: str
    storage_options: Mapping[str, str] | None = None
    _idle: dict[str, list[DeltaTable]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def scan(
        self, table: Table, version: int | None = None, part: Slice | None = None
    ) -> pl.LazyFrame:
        """A table's rows at a version (default: the newest), columns in contract order.

        `part` limits the files that are listed at all. A table never written is empty. Raises
        `NotFound` for a version that does not exist.
        """
        with self._opened(table, version) as delta:
            files = sorted(_files(delta, table, part)) if delta else []
        return self._scan(table, files)

    def blocks(self, table: Table, part: Slice, rows: int) -> list[pl.LazyFrame]:
        """A slice's rows as scans of whole files: as few as hold at most so many rows each, where
        no file has more. All are of one version, and at least one, which may be empty."""
        with self._opened(table) as delta:
            files = sorted(_files(delta, table, part)) if delta else []
            counts = _row_counts(delta) if delta and files else {}
        blocks: list[list[str]] = [[]]
        held = 0
        for file in files:
            count = counts[file.rsplit("/", 1)[-1]]
            if blocks[-1] and held + count > rows:
                blocks.append([])
                held = 0
            blocks[-1].append(file)
            held += count
        return [self._scan(table, block) for block in blocks]

    def _scan(self, table: Table, files: Sequence[str]) -> pl.LazyFrame:
        """Rows of some files of a table, by their paths below it."""
        if not files:
            return pl.LazyFrame(schema=table.schema)
        root = self._location(table)
        # the lake may lie below a folder that looks like a partition too
        above = {step.split("=")[0]: pl.String() for step in root.split("/") if "=" in step}
        return pl.scan_parquet(
            [f"{root}/{file}" for file in files],
            glob=False,
            schema=table.schema,
            hive_partitioning=True,
            hive_schema={**above, **{name: table.schema[name] for name in table.partition_by}},
            cast_options=pl.ScanCastOptions(categorical_to_string="allow"),
            # files of before a column was added have none of it: it is null there
            missing_columns="insert",
            storage_options=self._options,
        ).select(table.schema.names())

    def replace_slice(self, table: Table, frame: pl.DataFrame | pl.LazyFrame, part: Slice) -> int:
        """Replace a slice by the rows of a frame, in one commit; returns the table's new version.

        A `DataFrame` is sorted by the table's order; a `LazyFrame` is streamed as it comes, in
        flat memory. Categorical and Enum columns may stand for String and are written faster. An
        empty frame empties the slice.

        Raises `SliceConflict` when another writer replaced the slice meanwhile, and
        `BillingError` when the frame has other columns or rows outside the slice; the table is
        then as it was.
        """
        with self.replacing(table, part) as new:
            new.write(frame)
        return new.version

    @contextmanager
    def replacing(self, table: Table, part: Slice, read: int | None = None) -> Iterator["NewSlice"]:
        """Replace a slice by all that is written inside the context, in one commit at its end.

        `read` is the version that the new rows were made from (default: the newest one now): a
        slice that was replaced since then is a conflict. Raises as `replace_slice` does. When
        anything is raised the table stays as it was.
        """
        partition_filters(table, part)  # refuses what is no slice before anything is written
        with self._opened(table) as newest:
            before = self._before(table, part, newest, read)
            new = NewSlice(table, part, self._location(table), self._options)
            try:
                yield new
            except BaseException:
                new.discard()
                raise
            try:
                new.version = self._commit(table, part, before, new.added, newest)
            except SliceConflict:
                new.discard()
                raise

    def _before(
        self, table: Table, part: Slice, newest: DeltaTable | None, read: int | None
    ) -> frozenset[str]:
        """The files of a slice as its replacement's rows were made from it."""
        if newest is None:
            return frozenset()
        self._created(table, newest)
        if read is None or read == newest.version():
            return _files(newest, table, part)
        with self._opened(table, read) as delta:
            return _files(delta, table, part) if delta else frozenset()

    def exists(self, table: Table) -> bool:
        """Whether a table was ever written."""
        return self.version(table) is not None

    def days(self, table: Table) -> list[date]:
        """The days of which a table that is partitioned by day has rows, in order."""
        with self._opened(table) as delta:
            found = delta.partitions() if delta else []
        return sorted({date.fromisoformat(str(values["day"])) for values in found})

    def version(self, table: Table) -> int | None:
        """The newest version of a table; None when it was never written."""
        with self._opened(table) as delta:
            return None if delta is None else delta.version()

    def pins(self, tables: Sequence[Table]) -> dict[str, int]:
        """The newest versions of some tables, by name: what a document was made from."""
        versions = {table.name: self.version(table) for table in tables}
        return {name: version for name, version in versions.items() if version is not None}

    def dataset(
        self, table: Table, version: int | None = None, part: Slice | None = None
    ) -> ds.Dataset:
        """A table for engines that read Arrow datasets; raises `NotFound` as `scan` does.

        Filters skip files by partition, and row groups of the rest by their footers. delta-rs's
        own dataset also skips by the log's bounds, but states a bound that the log lacks as
        `column >= null`: a filter on such a column loses its files in silence.
        """
        delta = self._open(table, version)
        if delta is None:
            return ds.dataset(pl.DataFrame(schema=table.schema).to_arrow())
        whole = delta.to_pyarrow_dataset(
            file_pruning_predicate=partition_filters(table, part) if part else None,
            # delta-rs's own reader of local files can abort a process that ends soon after it
            filesystem=None
            if "://" in self.uri
            else pa_fs.SubTreeFileSystem(self._location(table), pa_fs.LocalFileSystem()),
        )
        fragments = []
        for fragment in whole.get_fragments():
            values = ds.get_partition_keys(fragment.partition_expression)
            exact = reduce(and_, (ds.field(key) == values[key] for key in table.partition_by))
            fragments.append(
                whole.format.make_fragment(
                    fragment.path, fragment.filesystem, partition_expression=exact
                )
            )
        return ds.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)

    def vacuum(
        self, table: Table, keep: Sequence[int], older_than_hours: int = _ORPHAN_HOURS
    ) -> list[str]:
        """Delete old files that neither the newest nor a kept version needs; returns their paths.

        Versions that are not kept can no longer be read where they used these files.
        """
        delta = self._open(table)
        if delta is None:
            return []
        return delta.vacuum(
            retention_hours=older_than_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
            keep_versions=sorted(keep),
        )

    def erase_history(self, table: Table, part: Slice) -> int:
        """Delete the files that only earlier versions of a slice have; returns how many.

        Those versions can no longer be read there. For what must not be kept any longer.
        """
        delta = self._open(table)
        if delta is None:
            return 0
        filters = partition_filters(table, part)
        name, _, value = filters[0]
        current = _files(delta, table, part)
        found = files_below(self._location(table), f"{name}={value}", self._options)
        gone = [path for path in found if path not in current]
        remove_files(self._location(table), gone, self._options)
        return len(gone)

    @property
    def _options(self) -> dict[str, str] | None:
        return dict(self.storage_options) if self.storage_options else None

    def _location(self, table: Table) -> str:
        return f"{self.uri.rstrip('/')}/{table.name}"

    @contextmanager
    def _opened(self, table: Table, version: int | None = None) -> Iterator[DeltaTable | None]:
        """The table as `_open` gives it, for the context's use alone.

        Reading a table's log costs more the longer it is, so one that was read is kept: only what
        was committed since is read of it. Nobody shares one, since its version moves; one of a
        context that raised is let go. Whoever deletes a table's folder ends its processes first.
        """
        idle = self._idle.setdefault(table.name, [])
        kept: DeltaTable | None = None
        with suppress(IndexError):
            kept = idle.pop()
        if kept is not None and (version is None or kept.version() < version):
            kept.update_incremental()
        delta = kept
        if kept is None or version not in (None, kept.version()):
            delta = self._open(table, version)
        yield delta
        if (kept := kept or delta) is not None:
            idle.append(kept)

    def _open(self, table: Table, version: int | None = None) -> DeltaTable | None:
        """The Delta table at a version (default: the newest); None when it was never written."""
        try:
            return DeltaTable(self._location(table), version, self._options)
        except TableNotFoundError:
            if version is None:
                return None
            raise NotFound(f"{table.name} was never written") from None
        except DeltaError as error:
            if version is None:
                raise
            raise NotFound(f"{table.name} has no version {version}") from error

    def _created(self, table: Table, newest: DeltaTable | None = None) -> DeltaTable:
        """The newest version of a table, created if need be; two who try at once both succeed.

        `newest` is the table if it was just read: opening it costs the more the longer its log.
        Columns and settings that the contract has gained since it was created are added to it.

        Raises `BillingError` when the table has columns that its contract has not, or others.
        """
        schema = Schema.from_arrow(pl.DataFrame(schema=table.schema).to_arrow().schema)
        delta = newest or self._open(table)
        if delta is not None:
            return self._grown(table, delta, schema)
        try:
            return DeltaTable.create(
                self._location(table),
                schema=schema,
                mode="ignore",
                partition_by=list(table.partition_by),
                name=table.name,
                description=table.grain,
                configuration=_CONFIGURATION | _settings(table),
                storage_options=self._options,
                commit_properties=_ONCE,
            )
        except DeltaError:
            delta = self._open(table)
            if delta is None:
                raise
            return delta

    def _grown(self, table: Table, delta: DeltaTable, schema: Schema) -> DeltaTable:
        """A table with the columns and settings that its contract has gained."""
        found, wanted = ({f.name: f for f in one.fields} for one in (delta.schema(), schema))
        if any(wanted.get(name) != field for name, field in found.items()):
            raise BillingError(
                f"table {table.name} in the lake has other columns than its contract: "
                f"{_difference(delta.schema(), schema)}",
                hint="it was written by another version of this program: migrate it first",
            )
        gained = [field for name, field in wanted.items() if name not in found]
        settings = dict(_settings(table).items() - delta.metadata().configuration.items())
        if not gained and not settings:
            return delta
        try:
            if gained:
                delta.alter.add_columns(gained)
            if settings:
                delta.alter.set_table_properties(settings)
        except DeltaError:  # another writer did it meanwhile, or nobody can
            if (newest := self._open(table)) is None or newest.version() == delta.version():
                raise
            return self._grown(table, newest, schema)
        return self._open(table) or delta

    def _commit(
        self,
        table: Table,
        part: Slice,
        before: frozenset[str],
        added: list[AddAction],
        known: DeltaTable | None,
    ) -> int:
        """Swap the slice's files in one transaction; returns its version.

        Writers of other slices only make the log move: the commit is tried again on its new
        end. A writer of the same slice changes its files, and then this one must not win. `known`
        is the table as it was before the files were written: only what came since is read.
        """
        for attempt in range(_ATTEMPTS):
            if known is not None and attempt == 0:
                known.update_incremental()
                delta = known
            else:
                delta = self._created(table)
            if _files(delta, table, part) != before:
                raise SliceConflict(
                    f"another run replaced {table.name} {slice_text(part)} at the same time",
                    hint="nothing was changed by this run; run it again",
                )
            if not added and not before:
                return delta.version()
            try:
                delta.create_write_transaction(
                    list[AddAction | RemoveAction](added),
                    mode="overwrite",
                    schema=delta.schema(),
                    partition_by=list(table.partition_by),
                    partition_filters=partition_filters(table, part),
                    commit_properties=_ONCE,
                )
                return delta.version() + 1
            except CommitFailedError:
                time.sleep(random.uniform(0, min(0.02 * (attempt + 1), 0.5)))
        raise SliceConflict(
            f"{table.name} was busy: {_ATTEMPTS} times another run wrote another slice first",
            hint="nothing was changed by this run; run it again",
        )


@dataclass
class NewSlice:
    """The files that will take a slice's place, and the table's version once they have."""

    table: Table
    part: Slice
    root: str
    options: dict[str, str] | None
    added: list[AddAction] = field(default_factory=list)
    version: int = -1

    def write(
        self,
        frame: pl.DataFrame | pl.LazyFrame,
        *,
        aside: str | None = None,
        results: Sequence[pl.LazyFrame] = (),
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """Add rows to the slice: a `DataFrame` sorted, a `LazyFrame` streamed as it comes.

        Returns the rows with a value in column `aside`, which are not added, and the `results`,
        which share the pass.
        """
        rows = conform(self.table, frame.lazy(), keep=[aside] if aside else [])
        if isinstance(frame, pl.DataFrame):
            order = self.table.order or self.table.partition_by
            rows = in_order(rows.collect(), order).lazy()
        written = write_files(
            self.root, self.table, rows, self.part, self.options, aside=aside, results=results
        )
        self.added += written.added
        return written.aside, written.results

    def discard(self) -> None:
        """Delete the files that no commit will add."""
        remove_files(self.root, (action.path for action in self.added), self.options)


def _settings(table: Table) -> dict[str, str]:
    """What a table's log says of it beyond what all tables have in common."""
    return {} if table.bounds else _NO_BOUNDS


def _files(delta: DeltaTable, table: Table, part: Slice | None) -> frozenset[str]:
    """The data files of a slice, or of all, relative to the table."""
    filters = partition_filters(table, part) if part else None
    uris = delta.file_uris(file_pruning_predicate=filters)
    # the table's own part of these URIs is URL-encoded, which no reader of local files expects
    return frozenset("/".join(uri.split("/")[-len(table.partition_by) - 1 :]) for uri in uris)


def _row_counts(delta: DeltaTable) -> dict[str, int]:
    """Rows of each data file by its name, which no other file of any table has."""
    actions = pl.DataFrame(delta.get_add_actions(flatten=True))
    names = actions["path"].str.split("/").list.last()
    return dict(zip(names, actions["num_records"], strict=True))


def _difference(found: Schema, wanted: Schema) -> str:
    """The columns that two schemas do not share, as `name type`; their order, when that is all."""
    columns = [[f"{field.name} {field.type.type}" for field in s.fields] for s in (found, wanted)]
    return ", ".join(sorted(set(columns[0]) ^ set(columns[1]))) or "their order"
