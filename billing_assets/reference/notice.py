"""Notice: from which day on the changes of a sheet may hold (RS4, B09)."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing_assets.core.periods import midnight_utc
from billing_assets.reference.cells import local_instant
from billing_assets.reference.models import Notice


def earliest_instants(
    notice: Notice, received: date | datetime, zone: str
) -> Mapping[str, datetime]:
    """The UTC instant from which each kind of change may hold; none for one without notice."""
    day = counted_from(received, notice.cut_off, zone)
    days = {
        "increase": notice.increase_days,
        "decrease": notice.decrease_days,
        "new": notice.new_days,
        "withdrawn": notice.withdrawal_days,
        "blocked": notice.withdrawal_days,
    }
    return {
        change: midnight_utc(day + timedelta(days=count), zone)
        for change, count in days.items()
        if count
    }


def counted_from(received: date | datetime, cut_off: int | None, zone: str) -> date:
    """The local day from which notice counts: that of receipt, or the next after the cut-off.

    `cut_off` is in seconds of the local day; a bare date came before it.
    """
    day = local_day(received, zone)
    if cut_off is None or not isinstance(received, datetime):
        return day
    local = received.astimezone(ZoneInfo(zone)) if received.tzinfo else received
    late = local.hour * 3600 + local.minute * 60 + local.second > cut_off
    return day + timedelta(days=1) if late else day


def came_before(one: date | datetime, other: date | datetime, zone: str) -> bool:
    """Whether a sheet surely came before another: of two on one day, both need a time to tell."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return local_instant(one, zone) < local_instant(other, zone)
    return local_day(one, zone) < local_day(other, zone)


def local_day(received: date | datetime, zone: str) -> date:
    """The day of receipt in the agreement's zone."""
    if not isinstance(received, datetime):
        return received
    return (received.astimezone(ZoneInfo(zone)) if received.tzinfo else received).date()
