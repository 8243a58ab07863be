"""Charges against documents in the mart `charged_vs_invoiced`: drafts, final documents, and an
adjustment by a credit note agree; a charge that changes after a draft does not."""

from decimal import Decimal
from pathlib import Path

import polars as pl

from billing_assets.charging.cycles import registered_cycle
from billing_assets.controls.results import Result, invoiced_results
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import open_adjustment
from billing_assets.invoicing.run import run_cycle
from billing_assets.lake.tables import CHARGE
from billing_assets.orchestration.dbt_types import Verdict
from billing_assets.orchestration.marts import build_marts, collect_inputs
from tests.support.billing_home import ISSUED, NOW, issue, open_home, run, use
from tests.test_invoicing_adjusting import NEXT, NEXT_WEEK, TENTH, WEEK, of_day, rate_again

MART = "charged_vs_invoiced"


def built(
    home: Installation, scratch: Path
) -> tuple[list[tuple[object, ...]], Verdict, list[Result]]:
    inputs = collect_inputs(home.registry, home.blobs, home.reference, "2026-03")
    build = build_marts(home.lake, inputs, "2026-03", scratch, [MART])
    [outcome] = [one for one in build.outcomes if one.test == f"{MART}_is_equal"]
    columns = ("cycle", "state", "charged", "invoiced", "difference")
    frame = build.frames[MART]
    return frame.select(columns).rows(), outcome.verdict, list(invoiced_results(frame))


def test_documents_show_what_was_charged(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    use(home, of_day(TENTH, 1000), of_day(NEXT_WEEK, 100))
    run(home, WEEK)
    issue(home, WEEK)
    rate_again(home, TENTH, 50_000_000)
    opened = open_adjustment(home, WEEK, now=NOW, who="ana")
    run_cycle(home, home.reference, registered_cycle(opened), issue_date=ISSUED, now=NOW, who="ana")
    issue(home, opened.id)
    run(home, NEXT)
    rows, verdict, told = built(home, tmp_path / "one")
    assert told == []
    assert rows == [
        (WEEK, "final", Decimal("6"), Decimal("6"), Decimal(0)),
        (f"{WEEK}/A1", "final", Decimal("-1"), Decimal("-1"), Decimal(0)),
        (NEXT, "draft", Decimal("0.6"), Decimal("0.6"), Decimal(0)),
    ]
    assert verdict is Verdict.PASSED
    part = {"month": "2026-03", "cycle": NEXT}
    charges = home.lake.scan(CHARGE, part=part).collect()
    dearer = (pl.col("amount") * 2).cast(CHARGE.schema["amount"])
    home.lake.replace_slice(CHARGE, charges.with_columns(dearer), part)
    rows, verdict, told = built(home, tmp_path / "two")
    assert rows[-1] == (NEXT, "draft", Decimal("1.2"), Decimal("0.6"), Decimal("-0.6"))
    assert [(one.severity, one.where, one.finding) for one in told] == [
        (
            "warning",
            f"{NEXT} customer EUR",
            "1 of 1 charges stand on draft documents, which bill 0.60 of 1.20",
        )
    ]
    assert verdict is Verdict.WARNED
