"""Accumulators: which usage a volume term counts, and which part of it lies under a bound.

Usage is `Facts.billed` (earlier days, billed by other cycles) and `Facts.usage` (what this cycle
bills). A position is therefore the same at every run, and falls back by itself when usage below
it is rated again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, lcm
from typing import Any

import polars as pl

from billing_assets.charging.line import ByDay, Facts
from billing_assets.charging.priced import Priced
from billing_assets.charging.unbilled import MEASURES
from billing_assets.core.errors import BillingError
from billing_assets.core.money import (
    E10,
    SCALE,
    Rounding,
    from_e10,
    minor_units,
    round_amount,
    to_e10,
)
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.rating.terms import units_per_price
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.load import InForce
from billing_assets.reference.models import Agreement
from billing_assets.reference.share_terms import RevenueShare
from billing_assets.reference.volume_terms import Counted, VolumeRule, Window

_COUNTED = pl.col("pricing") != "not_chargeable"
_BASE = pl.col("agreement").cast(pl.String).str.split("@").list.first()
_COUNTS = ("records", "answered", "duration_ms", "quantity")
_KEYS = [name for name in USAGE_DAILY.schema if name not in MEASURES]


@dataclass(frozen=True)
class Settled:
    """When a term is settled in a window, seen from a cycle: now, before, or later (neither)."""

    now: bool
    before: bool


@dataclass(frozen=True)
class Accumulator:
    """One count of one term in one window, in counted units (seconds, messages, bytes).

    `opening` is what came before all usage: given by the reference, and usage of the agreement's
    earlier versions on days of the term; `foreign` is what of it the rule has not priced there.
    `before` and `own` are what other cycles and this one bill.
    """

    agreement: InForce
    window: Window
    of: str
    held: pl.Expr
    opening: Fraction
    foreign: Fraction
    before: Fraction
    own: Fraction

    @property
    def terms(self) -> Agreement:
        """The terms of the agreement in which the term stands."""
        return self.agreement.terms

    def of_others(self) -> "Accumulator":
        """The same count as other cycles saw it: what they billed is its own."""
        return replace(self, before=Fraction(0), own=self.before)


def in_scope(terms: Agreement, term: Counted | RevenueShare) -> pl.Expr:
    """The condition on rows of usage or legs that a term counts, whatever their day."""
    named = term.agreements if isinstance(term, Counted) else ()
    counted = _COUNTED & _BASE.is_in(list(named or (terms.agreement,)))
    if isinstance(term, RevenueShare) and term.bands:
        counted &= pl.col("band").cast(pl.String).is_in(list(term.bands))
    if term.destinations:
        counted &= pl.col("destination").cast(pl.String).is_in(list(term.destinations))
    if term.accounts:
        counted &= pl.col("account").cast(pl.String).is_in(list(term.accounts))
    return counted


def held_days(agreement: InForce, term: Counted | RevenueShare, window: Window) -> Window:
    """Days of a window on which the term and its agreement's version hold."""
    first, end = term.held(window)
    begins, ends = agreement.local_days
    return max(first, begins), min(end, ends)


def life(facts: Facts, agreement: InForce) -> Window:
    """The days of an agreement over all its versions."""
    days = [
        one.local_days
        for one in facts.agreements
        if one.terms.agreement == agreement.terms.agreement
    ]
    return min(first for first, _ in days), max(end for _, end in days)


def ruled_days(facts: Facts, agreement: InForce, rule: VolumeRule, window: Window) -> Window:
    """Days of a window on which a rule holds, over all versions that have one of its name."""
    first, end = rule.held(window)
    days = [
        one.local_days
        for one in facts.agreements
        if one.terms.agreement == agreement.terms.agreement and rule.rule in names_of(one.terms)
    ]
    return max(first, min(begins for begins, _ in days)), min(end, max(ends for _, ends in days))


def windows(
    facts: Facts,
    agreement: InForce,
    term: Counted | RevenueShare,
    since: date = date.max,
) -> list[Window]:
    """The windows that a cycle's period, its usage or the usage before it touch, in order; with
    those of all days `since` one before the period."""
    period = facts.cycle.period
    first = min(since, period.start)
    days = {first + timedelta(days=n) for n in range((period.end - first).days)}
    for frame in (facts.usage, facts.billed):
        days |= set(frame.filter(in_scope(agreement.terms, term))["local_day"].unique().to_list())
    found = {window for day in days if (window := term.window(day))}
    return sorted(w for w in found if (held := held_days(agreement, term, w))[0] < held[1])


def counts_from(facts: Facts) -> date:
    """The first day whose usage the terms of a cycle count, at the latest its own first one."""
    first = facts.cycle.period.start
    for agreement in facts.agreements:
        terms = agreement.terms
        for term in (*terms.volume, *terms.commitments, *terms.shares):
            touched = [start for start, _ in windows(facts, agreement, term)]
            first = min([first, *touched])
        for term in terms.commitments:
            if term.carry and (earlier := term.window(first - timedelta(days=1))):
                first = earlier[0]
    for deal in facts.deals:
        if window := deal.window(first) if deal.balance else None:
            first = window[0]
        for _ in range(deal.balance.consecutive - 1 if deal.balance else 0):
            if earlier := deal.window(first - timedelta(days=1)):
                first = earlier[0]
    return first


def settled(facts: Facts, agreement: InForce, name: str, term: Counted, window: Window) -> Settled:
    """Whether a cycle is the one that settles a term: the one with the last day it holds.

    A later version of the agreement with a term of the same name settles in its stead.
    """
    _, end = held_days(agreement, term, window)
    if end < term.held(window)[1] and any(
        later.terms.agreement == agreement.terms.agreement
        and later.terms.version > agreement.terms.version
        and name in names_of(later.terms)
        for later in facts.agreements
    ):
        return Settled(now=False, before=False)
    return settled_at(facts, end)


def settled_at(facts: Facts, end: date) -> Settled:
    """The same for what ends on the day before `end`."""
    period = facts.cycle.period
    last = end - timedelta(days=1)
    return Settled(now=period.start <= last < period.end, before=last < period.start)


def names_of(terms: Agreement) -> set[str]:
    """The names of an agreement's volume rules and commitments."""
    return {r.rule for r in terms.volume} | {c.commitment for c in terms.commitments}


def accumulators(
    facts: Facts, agreement: InForce, rule: VolumeRule, window: Window, priced: Priced
) -> list[Accumulator]:
    """The accumulators of a rule in a window: one, or one for each account or destination.

    `priced` has what rules before this one have left of the facts' usage.
    """
    terms = agreement.terms
    first, end = held_days(agreement, rule, window)
    scope = in_scope(terms, rule)
    column = {"by_account": "account", "by_destination": "destination"}.get(rule.accumulate)
    mine = scope & pl.col("local_day").is_between(first, end, closed="left")
    earlier = scope & pl.col("local_day").is_between(rule.held(window)[0], first, closed="left")
    names: Sequence[str] = [""]
    if column:
        frames = [frame.filter(mine) for frame in (priced.kept_before, priced.kept)]
        frames += [one.filter(earlier) for one in priced.taken[terms.agreement, rule.rule]]
        labels = pl.concat([frame[column] for frame in frames])
        names = sorted({*labels.cast(pl.String), *(o.of for o in rule.opening if o.of)})
    per = units_per_price(terms)
    found: list[Accumulator] = []
    for name in names:
        held = mine & (pl.col(column).cast(pl.String) == name) if column else mine
        past = earlier & (pl.col(column).cast(pl.String) == name) if column else earlier
        given = Fraction(rule.opened(window, name)[0]) * per
        counted, own = _of_versions(facts, terms, rule, past, priced)
        # a prorated rule is for its own days alone: what is not its own does not fill it
        foreign = Fraction(0) if rule.prorate else counted - own
        before, now = _units(priced.kept_before, held), _units(priced.kept, held)
        found.append(
            Accumulator(agreement, window, name, held, given + own + foreign, foreign, before, now)
        )
    return found


def _of_versions(
    facts: Facts, terms: Agreement, rule: VolumeRule, past: pl.Expr, priced: Priced
) -> tuple[Fraction, Fraction]:
    """Units of earlier versions that a rule counts, and what of them the rule priced there.

    What a rule before it priced is that one's.
    """
    names = [one.rule for one in terms.volume]
    *others, own = (
        sum((_units(frame, past) for frame in priced.taken[terms.agreement, name]), Fraction(0))
        for name in names[: names.index(rule.rule) + 1]
    )
    used = _units(facts.billed, past) + _units(facts.usage, past)
    return used - sum(others, Fraction(0)), own


def _units(frame: pl.DataFrame, condition: pl.Expr) -> Fraction:
    return Fraction(int(frame.filter(condition)["billed_units"].sum() or 0))


def units_by_day(usage: pl.DataFrame) -> ByDay:
    """Counted units of usage by local day, in order."""
    days = usage.group_by("local_day").agg(pl.col("billed_units").sum()).sort("local_day")
    return [(day, Fraction(int(units))) for day, units in days.iter_rows()]


def by_destination(
    facts: Facts, one: Accumulator, usage: pl.DataFrame, bounds: Sequence[Fraction]
) -> Mapping[tuple[str, int], ByDay]:
    """Counted units by destination, tier and day, cut at rising bounds in call order (D08)."""
    found: dict[tuple[str, int], list[tuple[date, Fraction]]] = {}
    for rows, start in _in_order(facts, one, usage, bounds):
        placed, scale = _placed(rows, start, bounds)
        edges = [0, *(int(bound * scale) for bound in bounds)]
        tiers = [
            _inside(
                pl.col("begin"), pl.col("end"), low, edges[n + 1] if n + 1 < len(edges) else None
            )
            .sum()
            .alias(str(n))
            for n, low in enumerate(edges)
        ]
        sums = placed.group_by(pl.col("destination").cast(pl.String), "local_day").agg(tiers)
        for destination, day, *units in sums.sort("destination", "local_day").iter_rows():
            for tier, count in enumerate(units):
                if count:
                    days = found.setdefault((destination or "", tier), [])
                    days.append((day, Fraction(int(count), scale)))
    return found


@dataclass(frozen=True)
class Cut:
    """Usage under a bound and above it; `legs` are those above where calls were read."""

    under: pl.DataFrame
    above: pl.DataFrame
    legs: pl.DataFrame | None


def cut(
    facts: Facts, one: Accumulator, usage: pl.DataFrame, bound: Fraction, *, by_day: bool = False
) -> Cut:
    """The usage that an accumulator holds, under a bound (counted units) and above it.

    A call over the bound is priced in parts: what lies above is the call's price in proportion,
    rounded as records are. Both are rows of `usage_daily` and add up to the usage exactly. Usage
    that was billed elsewhere is taken `by_day`, not call by call.
    """
    under: list[pl.DataFrame] = [usage.clear()]
    above: list[pl.DataFrame] = [usage.clear()]
    legs: list[pl.DataFrame] = []
    rows_by_day = [(usage.filter(one.held).sort("local_day", *_KEYS), one.opening + one.before)]
    ordered = rows_by_day if by_day else _in_order(facts, one, usage, [bound])
    for rows, start in ordered:
        placed, scale = _placed(rows, start, [bound])
        edge = int(bound * scale)
        inside = _inside(pl.col("begin"), pl.col("end"), None, edge)
        length = pl.col("end") - pl.col("begin")
        whole_under = (inside == length) & ((pl.col("begin") < edge) | (length < 0))
        whole_above = (inside == 0) & ~whole_under
        low, high = [placed.filter(whole_under)], [placed.filter(whole_above)]
        for row in placed.filter(~whole_under & ~whole_above).iter_rows(named=True):
            share = Fraction(edge - row["begin"], row["end"] - row["begin"])
            split = _split_leg if "amount_e10" in row else _split_usage
            for rows_of, parts in zip((low, high), split(one.terms, row, share), strict=True):
                rows_of.append(pl.DataFrame(parts, schema=placed.schema))
        under += [_as_usage(one) for one in low]
        above += [_as_usage(one) for one in high]
        if "amount_e10" in rows.columns:
            legs += [one.select(rows.columns) for one in high]
    return Cut(pl.concat(under), pl.concat(above), pl.concat(legs) if legs else None)


def _in_order(
    facts: Facts, one: Accumulator, usage: pl.DataFrame, bounds: Sequence[Fraction]
) -> Iterator[tuple[pl.DataFrame, Fraction]]:
    """Rows in the order in which they fill an accumulator, with the position of the first.

    Usage of earlier days takes its place before the cycle's own, whose calls follow in the order
    of event time and record id. Legs are read only where a bound lies within them.
    """
    held = usage.filter(one.held)
    late = held.filter(pl.col("local_day") < facts.cycle.period.start)
    own = held.filter(pl.col("local_day") >= facts.cycle.period.start)
    start = one.opening + one.before
    middle, end = start + Fraction(int(late["billed_units"].sum() or 0)), start + one.own
    yield late.sort("local_day", *_KEYS), start
    crossed = any(middle < bound < end for bound in bounds)
    yield (_calls(facts, one, own) if crossed else own.sort("local_day", *_KEYS)), middle


def _calls(facts: Facts, one: Accumulator, own: pl.DataFrame) -> pl.DataFrame:
    """The legs behind the cycle's own usage, in call order."""
    if facts.legs is None:
        raise BillingError("calls are priced in their order, and no rated legs are given")
    legs = (
        facts.legs.filter(one.held, pl.col("local_day").is_in(own["local_day"].unique().to_list()))
        .sort("event_time", "record_id")
        .collect()
    )
    amount = int((legs["amount_e10"].cast(pl.Int128) * legs["records"]).sum() or 0)
    if from_e10(amount) != own["amount"].sum():
        raise BillingError(
            f"rated legs of {facts.cycle.cycle} do not add up to its usage under {one.terms.key}",
            hint="rate the days again, then charge the cycle",
        )
    return legs


def _placed(
    rows: pl.DataFrame, start: Fraction, bounds: Sequence[Fraction]
) -> tuple[pl.DataFrame, int]:
    """Rows with the whole numbers at which each begins and ends, and their scale."""
    scale = lcm(start.denominator, *(bound.denominator for bound in bounds))
    units = pl.col("billed_units").cast(pl.Int128)
    if "amount_e10" in rows.columns:
        units = units * pl.col("records")
    units = units * scale
    end = units.cum_sum() + int(start * scale)
    return rows.with_columns(end.alias("end"), (end - units).alias("begin")), scale


def _inside(begin: pl.Expr, end: pl.Expr, low: int | None, high: int | None) -> pl.Expr:
    """How much of a stretch lies between two bounds; negative for one that goes back."""
    limit = {
        "lower_bound": None if low is None else pl.lit(low, pl.Int128),
        "upper_bound": None if high is None else pl.lit(high, pl.Int128),
    }
    return end.clip(**limit) - begin.clip(**limit)


def _as_usage(rows: pl.DataFrame) -> pl.DataFrame:
    """Placed rows as rows of `usage_daily`; the records of parts are counted elsewhere."""
    if "amount_e10" not in rows.columns:
        return rows.select(USAGE_DAILY.schema.names()).cast(USAGE_DAILY.schema)
    records = pl.col("records")
    parts = daily_usage(rows.filter(pl.col("is_part")).lazy(), records)
    return pl.concat(
        [
            daily_usage(rows.filter(~pl.col("is_part")).lazy(), records),
            parts.with_columns(pl.lit(0, parts.schema[name]).alias(name) for name in _COUNTS),
        ]
    )


_Rows = list[dict[str, Any]]


def _split_leg(terms: Agreement, row: dict[str, Any], share: Fraction) -> tuple[_Rows, _Rows]:
    """Equal records over a bound: those that fit stay whole, and one is split (D04).

    The record and its fees are counted below.
    """
    rounding = terms.rounding.record
    decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
    whole, part = divmod(share * row["records"], 1)
    low = [{**row, "records": int(whole)}] if whole else []
    high = [{**row, "records": rest}] if (rest := row["records"] - ceil(whole + part)) else []
    if part:
        units = int(row["billed_units"] * part)
        due = Fraction(row["amount_e10"] - row["fees_e10"], E10) * (1 - part)
        above = to_e10(round_amount(due, decimals, rounding.method))
        one = {**row, "records": 1}
        low.append({**one, "billed_units": units, "amount_e10": row["amount_e10"] - above})
        high.append(
            {
                **one,
                "is_part": True,
                "fees_e10": 0,
                "billed_units": row["billed_units"] - units,
                "amount_e10": above,
            }
        )
    return low, high


def _split_usage(_: Agreement, row: dict[str, Any], share: Fraction) -> tuple[_Rows, _Rows]:
    """A row of `usage_daily` over a bound: counts and fees below, units and price by share."""
    units = int(row["billed_units"] * share)
    due = Fraction(row["amount"] - row["fees"]) * (1 - share)
    above = round_amount(due, SCALE, Rounding.HALF_UP)
    low = {**row, "billed_units": units, "amount": row["amount"] - above}
    high = {
        **row,
        **dict.fromkeys(_COUNTS, 0),
        "fees": Decimal(0),
        "billed_units": row["billed_units"] - units,
        "amount": above,
    }
    return [low], [high]
