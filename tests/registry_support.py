"""Drafts, approved cycles and tampering, as the registry's tests need them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import create_engine, text

from billing_assets.core.periods import month_period
from billing_assets.registry import Registry
from billing_assets.registry.documents import Draft, Frozen, StoredFile
from billing_assets.registry.schema import DocumentKind

NOW = datetime(2026, 4, 2, 9, 30, tzinfo=UTC)
REFERENCE = "a" * 64


def execute(url: str, *statements: str) -> None:
    """Run SQL past the registry, as somebody with the database's password could."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def without_guards(url: str) -> list[str]:
    """Return the statements that switch the append-only triggers off."""
    if url.startswith("sqlite"):
        return [
            f"DROP TRIGGER {table}_no_{change}"
            for table in ("audit", "document")
            for change in ("update", "delete")
        ]
    return [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in ("audit", "document")]


def draft(document_id: str, *, series: str = "FL", issue_date: date = date(2026, 4, 1)) -> Draft:
    """Return an invoice over 100.00 EUR plus 23 % tax, frozen without a number."""
    return Draft(
        id=document_id,
        kind=DocumentKind.INVOICE,
        partner="P14",
        entity="farolink-pt",
        series=series,
        issue_date=issue_date,
        due_date=issue_date + timedelta(days=30),
        currency="EUR",
        net=Decimal("100.00"),
        tax=Decimal("23.00"),
        gross=Decimal("123.00"),
        canonical_sha256="0" * 64,
        pins={"charge": 7, "rated_leg": 12},
        reference_hash=REFERENCE,
        template_hash="b" * 64,
        engines={"typst": "0.15.2"},
        files={"pdf": StoredFile("c" * 64, "draft.pdf", 1234)},
    )


def freeze(unnumbered: Draft, number_text: str) -> Frozen:
    """Give a document its number, as the invoicing room would."""
    stored = StoredFile("d" * 64, f"{number_text}.pdf", 1300 + len(unnumbered.id))
    return Frozen("e" * 64, {"pdf": stored})


def approve(registry: Registry, cycle_id: str, drafts: list[Draft]) -> None:
    """Bring a new cycle of March 2026 to approved, with the given drafts."""
    registry.versions.load_reference(REFERENCE, {"partners.yaml": "f" * 64}, now=NOW, who="ana")
    registry.cycles.open_cycle(
        cycle_id, "P14", month_period("2026-03"), "monthly", now=NOW, who="ana"
    )
    registry.cycles.record_run(cycle_id, {"receivable": "100.00"}, now=NOW, who="ana")
    registry.cycles.record_validation(cycle_id, [], now=NOW, who="ana")
    registry.documents.record_drafts(cycle_id, drafts, now=NOW, who="ana")
    registry.cycles.approve(cycle_id, 1, now=NOW, who="bruno")
