"""Charging a cycle in the lake: its usage is gathered, charged, and its slice replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.lines import charge_cycle
from billing_assets.charging.short_calls import ShortCallCount, count_short_calls
from billing_assets.charging.unbilled import unbilled_usage
from billing_assets.core.errors import NotFound, StateError
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, RATED_LEG, USAGE_DAILY
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Agreement
from billing_assets.registry.cycles import FINALISED
from billing_assets.registry.registry import Registry

USAGE_VERSION = "usage_daily_version"
"""The figure of a cycle's run that tells at which version of `usage_daily` it was billed."""


@dataclass(frozen=True)
class Charged:
    """A charged cycle: its rows of `charge`, the usage they bill, and that table's version."""

    cycle: Cycle
    charges: pl.DataFrame
    usage: pl.DataFrame
    usage_version: int


def cycle_usage(cycle: Cycle, lake: Lake, registry: Registry, version: int) -> pl.DataFrame:
    """Rows of `usage_daily` at a version that a cycle bills, late usage included."""
    partner = pl.col("partner") == cycle.partner
    usage = (
        lake.scan(USAGE_DAILY, version)
        .filter(partner & (pl.col("local_day") < cycle.period.end))
        .collect()
    )
    earlier = [
        known
        for known in registry.cycles.list(partner=cycle.partner)
        if known.period.end <= cycle.period.start
    ]
    final = [known for known in earlier if known.state in FINALISED]
    open_months = {known.month for known in earlier if known not in final}
    billed = pl.DataFrame(schema=USAGE_DAILY.schema)
    if final:
        last = max(final, key=lambda known: known.period.end)
        billed = (
            lake.scan(USAGE_DAILY, int(last.totals[USAGE_VERSION]))
            .filter(partner & (pl.col("local_day") < last.period.end))
            .collect()
        )
    return unbilled_usage(cycle, usage, billed, open_months)


def charge(
    cycle: Cycle, reference: Reference, lake: Lake, registry: Registry, *, buckets: int
) -> Charged:
    """Charge a cycle and replace its rows in table `charge`.

    Must not be called for a final cycle: what it billed stands (`StateError`).
    """
    if _is_final(cycle, registry):
        raise StateError(f"cycle {cycle.cycle} is final: its charges do not change")
    version = lake.version(USAGE_DAILY)
    if version is None:
        raise NotFound("no usage is rated yet", hint="materialise `rated_leg` first")
    usage = cycle_usage(cycle, lake, registry, version)
    sources = {
        "reference": reference.version,
        "days": _span(usage),
    }
    agreements = reference.agreements_of(cycle.partner)
    charges = charge_cycle(
        cycle,
        agreements,
        usage,
        buckets=buckets,
        sources=sources,
        short_calls=_short_calls(cycle, [a.terms for a in agreements], lake),
    )
    lake.replace_slice(CHARGE, charges, {"month": cycle.month, "cycle": cycle.cycle})
    return Charged(cycle, charges, usage, version)


def _short_calls(
    cycle: Cycle, agreements: Sequence[Agreement], lake: Lake
) -> Mapping[str, ShortCallCount]:
    """Short calls of the period's legs, where any agreement surcharges them."""
    if not any(terms.short_calls for terms in agreements):
        return {}
    days = cycle.period.utc_days()
    legs = lake.scan(RATED_LEG).filter(
        pl.col("day").is_between(days[0] - timedelta(days=1), days[-1] + timedelta(days=1)),
        pl.col("partner") == cycle.partner,
    )
    return count_short_calls(legs, agreements, cycle.period)


def _is_final(cycle: Cycle, registry: Registry) -> bool:
    known = [one for one in registry.cycles.list(partner=cycle.partner) if one.id == cycle.cycle]
    return any(one.state in FINALISED for one in known)


def _span(usage: pl.DataFrame) -> list[str]:
    """First and last UTC slice day of some usage."""
    days: list[date] = usage["day"].unique().sort().to_list()
    return [days[0].isoformat(), days[-1].isoformat()] if days else []
