"""Where mediation files come from, and how they are read: entries of sources.yaml."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from billing_assets.reference.models import Form, Identifier, Trunk, Zone

CountryCode = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}$")]
"""A country code of E.164, as digits."""


class FrameLine(Form):
    """A first or last line of a file that is no record: how it begins, and what it declares.

    `records` and `seconds` are the columns (from 1) that state the number of records and the sum
    of their durations.
    """

    begins: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    records: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[int, Field(ge=1)] | None = None


class Source(Form):
    """Where mediation files come from, and how their rows are read.

    Files of a source lie in the inbox folder of its name. `pattern` is a regular expression of
    the file name with a named group `sequence`; sequences run from 1 to `sequence_wrap`. Local
    stamps are in `zone`; national numbers belong to `country_code`, or to their trunk's country
    by `countries`; `prefixes` are technical prefixes stripped by trunk ('switch/trunk group').
    `options` are the preset's own.

    A `header` and a `trailer` are lines around the records, whose counts must be right. A file
    beside which a checksum lies (its name with .md5 or .sha256 added) must have it; with
    `checksum`, a file waits until that one is there.
    """

    source: Identifier
    preset: Identifier
    switch: Identifier
    zone: Zone = "UTC"
    pattern: str = r".*?(?P<sequence>[0-9]+)\.[a-z.]+$"
    sequence_wrap: Annotated[int, Field(ge=1)] = 999_999
    country_code: CountryCode | None = None
    countries: dict[Trunk, CountryCode] = Field(default_factory=dict)
    prefixes: dict[Trunk, str] = Field(default_factory=dict)
    header: FrameLine | None = None
    trailer: FrameLine | None = None
    checksum: Literal["md5", "sha256"] | None = None
    options: dict[str, str | int | bool | list[str]] = Field(default_factory=dict)
