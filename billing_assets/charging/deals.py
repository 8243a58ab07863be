"""Where all deals and commitments stand, from the lake; and how that is drawn."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from billing_assets.charging.deal_position import Position, first_counted, positions
from billing_assets.core.errors import NotFound
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY
from billing_assets.reference.load import Reference

ALARMS = ("shortfall forecast", "missed")
"""The statuses that somebody must act on."""

_WIDTH = 40


def last_rated_day(lake: Lake) -> date:
    """The last local day with usage; raises `NotFound` before any is rated."""
    usage = lake.scan(USAGE_DAILY) if lake.version(USAGE_DAILY) is not None else None
    day = usage.select(pl.col("local_day").max()).collect().item() if usage is not None else None
    if day is None:
        raise NotFound("no usage is rated yet", hint="run `icb run` or `icb demo` first")
    return day


def live_positions(
    reference: Reference, lake: Lake, day: date, partner: str = ""
) -> list[Position]:
    """Every commitment and deal that holds on a day, as it stands at the day's end.

    By partner and deal. Raises `NotFound` for a partner that there is not.
    """
    names = [reference.partner(partner).partner] if partner else sorted(reference.partners)
    found: list[Position] = []
    for name in names:
        agreements = reference.agreements_of(name)
        if not any(a.terms.commitments for a in agreements):
            continue
        first = first_counted(agreements, day)
        near = pl.col("day").is_between(first - timedelta(days=1), day + timedelta(days=1))
        mine = near & (pl.col("partner") == name) & (pl.col("local_day").is_between(first, day))
        found += positions(
            name,
            agreements,
            reference.deals_of(name),
            lake.scan(USAGE_DAILY).filter(mine).collect(),
            lake.scan(RATED_LEG).filter(mine).with_columns(pl.lit(1, pl.Int64).alias("records")),
            day,
        )
    return found


def as_table(found: Sequence[Position]) -> pl.DataFrame:
    """Positions as rows for people."""
    rows = [
        {
            "partner": one.partner,
            "deal": one.deal,
            "side": "received" if one.leg == "customer" else "sent",
            "until": one.last_day,
            "unit": one.unit,
            "committed": one.committed,
            "used": one.used,
            "used %": 100 * one.used_share,
            "days %": 100 * one.elapsed_share,
            "due": one.due,
            "needed a day": one.needed_per_day,
            "forecast": one.forecast,
            "reached on": one.reached_on,
            "shortfall": f"{one.shortfall:,f} {one.currency}",
            "alerts": ", ".join(f"{(100 * Decimal(alert)).normalize():f}%" for alert in one.alerts),
            "status": one.status,
        }
        for one in found
    ]
    return pl.DataFrame(rows)


def chart(found: Sequence[Position]) -> str:
    """Positions as bars in text: used (full), due by now (a mark), committed (the whole width).

    >>> chart([])
    'no deal holds'
    """
    if not found:
        return "no deal holds"
    width = max(len(f"{one.partner} {one.deal} {one.leg}") for one in found)
    lines: list[str] = []
    for one in found:
        filled = min(_WIDTH, int(one.used_share * _WIDTH))
        mark = min(_WIDTH - 1, int(one.elapsed_share * _WIDTH))
        bar = "█" * filled + "░" * (_WIDTH - filled)
        bar = bar[:mark] + "│" + bar[mark + 1 :]
        name = f"{one.partner} {one.deal} {one.leg}".ljust(width)
        lines.append(f"{name} {bar} {100 * one.used_share:.1f}% {one.status}")
    return "\n".join(lines)
