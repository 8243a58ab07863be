"""Usage lines, recurring fees and short-call surcharges of a cycle.

A usage line is the exact sum of rounded records, rounded once more as the agreement says for
lines. A recurring fee is the monthly price by the actual days of the period (I01 to I03).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.short_calls import ShortCallCount, short_call_fee
from billing_assets.core.errors import BillingError
from billing_assets.core.ids import bucket_of, stable_id
from billing_assets.core.money import Rounding, from_e10, minor_units, round_amount
from billing_assets.lake.tables import CHARGE
from billing_assets.rating.plan import units_per_price
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement, Recurring

_LINE_KEYS = (
    "agreement",
    "leg",
    "service",
    "destination",
    "band",
    "origin",
    "rate_e10",
    "pricing",
    "currency",
    "prior",
)


@dataclass(frozen=True)
class _Line:
    """A charge in the making: what identifies it, how it is derived, its own columns."""

    key: tuple[object, ...]
    steps: list[str]
    columns: dict[str, object]


def charge_cycle(
    cycle: Cycle,
    agreements: Sequence[InForce],
    usage: pl.DataFrame,
    *,
    buckets: int,
    sources: Mapping[str, object],
    short_calls: Mapping[str, ShortCallCount],
) -> pl.DataFrame:
    """All charges of a cycle, in the columns of table `charge`.

    `usage` are rows of `usage_daily` of the partner that the cycle bills: local days of its
    period, and earlier days that no cycle has billed. `sources` names what they were made from;
    `short_calls` counts those of the period by agreement, where one surcharges them.
    Raises `BillingError` when the lines do not add up to the usage.
    """
    terms = {a.terms.key: a.terms for a in agreements}
    lines = _usage_lines(cycle, terms, usage)
    for agreement in agreements:
        lines += _recurring_lines(cycle, agreement)
        lines += _short_call_lines(cycle, agreement.terms, short_calls)
    provenance = json.dumps(sources, sort_keys=True)
    charges = pl.DataFrame(
        [
            {
                **line.columns,
                "month": cycle.month,
                "bucket": bucket_of(cycle.partner, buckets),
                "cycle": cycle.cycle,
                "partner": cycle.partner,
                "charge_id": stable_id(cycle.cycle, *(str(part) for part in line.key)),
                "steps": json.dumps(line.steps, ensure_ascii=False),
                "sources": provenance,
            }
            for line in lines
        ],
        schema=CHARGE.schema,
    ).sort(CHARGE.order)
    _assert_whole(cycle, usage, charges)
    return charges


def _assert_whole(cycle: Cycle, usage: pl.DataFrame, charges: pl.DataFrame) -> None:
    """Usage lines carry the usage to the last unit, by agreement and currency."""
    rated = _totals(usage, "amount")
    lines = _totals(charges.filter(pl.col("kind") == "usage"), "exact_amount")
    if rated != lines:
        raise BillingError(
            f"usage lines of {cycle.cycle} do not add up to its rated usage: "
            f"{lines} against {rated}",
            hint="please report this as a defect",
        )


def _totals(frame: pl.DataFrame, column: str) -> dict[tuple[str, str], Decimal]:
    """Sums by agreement and currency."""
    grouped = frame.group_by("agreement", "currency").agg(pl.col(column).sum())
    return {(agreement, currency): total for agreement, currency, total in grouped.iter_rows()}


def _usage_lines(cycle: Cycle, terms: Mapping[str, Agreement], usage: pl.DataFrame) -> list[_Line]:
    """One line for each destination, rate, band, origin and period part of the usage."""
    grouped = (
        usage.with_columns(pl.col("local_day") < cycle.period.start)
        .rename({"local_day": "prior"})
        .with_columns(usage["local_day"])
        .group_by(_LINE_KEYS)
        .agg(
            pl.col("local_day").min().alias("first_day"),
            pl.col("local_day").max().alias("last_day"),
            pl.col("records", "answered", "quantity", "billed_units").sum(),
            pl.col("fees", "amount").sum(),
        )
        .sort(_LINE_KEYS, nulls_last=True)
    )
    return [_usage_line(terms[row["agreement"]], row) for row in grouped.iter_rows(named=True)]


def _usage_line(terms: Agreement, row: dict[str, object]) -> _Line:
    units = Fraction(int(str(row["billed_units"])), units_per_price(terms))
    exact = Decimal(str(row["amount"]))
    rate = row["rate_e10"]
    price = from_e10(int(str(rate))) if rate is not None else None
    unit = terms.priced_unit
    steps = [
        f"{row['records']} records, {row['answered']} answered, {_count(units)} billed {unit}s",
        f"sum of records, each rounded by the agreement: {_text(exact)} {terms.currency}",
    ]
    if price is not None:
        steps.insert(1, f"price {_text(price)} {terms.currency} a {unit}")
    due = Fraction(exact)
    if terms.rounding.quantity and price is not None:
        units, due = _by_period(terms, units, price, Decimal(str(row["fees"])), steps)
    rounding = terms.rounding.line
    decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
    amount = round_amount(due, decimals, rounding.method)
    if amount != due:
        steps.append(f"line rounded {rounding.method} to {decimals} decimals: {amount}")
    # the quantity bears the sign, because a price never does (EN 16931 BR-27)
    signed = -abs(units) if due < 0 else abs(units) if due > 0 else units
    quantity = round_amount(signed, 10, Rounding.HALF_UP)
    words = [str(row["destination"] or "uncharged attempts"), str(row["band"]), str(row["origin"])]
    key = ("usage", *(row[name] for name in _LINE_KEYS))
    columns = {
        "agreement": terms.key,
        "leg": row["leg"],
        "kind": "usage",
        "section": "prior_period" if row["prior"] else "usage",
        "service": row["service"],
        "description": ", ".join(word for word in words if word),
        "destination": row["destination"],
        "band": row["band"],
        "origin": row["origin"],
        "first_day": row["first_day"],
        "last_day": row["last_day"],
        "records": row["records"],
        "answered": row["answered"],
        "quantity": quantity,
        "unit": unit,
        "price": price,
        "exact_amount": exact,
        "amount": amount,
        "currency": terms.currency,
        "rule": str(row["pricing"]),
    }
    return _Line(key, steps, columns)


def _by_period(
    terms: Agreement, units: Fraction, price: Decimal, fees: Decimal, steps: list[str]
) -> tuple[Fraction, Fraction]:
    """Quantity and amount of a line whose quantity is rounded once for the period (A19).

    The line's exact amount remains the sum of its records, so that lines carry the usage whole.
    """
    rounding = terms.rounding.quantity
    assert rounding is not None
    rounded = round_amount(units, rounding.decimals, rounding.method)
    due = Fraction(rounded) * Fraction(price) * (-1 if terms.reverse else 1) + Fraction(fees)
    steps.append(
        f"the period's quantity rounded {rounding.method} to {rounding.decimals} decimals: "
        f"{_text(rounded)} {terms.priced_unit}s at {_text(price)}"
        + (f" and fees of {_text(fees)}" if fees else "")
    )
    return Fraction(rounded), due


def _recurring_lines(cycle: Cycle, agreement: InForce) -> list[_Line]:
    return [
        line
        for fee in agreement.terms.recurring
        if (line := _recurring_line(cycle, agreement, fee)) is not None
    ]


def _recurring_line(cycle: Cycle, agreement: InForce, fee: Recurring) -> _Line | None:
    """A fee by the days on which it and its agreement hold, out of the days of the period."""
    terms = agreement.terms
    # the version's own days: the next version of an agreement takes over its fees
    zone = ZoneInfo(terms.zone)
    begins, ends = (at.astimezone(zone).date() for at in (agreement.start, agreement.end))
    first = max(cycle.period.start, fee.valid_from, begins)
    end = min(cycle.period.end, ends, fee.valid_to or date.max)
    days = (end - first).days
    if days <= 0:
        return None
    exact = Fraction(fee.price) * Fraction(fee.quantity) * Fraction(days, cycle.period.days)
    rounding = terms.rounding.line
    decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
    amount = round_amount(exact, decimals, rounding.method)
    steps = [f"{_text(fee.quantity)} x {_text(fee.price)} {terms.currency} a month"]
    if days != cycle.period.days:
        steps.append(f"{days} of {cycle.period.days} days")
    steps.append(f"{amount} {terms.currency}")
    columns = {
        "agreement": terms.key,
        "leg": terms.leg.value,
        "kind": "recurring",
        "section": "recurring",
        "service": terms.service.value,
        "description": fee.title,
        "destination": "",
        "band": "",
        "origin": "",
        "first_day": first,
        "last_day": end - timedelta(days=1),
        "records": 0,
        "answered": 0,
        "quantity": fee.quantity,
        "unit": "month",
        "price": fee.price,
        "exact_amount": round_amount(exact, 10, Rounding.HALF_UP),
        "amount": amount,
        "currency": terms.currency,
        "rule": "recurring by actual days",
    }
    return _Line(("recurring", terms.key, fee.fee), steps, columns)


def _short_call_lines(
    cycle: Cycle, terms: Agreement, counts: Mapping[str, ShortCallCount]
) -> list[_Line]:
    """The surcharge of an agreement whose share of short calls is above its threshold (J07)."""
    rule, count = terms.short_calls, counts.get(terms.key)
    if rule is None or count is None:
        return []
    charged, exact = short_call_fee(count, rule)
    if not charged:
        return []
    rounding = terms.rounding.line
    decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
    amount = round_amount(exact, decimals, rounding.method)
    share, limit = (_count(100 * Fraction(part)) for part in (count.share, rule.threshold))
    steps = [
        f"{count.short} of {count.calls} answered calls last at most {rule.seconds} s: {share}%",
        f"above {limit}%: {charged} calls ({rule.scope}) at {_text(rule.fee)} {terms.currency}",
        f"{amount} {terms.currency}",
    ]
    columns = {
        "agreement": terms.key,
        "leg": terms.leg.value,
        "kind": "surcharge",
        "section": "surcharge",
        "service": terms.service.value,
        "description": f"Short calls of at most {rule.seconds} s",
        "destination": "",
        "band": "",
        "origin": "",
        "first_day": cycle.period.start,
        "last_day": cycle.period.last_day,
        "records": charged,
        "answered": charged,
        "quantity": Decimal(charged),
        "unit": "call",
        "price": rule.fee,
        "exact_amount": exact,
        "amount": amount,
        "currency": terms.currency,
        "rule": f"short calls ({rule.scope})",
    }
    return [_Line(("short_calls", terms.key), steps, columns)]


def _count(units: Fraction) -> str:
    """A quantity for people, to ten decimals."""
    return _text(round_amount(units, 10, Rounding.HALF_UP))


def _text(value: Decimal) -> str:
    """A decimal without trailing zeros, for people."""
    return f"{value.normalize():f}"
