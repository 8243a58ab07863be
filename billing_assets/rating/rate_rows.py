"""The rate rows of a plan and the offers that they share, collected deck after deck."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from billing_assets.core.money import to_e10
from billing_assets.rating.plan import BILL_AND_KEEP, BLOCKED, OPEN
from billing_assets.rating.terms import Terms, terms_of
from billing_assets.reference.models import Agreement, Surcharge

_KINDS = {"open": OPEN, "blocked": BLOCKED, "bill_and_keep": BILL_AND_KEEP}
_RATE_SCHEMA = pl.Schema({"rate_id": pl.Int64, "code": pl.Int64, "offer": pl.UInt32})
_OFFER_SCHEMA = pl.Schema(
    {
        "destination": pl.String,
        "price_e10": pl.Int64,
        "first_e10": pl.Int64,
        "call_e10": pl.Int64,
        "terms": pl.UInt32,
        "kind": pl.UInt8,
    }
)
_TERMS_OF_ROW = ["first_units", "next_units", "setup_fee_e10", "minimum_e10", "cap_e10"]
_OFFERED = ["destination", "price_e10", "first_price_e10", "status", *_TERMS_OF_ROW]
"""What a deck row says besides where and when it holds."""


@dataclass(frozen=True)
class DeckOffers:
    """What the rows of a deck offer: `distinct` in the columns of the deck, `offer` the place of
    each row's among them, `terms` the distinct terms of rows, and `of_terms` the place of each
    offer's among those."""

    rates: pl.DataFrame
    distinct: pl.DataFrame
    offer: np.ndarray
    terms: list[tuple[int, int, int, int, int | None]]
    of_terms: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Self:
        """Tell the offers of a deck (columns of table `rate`) apart."""
        distinct, offer = _distinct(rows, _OFFERED)
        terms, of_terms = _distinct(distinct, _TERMS_OF_ROW)
        return cls(rows.select("rate_id", "code"), distinct, offer, terms.rows(), of_terms)


@dataclass(frozen=True)
class _Block:
    """Rate rows that were added at once, with their offers, the first of which is known."""

    rates: pl.DataFrame
    offers: pl.DataFrame
    first_offer: int


class RateRows:
    """Collects rate rows; those of every block are named by the place of its first."""

    def __init__(self) -> None:
        self.terms: dict[Terms, int] = {}
        self._blocks: dict[int, _Block] = {}
        self._rates = 0
        self._offers = 0

    def add_unpriced(self, terms: Terms, kind: int) -> int:
        """Add a rate row that is no row of a deck; returns its place."""
        offer = ("", 0, 0, 0, self._place_of(terms), kind)
        return self._add(
            pl.DataFrame({"rate_id": [0], "code": [0]}),
            pl.DataFrame([offer], schema=_OFFER_SCHEMA, orient="row"),
            np.zeros(1, np.uint32),
        )

    def add_deck(self, agreement: Agreement, deck: DeckOffers, per_unit: int, per_call: int) -> int:
        """Add a deck's rows with an origin surcharge in 10^-10 units; returns the block."""
        terms = [self._place_of(terms_of(agreement, row)) for row in deck.terms]
        offers = deck.distinct.select(
            "destination",
            pl.col("price_e10").fill_null(0) + per_unit,
            pl.coalesce("first_price_e10", "price_e10").fill_null(0).alias("first_e10") + per_unit,
            pl.lit(per_call, pl.Int64).alias("call_e10"),
            pl.Series("terms", np.array(terms, np.uint32)[deck.of_terms]),
            pl.col("status").replace_strict(_KINDS, return_dtype=pl.UInt8).alias("kind"),
        )
        return self._add(deck.rates, offers, deck.offer)

    def add_surcharged(
        self, block: int, rows: np.ndarray, surcharge: np.ndarray, surcharges: Sequence[Surcharge]
    ) -> np.ndarray:
        """Add rate rows of a block with surcharges of called codes.

        `rows` are places of rate rows, `surcharge` the place of each one's surcharge. Returns
        the place of each pair.
        """
        base = self._blocks[block]
        pairs, place = np.unique(np.stack([rows, surcharge], axis=1), axis=0, return_inverse=True)
        rates = base.rates[pairs[:, 0] - block]
        keys = np.stack([rates["offer"].to_numpy() - base.first_offer, pairs[:, 1]], axis=1)
        offered, offer = np.unique(keys, axis=0, return_inverse=True)
        per_unit = np.array([to_e10(s.per_unit) for s in surcharges])[offered[:, 1]]
        per_call = np.array([to_e10(s.per_call) for s in surcharges])[offered[:, 1]]
        opened = pl.col("kind") == OPEN
        offers = base.offers[offered[:, 0]].with_columns(
            *(
                pl.when(opened).then(pl.col(name) + pl.Series(per_unit)).otherwise(name).alias(name)
                for name in ("price_e10", "first_e10")
            ),
            # a split call that begins free may come to a price
            pl.col("call_e10") + pl.Series(per_call),
        )
        first = self._add(rates.select("rate_id", "code"), offers, offer.ravel())
        return first + place.ravel().astype(np.int32)

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
        """The plan's `rates` and `offers`, and the destinations that the offers name by place."""
        blocks = self._blocks.values()
        rates = pl.concat([block.rates for block in blocks], rechunk=True)
        return rates, *_narrowed(pl.concat([block.offers for block in blocks]))

    def _place_of(self, terms: Terms) -> int:
        return self.terms.setdefault(terms, len(self.terms))

    def _add(self, rates: pl.DataFrame, offers: pl.DataFrame, offer: np.ndarray) -> int:
        """Add rate rows with their places among further offers; returns the block."""
        first = self._rates
        places = pl.Series("offer", (offer + self._offers).astype(np.uint32))
        self._blocks[first] = _Block(
            rates.with_columns(places).cast(_RATE_SCHEMA), offers.cast(_OFFER_SCHEMA), self._offers
        )
        self._rates += rates.height
        self._offers += offers.height
        return first


def _distinct(rows: pl.DataFrame, columns: Sequence[str]) -> tuple[pl.DataFrame, np.ndarray]:
    """The distinct values of some columns, in the order in which they first stand, and the place
    of each row's among them."""
    alike = rows.select((pl.col(n).eq_missing(pl.col(n).first())).all() for n in columns)
    varying = [name for name in columns if not alike[name][0]]
    if not varying:
        return rows.select(columns).head(1), np.zeros(rows.height, np.uint32)
    numbered = rows.select(varying).with_row_index("_row")
    groups = numbered.group_by(varying, maintain_order=True).agg("_row")["_row"]
    places = np.empty(rows.height, np.uint32)
    places[groups.explode().to_numpy()] = np.repeat(np.arange(len(groups)), groups.list.len())
    return rows.select(columns)[groups.list.first()], places


def _narrowed(offers: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Offers with destinations as ids, in few bytes: gathers read them at random, so that what
    fits a cache is several times faster. Only open ones have prices."""
    names = offers["destination"].unique().sort().to_list()
    prices = pl.when(pl.col("kind") == OPEN).then(pl.col("price_e10", "first_e10")).otherwise(0)
    ids = pl.col("destination").cast(pl.Enum(names)).to_physical().cast(pl.UInt32)
    return offers.with_columns(ids.alias("destination"), prices).rechunk(), names
