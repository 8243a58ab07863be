"""Lines of revenue shares: usage rated at the retail price, shared out by priority.

As with volume rules, a cycle bills what the window comes to now, less what it came to before the
cycle's usage. What rounding leaves over stays with who has the money. A line tells a partner what
is its own or ours, and nothing of other parties.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import partial

import polars as pl

from billing_assets.charging.line import (
    REPLACED,
    Facts,
    Line,
    count_text,
    days_matter,
    plain,
    rule_line,
)
from billing_assets.charging.pools import KEYS, Change, Pool, Shared, shared_usage, shortages
from billing_assets.charging.priced import Priced, Worth
from billing_assets.charging.usage_lines import replaced_lines
from billing_assets.charging.waterfall import Part
from billing_assets.core.money import Rounding, round_amount
from billing_assets.reference.models import Agreement, Leg
from billing_assets.reference.share_terms import CARRIER, PartOf, RevenueShare, Take

SHORT = "short"
"""Among the inputs of a line: where there was too little for what was agreed."""


def share_out(facts: Facts, priced: Priced) -> None:
    """Take what the shares of a cycle's agreements name from its usage, and add their lines.

    A customer that pays the full price has no part in how we divide it: its usage stays.
    """
    found, kept, kept_before = shared_usage(facts, priced.kept, priced.kept_before)
    divided = [one for one in found if _divides_only(one)]
    priced.kept = pl.concat([kept, *(one.own for one in divided)])
    priced.kept_before = pl.concat([kept_before, *(one.before for one in divided)])
    for shared in found:
        if shared in divided:
            priced.lines += _notes(facts, shared)
            continue
        for change in shared.changes():
            priced.lines += _share_line(facts, shared, change)
        priced.lines += replaced_lines(facts, shared.own, shared.rule.share)
        priced.worth += _worth(shared)


def _worth(shared: Shared) -> Iterator[Worth]:
    """What a share charges, apart for each destination."""
    terms, rule = shared.agreement.terms, shared.rule
    sign = -1 if terms.reverse else 1

    def until(destination: str, day: date) -> tuple[Fraction, Fraction]:
        changes = list(shared.until(day, destination).pools())
        was, now = (
            sum((due(terms, rule, pool.parts()) for pool in pools), Fraction(0))
            for pools in ((one.was for one in changes), (one.now for one in changes))
        )
        return sign * was, sign * now

    for name in shared.destinations:
        yield Worth({terms.agreement}, {name}, frozenset(rule.accounts), partial(until, name))


def part_lines(facts: Facts) -> list[Line]:
    """What a partner gets, or passes on, of shares that stand in other partners' agreements."""
    lines: list[Line] = []
    sources = facts.sources
    if sources is None:
        return lines
    for agreement in facts.agreements:
        first, end = agreement.local_days
        held = pl.col("local_day").is_between(first, end, closed="left")
        for one in agreement.terms.parts:
            named = [a for a in sources.agreements if a.terms.agreement == one.agreement]
            found, _, _ = shared_usage(
                replace(sources, agreements=named),
                sources.usage.filter(held),
                sources.billed.filter(held),
            )
            for shared in found:
                if shared.rule.share == one.share:
                    for change in shared.changes():
                        lines += _part_line(facts, agreement.terms, one, shared, change)
    return lines


def due(terms: Agreement, rule: RevenueShare, parts: Sequence[Part]) -> Fraction:
    """What an agreement's payer owes: the partner its own parts, or what is not its own.

    We have the money on the supplier leg and pay the partner; on the customer leg the partner has
    it, keeps what is its own and pays us the rest. In a chain we pay what reaches the partner.
    """
    mine = [part for part in parts if part.to == terms.partner]
    if terms.pays_partner:
        return sum((part.there if rule.chain else part.amount for part in mine), Fraction(0))
    own = {id(part) for part in mine}
    return sum((part.amount for part in parts if id(part) not in own), Fraction(0))


def unmet_takes(charges: pl.DataFrame) -> list[str]:
    """Where some charges (table `charge`) had too little for what was agreed, a sentence each."""
    rows = charges.filter(pl.col("inputs").str.contains(f'"{SHORT}"', literal=True))
    told = (json.loads(inputs) for inputs in rows.sort("charge_id")["inputs"])
    return [said for inputs in told for said in inputs[SHORT]]


def _divides_only(shared: Shared) -> bool:
    terms, rule = shared.agreement.terms, shared.rule
    return not terms.pays_partner and not rule.vat and terms.partner not in rule.parties


def _notes(facts: Facts, shared: Shared) -> Iterator[Line]:
    """A row without money where a customer's own price is too little for what we agreed of it."""
    for change in shared.changes():
        if said := shortages(shared, change):
            labels = change.labels
            line = rule_line(
                shared.agreement.terms,
                key=("shortage", *_key(shared, change)),
                kind=REPLACED,
                title=", ".join([shared.rule.name, *change.title]),
                days=shared.shown_days(facts),
                exact=0,
                steps=said,
                rule=shared.rule.share,
                destination=str(labels["destination"] or ""),
                inputs={SHORT: said},
            )
            yield line


def _share_line(facts: Facts, shared: Shared, change: Change) -> Iterator[Line]:
    """What the agreement's partner and we owe each other of a pool."""
    terms, rule = shared.agreement.terms, shared.rule
    parts = change.now.parts()
    now, before = due(terms, rule, parts), due(terms, rule, change.was.parts())
    steps = [*_pool_steps(terms, change), *_take_steps(terms, rule, parts)]
    if rule.chain or not terms.pays_partner or sum(p.to == terms.partner for p in parts) > 1:
        payee = terms.partner if terms.pays_partner else "us"
        steps.append(f"to {payee}: {count_text(now)}")
    yield from _line(
        facts, terms, shared, change, key=("share", *_key(shared, change)), rule=rule.share,
        name=rule.name, money=(before, now), steps=steps,
    )  # fmt: skip


def _part_line(
    facts: Facts, terms: Agreement, one: PartOf, shared: Shared, change: Change
) -> Iterator[Line]:
    """What a partner gets of a pool of another one's usage, or passes on of it."""

    def owed(pool: Pool) -> Fraction:
        mine = [part for part in pool.parts() if part.to == terms.partner]
        if terms.leg is Leg.CUSTOMER:
            return sum((part.there - part.amount for part in mine), Fraction(0))
        return due(terms, shared.rule, pool.parts())

    pool, rule = change.now, shared.rule
    unit = shared.agreement.terms.priced_unit
    steps = [f"{pool.records} records, {pool.calls} answered, {count_text(pool.units)} {unit}s"]
    parts = pool.parts()
    for number, part in enumerate(parts):
        if part.to != terms.partner:
            continue
        if not rule.chain:
            steps.append(_said(part, unit, ""))
        elif terms.leg is Leg.CUSTOMER:
            following = parts[number + 1].to if part.take else "nobody"
            steps.append(f"to {following}: {count_text(part.there - part.amount)}")
        else:
            first = shared.agreement.terms.partner
            before = parts[number - 1].to if number else first
            steps.append(f"from {before}: {count_text(part.there)}")
    yield from _line(
        facts, terms, shared, change, key=("part", terms.key, one.part, *_key(shared, change)),
        rule=one.part, name=one.name, money=(owed(change.was), owed(pool)), steps=steps,
    )  # fmt: skip


def _line(
    facts: Facts,
    terms: Agreement,
    shared: Shared,
    change: Change,
    *,
    key: Sequence[object],
    rule: str,
    name: str,
    money: tuple[Fraction, Fraction],
    steps: list[str],
) -> Iterator[Line]:
    was, pool, (before, now) = change.was, change.now, money
    exact, units, short = now - before, pool.units - was.units, shortages(shared, change)
    if not exact and not short:
        return
    if was.records or was.gross:
        steps.append(f"less what the month came to before this cycle: {count_text(before)}")
    labels = {name: str(change.labels[name] or "") for name in KEYS[:3]}
    line = rule_line(
        terms,
        key=key,
        kind="share",
        title=", ".join([name, *change.title]),
        days=shared.shown_days(facts),
        exact=-exact if terms.reverse else exact,
        steps=steps,
        rule=rule,
        quantity=units,
        unit=shared.agreement.terms.priced_unit,
        price=_single_price(exact, units),
        records=pool.records - was.records,
        answered=pool.calls - was.calls,
        inputs={
            "window": f"{shared.window[0]}/{shared.window[1]}",
            "of": shared.agreement.terms.key,
            "rate": _retail(change),
            "retail": count_text(pool.gross),
            "base": count_text(pool.net),
            "units": count_text(pool.units),
            "calls": pool.calls,
            "before": count_text(before),
            "parts": [[part.to, count_text(part.amount)] for part in pool.parts()],
            **({SHORT: short} if short else {}),
        },
        **labels,
    )
    yield replace(line, by_day=shared.by_day(change)) if days_matter(terms) else line


def _key(shared: Shared, change: Change) -> list[object]:
    terms = shared.agreement.terms
    return [terms.key, shared.rule.share, shared.window[0], *change.labels.values()]


def _single_price(exact: Fraction, units: Fraction) -> Decimal | None:
    """The amount of one unit where ten decimals write it exactly."""
    if not units or exact / units < 0:
        return None
    price = round_amount(exact / units, 10, Rounding.HALF_UP)
    return price if Fraction(price) == exact / units else None


def _retail(change: Change) -> str:
    """The price of a unit at which a pool's usage was rated, empty when it has none."""
    rate_e10 = change.labels["rate_e10"]
    return "" if rate_e10 is None else plain(Decimal(rate_e10).scaleb(-10))


def _pool_steps(terms: Agreement, change: Change) -> Iterator[str]:
    """Where the money that is shared comes from."""
    pool, retail = change.now, _retail(change)
    yield (
        f"retail price of {pool.records} records, {pool.calls} answered, "
        f"{count_text(pool.units)} {terms.priced_unit}s{' at ' * bool(retail)}{retail}: "
        f"{count_text(pool.gross)} {terms.currency}"
    )
    if pool.rule.vat:
        yield f"without {plain(100 * pool.rule.vat)}% VAT: {count_text(pool.net)}"


def _take_steps(terms: Agreement, rule: RevenueShare, parts: Sequence[Part]) -> Iterator[str]:
    """The takes up to the partner's last one: its own and ours in words, others as an amount."""
    if rule.chain:
        return
    last = max((n for n, part in enumerate(parts) if part.to == terms.partner), default=-1)
    for part in parts[: last + 1]:
        if part.to in (terms.partner, CARRIER):
            yield _said(part, terms.priced_unit, part.to)
        else:
            yield f"another party: {count_text(part.amount)}"


def _said(part: Part, unit: str, who: str) -> str:
    """One part, and how it came about."""
    if part.take is None:
        return f"remainder{', ' * bool(who)}{who}: {count_text(part.amount)}"
    title = part.take.title
    named = f"{title} ({who}), " if title and who else f"{title or who}, " if title or who else ""
    lack = f", of {count_text(part.due)} due" if part.is_short else ""
    return f"{named}{_how(part.take, part, unit)}: {count_text(part.amount)}{lack}"


def _how(take: Take, part: Part, unit: str) -> str:
    count = unit if take.per == "unit" else "call"
    if take.price is not None:
        return f"{plain(take.price)} a {count}"
    if take.passes_on is not None:
        said = f"{count_text(part.there)} less {plain(take.passes_on)} a {count}"
    else:
        said = f"{plain(100 * (take.share or Decimal(0)))}% of {count_text(part.there)}"
    if take.at_least is not None:
        said += f", at least {plain(take.at_least)} a {count}"
    if take.at_most is not None:
        said += f", at most {plain(take.at_most)} a {count}"
    return said
