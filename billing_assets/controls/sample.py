"""Rating accuracy: a sample of records priced again by the plain implementation (catalogue 3.7).

The plain implementation reads agreements, not the compiled plan, so a fault of the plan or of the
kernel shows. The sample is by hash of the record id: the same at every run, of every partner.
"""

from dataclasses import dataclass
from datetime import date

import polars as pl

from billing_assets.core.money import to_e10
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, XDR
from billing_assets.rating.plain import PlainLeg, PlainRater
from billing_assets.reference.load import Reference

Priced = tuple[str, str, str, int | None]
"""Partner, agreement, currency and amount in 10^-10; of a leg in suspense: its reason alone."""


@dataclass(frozen=True)
class Disagreement:
    """A leg that the two implementations price differently; None: it has no such leg."""

    record_id: int
    leg: str
    rated: Priced | None
    plain: Priced | None


def disagreements(
    lake: Lake, reference: Reference, day: date, records: int
) -> tuple[int, list[Disagreement]]:
    """Price a sample of a day's records again; returns its size and the legs that differ."""
    part = {"day": day}
    chosen = (
        lake.scan(XDR, part=part)
        .filter(pl.col("record_id").hash(seed=0).rank("ordinal") <= records)
        .collect()
    )
    ids = chosen["record_id"].implode()
    rated: dict[tuple[int, str], Priced] = {}
    legs = lake.scan(RATED_LEG, part=part).filter(pl.col("record_id").is_in(ids))
    for record, leg, partner, agreement, currency, amount in (
        legs.select("record_id", "leg", "partner", "agreement", "currency", "amount_e10")
        .collect(engine="streaming")
        .iter_rows()
    ):
        rated[record, leg] = (partner, agreement, currency, amount)
    waiting = lake.scan(SUSPENSE, part=part).filter(
        (pl.col("stage") == "rating") & pl.col("record_id").is_in(ids)
    )
    for record, leg, reason in waiting.select("record_id", "leg", "reason").collect().iter_rows():
        rated[record, leg] = ("", reason, "", None)
    rater = PlainRater(reference)
    plain = {
        (row["record_id"], leg.leg.value): _priced(leg)
        for row in chosen.iter_rows(named=True)
        for leg in rater.price(row)
    }
    wrong = [
        Disagreement(*key, rated.get(key), plain.get(key))
        for key in sorted({*rated, *plain})
        if rated.get(key) != plain.get(key)
    ]
    return chosen.height, wrong


def _priced(leg: PlainLeg) -> Priced:
    if leg.reason is not None or leg.amount is None:
        return ("", leg.reason or "", "", None)
    return (leg.partner, leg.agreement, leg.currency, to_e10(leg.amount))
