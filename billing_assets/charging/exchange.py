"""Lines of an agreement in the currency of its invoice: converted once each, never re-rounded.

What was rated and charged stays as it is in the agreement's currency (`price`, `exact_amount`,
`priced_in`), so that the usage adds up; `amount` and `currency` are the invoice's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction

import polars as pl

from billing_assets.charging.line import (
    ADJUSTS,
    REPLACED,
    Facts,
    Line,
    by_days,
    count_text,
    inputs_of,
    line_amount,
    plain,
)
from billing_assets.core.fx import Rate
from billing_assets.core.periods import Period
from billing_assets.reference.exchange import Exchange
from billing_assets.reference.fx import Fixings, MissingFixing
from billing_assets.reference.models import Agreement

EXCHANGE = "exchange"
"""Among the inputs of a converted line: by which rule and at which rates."""

MISSING = "missing"
"""Among those: why a line could not be converted."""


def exchanged(facts: Facts, lines: Sequence[Line]) -> list[Line]:
    """The lines, those of agreements with a rule of exchange in the invoice's currency.

    A line that adjusts a final cycle is converted as that cycle was: by its period and its date
    of invoice. One whose fixing is missing stays as it is and says so among its inputs
    (`missing_rates`): validation blocks the cycle then.
    """
    converter = _Converter(facts)
    return [converter.converted(line) for line in lines]


def missing_rates(charges: pl.DataFrame) -> list[str]:
    """What some charges (table `charge`) could not be converted for, a sentence each."""
    rows = charges.filter(pl.col("inputs").str.contains(MISSING, literal=True))
    told = (json.loads(inputs).get(EXCHANGE, {}).get(MISSING) for inputs in rows["inputs"])
    return sorted({said for said in told if said})


def disclosures(charges: pl.DataFrame) -> list[str]:
    """By which rates some charges were converted, a sentence for each agreement's currency."""
    said = set[str]()
    for inputs, priced_in in charges.select("inputs", "priced_in").iter_rows():
        told = json.loads(inputs or "{}").get(EXCHANGE, {})
        if rates := told.get("rates"):
            shown = rates if len(rates) < 3 else [rates[0], rates[-1]]
            said.add(f"Converted from {priced_in} to {told['to']} at {' to '.join(shown)}")
    return sorted(said)


def is_dated(charges: pl.DataFrame) -> bool:
    """Whether any charge was converted at the date of its invoice, which then must be kept."""
    told = (json.loads(inputs or "{}") for inputs in charges["inputs"])
    rules = ((one.get(EXCHANGE, {}).get("rule"), one.get(ADJUSTS)) for one in told)
    return any(rule == "invoice_date" and not adjusts for rule, adjusts in rules)


@dataclass(frozen=True)
class _Quote:
    """A rate with the words that name it: '1.0850 USD per EUR, treasury of 2026-03-31'."""

    rate: Rate
    words: str


class _Converter:
    """Converts a cycle's lines; each fixing is looked up once."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.quotes: dict[tuple[str, object], _Quote] = {}

    def converted(self, line: Line) -> Line:
        terms = self.facts.terms.get(str(line.columns["agreement"]))
        if terms is None or terms.exchange is None or line.columns["kind"] == REPLACED:
            return line
        try:
            return self._converted(terms, terms.exchange, line)
        except MissingFixing as error:
            told = {"to": terms.exchange.to, MISSING: str(error)}
            return replace(line, inputs={**line.inputs, EXCHANGE: told})

    def _converted(self, terms: Agreement, rule: Exchange, line: Line) -> Line:
        due = line.due
        if rule.rule == "event_day":
            factor, quotes = self._by_day(terms, rule, line)
        else:
            quote = self._of_cycle(terms, rule, str(inputs_of(self.facts, line).get(ADJUSTS, "")))
            factor, quotes = quote.rate.factor(terms.currency, rule.to), [quote]
        amount, _ = line_amount(terms, due * factor, rule.to)
        own, rounded = line_amount(terms, due)
        last = (rounded, f"{plain(own)} {terms.currency}")
        steps = [step for step in line.steps if step not in last]
        shown = quotes if len(quotes) < 3 else [quotes[0], quotes[-1]]
        at = " to ".join(quote.words for quote in shown)
        step = (
            f"{count_text(due)} {terms.currency} in {rule.to} at {at} "
            f"({rule.rule.replace('_', ' ')}): {amount:f} {rule.to}"
        )
        told = {"to": rule.to, "rule": rule.rule, "rates": [quote.words for quote in quotes]}
        return replace(
            line,
            steps=[*steps, step],
            columns={
                **line.columns,
                "amount": amount,
                "currency": rule.to,
                "priced_in": terms.currency,
            },
            inputs={**line.inputs, EXCHANGE: told},
        )

    def _by_day(
        self, terms: Agreement, rule: Exchange, line: Line
    ) -> tuple[Fraction, list[_Quote]]:
        """The factor of a line whose days have fixings of their own, weighted by what each is
        worth; a line without usage has the day on which it ends."""
        worth = by_days(line)
        quotes = {day: self._on(terms, rule, day) for day in sorted(worth)}
        total = sum(worth.values(), Fraction(0))
        if not total:  # days that cancel out: no weight tells, the last one's fixing holds
            return quotes[max(quotes)].rate.factor(terms.currency, rule.to), list(quotes.values())
        sums = (
            worth[day] * quote.rate.factor(terms.currency, rule.to) for day, quote in quotes.items()
        )
        distinct = list({quote.words: quote for quote in quotes.values()}.values())
        return sum(sums, Fraction(0)) / total, distinct

    def _of_cycle(self, terms: Agreement, rule: Exchange, adjusts: str) -> _Quote:
        """The rate of the cycle, or of the final one that a line adjusts."""
        if rule.fixed:
            return _quote(rule.fixed.rate, "by contract")
        period, issued = self.facts.finals.get(
            adjusts, (self.facts.cycle.period, self.facts.issue_date)
        )
        if rule.rule == "last_day":
            return self._on(terms, rule, period.last_day)
        if rule.rule == "previous_month":
            return self._on(terms, rule, period.start.replace(day=1) - timedelta(days=1))
        if rule.rule == "average":
            return self._average(terms, rule, period)
        if issued is None:
            raise MissingFixing(f"{terms.key} converts at the date of the invoice: none is known")
        return self._on(terms, rule, issued)

    def _on(self, terms: Agreement, rule: Exchange, day: date) -> _Quote:
        key = (terms.key, day)
        if key not in self.quotes:
            fixings = self._fixings(rule)
            rate = fixings.on(terms.currency, rule.to, day, rule.through or "")
            said = f"{fixings.source or 'fixing'} for {day}"
            self.quotes[key] = _quote(rate, said, rule.through)
        return self.quotes[key]

    def _average(self, terms: Agreement, rule: Exchange, period: Period) -> _Quote:
        key = (terms.key, period)
        if key not in self.quotes:
            fixings = self._fixings(rule)
            first, last = period.start, period.last_day
            rate = fixings.average(terms.currency, rule.to, first, last, rule.through or "")
            said = f"{fixings.source or 'fixings'}, average of {first} to {last}"
            self.quotes[key] = _quote(rate, said, rule.through)
        return self.quotes[key]

    def _fixings(self, rule: Exchange) -> Fixings:
        fixings = self.facts.fixings
        return replace(fixings, source=rule.source) if rule.source else fixings


def _quote(rate: Rate, said: str, through: str | None = None) -> _Quote:
    by_way = f" by way of {through}" if through else ""
    words = f"{count_text(rate.units_per_base)} {rate.currency} per {rate.base}{by_way}, {said}"
    return _Quote(rate, words)
