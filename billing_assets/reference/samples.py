"""Measurements of capacity: CSV files of port, instant and Mbps, as a network monitor writes them.

Files stand in samples/ of the reference folder, or wherever an agreement's `capacity` names them.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.lake.tables import UTC_TIME
from billing_assets.reference.decks import sheet_path
from billing_assets.reference.fees import Capacity
from billing_assets.reference.yamltext import Located

SAMPLES = pl.Schema({"port": pl.String, "at": UTC_TIME, "mbps": pl.Decimal(38, 10)})
"""Columns of samples: port, instant, and its level in Mbps."""

FOLDER = "samples/"
MOST_PROBLEMS = 20
"""Problems that are told of one file."""

_AT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_MBPS = r"^[0-9]{1,7}(\.[0-9]{1,10})?$"


def sample_files(agreement_file: str, pattern: str, files: Iterable[str]) -> list[str]:
    """The files that an agreement's pattern names, in order.

    `pattern` is relative to the agreement; `*` and `?` stand in the last part alone.
    """
    wanted = sheet_path(agreement_file, pattern)
    folder = PurePosixPath(wanted).parent
    return sorted(
        path
        for path in files
        if PurePosixPath(path).parent == folder
        and fnmatchcase(PurePosixPath(path).name, PurePosixPath(wanted).name)
    )


def read_samples(path: str, content: bytes) -> tuple[pl.DataFrame, list[Problem]]:
    """A file's samples in the columns of `SAMPLES`, and what is wrong by row, field and value.

    A wrong file has no samples.
    """
    nothing = pl.DataFrame(schema=SAMPLES)
    try:
        text = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        return nothing, [Problem(f"is not a CSV file: {error}", path)]
    if text.columns != SAMPLES.names():
        header = ",".join(text.columns)
        must = f"must have the columns {', '.join(SAMPLES.names())}"
        return nothing, [Problem(must, path, 1, "header", header)]
    text = text.with_columns(pl.all().str.strip_chars().fill_null(""))
    at = pl.col("at").str.replace("Z$", "+00:00").str.replace(" ", "T")
    at = at.str.replace(r"(T[0-9]{2}:[0-9]{2})([+-])", "${1}:00${2}")
    read = text.with_columns(
        pl.when(pl.col("at").str.contains(_AT))
        .then(at.str.to_datetime("%Y-%m-%dT%H:%M:%S%:z", time_unit="us", strict=False))
        .cast(UTC_TIME)
        .alias("instant"),
        pl.when(pl.col("mbps").str.contains(_MBPS))
        .then(pl.col("mbps").cast(SAMPLES["mbps"], strict=False))
        .alias("level"),
    )
    twice = pl.struct("port", "instant").is_duplicated() & pl.col("instant").is_not_null()
    wrong: list[tuple[pl.Expr, str, str]] = [
        (pl.col("port") == "", "port", "is missing"),
        (pl.col("instant").is_null(), "at", "is not a time with Z or an offset"),
        (pl.col("level").is_null(), "mbps", "is not a decimal from 0 to 9999999"),
        (twice, "at", "stands twice for its port"),
    ]
    rows = read.with_row_index("row", offset=2)
    problems = [
        Problem(said, path, int(row["row"]), field, str(row[field]))
        for condition, field, said in wrong
        for row in rows.filter(condition).head(MOST_PROBLEMS).iter_rows(named=True)
    ]
    problems.sort(key=lambda one: one.row or 0)
    if problems:
        return nothing, problems[:MOST_PROBLEMS]
    return read.select("port", at="instant", mbps="level").sort("port", "at"), []


def samples_of(
    agreement_file: str, pattern: str, samples: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """The samples of all files that a pattern names."""
    found = [samples[path] for path in sample_files(agreement_file, pattern, samples)]
    return pl.concat([pl.DataFrame(schema=SAMPLES), *found])


def unnamed_samples(
    capacity: Sequence[Capacity], located: Located, files: Iterable[str]
) -> list[Problem]:
    """A problem for each capacity of an agreement whose samples are in no file."""
    return [
        Problem(
            "names no samples file",
            located.file,
            located.line(("capacity", index, "samples")),
            f"capacity.{index}.samples",
            one.samples,
        )
        for index, one in enumerate(capacity)
        if not sample_files(located.file, one.samples, files)
    ]


def load_samples(
    files: Mapping[str, bytes], agreements: Iterable[tuple[str, Sequence[Capacity]]]
) -> tuple[dict[str, pl.DataFrame], list[Problem]]:
    """The samples by file, and every problem.

    Read are the files of the folder and those that the capacity of an agreement, given by its
    file, names; an instant of a port may stand in one file of a pattern alone.
    """
    named = {
        tuple(sample_files(file, one.samples, files))
        for file, capacity in agreements
        for one in capacity
    }
    paths = {path for path in files if path.startswith(FOLDER) and path.endswith(".csv")}
    samples: dict[str, pl.DataFrame] = {}
    problems: list[Problem] = []
    for path in sorted(paths.union(*named)):
        samples[path], wrong = read_samples(path, files[path])
        problems += wrong
    for group in sorted(named):
        for index, path in enumerate(group[1:], 1):
            before = pl.concat([samples[one] for one in group[:index]])
            both = samples[path].join(before, on=["port", "at"], how="semi")
            for port, at, _ in both.head(1).iter_rows():
                said = f"stands for port {port} in another file of the same samples too"
                problems.append(Problem(said, path, None, "at", at.isoformat()))
    return samples, list(dict.fromkeys(problems))
