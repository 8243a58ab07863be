"""From a record to every document that bills it."""

import polars as pl
import pytest

from billing_assets.core.settings import Settings
from billing_assets.demo import bench_invoicing as month
from billing_assets.installation import Installation
from billing_assets.invoicing import explain
from billing_assets.invoicing.parallel import draft_cycles
from billing_assets.invoicing.run import approve_and_issue, due_cycles
from billing_assets.lake.tables import RATED_LEG


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Two partners with two documents each; the first one's are issued."""
    root = tmp_path_factory.mktemp("billed")
    opened = Installation.open(Settings(home=root / "home", user="ana"))
    month.prepare(opened, month.Month(partners=2, destinations=3, days=2))
    for partner in opened.reference.partners.values():
        cycles = due_cycles(opened, partner, month.MONTH, month.NOW)
        draft_cycles(opened, cycles, issue_date=month.ISSUED, now=month.NOW, who="ana")
    approve_and_issue(
        opened, "B000/2026-03", approver="eva", issue_date=month.ISSUED, now=month.NOW, who="ana"
    )
    return opened


def record_of(home: Installation, partner: str, currency: str, destination: str) -> dict:
    legs = home.lake.scan(RATED_LEG).filter(
        partner=partner, currency=currency, destination=destination
    )
    return legs.head(1).collect().row(0, named=True)


def test_a_record_leads_to_the_line_of_the_issued_document(home: Installation) -> None:
    leg = record_of(home, "B000", "USD", "Destination 1 Mobile")
    [found] = explain.billed_by(home, leg["record_id"], leg["day"])
    [document] = [
        d for d in home.registry.documents.of_cycle("B000/2026-03") if d.currency == "USD"
    ]
    assert (found.document, found.number) == (document.id, document.number_text)
    assert found.amount == "0.0010012345"
    explained = explain.explain_line(home, document.number_text, found.line or 0)
    assert explained.line.destination == "Destination 1 Mobile"
    assert explained.records == explained.line.records


def test_a_draft_bills_its_records_too(home: Installation) -> None:
    leg = record_of(home, "B001", "EUR", "Destination 2 Mobile")
    [found] = explain.billed_by(home, leg["record_id"], leg["day"])
    assert found.document.startswith("B001/2026-03/")
    assert found.number == ""


def test_a_leg_that_is_another_partners_now_still_leads_to_who_was_billed(
    home: Installation,
) -> None:
    leg = record_of(home, "B000", "EUR", "Destination 0 Mobile")
    day = {"day": leg["day"]}
    before = home.lake.scan(RATED_LEG, part=day).collect()
    moved = before.with_columns(
        partner=pl.when(pl.col("record_id") == leg["record_id"])
        .then(pl.lit("B001"))
        .otherwise("partner")
    )
    home.lake.replace_slice(RATED_LEG, moved, day)
    found = [one.document for one in explain.billed_by(home, leg["record_id"], leg["day"])]
    home.lake.replace_slice(RATED_LEG, before, day)
    assert any(name.startswith("B000/2026-03/") for name in found)
