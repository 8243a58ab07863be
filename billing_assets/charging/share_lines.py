"""Lines of revenue shares: usage rated at the retail price, shared out by priority.

As with volume rules, a cycle bills what the window comes to now, less what it came to before the
cycle's usage. What rounding leaves over stays with who collects the retail price.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.accumulator import held_days, in_scope, windows
from billing_assets.charging.line import Facts, Line, count_text, plain, rule_line
from billing_assets.charging.priced import Priced, Worth
from billing_assets.charging.usage_lines import replaced_lines
from billing_assets.charging.waterfall import Part, net_of_vat, waterfall
from billing_assets.core.money import Rounding, round_amount
from billing_assets.rating.plan import units_per_price
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement, Leg
from billing_assets.reference.share_terms import CARRIER, RevenueShare
from billing_assets.reference.volume_terms import Window

SHORT = "short"
"""Among the inputs of a line: the required takes for which there was not enough."""

_KEYS = ("destination", "band", "origin", "rate_e10")
_SUMS = ("records", "answered", "billed_units", "amount")


@dataclass(frozen=True)
class Pool:
    """What there is to share of some usage: `gross` at the retail price, `net` of VAT."""

    rule: RevenueShare
    records: int
    calls: int
    units: Fraction
    gross: Fraction

    @property
    def net(self) -> Fraction:
        """What is shared out."""
        return net_of_vat(self.rule, self.gross)

    def parts(self) -> list[Part]:
        """Who gets what of it."""
        return waterfall(self.rule, self.net, self.units, self.calls)


def due(terms: Agreement, parts: list[Part]) -> Fraction:
    """What an agreement's payer owes: the partner its own parts, or what is not its own.

    We have the money on the supplier leg and pay the partner; on the customer leg the partner has
    it, keeps what is its own and pays us the rest. `reverse` turns both round.
    """
    mine = sum((part.amount for part in parts if part.to == terms.partner), Fraction(0))
    if pays_partner(terms):
        return mine
    return sum((part.amount for part in parts), Fraction(0)) - mine


def pays_partner(terms: Agreement) -> bool:
    """Whether it is we who have the retail price, and pay the partner its part."""
    return (terms.leg is Leg.SUPPLIER) is not terms.reverse


def share_out(facts: Facts, priced: Priced) -> None:
    """Take what the shares of a cycle's agreements name from its usage, and add their lines."""
    for agreement in facts.agreements:
        for rule in agreement.terms.shares:
            for window in windows(facts, agreement, rule):
                _share(facts, agreement, rule, window, priced)


def unmet_takes(charges: pl.DataFrame) -> list[str]:
    """What required takes did not get in some charges (table `charge`), a sentence each."""
    rows = charges.filter(pl.col("kind") == "share").sort("charge_id")
    return [said for told in rows["inputs"] for said in json.loads(told).get(SHORT, ())]


def _share(
    facts: Facts, agreement: InForce, rule: RevenueShare, window: Window, priced: Priced
) -> None:
    terms = agreement.terms
    first, end = held_days(agreement, rule, window)
    held = in_scope(terms, rule) & pl.col("local_day").is_between(first, end, closed="left")
    own, before = priced.kept.filter(held), priced.kept_before.filter(held)
    sign = -1 if terms.reverse else 1
    was_worth = now_worth = Fraction(0)
    for row in _grouped(own, before):
        was, now = (_pool(terms, rule, row, ends) for ends in (("_was",), ("_was", "_own")))
        was_worth += sign * due(terms, was.parts())
        now_worth += sign * due(terms, now.parts())
        line = _line(facts, agreement, row, (window, was, now))
        if line.columns["exact_amount"] or line.inputs.get(SHORT):
            priced.lines.append(line)
    priced.lines += replaced_lines(facts, own, rule.share)
    priced.kept = priced.kept.filter(~held)
    priced.kept_before = priced.kept_before.filter(~held)
    priced.worth.append(Worth(terms.agreement, rule, window, was_worth, now_worth))


def _grouped(own: pl.DataFrame, before: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """What is shared out by itself: sums of other cycles (`_was`) and of this one (`_own`)."""
    frames = [
        frame.select(
            *(pl.col(key).cast(pl.String) if key != "rate_e10" else key for key in _KEYS),
            *(pl.col(name).alias(f"{name}{word}") for name in _SUMS),
        )
        for frame, word in ((own, "_own"), (before, "_was"))
    ]
    sums = pl.concat(frames, how="diagonal").group_by(_KEYS).agg(pl.exclude(_KEYS).sum())
    changed = pl.any_horizontal(pl.col(f"{name}_own") != 0 for name in _SUMS)
    yield from sums.filter(changed).sort(_KEYS, nulls_last=True).iter_rows(named=True)


def _pool(terms: Agreement, rule: RevenueShare, row: dict[str, Any], ends: tuple[str, ...]) -> Pool:
    records, calls, units, gross = (
        sum((Fraction(row[f"{name}{word}"]) for word in ends), Fraction(0)) for name in _SUMS
    )
    # the sign of money is the leg's: what is shared is what callers have paid
    sign = -1 if terms.reverse else 1
    return Pool(rule, int(records), int(calls), units / units_per_price(terms), sign * gross)


def _line(
    facts: Facts, agreement: InForce, row: dict[str, Any], of: tuple[Window, Pool, Pool]
) -> Line:
    terms, (window, was, now) = agreement.terms, of
    rule, parts = now.rule, now.parts()
    exact = due(terms, parts)
    steps = list(_steps(terms, now, parts, row["rate_e10"]))
    units, before = now.units - was.units, due(terms, was.parts())
    if was.records or was.gross:
        steps.append(f"less what the month came to before this cycle: {count_text(before)}")
    exact -= before
    sign = -1 if terms.reverse else 1
    words = (rule.name, row["destination"], row["band"], row["origin"])
    title = ", ".join(str(word) for word in words if word)
    first, end = held_days(agreement, rule, window)
    period = facts.cycle.period
    days = max(first, period.start), min(end - timedelta(days=1), period.last_day)
    short = [
        f"{title}: {part.take.title or part.to} must get "
        f"{count_text(part.due)} {terms.currency}, and {count_text(part.amount)} is left"
        for part in parts
        if part.take and part.take.required and part.is_short
    ]
    return rule_line(
        terms,
        key=("share", terms.key, rule.share, window[0], *(row[key] for key in _KEYS)),
        kind="share",
        title=title,
        days=days if days[0] <= days[1] else (first, end - timedelta(days=1)),
        exact=sign * exact,
        steps=steps,
        rule=rule.share,
        quantity=units,
        unit=terms.priced_unit,
        price=_single_price(exact, units),
        destination=str(row["destination"] or ""),
        band=str(row["band"] or ""),
        origin=str(row["origin"] or ""),
        records=now.records - was.records,
        answered=now.calls - was.calls,
        inputs={
            "window": f"{window[0]}/{window[1]}",
            "retail": count_text(now.gross),
            "base": count_text(now.net),
            "units": count_text(now.units),
            "calls": now.calls,
            "before": count_text(before),
            "parts": [[part.to, count_text(part.amount)] for part in parts],
            **({SHORT: short} if short else {}),
        },
    )


def _single_price(exact: Fraction, units: Fraction) -> Decimal | None:
    """The amount of one unit where ten decimals write it exactly."""
    if not units or exact / units < 0:
        return None
    price = round_amount(exact / units, 10, Rounding.HALF_UP)
    return price if Fraction(price) == exact / units else None


def _steps(terms: Agreement, pool: Pool, parts: list[Part], rate_e10: int | None) -> Iterator[str]:
    """How a pool is shared out. Parties other than the agreement's two are not named."""
    retail = "" if rate_e10 is None else f" at {plain(Decimal(rate_e10).scaleb(-10))}"
    yield (
        f"retail price of {pool.records} records, {pool.calls} answered, "
        f"{count_text(pool.units)} {terms.priced_unit}s{retail}: "
        f"{count_text(pool.gross)} {terms.currency}"
    )
    if pool.rule.vat:
        yield f"without {plain(100 * pool.rule.vat)}% VAT: {count_text(pool.net)}"
    left = pool.net
    for stage in pool.rule.stages():
        there = left
        for take in stage:
            part = next(one for one in parts if one.take is take)
            left -= part.amount
            who = _party(terms, take.to)
            name = f"{take.title} ({who})" if take.title else who
            count = terms.priced_unit if take.per == "unit" else "call"
            how = (
                f"{plain(take.price)} a {count}"
                if take.price is not None
                else f"{plain(100 * (take.share or Decimal(0)))}% of {count_text(there)}"
            )
            if take.at_least is not None:
                how += f", at least {plain(take.at_least)} a {count}"
            if take.at_most is not None:
                how += f", at most {plain(take.at_most)} a {count}"
            lack = f", of {count_text(part.due)} due" if part.is_short else ""
            yield f"{name}, {how}: {count_text(part.amount)}{lack}"
    yield f"remainder, {_party(terms, pool.rule.remainder)}: {count_text(left)}"
    payee = terms.partner if pays_partner(terms) else "all others than " + terms.partner
    yield f"to {payee}: {count_text(due(terms, parts))}"


def _party(terms: Agreement, party: str) -> str:
    return party if party in (terms.partner, CARRIER) else "another party"
