"""Rated legs of a day added up by the dimensions of the configured traffic marts.

Days are read one after the other, so memory holds the groups of one day. Trunk and country are
not in the leg: the trunk is that of the record's side where the partner is, the country that of
the matched code.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from billing_assets.core.countries import country_of_code
from billing_assets.core.money import decimal_of_e10
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import MONEY, RATED_LEG, XDR
from billing_assets.reference.traffic import Dimension, TrafficMart

COLUMNS = pl.Schema(
    {
        "mart": pl.String,
        "dimensions": pl.String,
        **dict.fromkeys(Dimension, pl.String),
        Dimension.DAY: pl.Date,
        Dimension.HOUR: pl.Int64,
        Dimension.RATE: MONEY,
        "records": pl.Int64,
        "answered": pl.Int64,
        "duration_ms": pl.Int64,
        "quantity": pl.Int64,
        "billed_units": pl.Int64,
        "fees": MONEY,
        "amount": MONEY,
    }
)
"""Traffic of a day by mart; a dimension that a mart does not keep is null, as a rate that is
several."""


def traffic_of_day(lake: Lake, marts: Sequence[TrafficMart], day: date) -> pl.DataFrame:
    """A day's rated legs by the dimensions of each mart, in `COLUMNS`."""
    part = {"day": day}
    legs = lake.scan(RATED_LEG, part=part)
    wanted = {one for mart in marts for one in mart.kept}
    words = [name for name, kind in legs.collect_schema().items() if kind == pl.String]
    rows = legs.with_columns(pl.col(words).cast(pl.String).fill_null("")).with_columns(
        pl.col("event_time").dt.hour().cast(pl.Int64).alias(Dimension.HOUR),
        decimal_of_e10(pl.col("rate_e10")).cast(MONEY).alias(Dimension.RATE),
        pl.when(pl.col("leg") == "customer")
        .then(pl.lit("in"))
        .otherwise(pl.lit("out"))
        .alias(Dimension.DIRECTION),
    )
    if Dimension.TRUNK in wanted:
        sides = lake.scan(XDR, part=part).select("record_id", "in_trunk", "out_trunk")
        came = pl.col("leg") == "customer"
        trunk = pl.when(came).then(pl.col("in_trunk")).otherwise(pl.col("out_trunk"))
        rows = rows.join(sides, on="record_id", how="left").with_columns(
            trunk.cast(pl.String).fill_null("").alias(Dimension.TRUNK)
        )
    if Dimension.COUNTRY in wanted:
        codes = legs.select(pl.col("code").unique()).collect(engine="streaming")["code"]
        country = pl.col("code").replace_strict(
            {code: country_of_code(str(code)) for code in codes.drop_nulls()},
            default="",
            return_dtype=pl.String,
        )
        rows = rows.with_columns(country.fill_null("").alias(Dimension.COUNTRY))
    found = pl.collect_all([_added_up(rows, mart) for mart in marts], engine="streaming")
    return pl.concat([pl.DataFrame(schema=COLUMNS), *found])


def _added_up(rows: pl.LazyFrame, mart: TrafficMart) -> pl.LazyFrame:
    def exact(column: str) -> pl.Expr:
        return decimal_of_e10(pl.col(column).cast(pl.Int128).sum()).cast(MONEY)

    absent = [pl.lit(None, COLUMNS[one]).alias(one) for one in Dimension if one not in mart.kept]
    return (
        rows.group_by(mart.kept)
        .agg(
            pl.len().cast(pl.Int64).alias("records"),
            pl.col("answered").cast(pl.Int64).sum(),
            pl.col("duration_ms", "quantity", "billed_units").sum(),
            exact("fees_e10").alias("fees"),
            exact("amount_e10").alias("amount"),
        )
        .with_columns(
            pl.lit(mart.mart).alias("mart"),
            pl.lit(", ".join(mart.kept)).alias("dimensions"),
            *absent,
        )
        .select(COLUMNS.names())
    )
