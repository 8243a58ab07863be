import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.errors import BillingError, NotFound, StateError
from billing_assets.core.ids import bucket_of, sha256_of
from billing_assets.core.periods import month_period
from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.invoicing import renderings
from billing_assets.invoicing.document import Document, Provenance
from billing_assets.invoicing.finalise import file_name, finalise_cycle, keep_draft, revised
from billing_assets.invoicing.layout import template_hash
from billing_assets.invoicing.pdf import engine_versions
from billing_assets.invoicing.renderings import render
from billing_assets.invoicing.verify import verify
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, RATED_LEG
from billing_assets.registry import Registry
from billing_assets.registry.blobs import BlobStore
from tests.support.invoicing_cases import CARRIER, MARCH, charge, charges, document, recurring

TEMPLATES = PROJECT_ROOT / "templates"
NOW = datetime(2026, 4, 7, 9, tzinfo=UTC)
ISSUED = date(2026, 4, 7)
CYCLE = "P14/2026-03"
INVOICE = "P14/2026-03/invoice-EUR"
REFERENCE = "a" * 64


def legs() -> pl.DataFrame:
    """10,000 legs of 150 s at 0.0060 a minute and 0.0150 a call, so 0.03 each, on three days."""
    records = 10_000
    days = [MARCH.start + timedelta(days=n % 3) for n in range(records)]
    values = {
        "leg": "customer",
        "service": "voice",
        "partner": "P14",
        "agreement": "P14-VOICE@1",
        "destination": "Standard",
        "band": "",
        "origin": "",
        "duration_ms": 150_000,
        "billed_units": 150,
        "rate_e10": 60_000_000,
        "fees_e10": 150_000_000,
        "amount_e10": 300_000_000,
        "currency": "EUR",
        "pricing": "priced",
        "bucket": bucket_of("P14", 4),
    }
    return pl.DataFrame(
        {"record_id": range(records), "day": days, "local_day": days},
        schema_overrides={"record_id": pl.Int64},
    ).select(
        pl.col(name)
        if name in ("record_id", "day", "local_day")
        else pl.lit(values.get(name), dtype).alias(name)
        for name, dtype in RATED_LEG.schema.items()
    )


ROWS = (
    charge("Standard", "25000", "0.0060", "300.00", records=10_000, answered=10_000),
    recurring(),
)


@dataclass(frozen=True)
class House:
    """A lake, a registry and a store with one drafted cycle."""

    lake: Lake
    registry: Registry
    blobs: BlobStore
    draft: Document
    pins: dict[str, int]

    def approve(self) -> None:
        self.registry.cycles.approve(CYCLE, 1, now=NOW, who="bruno")

    def finalise(self) -> None:
        finalise_cycle(
            CYCLE,
            registry=self.registry,
            blobs=self.blobs,
            templates=TEMPLATES,
            issue_date=ISSUED,
            now=NOW,
            who="bruno",
        )

    def failures(self) -> dict[str, str]:
        checks = verify(INVOICE, registry=self.registry, blobs=self.blobs, lake=self.lake)
        return {check.name: check.detail for check in checks if not check.ok}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    lake = Lake(str(tmp_path / "lake"))
    lake.replace_slice(CHARGE, charges(*ROWS), {"month": "2026-03", "cycle": CYCLE})
    frame = legs()
    lake.replace_slice(RATED_LEG, frame, {"day": frame["day"].unique().to_list()})
    pins = lake.pins([CHARGE, RATED_LEG])
    provenance = Provenance(
        cycle=CYCLE,
        reference=REFERENCE,
        template=template_hash(TEMPLATES, "default"),
        engines=engine_versions(),
    )
    draft = revised(document(ROWS), provenance=provenance.model_dump())
    blobs = BlobStore(tmp_path / "documents")
    itemised = tmp_path / "itemised.csv"
    itemised.write_text("record_id\r\n1\r\n")
    with Registry.open(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        registry.versions.load_reference(REFERENCE, {}, now=NOW, who="ana")
        registry.cycles.open_cycle(CYCLE, "P14", MARCH, "monthly", now=NOW, who="ana")
        registry.cycles.record_run(CYCLE, {}, now=NOW, who="ana")
        registry.cycles.record_validation(CYCLE, [], now=NOW, who="ana")
        kept = keep_draft(
            draft,
            carrier=CARRIER,
            templates=TEMPLATES,
            blobs=blobs,
            pins=pins,
            itemised=itemised,
        )
        registry.documents.record_drafts(CYCLE, [kept], now=NOW, who="ana")
        yield House(lake, registry, blobs, draft, pins)


def test_a_number_is_given_at_finalisation_and_stands_in_every_rendering(house: House) -> None:
    house.approve()
    house.finalise()
    stored = house.registry.documents.get(INVOICE)
    assert stored.number_text == "FT 2026/000001"
    assert stored.issue_date == ISSUED
    assert stored.due_date == ISSUED + timedelta(days=30)
    assert {name: file.name for name, file in stored.files.items()} == {
        "json": "FT-2026-000001.json",
        "xml": "FT-2026-000001.xml",
        "pdf": "FT-2026-000001.pdf",
        "csv": "FT-2026-000001.csv",
        "itemised": "FT-2026-000001.itemised.csv",
    }
    contents = {name: house.blobs.get(file.sha256) for name, file in stored.files.items()}
    for name in ("json", "xml", "csv"):
        assert b"FT 2026/000001" in contents[name]
    frozen = Document.model_validate_json(contents["json"])
    assert render(frozen, TEMPLATES) == {n: c for n, c in contents.items() if n != "itemised"}
    assert stored.canonical_sha256 == sha256_of(contents["json"])


def test_finalising_twice_changes_nothing(house: House) -> None:
    house.approve()
    house.finalise()
    first = house.registry.documents.get(INVOICE)
    house.finalise()
    assert house.registry.documents.get(INVOICE) == first


def test_without_approval_nothing_is_issued(house: House) -> None:
    with pytest.raises(StateError):
        house.finalise()
    with pytest.raises(NotFound):
        house.registry.documents.get(INVOICE)


def test_a_failing_rendering_burns_no_number(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.approve()

    def broken(*_: object) -> bytes:
        raise BillingError("no glyph")

    with monkeypatch.context() as patched:
        patched.setattr(renderings, "render_pdf", broken)
        with pytest.raises(BillingError, match="no glyph"):
            house.finalise()
    assert house.registry.documents.of_cycle(CYCLE) == []
    house.finalise()
    assert house.registry.documents.get(INVOICE).number_text == "FT 2026/000001"


def test_every_check_of_an_untouched_document_holds(house: House) -> None:
    house.approve()
    house.finalise()
    checks = verify(INVOICE, registry=house.registry, blobs=house.blobs, lake=house.lake)
    assert [check.name for check in checks if not check.ok] == []
    names = [check.name for check in checks]
    assert "file pdf" in names
    assert "lines sum to net" in names
    assert any(name.startswith("charges at version") for name in names)
    assert any(name.startswith("rated legs at version") for name in names)


def test_later_versions_of_the_lake_do_not_touch_the_proof(house: House) -> None:
    house.approve()
    house.finalise()
    day = {"day": "2026-03-01", "bucket": bucket_of("P14", 4)}
    house.lake.replace_slice(RATED_LEG, legs().clear(), day)
    assert house.failures() == {}


def test_a_damaged_file_of_any_format_is_found(house: House) -> None:
    house.approve()
    house.finalise()
    for name, stored in house.registry.documents.get(INVOICE).files.items():
        path = house.blobs.path(stored.sha256)
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content + b" ")
        assert f"file {name}" in house.failures()
        path.write_bytes(content)
    assert house.failures() == {}


def test_charges_that_are_not_the_lines_are_found(house: House) -> None:
    other = charges({**ROWS[0], "exact_amount": Decimal("300.01")}, ROWS[1])
    slice_ = {"month": "2026-03", "cycle": CYCLE}
    version = house.lake.replace_slice(CHARGE, other, slice_)
    repinned(house, {"charge": version, "rated_leg": house.pins["rated_leg"]})
    [(name, detail)] = house.failures().items()
    assert name == f"charges at version {version}"
    assert "300.01" in detail


def test_a_leg_that_is_missing_from_the_pinned_version_is_found(house: House) -> None:
    frame = legs().filter(pl.col("record_id") != 5)
    version = house.lake.replace_slice(RATED_LEG, frame, {"day": frame["day"].unique().to_list()})
    repinned(house, {"rated_leg": version, "charge": house.pins["charge"]})
    [(name, detail)] = house.failures().items()
    assert name == f"rated legs at version {version}"
    assert "9999" in detail


def test_late_usage_is_proved_by_its_legs_when_nothing_billed_it_before(house: House) -> None:
    # 100 of the 10,000 calls on 27 February: 250 minutes, 3.00
    day = date(2026, 2, 27)
    frame = legs().with_columns(
        pl.when(pl.col("record_id") < 100).then(day).otherwise(pl.col(name)).alias(name)
        for name in ("day", "local_day")
    )
    days = frame["day"].unique().to_list()
    rows = (
        charge("Standard", "24750", "0.0060", "297.00", records=9_900),
        charge(
            "Standard",
            "250",
            "0.0060",
            "3.00",
            records=100,
            section="prior_period",
            first_day=day,
            last_day=day,
        ),
    )
    pins = {
        "rated_leg": house.lake.replace_slice(RATED_LEG, frame, {"day": days}),
        "charge": house.lake.replace_slice(
            CHARGE, charges(*rows), {"month": "2026-03", "cycle": CYCLE}
        ),
    }
    repinned(house, pins, document(rows))
    assert house.failures() == {}


def test_late_usage_beside_an_earlier_cycle_is_left_to_the_charges(house: House) -> None:
    february = month_period("2026-02", "Europe/Lisbon")
    house.registry.cycles.open_cycle("P14/2026-02", "P14", february, "monthly", now=NOW, who="ana")
    day = february.last_day
    late = charge("Late", section="prior_period", first_day=day, last_day=day, records=-3)
    rows = (*ROWS, late)
    version = house.lake.replace_slice(CHARGE, charges(*rows), {"month": "2026-03", "cycle": CYCLE})
    pins = house.pins | {"charge": version}
    repinned(house, pins, document(rows))
    checks = verify(INVOICE, registry=house.registry, blobs=house.blobs, lake=house.lake)
    assert all(check.ok for check in checks)
    assert "1 of earlier periods not compared" in checks[-1].detail


def test_a_document_without_pins_is_not_proved(house: House) -> None:
    repinned(house, {})
    assert set(house.failures()) == {"charge is pinned", "rated_leg is pinned"}


def repinned(house: House, pins: dict[str, int], content: Document | None = None) -> None:
    """Run, draft and issue the cycle again with other pins, perhaps with other lines."""
    registry = house.registry
    draft = revised(content or house.draft, provenance=house.draft.provenance.model_dump())
    registry.cycles.record_run(CYCLE, {}, now=NOW, who="ana")
    registry.cycles.record_validation(CYCLE, [], now=NOW, who="ana")
    kept = keep_draft(draft, carrier=CARRIER, templates=TEMPLATES, blobs=house.blobs, pins=pins)
    registry.documents.record_drafts(CYCLE, [kept], now=NOW, who="ana")
    registry.cycles.approve(CYCLE, 2, now=NOW, who="bruno")
    house.finalise()


def test_a_carrier_without_a_series_for_the_kind_is_told(house: House) -> None:
    bare = CARRIER.model_copy(update={"series": ()})
    with pytest.raises(BillingError, match="no number series for invoice"):
        keep_draft(
            house.draft, carrier=bare, templates=TEMPLATES, blobs=house.blobs, pins=house.pins
        )


def test_a_cost_statement_is_rendered_but_never_becomes_a_draft(house: House) -> None:
    statement = document([charge(leg="supplier")])
    assert set(render(statement, TEMPLATES)) == {"json", "csv", "pdf"}
    assert file_name(statement, "pdf") == "P14-2026-03-cost_statement-EUR.pdf"
    with pytest.raises(StateError, match="no draft"):
        keep_draft(
            statement, carrier=CARRIER, templates=TEMPLATES, blobs=house.blobs, pins=house.pins
        )


def test_the_canonical_json_is_plain_json_with_decimals_as_text(house: House) -> None:
    value = json.loads(house.draft.canonical())
    assert value["totals"] == {"net": "390.00", "tax": "89.70", "gross": "479.70"}
    assert value["number"] is None
    assert value["lines"][0]["price"] == "0.006"
