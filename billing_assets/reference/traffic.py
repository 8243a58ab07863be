"""The form of `traffic.yaml`: the traffic marts, each named, with the dimensions that it keeps."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from billing_assets.reference.forms import Form, Identifier


class Dimension(StrEnum):
    """What traffic is added up by."""

    DAY = "day"
    HOUR = "hour"
    PARTNER = "partner"
    ACCOUNT = "account"
    AGREEMENT = "agreement"
    SERVICE = "service"
    DESTINATION = "destination"
    COUNTRY = "country"
    BAND = "band"
    ORIGIN = "origin"
    TRUNK = "trunk"
    RATE = "rate"
    DIRECTION = "direction"
    CURRENCY = "currency"


ALWAYS = (Dimension.DIRECTION, Dimension.CURRENCY)
"""Every mart keeps these: what is owed to us and by us, and two currencies, do not add up."""


class TrafficMart(Form):
    """One mart: its name, and what it adds traffic up by beside direction and currency."""

    mart: Identifier
    dimensions: Annotated[list[Dimension], Field(min_length=1)]

    @field_validator("dimensions", mode="before")
    @classmethod
    def _are_known(cls, value: object) -> object:
        for name in value if isinstance(value, list) else []:
            if name not in set(Dimension):
                raise ValueError(
                    f"there is no dimension {name!r}; known: {', '.join(map(str, Dimension))}"
                )
        return value

    @property
    def kept(self) -> tuple[Dimension, ...]:
        """All dimensions of the mart, each once, in the order of `Dimension`."""
        return tuple(one for one in Dimension if one in (*self.dimensions, *ALWAYS))


class Traffic(Form):
    """The file `traffic.yaml`; without it there are the two marts of `DEFAULT`."""

    marts: list[TrafficMart]

    @field_validator("marts")
    @classmethod
    def _have_names_of_their_own(cls, marts: list[TrafficMart]) -> list[TrafficMart]:
        names = [one.mart for one in marts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"mart {twice[0]} stands twice")
        return marts


def _mart(name: str, dimensions: Sequence[Dimension]) -> TrafficMart:
    return TrafficMart(mart=name, dimensions=list(dimensions))


_WHO = (Dimension.DAY, Dimension.PARTNER, Dimension.SERVICE)

DEFAULT = Traffic(
    marts=[
        _mart(
            "destinations",
            [
                *_WHO,
                Dimension.DESTINATION,
                Dimension.COUNTRY,
                Dimension.BAND,
                Dimension.ORIGIN,
                Dimension.RATE,
            ],
        ),
        _mart("trunks", [*_WHO, Dimension.HOUR, Dimension.TRUNK]),
    ]
)
"""What a home without `traffic.yaml` has: where traffic goes at which rate, and how it comes."""
