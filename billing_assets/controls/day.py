"""What controls keep of a day of records: fates, hourly traffic, margins of both legs.

A day is read once, at the grain of its records; whatever compares months reads what is added up
here. Sources: catalogue 1.5 (balance), 3.7 (controls and KPIs).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction

import polars as pl

from billing_assets.controls.completeness import compare_day
from billing_assets.core.money import Rounding, decimal_of_e10, round_amount
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import (
    COMPLETENESS,
    DUPLICATE,
    LANDED,
    MARGIN,
    PARTIAL,
    RATED_LEG,
    RECORD_FATE,
    SUSPENSE,
    TRAFFIC,
    XDR,
)
from billing_assets.reference.fx import MissingFixing
from billing_assets.reference.load import Reference

FILE_BITS = 27
"""The bits of a record id that are the row in its file."""

_BUSY = r"(?i)^(17|486|600|USER[_ ]BUSY|BUSY)$"
_NO_ANSWER = r"(?i)^(18|19|408|480|487|NO[_ ]ANSWER|NO_USER_RESPONSE|ORIGINATOR_CANCEL|CANCEL)$"


def control_day(lake: Lake, reference: Reference, day: date) -> dict[str, pl.DataFrame]:
    """Replace a day's slices of the control tables; returns them by table name."""
    frames = {
        RECORD_FATE.name: record_fates(lake, own_sides(reference), day),
        TRAFFIC.name: hourly_traffic(lake, reference, day),
        MARGIN.name: daily_margin(lake, reference, day),
    }
    for table in (RECORD_FATE, TRAFFIC, MARGIN):
        lake.replace_slice(table, frames[table.name], {"day": day})
    return {**frames, COMPLETENESS.name: compare_day(lake, reference, day)}


def own_sides(reference: Reference) -> list[str]:
    """Trunks of our own network that no account maps: a side without a counterparty."""
    mapped = {
        trunk.trunk
        for partner in reference.partners.values()
        for account in partner.accounts
        for trunk in account.trunks
    }
    return sorted(set(reference.carrier.own_trunks) - mapped)


def record_fates(lake: Lake, own: Sequence[str], day: date) -> pl.DataFrame:
    """What became of the records of a day's slices, added up by landed day, file and switch.

    A record with a leg in suspense is in suspense; it is rated when it has rated legs and none
    in suspense, and own when none of its sides has a counterparty. One that is none of these has
    no fate, which the balance shows. Parts are counted where they landed.
    """
    part = {"day": day}
    landed = lake.scan(LANDED, part=part).select(
        "record_id", "switch", "duration_ms", pl.lit(day).alias("landed_day")
    )
    parts = lake.scan(PARTIAL, part=part)
    suspended = lake.scan(SUSPENSE, part=part).filter(pl.col("stage") == "rating")
    suspended = suspended.group_by("record_id").agg(
        pl.col("duration_ms").max(), pl.lit("suspense").alias("fate")
    )
    rated = (
        lake.scan(RATED_LEG, part=part)
        .group_by("record_id")
        .agg(pl.col("duration_ms").max(), pl.lit("rated").alias("fate"))
        .join(suspended, on="record_id", how="anti")
    )
    has_own = [
        pl.col(side).is_null() | pl.col(side).is_in(list(own)) for side in ("in_trunk", "out_trunk")
    ]
    records = lake.scan(XDR, part=part).select("record_id", "switch", "duration_ms", *has_own)
    owned = (
        records.filter(pl.col("in_trunk") & pl.col("out_trunk"))
        .select("record_id", "duration_ms", pl.lit("own").alias("fate"))
        .join(suspended, on="record_id", how="anti")
    )
    # the first part of a merged call stands for itself alone here
    others = (
        parts.filter(pl.col("call_record_id").is_not_null())
        .filter(pl.col("call_record_id") != pl.col("record_id"))
        .group_by(pl.col("call_record_id").alias("record_id"))
        .agg(pl.col("duration_ms").sum().alias("_others"))
    )
    accepted = records.select("record_id", "duration_ms", pl.lit("accepted").alias("fate"))
    priced = (
        pl.concat([suspended, rated, owned, accepted])
        .join(records.select("record_id", "switch"), on="record_id", how="left")
        .join(others, on="record_id", how="left")
        .select(
            "record_id",
            "switch",
            pl.col("duration_ms") - pl.col("_others").fill_null(0),
            pl.lit(day).alias("landed_day"),
            "fate",
        )
    )
    set_aside = pl.concat(
        [
            lake.scan(DUPLICATE, part=part).select("record_id", pl.lit("duplicate").alias("fate")),
            parts.filter(pl.col("call_record_id").ne_missing(pl.col("record_id"))).select(
                "record_id",
                pl.when(pl.col("call_record_id").is_null())
                .then(pl.lit("incomplete"))
                .otherwise(pl.lit("merged"))
                .alias("fate"),
            ),
        ]
    ).collect(engine="streaming")
    return (
        pl.concat(
            [
                landed.with_columns(pl.lit("landed").alias("fate")).select(_FATE),
                priced.select(_FATE),
                _where_landed(lake, set_aside, day).lazy().select(_FATE),
            ]
        )
        .group_by(
            "landed_day", (pl.col("record_id") // 2**FILE_BITS).alias("file_key"), "switch", "fate"
        )
        .agg(pl.len().cast(pl.Int64).alias("records"), pl.col("duration_ms").sum())
        .with_columns(pl.lit(day).alias("day"))
        .select(RECORD_FATE.schema.names())
        .collect(engine="streaming")
    )


_WORDS = ("leg", "partner", "service", "destination", "currency")
_FATE = ("record_id", "landed_day", "switch", "duration_ms", "fate")
_REACH = 31


def _where_landed(lake: Lake, records: pl.DataFrame, day: date) -> pl.DataFrame:
    """Records set aside on a day, with the day, switch and duration with which they landed."""
    if records.is_empty():
        return pl.DataFrame(
            schema={
                "record_id": pl.Int64,
                "landed_day": pl.Date,
                "switch": pl.String,
                "duration_ms": pl.Int64,
                "fate": pl.String,
            }
        )
    days = [day + timedelta(days=n) for n in range(-_REACH, _REACH + 1)]
    landed = (
        lake.scan(LANDED, part={"day": days})
        .filter(pl.col("record_id").is_in(records["record_id"].to_list()))
        .select("record_id", pl.col("day").alias("landed_day"), "switch", "duration_ms")
        .collect(engine="streaming")
    )
    return records.join(landed, on="record_id", how="left")


def hourly_traffic(lake: Lake, reference: Reference, day: date) -> pl.DataFrame:
    """Attempts, answers, causes, seconds and money of a day's legs by hour and destination.

    A leg's local hour is of the carrier's zone. Busy and no answer are told by the release cause
    as the switch wrote it: a word, a Q.850 value or a SIP status.
    """
    controls = reference.controls
    limits = {
        name: controls.thresholds_of(name).short_seconds * 1000 for name in reference.partners
    }
    status = pl.col("status").fill_null("")
    called = pl.when(pl.col("b_number").is_not_null()).then(pl.col("b_number").cast(pl.String))
    risky = "|".join(sorted(controls.high_risk, key=len, reverse=True))
    records = lake.scan(XDR, part={"day": day}).select(
        "record_id",
        status.str.contains(_BUSY).alias("busy"),
        status.str.contains(_NO_ANSWER).alias("silent"),
        (called.str.extract(f"^({risky})") if risky else pl.lit(None, pl.String))
        .fill_null("")
        .alias("high_risk"),
    )
    local = pl.col("event_time").dt.convert_time_zone(reference.carrier.zone)
    answered = pl.col("answered")
    limit = pl.col("partner").replace_strict(
        limits, default=controls.thresholds.short_seconds * 1000, return_dtype=pl.Int64
    )

    def count(condition: pl.Expr) -> pl.Expr:
        return condition.fill_null(value=False).cast(pl.Int64).sum()

    return (
        lake.scan(RATED_LEG, part={"day": day})
        .with_columns(
            pl.col("leg", "partner", "service", "destination", "currency").cast(pl.String)
        )
        .join(records, on="record_id", how="left")
        .group_by(
            "day",
            pl.col("event_time").dt.hour().cast(pl.Int64).alias("hour"),
            local.dt.hour().cast(pl.Int64).alias("local_hour"),
            local.dt.weekday().cast(pl.Int64).alias("local_weekday"),
            "leg",
            "partner",
            "service",
            pl.col("destination").fill_null(""),
            pl.col("high_risk").fill_null(""),
            "currency",
        )
        .agg(
            pl.len().cast(pl.Int64).alias("attempts"),
            count(answered).alias("answered"),
            count(~answered & pl.col("busy")).alias("user_busy"),
            count(~answered & pl.col("silent")).alias("no_answer"),
            count(answered & (pl.col("duration_ms") <= limit)).alias("short_calls"),
            pl.col("duration_ms").sum(),
            decimal_of_e10(pl.col("amount_e10").cast(pl.Int128).sum()).alias("amount"),
        )
        .select(TRAFFIC.schema.names())
        .collect(engine="streaming")
    )


def daily_margin(lake: Lake, reference: Reference, day: date) -> pl.DataFrame:
    """Customer leg less supplier leg of each record that has both, added up by partners."""
    legs = (
        lake.scan(RATED_LEG, part={"day": day})
        .filter("answered")
        .with_columns(
            pl.col("leg", "partner", "service", "destination", "currency").cast(pl.String)
        )
    )
    sold = legs.filter(pl.col("leg") == "customer").select(
        "day",
        "record_id",
        "service",
        pl.col("destination").fill_null(""),
        "duration_ms",
        pl.col("partner").alias("customer"),
        pl.col("currency").alias("revenue_currency"),
        pl.col("amount_e10").alias("_revenue"),
    )
    bought = legs.filter(pl.col("leg") == "supplier").select(
        "record_id",
        pl.col("partner").alias("supplier"),
        pl.col("currency").alias("cost_currency"),
        pl.col("amount_e10").alias("_cost"),
    )
    routes = (
        sold.join(bought, on="record_id")
        .group_by(
            "day",
            "customer",
            "supplier",
            "service",
            "destination",
            "revenue_currency",
            "cost_currency",
        )
        .agg(
            pl.len().cast(pl.Int64).alias("records"),
            pl.col("duration_ms").sum(),
            decimal_of_e10(pl.col("_revenue").cast(pl.Int128).sum()).alias("revenue"),
            decimal_of_e10(pl.col("_cost").cast(pl.Int128).sum()).alias("cost"),
        )
        .collect(engine="streaming")
    )
    home = reference.carrier.currency
    margins, currencies = [], []
    for row in routes.iter_rows(named=True):
        earned, paid = row["revenue_currency"], row["cost_currency"]
        sold_at, bought_at = (_per_home(reference, one, day) for one in (earned, paid))
        currencies.append(earned if earned == paid else home)
        if earned == paid:
            margins.append(row["revenue"] - row["cost"])
        elif sold_at is None or bought_at is None:
            margins.append(None)
        else:
            exact = Fraction(row["revenue"]) / sold_at - Fraction(row["cost"]) / bought_at
            margins.append(round_amount(exact, 10, Rounding.HALF_UP))
    return routes.with_columns(
        pl.Series("home_currency", currencies, pl.String),
        pl.Series("margin", margins, MARGIN.schema["margin"]),
    ).select(MARGIN.schema.names())


def _per_home(reference: Reference, currency: str, day: date) -> Fraction | None:
    home = reference.carrier.currency
    try:
        return reference.rates_of_exchange.on(home, currency, day).factor(home, currency)
    except MissingFixing:
        return None
