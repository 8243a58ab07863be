"""Usage lines: the exact sum of rounded records, rounded once more as the agreement says.

Where a named rule prices some usage instead of its records, the same grouping makes rows of kind
`replaced`, so that what was rated stays accounted for.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.line import (
    ADJUSTS,
    REPLACED,
    Facts,
    Line,
    days_matter,
    line_amount,
    plain,
    shown_text,
)
from billing_assets.core.money import Rounding, from_e10, round_amount
from billing_assets.rating.terms import units_per_price
from billing_assets.reference.models import Agreement

_KEYS = (
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
    ADJUSTS,
)


def usage_lines(facts: Facts, usage: pl.DataFrame) -> list[Line]:
    """One line for each destination, rate, band, origin, and cycle that billed the days before."""
    return [_line(facts.terms[row["agreement"]], row, None) for row in _grouped(facts, usage)]


def replaced_lines(facts: Facts, usage: pl.DataFrame, rule: str) -> list[Line]:
    """What usage was rated at that a named rule prices instead: no money, but its exact amount."""
    return [_line(facts.terms[row["agreement"]], row, rule) for row in _grouped(facts, usage)]


def _grouped(facts: Facts, usage: pl.DataFrame) -> list[dict[str, Any]]:
    by_day = (
        [pl.struct("local_day", "amount").alias("by_day")]
        if any(days_matter(one) for one in facts.terms.values())
        else []
    )
    days = usage["local_day"].unique()
    adjusts = pl.DataFrame(
        {"local_day": days, ADJUSTS: [facts.billed_on(day) for day in days]},
        schema={"local_day": pl.Date, ADJUSTS: pl.String},
    )
    before = pl.col("local_day") < facts.cycle.period.start
    return (
        usage.join(adjusts, on="local_day", how="left", maintain_order="left")
        .with_columns((before | (pl.col(ADJUSTS) != "")).alias("prior"))
        .group_by(_KEYS)
        .agg(
            pl.col("local_day").min().alias("first_day"),
            pl.col("local_day").max().alias("last_day"),
            pl.col("records", "answered", "quantity", "billed_units").sum(),
            pl.col("fees", "amount").sum(),
            *by_day,
        )
        .sort(_KEYS, nulls_last=True)
        .to_dicts()
    )


def _line(terms: Agreement, row: dict[str, Any], rule: str | None) -> Line:
    units = Fraction(int(str(row["billed_units"])), units_per_price(terms))
    exact = Decimal(str(row["amount"]))
    rate = row["rate_e10"]
    price = from_e10(int(str(rate))) if rate is not None else None
    unit = terms.priced_unit
    steps = [
        f"{row['records']} records, {row['answered']} answered, {shown_text(units)} billed {unit}s",
        f"sum of records, each rounded by the agreement: {plain(exact)} {terms.currency}",
    ]
    if price is not None:
        steps.insert(1, f"price {plain(price)} {terms.currency} a {unit}")
    due: Fraction | Decimal = exact
    if rule is None and terms.rounding.quantity and price is not None:
        units, due = _by_period(terms, units, price, Decimal(str(row["fees"])), steps)
    amount, said = line_amount(terms, due) if rule is None else (Decimal(0), f"priced by {rule}")
    if said:
        steps.append(said)
    # the quantity bears the sign, because a price never does (EN 16931 BR-27)
    signed = -abs(units) if due < 0 else abs(units) if due > 0 else units
    words = [str(row["destination"] or "uncharged attempts"), str(row["band"]), str(row["origin"])]
    columns = {
        "agreement": terms.key,
        "leg": row["leg"],
        "kind": REPLACED if rule else "usage",
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
        "quantity": round_amount(signed, 10, Rounding.HALF_UP),
        "unit": unit,
        "price": price,
        "exact_amount": exact,
        "amount": amount,
        "currency": terms.currency,
        "rule": rule or str(row["pricing"]),
        "tax_treatment": "",
    }
    key = ("usage", *(row[name] for name in _KEYS if name != ADJUSTS or row[name]))
    inputs = {ADJUSTS: row[ADJUSTS]} if row[ADJUSTS] else {}
    days = [(one["local_day"], Fraction(one["amount"])) for one in row.get("by_day", ())]
    return Line(
        (REPLACED, rule, *key) if rule else key, steps, columns, inputs, Fraction(due), days
    )


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
        f"the period's quantity rounded {rounding.method.replace('_', ' ')} "
        f"to {rounding.decimals} decimals: "
        f"{plain(rounded)} {terms.priced_unit}s at {plain(price)}"
        + (f" and fees of {plain(fees)}" if fees else "")
    )
    return Fraction(rounded), due
