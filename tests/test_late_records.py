"""Late records by agreement: billed as prior period at the rate of their day, or refused."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.controls.day import control_day
from billing_assets.installation import Installation
from billing_assets.intake.landing import Intake, make_day
from billing_assets.invoicing.run import CycleRun
from billing_assets.lake.tables import CHARGE, RATED_LEG, SUSPENSE
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from tests.support.billing_home import issue, open_home, run
from tests.support.intake import line, table

FEBRUARY, MARCH = "P15/2026-02", "P15/2026-03"
TERMS = "agreements/P15-VOICE.yaml"
AGREED = {TERMS: {"increments: 60/60\n": "increments: 60/60\nrefuse_after_days: 20\n"}}


def call(number: int, at: str) -> str:
    """A call of two minutes from P15 to the Gulf, at a time in UTC."""
    return line(
        in_trunk="deccan",
        out_trunk="core",
        setup_time=f"{at}:00Z",
        answer_time=f"{at}:05Z",
        end_time="",
        duration_ms="120000",
        b_number="97155000111",
        call_id=f"c{number}",
        record_sequence=str(number),
    )


def arrive(home: Installation, number: int, on: date, *calls: str) -> None:
    """Take in a file of a day, and rate the days of its records."""
    name = f"lis1_{on:%Y%m%d}_{number:06d}.csv"
    folder = home.settings.inbox / "lis1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(table(*calls))
    now = datetime(on.year, on.month, on.day, 8, tzinfo=UTC)
    intake = Intake(
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        quarantine=home.settings.quarantine,
        now=now,
        who="ana",
    )
    report = intake.take_in(home.settings.inbox, home.reference.sources)
    assert report.landed == [name], report
    for day in sorted(report.days):
        make_day(home.lake, day, now)
        plan = compile_plan(home.reference, day, buckets=home.settings.buckets)
        rate_day(home.lake, plan)
        home.registry.versions.record_plan(
            plan.version, day, home.reference.version, plan.summary(), now=now, who="ana"
        )
        control_day(home.lake, home.reference, day)


def drafted(home: Installation, cycle: str) -> CycleRun:
    done = run(home, cycle)
    assert done.state == "draft", done.findings
    return done


def lines(home: Installation, cycle: str) -> list[tuple[str, Decimal | None, Decimal]]:
    rows = home.lake.scan(CHARGE).filter(pl.col("cycle") == cycle).collect()
    return sorted(rows.select("section", "price", "amount").rows())


@pytest.mark.parametrize("agreed", [{}, AGREED])
def test_what_comes_after_its_cycle_is_final_is_a_prior_period_at_its_own_rate(
    tmp_path: Path, agreed: dict[str, dict[str, str]]
) -> None:
    home = open_home(tmp_path, agreed)
    arrive(home, 1, date(2026, 2, 21), call(1, "2026-02-20T10:00"))
    drafted(home, FEBRUARY)
    issue(home, FEBRUARY)
    # 10:00:05 on 20 February and 20 days are 10:00:05 on 12 March: one call is just in time
    arrive(home, 2, date(2026, 3, 12), call(2, "2026-02-20T07:59"), call(3, "2026-02-20T08:00"))
    arrive(home, 3, date(2026, 3, 13), call(4, "2026-03-12T10:00"))
    drafted(home, MARCH)
    in_time = 1 if agreed else 2
    february, march = Decimal("0.0140"), Decimal("0.0150")
    assert lines(home, FEBRUARY) == [("usage", february, Decimal("0.03"))]
    assert lines(home, MARCH) == [
        ("prior_period", february, (in_time * 2 * february).quantize(Decimal("0.01"))),
        ("usage", march, Decimal("0.03")),
    ]
    waiting = home.lake.scan(SUSPENSE).collect()
    refused = waiting.select("reason", "partner", "leg", "at_risk_e10").rows()
    assert refused == ([("TOO_LATE", "P15", "customer", 280_000_000)] if agreed else [])
    assert home.lake.scan(RATED_LEG).collect().height + waiting.height == 4


def test_a_merged_call_is_as_late_as_its_last_part(tmp_path: Path) -> None:
    home = open_home(tmp_path, AGREED)

    def part(number: int, at: str, last: str) -> str:
        made = call(number, at).split(",")
        header = table().splitlines()[0].split(",")
        made[header.index("call_id")] = "long"
        made[header.index("part")], made[header.index("last_part")] = str(number), last
        return ",".join(made)

    arrive(home, 1, date(2026, 3, 11), part(1, "2026-03-10T10:00", ""))
    arrive(home, 2, date(2026, 3, 31), part(2, "2026-03-10T10:30", "true"))
    assert home.lake.scan(SUSPENSE).collect()["reason"].to_list() == ["TOO_LATE"]
    assert home.lake.scan(RATED_LEG).collect().is_empty()
