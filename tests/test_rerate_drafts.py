"""After any changes of prices and any re-ratings, lines and drafts are those of rating anew."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_assets.charging.cycles import cycles_of_month
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.run import run_cycle
from billing_assets.lake.tables import CHARGE, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.requests import fields_of, run_request
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.versions import take_reference
from tests.support.records import frame, record
from tests.support.references import CARRIER, agreement, partner

NOW = datetime(2026, 4, 2, 8, tzinfo=UTC)
DAYS = [date(2026, 3, 10), date(2026, 3, 11)]
NUMBERS = {"UK": "447700900123", "France": "331234567890", "Spain": "34912345678"}
CODES = {"UK": "44", "France": "33", "Spain": "34"}
TAX = {
    "category": "AE",
    "vat_id": "DE312746388",
    "vat_checked": "2026-03-01",
    "reason": "Reverse charge",
}
BANK = {"beneficiary": "Own Carrier", "iban": "PT50000201231234567890154", "bic": "TESTPTPL"}
TERMS = {
    "none": {},
    "tiers": {
        "volume": [
            {
                "rule": "t",
                "model": "graduated",
                "period": "month",
                "destinations": ["UK"],
                "tiers": [{"up_to": 20, "price": "0.10"}, {"price": "0.05"}],
            }
        ]
    },
    "minimum": {"commitments": [{"commitment": "m", "period": "month", "amount": "60.00"}]},
}


def load(home: Installation, deck: dict[str, str], terms: str) -> None:
    rates = [
        {"code": CODES[name], "destination": name, "rate": rate} for name, rate in deck.items()
    ]
    taken = take_reference(
        {
            "carrier.yaml": json.dumps({**CARRIER, "bank": [BANK]}).encode(),
            "partners/P01.yaml": json.dumps(
                partner(tax=TAX, document={"emails": ["ap@p01.example"]})
            ).encode(),
            "agreements/A.yaml": json.dumps(agreement(rates=rates, **TERMS[terms])).encode(),
        },
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        now=NOW,
        who="rita",
    )
    assert not taken.problems
    if not taken.in_force:
        home.registry.versions.approve_reference(taken.number, now=NOW, who="paulo")


def rated(root: Path, deck: dict[str, str], terms: str) -> Installation:
    """A home with two days of calls to three countries, rated."""
    home = Installation.open(Settings(home=root, user="ana"))
    load(home, deck, terms)
    for n, day in enumerate(DAYS):
        calls = [
            record(
                100 * n + m,
                at=datetime(2026, 3, day.day, 12, m, tzinfo=UTC),
                b=list(NUMBERS.values())[m % 3],
                seconds=50 + m,
            )
            for m in range(45)
        ]
        home.lake.replace_slice(XDR, frame(*calls).lazy(), {"day": day})
        rate_day(home.lake, compile_plan(home.reference, day, buckets=home.settings.buckets))
    return home


def drafted(home: Installation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The charges and the drafts of the month, but for the versions that they name."""
    [cycle] = cycles_of_month(home.reference.partner("P01"), "2026-03")
    done = run_cycle(home, home.reference, cycle, issue_date=NOW.date(), now=NOW, who="ana")
    charges = home.lake.scan(CHARGE, part={"month": "2026-03", "cycle": cycle.cycle})
    runs = home.registry.cycles.get(cycle.cycle).runs
    documents = [
        Document.model_validate_json(home.blobs.get(draft.canonical_sha256)).model_dump(
            exclude={"provenance"}
        )
        for draft in home.registry.documents.drafts(cycle.cycle, runs)
    ]
    assert done.state == "draft", [(f.rule, f.message) for f in done.findings if f.blocks]
    return charges.drop("sources").sort("charge_id").collect().to_dicts(), documents


prices = st.sampled_from(["0.10", "0.25", "0.333", "1.07"])
decks = st.fixed_dictionaries(dict.fromkeys(CODES, prices))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=decks,
    changes=st.lists(st.tuples(st.sampled_from(sorted(CODES)), prices), min_size=1, max_size=3),
    terms=st.sampled_from(sorted(TERMS)),
)
def test_lines_and_drafts_are_those_of_rating_anew(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, str],
    changes: list[tuple[str, str]],
    terms: str,
) -> None:
    home = rated(tmp_path_factory.mktemp("home"), first, terms)
    drafted(home)
    deck = dict(first)
    for name, price in changes:
        deck[name] = price
        load(home, deck, terms)
        scope = RatingScope(DAYS[0], DAYS[-1], destinations=(name,))
        request = home.registry.rerates.make(fields_of(scope), "changed", now=NOW, who="ana")
        run_request(
            request.number,
            home.lake,
            home.registry,
            home.reference,
            buckets=home.settings.buckets,
            now=lambda: NOW,
            who="ana",
        )
    scratch = rated(tmp_path_factory.mktemp("scratch"), deck, terms)
    charges, documents = drafted(home)
    assert (charges, documents) == drafted(scratch)
    assert documents and pl.DataFrame(charges).height
    for one in (home, scratch):
        one.registry.close()
