"""What differs between two versions of the reference data: terms by field, rates by time.

Pure, and cheap: decks are compared as frames, and only codes that differ are looked at closely.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from pydantic import BaseModel

from billing_assets.lake.tables import UTC_TIME
from billing_assets.reference.load import InForce, Reference
from billing_assets.reference.models import Agreement, Leg, Service
from billing_assets.reference.succession import KEY

_PRICED = (
    "destination",
    "status",
    "price_e10",
    "first_price_e10",
    "first_units",
    "next_units",
    "setup_fee_e10",
    "minimum_e10",
    "cap_e10",
)
"""What a rate row says of a call; where it stands in which sheet changes no price."""

_DECK_FIELDS = {
    "rates",
    "sheets",
    "notice",
    "recurring",
    "one_time",
    "capacity",
    "title",
    "contract_reference",
}
"""Fields of an agreement whose effect on calls, if any, shows in its deck."""

RATE_CHANGES = pl.Schema(
    {
        "partner": pl.String,
        "agreement": pl.String,
        "leg": pl.String,
        "service": pl.String,
        "code": pl.Int64,
        "origin": pl.String,
        "band": pl.String,
        "destination": pl.String,
        "change": pl.String,
        "before_e10": pl.Int64,
        "after_e10": pl.Int64,
        "valid_from": UTC_TIME,
        "valid_to": UTC_TIME,
    }
)


@dataclass(frozen=True)
class TermChange:
    """A field of a file that has another value; 'added' and 'removed' name whole files."""

    subject: str
    name: str
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Affected:
    """Usage that a change may price otherwise: trunks of a side, from one instant to another."""

    partner: str
    leg: Leg
    service: Service | None
    trunks: frozenset[str]
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Differences:
    """All differences: `rates` in the columns of `RATE_CHANGES`, one row a code and stretch.

    `valid_to` is exclusive, null until further notice.
    """

    before: str
    after: str
    terms: tuple[TermChange, ...]
    rates: pl.DataFrame
    affected: tuple[Affected, ...]


def differences(before: Reference, after: Reference) -> Differences:
    """Compare two references; equal ones have no difference."""
    terms: list[TermChange] = []
    terms += _changes("carrier", before.carrier.entity, before.carrier, after.carrier)
    for subject, old, new in (
        ("partner", before.partners, after.partners),
        ("calendar", before.calendars, after.calendars),
        ("source", before.sources, after.sources),
        ("agreement", _terms(before), _terms(after)),
        ("deal", {d.deal: d for d in before.deals}, {d.deal: d for d in after.deals}),
        ("controls", {"controls": before.controls}, {"controls": after.controls}),
        ("traffic", {"traffic": before.traffic}, {"traffic": after.traffic}),
    ):
        for name in sorted({*old, *new}):
            terms += _changes(subject, name, old.get(name), new.get(name))
    if not before.fixings.equals(after.fixings):
        heights = (str(before.fixings.height), str(after.fixings.height))
        terms.append(TermChange("fixings", "fixings.csv", "rows", *heights))
    for path in sorted({*before.samples, *after.samples}):
        if before.files.get(path) != after.files.get(path):
            rows = (_rows(before, path), _rows(after, path))
            terms.append(TermChange("samples", path, "rows", *rows))
    old_ledger = {"ledger": before.ledger} if before.ledger else {}
    new_ledger = {"ledger": after.ledger} if after.ledger else {}
    terms += _changes("ledger", "ledger", old_ledger.get("ledger"), new_ledger.get("ledger"))
    rates = [pl.DataFrame(schema=RATE_CHANGES)]
    affected: list[Affected] = []
    trunks = _trunks(before, after)
    both = [{a.terms.key: a for a in reference.agreements} for reference in (before, after)]
    for key in sorted({*both[0], *both[1]}):
        old, new = both[0].get(key), both[1].get(key)
        changed = rate_changes(old, new)
        rates.append(changed)
        affected += _affected(old, new, changed, _calendars_differ(before, after, old, new), trunks)
    affected += _remapped(before, after)
    return Differences(
        before.version, after.version, tuple(terms), pl.concat(rates), tuple(affected)
    )


def _rows(reference: Reference, path: str) -> str:
    samples = reference.samples.get(path)
    return "" if samples is None else str(samples.height)


def _terms(reference: Reference) -> Mapping[str, Agreement]:
    return {a.terms.key: a.terms for a in reference.agreements}


def _changes(
    subject: str, name: str, old: BaseModel | None, new: BaseModel | None
) -> Iterable[TermChange]:
    if old is None or new is None:
        if old is not new:
            yield TermChange(
                subject, name, "", *(("", "added") if old is None else ("removed", ""))
            )
        return
    for field in type(new).model_fields:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield TermChange(subject, name, field, _shown(before), _shown(after))


def _shown(value: object) -> str:
    """A value in one line; long lists are counted."""
    if isinstance(value, tuple) and len(str(value)) > 200:
        return f"{len(value)} entries"
    return str(value)


def rate_changes(old: InForce | None, new: InForce | None) -> pl.DataFrame:
    """The codes of an agreement that cost something else, each with the time in which it does."""
    some = new or old
    assert some is not None
    empty = some.deck.rows.clear()
    rows = [one.deck.rows if one else empty for one in (old, new)]
    compared = [*KEY, *_PRICED, "valid_from", "valid_to"]
    keys = pl.concat(
        a.select(compared).join(b.select(compared), on=compared, how="anti", nulls_equal=True)
        for a, b in (rows, rows[::-1])
    ).select(KEY)
    if keys.is_empty():
        return pl.DataFrame(schema=RATE_CHANGES)
    rows = [frame.join(keys.unique(), on=KEY, how="semi") for frame in rows]
    edges = (
        pl.concat(
            [
                frame.select(*KEY, pl.col(name).alias("valid_from"))
                for frame in rows
                for name in ("valid_from", "valid_to")
            ]
        )
        .drop_nulls()
        .unique()
        .sort("valid_from")
    )
    edges = edges.with_columns(pl.col("valid_from").shift(-1).over(KEY).alias("valid_to"))
    sides = edges
    for frame, suffix in zip(rows, ("_old", "_new"), strict=True):
        held = frame.select(
            *KEY, "valid_from", pl.col("valid_to").alias(f"_end{suffix}"),
            *(pl.col(name).alias(f"{name}{suffix}") for name in _PRICED),
        ).sort("valid_from")  # fmt: skip
        sides = sides.join_asof(held, on="valid_from", by=KEY, check_sortedness=False)
        over = (pl.col(f"_end{suffix}") <= pl.col("valid_from")).fill_null(False)
        sides = sides.with_columns(
            pl.when(~over).then(f"{name}{suffix}").alias(f"{name}{suffix}") for name in _PRICED
        )
    differs = pl.any_horizontal(pl.col(f"{n}_old").ne_missing(pl.col(f"{n}_new")) for n in _PRICED)
    return (
        sides.filter(differs)
        .select(
            pl.lit(some.terms.partner).alias("partner"),
            pl.lit(some.terms.key).alias("agreement"),
            pl.lit(some.terms.leg.value).alias("leg"),
            pl.lit(some.terms.service.value).alias("service"),
            *KEY,
            pl.coalesce("destination_new", "destination_old").alias("destination"),
            _word().alias("change"),
            pl.col("price_e10_old").alias("before_e10"),
            pl.col("price_e10_new").alias("after_e10"),
            "valid_from",
            "valid_to",
        )
        .sort("code", "valid_from")
    )


def _word() -> pl.Expr:
    old, new = pl.col("price_e10_old"), pl.col("price_e10_new")
    return (
        pl.when(pl.col("status_new").is_null()).then(pl.lit("withdrawn"))
        .when(pl.col("status_old").is_null()).then(pl.lit("new"))
        .when((pl.col("status_new") == "blocked") & (pl.col("status_old") != "blocked"))
        .then(pl.lit("blocked"))
        .when(new > old).then(pl.lit("increase"))
        .when(new < old).then(pl.lit("decrease"))
        .when(pl.col("destination_new") != pl.col("destination_old")).then(pl.lit("moved"))
        .otherwise(pl.lit("other terms"))
    )  # fmt: skip


def _trunks(*references: Reference) -> Mapping[tuple[str, str], frozenset[str]]:
    """The trunks of each partner's accounts, in any of the references."""
    found: dict[tuple[str, str], set[str]] = {}
    for reference in references:
        for partner in reference.partners.values():
            for account in partner.accounts:
                of_account = found.setdefault((partner.partner, account.account), set())
                of_account.update(trunk.trunk for trunk in account.trunks)
    return {key: frozenset(trunks) for key, trunks in found.items()}


def _calendars_differ(
    before: Reference, after: Reference, old: InForce | None, new: InForce | None
) -> bool:
    names = {a.terms.bands.calendar for a in (old, new) if a and a.terms.bands}
    return any(before.calendars.get(n or "") != after.calendars.get(n or "") for n in names)


def _affected(
    old: InForce | None,
    new: InForce | None,
    changed: pl.DataFrame,
    calendars_differ: bool,
    trunks: Mapping[tuple[str, str], frozenset[str]],
) -> list[Affected]:
    """What the differences of one agreement can touch."""
    there = [one for one in (old, new) if one is not None]
    start, end = min(a.start for a in there), max(a.end for a in there)
    same = (
        old is not None
        and new is not None
        and (old.start, old.end) == (new.start, new.end)
        and old.terms.model_dump(exclude=_DECK_FIELDS) == new.terms.model_dump(exclude=_DECK_FIELDS)
        and not calendars_differ
    )
    if same:
        if changed.is_empty():
            return []
        start = max(start, changed.select(pl.col("valid_from").min()).item())
        if changed["valid_to"].null_count() == 0:
            end = min(end, changed.select(pl.col("valid_to").max()).item())
        if start >= end:
            return []
    terms = there[-1].terms
    used = frozenset[str]().union(
        *(trunks.get((a.terms.partner, account), frozenset())
          for a in there for account in a.terms.accounts)
    )  # fmt: skip
    return [Affected(terms.partner, terms.leg, terms.service, used, start, end)]


def _remapped(before: Reference, after: Reference) -> list[Affected]:
    """Trunks that belong to somebody else than before, or in another time."""
    everything = [a for reference in (before, after) for a in reference.agreements]
    found = []
    start = min((a.start for a in everything), default=None)
    end = max((a.end for a in everything), default=None)
    if start is None or end is None:
        return []
    for name in sorted({*before.partners, *after.partners}):
        old, new = before.partners.get(name), after.partners.get(name)
        if old and new and (old.accounts, old.zone) == (new.accounts, new.zone):
            continue
        trunks = frozenset(
            trunk.trunk
            for partner in (old, new)
            if partner
            for account in partner.accounts
            for trunk in account.trunks
        )
        found += [Affected(name, leg, None, trunks, start, end) for leg in Leg]
    own = frozenset(before.carrier.own_trunks) ^ frozenset(after.carrier.own_trunks)
    if own:
        found += [Affected("", leg, None, own, start, end) for leg in Leg]
    return found
