"""Proof of issued documents by making them again, and of the whole registry by its own log.

A document is made again from the charges, usage and reference data that it pins, and must come
to the same bytes. Every row that matters in the registry was logged when it was written, in a
chain of hashes: what no longer says what was logged has been tampered with, and is named.
"""

import json
from collections.abc import Iterator
from typing import Any

from billing_assets.charging.cycles import registered_cycle
from billing_assets.charging.run import Charged, cycle_usage
from billing_assets.charging.unbilled import claim
from billing_assets.core.errors import BillingError
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Check, Document
from billing_assets.invoicing.finalise import document_id, revised
from billing_assets.invoicing.run import documents_of
from billing_assets.invoicing.verify import audit_check, logged_check, verify
from billing_assets.lake.tables import CHARGE, USAGE_DAILY
from billing_assets.reference.models import Cadence
from billing_assets.reference.versions import reference_of
from billing_assets.registry.documents import Document as Stored
from billing_assets.registry.schema import DeliveryState, to_json


def prove(home: Installation, document: str) -> list[Check]:
    """Every check of an issued document by its id; raises `NotFound` for an unknown one."""
    stored = home.registry.documents.get(document)
    checks = verify(document, registry=home.registry, blobs=home.blobs, lake=home.lake)
    return [*checks, _made_again(home, stored)]


def prove_registry(home: Installation) -> list[Check]:
    """Checks of the whole registry: log, numbers, documents, cycles, deliveries, references."""
    return [audit_check(home.registry), *_numbers(home), *_documents(home), *_rows(home)]


def _made_again(home: Installation, stored: Stored) -> Check:
    """The canonical document, made anew from what the document pins."""
    name = "made again from its pinned versions"
    try:
        issued = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
        if home.registry.cycles.get(stored.cycle).is_correction:
            return Check(name=name, ok=True, detail="a note on an earlier document, not of a cycle")
        unpinned = {CHARGE.name, USAGE_DAILY.name} - set(stored.pins)
        if unpinned:
            return Check(name=name, ok=False, detail=f"pins no {', '.join(sorted(unpinned))}")
        made = _remade(home, stored, issued)
    except BillingError as error:
        return Check(name=name, ok=False, detail=str(error))
    if made is None:
        return Check(name=name, ok=False, detail="its charges come to no such document")
    if made.sha256() == stored.canonical_sha256:
        return Check(name=name, ok=True, detail=f"byte-equal, SHA-256 {made.sha256()[:12]}")
    wrong = [
        field
        for field in Document.model_fields
        if field != "traffic" and getattr(made, field) != getattr(issued, field)
    ]
    # the chart counts what was unbilled on that day, which later cycles have billed since
    return Check(
        name=name,
        ok=not wrong,
        detail=f"differs in {', '.join(wrong)}" if wrong else "equal but for its chart",
    )


def _remade(home: Installation, stored: Stored, issued: Document) -> Document | None:
    known = home.registry.cycles.get(stored.cycle)
    cycle = registered_cycle(known)
    reference = reference_of(stored.reference_hash, home.registry, home.blobs)
    version = stored.pins[USAGE_DAILY.name]
    before = [
        other
        for other in home.registry.cycles.list(partner=known.partner)
        for first in home.registry.documents.of_cycle(other.id)[:1]
        if other.id == known.id or first.finalised_at < stored.finalised_at
    ]
    partner = reference.partner(known.partner)
    claimed = claim(cycle, before, has_calendar=partner.cadence is not Cadence.AD_HOC)
    part = {"month": cycle.month, "cycle": cycle.cycle}
    charged = Charged(
        cycle=cycle,
        charges=home.lake.scan(CHARGE, stored.pins[CHARGE.name], part).collect(),
        usage=cycle_usage(claimed, home.lake, version),
        usage_version=version,
        claimed=claimed,
        figures=known.totals,
    )
    for document in documents_of(home, reference, charged, stored.issue_date):
        if document_id(document) == stored.id:
            provenance = {
                **document.provenance.model_dump(),
                "template": issued.provenance.template,
                "engines": issued.provenance.engines,
            }
            return revised(document, number=stored.number_text, provenance=provenance)
    return None


def _numbers(home: Installation) -> Iterator[Check]:
    """No number is missing, none is above the last one given."""
    documents = home.registry.documents
    gaps = [
        f"{gap.series} {gap.year} lacks {', '.join(map(str, gap.missing))}"
        for gap in documents.check_gaps()
    ]
    highest: dict[tuple[str, str, int], int] = {}
    for cycle in home.registry.cycles.list(corrections=True):
        for one in documents.of_cycle(cycle.id):
            series = (one.entity, one.series, one.year)
            highest[series] = max(one.number, highest.get(series, 0))
    last = documents.last_numbers()
    gaps += [
        f"{series} {year} is at {last.get((entity, series, year), 0)}, but {number} was given"
        for (entity, series, year), number in highest.items()
        if last.get((entity, series, year), 0) < number
    ]
    yield Check(
        name="number series",
        ok=not gaps,
        detail="; ".join(gaps) or f"{len(highest)} without a gap",
    )


def _documents(home: Installation) -> Iterator[Check]:
    """Every document is as it was logged, and every logged document is there."""
    stored = {
        one.id: one
        for cycle in home.registry.cycles.list(corrections=True)
        for one in home.registry.documents.of_cycle(cycle.id)
    }
    for one in stored.values():
        yield logged_check(one, home.registry)
        for name, file in sorted(one.files.items()):
            try:
                home.blobs.prove(file.sha256)
            except BillingError as error:
                yield Check(name=f"file {name} of {one.number_text}", ok=False, detail=str(error))
    for entry in home.registry.audit.entries():
        if entry.action == "document.finalise":
            name = entry.subject.removeprefix("document:")
            if name not in stored:
                number = json.loads(entry.after or "{}").get("number_text", "")
                yield Check(
                    name=f"document {name}", ok=False, detail=f"{number} was issued and is gone"
                )


def _rows(home: Installation) -> Iterator[Check]:
    """Cycles, deliveries and reference versions are as they were logged."""
    logged = _last_logged(home)
    for cycle in home.registry.cycles.list(corrections=True):
        row = json.loads(to_json({**vars(cycle), "period": str(cycle.period)}))
        yield _same(f"cycle {cycle.id}", row, logged.pop(f"cycle:{cycle.id}", None))
    for subject in [subject for subject in logged if subject.startswith("cycle:")]:
        yield Check(name=subject.replace(":", " ", 1), ok=False, detail="was opened and is gone")
    for one in home.registry.deliveries.list():
        facts = logged.get(f"delivery:{one.id}", {})
        state = facts.get("state")
        # attempts are logged in a table of their own: only what ends one is in the log
        ended = one.state in (DeliveryState.DELIVERED, DeliveryState.UNKNOWN)
        if state == DeliveryState.DELIVERED.value or ended:
            row = json.loads(to_json({"state": one.state, "receipt": one.receipt}))
            yield _same(f"delivery {one.id}", row, {n: facts.get(n, row[n]) for n in row})
    for version in home.registry.versions.references():
        found = sha256_of(canonical_json(dict(version.manifest)))
        missing = [path for path, sha in version.manifest.items() if not home.blobs.exists(sha)]
        yield Check(
            name=f"reference version {version.number}",
            ok=found == version.hash and not missing,
            detail="its files are not those of its hash"
            if found != version.hash
            else f"{', '.join(missing)} is gone"
            if missing
            else f"{len(version.manifest)} files",
        )


def _last_logged(home: Installation) -> dict[str, dict[str, Any]]:
    """What the log says that rows hold now: the last value of every field it has seen."""
    facts: dict[str, dict[str, Any]] = {}
    for entry in home.registry.audit.entries():
        after = json.loads(entry.after) if entry.after else {}
        if not isinstance(after, dict):
            continue
        subject = entry.subject
        if entry.action.startswith("delivery."):
            subject = f"delivery:{subject.removeprefix('document:')}/{after.get('channel')}"
        if subject.startswith(("cycle:", "delivery:")) and entry.action != "cycle.waive":
            facts.setdefault(subject, {}).update(after)
    return facts


def _same(name: str, row: dict[str, Any], logged: dict[str, Any] | None) -> Check:
    """A row against the last values that were logged; fields that only one has do not count."""
    if logged is None:
        return Check(name=name, ok=False, detail="the audit log does not know it")
    wrong = [
        f"{field} is {row[field]}, logged was {value}"
        for field, value in logged.items()
        if field in row and row[field] != value
    ]
    return Check(name=name, ok=not wrong, detail="; ".join(wrong) or "as logged")
