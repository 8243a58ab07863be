"""The lake: Delta tables under one URI, read at a version and replaced slice by slice.

A slice is some values of a table's partition columns. Replacing one writes Parquet files with
Polars' streaming sink into the table's folder, then commits them and the removal of the slice's
former files in one metadata transaction. Files of a failed or killed write are invisible and go
with the next vacuum.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from operator import and_
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, CommitProperties, RemoveAction
from polars.io.partition import FileProviderArgs

from billing_assets.core.errors import BillingError, SliceConflict
from billing_assets.lake.tables import Table

Value = str | int | date
Slice = Mapping[str, Value | Sequence[Value]]

_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.checkpointInterval": "50",
}
_ATTEMPTS = 60


@dataclass(frozen=True)
class Lake:
    """The tables under a URI (a folder, or s3://... with `storage_options`)."""

    uri: str
    storage_options: Mapping[str, str] | None = None

    def scan(
        self, table: Table, version: int | None = None, part: Slice | None = None
    ) -> pl.LazyFrame:
        """A table's rows at a version (default: the newest), columns in contract order.

        `part` limits the files that are listed at all. A table never written is empty.
        """
        if not self.exists(table):
            return pl.LazyFrame(schema=table.schema)
        filters = _filters(table, part) if part else None
        files = self._open(table, version).file_uris(partition_filters=filters)
        if not files:
            return pl.LazyFrame(schema=table.schema)
        return pl.scan_parquet(
            files,
            schema=table.schema,
            hive_partitioning=True,
            hive_schema=pl.Schema({name: table.schema[name] for name in table.partition_by}),
            cast_options=pl.ScanCastOptions(categorical_to_string="allow"),
            storage_options=self._options,
        ).select(table.schema.names())

    def replace_slice(self, table: Table, frame: pl.DataFrame | pl.LazyFrame, part: Slice) -> int:
        """Replace a slice by the rows of a frame, in one commit; returns the new version.

        A `DataFrame` is sorted by the table's order; a `LazyFrame` is streamed as it comes, in
        flat memory. Categorical columns may stand for String (they are written many times faster).
        An empty frame empties the slice.

        Raises `SliceConflict` when another writer replaced the slice meanwhile, and
        `BillingError` when the frame has other columns or rows outside the slice.
        """
        self._create(table)
        before = self._files(table, part)
        if isinstance(frame, pl.DataFrame):
            frame = frame.sort(table.order, nulls_last=True).lazy()
        added = self._write(table, _checked(table, frame), part)
        return self._commit(table, part, before, added)

    def exists(self, table: Table) -> bool:
        """Whether a table was ever written."""
        return DeltaTable.is_deltatable(self._location(table), self._options)

    def version(self, table: Table) -> int | None:
        """The newest version of a table; None when it was never written."""
        return self._open(table).version() if self.exists(table) else None

    def pins(self, tables: Sequence[Table]) -> dict[str, int]:
        """The newest versions of some tables, by name: what a document was made from."""
        versions = {table.name: self.version(table) for table in tables}
        return {name: version for name, version in versions.items() if version is not None}

    def dataset(
        self, table: Table, version: int | None = None, part: Slice | None = None
    ) -> ds.Dataset:
        """A table for engines that read Arrow datasets; files are skipped by partition alone.

        delta-rs states a bound that a file's statistics do not have as `column >= null`: a filter
        on such a column would skip every file and lose rows in silence.
        """
        empty = pl.DataFrame(schema=table.schema).to_arrow()
        if not self.exists(table):
            return ds.dataset(empty)
        delta = self._open(table, version)
        kept = set(delta.file_uris(partition_filters=_filters(table, part) if part else None))
        whole = delta.to_pyarrow_dataset()
        root = self._location(table).rstrip("/")
        fragments = []
        for fragment in whole.get_fragments():
            if f"{root}/{fragment.path}" not in kept:
                continue
            values = ds.get_partition_keys(fragment.partition_expression)
            exact = reduce(and_, (ds.field(key) == values[key] for key in table.partition_by))
            fragments.append(
                whole.format.make_fragment(
                    fragment.path, fragment.filesystem, partition_expression=exact
                )
            )
        return ds.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)

    def vacuum(self, table: Table, keep: Sequence[int]) -> list[str]:
        """Delete files that neither the newest nor a kept version needs; returns their paths."""
        if not self.exists(table):
            return []
        return self._open(table).vacuum(
            retention_hours=0,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
            keep_versions=sorted(keep),
        )

    @property
    def _options(self) -> dict[str, str] | None:
        return dict(self.storage_options) if self.storage_options else None

    def _location(self, table: Table) -> str:
        return f"{self.uri.rstrip('/')}/{table.name}"

    def _open(self, table: Table, version: int | None = None) -> DeltaTable:
        return DeltaTable(self._location(table), version=version, storage_options=self._options)

    def _create(self, table: Table) -> None:
        """Create a table that does not exist; two who try at once both succeed."""
        if self.exists(table):
            return
        if "://" not in self.uri:
            Path(self._location(table)).mkdir(parents=True, exist_ok=True)
        try:
            DeltaTable.create(
                self._location(table),
                schema=Schema.from_arrow(pl.DataFrame(schema=table.schema).to_arrow().schema),
                mode="ignore",
                partition_by=list(table.partition_by),
                name=table.name,
                description=table.grain,
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )
        except DeltaError:
            if not self.exists(table):
                raise

    def _files(self, table: Table, part: Slice) -> frozenset[str]:
        """The data files that hold a slice now."""
        return frozenset(self._open(table).file_uris(partition_filters=_filters(table, part)))

    def _write(self, table: Table, frame: pl.LazyFrame, part: Slice) -> list[AddAction]:
        """Sink a frame into new files of the table's folder, one or more a partition."""
        keys: dict[str, dict[str, str]] = {}

        def place(args: FileProviderArgs) -> str:
            values = args.partition_keys.row(0, named=True)
            written = {name: _partition_text(values[name]) for name in table.partition_by}
            folder = "/".join(f"{name}={quote(text, safe='')}" for name, text in written.items())
            path = f"{folder}/{uuid.uuid4().hex}.parquet"
            if "://" not in self.uri:
                Path(self._location(table), folder).mkdir(parents=True, exist_ok=True)
            keys[path] = written
            return path

        frame.sink_parquet(
            pl.PartitionBy(
                self._location(table) + "/",
                key=list(table.partition_by),
                include_key=False,
                file_path_provider=place,
                approximate_bytes_per_file=None,
            ),
            compression="zstd",
            compression_level=1,
            maintain_order=True,
            storage_options=self._options,
        )
        for values in keys.values():
            _assert_inside(table, part, values)
        return [self._add_action(table, path, values) for path, values in keys.items()]

    def _add_action(self, table: Table, path: str, values: Mapping[str, str]) -> AddAction:
        handler = DeltaStorageHandler(self._location(table), self._options)
        files = pa_fs.PyFileSystem(handler)
        with files.open_input_file(path) as stream:
            metadata = pq.read_metadata(stream)
            size = stream.size()
        return AddAction(
            path=path,
            size=size,
            partition_values=dict(values),
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps(_statistics(table, metadata)),
        )

    def _commit(
        self, table: Table, part: Slice, before: frozenset[str], added: list[AddAction]
    ) -> int:
        """Swap the slice's files in one transaction.

        Writers of other slices only make the log move: the commit is tried again on its new
        end. A writer of the same slice changes its files, and then this one must not win.
        """
        for attempt in range(_ATTEMPTS):
            delta = self._open(table)
            now = frozenset(delta.file_uris(partition_filters=_filters(table, part)))
            if now != before:
                break
            if not added and not before:
                return delta.version()
            try:
                delta.create_write_transaction(
                    list[AddAction | RemoveAction](added),
                    mode="overwrite",
                    schema=delta.schema(),
                    partition_by=list(table.partition_by),
                    partition_filters=_filters(table, part),
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
                return self._open(table).version()
            except CommitFailedError:
                time.sleep(min(0.02 * (attempt + 1), 0.5))
        raise SliceConflict(
            f"another run replaced {table.name} {_slice_text(part)} at the same time",
            hint="nothing was changed by this run; run it again",
        )


def _checked(table: Table, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Hold a frame against the table's contract; raises `BillingError` naming each difference."""
    schema = frame.collect_schema()
    wrong = [
        f"{name} is {schema.get(name, 'missing')}, not {dtype}"
        for name, dtype in table.schema.items()
        if schema.get(name) != dtype
        and not (dtype == pl.String and schema.get(name) == pl.Categorical)
    ]
    wrong += [f"{name} is not a column" for name in schema if name not in table.schema]
    if wrong:
        raise BillingError(f"rows do not fit table {table.name}: {'; '.join(wrong)}")
    return frame.select(table.schema.names())


def _assert_inside(table: Table, part: Slice, values: Mapping[str, str]) -> None:
    for name, wanted in part.items():
        allowed = wanted if isinstance(wanted, list | tuple) else [wanted]
        if values[name] not in [_partition_text(one) for one in allowed]:
            raise BillingError(
                f"a row of {table.name} with {name}={values[name]} is outside the slice "
                f"{_slice_text(part)}"
            )


def _filters(table: Table, part: Slice) -> list[tuple[str, str, str | list[str]]]:
    """A slice as Delta's partition filters."""
    unknown = [name for name in part if name not in table.partition_by]
    if unknown or not part:
        raise BillingError(f"a slice of {table.name} is by {', '.join(table.partition_by)}")
    filters: list[tuple[str, str, str | list[str]]] = []
    for name, value in part.items():
        if isinstance(value, list | tuple):
            filters.append((name, "in", [_partition_text(one) for one in value]))
        else:
            filters.append((name, "=", _partition_text(value)))
    return filters


def _partition_text(value: object) -> str:
    if value is None or value == "":
        raise BillingError("a partition column may not be empty")
    return value.isoformat() if isinstance(value, date) else str(value)


def _slice_text(part: Slice) -> str:
    return ", ".join(f"{name}={value}" for name, value in part.items())


def _statistics(table: Table, metadata: pq.FileMetaData) -> dict[str, object]:
    """Row count, and bounds of the leading order columns that readers skip files by."""
    minima: dict[str, object] = {}
    maxima: dict[str, object] = {}
    nulls: dict[str, int] = {}
    columns = {metadata.schema.column(i).name: i for i in range(metadata.num_columns)}
    for name in table.order:
        if name not in columns or table.schema[name] not in (pl.Int64, pl.String, pl.Date):
            continue
        bounds = [
            metadata.row_group(group).column(columns[name]).statistics
            for group in range(metadata.num_row_groups)
        ]
        if not bounds or any(b is None or not b.has_min_max for b in bounds):
            continue
        minima[name] = _json_value(min(b.min for b in bounds))
        maxima[name] = _json_value(max(b.max for b in bounds))
        nulls[name] = sum(b.null_count or 0 for b in bounds)
    return {
        "numRecords": metadata.num_rows,
        "minValues": minima,
        "maxValues": maxima,
        "nullCount": nulls,
    }


def _json_value(value: object) -> object:
    return value.isoformat() if isinstance(value, date | datetime) else value
