"""What usage costs under agreements: the rating plan and kernel, with nothing installed.

Each record is priced by every agreement of its service; where a record's trunks name accounts
of the agreements, by those alone. Charge lines of a cycle are made in `charging.quote`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, localcontext
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.core.ids import event_code
from billing_assets.core.money import from_e10, minor_units
from billing_assets.lake.tables import RATED_LEG
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.kernel import Kernel
from billing_assets.rating.split import priced_legs
from billing_assets.reference.models import Agreement, Leg
from billing_assets.reference.standalone import Standalone

_SIDES = {Leg.CUSTOMER: "in_trunk", Leg.SUPPLIER: "out_trunk"}

LEG_SCHEMA = pl.Schema(
    {
        "line": pl.Int64,
        "records": pl.Int64,
        "offer": pl.String,
        **RATED_LEG.schema,
        "reason": pl.String,
    }
)
"""Columns of priced usage: the usage's line, the records that it stands for, the agreement's id,
the columns of `rated_leg`, and the reason of a leg without a price."""


@dataclass(frozen=True)
class PricedUsage:
    """Legs of some usage under some agreements, in `LEG_SCHEMA`, by line and agreement.

    A record that no agreement prices has a row without leg and agreement, with its reason.
    `notes` are sentences about what was assumed.
    """

    agreements: Standalone
    legs: pl.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def priced(self) -> pl.LazyFrame:
        """The legs that have a price."""
        return self.legs.lazy().filter(pl.col("reason").is_null())


@dataclass(frozen=True)
class PriceRow:
    """One leg as an analyst reads it.

    `quantity` (measured) and `billed` (after increments) are in `counted_in`; `rate` is for one
    `rate_unit`, None when parts of a call met several. `fees` and `amount` are of one record,
    `total` of all `records` that the line stands for. `code` is an event's type where that picks
    the rate. A leg without a price has a `reason`.
    """

    line: int
    leg: str
    agreement: str
    service: str
    local_day: date | None
    records: int
    quantity: int | None
    billed: int | None
    counted_in: str
    rate: Decimal | None
    rate_unit: str
    band: str
    origin: str
    code: str
    destination: str
    fees: Decimal | None
    amount: Decimal | None
    total: Decimal | None
    currency: str
    pricing: str
    reason: str


def price_usage(agreements: Standalone, usage: pl.DataFrame) -> PricedUsage:
    """Price usage (columns of `usage_file.USAGE_SCHEMA`) under every agreement that fits it."""
    claims = _Claims(agreements, usage)
    claimed = claims.claimed.with_columns(pl.int_range(1, pl.len() + 1).alias("record_id"))
    found = [
        legs.drop("account").join(
            claimed.select("record_id", "line", "records", "offer", "account"), on="record_id"
        )
        for day in claimed.partition_by("day", maintain_order=True)
        for legs in _priced_day(agreements, day)
    ]
    found += [claims.unknown, claims.unserved(claimed)]
    legs = pl.concat([_conformed(one) for one in found])
    return PricedUsage(agreements, legs.sort("line", "leg", "offer"), tuple(claims.notes))


def price_rows(priced: PricedUsage) -> list[PriceRow]:
    """The legs of priced usage as rows for people, amounts with the agreement's decimals."""
    terms = {a.terms.key: a.terms for a in priced.agreements.reference.agreements}
    events = {
        (key, str(event_code(name))): name
        for key, one in terms.items()
        if one.match == "event_type"
        for rate in one.rates
        for name in rate.codes
    }
    zones = {one.agreement: ZoneInfo(one.zone) for one in terms.values()}
    return [
        _row(leg, terms.get(leg["agreement"] or ""), events, zones)
        for leg in priced.legs.iter_rows(named=True)
    ]


class _Claims:
    """Which agreement prices which record: `claimed` has a row for each pair, on its trunk.

    A side's trunks count once any of them names an account of the agreements; then a trunk that
    names none is unknown, and an empty one is our own side. A record is of the account that its
    trunk names, else of the agreement's only one.
    """

    def __init__(self, agreements: Standalone, usage: pl.DataFrame) -> None:
        self.usage = usage
        self.notes: list[str] = []
        offers = sorted(
            {
                (a.terms.agreement, a.terms.leg, a.terms.service)
                for a in agreements.reference.agreements
                if not a.terms.parts
            }
        )
        self.services = {service.value for _, _, service in offers}
        self.legs = {leg for _, leg, _ in offers}
        accounts = set().union(*agreements.accounts.values())
        self.heeded = {leg for leg in self.legs if self._names_any(leg, accounts)}
        if self.heeded and agreements.reference.deals:
            # a deal's other direction without any trunk had no traffic, and not all of it
            idle = {leg for leg in self.legs if usage[_SIDES[leg]].is_null().all()}
            self.heeded |= idle
        text = pl.lit(None, pl.String)
        claimed = [usage.head(0).with_columns(text.alias("offer"), text.alias("account"))]
        for offer, leg, service in offers:
            rows = usage.filter(pl.col("service") == service.value)
            listed = agreements.accounts[offer]
            account = pl.lit(next(iter(listed)) if len(listed) == 1 else offer)
            if leg not in self.heeded:
                self._note_accounts(agreements, offer)
            else:
                rows, account = rows.filter(_account(leg).is_in(listed)), _account(leg)
            trunks = {side: pl.lit(None, pl.String) for side in _SIDES.values()}
            trunks[_SIDES[leg]] = pl.lit(agreements.trunks[offer])
            claimed.append(rows.with_columns(**trunks, offer=pl.lit(offer), account=account))
        self.claimed = pl.concat(claimed)
        self.unknown = pl.concat(
            [self._unknown(leg, accounts) for leg in sorted(self.heeded)]
            or [_unpriced(usage.head(0), None, "")]
        )

    def _names_any(self, leg: Leg, accounts: Collection[str]) -> bool:
        side = _SIDES[leg]
        named = self.usage.select(_account(leg).is_in(accounts).any()).item()
        if not named and self.usage[side].is_not_null().any():
            self.notes.append(
                f"{side} names no account of the agreements: every {leg} agreement prices "
                "every record of its service"
            )
        return bool(named)

    def _note_accounts(self, agreements: Standalone, offer: str) -> None:
        """Tell that terms by account cannot hold when records name no account."""
        for one in agreements.versions(offer):
            terms = (*one.terms.volume, *one.terms.commitments, *one.terms.shares)
            by_account = [t for t in one.terms.volume if t.accumulate == "by_account"]
            named = [t for t in terms if t.accounts] + by_account
            if len(agreements.accounts[offer]) > 1 and named:
                self.notes.append(
                    f"{one.terms.key}: terms count by account, and no record names one of "
                    f"{', '.join(sorted(agreements.accounts[offer]))}"
                )

    def _unknown(self, leg: Leg, accounts: Collection[str]) -> pl.DataFrame:
        rows = self.usage.filter(
            pl.col("service").is_in(self.services), ~_account(leg).is_in(accounts)
        )
        return _unpriced(rows, leg, "UNKNOWN_TRUNK")

    def unserved(self, claimed: pl.DataFrame) -> pl.DataFrame:
        """Records that no agreement prices and whose trunks are not unknown either."""
        taken = pl.concat([claimed["line"], self.unknown["line"]])
        rows = self.usage.filter(~pl.col("line").is_in(taken.implode()))
        return _unpriced(rows, None, "NO_AGREEMENT")


def _account(leg: Leg) -> pl.Expr:
    """The account that a trunk names: 'ACCOUNT' or 'switch/ACCOUNT'."""
    return pl.col(_SIDES[leg]).str.replace(r"^[^/]*/", "")


def _unpriced(usage: pl.DataFrame, leg: Leg | None, reason: str) -> pl.DataFrame:
    """Records without an agreement as legs with a reason."""
    return usage.with_columns(
        pl.lit(leg.value if leg else None, pl.String).alias("leg"),
        pl.lit(reason).alias("reason"),
    )


def _conformed(legs: pl.DataFrame) -> pl.DataFrame:
    """Legs in the columns of `LEG_SCHEMA`; what they do not have is null."""
    missing = [name for name in LEG_SCHEMA if name not in legs.columns]
    return (
        legs.with_columns(pl.lit(None).alias(name) for name in missing)
        .select(LEG_SCHEMA.names())
        .cast(LEG_SCHEMA)
    )


def _priced_day(agreements: Standalone, records: pl.DataFrame) -> list[pl.DataFrame]:
    """Both kernels over the records of one UTC day."""
    plan = compile_plan(agreements.reference, records["day"][0], buckets=1)
    return [priced_legs(Kernel(plan, leg), records.lazy()).collect() for leg in Leg]


_COUNTED = {"minute": "second", "kb": "byte", "mb": "byte"}


def _row(
    leg: dict[str, object],
    terms: Agreement | None,
    events: Mapping[tuple[str, str], str],
    zones: Mapping[str, ZoneInfo],
) -> PriceRow:
    """A leg as a row; `events` names the event types by agreement and code, `zones` where an
    agreement is that has no version in force: its day is no other than that of the rest."""
    priced = leg["reason"] is None
    unit = terms.priced_unit if terms else ""
    amount, records = int(str(leg["amount_e10"] or 0)), int(str(leg["records"]))
    day, at, zone = leg["local_day"], leg["event_time"], zones.get(_word(leg["offer"]))
    if terms is None and zone and isinstance(at, datetime):
        day = at.astimezone(zone).date()
    code = _word(leg["code"])
    return PriceRow(
        line=int(str(leg["line"])),
        leg=_word(leg["leg"]),
        agreement=_word(leg["agreement"]) or _word(leg["offer"]),
        service=_word(leg["service"]),
        local_day=day if isinstance(day, date) else None,
        records=records,
        quantity=_integer(leg["quantity"]) if priced else None,
        billed=_integer(leg["billed_units"]) if priced else None,
        counted_in=_COUNTED.get(unit, unit),
        rate=_decimal(leg["rate_e10"], 4),
        rate_unit=unit,
        band=_word(leg["band"]),
        origin=_word(leg["origin"]),
        code=events.get((_word(leg["agreement"]), code), code),
        destination=_word(leg["destination"]),
        fees=_decimal(leg["fees_e10"], 4) if priced else None,
        amount=_decimal(amount, _decimals(terms)) if priced else None,
        total=_decimal(amount * records, _decimals(terms)) if priced else None,
        currency=_word(leg["currency"]),
        pricing=_word(leg["pricing"]) if priced else "",
        reason=_word(leg["reason"]),
    )


def _decimals(terms: Agreement | None) -> int:
    """Decimals of a record's amount."""
    if terms is None:
        return 0
    decimals = terms.rounding.record.decimals
    return minor_units(terms.currency) if decimals is None else decimals


def _decimal(units: object, least: int) -> Decimal | None:
    """10^-10 units as a decimal with as many places as it needs, at least `least`."""
    return None if units is None else at_least(from_e10(int(str(units))), least)


def at_least(value: Decimal, places: int) -> Decimal:
    """A decimal without trailing zeros past some places.

    >>> at_least(Decimal("0.0120000000"), 4)
    Decimal('0.0120')
    """
    with localcontext() as context:
        context.prec = 60
        plain = value.normalize()
        exponent = plain.as_tuple().exponent
        return plain.quantize(Decimal(1).scaleb(-places)) if int(exponent) > -places else plain


def _integer(value: object) -> int | None:
    return None if value is None else int(str(value))


def _word(value: object) -> str:
    return "" if value is None else str(value)
