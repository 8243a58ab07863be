"""The scope of a re-rating: which days, and which legs of them, may get another price."""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from billing_assets.core.errors import BillingError
from billing_assets.reference.models import Leg, Service


@dataclass(frozen=True)
class RatingScope:
    """UTC slice days from `first` to `last`, and what of them: each empty list means all.

    `agreements` are ids without a version; `codes` are digits with which the matched code begins.
    """

    first: date
    last: date
    partners: tuple[str, ...] = ()
    legs: tuple[Leg, ...] = ()
    services: tuple[Service, ...] = ()
    destinations: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    agreements: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise `BillingError` for days that run backwards and codes that are no digits."""
        if self.last < self.first:
            raise BillingError(
                f"the scope ends on {self.last}, before it begins on {self.first}",
                hint="give the earlier day first",
            )
        for code in self.codes:
            if not (code.isascii() and code.isdecimal()):
                raise BillingError(f"code {code!r} is not of digits alone")

    @property
    def days(self) -> list[date]:
        """The slice days in order."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @property
    def narrowed(self) -> bool:
        """Whether it is less than whole days."""
        return bool(
            self.partners
            or self.legs
            or self.services
            or self.destinations
            or self.codes
            or self.agreements
        )

    def matches(self) -> pl.Expr:
        """Whether a leg (columns of `rated_leg`) lies in the scope; an unpriced one by what it
        has."""
        matched = pl.lit(True)
        for column, words in (
            ("partner", self.partners),
            ("leg", [leg.value for leg in self.legs]),
            ("service", [service.value for service in self.services]),
            ("destination", self.destinations),
        ):
            if words:
                matched &= pl.col(column).cast(pl.String).is_in(list(words))
        if self.agreements:
            agreement = pl.col("agreement").cast(pl.String).str.split("@").list.first()
            matched &= agreement.is_in(list(self.agreements))
        if self.codes:
            code = pl.col("code").cast(pl.String)
            matched &= pl.any_horizontal(code.str.starts_with(one) for one in self.codes)
        return matched.fill_null(False)

    def describe(self) -> str:
        """The scope in words: `2026-03-10 to 2026-03-12, partner P04, destination Haiti`."""
        words = [f"{self.first} to {self.last}" if self.first != self.last else str(self.first)]
        for name, values in (
            ("partner", self.partners),
            ("leg", self.legs),
            ("service", self.services),
            ("destination", self.destinations),
            ("code", self.codes),
            ("agreement", self.agreements),
        ):
            if values:
                words.append(f"{name} {', '.join(values)}")
        return ", ".join(words)
