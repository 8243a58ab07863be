"""How the assets are cut: usage by UTC day, marts by month, billing by month and partner.

The cadence of a partner's cycles is data and not a partition: a weekly cycle lives in the month
in which it ends. Both calendars include the day and the month that are still running, because
controls and short cycles do not wait for the month's end.
"""

import dagster as dg

USAGE_DAYS = dg.DailyPartitionsDefinition("2026-01-01", timezone="UTC", end_offset=1)
MONTHS = dg.MonthlyPartitionsDefinition("2026-01", timezone="UTC", fmt="%Y-%m", end_offset=1)
PARTNERS = dg.DynamicPartitionsDefinition(name="partner")
CYCLES = dg.MultiPartitionsDefinition({"month": MONTHS, "partner": PARTNERS})
