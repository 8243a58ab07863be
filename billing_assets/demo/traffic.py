"""When the calls of a group are answered, and between which numbers: records as integers.

A group's calls are laid out over half-hours of UTC by the load curve, exactly as many as it
says; inside a half-hour time and numbers are random, and equal for an equal seed. Records of a
UTC day come out together, so memory does not grow with the length of a month.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from billing_assets.core.ids import stable_id
from billing_assets.core.periods import midnight_utc
from billing_assets.demo.scenario import DayName, LoadCurve, UsageGroup, When
from billing_assets.reference.models import DAYS, Service

HALF_HOUR = 1_800_000
DAY = 86_400_000
EPOCH = date(1970, 1, 1)

RECORDS = pl.Schema(
    {
        "group": pl.UInt32,
        "setup_ms": pl.Int64,
        "answer_ms": pl.Int64,
        "end_ms": pl.Int64,
        "closed_ms": pl.Int64,
        "a": pl.Int64,
        "b": pl.Int64,
        "call": pl.Int64,
        "part": pl.Int16,
        "last_part": pl.Boolean,
    }
)
"""Raw records: times in milliseconds UTC, numbers as digits, `closed_ms` when the record was
written to a file; `call` numbers the calls of a day that come in parts, else null."""


@dataclass(frozen=True)
class Layout:
    """How many calls of a group are answered in each half-hour, and the calls at fixed times.

    `starts` and `edges` are milliseconds UTC, ascending; `counts` goes with `starts`.
    """

    index: int
    group: UsageGroup
    starts: np.ndarray
    counts: np.ndarray
    edges: np.ndarray

    @property
    def calls(self) -> int:
        """Calls of the whole group."""
        return int(self.counts.sum()) + len(self.edges)

    @property
    def days(self) -> tuple[date, date]:
        """First and last UTC day on which a call is answered."""
        used = np.concatenate([self.starts[self.counts > 0], self.edges])
        return _day_of(int(used.min())), _day_of(int(used.max()))


def lay_out(
    index: int, group: UsageGroup, load: LoadCurve, *, scale: int = 1, divide: int = 1
) -> Layout:
    """Spread a group's calls over half-hours; `scale` multiplies their number, `divide` cuts it.

    A window keeps at least one call, and all its edges, however far it is cut. Raises
    `ValueError` when a window has no half-hour, or an edge lies in none of the group's windows.
    """
    zone = ZoneInfo(group.zone)
    edges = {at: at.replace(tzinfo=zone) for at in group.edges}
    starts: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    placed = 0
    for window in group.calls:
        inside = [at for at in edges if window.first <= at.date() <= window.last]
        placed += len(inside)
        calls = max(-(-window.calls * scale // divide), len(inside)) - len(inside)
        slots = _half_hours(group, window.first, window.last, load)
        if not slots:
            raise ValueError(f"{group.key}: no half-hour from {window.first} to {window.last}")
        weights = np.cumsum([weight for _, weight in slots])
        reached = calls * weights // weights[-1]
        starts.append(np.array([start for start, _ in slots], np.int64))
        counts.append(np.diff(reached, prepend=0))
    if placed != len(edges):
        raise ValueError(f"{group.key}: an edge lies outside the group's windows")
    moments = sorted(int(at.timestamp()) * 1000 for at in edges.values())
    return Layout(
        index, group, np.concatenate(starts), np.concatenate(counts), np.array(moments, np.int64)
    )


def records_of_day(layout: Layout, day: date, *, seed: int, tick_ms: int = 1) -> pl.DataFrame:
    """The group's records answered (or, unanswered, begun) on a UTC day, in `RECORDS`.

    `tick_ms` is the resolution of the switch's stamps: 1, or 1000 where it writes whole seconds.
    """
    group = layout.group
    low = (day - EPOCH).days * DAY
    chosen = (layout.starts >= low) & (layout.starts < low + DAY)
    edges = layout.edges[(layout.edges >= low) & (layout.edges < low + DAY)]
    slots = np.repeat(layout.starts[chosen], layout.counts[chosen])
    count = len(slots) + len(edges)
    if not count:
        return RECORDS.to_frame()
    numbers = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([seed, stable_id(group.key), low // DAY]))
    )
    spread = numbers.integers(0, HALF_HOUR // tick_ms, len(slots)) * tick_ms
    moment = np.concatenate([edges, slots + spread])
    delay = numbers.integers(800, 45_000 if not group.answered else 9_000, count)
    delay = np.maximum(delay // tick_ms, 1) * tick_ms
    calling = _numbers(group.a, count, numbers)
    called = _numbers(group.b, count, numbers)
    if group.service is not Service.VOICE:
        setup, answer = moment, moment
    elif group.answered:
        setup, answer = moment - delay, moment
    else:
        setup, answer = moment, None
    end = moment + delay if answer is None else answer + group.total_seconds * 1000
    frame = pl.DataFrame(
        {
            "group": np.full(count, layout.index, np.uint32),
            "setup_ms": setup,
            "answer_ms": answer,
            "end_ms": end,
            "closed_ms": end,
            "a": calling,
            "b": called,
            "call": None,
            "part": None,
            "last_part": None,
        },
        schema=RECORDS,
    )
    if group.parts:
        frame = _in_parts(frame, group.parts)
    if group.delivered:
        closed = int(group.delivered.replace(tzinfo=UTC).timestamp()) * 1000
        frame = frame.with_columns(pl.lit(closed, pl.Int64).alias("closed_ms"))
    return frame


def _half_hours(
    group: UsageGroup, first: date, last: date, load: LoadCurve
) -> list[tuple[int, int]]:
    """Half-hours of UTC whose local time is wanted, as (start in ms, weight)."""
    zone = ZoneInfo(group.zone)
    at, end = midnight_utc(first, group.zone), midnight_utc(last + timedelta(days=1), group.zone)
    found = []
    while at < end:
        local = at.astimezone(zone)
        weight = load.hours[local.hour] * load.days[local.weekday()]
        if weight and _wanted(group.when, local):
            found.append((int(at.timestamp()) * 1000, weight))
        at += timedelta(minutes=30)
    return found


def _wanted(when: Sequence[When], local: datetime) -> bool:
    day: DayName = DAYS[local.weekday()]
    second = local.hour * 3600 + local.minute * 60
    return any(day in one.days and one.start <= second < one.end for one in when)


def _numbers(masks: Sequence[str], count: int, random: np.random.Generator) -> np.ndarray | None:
    """One random number by record from masks such as '3519xxxxxxxx'; None without masks."""
    if not masks:
        return None
    free = np.array([mask.count("x") for mask in masks], np.int64)
    heads = np.array([int(mask.rstrip("x")) for mask in masks], np.int64)
    chosen = random.integers(0, len(masks), count)
    room = 10 ** free[chosen]
    return heads[chosen] * room + random.integers(0, room)


def _in_parts(calls: pl.DataFrame, seconds: Sequence[int]) -> pl.DataFrame:
    """Cut each call into partial records, each closed when it ends."""
    ends = np.cumsum(seconds) * 1000
    numbered = calls.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("call"))
    return pl.concat(
        [
            numbered.with_columns(
                (pl.col("answer_ms") + int(end - length * 1000)).alias("answer_ms"),
                (pl.col("answer_ms") + int(end)).alias("end_ms"),
                (pl.col("answer_ms") + int(end)).alias("closed_ms"),
                pl.lit(part, pl.Int16).alias("part"),
                pl.lit(part == len(seconds)).alias("last_part"),
            )
            for part, (length, end) in enumerate(zip(seconds, ends, strict=True), start=1)
        ]
    )


def _day_of(ms: int) -> date:
    return EPOCH + timedelta(days=ms // DAY)
