"""Re-rate requests: what may be asked, and a request carried out day by day."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import date, datetime

import polars as pl

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.money import from_e10
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, XDR
from billing_assets.rating.change import CHANGES_SCHEMA, DayRerated, since
from billing_assets.rating.follow import follow_day
from billing_assets.rating.rerate import rerate_days
from billing_assets.rating.rollback import rollback_day
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg, Service
from billing_assets.registry.registry import Registry
from billing_assets.registry.rerates import Day, Request

FILE_KEY, ROLLS_BACK = "file_key", "rolls_back"
"""Fields of a request's scope: the file whose records its legs follow, the request it takes
back."""

CHANGE_COLUMNS = (
    "day",
    "local_day",
    "partner",
    "leg",
    "service",
    "destination",
    "currency",
    "why",
    "records",
    "minutes",
    "before",
    "after",
    "difference",
)
"""The columns of `change_rows`, in order."""


def fields_of(scope: RatingScope) -> dict[str, object]:
    """A scope as plain fields for the registry; empty lists are left out."""
    fields = asdict(scope)
    found: dict[str, object] = {name: fields.pop(name).isoformat() for name in ("first", "last")}
    found |= {name: [str(word) for word in words] for name, words in fields.items() if words}
    return found


def scope_of(fields: Mapping[str, object]) -> RatingScope:
    """The scope of plain fields: `first` and `last` as dates' text, and lists of words.

    Raises `BillingError` for a word that no service or leg has, and as `RatingScope` does.
    """
    lists = {
        name: tuple(str(word) for word in value)
        for name, value in fields.items()
        if isinstance(value, list | tuple)
    }
    try:
        return RatingScope(
            date.fromisoformat(str(fields["first"])),
            date.fromisoformat(str(fields["last"])),
            **{
                **lists,
                "legs": tuple(Leg(word) for word in lists.get("legs", ())),
                "services": tuple(Service(word) for word in lists.get("services", ())),
            },
        )
    except ValueError as error:
        raise BillingError(f"the scope cannot be read: {error}") from error


def check_scope(scope: RatingScope, reference: Reference, lake: Lake, today: date) -> None:
    """Refuse a scope that nothing can come of: days to come, days without records, partners and
    agreements that do not exist. Raises `BillingError` or `NotFound` that says what to do."""
    if scope.last > today:
        raise BillingError(
            f"{scope.last} is still to come", hint=f"the last day to rate is {today} (UTC)"
        )
    for name in scope.partners:
        reference.partner(name)
    known = {a.terms.agreement for a in reference.agreements}
    for agreement in scope.agreements:
        if agreement not in known:
            raise NotFound(f"no agreement {agreement!r}", hint=f"known: {', '.join(sorted(known))}")
    held = lake.days(XDR)
    expired = [day for day in lake.days(RATED_LEG) if scope.first <= day < min(held, default=today)]
    if expired:
        raise BillingError(
            f"retention has deleted the records of {expired[0]}: its legs cannot be rated again",
            hint=f"begin at {min(held)}" if held else "no records are kept",
        )
    if not any(scope.first <= day <= scope.last for day in held):
        span = f"records are kept from {min(held)} to {max(held)}" if held else "none are kept"
        raise BillingError(f"no records on {scope.describe()}", hint=span)


def dry_run(
    scope: RatingScope, lake: Lake, reference: Reference, *, buckets: int
) -> list[dict[str, object]]:
    """What rating a scope anew would change, as `change_rows`; nothing is written.

    Raises `BillingError` when no leg lies in the scope.
    """
    rows, candidates = [], 0
    days = [day for day in lake.days(XDR) if scope.first <= day <= scope.last]
    for outcome in rerate_days(
        lake, reference, scope, days, buckets=buckets, request=None, dry_run=True
    ):
        candidates += outcome.candidates
        rows += change_rows(outcome.changes)
    if not candidates:
        raise BillingError(
            f"no leg matches: {scope.describe()}",
            hint='see what was rated: `icb sql "select * from usage_daily"`',
        )
    return rows


def run_request(
    number: int,
    lake: Lake,
    registry: Registry,
    reference: Reference,
    *,
    buckets: int,
    days: list[date] | None = None,
    now: Callable[[], datetime],
    who: str,
    reference_as: Callable[[str], Reference] | None = None,
    progress: Callable[[DayRerated], None] = lambda _: None,
) -> list[DayRerated]:
    """Carry out a request on its days that hold records (or some of them), and record each.

    A request rates a scope anew, lets the legs of a file follow its records (`file_key`), or takes
    another one back (`rolls_back`, which needs `reference_as` to read an earlier version). A run
    that died is completed by running the request again: what it did counts as the request's too.
    Raises as `rerate_day` does.
    """
    request = registry.rerates.begin(number, now=now(), who=who)
    scope = scope_of(request.scope)
    held = set(lake.days(XDR)) | set(lake.days(RATED_LEG))
    asked = scope.days if days is None else days
    chosen = [day for day in asked if day in held and scope.first <= day <= scope.last]
    rerated = rerate_days(lake, reference, scope, chosen, buckets=buckets, request=number)
    done = []

    def on(day: date) -> DayRerated:
        if FILE_KEY in request.scope:
            key = int(str(request.scope[FILE_KEY]))
            return follow_day(lake, reference, day, key, buckets=buckets, request=number)
        if ROLLS_BACK in request.scope:
            return rollback_day(
                lake,
                [one for one in registry.rerates.days(_taken_back(request)) if one.day == day],
                day,
                earlier=lambda: _earlier(registry, _taken_back(request), day, reference_as),
                buckets=buckets,
                request=number,
            )
        return next(rerated)

    for day in chosen:
        begun, died = _begun(number, day, lake, registry, reference, now=now())
        outcome = on(day)
        if died:
            outcome = since(lake, outcome, begun.version_before, number)
        _record(outcome, begun, lake, registry, reference, now=now(), who=who)
        progress(outcome)
        done.append(outcome)
    if days is None or set(scope.days) & held <= {d.day for d in registry.rerates.days(number)}:
        registry.rerates.end(number, now=now(), who=who)
    return done


def taking_back(number: int, registry: Registry) -> dict[str, object]:
    """The scope of a request that takes another one back.

    Raises `NotFound` for one that does not exist, and `BillingError` for one that changed no day
    yet or whose legs followed their records: these are what they are.
    """
    scope = registry.rerates.get(number).scope
    if FILE_KEY in scope:
        raise BillingError(
            f"re-rate request {number} priced what a mediation file left or brought",
            hint="take that back: `icb intake replay FILE` or `icb intake withdraw FILE`",
        )
    days = sorted({one.day for one in registry.rerates.days(number)})
    if not days:
        raise BillingError(f"re-rate request {number} has changed nothing yet")
    return {"first": days[0].isoformat(), "last": days[-1].isoformat(), ROLLS_BACK: number}


def _taken_back(request: Request) -> int:
    return int(str(request.scope[ROLLS_BACK]))


def _begun(
    number: int,
    day: date,
    lake: Lake,
    registry: Registry,
    reference: Reference,
    *,
    now: datetime,
) -> tuple[Day, bool]:
    """The run that begins on a day; or the one that died there, to be completed, and True."""
    runs = [run for run in registry.rerates.days(number, day) if run.version_after is None]
    if runs:
        return runs[-1], True
    begun = registry.rerates.begin_day(
        number,
        day,
        reference_hash=reference.version,
        version_before=lake.version(RATED_LEG),
        now=now,
    )
    return begun, False


def _earlier(
    registry: Registry, number: int, day: date, reference_as: Callable[[str], Reference] | None
) -> Iterator[Reference]:
    """The reference data by which a day was rated before a request first did, the newest first."""
    runs = registry.rerates.days(day=day)
    first = next(run for run in runs if run.request == number)
    earlier = [
        plan.reference_hash
        for plan in registry.versions.plans_of_day(day)
        if plan.compiled_at <= first.rated_at and plan.hash != first.plan
    ]
    if reference_as is None or not earlier:
        raise BillingError(f"it is not known how {day} was rated before request {number}")
    yield from map(reference_as, dict.fromkeys(reversed(earlier)))


def _record(
    outcome: DayRerated,
    begun: Day,
    lake: Lake,
    registry: Registry,
    reference: Reference,
    *,
    now: datetime,
    who: str,
) -> None:
    if outcome.compiled:
        registry.versions.record_plan(
            outcome.plan,
            outcome.day,
            reference.version,
            outcome.compiled.summary(),
            now=now,
            who=who,
        )
    registry.rerates.end_day(
        replace(
            begun,
            reference_hash=reference.version,
            plan=outcome.plan,
            version_after=lake.version(RATED_LEG),
            candidates=outcome.candidates,
            changed=outcome.changed,
            changes=change_rows(outcome.changes),
            rated_at=now,
        )
    )


def change_rows(changes: pl.DataFrame) -> list[dict[str, object]]:
    """Changes (CHANGES_SCHEMA) as rows for people and scripts: minutes and money as decimals."""
    rows = []
    for row in changes.select(CHANGES_SCHEMA.names()).iter_rows(named=True):
        before, after = from_e10(row.pop("before_e10")), from_e10(row.pop("after_e10"))
        minutes = from_e10(row.pop("seconds") * 10**10 // 60)
        rows.append(
            row
            | {
                "minutes": round(minutes, 2),
                "before": before.normalize(),
                "after": after.normalize(),
                "difference": (after - before).normalize(),
            }
        )
    return rows
