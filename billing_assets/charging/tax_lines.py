"""Lines that tax adds to a bill: contributions passed through, and gross-up of withheld tax.

Both are parts of other lines' amounts, so they are made last (catalogue 2.4, K04 and K05). Tax
itself is no charge: it stands on the document.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

from billing_assets.charging.line import REPLACED, Facts, Line, count_text, plain, rule_line
from billing_assets.reference.models import Agreement
from billing_assets.reference.tax import (
    DatedRate,
    Factor,
    Supply,
    Taxation,
    WithholdingRule,
    factors_of,
    supply_day,
    withholding,
)


def tax_lines(facts: Facts, lines: Sequence[Line]) -> list[Line]:
    """The contributions on a cycle's lines, then the gross-up of both.

    A factor without a rate on the day makes no line: validation blocks the cycle for it.
    """
    taxation = facts.taxation
    if taxation is None:
        return []
    billed = [line for line in lines if line.columns["kind"] != REPLACED]
    passed = _contributions(facts, taxation, billed)
    return passed + _gross_ups(facts, taxation, [*billed, *passed])


def factor_amount(base: Decimal, share: Decimal, rate: Decimal) -> Fraction:
    """A contribution, exact: base x assessed share x factor.

    >>> factor_amount(Decimal("1000.00"), Decimal("0.80"), Decimal("0.36"))
    Fraction(288, 1)
    """
    return Fraction(base) * Fraction(share) * Fraction(rate)


def gross_up_amount(net: Decimal, rate: Decimal) -> Fraction:
    """What is added to a net so that it is left when `rate` of the whole is withheld, exact.

    >>> gross_up_amount(Decimal("900.00"), Decimal("0.10"))
    Fraction(100, 1)
    """
    return Fraction(net) * Fraction(rate) / (1 - Fraction(rate))


def _contributions(facts: Facts, taxation: Taxation, lines: Sequence[Line]) -> list[Line]:
    groups: dict[tuple[str, str, date], list[Line]] = defaultdict(list)
    found: dict[tuple[str, date], tuple[Factor, DatedRate]] = {}
    for line in lines:
        supply = _supply(facts, taxation, line)
        for factor in factors_of(taxation.rules, supply):
            rate = factor.on(supply.day)
            if rate is None or (factor.origins and line.columns["origin"] not in factor.origins):
                continue
            found[factor.factor, rate.valid_from] = factor, rate
            groups[_agreement(line), factor.factor, rate.valid_from].append(line)
    made = []
    for (key, name, since), group in sorted(groups.items()):
        factor, rate = found[name, since]
        share = taxation.partner.shares.get(name, factor.share)
        base = _net(group)
        exact = factor_amount(base, share, rate.rate)
        steps = [
            f"{plain(base)} of {len(group)} lines x share {plain(share)} x factor "
            f"{plain(rate.rate)} in force since {since}"
        ]
        made += _line(facts, key, ("factor", name, since), factor.title, group, exact, steps, name)
    return made


def _gross_ups(facts: Facts, taxation: Taxation, lines: Sequence[Line]) -> list[Line]:
    if not taxation.partner.gross_up:
        return []
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    rules: dict[str, WithholdingRule] = {}
    for line in lines:
        rule = withholding(taxation.rules, _supply(facts, taxation, line))
        if rule:
            rules[rule.rule] = rule
            groups[_agreement(line), rule.rule].append(line)
    made = []
    for (key, name), group in sorted(groups.items()):
        net, rate = _net(group), rules[name].rate
        exact = gross_up_amount(net, rate)
        title = f"Gross-up of {count_text(100 * Fraction(rate))}% withholding tax"
        steps = [f"{plain(net)} x {plain(rate)} / (1 - {plain(rate)}): the payer bears the tax"]
        made += _line(facts, key, ("gross_up", name), title, group, exact, steps, name)
    return made


def _line(
    facts: Facts,
    agreement: str,
    key: tuple[object, ...],
    title: str,
    group: Sequence[Line],
    exact: Fraction,
    steps: Sequence[str],
    rule: str,
) -> list[Line]:
    """The line over a group of others, none for nothing."""
    if not exact:
        return []
    terms: Agreement = facts.terms[agreement]
    return [
        rule_line(
            terms,
            key=(*key, agreement),
            kind="surcharge",
            title=title,
            days=(
                min(line.columns["first_day"] for line in group),  # pyright: ignore[reportArgumentType]
                max(line.columns["last_day"] for line in group),  # pyright: ignore[reportArgumentType]
            ),
            exact=exact,
            steps=steps,
            rule=f"{key[0]} {rule}",
            unit="event",
            inputs={"lines": [" ".join(str(part) for part in line.key) for line in group]},
        )
    ]


def _supply(facts: Facts, taxation: Taxation, line: Line) -> Supply:
    terms = facts.terms[_agreement(line)]
    last = line.columns["last_day"]
    assert isinstance(last, date)
    return taxation.supply(
        sale=(line.columns["leg"] == "customer") is not terms.reverse,
        service=str(line.columns["service"] or ""),
        day=supply_day(last, facts.cycle.period),
    )


def _agreement(line: Line) -> str:
    return str(line.columns["agreement"])


def _net(lines: Sequence[Line]) -> Decimal:
    return sum((Decimal(str(line.columns["amount"])) for line in lines), Decimal(0))
