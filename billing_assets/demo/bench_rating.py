"""The rating bench: realistic volume through the product's own path, against baselines.

Hundreds of partners of very different size, decks of 5 to 60 thousand codes, both legs on a part
of the records, few destinations with most of the calls, bands, origins, rate changes inside the
day and calls priced by parts. Each figure is measured in a process of its own, and timings never
decide anything but this table.
"""

import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATE, RATED_LEG, UTC_TIME, XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.reference.decks import Deck
from billing_assets.reference.load import InForce, Reference, load_reference, read_folder
from billing_assets.reference.models import Agreement, Carrier, Partner
from billing_assets.reference.trunks import FAR_FUTURE

DAY = date(2026, 3, 10)
START = datetime(2026, 1, 1, tzinfo=UTC)
CHUNK = 2_000_000
SORTED = 5
"""Chunks that are sorted by trunk together, as intake sorts what it takes in at once."""
FULL_DAY = 625_000_000
PER_LOOP, PER_JOIN = 200_000, 1_000_000
"""Records that the slow baselines are measured on."""


@dataclass(frozen=True)
class Size:
    """How large a bench is: records of the day, partners, and codes of the largest deck."""

    records: int
    partners: int = 200
    most_codes: int = 60_000


def build_reference(size: Size, seed: int = 7) -> Reference:
    """Partners that we sell to, buy from (three in ten), or both (one in ten); decks of many
    sizes."""
    rng = np.random.default_rng(seed)
    pool = _code_pool(rng)
    partners: dict[str, Partner] = {}
    agreements: list[InForce] = []
    for number in range(size.partners):
        name = f"B{number:03d}"
        partners[name] = _partner(name)
        for leg in _legs_of(number):
            terms = Agreement.model_validate(_terms(name, leg, number))
            codes = max(5_000, int(size.most_codes * rng.power(0.35)))
            # every deck is A to Z: all countries, and its own choice of longer codes
            chosen = np.union1d(_COUNTRIES, rng.choice(pool, codes, replace=False))
            rows = _deck(terms, chosen, rng)
            agreements.append(
                InForce(terms, START, FAR_FUTURE, Deck(terms.key, rows), f"{terms.agreement}.yaml")
            )
    return Reference(
        version="bench",
        files={},
        carrier=Carrier.model_validate(_CARRIER),
        partners=partners,
        agreements=tuple(agreements),
        calendars={},
        sources={},
        fixings=pl.DataFrame(),
    )


def _legs_of(number: int) -> list[str]:
    """The sides on which a partner has an agreement."""
    buys = number % 10 < 4
    return ["customer"] * (number % 10 > 2) + ["supplier"] * buys


_ADDRESS = {"street": "Rua Um 1", "city": "Lisboa", "country": "PT"}
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Riyadh", "Asia/Tokyo")


_CARRIER = {
    "entity": "BENCH",
    "name": "Bench",
    "country": "PT",
    "currency": "EUR",
    "address": _ADDRESS,
    "zone": "Europe/Lisbon",
    "vat_id": "PT1",
    "vat_rate": "0.23",
    "bank": [],
    "contact_email": "bench@example.com",
    "series": [],
    "own_trunks": ["sw/OWN"],
}
_PARTNER = {
    "country": "DE",
    "address": _ADDRESS,
    "currency": "EUR",
    "zone": "UTC",
    "roles": ["customer", "supplier"],
    "tax": {"category": "G"},
}


def _named(name: str) -> dict[str, object]:
    account = {"account": f"{name}-A", "trunks": [{"trunk": f"sw/{name}"}]}
    return {"partner": name, "name": name, "accounts": [account]}


def _partner(name: str) -> Partner:
    return Partner.model_validate(_PARTNER | _named(name))


def _terms(name: str, leg: str, number: int) -> dict[str, object]:
    """Plain terms for most; bands for a fifth, parts for a twentieth, origins for a tenth."""
    terms: dict[str, object] = {
        "agreement": f"{name}-{leg[:1].upper()}",
        "partner": name,
        "leg": leg,
        "accounts": [f"{name}-A"],
        "from": "2026-01-01",
        "zone": _ZONES[number % len(_ZONES)],
        "currency": "EUR",
        "increments": ("1/1", "60/60", "30/6", "60/1")[number % 4],
    }
    if number % 5 == 0:
        terms["bands"] = {
            "windows": [{"band": "peak", "days": ["weekday"], "from": "08:00", "to": "20:00"}],
            "otherwise": "off-peak",
        }
        if number % 20 == 0:
            terms["crossing"] = "split"
    if number % 10 == 3 and leg == "customer":
        terms["origins"] = {
            "classes": [
                {"origin": "EEA", "codes": ["351", "34", "33", "49", "39"]},
                {"origin": "INVALID", "kinds": ["invalid", "missing"], "surcharge": "0.2500"},
            ],
            "otherwise": "OTHER",
        }
    if number % 7 == 0:
        terms["setup_fee"] = "0.0010"
    return terms


_COUNTRIES = np.array(sorted(int(code) for code in COUNTRY_CODES), np.int64)


def _code_pool(rng: np.random.Generator) -> np.ndarray:
    """About 190 thousand codes below the assigned country codes, up to nine digits."""
    countries = _COUNTRIES
    weight = rng.pareto(1.2, len(countries)) + 0.2
    picks = rng.choice(countries, 190_000, p=weight / weight.sum())
    digits = rng.integers(1, 6, len(picks))
    tails = (rng.random(len(picks)) * 10**digits).astype(np.int64)
    codes = picks * 10**digits + tails
    return np.unique(np.concatenate([countries, codes[codes < 10**9]]))


def _deck(terms: Agreement, codes: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """One open price a destination (two by band); a tenth of them changes at noon."""
    bands = ["peak", "off-peak"] if terms.bands else [""]
    frames = []
    destination = codes // 100 % _DESTINATIONS
    for band in bands:
        prices = rng.integers(1, 5000, _DESTINATIONS) * 1_000_000
        changing = rng.random(_DESTINATIONS) < 0.1
        old = pl.DataFrame(
            {
                "code": codes,
                "destination": destination,
                "price_e10": prices[destination],
                "changes": changing[destination],
            },
        ).with_columns(
            pl.format("Destination {}", "destination").alias("destination"),
            pl.lit(START).cast(UTC_TIME).alias("valid_from"),
            pl.when(pl.col("changes")).then(pl.lit(_NOON)).cast(UTC_TIME).alias("valid_to"),
        )
        new = old.filter(pl.col("valid_to").is_not_null()).with_columns(
            pl.col("price_e10") + 500_000,
            pl.col("valid_to").alias("valid_from"),
            pl.lit(None, UTC_TIME).alias("valid_to"),
        )
        frames.append(pl.concat([old, new]).with_columns(pl.lit(band).alias("band")))
    rows = pl.concat(frames).with_columns(
        pl.lit(terms.key).alias("deck"),
        pl.lit("bench").alias("sheet"),
        pl.lit("0").alias("sheet_sha256"),
        pl.int_range(2, pl.len() + 2, dtype=pl.Int64).alias("row"),
        pl.lit("").alias("origin"),
        pl.lit(None, pl.Int64).alias("first_price_e10"),
        pl.lit(terms.increments.first, pl.Int64).alias("first_units"),
        pl.lit(terms.increments.next, pl.Int64).alias("next_units"),
        pl.lit(int(terms.setup_fee.scaleb(10)), pl.Int64).alias("setup_fee_e10"),
        pl.lit(0, pl.Int64).alias("minimum_e10"),
        pl.lit(None, pl.Int64).alias("cap_e10"),
        pl.lit("open").alias("status"),
    )
    base = abs(hash_of(terms.key)) % 2**35 << 27
    rows = rows.with_columns((pl.lit(base, pl.Int64) + pl.col("row")).alias("rate_id"))
    return rows.select(RATE.schema.names()).sort("code", "band", "valid_from")


_DESTINATIONS = 3000
_NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def hash_of(text: str) -> int:
    """A number of a text that is the same in every run."""
    return int.from_bytes(text.encode()[-8:].ljust(8, b"\0"), "big")


def write_usage(
    lake: Lake, reference: Reference, records: int, day: date = DAY, seed: int = 11
) -> None:
    """A day's records into `xdr`: partners and codes by a power law, four in ten in transit."""
    rng = np.random.default_rng(seed)
    pool = rng.permutation(_code_pool(np.random.default_rng(7)))
    popular = _power_law(len(pool))
    sells, buys = (
        np.array([f"sw/{name}" for n, name in enumerate(reference.partners) if leg in _legs_of(n)])
        for leg in ("customer", "supplier")
    )
    customers, suppliers = _power_law(len(sells)), _power_law(len(buys))
    folder = Path(lake.uri) / "chunks"
    folder.mkdir(parents=True, exist_ok=True)
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000_000)
    for first in range(0, records, CHUNK):
        count = min(CHUNK, records - first)
        heads = rng.choice(pool, count, p=popular)
        length = np.floor(np.log10(heads)).astype(np.int64) + 1
        tail = np.maximum(0, 12 - length)
        b = heads * 10**tail + (rng.random(count) * 10.0**tail).astype(np.int64)
        answer = np.sort(rng.integers(0, 86_400_000, count)) * 1000 + begin
        duration = (rng.gamma(1.2, 90, count) * 1000).astype(np.int64)
        answered = rng.random(count) < 0.9
        entry = rng.choice(len(sells), count, p=customers)
        way_out = rng.choice(len(buys), count, p=suppliers)
        transit = rng.random(count) < 0.4
        a_country = rng.choice([351912, 4917, 1212, 9989, 33612], count)
        frame = pl.DataFrame(
            {
                "record_id": np.arange(first + 1, first + count + 1),
                "answer": answer,
                "duration_ms": duration,
                "answered": answered,
                "entry": entry,
                "way_out": way_out,
                "transit": transit,
                "b_number": b,
                "a_number": a_country * 10**6 + rng.integers(0, 10**6, count),
            }
        ).select(
            pl.lit(day).alias("day"),
            "record_id",
            pl.lit("voice").alias("service"),
            pl.lit("sw").alias("switch"),
            pl.lit(pl.Series(sells)).gather(pl.col("entry")).alias("in_trunk"),
            pl.when("transit")
            .then(pl.lit(pl.Series(buys)).gather(pl.col("way_out")))
            .otherwise(pl.lit("sw/OWN"))
            .alias("out_trunk"),
            (pl.col("answer") - 4_000_000).clip(begin, None).cast(UTC_TIME).alias("setup_time"),
            pl.when("answered").then("answer").cast(UTC_TIME).alias("answer_time"),
            (pl.col("answer") + pl.col("duration_ms") * 1000).cast(UTC_TIME).alias("end_time"),
            pl.lit(begin + 86_400_000_000).cast(UTC_TIME).alias("arrived_time"),
            pl.when("answered").then("duration_ms").otherwise(0).alias("duration_ms"),
            "answered",
            "a_number",
            _length("a_number"),
            pl.lit("number").alias("a_kind"),
            "b_number",
            _length("b_number"),
            pl.lit(None, pl.Int64).alias("routing_number"),
            pl.lit(None, pl.Int32).alias("serving_network"),
            pl.lit(None, pl.Int64).alias("quantity"),
            pl.lit(None, pl.String).alias("event_type"),
            pl.lit("16").alias("status"),
            (pl.col("record_id") * 2_654_435_761 % 2**61).alias("call_key"),
            pl.lit(1, pl.Int16).alias("parts"),
        )
        frame.write_parquet(folder / f"{first:012d}.parquet")
    files = sorted(folder.glob("*.parquet"))
    with lake.replacing(XDR, {"day": day}) as new:
        for first in range(0, len(files), SORTED):
            new.write(pl.read_parquet(files[first : first + SORTED]))
    for path in files:
        path.unlink()


def _power_law(count: int) -> np.ndarray:
    """Shares of traffic: the first takes most, the n-th n to the power of 0.9 times less."""
    weight = 1 / np.arange(1, count + 1) ** 0.9
    return weight / weight.sum()


def _length(column: str) -> pl.Expr:
    digits = pl.col(column).cast(pl.String).str.len_chars().cast(pl.Int8)
    return digits.alias(column.replace("number", "length"))


# what is measured, each in a process of its own


def _rate(lake: Lake) -> dict[str, float]:
    """Compile the day's plan, let go of the reference, and rate the day."""
    reference = _reference(lake)
    _forget_peak()
    begin = time.perf_counter()
    plan = compile_plan(reference, DAY, buckets=16)
    compiled, compiling_peak = time.perf_counter() - begin, _peak()
    del reference
    _forget_peak()
    begin = time.perf_counter()
    outcome = rate_day(lake, plan)
    return {
        "compile": compiled,
        "compile_peak": compiling_peak,
        "seconds": time.perf_counter() - begin,
        "rows": outcome.legs,
        "rated": outcome.rated,
    }


def _recompile(lake: Lake) -> dict[str, float]:
    """Compile the plan anew after one price changed."""
    reference = _reference(lake)
    first, *others = reference.agreements
    rows = first.deck.rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.col("price_e10") + 1)
        .otherwise("price_e10")
        .alias("price_e10")
    )
    changed = replace(first, deck=replace(first.deck, rows=rows))
    begin = time.perf_counter()
    compile_plan(replace(reference, agreements=(changed, *others)), DAY, buckets=16)
    return {"seconds": time.perf_counter() - begin, "rows": 1}


def _million(lake: Lake) -> dict[str, float]:
    """Validate, load and compile a folder of 20 rate sheets of 50 thousand codes."""
    folder = Path(lake.uri) / "million"
    _write_million(folder)
    begin = time.perf_counter()
    loaded = load_reference(read_folder(folder))
    read = time.perf_counter() - begin
    compile_plan(loaded.reference, DAY, buckets=16)
    compiled = time.perf_counter() - begin
    shutil.rmtree(folder)
    rows = sum(agreement.deck.rows.height for agreement in loaded.reference.agreements)
    return {"seconds": compiled, "load": read, "rows": rows}


def _write_million(folder: Path) -> None:
    """The reference folder of twenty partners with a sheet each."""
    rng = np.random.default_rng(3)
    pool = _code_pool(rng)
    for name in ("agreements", "partners", "sheets"):
        (folder / name).mkdir(parents=True)
    (folder / "carrier.yaml").write_text(json.dumps(_CARRIER))
    for number in range(20):
        name = f"B{number:03d}"
        terms = {"sheets": [{"file": f"../sheets/{name}.csv"}], **_terms(name, "customer", 1)}
        (folder / "partners" / f"{name}.yaml").write_text(json.dumps(_PARTNER | _named(name)))
        (folder / "agreements" / f"{name}.yaml").write_text(json.dumps(terms))
        pl.DataFrame({"code": np.sort(rng.choice(pool, 50_000, replace=False))}).select(
            "code",
            pl.format("Destination {}", pl.col("code") // 100 % _DESTINATIONS).alias("destination"),
            pl.format("0.{}", pl.col("code") % 9000 + 1000).alias("rate"),
            pl.lit("2026-01-01").alias("from"),
        ).write_csv(folder / "sheets" / f"{name}.csv")


def _copy(lake: Lake) -> dict[str, float]:
    """Read the rated legs and write them as they are, compressed alike and as bare of bounds."""
    target = Path(lake.uri) / "copy.parquet"
    legs = lake.dataset(RATED_LEG).files  # pyright: ignore[reportAttributeAccessIssue]
    root = Path(lake.uri) / RATED_LEG.name
    begin = time.perf_counter()
    frame = pl.scan_parquet([root / name for name in legs])
    frame.sink_parquet(target, compression="zstd", compression_level=1, statistics=RATED_LEG.bounds)
    seconds = time.perf_counter() - begin
    rows = pl.scan_parquet(target).select(pl.len()).collect().item()
    target.unlink()
    return {"seconds": seconds, "rows": rows}


def _scan(lake: Lake) -> dict[str, float]:
    """Read every column that rating reads, and nothing else."""
    columns = (
        "in_trunk",
        "out_trunk",
        "service",
        "answer_time",
        "setup_time",
        "duration_ms",
        "answered",
        "b_number",
        "b_length",
        "a_number",
        "a_length",
        "a_kind",
        "record_id",
    )
    begin = time.perf_counter()
    rows = (
        lake.scan(XDR)
        .select(pl.len(), *(pl.col(c).null_count().alias(c) for c in columns))
        .collect(engine="streaming")["len"][0]
    )
    return {"seconds": time.perf_counter() - begin, "rows": rows}


def _loop(lake: Lake) -> dict[str, float]:
    """The simplest rater: a dict of prices a code length, a loop over records."""
    first = lake.scan(XDR).filter(pl.col("record_id") <= PER_LOOP).sort("record_id")
    records = first.select("in_trunk", "b_number", "duration_ms").collect()
    decks: dict[str, dict[int, int]] = {}
    for agreement in _reference(lake).agreements:
        if agreement.terms.leg == "customer":
            rows = agreement.deck.rows
            decks[f"sw/{agreement.terms.partner}"] = dict(
                zip(rows["code"].to_list(), rows["price_e10"].to_list(), strict=True)
            )
    begin = time.perf_counter()
    total = 0
    for trunk, number, milliseconds in records.iter_rows():
        deck, code = decks[trunk], number
        while code and code not in deck:
            code //= 10
        if code:
            total += -(-milliseconds // 1000) * deck[code] // 60
    return {"seconds": time.perf_counter() - begin, "rows": records.height, "total": total % 97}


def _join(lake: Lake) -> dict[str, float]:
    """A SQL prefix join in DuckDB: every length of the number against the deck, longest kept."""
    records = (
        lake.scan(XDR)
        .head(PER_JOIN)
        .select("record_id", "in_trunk", "b_number", "b_length", "duration_ms")
        .collect()
    )
    rates = pl.concat(
        a.deck.rows.filter(pl.col("valid_from") == START)
        .unique("code")
        .select(pl.lit(f"sw/{a.terms.partner}").alias("trunk"), "code", "price_e10")
        for a in _reference(lake).agreements
        if a.terms.leg == "customer"
    )
    connection = duckdb.connect()
    connection.register("records", records.to_arrow())
    connection.register("rates", rates.to_arrow())
    connection.execute("CREATE TABLE rate AS SELECT * FROM rates")
    begin = time.perf_counter()
    priced = connection.sql(
        """
        SELECT count(*), sum(amount) FROM (
            SELECT record_id, arg_max(price_e10, code) * any_value(duration_ms) // 60000 AS amount
            FROM (
                SELECT record_id, in_trunk, duration_ms,
                       b_number // CAST(10 ** (b_length - n) AS BIGINT) AS prefix
                FROM records, range(1, 10) AS lengths(n)
            )
            JOIN rate ON trunk = in_trunk AND code = prefix
            GROUP BY record_id
        )
        """
    ).fetchone()
    return {
        "seconds": time.perf_counter() - begin,
        "rows": records.height,
        "priced": priced[0] if priced else 0,
    }


_DECAY = 2
"""Seconds after which the allocator of Polars has given back what is free."""

_MEASURES: Mapping[str, Callable[[Lake], dict[str, float]]] = {
    "rate": _rate,
    "copy": _copy,
    "scan": _scan,
    "loop": _loop,
    "join": _join,
    "recompile": _recompile,
    "million": _million,
}


def measure(name: str, folder: Path, threads: int) -> dict[str, float]:
    """One of `_MEASURES` in a process of its own: seconds, rows, and peak memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "billing_assets.demo.bench_rating", name, str(folder)],
        env={**os.environ, "POLARS_MAX_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring {name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(size: Size, folder: Path) -> None:
    """Write a bench's reference and usage into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = build_reference(size)
    lake = Lake(str(folder / "lake"))
    _reference_file(lake).write_bytes(pickle.dumps(reference))
    write_usage(lake, reference, size.records)


def _reference_file(lake: Lake) -> Path:
    return Path(lake.uri).parent / "reference.pickle"


def _reference(lake: Lake) -> Reference:
    return pickle.loads(_reference_file(lake).read_bytes())


def main(words: Sequence[str]) -> None:
    """Measure one figure in this process and print it as JSON."""
    name, folder = words[0], Path(words[1])
    result = _MEASURES[name](Lake(str(folder / "lake")))
    result["peak"] = _peak()
    sys.stdout.write(json.dumps(result) + "\n")


def _peak() -> int:
    """Most bytes this process held; unlike ru_maxrss it begins anew with the process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> None:
    """Give memory that nothing uses back, and let the peak begin anew."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    time.sleep(_DECAY)
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main(sys.argv[1:])
