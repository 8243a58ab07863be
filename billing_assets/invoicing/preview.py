"""Documents of a cycle as they would be now, for people to look at: nothing is stored.

A preview may be of a cycle that is still running. A pro forma and a usage declaration are made
the same way and may go to the partner; none of them has a number.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

from billing_assets.charging.cycles import Cycle, newly_closed, registered_cycle
from billing_assets.charging.run import charges_now
from billing_assets.core.errors import NotFound
from billing_assets.installation import Installation
from billing_assets.invoicing.document import UNNUMBERED, Document, Kind
from billing_assets.invoicing.finalise import file_name, revised
from billing_assets.invoicing.pdf import render_pages, render_pdf
from billing_assets.invoicing.renderings import render
from billing_assets.invoicing.run import documents_of
from billing_assets.reference.models import Cadence
from billing_assets.registry.cycles import FINALISED


def cycle_to_preview(home: Installation, partner_id: str, now: datetime) -> Cycle:
    """The partner's last cycle that was run or opened and is not final; else the one closed last.

    Raises `NotFound` for an unknown partner, and for one without any cycle.
    """
    partner = home.reference.partner(partner_id)
    waiting = [
        known
        for known in home.registry.cycles.list(partner=partner_id)
        if known.state not in FINALISED
    ]
    if waiting:
        return registered_cycle(max(waiting, key=lambda known: known.period.end))
    if partner.cadence is Cadence.AD_HOC:
        raise NotFound(
            f"{partner_id} is billed ad hoc and has no open cycle",
            hint=f"`icb cycle open {partner_id} FIRST LAST`",
        )
    return newly_closed(partner, now)


def preview(
    home: Installation, cycle: Cycle, kind: Kind | None, issue_date: date
) -> list[Document]:
    """The documents of a cycle as of now; of a final one, those that it has.

    With `kind` (a pro forma or a declaration) our own documents become that, and others are left
    out. Raises `NotFound` when there is nothing to show.
    """
    known = {one.id: one for one in home.registry.cycles.list(corrections=True)}.get(cycle.cycle)
    if known is not None and (known.state in FINALISED or known.is_correction):
        stored = home.registry.documents.of_cycle(cycle.cycle)
        drafts = stored or home.registry.documents.drafts(cycle.cycle, known.runs)
        made = [
            Document.model_validate_json(home.blobs.get(one.canonical_sha256)) for one in drafts
        ]
    else:
        reference = home.reference
        charged = charges_now(
            cycle,
            reference,
            home.lake,
            home.registry,
            buckets=home.settings.buckets,
            issue_date=issue_date,
        )
        made = documents_of(home, reference, charged, issue_date)
    if kind is not None:
        made = [revised(one, kind=kind, number=None) for one in made if one.kind is Kind.INVOICE]
    if kind is Kind.DECLARATION:
        made = [one for one in made if any(line.records for line in one.lines)]
    if not made:
        raise NotFound(f"{cycle.cycle} has nothing to show", hint="no charge of it is billable")
    return made


def write_preview(home: Installation, documents: list[Document], folder: Path) -> Iterator[Path]:
    """Write the PDF and the pages as PNG of some documents into a folder, and name the files.

    Raises what the renderers raise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        path = folder / file_name(document, "pdf")
        # the pictures of a pro forma or a declaration need not show totals, nor bear an XML
        path.write_bytes(
            render_pdf(document, home.templates)
            if document.kind in UNNUMBERED
            else render(document, home.templates)["pdf"]
        )
        yield path
        stem = re.sub(r"\.pdf$", "", path.name)
        for number, page in enumerate(render_pages(document, home.templates), start=1):
            picture = folder / f"{stem}-{number}.png"
            picture.write_bytes(page)
            yield picture
