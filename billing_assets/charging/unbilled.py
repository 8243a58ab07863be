"""What a cycle bills: its own days, and what earlier days have gained or lost since they were
billed (late records, re-rated legs).

A day is billed by one cycle. Of the cycles that are open an ad hoc one has its days before a
cycle of the calendar, and else the one that begins first. Late usage goes to the first open
cycle of the calendar, so that no two bill it; an ad hoc cycle takes it only for a partner that
has no calendar, and only of days that were billed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from billing_assets.charging.cycles import Cycle, registered_cycle
from billing_assets.core.errors import StateError
from billing_assets.core.periods import Period
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.models import Cadence
from billing_assets.registry.cycles import ADJUSTMENT, FINALISED, USAGE_VERSION
from billing_assets.registry.cycles import Cycle as RegisteredCycle

TAKES_LATE = "takes_late_usage"
"""The figure of a cycle's run that is 1 when it bills late usage of earlier days, else 0."""

BILLED_BEFORE = "final_cycles_before"
"""The figure of a cycle's run that counts the final cycles on which its usage stands."""

LEFT_TO = "left_days_to"
"""The figure of a cycle's run that names, with blanks between, the cycles open beside it: days of
theirs that they have before it were left to them."""

MEASURES = ("records", "answered", "duration_ms", "quantity", "billed_units", "fees", "amount")
"""The columns of `usage_daily` that add up."""


@dataclass(frozen=True)
class Claim:
    """Which days a cycle bills, and at which version of `usage_daily` each was billed before.

    `open_cycles` and `final_cycles` are the partner's others.
    """

    cycle: Cycle
    takes_late: bool
    open_cycles: tuple[RegisteredCycle, ...]
    final_cycles: tuple[RegisteredCycle, ...]

    def bills(self, day: date) -> bool:
        """Whether the cycle bills a day: as its own, or what came late to it."""
        mine, period = self.cycle, self.cycle.period
        holders = [other for other in self.open_cycles if _holds(other, day)]
        if day < period.start:
            known = mine.cadence != Cadence.AD_HOC or self.billed_at(day) is not None
            return self.takes_late and not holders and known
        rank = _rank(mine.cadence, period, mine.cycle)
        return day < period.end and not any(
            _rank(other.cadence, other.period, other.id) < rank for other in holders
        )

    def billed_at(self, day: date) -> int | None:
        """The version of `usage_daily` at which a day was last billed, None when it never was."""
        versions = [
            int(final.totals[USAGE_VERSION])
            for final in self.final_cycles
            if self._has_billed(final, day)
        ]
        return max(versions, default=None)

    def _has_billed(self, final: RegisteredCycle, day: date) -> bool:
        """Whether a final cycle has billed a day: as its own, or what came late to it."""
        left = [
            other
            for other in (self.cycle, *map(registered_cycle, self._others()))
            if other.cycle in str(final.totals.get(LEFT_TO, "")).split()
            and other.period.start <= day < other.period.end
        ]
        if _holds(final, day):
            mine = _rank(final.cadence, final.period, final.id)
            return not any(_rank(one.cadence, one.period, one.cycle) < mine for one in left)
        if day >= final.period.start or not _took_late(final) or left:
            return False
        return final.cadence != Cadence.AD_HOC or any(
            _holds(other, day) for other in self.final_cycles
        )

    def _others(self) -> tuple[RegisteredCycle, ...]:
        return (*self.open_cycles, *self.final_cycles)

    def billed_on(self, day: date) -> str:
        """The final cycle whose documents first billed a day; empty when none did."""
        billed = [one for one in self.final_cycles if self._has_billed(one, day)]
        first = min(billed, key=lambda one: int(one.totals[USAGE_VERSION]), default=None)
        return first.id if first else ""

    @property
    def versions(self) -> set[int]:
        """The versions at which some day that the cycle may bill was billed."""
        return {int(final.totals[USAGE_VERSION]) for final in self._stands_on()}

    @property
    def figures(self) -> dict[str, int | str]:
        """What a run keeps, so that it is known later which days it billed."""
        end = self.cycle.period.end
        left = sorted(other.id for other in self.open_cycles if other.period.start < end)
        return {
            TAKES_LATE: int(self.takes_late),
            BILLED_BEFORE: len(self._stands_on()),
            LEFT_TO: " ".join(left),
        }

    def _stands_on(self) -> list[RegisteredCycle]:
        """The final cycles that have billed a day that this cycle may bill."""
        period = self.cycle.period
        return [
            final
            for final in self.final_cycles
            if (final.period.start < period.end and final.period.end > period.start)
            or (final.period.start < period.end and self.takes_late)
            or (final.period.start > period.start and _took_late(final))
        ]


def claim(cycle: Cycle, registered: Collection[RegisteredCycle], *, has_calendar: bool) -> Claim:
    """What a cycle bills, given all registered cycles of its partner.

    `has_calendar`: the partner has regular cycles, and is not billed ad hoc alone.
    """
    others = [known for known in registered if known.id != cycle.cycle]
    waiting = tuple(known for known in others if known.state not in FINALISED)
    cadences = {Cadence.AD_HOC} if not has_calendar else set(Cadence) - {Cadence.AD_HOC}
    takes_late = cycle.cadence in cadences and not any(
        known.cadence in cadences and known.period.start < cycle.period.start for known in waiting
    )
    final = tuple(known for known in others if known.state in FINALISED)
    return Claim(cycle, takes_late, waiting, final)


def require_still_due(current: RegisteredCycle, registered: Collection[RegisteredCycle]) -> None:
    """Raise `StateError` when usage that a cycle's last run bills has been billed since.

    `registered` are all cycles of its partner. A run remembers on how many final cycles it
    stands; final cycles never disappear, so an equal number means the same ones.
    """
    if BILLED_BEFORE not in current.totals:
        return
    final = tuple(
        known
        for known in registered
        if known.id != current.id and known.state in FINALISED and not known.is_correction
    )
    cycle = registered_cycle(current)
    now = Claim(cycle, _took_late(current), (), final).figures[BILLED_BEFORE]
    if now != int(current.totals[BILLED_BEFORE]):
        raise StateError(
            f"cycle {current.id} was run before another cycle of {current.partner} became final "
            "that has billed some of the same days",
            hint="run it again",
        )


def unbilled_usage(
    claimed: Claim, usage: pl.DataFrame, billed: Mapping[int, pl.DataFrame]
) -> pl.DataFrame:
    """Rows of `usage_daily` that a cycle must bill.

    `usage` is the partner's usage as it is now, up to the period's end; `billed` the same table
    at each of the claim's versions.
    """
    parts = [usage.filter(pl.col("local_day").is_in(_days(usage, claimed)))]
    for version, then in billed.items():
        days = [day for day in _days(then, claimed) if claimed.billed_at(day) == version]
        taken_back = then.filter(pl.col("local_day").is_in(days))
        parts.append(taken_back.with_columns(-pl.col(name) for name in MEASURES))
    if len(parts) == 1:
        return parts[0]
    keys = [c for c in USAGE_DAILY.schema.names() if c not in MEASURES]
    return (
        pl.concat(parts)
        .group_by(keys)
        .agg(pl.col(MEASURES).sum())
        .filter(pl.any_horizontal(pl.col(name) != 0 for name in MEASURES))
        .select(usage.columns)
    )


def _days(usage: pl.DataFrame, claimed: Claim) -> list[date]:
    return [day for day in usage["local_day"].unique().to_list() if claimed.bills(day)]


def _rank(cadence: str, period: Period, name: str) -> tuple[int, date, str]:
    """The order in which open cycles have a day: adjustments first, then ad hoc ones, then by
    their beginning."""
    firsts = [ADJUSTMENT, Cadence.AD_HOC]
    place = firsts.index(cadence) if cadence in firsts else len(firsts)
    return (place, period.start, name)


def _holds(known: RegisteredCycle, day: date) -> bool:
    return known.period.start <= day < known.period.end


def _took_late(known: RegisteredCycle) -> bool:
    return bool(int(known.totals.get(TAKES_LATE, 1)))
