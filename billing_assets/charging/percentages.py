"""Surcharges of a percentage: a fraction of what usage is charged, on lines of their own."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from billing_assets.charging.line import (
    ADJUSTS,
    BILLED_AT,
    Facts,
    Line,
    by_days,
    count_text,
    days_matter,
    inputs_of,
    plain,
    rule_line,
)
from billing_assets.reference.fees import PERCENTAGE_OF, Percentage
from billing_assets.reference.models import Agreement


def percentage_lines(facts: Facts, lines: Sequence[Line]) -> list[Line]:
    """The percentages on a cycle's lines: one for each agreement and cycle that it corrects.

    They are taken of the lines' amounts as they are billed, so that a document proves them.
    """
    made: list[Line] = []
    for terms in facts.terms.values():
        for one in terms.percentages:
            groups: dict[str, list[Line]] = defaultdict(list)
            for line in lines:
                if _counts(terms, one, line):
                    groups[str(inputs_of(facts, line).get(ADJUSTS, ""))].append(line)
            made += [_line(terms, one, group, corrected) for corrected, group in groups.items()]
    return [line for line in made if line.columns["exact_amount"]]


def _counts(terms: Agreement, one: Percentage, line: Line) -> bool:
    columns = line.columns
    if columns["agreement"] != terms.key or columns["kind"] not in PERCENTAGE_OF:
        return False
    if columns["kind"] == "usage" and columns["rule"] == "bill_and_keep":
        return False
    if not one.destinations or columns["destination"] in one.destinations:
        return True
    # of a rule over several destinations, all are named or none (reference.fees)
    priced = [rule.destinations for rule in terms.volume if rule.rule == columns["rule"]]
    return any(named and set(named) <= set(one.destinations) for named in priced)


def _line(terms: Agreement, one: Percentage, group: list[Line], corrected: str) -> Line:
    base, exact, steps = Decimal(0), Fraction(0), list[str]()
    by_day: list[tuple[date, Fraction]] = []
    for line in group:
        amount, due, said = _of(terms, one, line)
        base, exact = base + amount, exact + due
        by_day += _over_days(line, due) if days_matter(terms) else []
        steps.append(said)
    percent = plain(100 * one.rate)
    shown = (line.columns[name] for line in group for name in ("first_day", "last_day"))
    days = [day for day in shown if isinstance(day, date)]
    floor = "" if one.at_least is None else ", no line below its least amount"
    made = rule_line(
        terms,
        key=("percentage", terms.key, one.percentage, *([corrected] if corrected else [])),
        kind="surcharge",
        title=f"{one.title}, {percent}%",
        days=(min(days), max(days)),
        exact=exact,
        steps=[*steps, f"{percent}% of {plain(base)} {terms.currency}{floor}"],
        rule=one.percentage,
        inputs={
            "base": plain(base),
            "rate": plain(one.rate),
            **({ADJUSTS: corrected} if corrected else {}),
        },
    )
    return replace(made, by_day=by_day)


def _over_days(line: Line, due: Fraction) -> Iterator[tuple[date, Fraction]]:
    """What of a percentage falls on each day of its line."""
    days = by_days(line)
    total = sum(days.values(), Fraction(0))
    if not total:  # days that cancel out: no weight tells
        yield max(days), due
        return
    yield from ((day, due * weight / total) for day, weight in days.items())


def _of(terms: Agreement, one: Percentage, line: Line) -> tuple[Decimal, Fraction, str]:
    """A line's amount, what the percentage makes of it, and the sentence that says so."""
    amount, units = (Decimal(str(line.columns[name])) for name in ("amount", "quantity"))
    due, said = Fraction(amount) * Fraction(one.rate), f"{line.columns['description']}: "
    least = Fraction(one.at_least or 0) * abs(Fraction(units))
    if BILLED_AT in line.inputs:
        sign = -1 if terms.reverse else 1
        was = abs(Fraction(units)) * Fraction(str(line.inputs[BILLED_AT]))
        before, now = (
            max(Fraction(one.rate) * spend, least) for spend in (was, was + sign * Fraction(amount))
        )
        due = sign * (now - before)
        return amount, due, said + plain(amount) + (f": {count_text(due)}" if least else "")
    if abs(due) >= least:
        return amount, due, said + plain(amount)
    due = -least if units < 0 else least
    said += f"{plain(amount)}, at least {plain(one.at_least or Decimal(0))} a {terms.priced_unit}"
    return amount, due, f"{said}: {count_text(due)}"
