"""Stamps to UTC. Local stamps are of the source's zone; an hour that a zone repeats is read as
its first pass, an hour that it skips is no time."""

import polars as pl

from billing_assets.lake.tables import UTC_TIME

ISO = "iso"
"""Format name of ISO 8601 stamps: `T` or blank, fraction, `Z` or offset or none (local)."""


def to_utc(text: pl.Expr, zone: str, form: str = ISO) -> pl.Expr:
    """Text stamps to UTC; null where there is none or it is impossible."""
    stamp = text.str.strip_chars().replace("", None)
    if form != ISO:
        return _local(stamp.str.to_datetime(form, strict=False, time_unit="us"), zone)
    stamp = stamp.str.replace(" ", "T", literal=True)
    naive = stamp.str.strip_suffix("Z").str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"
    )
    offset = stamp.str.contains(r"[+-]\d\d:?\d\d$")
    with_offset = stamp.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us", time_zone="UTC"
    )
    return (
        pl.when(stamp.str.ends_with("Z"))
        .then(naive.dt.replace_time_zone("UTC"))
        .when(offset)
        .then(with_offset)
        .otherwise(_local(naive, zone))
        .cast(UTC_TIME)
    )


def _local(naive: pl.Expr, zone: str) -> pl.Expr:
    return naive.dt.replace_time_zone(
        zone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")
