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
from billing_assets.rating.kernel import MAX_DIGITS, MAX_E10, MAX_SECONDS
from billing_assets.rating.plan import DAYS_AFTER, DAYS_BEFORE, units_per_price
from billing_assets.reference.bands import day_segments
from billing_assets.reference.load import InForce, Reference, trunk_validity
from billing_assets.reference.models import Agreement, Calendar, Leg, Service

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


class PlainRater:
    """Prices single records by the reference data of one version."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._rows: dict[str, dict[int, list[dict[str, object]]]] = {}
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
        quantity, charged = self._quantity(leg, terms, record)
        leg.quantity = quantity
        number = self._number(terms, record)
        leg.origin = self._origin(leg, terms, record, number)
        leg.band = self._band(terms, at)
        if leg.band:
            leg.say(f"band {leg.band} by {terms.zone} time")
        if charged and number is None:
            raise _Unpriced("INVALID_NUMBER")
        row = self._rate(agreement, number, at, leg.band, leg.origin)
        self._apply(leg, agreement, row, quantity, charged, number, horizon)

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
            ours, theirs = (_state(terms, digits) for digits in (caller, number))
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

    def _rate(
        self, agreement: InForce, number: str | None, at: datetime, band: str, origin: str
    ) -> dict[str, object] | None:
        """The row of the longest code that holds at an instant; the most specific one of it."""
        if agreement.terms.key not in self._rows:
            by_code: dict[int, list[dict[str, object]]] = {}
            for row in agreement.deck.rows.iter_rows(named=True):
                by_code.setdefault(row["code"], []).append(row)
            self._rows[agreement.terms.key] = by_code
        by_code = self._rows[agreement.terms.key]
        for length in range(len(number or ""), 0, -1):
            valid = [
                row for row in by_code.get(int((number or "")[:length]), []) if _holds(row, at)
            ]
            if not valid:
                continue
            fitting = [
                row for row in valid if row["band"] in ("", band) and row["origin"] in ("", origin)
            ]
            fitting.sort(key=lambda row: (row["origin"] == "", row["band"] == ""))
            return fitting[0] if fitting else None
        return None

    # money

    def _apply(
        self,
        leg: PlainLeg,
        agreement: InForce,
        row: dict[str, object] | None,
        quantity: int,
        charged: bool,
        number: str | None,
        horizon: datetime,
    ) -> None:
        terms = agreement.terms
        status = row["status"] if row else None
        if charged and row is None:
            raise _Unpriced("NO_RATE")
        if charged and status == "blocked":
            raise _Unpriced("BLOCKED_CODE")
        if charged and terms.service is Service.VOICE and quantity > MAX_SECONDS:
            raise _Unpriced("OUT_OF_RANGE")
        if row and status != "blocked":
            leg.code, leg.destination = _int(row["code"]), str(row["destination"])
            leg.rate_id = _int(row["rate_id"])
            leg.say(f"longest code {leg.code}, {leg.destination} ({row['sheet']}:{row['row']})")
        first, following = terms.increments.first, terms.increments.next
        if row:
            first, following = _int(row["first_units"]), _int(row["next_units"])
        leg.billed_units = _billed(quantity, first, following) if charged else 0
        if charged:
            leg.say(f"{quantity} units in steps {first}/{following}: {leg.billed_units} billed")
        free = status == "bill_and_keep"
        fees = self._fees(terms, row, leg, number, charged and not free)
        if row and self._too_dear(leg, terms, row, number):
            raise _Unpriced("OUT_OF_RANGE")
        cost, single = self._usage(leg, agreement, row, number, first, following, free, horizon)
        leg.fees = fees
        if row and status != "blocked" and single:
            leg.rate = self._unit_price(leg, terms, row, number) if not free else Decimal(0)
        exact = Fraction(fees) + cost
        exact = self._bounded(leg, terms, row, exact, charged and not free)
        rounding = terms.rounding.record
        decimals = minor_units(terms.currency) if rounding.decimals is None else rounding.decimals
        amount = round_amount(exact, decimals, rounding.method)
        if amount != exact:
            leg.say(f"rounded {rounding.method} to {decimals} decimals")
        if terms.reverse:
            leg.say("reverse billing turns the sign")
            amount, leg.fees = -amount, -fees
        leg.amount = amount
        leg.pricing = (
            "bill_and_keep"
            if charged and free
            else "not_chargeable"
            if not charged and not amount
            else "priced"
            if single
            else "split"
        )
        leg.say(f"amount {amount} {terms.currency} ({leg.pricing})")

    def _usage(
        self,
        leg: PlainLeg,
        agreement: InForce,
        row: dict[str, object] | None,
        number: str | None,
        first: int,
        following: int,
        free: bool,
        horizon: datetime,
    ) -> tuple[Fraction, bool]:
        """Cost of the billed units, each increment at its price; and whether one price held."""
        terms, units = agreement.terms, leg.billed_units or 0
        if not units or row is None:
            return Fraction(0), True
        assert leg.event_time is not None
        per = units_per_price(terms)
        cost, done, prices = Fraction(0), 0, []
        while done < units:
            size = min(first, units) if done == 0 else following
            if terms.crossing == "split":
                at = leg.event_time + timedelta(seconds=done)
                if horizon <= at and horizon < agreement.end:
                    raise _Unpriced("OUT_OF_RANGE")
                if at < agreement.end:
                    held = self._rate(agreement, number, at, self._band(terms, at), leg.origin)
                    if held is None or held["status"] == "blocked":
                        raise _Unpriced("NO_RATE")
                    row, free = held, held["status"] == "bill_and_keep"
            else:
                size = size if done == 0 else units - done
            price = self._unit_price(leg, terms, row, number)
            if done == 0 and row["first_price_e10"] is not None:
                price += from_e10(_int(row["first_price_e10"]) - _int(row["price_e10"] or 0))
            if not free:
                cost += Fraction(size, per) * Fraction(price)
            if cost * E10 > MAX_E10:
                raise _Unpriced("OUT_OF_RANGE")
            mark = row["rate_id"]
            if not prices or prices[-1][0] != mark:
                prices.append((mark, price, size))
            else:
                prices[-1] = (mark, price, prices[-1][2] + size)
            done += size
        for _, price, size in prices:
            leg.say(f"{size} units at {price} for {per}")
        return cost, len({mark for mark, _, _ in prices}) == 1

    def _unit_price(
        self, leg: PlainLeg, terms: Agreement, row: dict[str, object], number: str | None
    ) -> Decimal:
        """A row's price with the surcharges by origin and called code."""
        price = from_e10(_int(row["price_e10"] or 0))
        if terms.origins:
            price += sum(
                (c.surcharge for c in terms.origins.classes if c.origin == leg.origin), Decimal(0)
            )
        surcharge = _surcharge(terms, number)
        return price + (surcharge.per_unit if surcharge else Decimal(0))

    def _too_dear(
        self, leg: PlainLeg, terms: Agreement, row: dict[str, object], number: str | None
    ) -> bool:
        """Whether a record costs more than the lake can hold."""
        prices = [self._unit_price(leg, terms, row, number)]
        if row["first_price_e10"] is not None:
            prices.append(
                prices[0] + from_e10(_int(row["first_price_e10"]) - _int(row["price_e10"] or 0))
            )
        dearest = max(1, *(to_e10(price) for price in prices))
        whole_units = (leg.billed_units or 0) // units_per_price(terms)
        return whole_units + 1 > MAX_E10 // dearest

    def _fees(
        self,
        terms: Agreement,
        row: dict[str, object] | None,
        leg: PlainLeg,
        number: str | None,
        charged: bool,
    ) -> Decimal:
        fees = terms.attempt_fee
        if charged and row:
            fees += from_e10(_int(row["setup_fee_e10"]))
            if terms.origins:
                fees += sum(
                    (c.surcharge_per_call for c in terms.origins.classes if c.origin == leg.origin),
                    Decimal(0),
                )
            surcharge = _surcharge(terms, number)
            fees += surcharge.per_call if surcharge else Decimal(0)
        if fees:
            leg.say(f"fees {fees.normalize():f}")
        return fees

    def _bounded(
        self,
        leg: PlainLeg,
        terms: Agreement,
        row: dict[str, object] | None,
        exact: Fraction,
        charged: bool,
    ) -> Fraction:
        """Minimum charge and cap, on the amount with its fees."""
        low = Fraction(terms.minimum)
        high = None if terms.cap is None else Fraction(terms.cap)
        if row:
            low = Fraction(_int(row["minimum_e10"]), E10)
            high = None if row["cap_e10"] is None else Fraction(_int(row["cap_e10"]), E10)
        if charged and exact < low:
            leg.say(f"minimum charge {_decimal_text(low)}")
            exact = low
        if high is not None and exact > high:
            leg.say(f"capped at {_decimal_text(high)}")
            exact = high
        return exact


def _decimal_text(value: Fraction) -> str:
    """A fraction as a decimal text of at most ten places."""
    return f"{round_amount(value, 10, Rounding.HALF_UP).normalize():f}"


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


def _holds(row: Mapping[str, object], at: datetime) -> bool:
    start, end = row["valid_from"], row["valid_to"]
    assert isinstance(start, datetime)
    return start <= at and (end is None or (isinstance(end, datetime) and at < end))


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


def _surcharge(terms: Agreement, number: str | None):
    codes = {code: one for one in terms.surcharges for code in one.codes}
    matched = _longest(number or "", codes)
    return None if matched is None else codes[matched]
