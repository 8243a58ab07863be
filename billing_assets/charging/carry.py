"""The minimum invoice amount: what is too little to bill goes to the partner's next cycle.

The cycle that carries keeps its charges and takes their sum back in one line, so that its charges
sum to what its documents bill: nothing. The next cycle shows each charge again, brought forward
(catalogue 4.2).
"""

import json
from collections.abc import Collection
from decimal import Decimal

import polars as pl

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.unbilled import Claim
from billing_assets.core.ids import stable_id
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE
from billing_assets.reference.models import Leg, Partner
from billing_assets.registry.cycles import Cycle as RegisteredCycle

CARRIED_FORWARD = "carried_forward"
BROUGHT_FORWARD = "brought_forward"
"""Kind and section of charges on the way from a cycle to the next."""

BRINGS = "brings_forward"
"""The figure of a run that names the cycles, separated by blanks, whose charges it brings."""

CARRIES = "carries_forward"
"""The figure of a run that is 1 when some of its charges go to the next cycle, else 0."""


def cycles_to_bring(claimed: Claim) -> list[RegisteredCycle]:
    """Final cycles whose carried charges no final cycle has brought forward.

    The cycle that bills late usage brings them, so that no two cycles do.
    """
    if not claimed.takes_late:
        return []
    brought = {
        name for final in claimed.final_cycles for name in str(final.totals.get(BRINGS, "")).split()
    }
    return [
        final
        for final in sorted(claimed.final_cycles, key=lambda one: one.period)
        if int(final.totals.get(CARRIES, 0)) and final.id not in brought
    ]


def brought_forward(
    cycle: Cycle, carried: Collection[RegisteredCycle], lake: Lake, *, bucket: int
) -> pl.DataFrame:
    """The charges that some cycles carried, as charges of this one, in the columns of `charge`."""
    rows = [pl.DataFrame(schema=CHARGE.schema)]
    for one in carried:
        charges = lake.scan(CHARGE, part={"month": one.month, "cycle": one.id}).collect()
        legs = charges.filter(pl.col("kind") == CARRIED_FORWARD).select("leg", "currency").unique()
        carried_legs = charges.join(legs, on=["leg", "currency"], how="semi")
        kept = carried_legs.filter(pl.col("kind") != CARRIED_FORWARD, pl.col("amount") != 0)
        rows += [_moved(cycle, one.id, row, bucket) for row in kept.to_dicts()]
    return pl.concat(rows)


def carried_forward(
    cycle: Cycle, charges: pl.DataFrame, partner: Partner, *, bucket: int
) -> pl.DataFrame:
    """The line that takes a cycle's charges back when they are below the partner's minimum.

    `charges` are all of the cycle, those brought forward included. No row when they reach the
    minimum, are nothing or are owed to the partner.
    """
    owed = charges.filter(
        pl.col("leg") == Leg.CUSTOMER.value, pl.col("currency") == partner.currency
    )
    total = sum(owed["amount"], Decimal(0))
    if not 0 < total < partner.minimum_invoice:
        return pl.DataFrame(schema=CHARGE.schema)
    first = owed.sort("charge_id").row(0, named=True)
    minimum = f"{partner.minimum_invoice:f} {partner.currency}"
    row = {
        **dict.fromkeys(CHARGE.schema.names()),
        "month": cycle.month,
        "bucket": bucket,
        "charge_id": stable_id(cycle.cycle, CARRIED_FORWARD, partner.currency),
        "cycle": cycle.cycle,
        "partner": cycle.partner,
        "agreement": first["agreement"],
        "leg": Leg.CUSTOMER.value,
        "kind": CARRIED_FORWARD,
        "section": CARRIED_FORWARD,
        "service": "",
        "description": "Carried forward to the next cycle",
        "destination": "",
        "band": "",
        "origin": "",
        "first_day": cycle.period.start,
        "last_day": cycle.period.last_day,
        "records": 0,
        "answered": 0,
        "quantity": Decimal(-1),
        "unit": "event",
        "exact_amount": -total,
        "priced_in": partner.currency,
        "amount": -total,
        "currency": partner.currency,
        "rule": "minimum_invoice",
        "steps": json.dumps([f"{total.normalize():f} is below the minimum invoice of {minimum}"]),
        "sources": "{}",
    }
    return pl.DataFrame([row], schema=CHARGE.schema)


def _moved(cycle: Cycle, origin: str, row: dict[str, object], bucket: int) -> pl.DataFrame:
    """A charge of an earlier cycle as one of this cycle."""
    steps = json.loads(str(row["steps"] or "[]"))
    words = f"brought forward from {origin}, which was below the minimum invoice"
    moved = {
        **row,
        "month": cycle.month,
        "bucket": bucket,
        "cycle": cycle.cycle,
        "charge_id": stable_id(cycle.cycle, BROUGHT_FORWARD, str(row["charge_id"])),
        "kind": BROUGHT_FORWARD,
        "section": BROUGHT_FORWARD,
        "steps": json.dumps([*steps, words], ensure_ascii=False),
    }
    return pl.DataFrame([moved], schema=CHARGE.schema)
