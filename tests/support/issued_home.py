"""A home with issued documents, made without rating anything: charges, drafts, numbers."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from billing_assets.core.ids import bucket_of
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.assemble import assemble
from billing_assets.invoicing.document import Provenance
from billing_assets.invoicing.finalise import finalise_cycle, keep_draft
from billing_assets.lake.tables import CHARGE, RATED_LEG, USAGE_DAILY, XDR
from billing_assets.reference.versions import take_reference
from billing_assets.registry.documents import Document
from tests.support.invoicing_cases import CARRIER, MARCH, charge, charges, partner, recurring

NOW = datetime(2026, 4, 7, 9, tzinfo=UTC)
ISSUED = date(2026, 4, 7)


def reference_files(
    partners: Iterable[Mapping[str, Any]], carrier: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """A reference folder of the carrier of the tests and some partners; JSON is YAML."""
    ours = {**CARRIER.model_dump(mode="json", by_alias=True), **(carrier or {})}
    files = {"carrier.yaml": json.dumps(ours).encode()}
    for changes in partners:
        one = {**partner().model_dump(mode="json", by_alias=True), **changes}
        files[f"partners/{one['partner']}.yaml"] = json.dumps(one).encode()
    return files


def load(home: Installation, files: Mapping[str, bytes]) -> None:
    """Put reference files into force; none may be refused."""
    taken = take_reference(
        files, lake=home.lake, registry=home.registry, blobs=home.blobs, now=NOW, who="ana"
    )
    assert taken.problems == ()


def write_usage(home: Installation, partner_id: str) -> None:
    """Write the 400 calls of 2.5 minutes at 0.0060 that the invoice's 6.00 is made of."""
    calls = 400
    facts = {
        "day": MARCH.start,
        "bucket": bucket_of(partner_id, 1000),
        "local_day": MARCH.start,
        "leg": "customer",
        "service": "voice",
        "partner": partner_id,
        "agreement": "P14-VOICE@1",
        "destination": "Portugal Mobile",
        "rate_e10": 60_000_000,
        "band": "",
        "origin": "",
        "pricing": "priced",
        "currency": "EUR",
    }
    first = 1000 * int(partner_id[1:])
    records = {
        **facts,
        "record_id": [first + n for n in range(calls)],
        "event_time": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "answered": True,
        "duration_ms": 150_000,
        "billed_units": 150,
        "fees_e10": 0,
        "amount_e10": 150_000_000,
        "code": 3519,
        "a_number": [351_910_000_000 + first + n for n in range(calls)],
        "a_length": 12,
        "a_kind": "number",
        "b_number": [351_960_000_000 + first + n for n in range(calls)],
        "b_length": 12,
    }
    usage = {
        **facts,
        "records": calls,
        "answered": calls,
        "duration_ms": calls * 150_000,
        "billed_units": calls * 150,
        "fees": Decimal(0),
        "amount": Decimal("6.00"),
    }
    day = {"day": MARCH.start}
    for table, cells in ((RATED_LEG, records), (USAGE_DAILY, usage), (XDR, records)):
        frame = pl.DataFrame(
            {name: cells.get(name) for name in table.schema}, schema_overrides=table.schema
        ).select(pl.col(name).cast(dtype) for name, dtype in table.schema.items())
        part = {**day, "bucket": facts["bucket"]} if "bucket" in table.schema else day
        if table is XDR:  # the day's calls of all partners are one slice
            frame = pl.concat([home.lake.scan(XDR, part=day).collect(), frame])
        home.lake.replace_slice(table, frame, part)


def draft_cycle(home: Installation, partner_id: str, itemised: Path | None = None) -> str:
    """Charge, draft and approve March of a partner: one invoice of a usage line and a fee."""
    cycle = f"{partner_id}/2026-03"
    rows = [
        {**row, "partner": partner_id, "cycle": cycle, "bucket": bucket_of(partner_id, 4)}
        for row in (charge(), recurring())
    ]
    frame = charges(*rows)
    home.lake.replace_slice(CHARGE, frame, {"month": "2026-03", "cycle": cycle})
    write_usage(home, partner_id)
    pins = home.lake.pins([CHARGE, RATED_LEG, USAGE_DAILY, XDR])
    reference = home.reference
    document = assemble(
        frame,
        carrier=reference.carrier,
        partner=reference.partner(partner_id),
        period=MARCH,
        issue_date=ISSUED,
        provenance=Provenance(cycle=cycle, reference=reference.version),
    )
    record = home.registry
    record.cycles.open_cycle(cycle, partner_id, MARCH, "monthly", now=NOW, who="ana")
    record.cycles.record_run(cycle, {}, now=NOW, who="ana")
    record.cycles.record_validation(cycle, [], now=NOW, who="ana")
    draft = keep_draft(
        document,
        carrier=reference.carrier,
        templates=home.templates,
        blobs=home.blobs,
        pins=pins,
        itemised=itemised,
    )
    record.documents.record_drafts(cycle, [draft], now=NOW, who="ana")
    record.cycles.approve(cycle, 1, now=NOW, who="bruno")
    return cycle


def issue(home: Installation, cycle: str) -> list[Document]:
    """Give the approved drafts of a cycle their numbers."""
    return finalise_cycle(
        cycle,
        registry=home.registry,
        blobs=home.blobs,
        templates=home.templates,
        issue_date=ISSUED,
        now=NOW,
        who="bruno",
    )


def issued_home(
    root: Path,
    *partners: Mapping[str, Any],
    carrier: Mapping[str, Any] | None = None,
    itemised: str = "",
    **settings: Any,
) -> Installation:
    """A home in which March of some partners is issued; each is a change of the tests' P14."""
    home = Installation.open(Settings(home=root / "home", user="ana", **settings))
    load(home, reference_files(partners, carrier))
    file = None
    if itemised:
        file = root / "itemised.csv"
        file.write_text(itemised)
    for changes in partners:
        issue(home, draft_cycle(home, str(changes.get("partner", "P14")), file))
    return home
