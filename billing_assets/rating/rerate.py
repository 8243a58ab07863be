"""Selective re-rating of a UTC day: legs of a scope are priced anew, all others stay as they are.

A leg is in the scope when its old or its new price is.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date

import polars as pl

from billing_assets.core.errors import SliceConflict
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.change import (
    ATTEMPTS,
    CHANGES_SCHEMA,
    KEY,
    LEG_SCHEMA,
    Change,
    DayRerated,
)
from billing_assets.rating.day import as_usage, rate_day, usage_sums
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.plan import compile_plan
from billing_assets.rating.scope import RatingScope
from billing_assets.rating.split import priced_legs
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg

_LEG = LEG_SCHEMA.names()


def rerate_day(
    lake: Lake,
    reference: Reference,
    scope: RatingScope,
    day: date,
    *,
    buckets: int,
    request: int | None,
    dry_run: bool = False,
) -> DayRerated:
    """Price the legs of a scope on a day by a reference, and keep what changed.

    `request` is the re-rate request that stands in every leg it priced. A dry run writes nothing.
    Raises `SliceConflict` when other runs kept replacing the same slices, and `BillingError` when
    the day would not balance; it then is as it was.
    """
    if not scope.narrowed:
        return _whole_day(lake, reference, day, buckets, request, dry_run=dry_run)
    return carried_out(
        lambda: _scope_change(lake, reference, scope, day, buckets, request), dry_run=dry_run
    )


def carried_out(make: Callable[[], Change], *, dry_run: bool = False) -> DayRerated:
    """Make a change and write it, anew when another run replaced one of its slices meanwhile.

    Raises `SliceConflict` when others kept replacing them.
    """
    for attempt in range(ATTEMPTS):
        change = make()
        try:
            if not dry_run:
                change.write()
            return change.outcome()
        except SliceConflict:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _whole_day(
    lake: Lake,
    reference: Reference,
    day: date,
    buckets: int,
    request: int | None,
    *,
    dry_run: bool,
) -> DayRerated:
    """Rate a day anew as a whole: in one streaming pass, since no leg is out of the scope."""
    before = lake.scan(USAGE_DAILY, part={"day": day}).collect()
    plan = compile_plan(reference, day, buckets=buckets)
    if dry_run:
        records = lake.scan(XDR, part={"day": day})
        legs = pl.concat([priced_legs(Kernel(plan, leg), records) for leg in Leg])
        after = as_usage([usage_sums(legs).collect(engine="streaming")])
    else:
        rate_day(lake, plan, rerate_request=request)
        after = lake.scan(USAGE_DAILY, part={"day": day}).collect()
    changes = _usage_changes(day, before, after)
    return DayRerated(
        day=day,
        plan=plan.version,
        candidates=int(after["records"].sum()),
        changed=int(changes["records"].sum()),
        changes=changes,
        buckets=tuple(sorted(set(after["bucket"]))),
        compiled=plan,
    )


def _usage_changes(day: date, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """What differs between two states of a day's `usage_daily`, as CHANGES_SCHEMA."""
    words = ["local_day", "partner", "leg", "service", "destination", "currency"]

    def sums(usage: pl.DataFrame, name: str) -> pl.DataFrame:
        return usage.group_by(words).agg(
            pl.col("records").sum().alias(f"records_{name}"),
            (pl.col("duration_ms").sum() // 1000).alias(f"seconds_{name}"),
            (pl.col("amount").sum() * 10**10).cast(pl.Int128).alias(f"{name}_e10"),
        )

    return (
        sums(before, "before")
        .join(sums(after, "after"), on=words, how="full", coalesce=True)
        .with_columns(pl.exclude(words).fill_null(0))
        .filter(
            (pl.col("before_e10") != pl.col("after_e10"))
            | (pl.col("records_before") != pl.col("records_after"))
        )
        .with_columns(
            pl.lit(day).alias("day"),
            pl.lit("whole day").alias("why"),
            pl.max_horizontal("records_before", "records_after").alias("records"),
            pl.max_horizontal("seconds_before", "seconds_after").alias("seconds"),
        )
        .select(CHANGES_SCHEMA.names())
        .cast(CHANGES_SCHEMA)
        .sort("partner", "leg", "destination", "local_day", nulls_last=True)
    )


def _scope_change(
    lake: Lake,
    reference: Reference,
    scope: RatingScope,
    day: date,
    buckets: int,
    request: int | None,
) -> Change:
    """Old and new legs of a scope, from one version of the lake."""
    version = lake.version(RATED_LEG)
    records = lake.scan(XDR, part={"day": day})
    rated = lake.scan(RATED_LEG, version, {"day": day})
    waiting = lake.scan(SUSPENSE, part={"day": day, "stage": "rating"})
    matching_old = rated.filter(scope.matches()).select(KEY)
    waiting_old = waiting.filter(_waiting_in(scope)).select(KEY)
    old_keys = pl.concat([matching_old, waiting_old]).collect(engine="streaming")
    trunks = _trunks(scope, reference, records, old_keys)
    plan, new = None, pl.DataFrame(schema=LEG_SCHEMA)
    if trunks is None or any(trunks.values()):
        used = None if trunks is None else set().union(*trunks.values())
        plan = compile_plan(_owners(reference, used), day, buckets=buckets)
        kernels = [Kernel(plan, leg, request) for leg in scope.legs or Leg]
        new = _new(scope, kernels, records, trunks, old_keys)
    keys = pl.concat([old_keys, new.select(KEY)]).unique()
    return Change(lake, day, version, keys, new, plan)


def _trunks(
    scope: RatingScope, reference: Reference, records: pl.LazyFrame, old_keys: pl.DataFrame
) -> dict[Leg, list[str]] | None:
    """Trunks by leg that may lie in the scope now or lay in it before; None for all."""
    partners = set(scope.partners)
    if scope.agreements:
        of_agreements = {
            a.terms.partner for a in reference.agreements if a.terms.agreement in scope.agreements
        }
        partners = partners & of_agreements if partners else of_agreements
    elif not partners:
        return None
    mapped = {
        trunk.trunk
        for name in partners & set(reference.partners)
        for account in reference.partners[name].accounts
        for trunk in account.trunks
    }
    found = {}
    for leg in scope.legs or Leg:
        held = old_keys.filter(pl.col("leg") == leg.value)["record_id"]
        rows = records.filter(pl.col("record_id").is_in(held.implode()))
        before = rows.select(pl.col(_SIDES[leg]).unique()).collect(engine="streaming")
        found[leg] = sorted(mapped | set(before.to_series().drop_nulls()))
    return found


def _new(
    scope: RatingScope,
    kernels: Iterable[Kernel],
    records: pl.LazyFrame,
    trunks: dict[Leg, list[str]] | None,
    old_keys: pl.DataFrame,
) -> pl.DataFrame:
    """New legs of the scope, and of all legs that were in it."""
    found = []
    for kernel in kernels:
        of_side = records
        if trunks is not None:
            of_side = records.filter(pl.col(_SIDES[kernel.leg]).is_in(trunks[kernel.leg]))
        held = old_keys.filter(pl.col("leg") == kernel.leg.value)["record_id"]
        wanted = scope.matches() | pl.col("record_id").is_in(held.implode())
        found.append(
            priced_legs(kernel, of_side)
            .filter(wanted)
            .select(_LEG)
            .cast(LEG_SCHEMA)
            .collect(engine="streaming")
        )
    return pl.concat(found)


def _waiting_in(scope: RatingScope) -> pl.Expr:
    """Whether a row of `suspense` lies in a scope; what has no price has no destination."""
    if scope.services or scope.destinations or scope.codes or scope.agreements:
        return pl.lit(False)
    matched = pl.lit(True)
    if scope.partners:
        matched &= pl.col("partner").is_in(list(scope.partners))
    if scope.legs:
        matched &= pl.col("leg").is_in([leg.value for leg in scope.legs])
    return matched.fill_null(False)


_SIDES = {Leg.CUSTOMER: "in_trunk", Leg.SUPPLIER: "out_trunk"}


def _owners(reference: Reference, trunks: set[str] | None) -> Reference:
    """The reference with the agreements of the partners that some trunks belong to."""
    if trunks is None:
        return reference
    owners = {
        partner.partner
        for partner in reference.partners.values()
        for account in partner.accounts
        for trunk in account.trunks
        if trunk.trunk in trunks
    }
    kept = tuple(a for a in reference.agreements if a.terms.partner in owners)
    return replace(reference, agreements=kept)
