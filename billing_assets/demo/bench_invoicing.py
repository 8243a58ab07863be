"""The invoicing bench: a month of hundreds of partners, from usage to issued documents.

Each partner has two agreements in two currencies, so two documents of a few pages each, with
PDF, XML, CSV and itemised records. Usage and rated legs are generated; from there on it is the
product's own path: charge, validate, draft, approve, number, render, keep.
"""

import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pypdfium2

from billing_assets.charging.cycles import cycles_of_month
from billing_assets.core.errors import BillingError
from billing_assets.core.ids import bucket_of
from billing_assets.installation import Installation
from billing_assets.invoicing.annex import annex_of
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.itemised import write_itemised
from billing_assets.invoicing.parallel import draft_cycles, render_ahead
from billing_assets.invoicing.pdf import render_pdf
from billing_assets.invoicing.run import approve_and_issue
from billing_assets.invoicing.ubl import render_ubl
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import MONEY, RATED_LEG, USAGE_DAILY, XDR, Table
from billing_assets.reference.versions import take_reference
from billing_assets.registry.schema import CycleState

MONTH = "2026-03"
FIRST = date(2026, 3, 1)
ISSUED = date(2026, 4, 3)
NOW = datetime(2026, 4, 3, 8, tzinfo=UTC)
CURRENCIES = ("EUR", "USD")


@dataclass(frozen=True)
class Month:
    """How large the month is: a partner's documents have `destinations` lines each."""

    partners: int = 500
    destinations: int = 100
    days: int = 5
    calls: int = 3


def prepare(home: Installation, month: Month) -> None:
    """Put partners, agreements, usage and rated legs into an empty home."""
    take_reference(
        _reference(month),
        lake=home.lake,
        registry=home.registry,
        blobs=home.blobs,
        now=NOW,
        who="bench",
    )
    usage = _usage(month)
    days = [FIRST + timedelta(days=n) for n in range(month.days)]
    calls = _legs(usage, month)
    _write(home, USAGE_DAILY, usage, days)
    _write(home, RATED_LEG, calls, days)
    _write(home, XDR, calls.select("day", "record_id"), days)


def run(home: Installation, month: Month) -> dict[str, object]:
    """Charge, draft and issue every partner's documents; figures with their units in the names."""
    cycles = [
        cycle
        for partner in home.reference.partners.values()
        for cycle in cycles_of_month(partner, MONTH)
    ]
    started, cpu = time.monotonic(), _cpu()
    drafted = draft_cycles(home, cycles, issue_date=ISSUED, now=NOW, who="bench")
    for name, run_of in drafted.items():
        if isinstance(run_of, Exception):
            raise run_of
        if run_of.state is not CycleState.DRAFT:
            raise BillingError(f"{name} is {run_of.state}: {run_of.findings}")
    halfway = time.monotonic() - started
    ahead = render_ahead(home, [cycle.cycle for cycle in cycles], ISSUED)
    for cycle in cycles:
        approve_and_issue(
            home,
            cycle.cycle,
            approver="second",
            issue_date=ISSUED,
            now=NOW,
            who="bench",
            ahead=ahead,
        )
    seconds, used = time.monotonic() - started, _cpu() - cpu
    documents = [one for cycle in cycles for one in home.registry.documents.of_cycle(cycle.cycle)]
    if len(documents) != len(CURRENCIES) * month.partners:
        raise BillingError(f"{len(documents)} documents were issued")
    return {
        "partners": month.partners,
        "documents": len(documents),
        "lines a document": month.destinations,
        "seconds from usage to drafts": f"{halfway:.1f}",
        "seconds from drafts to issued documents": f"{seconds - halfway:.1f}",
        "seconds from usage to issued documents": f"{seconds:.1f}",
        "processor seconds in all": f"{used:.1f}",
    }


def long_pdf(home: Installation, records: int) -> dict[str, object]:
    """Render an issued document with an annex of many records, its own again and again."""
    cycle = home.registry.cycles.list()[0]
    stored = home.registry.documents.of_cycle(cycle.id)[0]
    document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    header, *rows = home.blobs.get(stored.files["itemised"].sha256).splitlines(keepends=True)
    repeated = b"".join([header, *itertools.islice(itertools.cycle(rows), records)])
    long = document.model_copy(update={"annex_records": records})
    started = time.monotonic()
    annex = annex_of(long, repeated)
    content = render_pdf(long, home.templates, render_ubl(long), annex)
    seconds = time.monotonic() - started
    with pypdfium2.PdfDocument(content) as pdf:
        pages = len(pdf)
    return {
        "pages": pages,
        "records": records,
        "seconds for the PDF": f"{seconds:.1f}",
        "megabytes": f"{len(content) / 1e6:.1f}",
        "peak memory GB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f}",
    }


def itemised(home: Installation, records: int, folder: Path) -> dict[str, object]:
    """Write an itemised file of one partner and one day; run it in a process of its own."""
    row = pl.int_range(records, eager=True, dtype=pl.Int64).to_frame("record_id").lazy()
    number = pl.col("record_id")
    seconds_of_day = pl.duration(milliseconds=(number * 7919) % 86_400_000)
    legs = {
        "day": pl.lit(FIRST),
        "bucket": pl.lit(0),
        "record_id": number,
        "leg": pl.lit("customer"),
        "service": pl.lit("voice"),
        "partner": pl.lit("B000"),
        "account": pl.lit("B000-A"),
        "agreement": pl.lit("B000-EUR@1"),
        "code": pl.lit(44),
        "destination": pl.lit("United Kingdom"),
        "event_time": pl.lit(datetime(2026, 3, 1, tzinfo=UTC)) + seconds_of_day,
        "local_day": pl.lit(FIRST),
        "duration_ms": pl.lit(61_000),
        "billed_units": pl.lit(61),
        "rate_e10": pl.lit(12_345_678),
        "fees_e10": pl.lit(0),
        "amount_e10": (number % 1000) * 1_000_000,
        "currency": pl.lit("EUR"),
        "pricing": pl.lit("priced"),
    }
    calls = {
        "day": pl.lit(FIRST),
        "record_id": number,
        "a_number": number + 351_910_000_000,
        "a_length": pl.lit(12),
        "a_kind": pl.lit("number"),
        "b_number": number + 441_000_000_000,
        "b_length": pl.lit(12),
    }
    home.lake.replace_slice(RATED_LEG, row.select(_columns(RATED_LEG, legs)), {"day": FIRST})
    home.lake.replace_slice(XDR, row.select(_columns(XDR, calls)), {"day": FIRST})
    code = (
        "import sys; from billing_assets.demo.bench_invoicing import write_day; "
        "write_day(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, str(home.settings.root), str(folder / "itemised.csv")]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def write_day(root: str, path: str) -> None:
    """Write the itemised file of the bench's day and print its figures."""
    lake = Lake(f"{root}/lake")
    part = {"day": FIRST}
    started = time.monotonic()
    legs = lake.scan(RATED_LEG, part=part).filter(pl.col("partner") == "B000")
    made = write_itemised(
        legs, lake.scan(XDR, part=part), [FIRST], Path(path), zone="Europe/Lisbon"
    )
    figures = {
        "itemised records": made.records,
        "seconds": f"{time.monotonic() - started:.1f}",
        "peak memory GB": f"{_peak_kb() / 1e6:.2f}",
        "megabytes compressed": f"{made.path.stat().st_size / 1e6:.0f}",
    }
    sys.stdout.write(json.dumps(figures))


def _reference(month: Month) -> dict[str, bytes]:
    """A carrier, its partners, and two agreements of each."""
    address = {"street": "Rua Um 1", "city": "Lisboa", "postcode": "1000-001", "country": "PT"}
    carrier = {
        "entity": "BENCH",
        "name": "Bench Carrier, S.A.",
        "country": "PT",
        "address": address,
        "currency": "EUR",
        "zone": "Europe/Lisbon",
        "vat_id": "PT509999990",
        "vat_rate": "0.23",
        "bank": [
            {"beneficiary": "Bench Carrier, S.A.", "account": "1", "bic": "BNCHPTPL"},
        ],
        "contact_email": "billing@bench.example",
        "series": [{"series": "FT", "document": "invoice"}],
        "fixing_source": "bench",
    }
    fixings = "source,date,base,currency,units_per_base\nbench,2026-03-31,EUR,USD,1.0845\n"
    files = {"carrier.yaml": json.dumps(carrier).encode(), "fixings.csv": fixings.encode()}
    for number in range(month.partners):
        name = f"B{number:03d}"
        partner = {
            "partner": name,
            "name": f"Partner {number}, Lda",
            "country": "PT",
            "address": address,
            "currency": "EUR",
            "zone": "UTC",
            "roles": ["customer"],
            "tax": {"category": "G"},
            "accounts": [{"account": f"{name}-{c}"} for c in CURRENCIES],
        }
        files[f"partners/{name}.yaml"] = json.dumps(partner).encode()
        for currency in CURRENCIES:
            agreement = {
                "agreement": f"{name}-{currency}",
                "partner": name,
                "leg": "customer",
                "accounts": [f"{name}-{currency}"],
                "from": "2026-01-01",
                "zone": "UTC",
                "currency": currency,
            }
            files[f"agreements/{name}-{currency}.yaml"] = json.dumps(agreement).encode()
    return files


def _usage(month: Month) -> pl.DataFrame:
    """Rows of `usage_daily` with what their legs need besides: each call is of one minute."""
    frames = [
        pl.DataFrame({"number": range(month.partners)}),
        pl.DataFrame({"currency": CURRENCIES}),
        pl.DataFrame({"to": range(month.destinations)}),
        pl.DataFrame({"day": [FIRST + timedelta(days=n) for n in range(month.days)]}),
    ]
    grid = frames[0]
    for frame in frames[1:]:
        grid = grid.join(frame, how="cross")
    partner = pl.format("B{}", pl.col("number").cast(pl.String).str.zfill(3))
    account = pl.format("{}-{}", partner, "currency")
    buckets = {f"B{n:03d}": bucket_of(f"B{n:03d}", 4) for n in range(month.partners)}
    rate = 10_000_000 + pl.col("to").cast(pl.Int64) * 12_345
    calls = month.calls
    return grid.select(
        "day",
        "currency",
        bucket=partner.replace_strict(buckets, return_dtype=pl.Int32),
        local_day=pl.col("day"),
        leg=pl.lit("customer"),
        service=pl.lit("voice"),
        partner=partner,
        account=account,
        agreement=pl.format("{}@1", account),
        destination=pl.format("Destination {} Mobile", pl.col("to")),
        rate_e10=rate,
        band=pl.lit(""),
        origin=pl.lit(""),
        pricing=pl.lit("priced"),
        records=pl.lit(calls),
        answered=pl.lit(calls),
        duration_ms=pl.lit(calls * 60_000),
        quantity=pl.lit(calls * 60),
        billed_units=pl.lit(calls * 60),
        fees=pl.lit(0),
        amount=(rate * calls).cast(pl.Decimal(38, 10)) * pl.lit(Decimal("1e-10")).cast(MONEY),
    )


def _legs(usage: pl.DataFrame, month: Month) -> pl.DataFrame:
    """The calls that the usage counts, all at noon."""
    calls = usage.join(pl.DataFrame({"call": range(month.calls)}), how="cross")
    return calls.with_row_index("record_id", 1).with_columns(
        code=pl.lit(44),
        event_time=pl.col("day").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=12),
        answered=pl.lit(True),
        duration_ms=pl.lit(60_000),
        quantity=pl.lit(60),
        billed_units=pl.lit(60),
        fees_e10=pl.lit(0),
        amount_e10=pl.col("rate_e10"),
    )


def _columns(table: Table, cells: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """All columns of a table, those without a cell null."""
    return [
        cells.get(name, pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in table.schema.items()
    ]


def _write(home: Installation, table: Table, frame: pl.DataFrame, days: list[date]) -> None:
    cells = {name: pl.col(name) for name in frame.columns}
    home.lake.replace_slice(table, frame.select(_columns(table, cells)), {"day": days})


def _peak_kb() -> int:
    """Peak memory since this program began; getrusage counts what the parent had at its fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def _cpu() -> float:
    """Processor seconds of this process and of those it has waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))
