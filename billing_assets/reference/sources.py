"""Where mediation files come from, and how they are read: entries of sources.yaml."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from billing_assets.reference.forms import Form, Identifier
from billing_assets.reference.models import Service
from billing_assets.reference.values import WHOLE, Trunk, Zone

CountryCode = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}$")]
"""A country code of E.164, as digits."""


class FrameLine(Form):
    """A first or last line of a file that is no record: how it begins, and what it declares.

    `records` and `seconds` are the columns (from 1) that state the number of records and the sum
    of their durations.
    """

    begins: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    records: Annotated[int, Field(ge=1), WHOLE] | None = None
    seconds: Annotated[int, Field(ge=1), WHOLE] | None = None


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no expression: {error}") from error


class FieldRule(Form):
    """How a canonical field is made: of a column, by a pattern's first group, through a table.

    `constant` stands alone, for what the file does not say. A value that is not in `values` stays
    as it is.
    """

    column: str = ""
    pattern: str = ""
    values: dict[str, str] = Field(default_factory=dict)
    constant: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "FieldRule":
        if bool(self.column) == (self.constant is not None):
            raise ValueError("a field is made of a column or is a constant")
        if self.pattern and _expression(self.pattern).groups < 1:
            raise ValueError(f"the pattern {self.pattern!r} has no group (...) to take")
        return self


def _of_column(value: object) -> object:
    """A column's name alone is a rule too."""
    return {"column": value} if isinstance(value, str) else value


class RowRule(Form):
    """Rows in which a column has one of some values, or matches a pattern (of the whole value)."""

    column: str
    values: tuple[str, ...] = ()
    pattern: str = ""

    @model_validator(mode="after")
    def _one_test(self) -> "RowRule":
        if bool(self.values) == bool(self.pattern):
            raise ValueError("rows are told by values or by a pattern")
        _expression(self.pattern)
        return self


class Mapping(Form):
    """A custom preset: the columns of a file, and the canonical fields that are made of them.

    Without `columns` the first line names them. `fields` maps canonical fields (as in canonical
    CSV) to columns or rules; those with names of their own need no entry. `stamps` is 'iso',
    'epoch' (seconds since 1970, with or without a fraction) or a format such as
    '%d.%m.%Y %H:%M:%S'; `unit` is what durations are counted in. Rows that a rule of `only` does
    not fit are passed over; `answered` are rows whose call was answered (default: those with an
    answer time).
    """

    columns: tuple[str, ...] | None = None
    separator: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    quoted: bool = True
    further_columns: bool = False
    service: Service | None = None
    stamps: str = "iso"
    unit: Literal["ms", "10ms", "s"] = "ms"
    fields: dict[str, Annotated[FieldRule, BeforeValidator(_of_column)]] = Field(
        default_factory=dict
    )
    only: tuple[RowRule, ...] = ()
    answered: RowRule | None = None


class Source(Form):
    """Where mediation files come from, and how their rows are read.

    Files of a source lie in the inbox folder of its name. `pattern` is a regular expression of
    the file name with a named group `sequence`; sequences run from 1 to `sequence_wrap`. Local
    stamps are in `zone`; national numbers belong to `country_code`, or to their trunk's country
    by `countries`; `prefixes` are technical prefixes of called numbers, stripped by trunk
    ('switch/trunk group').
    `options` are the preset's own; the preset `mapping` has its `mapping` instead.

    A `header` and a `trailer` are lines around the records, whose counts must be right. A file
    beside which a checksum lies (its name with .md5 or .sha256 added) must have it; with
    `checksum`, a file waits until that one is there.
    """

    source: Identifier
    preset: Identifier
    switch: Identifier
    zone: Zone = "UTC"
    pattern: str = r".*?(?P<sequence>[0-9]+)\.[a-z.]+$"
    sequence_wrap: Annotated[int, Field(ge=1), WHOLE] = 999_999
    country_code: CountryCode | None = None
    countries: dict[Trunk, CountryCode] = Field(default_factory=dict)
    prefixes: dict[Trunk, str] = Field(default_factory=dict)
    header: FrameLine | None = None
    trailer: FrameLine | None = None
    checksum: Literal["md5", "sha256"] | None = None
    mapping: Mapping | None = None
    options: dict[str, str | int | bool | list[str]] = Field(default_factory=dict)
