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
from billing_assets.reference.versions import reference_of
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry

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
    lake: Lake, registry: Registry, blobs: BlobStore, day: date, records: int
) -> tuple[int, list[Disagreement]]:
    """Price a sample of a day's records again; returns its size and the legs that differ.

    A leg is held against the reference data that its plan was made from: legs outside the scope
    of a re-rating stand on older ones. One in suspense must be so by any that rated the day.
    """
    part = {"day": day}
    chosen = (
        lake.scan(XDR, part=part)
        .filter(pl.col("record_id").hash(seed=0).rank("ordinal") <= records)
        .collect()
    )
    ids = chosen["record_id"].implode()
    rated: dict[_Key, Priced] = {}
    plans: dict[_Key, str] = {}
    legs = lake.scan(RATED_LEG, part=part).filter(pl.col("record_id").is_in(ids))
    for record, leg, plan, partner, agreement, currency, amount in (
        legs.select("record_id", "leg", "plan", "partner", "agreement", "currency", "amount_e10")
        .collect(engine="streaming")
        .iter_rows()
    ):
        rated[record, leg] = (partner, agreement, currency, amount)
        plans[record, leg] = plan
    waiting = lake.scan(SUSPENSE, part=part).filter(
        (pl.col("stage") == "rating") & pl.col("record_id").is_in(ids)
    )
    for record, leg, reason in waiting.select("record_id", "leg", "reason").collect().iter_rows():
        rated[record, leg] = ("", reason, "", None)
    versions = [one.reference_hash for one in registry.versions.plans_of_day(day)]
    made_from = {plan: registry.versions.plan(plan).reference_hash for plan in set(plans.values())}
    used = list(dict.fromkeys([*versions, *made_from.values()]))
    plain = {
        version: _plain(chosen, PlainRater(reference_of(version, registry, blobs)))
        for version in used
    }
    wrong = []
    for key in sorted({*rated, *(key for priced in plain.values() for key in priced)}):
        by = [made_from[plans[key]]] if key in plans else used
        if all(rated.get(key) != plain[version].get(key) for version in by):
            wrong.append(Disagreement(*key, rated.get(key), plain[by[-1]].get(key)))
    return chosen.height, wrong


_Key = tuple[int, str]


def _plain(records: pl.DataFrame, rater: PlainRater) -> dict[_Key, Priced]:
    return {
        (row["record_id"], leg.leg.value): _priced(leg)
        for row in records.iter_rows(named=True)
        for leg in rater.price(row)
    }


def _priced(leg: PlainLeg) -> Priced:
    if leg.reason is not None or leg.amount is None:
        return ("", leg.reason or "", "", None)
    return (leg.partner, leg.agreement, leg.currency, to_e10(leg.amount))
