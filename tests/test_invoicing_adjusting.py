"""What was billed and is priced otherwise since: adjusted once, by document and line, and in all
it nets to what is right."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.charging.cycles import registered_cycle
from billing_assets.core.errors import StateError
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import open_adjustment
from billing_assets.invoicing.document import Document, Kind
from billing_assets.invoicing.prove import prove
from billing_assets.invoicing.run import run_cycle
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY
from tests.support.billing_home import ISSUED, NOW, issue, open_home, run, use
from tests.test_controls_rules import wait

WEEK, NEXT = "P03/2026-W11", "P03/2026-W12"
TENTH, NEXT_WEEK = date(2026, 3, 10), date(2026, 3, 18)


def of_day(day: date, records: int) -> dict[str, object]:
    names = {"partner": "P03", "agreement": "P03-VOICE@1", "destination": "PT Mobile"}
    return {**names, "local_day": day, "day": day, "records": records}


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    """A week of a thousand minutes at 0.0060 is issued; the next one has a hundred."""
    home = open_home(tmp_path)
    use(home, of_day(TENTH, 1000), of_day(NEXT_WEEK, 100))
    run(home, WEEK)
    issue(home, WEEK)
    return home


def rate_again(home: Installation, day: date, price_e10: int) -> None:
    """Give all calls of a day another price, as a re-rating does."""
    exact = pl.col("billed_units") // 60 * price_e10
    amounts = {"amount": exact.cast(pl.Decimal(38, 10)) / 10**10, "amount_e10": exact}
    for table in (USAGE_DAILY, RATED_LEG):
        rows = home.lake.scan(table, part={"day": [day]}).collect()
        home.lake.replace_slice(
            table,
            rows.with_columns(
                pl.lit(price_e10, pl.Int64).alias("rate_e10"),
                *(
                    amount.cast(table.schema[name]).alias(name)
                    for name, amount in amounts.items()
                    if name in table.schema
                ),
            ),
            {"day": [day]},
        )


def adjusted(home: Installation) -> Document:
    """Open, run and issue an adjustment of the week; its document."""
    opened = open_adjustment(home, WEEK, now=NOW, who="ana")
    cycle = registered_cycle(opened)
    done = run_cycle(home, home.reference, cycle, issue_date=ISSUED, now=NOW, who="ana")
    assert done.state == "draft", done.findings
    (stored,) = issue(home, opened.id)
    assert [check for check in prove(home, stored.id) if not check.ok] == []
    return Document.model_validate_json(home.blobs.get(stored.canonical_sha256))


def number_of(home: Installation, cycle: str) -> str:
    return home.registry.documents.of_cycle(cycle)[0].number_text


def test_the_next_cycle_names_the_document_and_line_that_it_adjusts(home: Installation) -> None:
    rate_again(home, TENTH, 50_000_000)
    run(home, NEXT)
    known = home.registry.cycles.get(NEXT)
    (draft,) = home.registry.documents.drafts(NEXT, known.runs)
    document = Document.model_validate_json(home.blobs.get(draft.canonical_sha256))
    original = f"PT Mobile, re {number_of(home, WEEK)}:1"
    assert sorted((line.description, line.amount, line.section) for line in document.lines) == [
        ("PT Mobile", Decimal("0.60"), "usage"),
        (original, Decimal("-6.00"), "prior_period"),
        (original, Decimal("5.00"), "prior_period"),
    ]


def test_calls_that_lost_their_price_are_waiting_in_the_adjustment_that_takes_them_back(
    home: Installation,
) -> None:
    """The code is blocked: of the week's thousand calls none is rated, and a thousand wait."""
    bucket = home.bucket_of("P03")
    for table in (USAGE_DAILY, RATED_LEG):
        nothing = pl.DataFrame(schema=table.schema)
        home.lake.replace_slice(table, nothing, {"day": TENTH, "bucket": bucket})
    wait(home, TENTH, "BLOCKED_CODE", 1000)
    opened = open_adjustment(home, WEEK, now=NOW, who="ana")
    cycle = registered_cycle(opened)
    done = run_cycle(home, home.reference, cycle, issue_date=ISSUED, now=NOW, who="ana")
    assert (done.state, done.totals) == ("blocked", {"customer EUR": Decimal("-6")})
    (said,) = [one.message for one in done.findings if one.rule == "suspense"]
    assert said.startswith("1000 legs wait in suspense: BLOCKED_CODE (100.0000% of")


def test_an_adjustment_at_once_is_a_note_and_nothing_is_adjusted_twice(
    home: Installation,
) -> None:
    rate_again(home, TENTH, 50_000_000)
    credit = adjusted(home)
    assert (credit.kind, credit.totals.net) == (Kind.CREDIT_NOTE, Decimal("1.00"))
    assert credit.references.corrects is not None
    assert credit.references.corrects.number == number_of(home, WEEK)
    assert sum(line.amount for line in credit.lines) == Decimal("1.00")
    # the next week has nothing left to adjust
    assert run(home, NEXT).totals == {"customer EUR": Decimal("0.6")}
    # and back again: in all nothing
    rate_again(home, TENTH, 60_000_000)
    debit = adjusted(home)
    assert (debit.kind, debit.totals.net) == (Kind.DEBIT_NOTE, Decimal("1.00"))
    assert run(home, NEXT).totals == {"customer EUR": Decimal("0.6")}
    # what was issued first is still proved
    for cycle in home.registry.cycles.list(partner="P03"):
        for issued in home.registry.documents.of_cycle(cycle.id):
            assert [check for check in prove(home, issued.id) if not check.ok] == []


def test_what_no_document_has_billed_is_an_invoice_of_its_own(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    use(home, of_day(NEXT_WEEK, 100))
    run(home, WEEK)
    issue(home, WEEK)
    assert home.registry.documents.of_cycle(WEEK) == []
    use(home, of_day(TENTH, 1000))
    made = adjusted(home)
    assert (made.kind, made.totals.net) == (Kind.INVOICE, Decimal("6.00"))
    assert made.references.corrects is None


def test_what_cannot_be_adjusted_at_once_is_refused(home: Installation) -> None:
    with pytest.raises(StateError, match="not final"):
        run(home, NEXT)
        open_adjustment(home, NEXT, now=NOW, who="ana")
    use(
        home,
        {
            **of_day(TENTH, 10),
            "partner": "P04",
            "agreement": "P04-VOICE@1",
            "destination": "Haiti",
            "currency": "USD",
        },
    )
    run(home, "P04/2026-03-A")
    issue(home, "P04/2026-03-A")
    with pytest.raises(StateError, match="P04's next cycle adjusts them"):
        open_adjustment(home, "P04/2026-03-A", now=NOW, who="ana")
