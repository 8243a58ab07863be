"""Stamps to UTC, through the zone of their source and over its clock changes.

A stamp with `Z` or an offset is of its own zone, any other of the source's. A local time that a
zone skips is no time. One that it repeats is read as its first pass, unless the record's
duration, or the order of its stamps, proves the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.lake.tables import UTC_TIME

ISO = "iso"
"""Format name of ISO 8601 stamps: `T` or blank, fraction, `Z` or offset or none (local)."""

EPOCH = "epoch"
"""Format name of seconds since 1970."""

_SHAPES = (
    ("%Y-%m-%dT%H:%M:%S.%3fZ", 24, True),
    ("%Y-%m-%d %H:%M:%S", 19, False),
    ("%Y-%m-%dT%H:%M:%S", 19, False),
    ("%Y-%m-%dT%H:%M:%SZ", 20, True),
)
"""Usual shapes: format, length in bytes, and whether it is UTC."""

TOLERANCE_MS = 2_000
"""Stamps of whole seconds and a duration may differ by this and still agree."""


def to_utc(text: pl.Expr, zone: str, form: str = ISO) -> pl.Expr:
    """Text stamps to UTC; null where there is none or it is impossible."""
    stamp = text.str.strip_chars().replace("", None)
    if form != ISO:
        return _local(stamp.str.to_datetime(form, strict=False, time_unit="us"), zone)
    stamp = stamp.str.replace(" ", "T", literal=True)
    naive = stamp.str.strip_suffix("Z").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"
    )
    offset = stamp.str.contains(r"[+-][0-9]{2}:?[0-9]{2}$")
    with_offset = stamp.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us", time_zone="UTC"
    )
    return (
        pl.when(stamp.str.ends_with("Z"))
        .then(naive.dt.replace_time_zone("UTC"))
        .when(offset)
        .then(with_offset)
        .otherwise(_local(naive, zone))
        .cast(UTC_TIME)
    )


def _local(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")


@dataclass(frozen=True)
class Stamps:
    """A column of stamps in UTC: each at the first pass of its local time, and at the second.

    `second` is None where the two are nowhere different.
    """

    first: pl.Series
    second: pl.Series | None = None


def read_stamps(text: pl.Series, zone: str, form: str = ISO) -> Stamps:
    """Read one column of trimmed text; null where there is no stamp or it is impossible."""
    if text.null_count() == len(text):
        return Stamps(text.cast(pl.Int64).cast(UTC_TIME))
    if isinstance(text.dtype, pl.Datetime):
        return _typed(text, zone)
    if form == EPOCH:
        return Stamps(_epoch(text))
    if form != ISO:
        return _typed(text.str.to_datetime(form, strict=False, time_unit="us"), zone)
    # files write one shape in all rows: such a column is read several times faster
    for shape, length, utc in _SHAPES:
        if (text.str.len_bytes() == length).all():
            naive = text.str.to_datetime(shape, strict=False, time_unit="us", cache=False)
            if naive.null_count() == text.null_count():
                return _of_zone(naive, "UTC" if utc else zone)
    frame = text.to_frame("text")
    first = frame.select(to_utc(pl.col("text"), zone)).to_series()
    if zone == "UTC":
        return Stamps(first)
    # only stamps without Z or offset have a second pass
    local = frame.select(
        pl.when(~pl.col("text").str.contains(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})$")).then(
            pl.col("text")
            .str.replace(" ", "T", literal=True)
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
        )
    ).to_series()
    second = _of_zone(local, zone).second
    return Stamps(first, None if second is None else pl.select(pl.coalesce(second, first))[:, 0])


def _typed(stamps: pl.Series, zone: str) -> Stamps:
    """A column of stamps that are none of text: with a zone, or local."""
    micro = stamps.dt.cast_time_unit("us")
    if isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone:
        return Stamps(micro.dt.convert_time_zone("UTC"))
    return _of_zone(micro, zone)


def _epoch(text: pl.Series) -> pl.Series:
    """Seconds since 1970, with or without a fraction, in UTC."""
    stamp = pl.col("t")
    parts = stamp.str.split_exact(".", 1)
    fraction = parts.struct.field("field_1").fill_null("").str.pad_end(6, "0").str.head(6)
    micros = pl.concat_str(parts.struct.field("field_0"), fraction).cast(pl.Int64, strict=False)
    fits = stamp.str.contains(r"^[0-9]{1,11}(?:\.[0-9]{1,9})?$")
    return text.to_frame("t").select(pl.when(fits).then(micros).cast(UTC_TIME))[:, 0]


def shifted(stamps: Stamps, minutes: pl.Series) -> Stamps:
    """Stamps later by a number of minutes (Int64) of each row."""
    moved = pl.DataFrame({"at": stamps.first, "by": minutes}).select(
        pl.col("at") + pl.duration(minutes="by")
    )
    return Stamps(moved.to_series())


def _of_zone(naive: pl.Series, zone: str) -> Stamps:
    if zone == "UTC":
        return Stamps(naive.dt.replace_time_zone("UTC"))
    offset = _only_offset(naive, zone)
    if offset is not None:
        return Stamps((naive - offset).dt.replace_time_zone("UTC"))
    first, second = (
        naive.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.convert_time_zone(
            "UTC"
        )
        for which in ("earliest", "latest")
    )
    return Stamps(first, None if (first == second).all() else second)


def _only_offset(naive: pl.Series, zone: str) -> timedelta | None:
    """The zone's offset at all of the local times; None where it changes among or near them."""
    # some years that a column may have are none of a Python datetime
    if not naive.dt.year().is_between(1901, 2999).all():
        return None
    first, last = naive.min(), naive.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    if last - first > _MOST_SPAN:
        return None
    step, at = timedelta(hours=12), first - timedelta(days=1)
    place, offsets = ZoneInfo(zone), set()
    while at <= last + timedelta(days=1):
        offsets.add(at.replace(tzinfo=place).utcoffset())
        at += step
    return offsets.pop() if len(offsets) == 1 else None


_MOST_SPAN = timedelta(days=100)


def settle(
    setup: Stamps, answer: Stamps, end: Stamps, duration_ms: pl.Series
) -> Mapping[str, pl.Series]:
    """Choose the pass of each stamp: columns setup_time, answer_time and end_time in UTC.

    Of the four ways to read answer and end, the first counts that agrees with the reported
    duration (any does without one) and in which setup, answer and end are in order; else the
    first that agrees, else the first in order. The setup is at its second pass where that is
    still not after the answer.
    """
    stamps = {"setup": setup, "answer": answer, "end": end}
    if all(one.second is None for one in stamps.values()):
        return {f"{name}_time": one.first for name, one in stamps.items()}
    frame = pl.DataFrame(
        {
            **{f"{name}_1": one.first for name, one in stamps.items()},
            **{
                f"{name}_2": one.first if one.second is None else one.second
                for name, one in stamps.items()
            },
            "duration": duration_ms,
        }
    )

    def agrees(answer: str, end: str) -> pl.Expr:
        elapsed = (pl.col(end) - pl.col(answer)).dt.total_milliseconds()
        return ((elapsed - pl.col("duration")).abs() <= TOLERANCE_MS).fill_null(True)

    def ordered(answer: str, end: str) -> pl.Expr:
        begin = pl.coalesce(answer, "setup_1")
        rings = (begin - pl.col("setup_1")).dt.total_milliseconds()
        kept = (rings >= -TOLERANCE_MS, begin <= pl.col(end))
        return pl.all_horizontal(one.fill_null(True) for one in kept)

    ways = [(a, e) for a in ("answer_1", "answer_2") for e in ("end_1", "end_2")]
    fitting = [
        *((agrees(*way) & ordered(*way), way) for way in ways),
        *((agrees(*way), way) for way in ways),
        *((ordered(*way), way) for way in ways),
    ]
    begin, finish = pl.col("answer_1"), pl.col("end_1")
    for fits, (answered, ended) in reversed(fitting):
        begin = pl.when(fits).then(answered).otherwise(begin)
        finish = pl.when(fits).then(ended).otherwise(finish)
    settled = frame.with_columns(begin.alias("answer_time"), finish.alias("end_time")).with_columns(
        pl.when(pl.col("answer_time").is_not_null() & (pl.col("setup_2") <= pl.col("answer_time")))
        .then("setup_2")
        .otherwise("setup_1")
        .alias("setup_time")
    )
    return {name: settled[name] for name in ("setup_time", "answer_time", "end_time")}
