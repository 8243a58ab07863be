"""How the pricing of a leg can end: with a price, for nothing, or with a reason to wait."""

import polars as pl

from billing_assets.rating.labels import INDEX, PRICINGS
from billing_assets.rating.plan import (
    BILL_AND_KEEP,
    BLOCKED,
    NO_AGREEMENT,
    NO_RATE,
    NO_ROW,
    NO_TERMS,
    OPEN,
    OUTSIDE,
)

REASONS = (
    "UNKNOWN_TRUNK",
    "NO_AGREEMENT",
    "TOO_LATE",
    "INVALID_NUMBER",
    "NO_RATE",
    "BLOCKED_CODE",
    "OUT_OF_RANGE",
)
"""Why a leg cannot be priced, in the order in which it is found out."""

BY_PARTS = "BY_PARTS"
"""In the place of a reason: the leg has more than one price."""

REASON = pl.Enum([*REASONS, BY_PARTS])

PRICED = 0
"""In the place of a reason's number: the leg has a price."""


def place(reason: str) -> int:
    """The number of a reason, or of `BY_PARTS`: words are made of them last of all."""
    return [*REASONS, BY_PARTS].index(reason) + 1


def case() -> pl.Expr:
    """Four times the kind of a leg's offer, and two for one that is charged (UInt8)."""
    return pl.col("_status") * 4 + pl.col("_charged").cast(pl.UInt8) * 2


def reasons() -> pl.Series:
    """Why a leg has no price, by twice its `case` with one for a number that no code can match,
    and one for an amount or a call beyond all bounds; an uncharged leg needs no rate, only its
    agreement."""
    by_kind = {
        NO_RATE: ("", "", "NO_RATE", "INVALID_NUMBER"),
        OPEN: ("", "", "", "INVALID_NUMBER"),
        BLOCKED: ("", "", "BLOCKED_CODE", "INVALID_NUMBER"),
        BILL_AND_KEEP: ("", "", "", "INVALID_NUMBER"),
        NO_TERMS + NO_ROW: ("UNKNOWN_TRUNK",) * 4,
        NO_TERMS + NO_AGREEMENT: ("NO_AGREEMENT",) * 4,
        NO_TERMS + OUTSIDE: ("OUT_OF_RANGE",) * 4,
    }
    words = [(word, word or "OUT_OF_RANGE") for kind in sorted(by_kind) for word in by_kind[kind]]
    places = [place(word) if word else PRICED for pair in words for word in pair]
    return pl.Series(places, dtype=INDEX)


def pricings(priced: int) -> pl.Series:
    """How a leg was priced, by its `case` with one for an amount; `priced` is what charged legs
    are."""
    kept, nothing = PRICINGS.index("bill_and_keep"), PRICINGS.index("not_chargeable")
    places = [
        kept if charged and kind == BILL_AND_KEEP else priced if charged or amount else nothing
        for kind in range(NO_TERMS + OUTSIDE + 1)
        for charged in (False, True)
        for amount in (False, True)
    ]
    return pl.Series(places, dtype=INDEX)
