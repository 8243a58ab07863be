"""Proof of an issued document: its bytes, its sums, and the rows of the lake it was made from.

Everything is read anew: files from the blob store, facts from the registry, charges and rated
legs from the lake at the versions that the document pins. Nothing is rendered or changed.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

import polars as pl
from pydantic import ValidationError

from billing_assets.charging.line import REPLACED
from billing_assets.core.errors import BillingError
from billing_assets.core.money import from_e10
from billing_assets.invoicing.assemble import billable
from billing_assets.invoicing.document import Check, Document, Kind, Line, identities
from billing_assets.lake.slices import Slice
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, RATED_LEG, Table
from billing_assets.registry import documents as registered
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.cycles import ADJUSTMENT
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import to_json

Key = TypeVar("Key")

UsageKey = tuple[object, ...]
"""Agreement, service, destination, band, origin, price of a usage line; whether it is prior."""


def verify(document_id: str, *, registry: Registry, blobs: BlobStore, lake: Lake) -> list[Check]:
    """Every check of an issued document, in order; all hold when it is as it was issued.

    A document that cannot be read any more ends the list. Raises `NotFound` when no final
    document has the id.
    """
    stored = registry.documents.get(document_id)
    checks = list(_file_checks(stored, blobs))
    try:
        document = Document.model_validate_json(blobs.get(stored.canonical_sha256))
    except (BillingError, ValidationError) as error:
        return [*checks, Check(name="canonical JSON is whole", ok=False, detail=str(error))]
    checks.append(_registry_check(stored, document))
    checks.append(logged_check(stored, registry))
    checks += identities(document)
    checks.append(_gap_check(stored, registry))
    checks.append(audit_check(registry))
    adjusts = registry.cycles.get(document.provenance.cycle).cadence == ADJUSTMENT
    if document.references.corrects and not adjusts:
        checks.append(_corrected_check(document, registry, blobs))
    else:
        checks.append(_charges_check(stored, document, lake))
        checks.append(_legs_check(stored, document, lake, registry))
    return checks


def _corrected_check(document: Document, registry: Registry, blobs: BlobStore) -> Check:
    """The lines of a note are lines of the document that it corrects, and credit no more."""
    corrects = document.references.corrects
    number = corrects.number if corrects else ""
    originals = [
        content
        for stored in registry.documents.with_number(number)
        for content in [Document.model_validate_json(blobs.get(stored.canonical_sha256))]
        if content.partner == document.partner
    ]
    billed = {line.number: line.amount for one in originals for line in one.lines}
    wrong = [
        f"line {line.number}"
        for line in document.lines
        if line.number not in billed
        or (document.kind is Kind.CREDIT_NOTE and abs(line.amount) > abs(billed[line.number]))
    ]
    return Check(
        name=f"lines are those of {number}",
        ok=bool(originals) and not wrong,
        detail=", ".join(wrong) or f"{len(document.lines)} lines agree",
    )


def _file_checks(stored: registered.Document, blobs: BlobStore) -> Iterator[Check]:
    """Each kept file still has the content of its hash."""
    for name, file in sorted(stored.files.items()):
        try:
            size = blobs.prove(file.sha256)
        except BillingError as error:
            yield Check(name=f"file {name}", ok=False, detail=str(error))
            continue
        yield Check(
            name=f"file {name}",
            ok=size == file.bytes,
            detail=f"{file.name}, {size} bytes, SHA-256 {file.sha256[:12]}",
        )


def _registry_check(stored: registered.Document, document: Document) -> Check:
    """The registry's facts are those of the document."""
    facts = {
        "number": (stored.number_text, document.number),
        "issue date": (stored.issue_date, document.issue_date),
        "due date": (stored.due_date, document.due_date),
        "currency": (stored.currency, document.currency),
        "net": (stored.net, document.totals.net),
        "tax": (stored.tax, document.totals.tax),
        "gross": (stored.gross, document.totals.gross),
        "reference": (stored.reference_hash, document.provenance.reference),
        "content": (stored.canonical_sha256, document.sha256()),
    }
    wrong = [f"{name} {one} is not {other}" for name, (one, other) in facts.items() if one != other]
    return Check(
        name="registry agrees with the document",
        ok=not wrong,
        detail="; ".join(wrong) or f"{document.number}, {document.totals.gross} {stored.currency}",
    )


def logged_check(stored: registered.Document, registry: Registry) -> Check:
    """The registry's row is the one that was logged when the document was issued."""
    name = f"registry row of {stored.number_text} is as it was logged"
    logged = [
        json.loads(entry.after or "{}")
        for entry in registry.audit.entries(f"document:{stored.id}")
        if entry.action == "document.finalise"
    ]
    if len(logged) != 1:
        return Check(name=name, ok=False, detail=f"the audit log knows it {len(logged)} times")
    row = json.loads(to_json(stored))
    wrong = [
        f"{field} is {row.get(field)}, logged was {value}"
        for field, value in logged[0].items()
        if row.get(field) != value
    ]
    return Check(name=name, ok=not wrong, detail="; ".join(wrong) or f"{len(row)} fields")


def _gap_check(stored: registered.Document, registry: Registry) -> Check:
    """No number of the document's series is missing."""
    series = (stored.entity, stored.series, stored.year)
    missing = [
        str(number)
        for gap in registry.documents.check_gaps()
        if (gap.entity, gap.series, gap.year) == series
        for number in gap.missing
    ]
    return Check(
        name="numbers of the series have no gap",
        ok=not missing,
        detail=f"missing {', '.join(missing)}" if missing else " ".join(map(str, series)),
    )


def audit_check(registry: Registry) -> Check:
    """The audit log's hash chain is unbroken."""
    broken = registry.audit.verify()
    detail = f"entry {broken.seq} {broken.reason}" if broken else "hash chain recomputed"
    return Check(name="audit log is whole", ok=broken is None, detail=detail)


def _pin(stored: registered.Document, table: Table) -> int | Check:
    """The version at which a document read a table; a failed check when it pins none."""
    version = stored.pins.get(table.name)
    if version is None:
        return Check(name=f"{table.name} is pinned", ok=False, detail="the document pins none")
    return version


def _charges_check(stored: registered.Document, document: Document, lake: Lake) -> Check:
    """The pinned charges are the document's lines, one for one, to the last unit."""
    version = _pin(stored, CHARGE)
    if isinstance(version, Check):
        return version
    rows = billable(
        lake.scan(CHARGE, version, _slice(document))
        .filter(pl.col("leg") == document.leg.value, pl.col("currency") == document.currency)
        .collect()
    )
    # other agreements and sections of the cycle may stand on documents of their own
    billed = {(line.agreement, line.section) for line in document.lines}
    sign = _sign(document)
    kept = {
        str(row["charge_id"]): (sign * row["amount"], sign * row["exact_amount"])
        for row in rows.iter_rows(named=True)
        if (row["agreement"], row["section"]) in billed
    }
    shown = {line.charge_id: (line.amount, line.exact_amount) for line in document.lines}
    return _compared(f"charges at version {version}", shown, kept, "lines")


def _slice(document: Document) -> Slice:
    """The slice of `charge` that a document's cycle fills."""
    month = document.period.last_day.isoformat()[:7]
    return {"month": month, "cycle": document.provenance.cycle}


def _sign(document: Document) -> int:
    """What turns a charge into the document's own sign: credits are stated positive."""
    return -1 if document.turned != (document.kind is Kind.CREDIT_NOTE) else 1


def _legs_check(
    stored: registered.Document, document: Document, lake: Lake, registry: Registry
) -> Check:
    """Records and exact amounts of the pinned legs are those of the usage lines.

    Usage of earlier days is compared when no earlier cycle can have billed a part of it; else
    such lines are differences between versions of the lake, and the charges alone prove them.
    """
    version = _pin(stored, RATED_LEG)
    if isinstance(version, Check):
        return version
    start = document.period.first_day
    expired = registry.audit.expired_days(RATED_LEG.name)
    if any(day <= document.period.last_day for day in expired):
        gone = f"retention has deleted days up to {max(expired)}; the charges alone prove the lines"
        return Check(name=f"rated legs at version {version}", ok=True, detail=gone)
    if registry.cycles.get(document.provenance.cycle).cadence == ADJUSTMENT:
        between = "differences between two versions; the charges alone prove them"
        return Check(name=f"rated legs at version {version}", ok=True, detail=between)
    earlier = [
        cycle
        for cycle in registry.cycles.list(partner=document.partner)
        if cycle.period.end <= start
    ]
    lines = [
        line
        for line in document.lines
        if line.kind == "usage" and (line.first_day >= start or not earlier)
    ]
    shown: dict[UsageKey, tuple[int, Decimal]] = {}
    for line in lines:
        records, amount = shown.get(_usage_key(line), (0, Decimal(0)))
        shown[_usage_key(line)] = (records + line.records, amount + line.exact_amount)
    for key, records, amount in _replaced(stored, document, lake, whole=not earlier):
        shown_records, shown_amount = shown.get(key, (0, Decimal(0)))
        shown[key] = (shown_records + records, shown_amount + amount)
    # of all buckets: a proof must find a leg of the partner also where none should lie
    legs = lake.scan(RATED_LEG, version).filter(pl.col("local_day") <= document.period.last_day)
    if earlier:
        legs = legs.filter(
            pl.col("local_day") >= start,
            # a local day lies within a day of its UTC slices
            pl.col("day") >= start - timedelta(days=1),
        )
    kept = _legs_by_key(legs, document)
    skipped = sum(line.kind == "usage" for line in document.lines) - len(lines)
    what = "usage lines" + (f" ({skipped} of earlier periods not compared)" if skipped else "")
    return _compared(f"rated legs at version {version}", shown, kept, what)


def _replaced(
    stored: registered.Document, document: Document, lake: Lake, *, whole: bool
) -> Iterator[tuple[UsageKey, int, Decimal]]:
    """Key, records and rated amount of the pinned usage that named rules price instead.

    With `whole` usage of earlier days too.
    """
    rows = (
        lake.scan(CHARGE, stored.pins.get(CHARGE.name), _slice(document))
        .filter(
            pl.col("kind") == REPLACED,
            pl.col("leg") == document.leg.value,
            pl.col("agreement").is_in({line.agreement for line in document.lines}),
        )
        .collect()
    )
    words = ("agreement", "service", "destination", "band", "origin")
    sign = -1 if document.turned else 1
    for row in rows.iter_rows(named=True):
        prior = row["section"] == "prior_period"
        if whole or not prior:
            price = None if row["price"] is None else abs(row["price"])
            key = (*(row[word] for word in words), price, prior)
            yield key, row["records"], sign * row["exact_amount"]


def _usage_key(line: Line) -> UsageKey:
    prior = line.section == "prior_period"
    words = (line.agreement, line.service, line.destination, line.band, line.origin)
    return (*words, line.price, prior)


def _legs_by_key(legs: pl.LazyFrame, document: Document) -> dict[UsageKey, tuple[int, Decimal]]:
    """Records and exact amount of the document's legs by what tells usage lines apart."""
    words = ("agreement", "service", "destination", "band", "origin")
    sign = -1 if document.turned else 1
    groups = (
        legs.filter(
            pl.col("partner") == document.partner,
            pl.col("leg") == document.leg.value,
            pl.col("day") <= document.period.last_day + timedelta(days=1),
            pl.col("pricing") != "not_chargeable",
            pl.col("agreement").is_in({line.agreement for line in document.lines}),
        )
        .group_by(
            *(pl.col(word).fill_null("") for word in words),
            pl.col("rate_e10").abs(),
            (pl.col("local_day") < document.period.first_day).alias("prior"),
        )
        .agg(pl.len().alias("records"), pl.col("amount_e10").cast(pl.Int128).sum())
        .collect(engine="streaming")
    )
    return {
        (*key, None if rate is None else from_e10(rate), prior): (records, sign * from_e10(amount))
        for *key, rate, prior, records, amount in groups.iter_rows()
    }


def _compared(
    name: str,
    shown: Mapping[Key, tuple[object, object]],
    kept: Mapping[Key, tuple[object, object]],
    what: str,
) -> Check:
    """Two mappings that must be equal; the detail names the first differences."""
    differing = [key for key in {**shown, **kept} if shown.get(key) != kept.get(key)]
    differences = [f"{key}: {shown.get(key)} against {kept.get(key)}" for key in differing[:3]]
    if len(differing) > 3:
        differences.append(f"and {len(differing) - 3} more")
    return Check(
        name=name, ok=not differing, detail="; ".join(differences) or f"{len(shown)} {what} agree"
    )
