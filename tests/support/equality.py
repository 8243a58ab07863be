"""Holding the kernel equal to the plain implementation, leg by leg and field by field."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from billing_assets.core.money import to_e10
from billing_assets.lake.tables import XDR
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.plain import PlainRater
from billing_assets.rating.split import priced_legs
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg

FIELDS = (
    "partner",
    "account",
    "agreement",
    "currency",
    "band",
    "origin",
    "code",
    "destination",
    "rate_id",
    "quantity",
    "billed_units",
    "pricing",
    "event_time",
    "local_day",
)
MONEY = ("amount", "fees", "rate")


def kernel_legs(data: Reference, day: date, records: pl.DataFrame) -> dict[tuple[int, str], dict]:
    """The kernel's legs of a day by record and leg; no leg may come twice."""
    plan = compile_plan(data, day, buckets=4)
    found = pl.concat([priced_legs(Kernel(plan, leg), records.lazy()) for leg in Leg]).collect()
    legs = {(row["record_id"], str(row["leg"])): row for row in found.iter_rows(named=True)}
    assert len(legs) == found.height
    return legs


def assert_alike(
    data: Reference, day: date, records: Sequence[dict[str, object]]
) -> dict[tuple[int, str], dict]:
    """Both implementations give the same legs, reasons, words and money; returns the kernel's,
    by record."""
    frame = pl.DataFrame(list(records), schema=XDR.schema)
    found = kernel_legs(data, day, frame)
    rater = PlainRater(data)
    expected = {
        (record["record_id"], leg.leg.value): leg
        for record in frame.iter_rows(named=True)
        for leg in rater.price(record)
    }
    assert set(found) == set(expected)
    for key, plain in expected.items():
        row = found[key]
        assert row["reason"] == plain.reason, (row, plain)
        if plain.reason:
            assert plain.reason != "BLOCKED_CODE" or row["code"] == plain.code
            continue
        mine = {name: row[name] for name in (*FIELDS, *(f"{name}_e10" for name in MONEY))}
        theirs = {name: getattr(plain, name) for name in FIELDS}
        for name in MONEY:
            value = getattr(plain, name)
            theirs[f"{name}_e10"] = None if value is None else to_e10(value)
        different = {n: (mine[n], theirs[n]) for n in mine if mine[n] != theirs[n]}
        assert not different, (key, different, plain.steps)
    return dict(sorted(found.items()))
