"""Stored accruals: taken once, posted and reversed, and set against what was billed since."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.accruals import (
    CHARGED,
    ESTIMATE,
    EXPECTED,
    Accrual,
    accrue,
    billed_by,
)
from billing_assets.charging.carry import CARRIED_FORWARD
from billing_assets.charging.line import REPLACED
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.installation import Installation
from billing_assets.invoicing.journal import csv_of
from billing_assets.lake.tables import ACCRUAL, CHARGE
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Leg

_SETTLED = ("rebate", "discount", "shortfall", "balance", "fixed_fee", "recurring")
"""Kinds that are charged once at a window's end; a later tier's price is in its cycles' lines."""

_SIDE = ["partner", "leg", "service", "currency"]

COLUMNS = (
    "accrual",
    "date",
    "partner",
    "line",
    "account",
    "cost_center",
    "debit",
    "credit",
    "currency",
    "text",
)
"""Columns of the journal of an accrual: its postings, and those that reverse them."""


def take_accrual(home: Installation, at: date) -> Accrual:
    """Take the accrual of a day and store it; one taken before is replaced."""
    taken = accrue(at, home.reference, home.lake, home.registry, buckets=home.settings.buckets)
    home.lake.replace_slice(ACCRUAL, taken.rows, {"day": at})
    return taken


def stored_accrual(home: Installation, at: date | None = None) -> Accrual:
    """The stored accrual of a day, or the last one. Raises `NotFound`."""
    days = sorted(home.lake.days(ACCRUAL))
    if at is None and days:
        at = days[-1]
    if at is None or at not in days:
        raise NotFound(
            f"no accrual of {at} was taken" if at else "no accrual was taken yet",
            hint="`icb accruals --at DATE` takes one",
        )
    return Accrual(at, home.lake.scan(ACCRUAL, part={"day": at}).collect())


def sums(taken: Accrual) -> pl.DataFrame:
    """An accrual by partner, leg, service and currency, each kind of basis in its column."""
    money = pl.col("amount")
    return (
        taken.rows.group_by(_SIDE)
        .agg(
            money.filter(pl.col("kind") == "rated").sum().alias("rated"),
            money.filter((pl.col("basis") == CHARGED) & (pl.col("kind") != "rated"))
            .sum()
            .alias("terms"),
            money.filter(pl.col("basis") == EXPECTED).sum().alias("expected"),
            money.filter(pl.col("basis") == ESTIMATE).sum().alias("estimated"),
            money.sum().alias("accrued"),
        )
        .sort(_SIDE)
    )


def journal(taken: Accrual, ledger: Ledger) -> bytes:
    """The balanced postings of an accrual and their reversal on the first of the next month, CSV.

    Raises `BillingError` when the ledger names no account for accruals, or no rule fits.
    """
    if not ledger.accrued_income or not ledger.accrued_cost:
        raise BillingError(
            "the ledger names no accounts for accruals",
            hint="add accrued_income and accrued_cost to ledger.yaml",
        )
    posted: dict[tuple[str, str, str, str, str], Decimal] = {}
    for row in taken.rows.iter_rows(named=True):
        asked = (row["leg"], row["section"], row["service"], row["kind"])
        rule = next((rule for rule in ledger.rules if rule.fits(*asked)), None)
        if rule is None:
            leg, section, service, kind = asked
            raise BillingError(
                f"no ledger account for an accrual of {row['partner']} ({leg}, section "
                f"{section}, service {service or 'none'}, kind {kind})",
                hint="add a rule to ledger.yaml",
            )
        key = (row["partner"], row["currency"], row["leg"], rule.account, rule.cost_center)
        posted[key] = posted.get(key, Decimal(0)) + row["amount"]
    lines: list[dict[str, str]] = []
    for sign, day, words in ((1, taken.at, "accrued"), (-1, taken.reversed_on, "reversed")):
        for (partner, currency, leg, account, center), amount in sorted(posted.items()):
            owed = leg == Leg.CUSTOMER.value
            control = ledger.accrued_income if owed else ledger.accrued_cost
            zero = Decimal(0).scaleb(-minor_units(currency))
            debit = (sign * amount * (1 if owed else -1)).quantize(zero)
            for to, of, side in ((control, "", debit), (account, center, -debit)):
                if side:
                    lines.append(
                        {
                            "accrual": taken.at.isoformat(),
                            "date": day.isoformat(),
                            "partner": partner,
                            "line": str(len(lines) + 1),
                            "account": to,
                            "cost_center": of,
                            "debit": f"{max(side, zero):f}",
                            "credit": f"{max(-side, zero):f}",
                            "currency": currency,
                            "text": f"{words} {taken.at} {partner} {leg}",
                        }
                    )
    return csv_of(COLUMNS, lines)


def against_actual(home: Installation, taken: Accrual) -> pl.DataFrame:
    """An accrual beside what documents have billed since, by cycle and by expected term.

    A row by partner, cycle, leg, service and currency; one for each expected term, with the days
    of its window. `actual` is null while it is not billed. Charges of a cycle that ran on after
    the day count by their days up to it, an expected term by the share that was accrued.
    """
    rows: list[dict[str, object]] = []
    finals = {
        one.id: one
        for one in home.registry.cycles.list()
        if billed_by(home.registry, one, date.max) and not billed_by(home.registry, one, taken.at)
    }
    charges = home.lake.scan(CHARGE, part={"cycle": list(finals)} if finals else None)
    billed = (
        charges.filter(
            pl.col("cycle").is_in(list(finals)),
            ~pl.col("kind").is_in([REPLACED, CARRIED_FORWARD]),
        )
        .with_columns(pl.col("priced_in").fill_null(pl.col("currency")))
        .collect()
        .to_dicts()
    )
    terms = taken.rows.filter(pl.col("basis") == EXPECTED).to_dicts()
    settled = [Decimal(0)] * len(terms)
    actual: dict[tuple[str, ...], Decimal] = {}
    for row in billed:
        number = next((n for n, term in enumerate(terms) if _settles(row, term)), None)
        if number is not None:
            settled[number] += _priced(row)
            continue
        name = tuple(str(row[n]) for n in ("partner", "cycle", "leg", "service", "priced_in"))
        share = _share(row["first_day"], row["last_day"], taken.at)
        actual[name] = actual.get(name, Decimal(0)) + _part(_priced(row), share, row["priced_in"])
    names = ["partner", "cycle", "leg", "service", "currency"]
    accrued = (
        taken.rows.filter(pl.col("basis") != EXPECTED).group_by(names).agg(pl.col("amount").sum())
    )
    sums_of = {tuple(row[:-1]): row[-1] for row in accrued.iter_rows()}
    for key in sorted({*sums_of, *actual}):
        done = key[1] in finals
        rows.append(
            {
                **dict(zip(names, key, strict=True)),
                "term": "",
                **_compared(sums_of.get(key), actual.get(key, Decimal(0)) if done else None),
            }
        )
    for row, whole in zip(terms, settled, strict=True):
        share = _share(row["first_day"], row["last_day"], taken.at)
        over = any(
            one.partner == row["partner"] and one.period.start <= row["last_day"] < one.period.end
            for one in finals.values()
        )
        found = _part(whole, share, row["currency"]) if over and row["kind"] in _SETTLED else None
        term = f"{row['rule']}, {row['first_day']} to {row['last_day']}"
        told = {name: row[name] for name in names}
        rows.append({**told, "term": term, **_compared(row["amount"], found)})
    money = dict.fromkeys(("accrued", "actual", "difference"), pl.Decimal(38, 10))
    schema = {
        **dict.fromkeys([*names, "term"], pl.String),
        **money,
        "difference %": pl.Decimal(38, 2),
    }
    return pl.DataFrame(rows, schema=schema)


def _compared(accrued: Decimal | None, actual: Decimal | None) -> dict[str, object]:
    taken = accrued or Decimal(0)
    if actual is None:
        return {"accrued": taken, "actual": None, "difference": None, "difference %": None}
    part = (
        round_amount(100 * abs(taken - actual) / abs(actual), 2, Rounding.HALF_UP)
        if actual
        else None
    )
    return {
        "accrued": taken, "actual": actual, "difference": taken - actual, "difference %": part
    }  # fmt: skip


def _settles(charge: Mapping[str, Any], term: Mapping[str, Any]) -> bool:
    """Whether a charge settles the window of an expected term."""
    inputs = json.loads(charge["inputs"] or "{}")
    same = (
        charge["kind"] == term["kind"]
        and charge["kind"] in _SETTLED
        and charge["partner"] == term["partner"]
        and inputs.get("fee", charge["rule"]) == term["rule"]
        and charge["agreement"].partition("@")[0] == term["agreement"].partition("@")[0]
    )
    if not same:
        return False
    first, _, end = str(inputs.get("window", "")).partition("/")
    if not end:
        return bool(charge["first_day"] <= term["last_day"] <= charge["last_day"])
    return bool(date.fromisoformat(first) <= term["first_day"] < date.fromisoformat(end))


def _share(first: date, last: date, at: date) -> Fraction:
    """The part of some days that is over at the end of a day."""
    days = (last - first).days + 1
    return Fraction(min(days, max(0, (at - first).days + 1)), days)


def _priced(row: Mapping[str, Any]) -> Decimal:
    """What a charge came to in its agreement's currency, in which it was accrued."""
    if row["priced_in"] == row["currency"]:
        return row["amount"]
    return round_amount(row["exact_amount"], minor_units(row["priced_in"]), Rounding.HALF_UP)


def _part(amount: Decimal, share: Fraction, currency: str) -> Decimal:
    return round_amount(Fraction(amount) * share, minor_units(currency), Rounding.HALF_UP)
