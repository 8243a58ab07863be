"""Exchange rates of the reference: the fixing nearest to a day, exact."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.reference.load import Reference


def nearest_fixing(
    reference: Reference, currency: str, day: date, within_days: int
) -> Fraction | None:
    """Units of a currency per unit of the home currency, at the fixing nearest to a day.

    The earlier of two that are equally near; only those of the carrier's source, when it names
    one. None when there is none within reach.
    """
    home = reference.carrier.currency
    if currency == home:
        return Fraction(1)
    source = reference.carrier.fixing_source
    rows = reference.fixings.filter(
        (pl.col("base") == home)
        & (pl.col("currency") == currency)
        & ((pl.col("source") == source) | pl.lit(not source))
    )
    found = [
        (abs((date.fromisoformat(on) - day).days), on, Fraction(Decimal(units)))
        for on, units in rows.select("date", "units_per_base").iter_rows()
    ]
    within = [one for one in found if one[0] <= within_days]
    return min(within)[2] if within else None
