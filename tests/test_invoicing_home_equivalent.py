"""A document in a foreign currency states its total in ours, at a disclosed fixing (S13)."""

import io
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pypdf import PdfReader

from billing_assets.invoicing.document import Document
from tests.support.billing_home import open_home, run, use

CYCLE = "P13/2026-03"


def test_the_total_in_our_currency_at_the_last_days_fixing(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    day = date(2026, 3, 10)
    names = {"partner": "P13", "agreement": "P13-VOICE@1", "destination": "Portugal"}
    use(home, {**names, "currency": "KWD", "local_day": day, "day": day, "records": 2_000})
    assert run(home, CYCLE).state == "draft"
    (draft,) = home.registry.documents.drafts(CYCLE, 1)
    document = Document.model_validate_json(home.blobs.get(draft.canonical_sha256))
    ours = document.home_tax
    assert ours is not None
    # 0.334 KWD for one EUR, divided once; no inverse is stored
    assert (ours.base, ours.quoted, ours.rate) == ("EUR", "KWD", Fraction(334, 1000))
    assert (document.totals.net, ours.gross) == (Decimal("1200.000"), Decimal("3592.81"))
    pages = PdfReader(io.BytesIO(home.blobs.get(draft.files["pdf"].sha256))).pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    assert "Total in EUR: 3,592.81 (1 EUR = 0.334 KWD, 31 Mar 2026)" in text
    assert ",EUR,3592.81," in home.blobs.get(draft.files["csv"].sha256).decode()


def test_without_its_fixing_that_cycle_alone_is_blocked(tmp_path: Path) -> None:
    home = open_home(tmp_path, {"fixings.csv": {"KWD": "QAR"}})
    day = date(2026, 3, 10)
    names = {"partner": "P13", "agreement": "P13-VOICE@1", "destination": "Portugal"}
    use(home, {**names, "currency": "KWD", "local_day": day, "day": day, "records": 10})
    done = run(home, CYCLE)
    assert done.state == "blocked"
    assert any("KWD" in one.message and one.blocks for one in done.findings)
