"""The tax part of a document: how its lines are taxed, and what follows from taxed lines.

Pure. Lines bear their rates, so a note over some of them, or over parts of them, is taxed anew
by the same functions at the same fixing (catalogue 2.4, N06).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing_assets.core.fx import Rate, convert
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.invoicing.document import (
    Document,
    HomeTax,
    Line,
    TaxRow,
    Totals,
    Withheld,
    self_assessed_figures,
    tax_figures,
    withheld_figures,
)
from billing_assets.reference.fx import Fixings, MissingFixing
from billing_assets.reference.tax import (
    COMPENSATION,
    Position,
    Taxation,
    TaxCategory,
    TaxRounding,
    position,
    supply_day,
    withholding,
)

Words = Mapping[tuple[TaxCategory, Decimal], tuple[str, str]]
"""Exemption code and reason by category and rate."""


def line_position(
    taxation: Taxation, row: Mapping[str, Any], *, sale: bool, period: Period
) -> tuple[Position, Decimal]:
    """The tax position of a charge and the rate that its payer withholds.

    Raises `NoTaxRule`.
    """
    supply = taxation.supply(
        sale=sale, service=row["service"] or "", day=supply_day(row["last_day"], period)
    )
    rule = withholding(taxation.rules, supply)
    held = rule.rate if rule else Decimal(0)
    found = position(taxation.rules, supply)
    if row.get("tax_treatment") == "compensation" and found.category != "O":
        return COMPENSATION, held
    return found, held


def words_of(positions: Sequence[Position]) -> Words:
    """The words of each category and rate; several reasons stand together, without a code."""
    said: dict[tuple[TaxCategory, Decimal], dict[tuple[str, str], None]] = defaultdict(dict)
    for one in positions:
        said[one.category, one.rate][one.code, one.reason] = None
    return {
        key: next(iter(pairs))
        if len(pairs) == 1
        else ("", "; ".join(dict.fromkeys(reason for _, reason in pairs if reason)))
        for key, pairs in said.items()
    }


def taxed(
    lines: Sequence[Line],
    *,
    currency: str,
    rounding: TaxRounding,
    words: Words,
    home: tuple[str, date, Rate] | None = None,
) -> dict[str, Any]:
    """The fields of a `Document` that follow from taxed lines.

    `home` is our currency, the fixing's day and its rate, where tax is also shown in it.
    """
    zero = Decimal(0).scaleb(-minor_units(currency))
    taxes = tuple(
        TaxRow(
            category=category,
            rate=rate,
            base=base,
            tax=tax,
            code=words[category, rate][0],
            reason=words[category, rate][1],
        )
        for category, rate, base, tax in tax_figures(lines, currency, rounding)
    )
    own = tuple(
        TaxRow(category="AE", rate=rate, base=base, tax=tax)
        for rate, base, tax in self_assessed_figures(lines, currency, rounding)
    )
    net = sum((line.amount for line in lines), zero)
    tax = sum((row.tax for row in taxes), zero)
    home_tax = None
    if home is not None:
        target, day, rate = home
        home_tax = HomeTax(
            currency=target,
            base=rate.base,
            quoted=rate.currency,
            rate=rate.units_per_base,
            day=day,
            tax=convert(tax, rate, currency, target),
            self_assessed=convert(sum((row.tax for row in own), zero), rate, currency, target),
            gross=convert(net + tax, rate, currency, target),
        )
    return {
        "taxes": taxes,
        "tax_rounding": rounding,
        "self_assessed": own,
        "withheld": tuple(
            Withheld(rate=rate, base=base, amount=amount)
            for rate, base, amount in withheld_figures(lines, currency)
        ),
        "home_tax": home_tax,
        "totals": Totals(net=net, tax=tax, gross=net + tax),
    }


def beyond_en16931(
    currency: str, taxes: Sequence[TaxRow], totals: Totals, home: HomeTax | None
) -> str:
    """What EN 16931 cannot say of a document's money; empty when it can say all of it.

    Amounts have two decimals at most (BR-DEC, UBL-DT-01), whatever the currency, and the tax of a
    rate may be off its base x rate by less than 1.00 (BR-CO-17).
    """
    if minor_units(currency) > 2:
        return f"the decimals of {currency}"
    if home and totals.tax and minor_units(home.currency) > 2:
        return f"tax in {home.currency}, with its decimals"
    for row in taxes:
        exact = round_amount(Fraction(row.base) * Fraction(row.rate), 2, Rounding.HALF_UP)
        if abs(row.tax - exact) >= 1:
            return f"tax of {row.tax} rounded line by line, where base x rate is {exact}"
    return ""


def retaxed(original: Document, lines: Sequence[Line]) -> dict[str, Any]:
    """The tax part of a note over some lines, as the original taxed them (N06)."""
    home = original.home_tax
    return taxed(
        lines,
        currency=original.currency,
        rounding=original.tax_rounding,
        words={(row.category, row.rate): (row.code, row.reason) for row in original.taxes},
        home=home and (home.currency, home.day, Rate(home.base, home.quoted, home.rate)),
    )


def home_rate(
    lines: Sequence[Line],
    currency: str,
    home: str,
    day: date,
    fixings: Fixings | None,
    *,
    wanted: bool = False,
) -> tuple[str, date, Rate] | None:
    """Our currency and the fixing by which a document is shown in it; None where nothing is to
    show: it is `wanted` where the partner's terms say so, and always where there is tax.

    Raises `MissingFixing`.
    """
    has_tax = any(line.tax_rate or line.self_assessed_rate for line in lines)
    if currency == home or not (wanted or has_tax):
        return None
    if fixings is None:
        raise MissingFixing(f"a document in {currency} needs a fixing to {home} on {day}")
    return home, day, fixings.on(currency, home, day)
