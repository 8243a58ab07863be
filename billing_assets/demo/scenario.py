"""The scenario as data: who calls whom, when and how often, and what billing must arrive at.

Each class is one mapping of a YAML file in `data/demo/`. Times without an offset are local to
the partner's zone. Nothing here makes a record or a file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.models import Carrier, Clock, Partner, Service
from billing_assets.reference.sources import Source
from billing_assets.reference.values import CurrencyCode, DecimalText, Trunk, Zone
from billing_assets.reference.yamltext import Located

DEMO_DATA = PROJECT_ROOT / "data" / "demo"
"""The scenario's folder in the checkout."""

DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
NumberMask = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,16}x{0,12}$")]

T = TypeVar("T")


class Model(StrEnum):
    """Commercial models and functions that a figure needs before billing can arrive at it."""

    USAGE = "usage"
    BANDS = "bands"
    ORIGINS = "origins"
    FEES = "fees"
    RECURRING = "recurring"
    ONE_TIME = "one_time"
    SMS = "sms"
    DATA = "data"
    REVERSE = "reverse"
    LATE = "late"
    PARTIALS = "partials"
    TIER = "tier"
    REBATE = "rebate"
    COMMITMENT = "commitment"
    PAY_OR_PLAY = "pay_or_play"
    SWAP = "swap"
    BILL_AND_KEEP = "bill_and_keep"
    CAPACITY = "capacity"
    SHARE = "share"
    TAX = "tax"
    WITHHOLDING = "withholding"
    NETTING = "netting"
    DISPUTE = "dispute"
    FX = "fx"


class CallWindow(Form):
    """How many calls are answered from local day `first` to `last`, both included."""

    first: date
    last: date
    calls: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "CallWindow":
        if self.last < self.first:
            raise ValueError("last is before first")
        return self


class When(Form):
    """Local weekdays and hours in which calls are answered, in whole half-hours."""

    days: tuple[DayName, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    start: Clock = Field(default=0, alias="from")
    end: Clock = Field(default=86400, alias="to")

    @model_validator(mode="after")
    def _half_hours(self) -> "When":
        if self.start % 1800 or self.end % 1800 or self.end <= self.start:
            raise ValueError("from and to are whole half-hours, and to is after from")
        return self


class Written(Form):
    """What stands before a number in the file: '+', '00' or a technical prefix."""

    a: str = ""
    b: str = ""


class UsageGroup(Form):
    """Equal records: so many calls of so many seconds (or messages, or sessions) on one route.

    `a` and `b` are masks in which each x becomes a digit; without masks the record has no such
    number. `quantity` is segments of a message or bytes of a session. `edges` are local answer
    times of some of the calls, exact to the second. `parts` are the seconds of a long call's
    partial records, in place of `seconds`. `delivered` is the UTC time at which the file that
    holds the records was closed, when that is not the end of the record. `destination` is how
    the agreement's deck calls the route; empty where it has none.
    """

    group: Identifier
    partner: str = ""
    zone: Zone = "UTC"
    service: Service = Service.VOICE
    destination: str
    in_trunk: Trunk | None = Field(default=None, alias="in")
    out_trunk: Trunk | None = Field(default=None, alias="out")
    answered: bool = True
    seconds: Annotated[int, Field(ge=0, le=86400)] = 0
    parts: tuple[Annotated[int, Field(ge=1, le=86400)], ...] = ()
    quantity: Annotated[int, Field(ge=1)] | None = None
    network: Annotated[int, Field(ge=10000, le=999999)] | None = None
    status: str = ""
    calls: Annotated[tuple[CallWindow, ...], Field(min_length=1)]
    when: Annotated[tuple[When, ...], Field(min_length=1)] = (When(),)
    edges: tuple[datetime, ...] = ()
    delivered: datetime | None = None
    a: tuple[NumberMask, ...]
    b: tuple[NumberMask, ...]
    written: Written = Written()

    @property
    def key(self) -> str:
        """'partner/group', unique in the scenario; without a partner the group alone."""
        return f"{self.partner}/{self.group}" if self.partner else self.group

    @property
    def total(self) -> int:
        """Calls of all windows."""
        return sum(window.calls for window in self.calls)

    @property
    def total_seconds(self) -> int:
        """Seconds of one call, whole or in parts."""
        return sum(self.parts) or self.seconds

    @model_validator(mode="after")
    def _has_a_switch(self) -> "UsageGroup":
        if not self.in_trunk and not self.out_trunk:
            raise ValueError("a group needs a trunk in or out")
        if len({t.partition("/")[0] for t in (self.in_trunk, self.out_trunk) if t}) > 1:
            raise ValueError("both trunks must be of one switch")
        return self

    @property
    def switch(self) -> str:
        """The switch whose files carry the records."""
        return (self.in_trunk or self.out_trunk or "").partition("/")[0]


class ChargeMatch(Form):
    """Which rows of table `charge` make up a figure; an empty field matches all rows."""

    agreements: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    cycles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()


FigureKind = Literal["net", "vat", "gross", "home", "margin", "settlement"]


class Figure(Form):
    """One figure that billing must arrive at, and the models it needs.

    `net` is the sum of the matched charges, `margin` that of customer legs less supplier legs;
    `vat`, `gross` and `home` (gross in our currency) stand on the documents of those charges,
    `settlement` comes after them.
    """

    figure: Name
    kind: FigureKind = "net"
    amount: DecimalText
    currency: CurrencyCode
    needs: Annotated[tuple[Model, ...], Field(min_length=1)]
    charges: ChargeMatch


Fact = str | int | list[int] | list[str] | list[dict[str, str | int]]


class PartnerScenario(Form):
    """One partner's usage and expected figures.

    `facts` are terms and history that the reference forms cannot say: tiers, commitments, what
    earlier months came to, what the partner's own invoice says.
    """

    partner: Identifier
    case: Identifier
    facts: dict[str, Fact | dict[str, Fact | dict[str, Fact]]] = Field(default={})
    usage: tuple[UsageGroup, ...]
    expected: tuple[Figure, ...]


class FileDefect(Form):
    """What is done to the files of a source on a UTC day."""

    kind: Literal[
        "sequence_gap",
        "redelivered",
        "duplicate_records",
        "torn",
        "wrong_preset",
        "malformed_rows",
        "empty",
        "wrong_encoding",
    ]
    source: Identifier
    day: date
    group: str = ""
    like: str = ""
    records: Annotated[int, Field(ge=1)] = 1


class Seed(Form):
    """A defect of the demo's input and the control that must catch it."""

    seed: Identifier
    where: Name
    about: Name
    control: Name
    partner: str = ""
    always: bool = False
    file: FileDefect | None = None
    usage: tuple[UsageGroup, ...] = ()


class LoadCurve(Form):
    """Relative traffic by hour of the day (24 whole numbers) and by weekday from Monday (7)."""

    hours: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=24, max_length=24)]
    days: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=7, max_length=7)]


class SwitchFiles(Form):
    """How a source cuts and numbers its files: name pattern, files a day, first sequence."""

    name: str
    files_a_day: Literal[1, 2, 4, 6, 8, 12, 24] = 1
    first_sequence: Annotated[int, Field(ge=1)] = 1


class Operations(Form):
    """What is common to all partners: the load curve and the switches' files by source."""

    load: LoadCurve
    switches: dict[Identifier, SwitchFiles]


@dataclass(frozen=True)
class Scenario:
    """The whole scenario, read and checked.

    `folder` is where it was read; its `reference/` holds the reference files themselves.
    """

    folder: Path
    carrier: Carrier
    operations: Operations
    sources: tuple[Source, ...]
    partners: tuple[PartnerScenario, ...]
    seeds: tuple[Seed, ...]

    def groups(self, *, defects: bool = True) -> Iterator[UsageGroup]:
        """All groups of usage, in a fixed order; those of defects last, if wanted."""
        for partner in self.partners:
            yield from partner.usage
        if defects:
            for seed in self.seeds:
                yield from seed.usage


def read_form(path: Path, form: type[T]) -> T:
    """Read one YAML file of the demo into a form.

    Raises `InputError` that names file, line, field and value of everything wrong.
    """
    located = Located(path.read_bytes(), str(path))
    try:
        return TypeAdapter(form).validate_python(located.value)
    except ValidationError as error:
        problems = [
            Problem(
                one["msg"].removeprefix("Value error, "),
                located.file,
                located.line(one["loc"]),
                ".".join(str(part) for part in one["loc"]),
                "" if isinstance(one["input"], dict | list) else str(one["input"]),
            )
            for one in error.errors()
        ]
        raise InputError("the demo's scenario is not usable", problems) from error


def load_scenario(folder: Path = DEMO_DATA) -> Scenario:
    """Read `operations.yaml`, `scenario/*.yaml`, `defects.yaml` and the reference of a folder.

    Raises `InputError` for a form that is not kept and for a group whose switch has no source.
    """
    reference = folder / "reference"
    carrier = read_form(reference / "carrier.yaml", Carrier)
    zones = {
        partner.partner: partner.zone
        for path in sorted((reference / "partners").glob("*.yaml"))
        for partner in [read_form(path, Partner)]
    }
    sources = tuple(read_form(reference / "sources.yaml", list[Source]))
    partners = tuple(
        _with_partner(read_form(path, PartnerScenario), zones)
        for path in sorted((folder / "scenario").glob("*.yaml"))
    )
    seeds = tuple(
        _with_partners(seed, zones) for seed in read_form(folder / "defects.yaml", list[Seed])
    )
    operations = read_form(folder / "operations.yaml", Operations)
    scenario = Scenario(folder, carrier, operations, sources, partners, seeds)
    _check_switches(scenario)
    return scenario


def _with_partner(scenario: PartnerScenario, zones: Mapping[str, str]) -> PartnerScenario:
    placed = tuple(_placed(group, scenario.partner, zones) for group in scenario.usage)
    return scenario.model_copy(update={"usage": placed})


def _with_partners(seed: Seed, zones: Mapping[str, str]) -> Seed:
    placed = tuple(_placed(group, group.partner or seed.partner, zones) for group in seed.usage)
    return seed.model_copy(update={"usage": placed})


def _placed(group: UsageGroup, partner: str, zones: Mapping[str, str]) -> UsageGroup:
    """A group with its partner and the partner's zone."""
    return group.model_copy(update={"partner": partner, "zone": zones.get(partner, group.zone)})


def _check_switches(scenario: Scenario) -> None:
    known = {source.switch for source in scenario.sources}
    problems = [
        Problem("has no entry in sources.yaml", field="trunk", value=group.switch)
        for group in scenario.groups()
        if group.switch not in known
    ]
    problems += [
        Problem("has no entry in operations.yaml", field="source", value=source.source)
        for source in scenario.sources
        if source.source not in scenario.operations.switches
    ]
    if problems:
        raise InputError("the demo's scenario is not usable", problems)
