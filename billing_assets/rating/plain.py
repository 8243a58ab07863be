"""The same rules once more, for reading: one record at a time, in exact fractions.

Written from the agreement's forms, without the plan: it explains a price step by step, and the
tests hold the kernel equal to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.core.ids import event_code
from billing_assets.core.money import (
    E10,
    Rounding,
    from_e10,
    minor_units,
    round_amount,
    to_e10,
)
from billing_assets.rating.bounds import MAX_DIGITS, MAX_E10, MAX_QUANTITY, MAX_SECONDS
from billing_assets.rating.plan import DAYS_AFTER, DAYS_BEFORE
from billing_assets.rating.terms import units_per_price
from billing_assets.reference.bands import day_segments
from billing_assets.reference.load import InForce, Reference
from billing_assets.reference.models import Agreement, Calendar, Leg, Service
from billing_assets.reference.trunks import trunk_validity

Record = Mapping[str, object]
"""One row of `xdr` as a mapping; times are aware datetimes in UTC."""


@dataclass
class PlainLeg:
    """One leg as the plain rules price it, with every step in words.

    `reason` is set, and the amount None, when the leg cannot be priced.
    """

    leg: Leg
    partner: str = ""
    account: str = ""
    agreement: str = ""
    currency: str = ""
    event_time: datetime | None = None
    local_day: date | None = None
    band: str = ""
    origin: str = ""
    code: int | None = None
    destination: str | None = None
    rate_id: int | None = None
    quantity: int | None = None
    billed_units: int | None = None
    rate: Decimal | None = None
    fees: Decimal | None = None
    amount: Decimal | None = None
    pricing: str = ""
    reason: str | None = None
    steps: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a step to the explanation."""
        self.steps.append(text)


class _Unpriced(Exception):
    """Ends the pricing of a leg with its reason."""


@dataclass(frozen=True)
class _Price:
    """A deck row as plain values: prices of one unit, fees of one call, steps in units."""

    rate_id: int
    code: int
    destination: str
    band: str
    origin: str
    valid_from: datetime
    valid_to: datetime | None
    status: str
    per_unit: Decimal
    first_block: Decimal
    first: int
    following: int
    setup_fee: Decimal
    minimum: Decimal
    cap: Decimal | None
    place: str

    @property
    def free(self) -> bool:
        """Whether it is priced zero on purpose."""
        return self.status == "bill_and_keep"

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at an instant."""
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


@dataclass
class _Case:
    """A leg on its way to a price: what was found out about it so far.

    `added_unit` and `added_call` are the surcharges by origin and called code; `horizon` is the
    first instant whose prices the rating of the record's day does not know.
    """

    leg: PlainLeg
    agreement: InForce
    number: str | None
    quantity: int
    charged: bool
    price: _Price | None
    added_unit: Decimal
    added_call: Decimal
    horizon: datetime

    @property
    def terms(self) -> Agreement:
        """The agreement's terms."""
        return self.agreement.terms

    def unit_price(self, price: _Price) -> Decimal:
        """A price of a unit with its surcharges."""
        return price.per_unit + self.added_unit


@dataclass(frozen=True)
class _Cost:
    """What a leg's units cost before fees, exactly; whether one price held for all of them, and
    whether they are free on purpose."""

    exact: Fraction
    single: bool
    free: bool


class PlainRater:
    """Prices single records by the reference data of one version."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._decks: dict[str, dict[int, list[_Price]]] = {}
        self._bands: dict[tuple[str, date], list[tuple[int, int, str | None]]] = {}

    def price(self, record: Record) -> list[PlainLeg]:
        """Both legs of a record: customer first; a side without a foreign trunk has none."""
        legs = []
        for leg, side in ((Leg.CUSTOMER, "in_trunk"), (Leg.SUPPLIER, "out_trunk")):
            trunk = record[side]
            if trunk is None or self._is_own(str(trunk)):
                continue
            priced = PlainLeg(leg)
            try:
                self._price_leg(priced, record, str(trunk))
            except _Unpriced as stop:
                priced.reason = str(stop)
                priced.amount = None
                priced.say(f"not priced: {stop}; the leg waits in suspense")
            legs.append(priced)
        return legs

    def _is_own(self, trunk: str) -> bool:
        mapped = any(
            trunk == one.trunk
            for partner in self.reference.partners.values()
            for account in partner.accounts
            for one in account.trunks
        )
        return trunk in self.reference.carrier.own_trunks and not mapped

    def _price_leg(self, leg: PlainLeg, record: Record, trunk: str) -> None:
        if not self._mappings(trunk, leg.leg):
            raise _Unpriced("UNKNOWN_TRUNK")
        at = self._event_time(leg.leg, record, trunk)
        start, horizon = _reach(record)
        if not start <= at < horizon:
            raise _Unpriced("OUT_OF_RANGE")
        agreement = self._agreement(leg, record, trunk, at)
        terms = agreement.terms
        zone = ZoneInfo(terms.zone)
        local = at.astimezone(zone)
        leg.event_time, leg.local_day = at, local.date()
        leg.agreement, leg.currency = terms.key, terms.currency
        leg.say(f"agreement {terms.key} ({terms.leg} leg), {terms.event_time} at {local}")
        if terms.refuse_after_days is not None and record["arrived_time"] is not None:
            late = _moment(record, "arrived_time") - at
            if late > timedelta(days=terms.refuse_after_days):
                leg.say(f"it arrived {late} after, {terms.refuse_after_days} days are allowed")
                raise _Unpriced("TOO_LATE")
        quantity, charged = self._quantity(leg, terms, record)
        leg.quantity = quantity
        number = self._number(terms, record)
        leg.origin = self._origin(leg, terms, record, number)
        leg.band = self._band(terms, at)
        if leg.band:
            leg.say(f"band {leg.band} by {terms.zone} time")
        per_unit, per_call = _surcharges(terms, leg.origin, number)
        price = self._price_of(agreement, number, at, leg.band, leg.origin)
        case = _Case(leg, agreement, number, quantity, charged, price, per_unit, per_call, horizon)
        self._apply(case)

    # who and when

    def _mappings(self, trunk: str, leg: Leg) -> list[tuple[str, str, datetime, datetime]]:
        """Partner, account, start and end of a trunk's mappings on the side of a leg."""
        side = "in" if leg is Leg.CUSTOMER else "out"
        return [
            (partner.partner, account.account, *trunk_validity(one, partner.zone))
            for partner in self.reference.partners.values()
            for account in partner.accounts
            for one in account.trunks
            if one.trunk == trunk and one.direction in (side, "both")
        ]

    def _candidates(self, partner: str, account: str, leg: Leg, service: object) -> list[InForce]:
        """Agreement versions for the service of an account, in force or not."""
        return [
            agreement
            for agreement in self.reference.agreements_of(partner)
            if agreement.terms.leg is leg
            and agreement.terms.service == service
            and account in agreement.terms.accounts
            and not agreement.terms.parts
        ]

    def _in_force(
        self, leg: Leg, record: Record, trunk: str, at: datetime
    ) -> tuple[str, str, InForce | None] | None:
        """Partner, account and agreement of a trunk at an instant; None without an account."""
        for partner, account, start, end in self._mappings(trunk, leg):
            if start <= at < end:
                candidates = self._candidates(partner, account, leg, record["service"])
                held = [a for a in candidates if a.start <= at < a.end]
                return partner, account, held[0] if held else None
        return None

    def _event_time(self, leg: Leg, record: Record, trunk: str) -> datetime:
        """The stamp of the agreement in force at setup; if none is, of that at answer or end.

        Where none is in force at any of them, the stamp that all agreements of the trunk share.
        """
        for stamp in ("setup", "answer", "end"):
            found = self._in_force(leg, record, trunk, _stamp(record, stamp))
            if found and found[2]:
                return _stamp(record, found[2].terms.event_time)
        shared = {
            agreement.terms.event_time
            for partner, account, _, _ in self._mappings(trunk, leg)
            for agreement in self._candidates(partner, account, leg, record["service"])
        }
        return _stamp(record, shared.pop() if len(shared) == 1 else "answer")

    def _agreement(self, leg: PlainLeg, record: Record, trunk: str, at: datetime) -> InForce:
        """Trunk to account to agreement at the event."""
        found = self._in_force(leg.leg, record, trunk, at)
        if found is None:
            raise _Unpriced("UNKNOWN_TRUNK")
        leg.partner, leg.account, agreement = found
        leg.say(f"trunk {trunk} belongs to {leg.partner}, account {leg.account}")
        if agreement is None:
            raise _Unpriced("NO_AGREEMENT")
        return agreement

    def _band(self, terms: Agreement, at: datetime) -> str:
        if terms.bands is None:
            return ""
        local = at.astimezone(ZoneInfo(terms.zone))
        second = local.hour * 3600 + local.minute * 60 + local.second
        if (terms.key, local.date()) not in self._bands:
            calendar = self.reference.calendars.get(terms.bands.calendar or "", Calendar())
            self._bands[terms.key, local.date()] = day_segments(terms.bands, local.date(), calendar)
        held = self._bands[terms.key, local.date()]
        return next(band for start, end, band in held if start <= second < end) or ""

    # how much

    def _quantity(self, leg: PlainLeg, terms: Agreement, record: Record) -> tuple[int, bool]:
        """The measured quantity, and whether more than the attempt is charged."""
        raw = record["quantity"]
        if terms.service is Service.VOICE:
            seconds = self._seconds(leg, terms, record)
            charged = bool(record["answered"]) and (seconds > 0 or terms.charge_zero_duration)
            return seconds, charged
        quantity = (
            1
            if terms.priced_unit == "message"
            else int(str(raw))
            if raw is not None
            else 0
            if terms.service is Service.DATA
            else 1
        )
        charged = quantity > 0
        if terms.service is Service.SMS and terms.charge_on == "delivery":
            charged = charged and record["status"] in terms.delivered
            leg.say(f"state {record['status']}: {'delivered' if charged else 'not charged'}")
        return quantity, charged

    def _seconds(self, leg: PlainLeg, terms: Agreement, record: Record) -> int:
        rule = terms.duration
        answered = bool(record["answered"])
        milliseconds = int(str(record["duration_ms"]))
        if rule.start == "setup" and answered:
            span = _moment(record, "end_time") - _moment(record, "setup_time")
            milliseconds = span // timedelta(milliseconds=1)
        exact = Fraction(milliseconds, 1000)
        if rule.rounding == "up":
            seconds = -(-exact.numerator // exact.denominator)
        elif rule.rounding == "half_up":
            seconds = int(round_amount(exact, 0, Rounding.HALF_UP))
        elif rule.rounding == "floor":
            seconds = exact.numerator // exact.denominator
        elif answered:
            begin = _moment(record, "setup_time" if rule.start == "setup" else "answer_time")
            seconds = int(_moment(record, "end_time").timestamp() // 1) - int(
                begin.timestamp() // 1
            )
        else:
            seconds = 0
        leg.say(f"{milliseconds} ms are {seconds} s ({rule.rounding})")
        if terms.grace:
            if terms.grace.mode == "deduction":
                seconds = max(0, seconds - terms.grace.seconds)
            elif seconds <= terms.grace.seconds:
                seconds = 0
            leg.say(f"grace of {terms.grace.seconds} s ({terms.grace.mode}): {seconds} s")
        if 0 < seconds < terms.minimum_duration:
            seconds = terms.minimum_duration
            leg.say(f"minimum duration: {seconds} s")
        return seconds

    # which price

    def _number(self, terms: Agreement, record: Record) -> str | None:
        if terms.match == "event_type":
            name = record["event_type"]
            return str(event_code(str(name))) if name is not None else None
        value = record["b_number"]
        if terms.match == "routing_number" and record["routing_number"] is not None:
            value = record["routing_number"]
        elif terms.match == "serving_network":
            value = record["serving_network"]
        if value is None or not 0 < _int(value) < 10**MAX_DIGITS:
            return None
        return str(value)

    def _origin(self, leg: PlainLeg, terms: Agreement, record: Record, number: str | None) -> str:
        caller = None if record["a_number"] is None else str(record["a_number"])
        if terms.jurisdiction:
            valid = None if record["a_kind"] == "invalid" else caller
            ours, theirs = (_state(terms, digits) for digits in (valid, number))
            word = (
                "INDETERMINATE"
                if ours is None or theirs is None
                else "INTRA"
                if ours == theirs
                else "INTER"
            )
            leg.say(f"caller in {ours or 'no known state'}, called in {theirs or 'none'}: {word}")
            return word
        if not terms.origins:
            return ""
        kinds = {kind: one.origin for one in terms.origins.classes for kind in one.kinds}
        kind = str(record["a_kind"])
        word = terms.origins.otherwise
        if kind != "number":
            word = kinds.get(kind, word)
        else:
            codes = {code: one.origin for one in terms.origins.classes for code in one.codes}
            assigned = dict.fromkeys(COUNTRY_CODES, word)
            matched = _longest(caller or "", {**assigned, **codes})
            word = kinds.get("invalid", word) if matched is None else {**assigned, **codes}[matched]
        leg.say(f"calling number ({kind}) is of origin {word}")
        return word

    def _price_of(
        self, agreement: InForce, number: str | None, at: datetime, band: str, origin: str
    ) -> _Price | None:
        """The row of the longest code that holds at an instant; the most specific one of it."""
        by_code = self._deck(agreement)
        for length in range(len(number or ""), 0, -1):
            rows = by_code.get(int((number or "")[:length]), [])
            valid = [row for row in rows if row.holds(at)]
            if valid:
                fitting = [r for r in valid if r.band in ("", band) and r.origin in ("", origin)]
                fitting.sort(key=lambda row: (row.origin == "", row.band == ""))
                return fitting[0] if fitting else None
        return None

    def _deck(self, agreement: InForce) -> dict[int, list[_Price]]:
        """The agreement's deck rows by code."""
        key = agreement.terms.key
        if key not in self._decks:
            self._decks[key] = {}
            for row in agreement.deck.rows.iter_rows(named=True):
                self._decks[key].setdefault(row["code"], []).append(_price(row))
        return self._decks[key]

    # money

    def _apply(self, case: _Case) -> None:
        """Price a leg whose agreement, quantity and row are known."""
        leg, terms, price = case.leg, case.terms, case.price
        self._refuse_unpriced(case)
        known = price if price and price.status != "blocked" else None
        if known:
            leg.code, leg.destination, leg.rate_id = known.code, known.destination, known.rate_id
            leg.say(f"longest code {known.code}, {known.destination} ({known.place})")
        leg.billed_units = 0
        if case.charged and price:
            leg.billed_units = _billed(case.quantity, price.first, price.following)
            steps = f"{price.first}/{price.following}"
            leg.say(f"{case.quantity} units in steps {steps}: {leg.billed_units} billed")
            if _too_dear(case, price):
                raise _Unpriced("OUT_OF_RANGE")
        cost = self._cost(case)
        leg.fees = self._fees(case, cost)
        if known and cost.single:
            leg.rate = Decimal(0) if known.free else case.unit_price(known)
        exact = self._bounded(case, cost, Fraction(leg.fees) + cost.exact)
        rounding = terms.rounding.record
        decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
        leg.amount = round_amount(exact, decimals, rounding.method)
        if leg.amount != exact:
            leg.say(f"rounded {rounding.method} to {decimals} decimals")
        if terms.reverse:
            leg.say("reverse billing turns the sign")
            leg.amount, leg.fees = -leg.amount, -leg.fees
        leg.pricing = _pricing(case, cost)
        leg.say(f"amount {leg.amount} {terms.currency} ({leg.pricing})")

    def _refuse_unpriced(self, case: _Case) -> None:
        """A charged leg needs a price; an uncharged one only its agreement."""
        if case.charged and case.number is None:
            raise _Unpriced("INVALID_NUMBER")
        if case.charged and case.price is None:
            raise _Unpriced("NO_RATE")
        if case.charged and case.price and case.price.status == "blocked":
            case.leg.code = case.price.code
            raise _Unpriced("BLOCKED_CODE")
        most = MAX_SECONDS if case.terms.service is Service.VOICE else MAX_QUANTITY
        if case.quantity > most:
            raise _Unpriced("OUT_OF_RANGE")

    def _cost(self, case: _Case) -> _Cost:
        """Cost of the billed units, each increment at its price."""
        leg, price, units = case.leg, case.price, case.leg.billed_units or 0
        if not units or price is None:
            return _Cost(Fraction(0), single=True, free=bool(price and price.free))
        per = units_per_price(case.terms)
        first, following = price.first, price.following
        cost, done, free = Fraction(0), 0, True
        parts: list[tuple[int, Decimal, int]] = []
        while done < units:
            size = first if done == 0 else following
            if case.terms.crossing == "split":
                price = self._held_at(case, price, done)
            elif done:
                size = units - done
            unit = case.unit_price(price)
            if done == 0:
                unit += price.first_block - price.per_unit
            free = free and price.free
            if not price.free:
                cost += Fraction(size, per) * Fraction(unit)
            if cost * E10 > MAX_E10:
                raise _Unpriced("OUT_OF_RANGE")
            if parts and parts[-1][0] == price.rate_id:
                size += parts.pop()[2]
            parts.append((price.rate_id, unit, size))
            done = sum(part[2] for part in parts)
        for _, unit, size in parts:
            leg.say(f"{size} units at {unit} for {per}")
        return _Cost(cost, single=len({rate_id for rate_id, _, _ in parts}) == 1, free=free)

    def _held_at(self, case: _Case, price: _Price, done: int) -> _Price:
        """The price that holds when an increment begins; past the agreement's end, the last."""
        assert case.leg.event_time is not None
        at = case.leg.event_time + timedelta(seconds=done)
        if case.horizon <= at and case.horizon < case.agreement.end:
            raise _Unpriced("OUT_OF_RANGE")
        if at >= case.agreement.end:
            return price
        band = self._band(case.terms, at)
        held = self._price_of(case.agreement, case.number, at, band, case.leg.origin)
        if held is None:
            raise _Unpriced("NO_RATE")
        if held.status == "blocked":
            case.leg.code = held.code
            raise _Unpriced("BLOCKED_CODE")
        return held

    def _fees(self, case: _Case, cost: _Cost) -> Decimal:
        """The attempt fee of every record, and what a charged one costs once."""
        fees = case.terms.attempt_fee
        if case.charged and case.price and not cost.free:
            fees += case.price.setup_fee + case.added_call
        if fees:
            case.leg.say(f"fees {fees.normalize():f}")
        return fees

    def _bounded(self, case: _Case, cost: _Cost, exact: Fraction) -> Fraction:
        """Minimum charge and cap, on the amount with its fees."""
        bounds = case.price or case.terms
        low, high = bounds.minimum, bounds.cap
        if case.charged and not cost.free and exact < low:
            case.leg.say(f"minimum charge {low.normalize():f}")
            exact = Fraction(low)
        if case.charged and high is not None and exact > high:
            case.leg.say(f"capped at {high.normalize():f}")
            exact = Fraction(high)
        return exact


def _price(row: Mapping[str, object]) -> _Price:
    """A row of table `rate` as plain values."""

    def units(name: str, otherwise: int = 0) -> int:
        return otherwise if row[name] is None else int(str(row[name]))

    valid_from, valid_to = row["valid_from"], row["valid_to"]
    assert isinstance(valid_from, datetime)
    return _Price(
        rate_id=units("rate_id"),
        code=units("code"),
        destination=str(row["destination"]),
        band=str(row["band"]),
        origin=str(row["origin"]),
        valid_from=valid_from,
        valid_to=valid_to if isinstance(valid_to, datetime) else None,
        status=str(row["status"]),
        per_unit=from_e10(units("price_e10")),
        first_block=from_e10(units("first_price_e10", units("price_e10"))),
        first=units("first_units"),
        following=units("next_units"),
        setup_fee=from_e10(units("setup_fee_e10")),
        minimum=from_e10(units("minimum_e10")),
        cap=None if row["cap_e10"] is None else from_e10(units("cap_e10")),
        place=f"{row['sheet']}:{row['row']}",
    )


def _surcharges(terms: Agreement, origin: str, number: str | None) -> tuple[Decimal, Decimal]:
    """What the caller's origin and the called code add to a unit and to a call."""
    classes = terms.origins.classes if terms.origins else ()
    named = [one for one in classes if one.origin == origin]
    per_unit = sum((one.surcharge for one in named), Decimal(0))
    per_call = sum((one.surcharge_per_call for one in named), Decimal(0))
    by_code = {code: one for one in terms.surcharges for code in one.codes}
    matched = _longest(number or "", by_code)
    if matched is not None:
        per_unit += by_code[matched].per_unit
        per_call += by_code[matched].per_call
    return per_unit, per_call


def _too_dear(case: _Case, price: _Price) -> bool:
    """Whether the units cost more than the lake can hold."""
    dearest = max(price.per_unit, price.first_block) + case.added_unit
    whole_units = (case.leg.billed_units or 0) // units_per_price(case.terms)
    return whole_units + 1 > MAX_E10 // max(1, to_e10(dearest))


def _pricing(case: _Case, cost: _Cost) -> str:
    if case.charged and cost.free:
        return "bill_and_keep"
    if not case.charged and not case.leg.amount:
        return "not_chargeable"
    return "priced" if cost.single else "split"


def _int(value: object) -> int:
    return int(str(value))


def _moment(record: Record, name: str) -> datetime:
    value = record[name]
    assert isinstance(value, datetime)
    return value.astimezone(UTC)


def _stamp(record: Record, stamp: str) -> datetime:
    """Setup, answer or end of a record; an unanswered one has only its setup."""
    if stamp == "setup" or record["answer_time"] is None:
        return _moment(record, "setup_time")
    return _moment(record, "end_time" if stamp == "end" and record["answered"] else "answer_time")


def _reach(record: Record) -> tuple[datetime, datetime]:
    """The instants that the rating of a record's day knows prices for, half-open."""
    day = record["day"]
    assert isinstance(day, date)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return midnight - timedelta(days=DAYS_BEFORE), midnight + timedelta(days=DAYS_AFTER)


def _billed(quantity: int, first: int, following: int) -> int:
    if quantity <= first:
        return first
    return first + -(-(quantity - first) // following) * following


def _longest(number: str, codes: Mapping[str, object]) -> str | None:
    return next((number[:n] for n in range(len(number), 0, -1) if number[:n] in codes), None)


def _state(terms: Agreement, number: str | None) -> str | None:
    assert terms.jurisdiction
    states = {code: name for name, codes in terms.jurisdiction.states.items() for code in codes}
    matched = _longest(number or "", states)
    return None if matched is None else states[matched]
