"""A month of a small lake, for tests of the marts: two files, and every fate that a row can have.

File NORTH brings 9 rows on 4 March (1 rejected, 1 filtered, 7 landed) and 1 on 5 March; file
SOUTH brings 2 rows on 5 March. What became of them stands in `FATES`.
"""

from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.controls.day import record_fates
from billing_assets.core.ids import bucket_of, file_key, record_id
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import TABLES, Table
from billing_assets.orchestration.marts import CYCLES, FILE_COUNTS, MartInputs, threshold_rows
from billing_assets.reference.controls import Controls

NORTH, SOUTH = "a" * 64, "b" * 64
FOURTH, FIFTH = date(2026, 3, 4), date(2026, 3, 5)

FATES = {
    (FOURTH, NORTH): {"merged": 0, "duplicates": 1, "suspense": 2, "rated": 3, "own": 1},
    (FIFTH, NORTH): {"merged": 1, "duplicates": 0, "suspense": 0, "rated": 0, "own": 0},
    (FIFTH, SOUTH): {"merged": 0, "duplicates": 0, "suspense": 0, "rated": 2, "own": 0},
}


def north(row: int) -> int:
    """The record id of a row of file NORTH."""
    return record_id(file_key(NORTH), row)


def south(row: int) -> int:
    """The record id of a row of file SOUTH."""
    return record_id(file_key(SOUTH), row)


def write(lake: Lake, name: str, *rows: dict[str, object]) -> None:
    """Replace the slices that some rows of a table lie in; columns left out are null."""
    table = TABLES[name]
    if "bucket" in table.schema:
        rows = tuple({"bucket": bucket_of(str(row["partner"]), 4), **row} for row in rows)
    frame = pl.DataFrame(list(rows), schema=table.schema)
    for part in frame.partition_by(table.partition_by):
        lake.replace_slice(table, part, _slice_of(table, part))


def _slice_of(table: Table, part: pl.DataFrame) -> dict[str, str | int | date]:
    return {key: part[key][0] for key in table.partition_by}


def counts(day: date, file: str, received: int, rejected: int = 0, filtered: int = 0):
    """One row of the file counts."""
    return {
        "file": file,
        "file_key": file_key(file),
        "source": "north" if file == NORTH else "south",
        "day": day,
        "received": received,
        "landed": received - rejected - filtered,
        "rejected": rejected,
        "filtered": filtered,
    }


def month_inputs() -> MartInputs:
    """File counts of NORTH and SOUTH, one own trunk, and the cycle of P01."""
    return MartInputs(
        file_counts=pl.DataFrame(
            [
                counts(FOURTH, NORTH, 9, rejected=1, filtered=1),
                counts(FIFTH, NORTH, 1),
                counts(FIFTH, SOUTH, 2),
            ],
            schema=FILE_COUNTS,
        ),
        thresholds=threshold_rows(Controls(), ["P01", "P02"]),
        cycles=pl.DataFrame(
            [
                {
                    "cycle": "P01/2026-03",
                    "partner": "P01",
                    "month": "2026-03",
                    "start_day": date(2026, 3, 1),
                    "end_day": date(2026, 4, 1),
                }
            ],
            schema=CYCLES,
        ),
    )


def write_month(lake: Lake) -> None:
    """Write the month's tables: usage of P01 (sold) and P02 (bought), and its charges."""
    landed = [(FOURTH, NORTH, north(row)) for row in (1, 3, 4, 5, 6, 7, 8)]
    landed += [(FIFTH, NORTH, north(2)), (FIFTH, SOUTH, south(1)), (FIFTH, SOUTH, south(2))]
    # rows 4 and 5 wait in suspense with their minute; the others last no time
    lasts = {north(4): 60_000, north(5): 60_000}
    write(
        lake,
        "landed",
        *(
            {"day": d, "file": f, "record_id": r, "duration_ms": lasts.get(r, 0)}
            for d, f, r in landed
        ),
    )
    write(lake, "rejected", {"day": FOURTH, "file": NORTH, "row": 9, "reason": "BAD_TIME"})
    # rows 1 and 2 are a call over midnight; row 5 is the only part that came of another call
    write(
        lake,
        "partial",
        {"day": FOURTH, "record_id": north(1), "call_record_id": north(1), "part": 1},
        {"day": FOURTH, "record_id": north(2), "call_record_id": north(1), "part": 2},
        {"day": FOURTH, "record_id": north(5), "part": 2},
    )
    write(lake, "duplicate", {"day": FOURTH, "record_id": north(3), "repeats": north(1)})
    sides = [
        (FOURTH, north(1), "sw/P01", None),
        (FOURTH, north(4), "sw/P01", "sw/P02"),
        (FOURTH, north(6), "sw/P01", "sw/P02"),
        (FOURTH, north(7), "sw/OWN", None),
        (FOURTH, north(8), "sw/P01", "sw/OWN"),
        (FIFTH, south(1), "sw/P01", None),
        (FIFTH, south(2), "sw/P01", None),
    ]
    write(
        lake,
        "xdr",
        *(
            {
                "day": day,
                "record_id": record,
                "in_trunk": entry,
                "out_trunk": way_out,
                "duration_ms": lasts.get(record, 0),
            }
            for day, record, entry, way_out in sides
        ),
    )
    suspended = {"day": FOURTH, "duration_ms": 60_000}
    write(
        lake,
        "suspense",
        {**suspended, "stage": "xdr", "record_id": north(5), "reason": "MISSING_PART"},
        {
            **suspended,
            "stage": "rating",
            "record_id": north(4),
            "leg": "supplier",
            "reason": "NO_RATE",
            "partner": "P02",
            "at_risk_e10": 123_456_789_012_345_678,
            "currency": "USD",
        },
    )
    write_legs(
        lake,
        (FOURTH, north(1), "customer", "P01"),
        (FOURTH, north(4), "customer", "P01"),
        (FOURTH, north(6), "customer", "P01"),
        (FOURTH, north(6), "supplier", "P02"),
        (FOURTH, north(8), "customer", "P01"),
        (FIFTH, south(1), "customer", "P01"),
        (FIFTH, south(2), "customer", "P01"),
    )
    write_fates(lake)
    sold = {"leg": "customer", "partner": "P01", "agreement": "A@1", "currency": "EUR"}
    write(
        lake,
        "usage_daily",
        # more digits than a binary float holds
        usage(FOURTH, **sold, records=3, answered=3, amount="9007199254740993.0000000001"),
        usage(FOURTH, **sold, band="peak", records=1, answered=0, amount="0.0000000002"),
        usage(FIFTH, **sold, records=2, answered=2, amount="0.1000000000"),
        usage(
            FOURTH,
            leg="supplier",
            partner="P02",
            agreement="B@2",
            currency="EUR",
            records=1,
            answered=1,
            amount="0.0300000000",
        ),
    )
    write(
        lake,
        "charge",
        {
            "month": "2026-03",
            "cycle": "P01/2026-03",
            "charge_id": 1,
            "partner": "P01",
            "agreement": "A@1",
            "leg": "customer",
            "kind": "usage",
            "section": "usage",
            "exact_amount": Decimal("9007199254740993.1000000003"),
            "priced_in": "EUR",
            "currency": "EUR",
        },
    )


def write_fates(lake: Lake) -> None:
    """Add the month's records up for the balance, as the day's asset does."""
    for day in (FOURTH, FIFTH):
        fates = record_fates(lake, ["sw/OWN"], day)
        lake.replace_slice(TABLES["record_fate"], fates, {"day": day})


def write_legs(lake: Lake, *legs: tuple[date, int, str, str]) -> None:
    """Write rated legs: day, record, leg and partner."""
    write(
        lake,
        "rated_leg",
        *({"day": d, "record_id": r, "leg": leg, "partner": p} for d, r, leg, p in legs),
    )


def usage(day: date, *, amount: str, **fields: object) -> dict[str, object]:
    """One row of usage_daily: a minute a record."""
    seconds = int(str(fields["answered"])) * 60
    return {
        "day": day,
        "local_day": day,
        "service": "voice",
        "destination": "UK Mobile",
        "duration_ms": seconds * 1000,
        "quantity": seconds,
        "billed_units": seconds,
        "fees": Decimal(0),
        "amount": Decimal(amount),
        **fields,
    }
