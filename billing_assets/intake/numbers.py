"""Called and calling numbers to E.164 digits (catalogue 1.2): prefixes, `+`, `00`, national 0."""

import polars as pl

from billing_assets.reference.sources import Source

ANONYMOUS = (
    "anonymous",
    "withheld",
    "restricted",
    "unknown",
    "private",
    "unavailable",
    "hidden",
    "blocked",
    "not available",
)
MAX_KEPT = 18
"""Digits that an int64 can hold; a longer calling number keeps its kind alone."""

_NO_TRUNK_ZERO = ("1", "7")
"""Country codes within which no 0 stands before a national number."""

_NANP_NATIONAL = 10
"""Digits of a number of the North American plan without its country code 1."""


def e164(number: pl.Expr, trunk: pl.Expr, source: Source, country: str | None = None) -> pl.Expr:
    """A number as written, to digits without `+` (text; what is no number stays as it is).

    National numbers are of `country` (a country code), by default the source's.
    The trunk's technical prefix goes first, then what a SIP URI puts around the number, then
    blanks and punctuation, then international prefixes, then the national 0; at country code 1,
    ten digits of the numbering plan get their 1. A number with `+` is international as it is; a
    decimal fraction such as `112.0` is no number.
    """
    country = country or source.country_code
    text = number.str.strip_chars()
    text = pl.when(text != "").then(text)
    if source.prefixes:
        # one look-up for all trunks: a choice for each would double the expression each time
        prefix = trunk.replace_strict(source.prefixes, default="", return_dtype=pl.String)
        text = text.str.strip_prefix(prefix.fill_null(""))
    text = text.str.replace(r"(?i)^(?:sips?|tel):([^@;]*).*$", "$1")
    text = text.str.replace(r"^([^@]+)@.*$", "$1")
    # apart from the pattern, which is slow with characters of several bytes
    written = text.str.replace_all("\u00a0", "", literal=True).str.replace_all(r"[ ().-]", "")
    spaced = text.str.contains(r"^\+?[ \x{a0}]*[0-9(][0-9 \x{a0}().-]*$")
    # spreadsheets write 112 as 112.0 where a column has empty cells
    fraction = text.str.contains(r"^\+?[0-9]+\.0$")
    text = pl.when(spaced & ~fraction).then(written).otherwise(text)
    dialled = text.str.replace(r"^(?:00|011)" if country == "1" else r"^00", "")
    if country and country not in _NO_TRUNK_ZERO:
        # Italian numbers keep their 0 when they are dialled from abroad
        national = dialled if country == "39" else dialled.str.slice(1)
        dialled = (
            pl.when(dialled.str.contains(r"^0[0-9]+$") & ~text.str.contains(r"^00"))
            .then(pl.lit(country) + national)
            .otherwise(dialled)
        )
    if country == "1":
        dialled = (
            pl.when(text.str.contains(r"^[2-9][0-9]{2}[2-9][0-9]{6}$"))
            .then(pl.lit("1") + dialled)
            .otherwise(dialled)
        )
    plus = text.str.contains(r"^\+[0-9]")
    return pl.when(plus).then(text.str.slice(1)).when(fraction).then(text).otherwise(dialled)


def kind_of(number: pl.Expr) -> pl.Expr:
    """Kind of a calling number: number, invalid, missing, anonymous or alpha (catalogue 1.2).

    Digits written as a decimal fraction, and texts of signs and zeros alone, are invalid.
    """
    digits = number.str.contains(r"^[0-9]+$")
    length = number.str.len_chars()
    return (
        pl.when(number.is_null())
        .then(pl.lit("missing"))
        .when(number.str.to_lowercase().is_in(list(ANONYMOUS)))
        .then(pl.lit("anonymous"))
        .when(digits & length.is_between(5, 15) & ~number.str.starts_with("0"))
        .then(pl.lit("number"))
        .when(number.str.contains(r"^(?:[0-9]+(?:\.0)?|[+0 \x{a0}().-]*)$"))
        .then(pl.lit("invalid"))
        .otherwise(pl.lit("alpha"))
    )


def as_integer(number: pl.Expr) -> pl.Expr:
    """Digits as Int64 where they fit, else null."""
    fits = number.str.contains(rf"^[0-9]{{1,{MAX_KEPT}}}$")
    return pl.when(fits).then(number).cast(pl.Int64, strict=False)


def read_numbers(number: pl.Series, trunk: pl.Series, source: Source) -> pl.DataFrame:
    """Numbers of one column: text (E.164 digits, or what stands there), number, length, kind.

    `trunk` is 'switch/trunk group' of each row. Most numbers are plain digits; only the others
    go through the rules.
    """
    digits = pl.col("text").str.len_bytes().cast(pl.Int64)
    # as many digits as characters: no sign, blank or leading zero stands among them
    plain = (
        pl.col("number") >= pl.lit(10, pl.Int64).pow((digits - 1).clip(0, 15))
    ) & digits.is_between(5, 15)
    if source.prefixes:
        plain &= ~pl.col("trunk").is_in(list(source.prefixes)).fill_null(False)
    in_nanp = [trunk for trunk, code in source.countries.items() if code == "1"]
    if source.country_code == "1" or in_nanp:
        # a trunk of another country than the source's goes through the rules, which know it
        plain &= digits != _NANP_NATIONAL
    columns = ("text", "number", "length", "kind")
    marked = (
        pl.DataFrame({"text": number, "trunk": trunk})
        .with_columns(pl.col("text").cast(pl.Int64, strict=False).alias("number"))
        .with_columns(plain.fill_null(False).alias("plain"))
    )
    easy = marked.filter("plain") if not marked["plain"].all() else marked
    read = easy.select(
        "text",
        "number",
        pl.col("text").str.len_bytes().cast(pl.Int8).alias("length"),
        pl.lit("number").alias("kind"),
    )
    if easy.height == marked.height:
        return read
    hard = (
        marked.filter(~pl.col("plain"))
        .with_columns(_by_country(source).alias("text"))
        .with_columns(
            as_integer(pl.col("text")).alias("number"), kind_of(pl.col("text")).alias("kind")
        )
        .select(
            "text",
            "number",
            pl.when(pl.col("number").is_not_null())
            .then(pl.col("text").str.len_bytes())
            .cast(pl.Int8)
            .alias("length"),
            "kind",
        )
    )
    back = marked.select(
        pl.when("plain")
        .then(pl.col("plain").cum_sum())
        .otherwise((~pl.col("plain")).cum_sum() + easy.height)
        - 1
    ).to_series()
    return pl.concat([read, hard])[back].select(columns)


def _by_country(source: Source) -> pl.Expr:
    """Columns text and trunk to E.164, national numbers by the country of their trunk."""
    text, trunk = pl.col("text"), pl.col("trunk")
    read = e164(text, trunk, source)
    for country in sorted({*source.countries.values()}):
        trunks = [name for name, code in source.countries.items() if code == country]
        here = trunk.is_in(trunks).fill_null(False)
        read = pl.when(here).then(e164(text, trunk, source, country)).otherwise(read)
    return read
