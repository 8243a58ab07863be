"""Capacity by calendar month: the commitment, and the percentile of the samples above it (H06).

A month is billed by the cycle of its last day. Missing samples are told beside what is charged,
so that validation blocks the cycle: a level of too few samples would be silently low.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.charging.line import Facts, Line, plain, rule_line
from billing_assets.charging.percentile import capacity_charge, percentile
from billing_assets.reference.cells import local_instant
from billing_assets.reference.fees import Capacity
from billing_assets.reference.load import InForce
from billing_assets.reference.samples import samples_of
from billing_assets.reference.volume_terms import Window, calendar_window

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Measured:
    """The level of some ports over some days, in Mbps; None without a sample.

    `samples` are the instants at which all ports were measured. `expected` counts the intervals
    of the days, `missing` those without such an instant.
    """

    level: Decimal | None
    samples: int
    expected: int
    missing: int


def measure(samples: pl.DataFrame, terms: Capacity, begins: datetime, ends: datetime) -> Measured:
    """Add up the ports by instant from one instant to another, and take the percentile.

    `samples` are in the columns of `reference.samples.SAMPLES`.
    """
    every = timedelta(minutes=terms.interval_minutes)
    sums = (
        samples.filter(
            pl.col("port").is_in(terms.ports),
            pl.col("at").is_between(begins, ends, closed="left"),
        )
        .group_by("at")
        .agg(pl.col("mbps").sum(), pl.len().alias("ports"))
        .filter(pl.col("ports") == len(terms.ports))
        .with_columns(
            ((pl.col("at") - begins).dt.total_seconds() // int(every.total_seconds())).alias(
                "interval"
            )
        )
    )
    expected = (ends - begins) // every
    covered = sums.filter(pl.col("interval") < expected)["interval"].n_unique()
    levels = sums["mbps"].to_list()
    level = percentile(levels, terms.share) if levels else None
    return Measured(level, len(levels), expected, expected - covered)


def capacity_lines(facts: Facts) -> list[Line]:
    """The capacity of the months that a cycle bills."""
    return [
        line
        for agreement in facts.agreements
        for terms in agreement.terms.capacity
        for line in _lines(facts, agreement, terms)
    ]


def missing_samples(charges: pl.DataFrame) -> list[str]:
    """What must be known of charges (table `charge`) whose samples are too few, a sentence each."""
    found = []
    rows = charges.filter(pl.col("kind") == "capacity").sort("charge_id")
    for row in rows.iter_rows(named=True):
        told = json.loads(row["inputs"])
        if told["missing"] > told["allowed"]:
            found.append(
                f"{row['description']}, {row['first_day']} to {row['last_day']}: "
                f"{told['missing']} of {told['expected']} samples missing, "
                f"{told['allowed']} may be"
            )
    return found


def _lines(facts: Facts, agreement: InForce, terms: Capacity) -> list[Line]:
    begins, ends = agreement.local_days
    held = max(terms.valid_from, begins), min(terms.valid_to or date.max, ends)
    billed = {
        calendar_window("month", one.first)
        for one in facts.billed_fees
        if (one.kind, one.agreement, one.fee) == ("capacity", agreement.terms.key, terms.capacity)
    }
    lines = []
    first = max(held[0], min(facts.late_since or date.max, facts.cycle.period.start))
    while first < min(held[1], facts.cycle.period.end):
        month = calendar_window("month", first)
        days = max(held[0], month[0]), min(held[1], month[1])
        if month not in billed and facts.bills_fee_of(days[1] - _DAY):
            lines.append(_line(facts, agreement, terms, month, days))
        first = month[1]
    return lines


def _line(facts: Facts, agreement: InForce, terms: Capacity, month: Window, days: Window) -> Line:
    zone, currency = agreement.terms.zone, agreement.terms.currency
    measured = measure(
        samples_of(agreement.file, terms.samples, facts.samples),
        terms,
        local_instant(days[0], zone),
        local_instant(days[1], zone),
    )
    part = Fraction((days[1] - days[0]).days, (month[1] - month[0]).days)
    level, commit = measured.level or Decimal(0), terms.commit
    exact = part * capacity_charge(
        level, commit=commit, commit_price=terms.commit_price, burst_price=terms.burst_price
    )
    burst = max(Decimal(0), level - commit)
    dropped = int(measured.samples * (1 - Fraction(terms.share)))
    steps = [
        f"{measured.samples} samples of {', '.join(terms.ports)}, {measured.expected} expected "
        f"every {terms.interval_minutes} minutes",
        f"level {plain(level)} Mbps: the highest without the top {dropped}"
        if measured.samples
        else "no sample: the commitment alone",
        f"{plain(commit)} Mbps at {plain(terms.commit_price)} {currency} and {plain(burst)} Mbps "
        f"above at {plain(terms.burst_price)} {currency} a month",
    ]
    if part != 1:
        steps.append(f"{(days[1] - days[0]).days} of {(month[1] - month[0]).days} days")
    return rule_line(
        agreement.terms,
        key=("capacity", agreement.terms.key, terms.capacity, days[0]),
        kind="capacity",
        title=terms.title,
        days=(days[0], days[1] - _DAY),
        exact=exact,
        steps=steps,
        rule=f"percentile {plain(terms.share)}",
        quantity=max(level, commit),
        unit="mbps",
        inputs={
            "fee": terms.capacity,
            "level": plain(level),
            "samples": measured.samples,
            "expected": measured.expected,
            "missing": measured.missing,
            "allowed": int(terms.tolerance * measured.expected),
        },
    )
