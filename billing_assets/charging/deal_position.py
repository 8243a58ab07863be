"""Where commitments and deals stand on a day: used, due by then, needed a day, and the forecast.

The rate of use is the average of the days gone by; a forecast is that rate held to the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil

import polars as pl

from billing_assets.charging.accumulator import life
from billing_assets.charging.commitments import active_share, reached
from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts
from billing_assets.charging.priced import Priced
from billing_assets.charging.volume_lines import price_volumes
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.reference.deals import Deal
from billing_assets.reference.load import InForce
from billing_assets.reference.volume_terms import Commitment, Window

_LEAST_ALARM_DAY = 10


@dataclass(frozen=True)
class Position:
    """One commitment, or one direction of a deal, as it stands at the end of a day.

    `committed`, `used`, `due` (used by now if spread evenly), `needed_per_day` and `forecast` (at
    the window's end) are in `unit`: that of the price, or a currency. `reached_on` is the day on
    which the commitment is reached at the rate so far, None when never. `shortfall` is what the
    forecast misses, as money. `alerts` are the thresholds passed.
    """

    deal: str
    title: str
    partner: str
    agreement: str
    leg: str
    first_day: date
    last_day: date
    unit: str
    committed: Decimal
    used: Decimal
    used_share: Decimal
    elapsed_share: Decimal
    due: Decimal
    needed_per_day: Decimal
    forecast: Decimal
    reached_on: date | None
    shortfall: Decimal
    currency: str
    alerts: tuple[str, ...]
    status: str


def first_counted(agreements: Sequence[InForce], day: date) -> date:
    """The first day of any window in which a day lies; the day itself without commitments."""
    starts = [
        window[0]
        for agreement in agreements
        for terms in agreement.terms.commitments
        if (window := terms.window(day)) is not None
    ]
    return min([day, *starts])


def positions(
    partner: str,
    agreements: Sequence[InForce],
    deals: Sequence[Deal],
    usage: pl.DataFrame,
    legs: pl.LazyFrame | None,
    day: date,
) -> list[Position]:
    """The positions of a partner's commitments at the end of a day.

    `usage` are rows of `usage_daily` from `first_counted` to the day, `legs` the rated legs of
    those days (read where calls are priced in order).
    """
    first = first_counted(agreements, day)
    period = Period(
        first, day + timedelta(days=1), agreements[0].terms.zone if agreements else "UTC"
    )
    facts = Facts(
        Cycle(f"{partner}/position", partner, day.isoformat()[:7], period),
        agreements,
        usage.filter(pl.col("local_day") <= day),
        legs=legs,
        deals=deals,
    )
    priced = price_volumes(facts)
    return [
        _position(facts, agreement, terms, window, priced, day)
        for agreement, terms, window in _in_force(facts, day)
    ]


def _in_force(facts: Facts, day: date) -> Iterator[tuple[InForce, Commitment, Window]]:
    """Commitments of the versions in force on a day, with their windows."""
    for agreement in facts.agreements:
        zone = agreement.terms.zone
        begins, ends = Period(day, day + timedelta(days=1), zone).start_utc, agreement.end
        if not agreement.start <= begins < ends:
            continue
        for terms in agreement.terms.commitments:
            window = terms.window(day)
            if window is not None:
                yield agreement, terms, window


def _position(
    facts: Facts,
    agreement: InForce,
    terms: Commitment,
    window: Window,
    priced: Priced,
    day: date,
) -> Position:
    _, used = reached(facts, agreement, terms, window, priced)
    share = active_share(facts, agreement, terms, window)
    committed = Fraction(terms.amount or terms.quantity or 0) * share
    held, lives = terms.held(window), life(facts, agreement)
    first, end = max(held[0], lives[0]), min(held[1], lives[1])
    days, gone = (end - first).days, (day + timedelta(days=1) - first).days
    left = days - gone
    missing = max(Fraction(0), committed - used)
    forecast = used / gone * days
    short = max(Fraction(0), committed - forecast)
    price = Fraction(terms.price) if terms.price is not None else Fraction(1)
    currency = agreement.terms.currency
    unit = currency if terms.quantity is None else agreement.terms.priced_unit

    def shown(value: Fraction) -> Decimal:
        decimals = minor_units(currency) if terms.quantity is None else 2
        return round_amount(value, decimals, Rounding.HALF_UP)

    alarm = next((d.alarm_day for d in facts.deals if d.deal == terms.commitment), None)
    part = used / committed
    return Position(
        deal=terms.commitment,
        title=terms.name,
        partner=facts.cycle.partner,
        agreement=agreement.terms.key,
        leg=agreement.terms.leg.value,
        first_day=first,
        last_day=end - timedelta(days=1),
        unit=unit,
        committed=shown(committed),
        used=shown(used),
        used_share=round_amount(part, 4, Rounding.HALF_UP),
        elapsed_share=round_amount(Fraction(gone, days), 4, Rounding.HALF_UP),
        due=shown(committed * gone / days),
        needed_per_day=shown(missing / left if left else missing),
        forecast=shown(forecast),
        reached_on=_reached_on(first, committed, used, gone),
        shortfall=round_amount(short * price, minor_units(currency), Rounding.HALF_UP),
        currency=currency,
        alerts=tuple(str(alert) for alert in terms.alerts if part >= alert),
        status=_status(used, committed, short, gone, left, alarm or _LEAST_ALARM_DAY),
    )


def _reached_on(first: date, committed: Fraction, used: Fraction, gone: int) -> date | None:
    """The day on which a commitment is reached at the rate so far."""
    if not used:
        return None
    days = ceil(committed * gone / used)
    return first + timedelta(days=days - 1) if days < 100_000 else None


def _status(
    used: Fraction, committed: Fraction, short: Fraction, gone: int, left: int, alarm_day: int
) -> str:
    if used >= committed:
        return "reached"
    if not left:
        return "missed"
    if short and gone >= alarm_day:
        return "shortfall forecast"
    return "behind" if short else "on course"
