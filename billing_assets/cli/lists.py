"""Arguments and small CSV lists that people hand to commands, read with errors that say where."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import polars as pl
from pydantic import TypeAdapter, ValidationError

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.core.money import Rounding, minor_units, parse_decimal, round_amount
from billing_assets.reference.values import MAX_MONEY, CurrencyCode

T = TypeVar("T")

_CODE = TypeAdapter(CurrencyCode)


def read_rows(path: Path, columns: tuple[str, ...], read: Callable[[dict[str, str]], T]) -> list[T]:
    """The rows of a CSV file with these columns, each through `read`.

    Raises `InputError` that names every row that `read` refuses with a `BillingError`, and
    `BillingError` for a file that is no such CSV.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        # what follows the first line is advice to programmers
        said = str(error).partition("\n")[0]
        hint = f"UTF-8, commas between {', '.join(columns)}, decimals with a point"
        raise BillingError(f"cannot read {path}: {said}", hint=hint) from error
    if tuple(frame.columns) != columns:
        said = f"must have the columns {', '.join(columns)}"
        problem = Problem(said, str(path), 1, "header", ",".join(frame.columns))
        raise InputError("cannot read the list", [problem])
    found: list[T] = []
    problems: list[Problem] = []
    for number, row in enumerate(frame.fill_null("").iter_rows(named=True), start=2):
        try:
            found.append(read(row))
        except BillingError as error:
            problems.append(Problem(error.message, str(path), number))
    if problems:
        raise InputError("cannot read the list", problems)
    return found


def currency_of(text: str) -> str:
    """An ISO 4217 code; raises `BillingError`."""
    try:
        return _CODE.validate_python(text)
    except ValidationError as error:
        raise BillingError(f"{text!r} is not an ISO 4217 currency with a minor unit") from error


def day_of(text: str) -> date:
    """A day as YYYY-MM-DD; raises `BillingError`."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BillingError(f"{text!r} is not a day such as 2026-03-31") from error


def decimal_of(text: str) -> Decimal:
    """An exact decimal; raises `BillingError`."""
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise BillingError(f"{text!r} is not an amount such as 12345.67") from error


def amount_of(text: str, currency: str) -> Decimal:
    """A sum of money in a currency; raises `BillingError` for one that it cannot have."""
    amount = decimal_of(text)
    if abs(amount) > MAX_MONEY:
        raise BillingError(f"{text!r} is more than {MAX_MONEY:,} {currency}")
    decimals = minor_units(currency)
    if round_amount(amount, decimals, Rounding.DOWN) != amount:
        raise BillingError(f"{text!r} has more than the {decimals} decimals of {currency}")
    return amount
