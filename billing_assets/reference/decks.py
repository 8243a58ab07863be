"""Decks: an agreement's rate rows, from its file and its sheets, as one checked frame.

Rows become codes with half-open UTC validity in which at most one row of a code, origin and
band holds at any instant. Everything is columnar: a deck may have hundreds of thousands of rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.ids import ROW_BITS, stable_id
from billing_assets.lake.tables import RATE
from billing_assets.reference.cells import typed_rows
from billing_assets.reference.codes import one_code_a_row
from billing_assets.reference.findings import Breach, Finding, shortened
from billing_assets.reference.layouts import HOUSE, Layout, known_layouts, with_columns
from billing_assets.reference.models import Agreement, RateRow, Sheet
from billing_assets.reference.notice import came_before
from billing_assets.reference.sheets import ROW_SCHEMA, SheetReader
from billing_assets.reference.succession import Succession
from billing_assets.reference.values import Moment
from billing_assets.reference.yamltext import Located


@dataclass(frozen=True)
class Deck:
    """The rate rows of one agreement version: columns of table `rate`, sorted by code and time."""

    agreement: str
    rows: pl.DataFrame
    breaches: tuple[Breach, ...] = ()
    findings: tuple[Finding, ...] = ()


def build_deck(
    agreement: Agreement,
    located: Located,
    files: Mapping[str, bytes],
    layouts: Mapping[str, Layout] | None = None,
    *,
    honour_notice: bool = True,
) -> tuple[Deck | None, list[Problem]]:
    """Read, check, compare and date all rate rows of an agreement.

    `located` is the agreement's file; `files` maps paths of the reference folder to bytes;
    `layouts` are the folder's own. The deck is None when a problem was found: a sheet is taken
    whole or not at all. Without `honour_notice` changes hold from the day that their sheet asks
    for, as their sender will bill.
    """
    succession = Succession(agreement, [], honour_notice=honour_notice)
    problems = succession.problems
    problems += _out_of_order(agreement, located)
    if agreement.rates:
        _take(succession, _inline_rows(agreement, located), None)
    for index, sheet in enumerate(agreement.sheets):
        path = sheet_path(located.file, sheet.file)
        content = files.get(path)
        layout = _layout(sheet, layouts or {})
        if content is None or layout is None:
            message, field, value = (
                ("names a sheet that does not exist", "file", sheet.file)
                if content is None
                else ("is no layout that is known", "layout", sheet.layout)
            )
            line = located.line(("sheets", index))
            problems.append(Problem(message, located.file, line, field, value))
            continue
        reader = SheetReader(path, agreement.key, agreement.currency, layout, tuple(sheet.columns))
        rows = reader.read(content)
        problems += reader.problems
        succession.findings += reader.findings
        if rows is not None:
            _take(succession, rows, sheet)
    if problems:
        return None, problems
    if succession.state is None:
        return Deck(agreement.key, pl.DataFrame(schema=RATE.schema)), []
    rows = succession.dated()
    key = stable_id(agreement.key, *sorted(rows["sheet_sha256"].unique())) >> ROW_BITS
    rows = rows.with_columns(
        (pl.lit(key << ROW_BITS, pl.Int64) + pl.int_range(1, pl.len() + 1)).alias("rate_id"),
        pl.lit(agreement.key).alias("deck"),
    ).select(RATE.schema.names())
    findings = tuple(shortened(succession.findings))
    return Deck(agreement.key, rows, tuple(succession.breaches), findings), []


def _out_of_order(agreement: Agreement, located: Located) -> Iterator[Problem]:
    """A problem for each sheet that is listed after one that came later: it would undo that one.

    Of one day without a time, the order of the list holds.
    """
    latest: Moment | None = None
    for index, sheet in enumerate(agreement.sheets):
        if sheet.received is None:
            continue
        if latest and came_before(sheet.received, latest, agreement.zone):
            at = ("sheets", index, "received")
            said = f"is before {latest.isoformat()}, when a sheet listed before it came"
            place = (located.file, located.line(at), f"sheets.{index}.received")
            yield Problem(said, *place, sheet.received.isoformat())
        else:
            latest = sheet.received


def _layout(sheet: Sheet, own: Mapping[str, Layout]) -> Layout | None:
    """The layout that a sheet names, with its own exceptions; None when nobody knows it."""
    if not sheet.layout:
        return with_columns(HOUSE, sheet.columns)
    named = own.get(sheet.layout) or known_layouts().get(sheet.layout)
    return with_columns(named, sheet.columns) if named else None


def _take(succession: Succession, text: pl.DataFrame, sheet: Sheet | None) -> None:
    """Check a sheet's text rows and let them follow the sheets before."""
    problems: list[Problem] = []
    if sheet is not None and sheet.effective is not None:
        text = text.with_columns(pl.col("from").fill_null(sheet.effective.isoformat()))
    rows = one_code_a_row(text, problems)
    if not problems:
        rows = typed_rows(succession.agreement, rows, problems)
    succession.problems += problems
    if not succession.problems:
        succession.take(rows, sheet)


def sheet_path(agreement_file: str, sheet: str) -> str:
    """Resolve a sheet's path, written relative to its agreement's folder, inside the reference."""
    parts: list[str] = []
    for part in (PurePosixPath(agreement_file).parent / sheet).parts:
        if part == "..":
            if parts:
                parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _inline_rows(agreement: Agreement, located: Located) -> pl.DataFrame:
    """Rates written in the agreement itself, as text rows like those of a sheet."""

    def row(index: int, rate: RateRow) -> dict[str, str | int | None]:
        def text(value: object) -> str | None:
            return None if value is None else str(value)

        return {
            "code": ";".join(rate.codes),
            "country_code": rate.country_code or None,
            "destination": rate.destination or None,
            "rate": _plain(rate.price),
            "first_rate": _plain(rate.first_price),
            "increments": text(rate.increments),
            "setup_fee": _plain(rate.setup_fee),
            "minimum": _plain(rate.minimum),
            "cap": _plain(rate.cap),
            "band": rate.band or None,
            "origin": rate.origin or None,
            "from": rate.valid_from.isoformat() if rate.valid_from else None,
            "to": rate.valid_to.isoformat() if rate.valid_to else None,
            "status": rate.status,
            "row": located.line(("rates", index)),
        }

    return pl.DataFrame(
        [row(index, rate) for index, rate in enumerate(agreement.rates)], schema=ROW_SCHEMA
    ).with_columns(
        pl.lit(located.file).alias("sheet"),
        pl.lit(located.sha256).alias("sheet_sha256"),
    )


def _plain(value: object) -> str | None:
    return None if value is None else f"{value:f}"
