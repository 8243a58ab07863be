"""Data files of a slice: Parquet written by the streaming sink, and what the log says of them."""

import base64
import json
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from urllib.parse import quote

import polars as pl
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from polars.io.partition import FileProviderArgs

from billing_assets.lake.slices import Slice, assert_inside, partition_text
from billing_assets.lake.tables import Table

_GROUP_ROWS = 64 * 1024
"""Row groups without a wanted row are not decompressed; smaller ones cost readers of all rows
more."""


@dataclass(frozen=True)
class Written:
    """What one pass over a frame gave: files for the log, rows set aside, and other results."""

    added: list[AddAction]
    aside: pl.DataFrame
    results: list[pl.DataFrame]


def write_files(
    root: str,
    table: Table,
    frame: pl.LazyFrame,
    part: Slice,
    options: dict[str, str] | None,
    *,
    aside: str | None = None,
    results: Sequence[pl.LazyFrame] = (),
) -> Written:
    """Sink a frame of the table's columns into new files under `root`, one for each partition.

    The files are invisible until a commit adds them. Rows with a value in the further column
    `aside` are no rows of the table: they are given back, which costs nothing where a second
    query for them would compute the frame again. `results` are computed in the same pass.

    Raises `BillingError` at the first row outside the slice; a write that fails takes back the
    files that it has closed. Memory is flat in rows; it grows with the partitions written at
    once, and with the rows aside.
    """
    written: dict[str, dict[str, str]] = {}
    kept_out: dict[str, dict[str, object]] = {}

    def place(args: FileProviderArgs) -> str:
        row = args.partition_keys.row(0, named=True)
        if aside and row[aside] is not None:
            path = f"{uuid.uuid4().hex}.aside.parquet"
            kept_out[path] = row
            return path
        values = {name: partition_text(row[name]) for name in table.partition_by}
        assert_inside(table, part, values)
        folders = [f"{name}={quote(text, safe='')}" for name, text in values.items()]
        path = "/".join([*folders, f"{uuid.uuid4().hex}.parquet"])
        written[path] = values
        return path

    sink = frame.sink_parquet(
        pl.PartitionBy(
            f"{root}/",
            key=[*table.partition_by, *([aside] if aside else [])],
            include_key=False,
            file_path_provider=place,
            approximate_bytes_per_file=None,
        ),
        compression=table.compression,
        compression_level=1 if table.compression == "zstd" else None,
        statistics=table.bounds,
        row_group_size=_GROUP_ROWS,
        data_page_size=table.page_bytes,
        metadata={"ARROW:schema": _arrow_schema(table)},
        mkdir=True,
        maintain_order=True,
        storage_options=options,
        lazy=True,
    )
    try:
        _, *found = pl.collect_all([sink, *results], engine="streaming")
        rest = [
            pl.scan_parquet(f"{root}/{path}", storage_options=options)
            .with_columns(pl.lit(value).alias(name) for name, value in row.items())
            .collect()
            for path, row in kept_out.items()
        ]
    except BaseException:
        remove_files(root, [*written, *kept_out], options)
        raise
    remove_files(root, kept_out, options)
    added = [_add_action(root, options, path, values) for path, values in written.items()]
    schema = frame.collect_schema()
    rows = [one.select(schema.names()).cast(schema) for one in rest]
    out = pl.concat([pl.DataFrame(schema=schema), *rows])
    return Written(added, out, found)


def _arrow_schema(table: Table) -> str:
    """What readers take the columns of a file for: words are strings, however they were written."""
    columns = {k: v for k, v in table.schema.items() if k not in table.partition_by}
    empty = pl.DataFrame(schema=columns).to_arrow()
    return base64.b64encode(empty.schema.serialize()).decode()


def remove_files(root: str, paths: Iterable[str], options: dict[str, str] | None) -> None:
    """Delete files that no commit will add; one that cannot be deleted waits for the vacuum."""
    gone = list(paths)
    if not gone:
        return
    files = _file_system(root, options)
    for path in gone:
        with suppress(OSError):
            files.delete_file(path)


def files_below(root: str, folder: str, options: dict[str, str] | None) -> list[str]:
    """The data files below a folder of a table, relative to the table; none when it is missing."""
    selector = pa_fs.FileSelector(folder, allow_not_found=True, recursive=True)
    found = _file_system(root, options).get_file_info(selector)
    return [one.path for one in found if one.type is pa_fs.FileType.File]


def _file_system(root: str, options: dict[str, str] | None) -> pa_fs.FileSystem:
    return pa_fs.PyFileSystem(DeltaStorageHandler(root, options))


def _add_action(
    root: str, options: dict[str, str] | None, path: str, values: Mapping[str, str]
) -> AddAction:
    with _file_system(root, options).open_input_file(path) as stream:
        metadata = pq.read_metadata(stream)
        size = stream.size()
    return AddAction(
        path=path,
        size=size,
        partition_values=dict(values),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=_statistics(metadata),
    )


def _statistics(metadata: pq.FileMetaData) -> str:
    """Rows, nulls and bounds of each column in Delta's JSON, from the footer alone."""
    minima: dict[str, str] = {}
    maxima: dict[str, str] = {}
    nulls: dict[str, str] = {}
    for index in range(metadata.num_columns):
        name = metadata.schema.column(index).name
        groups = list(_column_statistics(metadata, index))
        if any(group is None or not group.has_null_count for group in groups):
            continue
        stated = [group for group in groups if group is not None]
        nulls[name] = str(sum(group.null_count for group in stated))
        valued = [group for group in stated if group.num_values]
        if valued and all(group.has_min_max and _is_finite(group) for group in valued):
            minima[name] = _json(min(group.min for group in valued))
            maxima[name] = _json(max(group.max for group in valued))
    return _object(
        numRecords=str(metadata.num_rows),
        minValues=_object(**minima),
        maxValues=_object(**maxima),
        nullCount=_object(**nulls),
    )


def _column_statistics(metadata: pq.FileMetaData, index: int) -> Iterator[pq.Statistics | None]:
    for group in range(metadata.num_row_groups):
        yield metadata.row_group(group).column(index).statistics


def _is_finite(group: pq.Statistics) -> bool:
    return not isinstance(group.min, float) or math.isfinite(group.min + group.max)


def _object(**members: str) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _json(value: object) -> str:
    """A bound as JSON; a decimal keeps every digit, which `json.dumps` cannot promise."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return json.dumps(value.isoformat().replace("+00:00", "Z"))
    return json.dumps(value)
