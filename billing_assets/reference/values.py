"""The values of reference forms: exact decimals, days, moments, zones, codes.

Each refuses what it cannot hold exactly, in words for the person who wrote the file.
"""

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from iso4217 import Currency
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from billing_assets.core.countries import COUNTRIES
from billing_assets.core.money import parse_decimal, to_e10


def _no_boolean(value: object) -> object:
    """Refuse true and false, which Python counts as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


def _no_float(value: object) -> object:
    """Take decimals from their written text only: a binary float has already lost digits."""
    if isinstance(value, bool | float):
        raise ValueError("is not a decimal; write it as text or in plain decimal notation")
    if isinstance(value, str):
        return parse_decimal(value)
    return value


def _exact(value: Decimal) -> Decimal:
    to_e10(value)
    return value


_LOCAL_ZONES = ("localtime", "Factory", "posixrules")
"""Files of a zone database that are no zones: each machine has its own."""


def _zone(value: str) -> str:
    try:
        if value in _LOCAL_ZONES or value.startswith(("right/", "posix/")):
            raise ValueError
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is not an IANA time zone") from error
    return value


def _currency(value: str) -> str:
    try:
        known = Currency(value).exponent is not None
    except ValueError:
        known = False
    if not known:
        raise ValueError("is not an ISO 4217 currency with a minor unit")
    return value


def _country(value: str) -> str:
    if value not in COUNTRIES:
        raise ValueError("is no country of ISO 3166 (Greece is GR, the United Kingdom GB)")
    return value


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.A)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?", re.A)


def parse_moment(text: str) -> date | datetime:
    """Read a date, or a time in whole seconds with or without an offset.

    Raises `ValueError` for anything else.

    >>> parse_moment("2026-03-01T12:00:00")
    datetime.datetime(2026, 3, 1, 12, 0)
    """
    stripped = text.strip()
    try:
        if _DAY.fullmatch(stripped):
            return date.fromisoformat(stripped)
        if _TIME.fullmatch(stripped):
            return datetime.fromisoformat(stripped)
    except ValueError:
        pass
    raise ValueError("is not a date (2026-03-01) or time in whole seconds (2026-03-01T12:00:00)")


def _moment(value: object) -> object:
    """Take moments from their written text: a bare number would be read as seconds since 1970."""
    if isinstance(value, date):
        return value
    return parse_moment(str(value))


def _day(value: object) -> object:
    moment = _moment(value)
    if isinstance(moment, datetime):
        raise ValueError("is not a date such as 2026-03-01")
    return moment


def digits(value: object) -> object:
    """Accept digits as text or as a whole number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def codes(value: object) -> object:
    """Accept one code or a list of them, as text or as whole numbers."""
    items = value if isinstance(value, list) else [value]
    return [digits(item) for item in items]


MAX_PRICE = 10_000_000
"""Largest price of a unit or record in any currency: below it no record's amount can overflow."""
MAX_MONEY = 10**15
"""Largest amount of a period, a cycle or a document: sums of many stay exact to ten decimals."""
MAX_QUANTITY = 10**15
"""Largest quantity of a term, in any unit."""


MAX_EXCHANGE = 10**9
"""Largest rate of exchange, in either direction: amounts of a period stay exact in both
currencies."""


def check_exchange(units_per_base: Decimal) -> Decimal:
    """Raise `ValueError` for a rate of exchange that no pair of currencies has."""
    if not 1 <= units_per_base * MAX_EXCHANGE <= MAX_EXCHANGE**2:
        raise ValueError(f"is not between 1/{MAX_EXCHANGE:,} and {MAX_EXCHANGE:,}")
    return units_per_base


def check_amount(quantity: Decimal, price: Decimal, place: str = "") -> None:
    """Raise `ValueError` when what a term states comes to more than `MAX_MONEY`."""
    if quantity * price > MAX_MONEY:
        raise ValueError(f"{place}{quantity:,f} x {price:,f} comes to more than {MAX_MONEY:,}")


WHOLE = BeforeValidator(_no_boolean)
"""Marks a whole number. It stands behind the bounds, so that a schema shows them."""

_Number = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?$")] | int | float
_MomentText = Annotated[str, StringConstraints(pattern=rf"^({_DAY.pattern}|{_TIME.pattern})$")]
_DayText = Annotated[str, StringConstraints(pattern=rf"^{_DAY.pattern}$")]

DecimalText = Annotated[
    Decimal,
    BeforeValidator(_no_float, json_schema_input_type=_Number),
    AfterValidator(_exact),
]
NoticeDays = Annotated[int, Field(ge=0, le=365), WHOLE]
Price = Annotated[DecimalText, Field(ge=0, le=MAX_PRICE)]
Money = Annotated[DecimalText, Field(ge=0, le=MAX_MONEY)]
Quantity = Annotated[DecimalText, Field(ge=0, le=MAX_QUANTITY)]
ExchangeRate = Annotated[DecimalText, AfterValidator(check_exchange)]
Moment = Annotated[date | datetime, BeforeValidator(_moment, json_schema_input_type=_MomentText)]
Day = Annotated[date, BeforeValidator(_day, json_schema_input_type=_DayText)]
Zone = Annotated[str, AfterValidator(_zone)]
CurrencyCode = Annotated[str, AfterValidator(_currency)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), AfterValidator(_country)]
Code = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,14}$")]
Codes = Annotated[
    list[Code],
    BeforeValidator(codes, json_schema_input_type=str | int | list[str | int]),
]
Trunk = Annotated[str, StringConstraints(pattern=r"^[^/\s]+/[^\s]+$")]
