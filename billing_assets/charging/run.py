"""Charging a cycle in the lake: its usage is gathered, charged, and its slice replaced."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from billing_assets.charging.accumulator import counts_from
from billing_assets.charging.carry import (
    BRINGS,
    CARRIES,
    brought_forward,
    carried_forward,
    cycles_to_bring,
)
from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import FEE_KINDS, BilledFee, Facts, ShortCallCount
from billing_assets.charging.lines import carrying, charge_cycle, totals
from billing_assets.charging.short_calls import count_short_calls
from billing_assets.charging.unbilled import MEASURES, Claim, claim, unbilled_usage
from billing_assets.core.errors import NotFound, StateError
from billing_assets.core.ids import bucket_of
from billing_assets.core.periods import Period
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, RATED_LEG, USAGE_DAILY
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Agreement, Cadence
from billing_assets.registry.cycles import FINALISED, USAGE_VERSION
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class Charged:
    """A charged cycle: its rows of `charge`, the usage they bill, and that table's version.

    `claimed` says which days it bills, and since when; `figures` are what its run keeps of that.
    """

    cycle: Cycle
    charges: pl.DataFrame
    usage: pl.DataFrame
    usage_version: int
    claimed: Claim
    figures: Mapping[str, str | int] = field(default_factory=dict)


def cycle_usage(
    claimed: Claim, lake: Lake, version: int, *, bucket: int | None = None
) -> pl.DataFrame:
    """Rows of `usage_daily` at a version that a cycle bills, late usage included.

    With the partner's `bucket` only its files are read.
    """
    now = _usage_at(claimed.cycle, lake, version, bucket)
    return _unbilled(claimed, lake, now, bucket)


def _usage_at(cycle: Cycle, lake: Lake, version: int, bucket: int | None) -> pl.DataFrame:
    """All usage of the cycle's partner up to the cycle's end, at a version."""
    part = None if bucket is None else {"bucket": bucket}
    of_cycle = (pl.col("partner") == cycle.partner) & (pl.col("local_day") < cycle.period.end)
    return lake.scan(USAGE_DAILY, version, part).filter(of_cycle).collect()


def _unbilled(claimed: Claim, lake: Lake, now: pl.DataFrame, bucket: int | None) -> pl.DataFrame:
    then = {one: _usage_at(claimed.cycle, lake, one, bucket) for one in sorted(claimed.versions)}
    return unbilled_usage(claimed, now, then)


def charge(
    cycle: Cycle,
    reference: Reference,
    lake: Lake,
    registry: Registry,
    *,
    buckets: int,
    issue_date: date | None = None,
) -> Charged:
    """Charge a cycle and replace its rows in table `charge`; raises as `charges_now` does."""
    charged = charges_now(cycle, reference, lake, registry, buckets=buckets, issue_date=issue_date)
    lake.replace_slice(CHARGE, charged.charges, {"month": cycle.month, "cycle": cycle.cycle})
    return charged


def charges_now(
    cycle: Cycle,
    reference: Reference,
    lake: Lake,
    registry: Registry,
    *,
    buckets: int,
    issue_date: date | None = None,
) -> Charged:
    """What a cycle would bill now; nothing is written.

    `issue_date` is that of its invoice, for agreements that convert at that day's fixing.

    Must not be called for a final cycle: what it billed stands (`StateError`). Raises `NotFound`
    before any usage is rated.
    """
    if _is_final(cycle, registry):
        raise StateError(f"cycle {cycle.cycle} is final: its charges do not change")
    version = lake.version(USAGE_DAILY)
    if version is None:
        raise NotFound("no usage is rated yet", hint="materialise `rated_leg` first")
    claimed = _claim(cycle, reference, registry)
    bucket = bucket_of(cycle.partner, buckets)
    facts = cycle_facts(claimed, reference, lake, version, bucket=bucket)
    facts = replace(
        facts,
        fixings=reference.rates_of_exchange,
        issue_date=issue_date,
        finals=_finals(facts, claimed, registry),
    )
    charges = claimed_charges(facts, claimed, reference, lake, buckets=buckets)
    bring = cycles_to_bring(claimed)
    carried = carried_forward(cycle, charges, reference.partner(cycle.partner), bucket=bucket)
    return Charged(
        cycle,
        pl.concat([charges, carried]).sort(CHARGE.order),
        facts.usage,
        version,
        claimed,
        {
            **claimed.figures,
            BRINGS: " ".join(known.id for known in bring),
            CARRIES: carried.height,
        },
    )


def cycle_facts(
    claimed: Claim, reference: Reference, lake: Lake, version: int, *, bucket: int
) -> Facts:
    """What the charges of a cycle are made from, with `usage_daily` at a version."""
    cycle = claimed.cycle
    now = _usage_at(cycle, lake, version, bucket)
    agreements = reference.agreements_of(cycle.partner)
    fees = _billed_fees(cycle, claimed, lake)
    facts = Facts(
        cycle,
        agreements,
        _unbilled(claimed, lake, now, bucket),
        legs=_legs(cycle, lake, bucket),
        deals=reference.deals_of(cycle.partner),
        short_calls=_short_calls(cycle, [a.terms for a in agreements], lake, bucket),
        bills=claimed.bills,
        charged_once={
            (one.agreement.partition("@")[0], one.fee) for one in fees if one.kind == "one_time"
        },
        billed_fees=fees,
        late_since=_late_since(claimed),
        samples=reference.samples,
        billed_on=claimed.billed_on,
        taxation=reference.taxation_of(cycle.partner),
    )
    facts = replace(facts, billed=_billed(facts, now))
    return replace(facts, sources=_sources(facts, claimed, reference, lake, version))


def _sources(
    facts: Facts, claimed: Claim, reference: Reference, lake: Lake, version: int
) -> Facts | None:
    """The usage of other partners' agreements in which the cycle's partner has a part."""
    named = {part.agreement for one in facts.agreements for part in one.terms.parts}
    if not named:
        return None
    end = claimed.cycle.period.end
    of_sources = pl.col("agreement").str.split("@").list.first().is_in(sorted(named))

    def usage_at(at: int) -> pl.DataFrame:
        return lake.scan(USAGE_DAILY, at).filter(of_sources, pl.col("local_day") < end).collect()

    now = usage_at(version)
    then = {one: usage_at(one) for one in sorted(claimed.versions)}
    sources = Facts(
        facts.cycle,
        [one for one in reference.agreements if one.terms.agreement in named],
        unbilled_usage(claimed, now, then),
        billed_on=claimed.billed_on,
    )
    return replace(sources, billed=_billed(sources, now))


def claimed_charges(
    facts: Facts, claimed: Claim, reference: Reference, lake: Lake, *, buckets: int
) -> pl.DataFrame:
    """The charges of a cycle, and those that it brings forward, in the columns of `charge`."""
    cycle = claimed.cycle
    sources = {"reference": reference.version, "days": _span(facts.usage)}
    charges = charge_cycle(facts, buckets=buckets, sources=sources)
    brought = brought_forward(
        cycle, cycles_to_bring(claimed), lake, bucket=bucket_of(cycle.partner, buckets)
    )
    return pl.concat([charges, brought])


def imbalance(
    cycle: Cycle, reference: Reference, lake: Lake, registry: Registry
) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Rated usage against what a charged cycle's usage lines and replaced rows carry.

    By agreement and its currency, where the two differ; both read again from the lake. Empty for a
    cycle that was not run, or is final and pinned.
    """
    known = {one.id: one for one in registry.cycles.list(partner=cycle.partner)}.get(cycle.cycle)
    if known is None or known.state in FINALISED or USAGE_VERSION not in known.totals:
        return {}
    usage = cycle_usage(_claim(cycle, reference, registry), lake, int(known.totals[USAGE_VERSION]))
    charges = lake.scan(CHARGE, part={"month": cycle.month, "cycle": cycle.cycle}).collect()
    rated, lines = totals(usage, "amount"), totals(carrying(charges), "exact_amount")
    nothing = Decimal(0)
    pairs = {key: (rated.get(key, nothing), lines.get(key, nothing)) for key in {**rated, **lines}}
    return {key: (one, other) for key, (one, other) in pairs.items() if one != other}


def _claim(cycle: Cycle, reference: Reference, registry: Registry) -> Claim:
    return claim(
        cycle,
        registry.cycles.list(partner=cycle.partner),
        has_calendar=reference.partner(cycle.partner).cadence is not Cadence.AD_HOC,
    )


def _finals(
    facts: Facts, claimed: Claim, registry: Registry
) -> Mapping[str, tuple[Period, date | None]]:
    """Period and date of invoice of the final cycles, where lines that adjust them need it."""
    if not any(terms.exchange for terms in facts.terms.values()):
        return {}
    issued = {
        known.id: [one.issue_date for one in registry.documents.of_cycle(known.id)]
        for known in claimed.final_cycles
    }
    return {
        known.id: (known.period, min(issued[known.id], default=None))
        for known in claimed.final_cycles
    }


def _short_calls(
    cycle: Cycle, agreements: Sequence[Agreement], lake: Lake, bucket: int
) -> Mapping[str, ShortCallCount]:
    """Short calls of the period's legs, where any agreement surcharges them."""
    if not any(terms.short_calls for terms in agreements):
        return {}
    return count_short_calls(_legs(cycle, lake, bucket), agreements, cycle.period)


def _billed_fees(cycle: Cycle, claimed: Claim, lake: Lake) -> list[BilledFee]:
    """The fees that the partner's final cycles have billed."""
    final = [known.id for known in claimed.final_cycles]
    if not final:
        return []
    rows = (
        lake.scan(CHARGE, part={"cycle": final})
        .filter(pl.col("kind").is_in(FEE_KINDS), pl.col("partner") == cycle.partner)
        .select("kind", "agreement", "inputs", "first_day", "last_day", "exact_amount")
        .sort(pl.all())
        .collect()
    )
    return [
        BilledFee(kind, agreement, str(json.loads(inputs)["fee"]), first, last, exact)
        for kind, agreement, inputs, first, last, exact in rows.iter_rows()
    ]


def _late_since(claimed: Claim) -> date | None:
    """The first day that final cycles have billed, for the cycle that takes what came late."""
    if not claimed.takes_late:
        return None
    return min((known.period.start for known in claimed.final_cycles), default=None)


def _legs(cycle: Cycle, lake: Lake, bucket: int) -> pl.LazyFrame:
    """The partner's rated legs around a cycle's days; each stands for one record."""
    days = cycle.period.utc_days()
    return (
        lake.scan(RATED_LEG, part={"bucket": bucket})
        .filter(
            pl.col("day").is_between(days[0] - timedelta(days=1), days[-1] + timedelta(days=1)),
            pl.col("partner") == cycle.partner,
        )
        .with_columns(pl.lit(1, pl.Int64).alias("records"))
    )


def _billed(facts: Facts, now: pl.DataFrame) -> pl.DataFrame:
    """Usage that other cycles bill, as far back as the terms count it: all usage as it is `now`,
    less what this cycle bills."""
    if not facts.deals and not any(one.terms.counts_periods for one in facts.agreements):
        return facts.billed
    within = pl.col("local_day") >= counts_from(facts)
    taken = facts.usage.filter(within).with_columns(-pl.col(name) for name in MEASURES)
    keys = [name for name in now.columns if name not in MEASURES]
    return (
        pl.concat([now.filter(within), taken])
        .group_by(keys)
        .agg(pl.col(MEASURES).sum())
        .filter(pl.any_horizontal(pl.col(name) != 0 for name in MEASURES))
        .select(now.columns)
    )


def _is_final(cycle: Cycle, registry: Registry) -> bool:
    known = [one for one in registry.cycles.list(partner=cycle.partner) if one.id == cycle.cycle]
    return any(one.state in FINALISED for one in known)


def _span(usage: pl.DataFrame) -> list[str]:
    """First and last UTC slice day of some usage."""
    days: list[date] = usage["day"].unique().sort().to_list()
    return [days[0].isoformat(), days[-1].isoformat()] if days else []
