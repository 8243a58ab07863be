"""What a preset is: how files of one kind are cut, and how their columns become canonical ones.

A preset names the file's columns and maps them, as expressions over text, to the canonical ones.
All stay text: `parse` reads stamps in the preset's format, and numbers by the source's rules.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.intake.times import ISO
from billing_assets.reference.sources import Source

CANONICAL = (
    "service",
    "in_trunk",
    "out_trunk",
    "setup_time",
    "answer_time",
    "end_time",
    "duration_ms",
    "a_number",
    "b_number",
    "routing_number",
    "serving_network",
    "quantity",
    "event_type",
    "status",
    "call_id",
    "record_sequence",
    "part",
    "last_part",
)


@dataclass(frozen=True)
class Preset:
    """How files of one kind are cut and mapped.

    `columns` are the file's in order; None: the file names them itself (a header, or the names of
    JSON objects), canonical ones where `named` is not given. `canonical` maps canonical names to
    expressions over them. `kind` is the row's type: rows that `foreign` tells are no
    records of this kind at all (rejected), those that `passed_over` tells are records but not to
    be billed (filtered); `closing` rows end a call that another row begins, and have no parties
    of their own. `stamps` is the time format; `minutes_west` a column of minutes west of GMT
    that stands for the source's zone. `unit_ms`: what durations count. `answer_after`: the time
    from setup to answer in the same unit, where a file has no answer time. `quoted`: fields may
    stand in quotes. `fewest`: columns that a line must have, where that is not all of them and
    newer releases may append more. `nulls` are words for an empty cell. `redact` takes out of a
    file's bytes what must not be kept.
    """

    columns: tuple[str, ...] | None
    separator: str = ","
    named: tuple[str, ...] | None = None
    canonical: Mapping[str, pl.Expr] = field(default_factory=dict)
    kind: pl.Expr = pl.col("type")  # noqa: RUF009 - an expression is never changed
    foreign: pl.Expr | None = None
    passed_over: pl.Expr | None = None
    closing: pl.Expr | None = None
    stamps: str = ISO
    minutes_west: str | None = None
    unit_ms: int = 1
    answer_after: pl.Expr | None = None
    quoted: bool = True
    fewest: int | None = None
    objects: bool = False
    parquet: bool = False
    nulls: tuple[str, ...] = ()
    redact: Callable[[bytes], bytes] | None = None

    @property
    def used(self) -> set[str]:
        """The file's columns that something is made from."""
        made = [
            *self.canonical.values(),
            self.foreign,
            self.passed_over,
            self.closing,
            self.answer_after,
        ]
        if self.foreign is not None:
            made.append(self.kind)
        names = {name for one in made if one is not None for name in one.meta.root_names()}
        return names | ({self.minutes_west} if self.minutes_west else set())


def names_of(source: Source, option: str) -> tuple[str, ...]:
    """An option that is a list of names; raises `BillingError` when it is not one."""
    names = source.options.get(option, [])
    if not isinstance(names, list) or not all(re.fullmatch(r"\w+", name) for name in names):
        raise BillingError(f"source {source.source}: {option} is not a list of names")
    return tuple(names)


def chosen(source: Source, columns: Collection[str], *names: str) -> dict[str, pl.Expr]:
    """Options that say in which of a site's columns a canonical field stands."""
    found: dict[str, pl.Expr] = {}
    for name in names:
        column = source.options.get(name)
        if column is None:
            continue
        if column not in columns:
            raise BillingError(
                f"source {source.source}: {name} names the column {column!r}",
                hint=f"its columns are {', '.join(columns)}",
            )
        found[name] = pl.col(str(column))
    return found


def own_names(extra: Collection[str]) -> dict[str, pl.Expr]:
    """A site's further columns that have canonical names: they are those fields."""
    return {name: pl.col(name) for name in extra if name in (*CANONICAL, "switch")}


def required(source: Source, made: Mapping[str, pl.Expr], *fields: str) -> None:
    """Raise `BillingError` when a site's columns lack a field that the preset cannot know."""
    for name in fields:
        if name not in made:
            raise BillingError(
                f"source {source.source}: no column is the {name}",
                hint=f"name it by the option {name}, or among extra_columns",
            )


def seconds_later(text: pl.Expr) -> pl.Expr:
    """Text of whole seconds, empty where it is no number."""
    return pl.when(text.str.contains(r"^[0-9]+$")).then(text)
