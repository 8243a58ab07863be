"""A cycle as one folder that needs no product: documents, lines, usage, reference, log, hashes.

Everything is as it was issued: files by their hashes, tables at the versions that the documents
pin. `SHA256SUMS` lists every file; README.txt says how to check the folder with common tools.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import copyfile, rmtree

import polars as pl

from billing_assets.core.errors import BillingError, StateError
from billing_assets.core.ids import sha256_of_file
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.lake.tables import CHARGE, RATED_LEG, USAGE_DAILY
from billing_assets.registry.cycles import FINALISED, Cycle
from billing_assets.registry.documents import Document as Stored
from billing_assets.registry.schema import to_json

SUMS = "SHA256SUMS"

_EXACT = ("quantity", "price", "exact_amount", "amount", "tax_rate")

README = """\
{cycle}: {partner}, {period}

This folder is complete in itself; nothing but common tools is needed to read and check it.

documents/           the issued files, as they were sent; NUMBER.json is the canonical document
documents.csv        one row a document: number, dates, totals, hash of the canonical document
lines.parquet        one row a document line
tables/              charge, usage_daily and rated_leg at the versions that the documents pin
reference/           partners, agreements, rate sheets and calendars as they were in force
registry/            the cycle with its exceptions, its documents, deliveries and attempts
audit.jsonl          the whole audit log; each row holds the hash of the row before it
SHA256SUMS           the SHA-256 of every other file here

1. That no file has changed:

     sha256sum -c SHA256SUMS

2. That lines add up to documents (DuckDB, or any engine that reads Parquet and CSV); no row:

     SELECT d.number, d.net, sum(l.amount) AS lines
     FROM read_csv('documents.csv', all_varchar = true) d
     JOIN 'lines.parquet' l ON l.document = d.number
     GROUP BY d.number, d.net HAVING sum(l.amount) <> CAST(d.net AS DECIMAL(38, 10));

3. That charges are the lines; no row:

     SELECT * FROM 'lines.parquet' l
     LEFT JOIN 'tables/charge.parquet' c ON c.charge_id = CAST(l.charge_id AS BIGINT)
     WHERE c.amount IS DISTINCT FROM l.amount;

4. That rated records add up to the daily usage; no row:

     SELECT agreement, leg, currency, local_day, sum(amount) AS amount
     FROM (SELECT agreement, leg, currency, local_day, CAST(amount_e10 AS HUGEINT) AS amount
           FROM 'tables/rated_leg.parquet'
           UNION ALL
           SELECT agreement, leg, currency, local_day, -CAST(amount * 10000000000 AS HUGEINT)
           FROM 'tables/usage_daily.parquet')
     GROUP BY ALL HAVING sum(amount) <> 0;

5. That the audit log is unbroken: the `hash` of a row is the SHA-256 of its other fields as JSON
   with sorted keys and no blanks, and `previous_hash` is the hash of the row before. In Python:

     import hashlib, json
     previous = ""
     for row in map(json.loads, open("audit.jsonl", encoding="utf-8")):
         found = row.pop("hash")
         text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
         assert row["previous_hash"] == previous
         assert hashlib.sha256(text.encode()).hexdigest() == found
         previous = found
"""


def export_cycle(home: Installation, cycle_id: str, target: Path) -> Path:
    """Write a final cycle's folder and return its path, below `target`.

    The folder appears when it is whole. Raises `StateError` for a cycle that is not final,
    `BillingError` when the folder exists or a kept file is damaged.
    """
    cycle = home.registry.cycles.get(cycle_id)
    if cycle.state not in FINALISED:
        raise StateError(f"cycle {cycle_id} is {cycle.state}: only final cycles are archived")
    folder = target / cycle_id.replace("/", "_")
    if folder.exists():
        raise BillingError(f"{folder} exists", hint="an archive is written once; move it away")
    part = folder.with_name(f".{folder.name}.part")
    rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    documents = home.registry.documents.of_cycle(cycle_id)
    _documents(home, documents, part)
    _tables(home, cycle, documents, part / "tables")
    for version in {document.reference_hash for document in documents}:
        manifest = home.registry.versions.reference(version).manifest
        for path, sha256 in manifest.items():
            _copy(home, sha256, part / "reference" / version[:12] / path)
    _registry(home, cycle, documents, part)
    text = README.format(cycle=cycle.id, partner=cycle.partner, period=cycle.period)
    (part / "README.txt").write_text(text, "utf-8")
    files = sorted(path for path in part.rglob("*") if path.is_file())
    sums = "".join(f"{sha256_of_file(path)}  {path.relative_to(part)}\n" for path in files)
    (part / SUMS).write_text(sums, "utf-8")
    part.rename(folder)
    return folder


def _documents(home: Installation, documents: Iterable[Stored], part: Path) -> None:
    """The issued files, and their facts and lines as tables."""
    facts: list[dict[str, object]] = []
    lines: list[dict[str, object]] = []
    for stored in documents:
        for file in stored.files.values():
            _copy(home, file.sha256, part / "documents" / file.name)
        content = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
        facts.append(
            {
                "number": stored.number_text,
                "kind": stored.kind.value,
                "issue_date": stored.issue_date,
                "due_date": stored.due_date,
                "currency": stored.currency,
                "net": f"{stored.net:f}",
                "tax": f"{stored.tax:f}",
                "gross": f"{stored.gross:f}",
                "canonical_sha256": stored.canonical_sha256,
            }
        )
        lines += [
            {"document": stored.number_text, **line.model_dump(exclude={"steps"})}
            for line in content.lines
        ]
    if not facts:
        return
    with (part / "documents.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(facts[0]))
        writer.writeheader()
        writer.writerows(facts)
    money = pl.Decimal(38, 10)
    frame = pl.DataFrame(lines, infer_schema_length=None)
    frame.with_columns(pl.col(_EXACT).cast(money)).write_parquet(part / "lines.parquet")


def _tables(home: Installation, cycle: Cycle, documents: Iterable[Stored], folder: Path) -> None:
    """The cycle's charges, and the partner's usage of its days, at the pinned versions."""
    folder.mkdir()
    pins: Mapping[str, int] = next((dict(one.pins) for one in documents), {})
    charges = home.lake.scan(
        CHARGE, pins.get(CHARGE.name), {"month": cycle.month, "cycle": cycle.id}
    )
    charges.sink_parquet(folder / "charge.parquet")
    of_cycle = pl.col("local_day").is_between(cycle.period.start, cycle.period.last_day)
    for table in (USAGE_DAILY, RATED_LEG):
        expired = home.registry.audit.expired_days(table.name)
        days = [day for day in cycle.period.utc_days() if day not in expired]
        if not days:  # retention has deleted them all
            continue
        part = {"day": days, "bucket": home.bucket_of(cycle.partner)}
        rows = home.lake.scan(table, pins.get(table.name), part)
        rows.filter(pl.col("partner") == cycle.partner, of_cycle).sink_parquet(
            folder / f"{table.name}.parquet"
        )


def _registry(home: Installation, cycle: Cycle, documents: Iterable[Stored], part: Path) -> None:
    """What the registry knows of the cycle, and the audit log."""
    folder = part / "registry"
    folder.mkdir()
    registry = home.registry
    deliveries = registry.deliveries.list(cycle=cycle.id)
    content = {
        "cycle": {name: value for name, value in vars(cycle).items() if name != "period"}
        | {"period": str(cycle.period)},
        "exceptions": cycle.findings,
        "documents": list(documents),
        "deliveries": deliveries,
        "attempts": [
            attempt
            for one in deliveries
            for attempt in registry.deliveries.attempts(one.document, one.channel)
        ],
    }
    for name, value in content.items():
        readable = json.dumps(json.loads(to_json(value)), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(readable + "\n", "utf-8")
    with (part / "audit.jsonl").open("w", encoding="utf-8") as stream:
        for entry in registry.audit.entries():
            stream.write(to_json(entry) + "\n")


def _copy(home: Installation, sha256: str, target: Path) -> None:
    home.blobs.prove(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(home.blobs.path(sha256), target)
