"""Selective re-rating of a UTC day: legs of a scope are priced anew, all others stay as they are.

A leg is in the scope when its old or its new price is.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import zip_longest

import polars as pl

from billing_assets.core.errors import SliceConflict
from billing_assets.core.ids import bucket_of
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
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import rate_day
from billing_assets.rating.kernel import Kernel, columns_read
from billing_assets.rating.scope import RatingScope
from billing_assets.rating.split import priced_legs
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg

_LEG = LEG_SCHEMA.names()
_TRUNK = {Leg.CUSTOMER: "in_trunk", Leg.SUPPLIER: "out_trunk"}


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
    days = rerate_days(
        lake, reference, scope, [day], buckets=buckets, request=request, dry_run=dry_run
    )
    return next(days)


def rerate_days(
    lake: Lake,
    reference: Reference,
    scope: RatingScope,
    days: Sequence[date],
    *,
    buckets: int,
    request: int | None,
    dry_run: bool = False,
) -> Iterator[DayRerated]:
    """`rerate_day` on some days, in their order; each is written when it is asked for.

    While a day with few legs in the scope is written, the next one is read and priced.
    """
    if not scope.narrowed:
        for day in days:
            yield _whole_day(lake, reference, day, buckets, request, dry_run=dry_run)
        return

    def make(day: date) -> Change:
        return _scope_change(lake, reference, scope, day, buckets, request)

    with ThreadPoolExecutor(max_workers=1) as ahead:
        coming: Future[Change] | None = None
        for day, following in zip_longest(days, days[1:]):
            change = coming.result() if coming else make(day)
            few = change.new.height <= _FEW
            coming = ahead.submit(make, following) if following and few else None
            yield carried_out(_first(change, partial(make, day)), dry_run=dry_run)


def _first(change: Change, again: Callable[[], Change]) -> Callable[[], Change]:
    """Give a change that is there already, then make it anew."""
    ready = [change]
    return lambda: ready.pop() if ready else again()


_FEW = 1_000_000
"""Legs of a day in a scope: with more of them, two days at once would hold too much memory."""


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
        after = daily_usage(legs.filter(pl.col("reason").is_null()))
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
    partners = _partners(scope, reference)
    part: dict[str, date | list[int]] = {"day": day}
    if partners is not None:
        part["bucket"] = sorted({bucket_of(partner, buckets) for partner in partners})
    rated = lake.scan(RATED_LEG, version, part).filter(scope.matches())
    waiting = lake.scan(SUSPENSE, part={"day": day, "stage": "rating"}).filter(_waiting_in(scope))
    old = rated.collect(engine="streaming")
    held = pl.concat([old.select(KEY), waiting.select(KEY).collect()])
    records = lake.scan(XDR, part={"day": day})
    legs = _legs(scope, reference, held)
    chosen = pl.DataFrame()
    if partners is not None:
        kept = _of_partners(partners, reference)
        legs = _legs(scope, kept, held)
        read = columns_read(a.terms for a in kept.agreements)
        chosen = _records_of(partners, reference, legs, records.select(read), held)
        owners = partners | _owners(reference, chosen, held)
        if owners != partners:
            kept = _of_partners(owners, reference)
            chosen = _records_of(partners, reference, legs, records, held)
        reference, records = kept, chosen.lazy()
    plan, new = None, pl.DataFrame(schema=LEG_SCHEMA)
    if partners is None or not chosen.is_empty():
        plan = compile_plan(reference, day, buckets=buckets)
        new = _new(scope, [Kernel(plan, leg, request) for leg in legs], records, held)
    return Change(lake, day, version, held, new, plan, old)


def _partners(scope: RatingScope, reference: Reference) -> set[str] | None:
    """Whose legs lie in the scope; None for everyone's."""
    partners = set(scope.partners)
    if scope.agreements:
        of_agreements = {
            a.terms.partner for a in reference.agreements if a.terms.agreement in scope.agreements
        }
        return partners & of_agreements if partners else of_agreements
    return partners or None


def _records_of(
    partners: set[str],
    reference: Reference,
    legs: Sequence[Leg],
    records: pl.LazyFrame,
    held: pl.DataFrame,
) -> pl.DataFrame:
    """The records of the partners' trunks, and those of held legs, whose trunks were theirs.

    They are read once here, for both sides and each pass of the rating; side by side, since
    records lie together by trunk, and a filter on both trunks would skip nothing.
    """
    mapped = [
        trunk.trunk
        for name in partners & set(reference.partners)
        for account in reference.partners[name].accounts
        for trunk in account.trunks
    ]
    read, rest = [pl.DataFrame(schema=records.collect_schema())], records
    for leg in legs:
        mine = pl.col(_TRUNK[leg]).is_in(mapped)
        read.append(rest.filter(mine).collect(engine="streaming"))
        rest = rest.filter(~mine.fill_null(False))
    found = pl.concat(read)
    ids = held.select("record_id").unique().join(found, on="record_id", how="anti")
    if ids.is_empty():
        return found
    by_id = pl.col("record_id").is_in(ids["record_id"].implode())
    return pl.concat([found, records.filter(by_id).collect(engine="streaming")])


def _legs(scope: RatingScope, reference: Reference, held: pl.DataFrame) -> list[Leg]:
    """The sides of a record that can give a leg of the scope.

    What has no agreement has no price, and what has no price no destination or code: where the
    scope names these, a side without an agreement and without a held leg has nothing to give.
    """
    legs = scope.legs or tuple(Leg)
    if not (scope.destinations or scope.codes or scope.agreements):
        return list(legs)
    priced = {a.terms.leg for a in reference.agreements} | {Leg(leg) for leg in set(held["leg"])}
    return [leg for leg in legs if leg in priced]


def _new(
    scope: RatingScope, kernels: Sequence[Kernel], records: pl.LazyFrame, held: pl.DataFrame
) -> pl.DataFrame:
    """New legs of the scope, and of all legs that were in it."""
    found = [pl.DataFrame(schema=LEG_SCHEMA)]
    for kernel in kernels:
        ids = held.filter(pl.col("leg") == kernel.leg.value)["record_id"]
        wanted = scope.matches() | pl.col("record_id").is_in(ids.implode())
        legs = priced_legs(kernel, records).filter(wanted).select(_LEG).cast(LEG_SCHEMA)
        found.append(legs.collect(engine="streaming"))
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


def _owners(reference: Reference, records: pl.DataFrame, held: pl.DataFrame) -> set[str]:
    """Whose the trunks of held legs are now."""
    trunks = {
        trunk
        for leg, side in _TRUNK.items()
        for trunk in records.join(
            held.filter(pl.col("leg") == leg.value), on="record_id", how="semi"
        )[side].unique()
    }
    return {
        partner.partner
        for partner in reference.partners.values()
        for account in partner.accounts
        for trunk in account.trunks
        if trunk.trunk in trunks
    }


def _of_partners(partners: set[str], reference: Reference) -> Reference:
    """The reference with the agreements of some partners alone."""
    kept = tuple(a for a in reference.agreements if a.terms.partner in partners)
    return replace(reference, agreements=kept)
