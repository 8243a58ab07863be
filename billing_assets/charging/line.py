"""A charge in the making, and what a cycle's charges are made from.

Every charging model is a pure module that takes the `Facts` of a cycle and gives `list[Line]`;
`charging.lines` calls them in turn and writes their lines in the columns of table `charge`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.deals import Deal
from billing_assets.reference.fx import NO_FIXINGS, Fixings
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement
from billing_assets.reference.tax import Taxation

REPLACED = "replaced"
"""Kind of a row that keeps what usage was rated at where a named rule prices it instead.

It carries that in `exact_amount`, its `amount` is 0, and no document shows it."""

ADJUSTS = "adjusts"
"""Among the inputs of a line: the final cycle that billed its days, or settled its window."""

BILLED_AT = "billed_at"
"""Among the inputs of a line that prices earlier usage again: the price that it was billed at."""

FEE_KINDS = ("recurring", "one_time", "capacity")
"""Kinds of fees: what is due of them depends on what final cycles have billed of it."""


@dataclass(frozen=True)
class ShortCallCount:
    """Answered calls of an agreement in a period, and how many of them were short."""

    calls: int
    short: int

    @property
    def share(self) -> Fraction:
        """Short calls as a fraction of all, 0 when there are none."""
        return Fraction(self.short, self.calls) if self.calls else Fraction(0)


@dataclass(frozen=True)
class BilledFee:
    """What a final cycle has billed of a fee for some days, both included, before rounding.

    `agreement` is the key of the version that billed it.
    """

    kind: str
    agreement: str
    fee: str
    first: date
    last: date
    exact: Decimal


@dataclass(frozen=True)
class Facts:
    """What the charges of one cycle are made from; nothing else goes in.

    `usage` are rows of `usage_daily` that the cycle bills: local days of its period, and what
    earlier days have gained or lost since they were billed. `billed` are rows of the same partner
    on earlier days that other cycles bill, as far back as an accumulator needs them: `usage` and
    `billed` together are all usage as it is now. `legs` are the rated legs of the period's days,
    with how many equal `records` each stands for; read only where calls are priced in their
    order. `short_calls` counts those of the period by agreement key. `deals` are the partner's:
    the rules of a swap already stand in its agreements. `bills` tells whether the cycle bills a
    local day, its own or one that no cycle has billed; `charged_once` are the one-time fees that
    other cycles have charged for good, by agreement id and fee. `billed_fees` are the stretches
    of other fees that final cycles have billed; `late_since` is the day from which this cycle
    bills what was agreed late and corrects what was billed, None when that is another's to do.
    `samples` are the reference's; `taxation` says what contributions and gross-ups are due.
    `billed_on` names the final cycle that first billed a local day, or nothing. `sources` are the
    facts of the same cycle from agreements of other partners in whose shares this one has a part.
    `fixings` and the invoice's `issue_date` convert lines of agreements that are invoiced in
    another currency; `finals` are period and date of invoice of the partner's final cycles.
    """

    cycle: Cycle
    agreements: Sequence[InForce]
    usage: pl.DataFrame
    billed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=USAGE_DAILY.schema))
    legs: pl.LazyFrame | None = None
    short_calls: Mapping[str, ShortCallCount] = field(default_factory=dict)
    deals: Sequence[Deal] = ()
    bills: Callable[[date], bool] | None = None
    charged_once: Collection[tuple[str, str]] = ()
    billed_fees: Sequence[BilledFee] = ()
    late_since: date | None = None
    samples: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    billed_on: Callable[[date], str] = lambda _: ""
    taxation: Taxation | None = None
    sources: "Facts | None" = None
    fixings: Fixings = NO_FIXINGS
    issue_date: date | None = None
    finals: Mapping[str, tuple[Period, date | None]] = field(default_factory=dict)

    def bills_day(self, day: date) -> bool:
        """Whether what is charged for a day belongs to this cycle: one of its own days unless
        `bills` tells."""
        own = self.cycle.period.start <= day < self.cycle.period.end
        return own if self.bills is None else self.bills(day)

    def bills_fee_of(self, day: date) -> bool:
        """Whether a fee that falls due on a day belongs to this cycle, as `late_since` allows."""
        begins = self.cycle.period.start
        late = self.late_since is not None and self.late_since <= day < begins
        return (day >= begins or late) and self.bills_day(day)

    @property
    def terms(self) -> Mapping[str, Agreement]:
        """The terms by agreement key."""
        return {one.terms.key: one.terms for one in self.agreements}


ByDay = Sequence[tuple[date, Fraction]]
"""Local days, each with what it brought or weighs."""


@dataclass(frozen=True)
class Line:
    """One charge of a cycle.

    `key` identifies it within its cycle, whatever else changes. `steps` derive the amount in
    sentences, `rule` names the term that makes it, `inputs` the figures that it was made from.
    `columns` are those of table `charge` that are its own. `due` is the amount before its
    rounding; `by_day` local days with their weight in it, told where days have fixings of their
    own. A day may stand there several times.
    """

    key: tuple[object, ...]
    steps: Sequence[str]
    columns: Mapping[str, object]
    inputs: Mapping[str, object] = field(default_factory=dict)
    due: Fraction = Fraction(0)
    by_day: ByDay = ()


def by_days(line: Line) -> Mapping[date, Fraction]:
    """The days of a line with their weight in it; without any, the day on which it ends."""
    found: dict[date, Fraction] = {}
    for day, weight in line.by_day:
        found[day] = found.get(day, Fraction(0)) + weight
    last = line.columns["last_day"]
    assert isinstance(last, date)
    return {day: weight for day, weight in found.items() if weight} or {last: Fraction(1)}


def days_matter(terms: Agreement) -> bool:
    """Whether an agreement's lines are converted day by day."""
    return terms.exchange is not None and terms.exchange.rule == "event_day"


def inputs_of(facts: Facts, line: Line) -> dict[str, object]:
    """A line's inputs, with the final cycle that settled its window when that is over."""
    inputs = dict(line.inputs)
    last = date.fromisoformat(str(inputs.get("window", date.max)).rpartition("/")[2]) - timedelta(
        days=1
    )
    if last < facts.cycle.period.start and (settled := facts.billed_on(last)):
        inputs[ADJUSTS] = settled
    return inputs


def line_amount(
    terms: Agreement, exact: Fraction | Decimal, currency: str = ""
) -> tuple[Decimal, str]:
    """An exact amount rounded once as the agreement says for lines, and the sentence that says so.

    The amount is of the agreement's currency unless another is given. The sentence is empty when
    nothing was rounded away.
    """
    rounding = terms.rounding.line
    decimals = (
        minor_units(currency or terms.currency) if rounding.decimals is None else rounding.decimals
    )
    amount = round_amount(exact, decimals, rounding.method)
    said = f"line rounded {rounding.method.replace('_', ' ')} to {decimals} decimals: {amount}"
    return amount, said if amount != exact else ""


def rule_line(
    terms: Agreement,
    *,
    key: Iterable[object],
    kind: str,
    title: str,
    days: tuple[date, date],
    exact: Fraction | Decimal | int,
    steps: Iterable[str],
    rule: str,
    quantity: Fraction | Decimal | int = 1,
    unit: str = "unit",
    price: Decimal | None = None,
    section: str = "",
    destination: str = "",
    band: str = "",
    origin: str = "",
    records: int = 0,
    answered: int = 0,
    inputs: Mapping[str, object] | None = None,
    tax_treatment: str = "",
) -> Line:
    """A line that a term of an agreement makes: rounded once, with its derivation.

    `days` are the first and last day that it charges for; `price` is for one `unit`; `section`
    is the kind unless given. A step with the amount is added last.
    """
    due = Fraction(exact)
    amount, rounded = line_amount(terms, due)
    signed = abs(Fraction(quantity)) * (-1 if due < 0 else 1)
    return Line(
        tuple(key),
        [*steps, rounded or f"{plain(amount)} {terms.currency}"],
        {
            "agreement": terms.key,
            "leg": terms.leg.value,
            "kind": kind,
            "section": section or kind,
            "service": terms.service.value,
            "description": title,
            "destination": destination,
            "band": band,
            "origin": origin,
            "first_day": days[0],
            "last_day": days[1],
            "records": records,
            "answered": answered,
            # the quantity bears the sign, because a price never does (EN 16931 BR-27)
            "quantity": round_amount(signed, 10, Rounding.HALF_UP),
            "unit": unit,
            "price": price,
            "exact_amount": round_amount(due, 10, Rounding.HALF_UP),
            "amount": amount,
            "currency": terms.currency,
            "rule": rule,
            "tax_treatment": tax_treatment,
        },
        inputs or {},
        due,
    )


def count_text(units: Fraction | Decimal | int) -> str:
    """A quantity to ten decimals."""
    return plain(round_amount(units, 10, Rounding.HALF_UP))


def shown_text(units: Fraction | Decimal | int) -> str:
    """A quantity for people: exact where ten decimals hold it, else to four (thirds of minutes)."""
    ten = round_amount(units, 10, Rounding.HALF_UP)
    return plain(ten if ten == units else round_amount(units, 4, Rounding.HALF_UP))


def plain(value: Decimal) -> str:
    """A decimal without trailing zeros, for people.

    >>> plain(Decimal("1200.500"))
    '1200.5'
    """
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
