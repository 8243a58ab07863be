"""From a draft to an issued document: number, freeze, render, keep.

Drafts are rendered and kept as often as one likes. Numbers come from the registry, inside the
transaction that makes the cycle final; what bears them is rendered there, so a failure burns
none (catalogue 4.2). Who may approve, and how numbers stay gapless, is the registry's concern.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from billing_assets.core.errors import BillingError, StateError
from billing_assets.invoicing.document import UNNUMBERED, Corrected, Document, Kind
from billing_assets.invoicing.layout import template_hash
from billing_assets.invoicing.pdf import engine_versions
from billing_assets.invoicing.renderings import EXTENSIONS, render
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Carrier
from billing_assets.reference.numbering import Series
from billing_assets.registry import documents as registered
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.cycles import Cycle
from billing_assets.registry.documents import Draft, Frozen, StoredFile
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import DocumentKind

ITEMISED: Final = "itemised"
"""Format of the one file that bears no number, so that the draft's is issued as it is."""


def file_name(document: Document, format_name: str) -> str:
    """A document's file name for people: its number, or what it is while it has none.

    A text template's name stays whole behind it: 'FT-2026-000001.detail.txt'.
    """
    mark = "" if document.kind in UNNUMBERED else "-DRAFT"
    stem = re.sub(r"[^\w.-]+", "-", document.number or document_id(document) + mark)
    return f"{stem}.{EXTENSIONS.get(format_name, format_name)}"


def _zipped(name: str) -> str:
    return ".gz" if name.endswith(".gz") else ""


def _itemised(draft: Draft, blobs: BlobStore) -> bytes | None:
    """The content of a draft's itemised CSV; None for one so large that it is compressed."""
    stored = draft.files.get(ITEMISED)
    return blobs.get(stored.sha256) if stored and not _zipped(stored.name) else None


def keep_draft(
    document: Document,
    *,
    carrier: Carrier,
    templates: Path,
    blobs: BlobStore,
    pins: Mapping[str, int],
    itemised: Path | None = None,
) -> Draft:
    """Render a draft, keep its files, and return it as the registry records it.

    `pins` are the versions of the lake's tables that it was made from; `itemised` is the CSV of
    its records, if there is one; it is copied. Raises `StateError` for
    a document that has its number or can have none, `BillingError` without a number series.
    """
    if not document.is_draft or document.kind in UNNUMBERED:
        raise StateError(
            f"{document.kind} {document.number or ''} of {document_id(document)} is no draft"
        )
    kind = DocumentKind(document.kind.value)
    series = _series(carrier, document)
    records = itemised.read_bytes() if itemised and not _zipped(itemised.name) else None
    files = _keep(document, render(document, templates, itemised=records), blobs)
    if itemised is not None:
        files[ITEMISED] = StoredFile(
            sha256=blobs.put_file(itemised),
            name=file_name(document, ITEMISED) + _zipped(itemised.name),
            bytes=itemised.stat().st_size,
        )
    return Draft(
        id=document_id(document),
        kind=kind,
        partner=document.partner,
        entity=carrier.entity,
        series=series.series,
        number_format=series.pattern,
        issue_date=document.issue_date,
        due_date=document.due_date,
        currency=document.currency,
        net=document.totals.net,
        tax=document.totals.tax,
        gross=document.totals.gross,
        canonical_sha256=document.sha256(),
        pins=pins,
        reference_hash=document.provenance.reference,
        template_hash=document.provenance.template,
        engines=document.provenance.engines,
        files=files,
    )


def finalise_cycle(
    cycle_id: str,
    *,
    registry: Registry,
    blobs: BlobStore,
    templates: Path,
    issue_date: date,
    guard: Callable[[Cycle, Sequence[Cycle]], None] | None = None,
    ledger: Ledger | None = None,
    home_currency: str = "",
    ahead: Mapping[str, Mapping[str, StoredFile]] | None = None,
    now: datetime,
    who: str,
) -> list[registered.Document]:
    """Issue the approved drafts of a cycle on a date: all of them or none.

    Their content is what was approved; dates, layout and engines are today's. A cycle that is
    final already gives back its documents unchanged. `guard` is as in `Documents.finalise`;
    `ledger` adds the documents' journals; `ahead` are files made before, by the hash of the
    numbered document. Raises what that and the renderers raise; then no
    number is used up.
    """
    run = registry.cycles.get(cycle_id).runs
    drafts = registry.documents.drafts(cycle_id, run)
    contents = {draft.id: _load(blobs, draft.canonical_sha256) for draft in drafts}
    issued = {name: _issued_on(issue_date, it, templates) for name, it in contents.items()}

    def freeze(draft: Draft, number: str) -> Frozen:
        final = revised(issued[draft.id], number=number)
        files = dict((ahead or {}).get(final.sha256(), {}))
        if not files:
            contents = render(
                final,
                templates,
                ledger=ledger,
                home_currency=home_currency,
                itemised=_itemised(draft, blobs),
            )
            files = _keep(final, contents, blobs)
        if ITEMISED in draft.files:
            name = file_name(final, ITEMISED) + _zipped(draft.files[ITEMISED].name)
            files[ITEMISED] = replace(draft.files[ITEMISED], name=name)
        return Frozen(canonical_sha256=final.sha256(), files=files)

    return registry.documents.finalise(
        cycle_id,
        [_redated(draft, issued[draft.id]) for draft in drafts],
        freeze,
        guard=guard,
        now=now,
        who=who,
    )


def rendered_as(
    draft: Draft,
    number: str,
    *,
    blobs: BlobStore,
    templates: Path,
    issue_date: date,
    ledger: Ledger | None,
    home_currency: str,
) -> tuple[str, dict[str, StoredFile]]:
    """Render and keep a draft as it would be issued; returns that document's hash and files.

    Nothing is issued by this. Raises what the renderers raise.
    """
    document = _issued_on(issue_date, _load(blobs, draft.canonical_sha256), templates)
    final = revised(document, number=number)
    contents = render(
        final,
        templates,
        ledger=ledger,
        home_currency=home_currency,
        itemised=_itemised(draft, blobs),
    )
    return final.sha256(), _keep(final, contents, blobs)


def revised(document: Document, **changes: Any) -> Document:
    """A document with some fields changed, its totals checked again."""
    return Document.model_validate({**document.model_dump(), **changes})


def _issued_on(issue_date: date, document: Document, templates: Path) -> Document:
    """A draft as it is issued on a date, by the layout and engines of that day.

    Raises `BillingError` for another date than the one by whose fixing it was converted, and for
    a note that would be older than what it corrects.
    """
    if document.references.corrects:
        require_after(document.references.corrects, issue_date)
    if document.dated and document.issue_date != issue_date:
        raise BillingError(
            f"{document.provenance.cycle} was converted at the fixing of {document.issue_date}, "
            f"its date of invoice, and cannot be issued on {issue_date}",
            hint="issue it on that date, or run the cycle again with the new one",
        )
    provenance = document.provenance.model_copy(
        update={
            "template": template_hash(templates, document.template_name),
            "engines": engine_versions(),
        }
    )
    return revised(
        document,
        issue_date=issue_date,
        due_date=issue_date + timedelta(days=document.terms_days),
        provenance=provenance.model_dump(),
    )


def require_after(corrected: Corrected, issue_date: date) -> None:
    """Raise `BillingError` for a note that is dated before the document that it corrects."""
    if issue_date < corrected.issue_date:
        raise BillingError(
            f"{corrected.number} is of {corrected.issue_date}, "
            f"no note to it can be of {issue_date}",
            hint="give a later --issue-date",
        )


def _redated(draft: Draft, document: Document) -> Draft:
    return replace(
        draft,
        issue_date=document.issue_date,
        due_date=document.due_date,
        template_hash=document.provenance.template,
        engines=document.provenance.engines,
    )


def document_id(document: Document) -> str:
    """A cycle has one document of a kind, stream and currency: 'P14/2026-03/invoice-EUR'.

    A turned one may stand beside another of the same kind: 'P11/2026-03/invoice-turned-GBP'.
    """
    words = [document.kind, document.stream, "turned" if document.turned else "", document.currency]
    return f"{document.provenance.cycle}/{'-'.join(word for word in words if word)}"


def _series(carrier: Carrier, document: Document) -> Series:
    """The series that numbers a document.

    What we issue in a partner's name, notes to it among them, is numbered for each partner apart:
    to the tax office these are the partner's own invoices (VAT Directive Art. 224, 226(2)).
    """
    kind = document.kind.value if document.ours else Kind.SELF_BILLED.value
    for series in carrier.series:
        if series.document == kind and document.ours:
            return series
        if series.document == kind:
            return series.model_copy(update={"series": f"{series.series}-{document.partner}"})
    raise BillingError(
        f"{carrier.entity} has no number series for {kind}", hint="add one in carrier.yaml"
    )


def _keep(
    document: Document, contents: Mapping[str, bytes], blobs: BlobStore
) -> dict[str, StoredFile]:
    return {
        name: StoredFile(
            sha256=blobs.put(content), name=file_name(document, name), bytes=len(content)
        )
        for name, content in contents.items()
    }


def _load(blobs: BlobStore, sha256: str) -> Document:
    return Document.model_validate_json(blobs.get(sha256))
