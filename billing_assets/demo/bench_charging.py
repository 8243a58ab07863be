"""Charging bench: a month of `usage_daily` of many partners, charged and written as in a run.

Both processors charge: each takes the partners of some buckets. Times and memory are of those
processes alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl

from billing_assets.charging.cycles import cycles_of_month
from billing_assets.charging.run import charge
from billing_assets.core.errors import InputError
from billing_assets.core.ids import bucket_of
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.load import Reference, load_reference
from billing_assets.registry.registry import Registry

MONTH, FIRST, DAYS = "2026-03", date(2026, 3, 1), 31
BUCKETS = 16
WORKERS = 2
_ADDRESS = {"street": "-", "city": "-", "country": "PT"}
_CARRIER = {
    "entity": "OWN", "name": "Own", "country": "PT", "address": _ADDRESS, "currency": "EUR",
    "zone": "UTC", "vat_id": "", "vat_rate": "0", "bank": [], "contact_email": "", "series": [],
}  # fmt: skip
TIERED = 100
"""Destinations of each partner, of all that it has traffic to, that tiers count."""
_TIERS = [{"up_to": 1000000, "price": "0.0100"}, {"price": "0.0085"}]


def partner_name(number: int) -> str:
    """The id of a partner of the bench."""
    return f"B{number:04d}"


def reference(partners: int) -> Reference:
    """Partners of one agreement each; every second one has tiers and a commitment."""
    files = {"carrier.yaml": json.dumps(_CARRIER).encode()}
    for number in range(partners):
        name = partner_name(number)
        files[f"partners/{name}.yaml"] = json.dumps({
            "partner": name, "name": name, "country": "PT", "address": _ADDRESS,
            "currency": "EUR", "zone": "UTC", "roles": ["customer"], "tax": {"category": "O"},
            "accounts": [{"account": f"{name}-A"}],
        }).encode()  # fmt: skip
        terms: dict[str, object] = {
            "agreement": name, "partner": name, "leg": "customer", "accounts": [f"{name}-A"],
            "from": "2026-01-01", "zone": "UTC", "currency": "EUR",
            "rates": [
                {"code": 1000 + n, "rate": "0.01", "destination": f"D{n:04d}"}
                for n in range(TIERED)
            ],
        }  # fmt: skip
        if number % 2:
            rule = {"rule": "tiers", "model": "graduated", "period": "month", "tiers": _TIERS}
            terms["volume"] = [{**rule, "destinations": [f"D{n:04d}" for n in range(TIERED)]}]
            minimum = {"commitment": "minimum", "period": "month", "amount": "10000"}
            terms["commitments"] = [minimum]
        files[f"agreements/{name}.yaml"] = json.dumps(terms).encode()
    loaded = load_reference(files)
    if loaded.problems:
        raise InputError("the bench's own reference data are refused", loaded.problems)
    return loaded.reference


def prepare(folder: Path, partners: int, destinations: int) -> int:
    """Write the month's `usage_daily`, a slice a day; gives the number of rows."""
    lake = Lake(str(folder / "lake"))
    names = [partner_name(number) for number in range(partners)]
    base = pl.DataFrame(
        {
            "partner": names,
            "bucket": pl.Series([bucket_of(name, BUCKETS) for name in names], dtype=pl.Int32),
        }
    ).join(
        pl.DataFrame({"destination": [f"D{number:04d}" for number in range(destinations)]}),
        how="cross",
    )
    for offset in range(DAYS):
        day = FIRST + timedelta(days=offset)
        minutes = (pl.int_range(pl.len(), dtype=pl.Int64) * 7 + offset) % 97 + 1
        frame = base.with_columns(minutes.alias("minutes")).select(
            pl.lit(day).alias("day"),
            "bucket",
            pl.lit(day).alias("local_day"),
            pl.lit("customer").alias("leg"),
            pl.lit("voice").alias("service"),
            "partner",
            (pl.col("partner") + "-A").alias("account"),
            (pl.col("partner") + "@1").alias("agreement"),
            "destination",
            pl.lit(10**8, pl.Int64).alias("rate_e10"),
            pl.lit("").alias("band"),
            pl.lit("").alias("origin"),
            pl.lit("priced").alias("pricing"),
            pl.lit("EUR").alias("currency"),
            pl.col("minutes").alias("records"),
            pl.col("minutes").alias("answered"),
            (pl.col("minutes") * 60_000).alias("duration_ms"),
            (pl.col("minutes") * 60).alias("quantity"),
            (pl.col("minutes") * 60).alias("billed_units"),
            pl.lit(Decimal(0), pl.Decimal(38, 10)).alias("fees"),
            (pl.col("minutes").cast(pl.Decimal(38, 10)) * pl.lit(Decimal("0.01"))).alias("amount"),
        )
        lake.replace_slice(USAGE_DAILY, frame.cast(USAGE_DAILY.schema), {"day": day})
    return partners * destinations * DAYS


def charge_some(folder: Path, partners: int, worker: int) -> dict[str, float]:
    """Charge the partners of one worker's buckets; lines, seconds, processor seconds, peak."""
    lake, known = Lake(str(folder / "lake")), reference(partners)
    registry = Registry.open(f"sqlite:///{folder}/registry{worker}.db")
    begun, used, lines = time.perf_counter(), time.process_time(), 0
    for name in _partners_of(known, worker):
        (cycle,) = cycles_of_month(known.partner(name), MONTH)
        lines += charge(cycle, known, lake, registry, buckets=BUCKETS).charges.height
    return {
        "lines": lines,
        "seconds": time.perf_counter() - begun,
        "processor": time.process_time() - used,
        "peak": _peak(),
    }


def _peak() -> int:
    """Most bytes this process held; unlike ru_maxrss it does not begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _partners_of(known: Reference, worker: int) -> Iterator[str]:
    """A worker's partners, bucket by bucket."""
    buckets = {name: bucket_of(name, BUCKETS) for name in known.partners}
    yield from sorted(
        (name for name, bucket in buckets.items() if bucket % WORKERS == worker),
        key=lambda name: (buckets[name], name),
    )


def measure(folder: Path, partners: int) -> list[dict[str, float]]:
    """Charge all partners, each worker a process of its own with one thread."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "billing_assets.demo.bench_charging", str(folder),
             str(partners), str(worker)],
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        for worker in range(WORKERS)
    ]  # fmt: skip
    found = [process.communicate()[0] for process in running]
    return [json.loads(output) for output in found]


def _environment() -> dict[str, str]:

    return {**os.environ, "POLARS_MAX_THREADS": "1"}


if __name__ == "__main__":
    figures = charge_some(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps(figures))
