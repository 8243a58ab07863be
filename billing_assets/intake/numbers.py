"""Called and calling numbers to E.164 digits (catalogue 1.2): prefixes, `+`, `00`, national 0."""

import polars as pl

from billing_assets.reference.models import Source

ANONYMOUS = ("anonymous", "withheld", "restricted", "unknown", "private", "unavailable")
MAX_KEPT = 18
"""Digits that an int64 can hold; a longer calling number keeps its kind alone."""


def e164(number: pl.Expr, trunk: pl.Expr, source: Source) -> pl.Expr:
    """A number as written, to digits without `+` (text; what is no number stays as it is).

    The trunk's technical prefix goes first, then international prefixes, then the national 0.
    """
    text = number.str.strip_chars().replace("", None)
    for name, prefix in source.prefixes.items():
        text = pl.when(trunk == name).then(text.str.strip_prefix(prefix)).otherwise(text)
    text = text.str.replace(r"^\+", "").str.replace_all(r"[ ().-]", "")
    international = r"^(?:00|011)" if source.country_code == "1" else r"^00"
    text = text.str.replace(international, "")
    if source.country_code:
        national = text.str.contains(r"^0\d+$")
        text = (
            pl.when(national)
            .then(pl.lit(source.country_code) + text.str.replace(r"^0", ""))
            .otherwise(text)
        )
    return text


def kind_of(number: pl.Expr) -> pl.Expr:
    """Kind of a calling number: number, invalid, missing, anonymous or alpha (catalogue 1.2)."""
    digits = number.str.contains(r"^\d+$")
    length = number.str.len_chars()
    return (
        pl.when(number.is_null())
        .then(pl.lit("missing"))
        .when(number.str.to_lowercase().is_in(list(ANONYMOUS)))
        .then(pl.lit("anonymous"))
        .when(digits & length.is_between(5, 15) & ~number.str.starts_with("0"))
        .then(pl.lit("number"))
        .when(digits)
        .then(pl.lit("invalid"))
        .otherwise(pl.lit("alpha"))
    )


def as_integer(number: pl.Expr) -> pl.Expr:
    """Digits as Int64 where they fit, else null."""
    fits = number.str.contains(rf"^\d{{1,{MAX_KEPT}}}$")
    return pl.when(fits).then(number).cast(pl.Int64, strict=False)
