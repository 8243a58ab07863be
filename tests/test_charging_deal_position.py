"""Where deals stand on a day: used, due, needed a day, forecast and thresholds."""

import json
from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.charging.deal_position import Position, positions
from billing_assets.charging.deals import as_table, chart
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.load import load_reference
from tests.support.references import CARRIER, agreement, partner

SENT = agreement("OUT", leg="supplier", rates=[{"code": 966, "rate": "0.03"}])
DEAL = {
    "deal": "SWAP",
    "partner": "P01",
    "from": "2026-03-01",
    "to": "2026-04-01",
    "sent": {"agreement": "OUT", "quantity": "3100", "price": "0.0300"},
}


def sent(minutes: int, day: date) -> dict:
    return {
        "day": day, "bucket": 1, "local_day": day, "leg": "supplier", "service": "voice",
        "partner": "P01", "account": "P01-A", "agreement": "OUT@1", "destination": "SA",
        "rate_e10": 3 * 10**8, "band": "", "origin": "", "pricing": "priced", "currency": "EUR",
        "records": minutes, "answered": minutes, "duration_ms": minutes * 60_000,
        "quantity": minutes * 60, "billed_units": minutes * 60, "fees": Decimal(0),
        "amount": minutes * Decimal("0.03"),
    }  # fmt: skip


def position(rows: list[dict], day: date, **change: object) -> Position:
    files = {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        "agreements/OUT.yaml": json.dumps(SENT).encode(),
        "deals/SWAP.yaml": json.dumps({**DEAL, **change}).encode(),
    }
    loaded = load_reference(files)
    assert not loaded.problems
    reference = loaded.reference
    usage = pl.DataFrame(rows, schema=USAGE_DAILY.schema)
    (one,) = positions("P01", reference.agreements, reference.deals, usage, None, day)
    return one


def test_a_deal_tells_what_is_due_needed_and_forecast() -> None:
    rows = [sent(600, date(2026, 3, 2)), sent(200, date(2026, 3, 10)), sent(9, date(2026, 3, 11))]
    one = position(rows, date(2026, 3, 10))
    assert (one.committed, one.used, one.due) == (Decimal(3100), Decimal(800), Decimal(1000))
    assert one.needed_per_day == Decimal("109.52")  # 2,300 missing on 21 days
    assert one.forecast == Decimal(2480)
    assert one.reached_on == date(2026, 4, 8)
    assert one.shortfall == Decimal("18.60")  # 620 x 0.03
    assert (one.status, one.alerts) == ("shortfall forecast", ())


def test_before_its_alarm_day_a_slow_deal_is_only_behind() -> None:
    rows = [sent(80, date(2026, 3, 1))]
    assert position(rows, date(2026, 3, 1)).status == "behind"
    assert position(rows, date(2026, 3, 1), alarm_day=1).status == "shortfall forecast"
    assert position([sent(100, date(2026, 3, 1))], date(2026, 3, 1)).status == "on course"


def test_thresholds_are_told_once_passed_and_the_end_says_what_became_of_it() -> None:
    most = position([sent(2800, date(2026, 3, 20))], date(2026, 3, 31))
    assert [Decimal(a) * 100 for a in most.alerts] == [50, 75, 90]
    assert (most.status, most.shortfall) == ("missed", Decimal("9.00"))
    whole = position([sent(3100, date(2026, 3, 20))], date(2026, 3, 20))
    assert (whole.status, whole.needed_per_day) == ("reached", 0)
    nothing = position([], date(2026, 3, 5))
    assert (nothing.reached_on, nothing.forecast) == (None, 0)


def test_positions_are_drawn_as_a_table_and_bars() -> None:
    one = position([sent(1550, date(2026, 3, 2))], date(2026, 3, 10))
    (row,) = as_table([one]).to_dicts()
    assert (row["side"], row["used %"], row["alerts"]) == ("sent", Decimal(50), "50%")
    drawn = chart([one])
    assert drawn.count("█") == 19 and "│" in drawn and "50.0% on course" in drawn
