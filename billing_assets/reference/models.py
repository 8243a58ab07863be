"""The form of the reference files: what a partner, an agreement and a calendar may say.

Each class is one mapping of a YAML file; an unknown field, a float and a wrong unit are refused.
Terms follow the order in which a price is made (catalogue 2.2 and 2.3). Times without an offset
are local to the zone beside them; windows are half-open.
"""

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from stdnum import iban

from billing_assets.core.money import Rounding
from billing_assets.core.sms import DELIVERED
from billing_assets.reference.channels import ALWAYS_MADE, Channels, Format
from billing_assets.reference.columns import ColumnNames
from billing_assets.reference.exchange import Exchange
from billing_assets.reference.fees import Capacity, OneTime, Percentage, Recurring, require_distinct
from billing_assets.reference.forms import Form, Identifier, Name
from billing_assets.reference.numbering import AllSeries
from billing_assets.reference.share_terms import PartOf, RevenueShare
from billing_assets.reference.tax import Tax
from billing_assets.reference.values import (
    WHOLE,
    Codes,
    Country,
    CurrencyCode,
    Day,
    DecimalText,
    Moment,
    Money,
    NoticeDays,
    Price,
    Trunk,
    Zone,
    codes,
    digits,
)
from billing_assets.reference.volume_terms import Commitment, VolumeRule


class Leg(StrEnum):
    """Which side of a record an agreement prices."""

    CUSTOMER = "customer"
    SUPPLIER = "supplier"


class Service(StrEnum):
    """Kinds of usage."""

    VOICE = "voice"
    SMS = "sms"
    DATA = "data"
    EVENT = "event"


class Address(Form):
    """A postal address."""

    street: Name
    city: Name
    postcode: str = ""
    region: str = ""
    country: Country


class Bank(Form):
    """Where payments go; an account without a `currency` takes any."""

    beneficiary: Name
    currency: CurrencyCode | None = None
    iban: str = ""
    account: str = ""
    bic: str
    bank: str = ""


def _payable(bank: Bank) -> Bank:
    """Refuse an IBAN that no bank can have: money would be sent astray (ISO 13616)."""
    if bank.iban and not iban.is_valid(bank.iban):
        raise ValueError(f"{bank.iban!r} is no IBAN: its length or check digits are wrong")
    return bank


PayableBank = Annotated[Bank, AfterValidator(_payable)]
"""A bank as master data has it; a document keeps what it was issued with."""


EndpointScheme = Annotated[str, StringConstraints(pattern=r"^([0-9]{4}|[A-Z]{2})?$")]
"""The list that an address of the network is of: an EAS code such as 0088, 9946 or EM."""


class Cadence(StrEnum):
    """How often a cycle closes."""

    MONTHLY = "monthly"
    WEEKLY = "weekly"
    SEMI_MONTHLY = "semi-monthly"
    AD_HOC = "ad-hoc"


class TrunkRange(Form):
    """A trunk group that carries an account's traffic, with the dates of the mapping.

    `trunk` is 'switch/trunk group'; `direction` is seen from us: `in` carries records that the
    partner sends us (customer leg), `out` those we send (supplier leg).
    """

    trunk: Trunk
    direction: Literal["in", "out", "both"] = "both"
    valid_from: Moment = Field(default=date(1970, 1, 1), alias="from")
    valid_to: Moment | None = Field(default=None, alias="to")


class Account(Form):
    """A commercial account of a partner."""

    account: Identifier
    title: str = ""
    trunks: tuple[TrunkRange, ...] = ()


class DocumentSettings(Form):
    """How a partner's documents look and travel.

    `separate_streams` have documents of their own (agreements name their stream; `recurring` is
    that of fees); all other charges share one. With `self_billing` we issue the partner's invoice
    to us in its name; with `xml: peppol-bis-3` that one follows Peppol's self-billing profile. A
    document of up to `annex_records` records prints them behind its summary; those of a larger one
    stand in the itemised CSV alone. With `home_equivalent` a document in another currency
    states its total in ours too, at the fixing of the period's last day.
    """

    language: str = "en"
    xml: Literal["ubl", "peppol-bis-3", "ubl-schema-only"] = "ubl"
    separate_streams: tuple[Identifier, ...] = ()
    self_billing: bool = False
    template: Identifier = "default"
    buyer_reference: str = ""
    purchase_order: str = ""
    endpoint_scheme: EndpointScheme = ""
    endpoint_id: str = ""
    emails: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ("pdf", "xml", "csv", "itemised")
    numbers_in_full: tuple[Literal["a_number", "b_number"], ...] = ()
    annex_records: Annotated[int, Field(ge=0, le=20_000), WHOLE] = 0
    home_equivalent: bool = False


class Partner(Form):
    """One carrier that we bill, or that bills us.

    A cycle that owes less than `minimum_invoice` (net, in the partner's currency) makes no
    invoice: its charges go to the next cycle. What a re-rating changes after a cycle is final is
    billed by the `next_cycle`, or `at_once` as a credit or debit note to its document.
    """

    partner: Identifier
    name: Name
    country: Country
    address: Address
    currency: CurrencyCode
    zone: Zone
    roles: tuple[Literal["customer", "supplier"], ...]
    cadence: Cadence = Cadence.MONTHLY
    week_starts: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    terms_days: Annotated[int, Field(ge=0, le=365), WHOLE] = 30
    minimum_invoice: Money = Decimal(0)
    adjustments: Literal["next_cycle", "at_once"] = "next_cycle"
    tax: Tax
    bank: PayableBank | None = None
    document: DocumentSettings = DocumentSettings()
    delivery: Channels = ()
    accounts: tuple[Account, ...]

    @field_validator("accounts")
    @classmethod
    def _each_once(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        names = [one.account for one in accounts]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise ValueError(f"account {twice} stands twice")
        return accounts

    @model_validator(mode="after")
    def _channels_take_what_is_made(self) -> "Partner":
        made = {*ALWAYS_MADE, *self.document.formats}
        for channel in self.delivery:
            if lacking := [name for name in channel.formats if name not in made]:
                raise ValueError(
                    f"channel {channel.channel} takes {', '.join(lacking)}, which "
                    "document.formats does not name: it would get nothing"
                )
        return self


class Carrier(Form):
    """Our own legal entity: the seller on invoices, the buyer on self-billed ones."""

    entity: Identifier
    name: Name
    country: Country
    address: Address
    currency: CurrencyCode
    zone: Zone
    vat_id: str
    registration: str = ""
    vat_rate: Annotated[DecimalText, Field(ge=0, le=1)]
    bank: tuple[PayableBank, ...]
    contact_email: str
    endpoint_scheme: EndpointScheme = ""
    endpoint_id: str = ""
    series: AllSeries
    delivery: Channels = ()
    own_trunks: tuple[Trunk, ...] = ()
    fixing_source: str = ""


class Calendar(Form):
    """Weekend days and holidays by which bands and terms are counted."""

    weekend: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ("sat", "sun")
    holidays: tuple[Day, ...] = ()


class DurationRule(Form):
    """How stamps become whole seconds (catalogue 0.4, A13)."""

    start: Literal["setup", "answer"] = Field(default="answer", alias="from")
    rounding: Literal["up", "half_up", "floor", "floor_stamps"] = "up"


_INCREMENTS = re.compile(r"([1-9][0-9]{0,7})/([1-9][0-9]{0,7})")


def _increments(value: object) -> object:
    """Read '60/1': the first block, then steps counted from its end, in seconds or units."""
    if isinstance(value, dict | Increments):
        return value
    parts = _INCREMENTS.fullmatch(str(value))
    if parts is None:
        raise ValueError("is not of the form first/next with both at least 1, such as 60/1")
    return {"first": int(parts[1]), "next": int(parts[2])}


class Increments(Form):
    """Billing steps a/b: the first block a, then b counted from the end of a."""

    first: Annotated[int, Field(ge=1, le=86_400_000), WHOLE]
    next: Annotated[int, Field(ge=1, le=86_400_000), WHOLE]

    def __str__(self) -> str:
        return f"{self.first}/{self.next}"


IncrementsText = Annotated[
    Increments,
    BeforeValidator(
        _increments,
        json_schema_input_type=Annotated[
            str, StringConstraints(pattern=rf"^{_INCREMENTS.pattern}$")
        ],
    ),
]


class Grace(Form):
    """Seconds that cost nothing: a `threshold` frees short calls, a `deduction` every call."""

    seconds: Annotated[int, Field(ge=1, le=86400), WHOLE]
    mode: Literal["threshold", "deduction"]


class RoundingTerm(Form):
    """One rounding of an agreement; `decimals` None means the currency's minor unit."""

    decimals: Annotated[int, Field(ge=0, le=10), WHOLE] | None = None
    method: Rounding = Rounding.HALF_UP


class QuantityRounding(Form):
    """Rounding of a line's whole quantity, in the unit of the price (A19)."""

    decimals: Annotated[int, Field(ge=0, le=6), WHOLE] = 0
    method: Rounding = Rounding.HALF_UP


class RoundingTerms(Form):
    """The agreement's roundings of a record's amount, a line's quantity and a document line.

    With `quantity`, a usage line is its quantity of the period, rounded once, by its price, and
    not the sum of its records.
    """

    record: RoundingTerm = RoundingTerm(decimals=6)
    quantity: QuantityRounding | None = None
    line: RoundingTerm = RoundingTerm()


MessageState = Annotated[Name, AfterValidator(str.upper)]
"""A state of messages as SMPP writes them."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DayToken = Literal[
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "weekday", "weekend", "holiday", "every"
]


_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00(:00)?")


def _clock(value: object) -> int:
    """Read 'HH:MM[:SS]' as seconds of the day; '24:00' is its end."""
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError("is not a time of day such as 08:00")
    hours, minutes, seconds = (int(part) for part in f"{value}:00".split(":")[:3])
    return hours * 3600 + minutes * 60 + seconds


_ClockText = Annotated[str, StringConstraints(pattern=rf"^({_CLOCK.pattern})$")]
Clock = Annotated[int, BeforeValidator(_clock, json_schema_input_type=_ClockText)]


class BandWindow(Form):
    """Local days and hours in which a band holds; past midnight when `to` is not after `from`.

    A window past midnight belongs to the day on which it begins. On a holiday of the calendar
    only windows that name `holiday` or `every` hold, if any window names `holiday`.
    """

    band: Name
    days: tuple[DayToken, ...] = ("every",)
    start: Clock = Field(default=0, alias="from")
    end: Clock = Field(default=86400, alias="to")


class Bands(Form):
    """Time bands of an agreement, in its zone (catalogue C01 to C05).

    `otherwise` is the band of all remaining time; without it the windows must cover the week.
    """

    calendar: Identifier | None = None
    windows: tuple[BandWindow, ...]
    otherwise: Name | None = None

    @property
    def names(self) -> set[str]:
        """All bands that a time may fall into."""
        return {window.band for window in self.windows} | {self.otherwise or ""} - {""}


class OriginClass(Form):
    """A class of A-numbers that carries money: a list of codes, or a state of the number.

    `surcharge` is added to the rate a unit, `surcharge_per_call` once a call. A class may
    instead have rates of its own (the deck's `origin` column), which replace.
    """

    origin: Name
    codes: Codes = Field(default_factory=list)
    kinds: tuple[Literal["invalid", "missing", "anonymous", "alpha"], ...] = ()
    surcharge: Price = Decimal(0)
    surcharge_per_call: Price = Decimal(0)


class Origins(Form):
    """Origin classes; the longest code wins, `otherwise` names all other numbers.

    A number of fewer than 5 or more than 15 digits, or of no assigned country, is `invalid`.
    """

    classes: tuple[OriginClass, ...]
    otherwise: Name = "OTHER"

    @model_validator(mode="after")
    def _every_class_has_callers(self) -> "Origins":
        for one in self.classes:
            if not one.codes and not one.kinds and one.origin != self.otherwise:
                raise ValueError(
                    f"class {one.origin} has neither codes nor kinds, and is not {self.otherwise}, "
                    "the class of all others (`otherwise`)"
                )
        return self


class Jurisdiction(Form):
    """Inter-, intra- and indeterminate state traffic (G06).

    `states` maps a state to its codes (1 and the area code). A pair in one state is INTRA, in
    two states INTER, with an unknown side INDETERMINATE; the deck's `origin` column carries
    these words.
    """

    states: dict[str, Codes]


class Surcharge(Form):
    """A price added for some called codes (longest code wins), by unit and by call."""

    surcharge: Name
    codes: Codes
    per_unit: Price = Decimal(0)
    per_call: Price = Decimal(0)


class ShortCalls(Form):
    """A fee on answered calls of at most `seconds`, once their share of a cycle is too high (J07).

    Above the `threshold` (a fraction of the answered calls) `fee` is charged for `all` short
    calls, or for the `excess` alone.
    """

    seconds: Annotated[int, Field(ge=1, le=3600), WHOLE]
    threshold: Annotated[DecimalText, Field(ge=0, lt=1)]
    fee: Price
    scope: Literal["all", "excess"] = "all"


class RateRow(Form):
    """A price for some codes from a local time on; missing terms come from the agreement.

    `country_code` stands before each code. `price` is by minute, message, segment, MB or event
    as `unit` says; `first_price` is the price by unit of the first block. A `blocked` row stops
    the match without a price.
    """

    codes: Annotated[
        list[Name],
        BeforeValidator(codes, json_schema_input_type=str | int | list[str | int]),
        Field(alias="code"),
    ]
    country_code: Annotated[
        str,
        BeforeValidator(digits, json_schema_input_type=str | int),
        Field(pattern=r"^[1-9][0-9]{0,2}$"),
    ] = ""
    destination: str = ""
    price: Price | None = Field(default=None, alias="rate")
    first_price: Price | None = Field(default=None, alias="first_rate")
    increments: IncrementsText | None = None
    setup_fee: Price | None = None
    minimum: Price | None = None
    cap: Price | None = None
    band: str = ""
    origin: str = ""
    valid_from: Moment | None = Field(default=None, alias="from")
    valid_to: Moment | None = Field(default=None, alias="to")
    status: Literal["open", "blocked", "bill_and_keep"] = "open"


class Sheet(Form):
    """A rate sheet beside the agreement, CSV or XLSX; sheets are listed as they came.

    `layout` says how it is written (RateRow's field names without one); `columns` are
    exceptions from it. `received` starts the notice period, a time after the cut-off counts as
    the next day. A `full` sheet withdraws what it leaves out, from `effective` on; in an
    `amendment` that is unchanged. `effective` is also the date of rows without one. Leaving out
    over a fifth of the codes needs `drop_confirmed`; a row that stands twice for one instant is
    refused, unless `duplicates` says that the last one wins.
    """

    file: Name
    received: Moment | None = None
    layout: str = ""
    columns: ColumnNames = Field(default_factory=dict)
    mode: Literal["amendment", "full"] = "amendment"
    effective: Day | None = None
    duplicates: Literal["refuse", "last"] = "refuse"
    drop_confirmed: bool = False


class Notice(Form):
    """Days of notice that changes need; an earlier date is moved (RS4, B09).

    They count from the local day of receipt, or from the next one after `cut_off` (HH:MM).
    Blocking a code counts as withdrawing it.
    """

    increase_days: NoticeDays = 0
    decrease_days: NoticeDays = 0
    new_days: NoticeDays = 0
    withdrawal_days: NoticeDays = 0
    cut_off: Clock | None = None


class Agreement(Form):
    """What one partner and we agreed for one service and one side, in one version.

    `unit` is what a price is for: minute (voice); message or segment (sms); kb or mb (data,
    1000 or 1024 by `unit_base`); event. Increments count seconds, messages, bytes or events.
    `match` says which number picks the rate. `reverse` turns the sign (toll-free, premium).
    `crossing` prices a call over a band or rate change whole at its start, or splits it: each
    increment at the price that holds when the increment begins. Dates without a time begin at
    local midnight. What comes after its cycle is final is billed as prior period by the next
    one, unless it comes later than `refuse_after_days` (of 24 hours) after its event: it is
    refused and waits in suspense.
    """

    agreement: Identifier
    version: Annotated[int, Field(ge=1), WHOLE] = 1
    title: str = ""
    partner: Identifier
    leg: Leg
    service: Service = Service.VOICE
    accounts: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    stream: Identifier = "usage"
    contract_reference: str = ""
    valid_from: Moment = Field(alias="from")
    valid_to: Moment | None = Field(default=None, alias="to")
    zone: Zone
    currency: CurrencyCode
    event_time: Literal["setup", "answer", "end"] = "answer"
    duration: DurationRule = DurationRule()
    match: Literal["dialled", "routing_number", "serving_network", "event_type"] = "dialled"
    unit: Literal["minute", "message", "segment", "kb", "mb", "event"] | None = None
    unit_base: Literal[1000, 1024] = 1024
    charge_on: Literal["submit", "delivery"] = "delivery"
    delivered: tuple[MessageState, ...] = (DELIVERED,)
    increments: IncrementsText = Increments(first=1, next=1)
    minimum_duration: Annotated[int, Field(ge=0, le=86400), WHOLE] = 0
    grace: Grace | None = None
    charge_zero_duration: bool = False
    setup_fee: Price = Decimal(0)
    attempt_fee: Price = Decimal(0)
    minimum: Price = Decimal(0)
    cap: Price | None = None
    reverse: bool = False
    bill_and_keep: bool = False
    rounding: RoundingTerms = RoundingTerms()
    bands: Bands | None = None
    crossing: Literal["start", "split"] = "start"
    origins: Origins | None = None
    jurisdiction: Jurisdiction | None = None
    surcharges: tuple[Surcharge, ...] = ()
    short_calls: ShortCalls | None = None
    refuse_after_days: Annotated[int, Field(ge=0, le=3650), WHOLE] | None = None
    notice: Notice = Notice()
    rates: tuple[RateRow, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    recurring: tuple[Recurring, ...] = ()
    one_time: tuple[OneTime, ...] = ()
    capacity: tuple[Capacity, ...] = ()
    percentages: tuple[Percentage, ...] = ()
    volume: tuple[VolumeRule, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    shares: tuple[RevenueShare, ...] = ()
    parts: tuple[PartOf, ...] = ()
    exchange: Exchange | None = None

    @property
    def key(self) -> str:
        """'ID@version', as rated legs carry it."""
        return f"{self.agreement}@{self.version}"

    @property
    def counts_periods(self) -> bool:
        """Whether a term counts usage over a whole period, so that no part of it stands alone."""
        terms = (self.volume, self.commitments, self.short_calls, self.shares, self.parts)
        return any(terms)

    @property
    def pays_partner(self) -> bool:
        """Whether it is we who owe the partner what the agreement's usage comes to."""
        return (self.leg is Leg.SUPPLIER) is not self.reverse

    @property
    def priced_unit(self) -> str:
        """The unit that a price is for, with the service's default."""
        defaults = {"voice": "minute", "sms": "segment", "data": "mb", "event": "event"}
        return self.unit or defaults[self.service]

    @field_validator("cap")
    @classmethod
    def _leaves_room_for_the_minimum(
        cls, cap: Decimal | None, info: ValidationInfo
    ) -> Decimal | None:
        minimum = info.data.get("minimum", Decimal(0))
        if cap is not None and cap < minimum:
            raise ValueError(f"is below the minimum, {minimum}")
        return cap

    @model_validator(mode="after")
    def _units_fit_the_service(self) -> "Agreement":
        allowed = {
            Service.VOICE: {"minute"},
            Service.SMS: {"message", "segment"},
            Service.DATA: {"kb", "mb"},
            Service.EVENT: {"event"},
        }
        if self.priced_unit not in allowed[self.service]:
            raise ValueError(f"unit {self.priced_unit} does not fit service {self.service}")
        if self.match == "event_type" and self.service is not Service.EVENT:
            raise ValueError("match: event_type is for service event")
        if self.match == "event_type" and self.sheets:
            raise ValueError("event types are priced by rates in the agreement, not by sheets")
        if self.crossing == "split" and self.service is not Service.VOICE:
            raise ValueError("crossing: split is for voice")
        if self.short_calls and self.service is not Service.VOICE:
            raise ValueError("short_calls is for voice")
        if self.origins and self.jurisdiction:
            raise ValueError("origins and jurisdiction exclude each other")
        return self

    @model_validator(mode="after")
    def _terms_go_together(self) -> "Agreement":
        if self.crossing == "split" and self.event_time != self.duration.start:
            raise ValueError(
                f"crossing: split counts increments from the {self.duration.start} stamp "
                f"(duration.from), so event_time must be {self.duration.start}, "
                f"not {self.event_time}"
            )
        if self.surcharges and self.match in ("serving_network", "event_type"):
            raise ValueError(
                f"surcharges add by code of a number, which match: {self.match} does not look at"
            )
        if self.exchange and (problem := self.exchange.problem(self.currency)):
            raise ValueError(f"exchange {problem}")
        require_distinct("recurring", [fee.fee for fee in self.recurring])
        require_distinct("one_time", [fee.fee for fee in self.one_time])
        require_distinct("capacity", [one.capacity for one in self.capacity])
        require_distinct("parts", [one.part for one in self.parts])
        if self.parts and (self.rates or self.sheets or self.reverse):
            raise ValueError("parts of other agreements' shares have no rates and no reverse")
        require_distinct("percentages", [one.percentage for one in self.percentages])
        if self.rounding.quantity and (
            self.crossing == "split" or self.minimum or self.cap is not None
        ):
            raise ValueError(
                "rounding.quantity prices the quantity of a period: it excludes crossing: split, "
                "minimum and cap"
            )
        return self
