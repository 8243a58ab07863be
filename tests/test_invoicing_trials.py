"""Trial runs and what they change; holds; amounts too little to bill, carried to the next cycle."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import StateError
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.verify import verify
from billing_assets.lake.tables import CHARGE
from billing_assets.registry.documents import Document as Issued
from tests.support.billing_home import issue, open_home, run, use

CYCLE = "P02/2026-03"
TRANSIT = {"partner": "P02", "agreement": "P02-TRANSIT@1"}
MINIMUM = {"partners/P02.yaml": {"terms_days: 30": "terms_days: 30\nminimum_invoice: 100.00"}}


def shown(home: Installation, cycle: str) -> dict:
    answer = CliRunner().invoke(
        app, ["cycle", "show", cycle, "--json"], env={"ICB_HOME": str(home.settings.root)}
    )
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.output)


def content(home: Installation, document: Issued) -> Document:
    return Document.model_validate_json(home.blobs.get(document.canonical_sha256))


def test_a_trial_run_shows_what_changed_since_the_one_before(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, {**TRANSIT, "local_day": date(2026, 3, 10), "records": 1000, "band": "peak"})
    run(home, CYCLE)
    assert shown(home, CYCLE)["compared with run"] is None
    run(home, CYCLE)
    again = shown(home, CYCLE)
    assert (again["run"], again["compared with run"], again["changes"]) == (2, 1, [])
    use(
        home,
        {**TRANSIT, "local_day": date(2026, 3, 11), "records": 500, "band": "peak"},
        {**TRANSIT, "local_day": date(2026, 3, 11), "records": 10, "band": "off-peak"},
    )
    run(home, CYCLE)
    changed = {one["description"]: one for one in shown(home, CYCLE)["changes"]}
    peak, off_peak = changed["Somewhere, peak"], changed["Somewhere, off-peak"]
    assert [peak[name] for name in ("before", "now", "difference")] == ["6.00", "9.00", "3.00"]
    assert [off_peak[name] for name in ("before", "now", "difference")] == [None, "0.06", "0.06"]


def test_a_held_cycle_is_run_and_not_issued(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, {**TRANSIT, "local_day": date(2026, 3, 10), "records": 1000})
    run(home, CYCLE)
    here = {"ICB_HOME": str(tmp_path), "ICB_USER": "carla"}
    words = ["cycle", "hold", CYCLE, "--reason", "price in dispute"]
    assert CliRunner().invoke(app, words, env=here).exit_code == 0
    run(home, CYCLE)
    with pytest.raises(StateError, match="on hold: price in dispute"):
        issue(home, CYCLE)
    assert CliRunner().invoke(app, ["cycle", "release", CYCLE], env=here).exit_code == 0
    assert len(issue(home, CYCLE)) == 1


def test_what_is_below_the_minimum_is_billed_with_the_next_cycle(tmp_path: Path) -> None:
    home = open_home(tmp_path, MINIMUM)
    for month, records in ((3, 5000), (4, 6000), (5, 9000)):
        use(home, {**TRANSIT, "local_day": date(2026, month, 10), "records": records})
    for cycle in (CYCLE, "P02/2026-04"):
        assert run(home, cycle).totals == {"customer EUR": Decimal(0)}
        assert issue(home, cycle) == []
    charges = home.lake.scan(CHARGE, part={"month": "2026-03", "cycle": CYCLE}).collect()
    assert sorted(charges["amount"]) == [Decimal(-30), Decimal(30)]
    run(home, "P02/2026-05")
    [invoice] = issue(home, "P02/2026-05")
    lines = content(home, invoice).lines
    assert [(line.section, line.amount) for line in lines] == [
        ("usage", Decimal("54.00")),
        ("brought_forward", Decimal("30.00")),
        ("brought_forward", Decimal("36.00")),
    ]
    way = [step.split(",")[0] for step in lines[1].steps[-2:]]
    assert way == ["brought forward from P02/2026-03", "brought forward from P02/2026-04"]
    assert (invoice.net, invoice.tax) == (Decimal("120.00"), Decimal("27.60"))
    checks = verify(invoice.id, registry=home.registry, blobs=home.blobs, lake=home.lake)
    assert [check for check in checks if not check.ok] == []
    use(home, {**TRANSIT, "local_day": date(2026, 6, 1), "records": 20_000})
    run(home, "P02/2026-06")
    [after] = issue(home, "P02/2026-06")
    assert after.net == Decimal("120.00"), "what was brought forward once is not brought again"


def test_an_amount_that_reaches_the_minimum_is_billed_at_once(tmp_path: Path) -> None:
    home = open_home(tmp_path, MINIMUM)
    use(home, {**TRANSIT, "local_day": date(2026, 3, 10), "records": 16_667})
    run(home, CYCLE)
    [invoice] = issue(home, CYCLE)
    assert invoice.net == Decimal("100.00")
