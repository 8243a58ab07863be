"""Counters of switches and totals of mediation systems: what traffic there was, told apart from
its records, so that missing records show (catalogue 3.7, completeness).

A file is CSV: `day` (UTC day of the answer), `switch`, `direction` (in or out, seen from us),
`calls` (answered) and `minutes`, by `trunk` (trunk group) or by `partner`. A later file replaces
the days of its switches.
"""

import io
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.ids import sha256_of
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import SWITCH_COUNTER
from billing_assets.registry.blobs import BlobStore

COLUMNS = ("day", "switch", "trunk", "partner", "direction", "calls", "minutes")
MOST_BYTES = 50 * 1024 * 1024
"""A larger file is no list of counters."""

_NEEDED = ("day", "switch", "direction", "calls", "minutes")
_LEGS = {"in": "customer", "out": "supplier"}
_MOST_PROBLEMS = 20


@dataclass
class CountersReport:
    """What became of files of counters: names taken, UTC days they tell of, and refusals."""

    taken: list[str] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def take_counters(
    folder: Path, lake: Lake, blobs: BlobStore, quarantine: Path, partners: Collection[str]
) -> CountersReport:
    """Take in every CSV file of a folder, archived first; a refused one is kept in quarantine.

    Taking a file in again changes nothing.
    """
    report = CountersReport()
    for path in sorted(folder.glob("*.csv")):
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
        try:
            if not content:
                raise _refused(path.name, [Problem("is empty or larger than 50 MB", path.name)])
            rows = read_counters(path.name, content, partners)
        except InputError as error:
            report.problems += error.problems
            kept = quarantine / "counters" / path.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            reason = "\n".join(str(one) for one in error.problems)
            kept.with_name(f"{path.name}.reason.txt").write_text(reason + "\n")
            path.replace(kept)
            continue
        blobs.put(content)
        for (switch,), frame in rows.group_by("switch", maintain_order=True):
            days = frame["day"].unique().to_list()
            lake.replace_slice(SWITCH_COUNTER, frame, {"day": days, "switch": str(switch)})
            report.days.update(days)
        path.unlink()
        report.taken.append(path.name)
    return report


def read_counters(name: str, content: bytes, partners: Collection[str]) -> pl.DataFrame:
    """The rows of a file in the columns of `switch_counter`.

    Raises `InputError` that names every wrong cell by row, field and value.
    """
    try:
        text = pl.read_csv(io.BytesIO(content), infer_schema=False, raise_if_empty=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise _refused(name, [Problem(f"is not a CSV file: {error}", name)]) from error
    missing = [one for one in _NEEDED if one not in text.columns]
    unknown = [one for one in text.columns if one not in COLUMNS]
    if missing or unknown or not {"trunk", "partner"} & set(text.columns):
        must = f"must have the columns {', '.join(_NEEDED)} and trunk or partner, and no other"
        raise _refused(name, [Problem(must, name, 1, "header", ",".join(text.columns))])
    text = text.with_columns(
        pl.lit("").alias(one) for one in ("trunk", "partner") if one not in text.columns
    ).with_columns(pl.all().str.strip_chars().fill_null(""))
    read = text.with_row_index("row", offset=2).with_columns(
        pl.col("day").str.to_date("%Y-%m-%d", strict=False).alias("_day"),
        pl.when(pl.col("calls").str.contains(r"^[0-9]{1,12}$"))
        .then(pl.col("calls").cast(pl.Int64, strict=False))
        .alias("_calls"),
        pl.when(pl.col("minutes").str.contains(r"^[0-9]{1,12}(\.[0-9]{1,6})?$"))
        .then(pl.col("minutes").cast(pl.Decimal(38, 6), strict=False))
        .alias("_minutes"),
    )
    problems = _problems(name, read, partners)
    if problems or read.is_empty():
        raise _refused(name, problems or [Problem("holds no counter", name)])
    return read.select(
        pl.col("_day").alias("day"),
        "switch",
        pl.when(pl.col("trunk") != "")
        .then(pl.concat_str("switch", pl.lit("/"), "trunk"))
        .otherwise(pl.lit(""))
        .alias("trunk"),
        "partner",
        pl.col("direction").replace_strict(_LEGS).alias("leg"),
        pl.col("_calls").alias("calls"),
        (pl.col("_minutes") * 60_000).round(0).cast(pl.Int64).alias("duration_ms"),
        pl.lit(sha256_of(content)).alias("file"),
    ).sort(SWITCH_COUNTER.order)


def _problems(name: str, read: pl.DataFrame, partners: Collection[str]) -> list[Problem]:
    by_trunk = pl.col("trunk") != ""
    keys = ("_day", "switch", "trunk", "partner", "direction")
    wrong: list[tuple[pl.Expr, str, str]] = [
        (pl.col("_day").is_null(), "day", "is not a day such as 2026-03-10"),
        (pl.col("switch") == "", "switch", "is missing"),
        (~pl.col("direction").is_in(list(_LEGS)), "direction", "is neither in nor out"),
        (pl.col("_calls").is_null(), "calls", "is not a count of calls"),
        (pl.col("_minutes").is_null(), "minutes", "is not a decimal of minutes"),
        (
            by_trunk == (pl.col("partner") != ""),
            "trunk",
            "a row is of a trunk or of a partner, and of one of them alone",
        ),
        (
            (pl.col("partner") != "") & ~pl.col("partner").is_in(sorted(partners)),
            "partner",
            "is no partner of the reference data",
        ),
        (
            by_trunk.n_unique().over("_day", "switch") > 1,
            "trunk",
            "a switch's day is told by trunks or by partners: both would count twice",
        ),
        (pl.struct(keys).is_duplicated(), "day", "stands twice for its switch, trunk or partner"),
    ]
    problems = [
        Problem(said, name, int(row["row"]), column, str(row[column]))
        for condition, column, said in wrong
        for row in read.filter(condition).head(_MOST_PROBLEMS).iter_rows(named=True)
    ]
    return sorted(problems, key=lambda one: one.row or 0)[:_MOST_PROBLEMS]


def _refused(name: str, problems: list[Problem]) -> InputError:
    return InputError(f"{name} is refused", problems)
