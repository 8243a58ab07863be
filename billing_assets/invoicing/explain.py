"""From an invoiced amount down: document, line, charge, records, rate row, sheet, file and line.

Everything is read from what is kept: the document's pins, the rated legs at those versions, the
reference data of the leg's plan, the raw file by its hash.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from billing_assets.core.errors import NotFound
from billing_assets.core.ids import split_record_id
from billing_assets.core.money import from_e10
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document, Line
from billing_assets.invoicing.itemised import rows_of_record
from billing_assets.lake.tables import CHARGE, RATE, RATED_LEG, SUSPENSE
from billing_assets.rating.history import find_record
from billing_assets.rating.plain import PlainLeg, PlainRater
from billing_assets.reference.versions import reference_of
from billing_assets.registry.cycles import FINALISED
from billing_assets.registry.documents import Draft

SAMPLE = 5


@dataclass(frozen=True)
class Place:
    """Where a record came from: the file as delivered, its row, and that row's text."""

    file: str
    source: str
    sha256: str
    row: int
    text: str


@dataclass(frozen=True)
class Billed:
    """A document, issued or drafted, that bills a record: in which line and for how much.

    The amount is below zero where a document takes back what an earlier one billed.
    """

    document: str
    number: str
    line: int | None
    description: str
    amount: str
    currency: str


@dataclass(frozen=True)
class RecordExplained:
    """One record: its fields, where it came from, each leg as it was priced and why, and every
    document that bills it."""

    record: Mapping[str, object]
    place: Place | None
    rated: list[dict[str, object]]
    suspended: list[dict[str, object]]
    legs: list[PlainLeg]
    billed: list[Billed]


@dataclass(frozen=True)
class LineExplained:
    """One document line: its derivation, the rate rows it used and its first records.

    `rule` names the model or term that made it, `inputs` what that counted, `sources` the versions
    of everything it was made from; all three are empty for a line of a correcting note.
    """

    document: str
    line: Line
    rule: str
    inputs: dict[str, object]
    sources: dict[str, object]
    records: int
    amount: str
    rates: list[dict[str, object]]
    sample: list[dict[str, object]]


def explain_record(home: Installation, record_id: int) -> RecordExplained:
    """Every step of a record's prices, by the plain implementation; raises `NotFound`."""
    found = find_record(record_id, home.lake, home.registry)
    if found.is_empty():
        raise NotFound(f"no accepted record {record_id}", hint="see `icb sql` table xdr")
    record = found.row(0, named=True)
    part = {"day": record["day"]}
    rated = home.lake.scan(RATED_LEG, part=part).filter(pl.col("record_id") == record_id).collect()
    waiting = home.lake.scan(SUSPENSE, part=part).filter(pl.col("record_id") == record_id).collect()
    reference = home.reference
    if not rated.is_empty():
        plan = home.registry.versions.plan(rated["plan"][0])
        reference = reference_of(plan.reference_hash, home.registry, home.blobs)
    return RecordExplained(
        record=record,
        place=place_of(home, record_id),
        rated=rated.rows(named=True),
        suspended=waiting.rows(named=True),
        legs=PlainRater(reference).price(record),
        billed=billed_by(home, record_id, record["day"]),
    )


def _partners(home: Installation, record_id: int, day: date) -> set[str]:
    """Whose legs a record has, or had at a version that a document pins."""
    versions = [None, *sorted(home.registry.documents.pins().get(RATED_LEG.name, ()))]
    found: set[str] = set()
    for version in versions:
        legs = home.lake.scan(RATED_LEG, version, {"day": day})
        mine = legs.filter(pl.col("record_id") == record_id).select(pl.col("partner"))
        found.update(mine.cast(pl.String).collect()["partner"])
    return found


def billed_by(home: Installation, record_id: int, day: date) -> list[Billed]:
    """Every document, issued or drafted, whose itemised records list a record of a UTC day."""
    found: list[Billed] = []
    documents = home.registry.documents
    for partner in sorted(_partners(home, record_id, day)):
        for cycle in home.registry.cycles.list(partner=partner, corrections=True):
            final = cycle.state in FINALISED
            kept: Sequence[Draft] = (
                documents.of_cycle(cycle.id) if final else documents.drafts(cycle.id, cycle.runs)
            )
            for stored in kept:
                file = stored.files.get("itemised")
                if file is None:
                    continue
                home.blobs.prove(file.sha256)
                rows = rows_of_record(home.blobs.path(file.sha256), record_id)
                if rows:
                    content = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
                    found += [_bills(stored.id, content, row) for row in rows]
    return found


def _bills(name: str, content: Document, row: Mapping[str, str | None]) -> Billed:
    """Which line of a document a row of its itemised records belongs to."""
    words = ("agreement", "service", "destination", "band", "origin")
    day = date.fromisoformat((row["time_local"] or "")[:10])
    rate = Decimal(row["rate"]) if row["rate"] else None
    fitting = [
        line
        for line in content.lines
        if (line.kind == "share" or (line.kind == "usage" and line.price in (rate, None)))
        and all(getattr(line, word) == (row[word] or "") for word in words)
    ]
    # a line's days are those of its usage in the agreement's zone, a row's those of the document
    fitting.sort(key=lambda line: not line.first_day <= day <= line.last_day)
    line = fitting[0] if fitting else None
    return Billed(
        document=name,
        number=content.number or "",
        line=line.number if line else None,
        description=line.description if line else "",
        amount=row["amount"] or "",
        currency=row["currency"] or "",
    )


def place_of(home: Installation, record_id: int) -> Place | None:
    """The file and row that a record id names; None when the file is not in the log."""
    key, row = split_record_id(record_id)
    entry = home.registry.files.by_key(key)
    if entry is None:
        return None
    content = home.blobs.get(entry.sha256)
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    lines = text.splitlines()
    shown = lines[row - 1].decode("utf-8", "replace") if row <= len(lines) else ""
    return Place(entry.name, entry.source, entry.sha256, row, shown)


def explain_line(home: Installation, document: str, number: int) -> LineExplained:
    """A line of an issued document (by id or number) or of a draft (by id).

    Raises `NotFound` for an unknown document or line.
    """
    stored = _stored(home, document)
    content = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    line = next((one for one in content.lines if one.number == number), None)
    if line is None:
        raise NotFound(
            f"{document} has no line {number}", hint=f"it has lines 1 to {len(content.lines)}"
        )
    charge = _charge(home, stored, line)
    inputs = json.loads(str(charge.get("inputs") or "{}"))
    # of a revenue share the records are behind the line, at the retail price
    price = inputs.get("rate") or None if line.kind == "share" else line.price
    sources = json.loads(str(charge.get("sources") or "{}"))
    unit_price = None if price is None else Decimal(price)
    legs = _legs(home, stored, content, line, sources, unit_price)
    totals = legs.select(
        pl.len().alias("records"), pl.col("amount_e10").cast(pl.Int128).sum().alias("e10")
    ).collect(engine="streaming")
    rate_ids = legs.select("rate_id").unique().collect(engine="streaming")["rate_id"].to_list()
    rates = (
        home.lake.scan(RATE, stored.pins.get(RATE.name))
        .filter(pl.col("rate_id").is_in(rate_ids))
        .sort("code", "valid_from")
        .collect()
    )
    sample = legs.sort("event_time", "record_id").head(SAMPLE).collect(engine="streaming")
    return LineExplained(
        document=document,
        line=line,
        rule=str(charge.get("rule") or ""),
        inputs=inputs,
        sources=sources,
        records=int(totals["records"][0]),
        amount=f"{from_e10(int(totals['e10'][0] or 0)):f}",
        rates=rates.rows(named=True),
        sample=[
            {
                "record_id": row["record_id"],
                "event_time": row["event_time"],
                "code": row["code"],
                "billed_units": row["billed_units"],
                "amount": from_e10(row["amount_e10"]),
                "rate_id": row["rate_id"],
                "place": place_of(home, row["record_id"]),
            }
            for row in sample.iter_rows(named=True)
        ],
    )


def _charge(home: Installation, stored: Draft, line: Line) -> dict[str, object]:
    """The pinned row of `charge` that a line shows."""
    rows = home.lake.scan(CHARGE, stored.pins.get(CHARGE.name)).filter(
        pl.col("partner") == stored.partner, pl.col("charge_id").cast(pl.String) == line.charge_id
    )
    found = rows.select("rule", "inputs", "sources").head(1).collect()
    return found.row(0, named=True) if found.height else {}


def _stored(home: Installation, document: str) -> Draft:
    """A final document by number or id, or the current draft by id."""
    numbered = home.registry.documents.with_number(document)
    if numbered:
        return numbered[0]
    cycle_id, _, _ = document.rpartition("/")
    try:
        return home.registry.documents.get(document)
    except NotFound:
        known = home.registry.cycles.get(cycle_id) if cycle_id else None
        drafts = home.registry.documents.drafts(cycle_id, known.runs) if known else []
        for draft in drafts:
            if draft.id == document:
                return draft
        raise


def _legs(
    home: Installation,
    stored: Draft,
    content: Document,
    line: Line,
    sources: Mapping[str, Any],
    price: Decimal | None,
) -> pl.LazyFrame:
    """The rated legs behind a line of usage or of a share, at the versions that the document pins.

    `sources` are those of its charge, `price` is that of their unit.
    """
    part: dict[str, int | list[date]] = {"bucket": home.bucket_of(content.partner)}
    if sources.get("days"):
        first, last = (date.fromisoformat(day) for day in sources["days"])
        expired = home.registry.audit.expired_days(RATED_LEG.name)
        days = pl.date_range(first, last, eager=True).to_list()
        part["day"] = [day for day in days if day not in expired]
        if not part["day"]:
            return pl.LazyFrame(schema=RATED_LEG.schema)
    legs = home.lake.scan(RATED_LEG, stored.pins.get(RATED_LEG.name), part)
    rate = None if price is None else int(price.scaleb(10))
    return legs.filter(
        pl.col("partner") == content.partner,
        pl.col("agreement") == line.agreement,
        pl.col("leg") == content.leg.value,
        pl.col("service") == line.service,
        pl.col("destination").fill_null("") == line.destination,
        pl.col("band") == line.band,
        pl.col("origin") == line.origin,
        pl.col("local_day").is_between(line.first_day, line.last_day),
        pl.col("rate_e10").eq_missing(pl.lit(rate, pl.Int64)),
        pl.lit(line.kind in ("usage", "share")),
    )
