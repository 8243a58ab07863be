"""Code cells: lists and ranges of codes as rows of one code each (catalogue 1.2, B02 to B04)."""

import re

import polars as pl

from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.core.errors import Problem

MAX_CODES = 3_000_000
"""A sheet may name so many codes; ten times as many as all published breakouts."""


def prefixes_of_range(first: str, last: str) -> list[str]:
    """The minimal set of prefixes that covers an inclusive range of equally long codes (B03).

    Raises `ValueError` when the two differ in length or stand in the wrong order.

    >>> prefixes_of_range("447400", "447412")
    ['44740', '447410', '447411', '447412']
    """
    both = first + last
    if len(first) != len(last) or first > last or not (both.isascii() and both.isdecimal()):
        raise ValueError(f"{first}-{last} is not a range of codes of one length")
    low, high, width = int(first), int(last), len(first)
    found = []
    while low <= high:
        size = 1
        while low % (size * 10) == 0 and low + size * 10 - 1 <= high and width > len(str(size)):
            size *= 10
        digits = len(str(size)) - 1
        found.append(f"{low // size:0{width - digits}d}")
        low += size
    return found


def one_code_a_row(rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Explode cells with several codes or ranges; prefix the country code of its own column."""
    rows = rows.with_columns(pl.col("code").str.strip_chars(" ,;/\t\r\n").fill_null(""))
    _refuse_unclear_cells(rows, problems)
    country = pl.col("country_code").fill_null("")
    codes = pl.col("code").str.replace_all(r"\s*-\s*", "-").str.replace_all(r"[,;/\s]+", ";")
    if rows.select((codes.str.count_matches(";") + 1).sum()).item() > MAX_CODES:
        problems.append(Problem(f"has more than {MAX_CODES:,} codes", rows["sheet"][0]))
        return rows.clear()
    rows = rows.with_columns(codes.str.split(";").alias("_cell")).explode("_cell")
    ranges = rows.filter(pl.col("_cell").str.contains("-", literal=True))
    if not ranges.is_empty():
        expanded: dict[str, list[str]] = {}
        for cell in ranges["_cell"].unique():
            first, _, last = cell.partition("-")
            try:
                if len(cell) > 40 or "-" in last:
                    raise ValueError(f"{cell[:40]} is not a range of codes of one length")
                expanded[cell] = prefixes_of_range(first, last)
            except ValueError as error:
                for at in ranges.filter(pl.col("_cell") == cell).iter_rows(named=True):
                    problems.append(Problem(str(error), at["sheet"], at["row"], "code", cell))
                expanded[cell] = []
        table = pl.DataFrame(
            {"_cell": list(expanded), "_codes": list(expanded.values())},
            schema={"_cell": pl.String, "_codes": pl.List(pl.String)},
        )
        uses = ranges["_cell"].value_counts().iter_rows()
        if sum(len(expanded[cell]) * count for cell, count in uses) > MAX_CODES:
            problems.append(Problem(f"has more than {MAX_CODES:,} codes", rows["sheet"][0]))
            return rows.clear()
        rows = (
            rows.join(table, on="_cell", how="left", maintain_order="left")
            .with_columns(
                pl.when(pl.col("_codes").is_null())
                .then(pl.concat_list("_cell"))
                .otherwise(pl.col("_codes"))
                .alias("_cell")
            )
            .explode("_cell")
            .drop("_codes")
        )
    whole = pl.when(country == "").then(pl.col("_cell").str.replace(r"^00", "")).otherwise("_cell")
    return rows.with_columns((country + whole).alias("code")).drop("_cell")


def _refuse_unclear_cells(rows: pl.DataFrame, problems: list[Problem]) -> None:
    """Refuse '44 7400-7412': a country code and its area codes look like two codes."""
    cells = rows["code"].unique()
    for cell in cells.filter(cells.str.contains(r"^[0-9]{1,3}\s+[0-9]")):
        first, second = re.split(r"[\s,;/-]+", cell)[:2]
        if first in COUNTRY_CODES and not second.startswith(first) and second not in COUNTRY_CODES:
            report(
                rows.filter(pl.col("code") == cell),
                "code",
                f"may be codes of country {first} or a list: put {first} into country_code, "
                "or write whole codes",
                problems,
            )


def report(
    bad: pl.DataFrame, field: str, message: str, problems: list[Problem], most: int = 100
) -> None:
    """Add a problem for each bad row, with its value of a field; many are counted.

    The codes of one cell are rows of their own: what they have in common is told once.
    """
    alike = [name for name in ("sheet", "row", field) if name in bad.columns]
    bad = bad.unique(alike, keep="first", maintain_order=True)
    for at in bad.head(most).iter_rows(named=True):
        value = at.get(field)
        problems.append(
            Problem(message, at["sheet"], at["row"], field, "" if value is None else str(value))
        )
    if bad.height > most:
        first = bad["sheet"][0]
        problems.append(Problem(f"{message} ({bad.height - most} more rows)", first, None, field))
