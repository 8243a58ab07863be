"""Accruals at the end of a day: what is owed and not billed yet, on both sides (catalogue 3.6).

What has been billed by a day is what documents issued by then say. The rest is charged as its
cycles would charge it, the running one cut at the day's end: so the accrual of a cycle that is
over is what its documents will bill. Windows that still run add what they are expected to bring,
days without files and records without a price an estimate.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from billing_assets.charging.accumulator import counts_from
from billing_assets.charging.capacity import missing_samples
from billing_assets.charging.cycles import Cycle, ad_hoc_cycle, calendar, registered_cycle
from billing_assets.charging.expected import expected
from billing_assets.charging.line import REPLACED, Facts, line_amount
from billing_assets.charging.lines import totals
from billing_assets.charging.missing_days import (
    MissingDay,
    estimated_legs,
    missing_days,
)
from billing_assets.charging.run import claimed_charges, cycle_facts
from billing_assets.charging.unbilled import Claim, claim, unbilled_usage
from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.ids import bucket_of
from billing_assets.core.money import Rounding, from_e10, minor_units, round_amount
from billing_assets.core.periods import Period
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import ACCRUAL, CHARGE, SUSPENSE, USAGE_DAILY
from billing_assets.rating.usage import daily_usage
from billing_assets.reference.load import InForce, Reference
from billing_assets.reference.models import Agreement, Cadence, Leg, Partner
from billing_assets.registry.cycles import FINALISED
from billing_assets.registry.cycles import Cycle as RegisteredCycle
from billing_assets.registry.registry import Registry
from billing_assets.registry.schema import CycleState, DocumentKind

CHARGED, EXPECTED, ESTIMATE = "charged", "expected", "estimate"
"""What an accrued amount stands on."""

MISSING_DAY, WAITING = "missing_day", "suspense"
"""Kinds of estimates."""

_DAY = timedelta(days=1)
_AHEAD = timedelta(days=62)
_EMPTY = {"agreement": "", "service": "", "basis": ESTIMATE}
_KEYS = ["cycle", "agreement", "leg", "service", "service_month", "kind", "section", "rule"]


@dataclass(frozen=True)
class Accrual:
    """The accrual of a day: rows in the columns of table `accrual`, and what could not be told."""

    at: date
    rows: pl.DataFrame
    unknown: tuple[str, ...] = ()

    @property
    def reversed_on(self) -> date:
        """The first of the next month: when its postings are taken back."""
        return (self.at.replace(day=1) + timedelta(days=32)).replace(day=1)


class _Everything(Claim):
    """All days up to the end of a cycle, whoever bills them."""

    def bills(self, day: date) -> bool:
        return day < self.cycle.period.end


def accrue(
    at: date,
    reference: Reference,
    lake: Lake,
    registry: Registry,
    *,
    buckets: int,
    partner: str = "",
) -> Accrual:
    """The accrual of the end of a day in each partner's zone; nothing is written.

    Raises `NotFound` before any usage is rated and for an unknown partner, and `BillingError` when
    what is accrued as rated is not the usage less what was billed.
    """
    version = lake.version(USAGE_DAILY)
    if version is None:
        raise NotFound("no usage is rated yet", hint="run `icb run` or `icb demo` first")
    names = [reference.partner(partner).partner] if partner else sorted(reference.partners)
    sources = json.dumps({"reference": reference.version, "usage_daily": version}, sort_keys=True)
    missing, keys, unknown = missing_days(at, lake, registry)
    waiting, untold = _waiting(at, lake)
    unknown += untold
    frames = [pl.DataFrame(schema=ACCRUAL.schema)]
    for name in names:
        one = _Partner(at, reference.partner(name), reference, lake, registry, version, buckets)
        one.begin([gap for gap in missing if gap.partner == name], keys)
        rows = [*one.charged(), *one.uninvoiced(), *one.expected()]
        rows += one.placed([row for row in waiting if row["partner"] == name])
        unknown += one.unknown
        made = [{**row, "day": at, "partner": name, "sources": sources} for row in rows]
        frames.append(pl.DataFrame(made, schema=ACCRUAL.schema))
    return Accrual(at, pl.concat(frames).sort(ACCRUAL.order), tuple(unknown))


class _Partner:
    """The accrual of one partner."""

    def __init__(
        self,
        at: date,
        partner: Partner,
        reference: Reference,
        lake: Lake,
        registry: Registry,
        version: int,
        buckets: int,
    ) -> None:
        self.at, self.partner, self.reference, self.lake = at, partner, reference, lake
        self.registry, self.version, self.buckets = registry, version, buckets
        self.bucket = bucket_of(partner.partner, buckets)
        self.terms = {a.terms.key: a.terms for a in reference.agreements_of(partner.partner)}
        self.unknown: list[str] = []
        self.missing: Sequence[MissingDay] = ()
        self.legs: pl.LazyFrame | None = None
        self.usage = pl.DataFrame(schema=USAGE_DAILY.schema)
        self.known = [
            one if billed_by(registry, one, at) else replace(one, state=CycleState.OPEN)
            for one in registry.cycles.list(partner=partner.partner)
        ]

    def begin(self, missing: Sequence[MissingDay], keys: Mapping[str, Collection[int]]) -> None:
        """Find what is not billed, and take missing days to be like their usual ones."""
        terms = self.reference.agreements_of(self.partner.partner)
        self.missing = missing
        self.legs = estimated_legs(self.lake, missing, keys, terms, self.bucket)
        if self.legs is not None:
            self.usage = daily_usage(self.legs).filter(pl.col("local_day") <= self.at)
        self.unbilled = self._unbilled()
        self.due = self._due()
        names = {one.id for one in self.known}
        self.all = [*self.known, *(one for one in self.due if one.id not in names)]

    def charged(self) -> list[dict[str, Any]]:
        """What the cycles that are not billed would bill, those that run on cut at the day; and
        what the missing days would add."""
        rows = self._rows(self._charges(estimated=False))
        self._assert_whole(rows)
        if self.legs is None:
            return rows
        more = self._rows(self._charges(estimated=True))
        names = ["cycle", "agreement", "leg", "service", "service_month", "currency"]
        sums: dict[tuple[str, ...], tuple[Decimal, Decimal, int]] = {}
        for sign, one in [*((-1, row) for row in rows), *((1, row) for row in more)]:
            key = tuple(one[name] for name in names)
            exact, amount, records = sums.get(key, (Decimal(0), Decimal(0), 0))
            sums[key] = (
                exact + sign * one["exact_amount"],
                amount + sign * one["amount"],
                records + sign * one["records"],
            )
        return rows + [
            {
                **dict(zip(names, key, strict=True)),
                **self._gaps(key[1].partition("@")[0], key[4]),
                "kind": MISSING_DAY,
                "section": "usage",
                "records": records,
                "exact_amount": exact,
                "amount": amount,
                "basis": ESTIMATE,
            }
            for key, (exact, amount, records) in sorted(sums.items())
            if exact or amount
        ]

    def _gaps(self, agreement: str, month: str) -> dict[str, object]:
        """Which missing days an estimate is of: those of its agreement and month, else all."""
        own = [
            o for o in self.missing if o.agreement == agreement and f"{o.day:%Y-%m}" == month
        ] or list(self.missing)
        return {
            "rule": " ".join(sorted({one.source for one in own})),
            "first_day": min(one.day for one in own),
            "last_day": max(one.day for one in own),
            "steps": json.dumps([one.words for one in own]),
        }

    def _charges(self, *, estimated: bool) -> pl.DataFrame:
        """The charges of all cycles that are not billed."""
        frames = [pl.DataFrame(schema=CHARGE.schema)]
        for one in self.due:
            facts, claimed = self._facts(registered_cycle(one), estimated=estimated)
            charges = claimed_charges(
                facts, claimed, self.reference, self.lake, buckets=self.buckets
            )
            if not estimated:
                self.unknown += [f"{one.id}: {said}" for said in missing_samples(charges)]
            frames.append(charges)
        return pl.concat(frames)

    def uninvoiced(self) -> list[dict[str, Any]]:
        """What final cycles owe the partner, who has not billed it to us.

        A cycle whose documents we issue ourselves has none; a settled one neither.
        """
        waiting = [
            one.id
            for one in self.known
            if one.state in (CycleState.FINAL, CycleState.DELIVERED)
            and not any(
                d.kind is DocumentKind.SELF_BILLED for d in self.registry.documents.of_cycle(one.id)
            )
        ]
        if not waiting:
            return []
        charges = (
            self.lake.scan(CHARGE, part={"cycle": waiting})
            .filter(pl.col("leg") == Leg.SUPPLIER.value, pl.col("partner") == self.partner.partner)
            .collect()
        )
        rows = self._rows(charges)
        said = json.dumps(["charged by a final cycle; the partner's invoice is not there"])
        return [{**row, "steps": said} for row in rows]

    def expected(self) -> list[dict[str, object]]:
        """What windows that run on are expected to bring."""
        holder = next((one for one in self.due if one.period.end > self.at), None)
        cycle = registered_cycle(holder) if holder else ad_hoc_cycle(self.partner, self.at, self.at)
        facts, _ = self._facts(cycle, estimated=True)
        rows: list[dict[str, object]] = []
        for one in expected(facts, self.at):
            terms = one.agreement.terms
            amount, _ = line_amount(terms, one.exact)
            rows.append(
                {
                    **_words(terms),
                    "cycle": cycle.cycle,
                    "service_month": self.at.isoformat()[:7],
                    "kind": one.kind,
                    "section": one.section,
                    "rule": one.rule,
                    "first_day": one.first,
                    "last_day": one.last,
                    "records": 0,
                    "exact_amount": one.exact,
                    "amount": amount,
                    "basis": EXPECTED,
                    "steps": json.dumps([one.title, *one.steps], ensure_ascii=False),
                }
            )
        return rows

    def placed(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
        """Rows with the cycle that will bill their first day."""
        found: list[dict[str, object]] = []
        for row in rows:
            day = row["first_day"]
            holding = [one for one in self.due if one.period.start <= day < one.period.end]
            cycle = next(iter(holding or self.due), None)
            found.append({**row, "cycle": cycle.id if cycle else ""})
        return found

    def _unbilled(self) -> pl.DataFrame:
        """Rows of `usage_daily` up to the day that no issued document has billed."""
        end = self.at + _DAY
        mine = (pl.col("partner") == self.partner.partner) & (pl.col("local_day") < end)

        def usage(version: int) -> pl.DataFrame:
            part = {"bucket": self.bucket}
            return self.lake.scan(USAGE_DAILY, version, part).filter(mine).collect()

        final = tuple(one for one in self.known if one.state in FINALISED)
        everything = _Everything(ad_hoc_cycle(self.partner, self.at, self.at), True, (), final)
        then = {one: usage(one) for one in sorted(everything.versions)}
        return unbilled_usage(everything, usage(self.version), then)

    def _shared_days(self) -> list[date]:
        """Days of usage of other partners in whose shares this one has a part."""
        named = {part.agreement for terms in self.terms.values() for part in terms.parts}
        if not named:
            return []
        of_sources = pl.col("agreement").str.split("@").list.first().is_in(sorted(named))
        rows = self.lake.scan(USAGE_DAILY, self.version).filter(
            of_sources, pl.col("local_day") <= self.at
        )
        return rows.select("local_day").unique().collect()["local_day"].sort().to_list()

    def _due(self) -> list[RegisteredCycle]:
        """The cycles that have not been billed by the day, registered or not, in order."""
        waiting = [
            one for one in self.known if one.state not in FINALISED and one.period.start <= self.at
        ]
        final = [one.period for one in self.known if one.state in FINALISED]
        # what is older than all cycles known comes late to the first that is not billed
        begun = min((min(one.period.start, self.at) for one in self.known), default=date.min)
        after = max((one.end for one in final if one.end <= self.at), default=self.at)
        days = [*self.unbilled["local_day"], *self.usage["local_day"], *self._shared_days()]
        first = max(begun, min([after, self.at, *days]))
        names = {one.id for one in self.known}
        if self.partner.cadence is not Cadence.AD_HOC:
            cycles = calendar(self.partner, first, self.at + _AHEAD)
        else:
            # what no open cycle holds
            held = [one.period for one in waiting]
            free = [day for day in days if not any(p.start <= day < p.end for p in held)]
            cycles = [ad_hoc_cycle(self.partner, min(free), self.at)] if free else []
        added = [
            _as_registered(one)
            for one in cycles
            if one.cycle not in names and one.period.start <= self.at
        ]
        return sorted([*waiting, *added], key=lambda one: (one.period, one.id))

    def _facts(self, cycle: Cycle, *, estimated: bool) -> tuple[Facts, Claim]:
        """What a cycle is charged from, cut at the day's end."""
        period = cycle.period
        end = min(period.end, self.at + _DAY)
        cut = replace(cycle, period=Period(period.start, end, period.zone))
        claimed = claim(cut, self.all, has_calendar=self.partner.cadence is not Cadence.AD_HOC)
        facts = cycle_facts(claimed, self.reference, self.lake, self.version, bucket=self.bucket)
        # accrued in the agreement's currency: it is converted by the fixings of the invoice
        facts = replace(facts, agreements=[_unconverted(one) for one in facts.agreements])
        if not estimated or self.legs is None:
            return facts, claimed
        days = self.usage.filter(pl.col("local_day") < end)["local_day"].unique().to_list()
        own = pl.col("local_day").is_in([day for day in days if claimed.bills(day)])
        counted = pl.col("local_day").is_between(counts_from(facts), end, closed="left")
        more = replace(
            facts,
            usage=pl.concat([facts.usage, self.usage.filter(own)]),
            billed=pl.concat([facts.billed, self.usage.filter(counted & ~own)]),
            legs=None if facts.legs is None else pl.concat([facts.legs, self.legs]),
        )
        return more, claimed

    def _rows(self, charges: pl.DataFrame) -> list[dict[str, Any]]:
        """Charges added up; what rules replaced stands as rated, and once more against it."""
        replaced = pl.col("kind") == REPLACED
        carrying = replaced | (pl.col("kind") == "usage")
        told = self._to_date(charges).with_columns(
            pl.col("last_day").dt.strftime("%Y-%m").alias("service_month")
        )
        against = told.filter(replaced).with_columns(
            -pl.col("exact_amount", "amount", "records", "answered")
        )
        rated = told.filter(carrying).with_columns(kind=pl.lit("rated"), rule=pl.lit(""))
        return (
            pl.concat([rated, against, told.filter(~carrying)])
            .group_by(*_KEYS, "currency")
            .agg(
                pl.col("first_day").min(),
                pl.col("last_day").max(),
                pl.col("records", "exact_amount", "amount").sum(),
                pl.len().alias("lines"),
                pl.col("description", "steps").sort_by("charge_id").first(),
            )
            .with_columns(
                pl.lit(CHARGED).alias("basis"),
                pl.struct("lines", "description", "steps")
                .map_elements(_said, return_dtype=pl.String)
                .alias("steps"),
            )
            .drop("lines", "description")
            .filter((pl.col("amount") != 0) | (pl.col("exact_amount") != 0))
            .sort(*_KEYS, "currency")
            .to_dicts()
        )

    def _to_date(self, charges: pl.DataFrame) -> pl.DataFrame:
        """Charges with what belongs to days after the day left out, and replaced usage rounded as
        its lines would be."""
        rows = charges.to_dicts()
        for row in rows:
            terms = self.terms[row["agreement"]]
            days = (row["last_day"] - row["first_day"]).days + 1
            gone = (self.at - row["first_day"]).days + 1
            if row["kind"] == "recurring" and gone < days:
                exact = Fraction(row["exact_amount"]) * max(0, gone) / days
                row["exact_amount"] = round_amount(exact, 10, Rounding.HALF_UP)
                row["amount"], _ = line_amount(terms, exact)
                steps = [*json.loads(row["steps"]), f"{max(0, gone)} of {days} days so far"]
                row["steps"] = json.dumps(steps, ensure_ascii=False)
                row["last_day"] = max(self.at, row["first_day"])
            elif row["kind"] == REPLACED:
                row["amount"], _ = line_amount(terms, row["exact_amount"])
        return pl.DataFrame(rows, schema=charges.schema)

    def _assert_whole(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What is accrued as rated is all usage less what was billed, to the last unit."""
        accrued: dict[tuple[str, str], Decimal] = {}
        for row in rows:
            if row["kind"] == "rated":
                key = row["agreement"], row["currency"]
                accrued[key] = accrued.get(key, Decimal(0)) + row["exact_amount"]
        unbilled = totals(self.unbilled, "amount")
        if {k: v for k, v in accrued.items() if v} != {k: v for k, v in unbilled.items() if v}:
            raise BillingError(
                f"accrual of {self.partner.partner} at {self.at}: rated {accrued} is not the "
                f"usage less what was billed, {unbilled}",
                hint="please report this as a defect",
            )


def _unconverted(agreement: InForce) -> InForce:
    return replace(agreement, terms=agreement.terms.model_copy(update={"exchange": None}))


def _said(told: Mapping[str, Any]) -> str:
    """The derivation of a row: that of its only charge, or how many it adds up."""
    if told["lines"] > 1:
        return json.dumps([f"{told['lines']} charges added up"])
    return json.dumps([told["description"], *json.loads(told["steps"])], ensure_ascii=False)


def _words(terms: Agreement) -> dict[str, object]:
    return {
        "agreement": terms.key,
        "leg": terms.leg.value,
        "service": terms.service.value,
        "currency": terms.currency,
    }


def billed_by(registry: Registry, known: RegisteredCycle, at: date) -> bool:
    """Whether a cycle's documents were issued by a day; one without documents when it was over."""
    if known.state not in FINALISED:
        return False
    issued = [one.issue_date for one in registry.documents.of_cycle(known.id)]
    return min(issued, default=known.period.last_day) <= at


def _as_registered(cycle: Cycle) -> RegisteredCycle:
    """A cycle that nobody has opened yet, as one that is open."""
    return RegisteredCycle(
        id=cycle.cycle,
        partner=cycle.partner,
        month=cycle.month,
        period=cycle.period,
        cadence=cycle.cadence,
        state=CycleState.OPEN,
        runs=0,
        held_reason=None,
        ran_by=None,
        drafted_by=None,
        approved_by=None,
        findings=(),
        totals={},
        updated_at=datetime.min.replace(tzinfo=UTC),
        updated_by="",
    )


def _waiting(at: date, lake: Lake) -> tuple[list[dict[str, Any]], list[str]]:
    """Legs in suspense at the partner's average price; those refused for good are left out."""
    frame = (
        lake.scan(SUSPENSE)
        .filter(pl.col("day") <= at, pl.col("reason") != "TOO_LATE")
        .with_columns(pl.col("partner", "leg", "currency", "reason").cast(pl.String))
        .with_columns(pl.col("day").dt.strftime("%Y-%m").alias("service_month"))
        .group_by("partner", "leg", "currency", "reason", "service_month")
        .agg(
            pl.col("day").min().alias("first_day"),
            pl.col("day").max().alias("last_day"),
            pl.len().cast(pl.Int64).alias("records"),
            pl.col("at_risk_e10").cast(pl.Int128).sum(),
            pl.col("at_risk_e10").null_count().alias("untold"),
        )
        .sort(pl.all())
        .collect(engine="streaming")
    )
    rows: list[dict[str, Any]] = []
    untold = 0
    for one in frame.iter_rows(named=True):
        untold += one["untold"] if one["partner"] else one["records"]
        if not one["partner"] or not one["currency"] or one["records"] == one["untold"]:
            continue
        exact = from_e10(int(one["at_risk_e10"]))
        rows.append(
            {
                **_EMPTY,
                **{n: one[n] for n in ("partner", "leg", "currency", "service_month")},
                "kind": WAITING,
                "section": "usage",
                "rule": one["reason"],
                "first_day": one["first_day"],
                "last_day": one["last_day"],
                "records": one["records"],
                "exact_amount": exact,
                "amount": round_amount(exact, minor_units(one["currency"]), Rounding.HALF_UP),
                "steps": json.dumps([f"{one['records']} legs at the average price of their day"]),
            }
        )
    said = f"{untold:,} records in suspense have no partner or price to estimate by"
    return rows, [said] if untold else []
