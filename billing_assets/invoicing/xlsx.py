"""XLSX summary of a document: its facts, its lines, its tax; no formula ever.

Figures are numbers where a spreadsheet holds them exactly (15 digits), and text beyond.
"""

import io
from collections.abc import Iterable
from datetime import datetime, time
from decimal import Decimal

import xlsxwriter
from xlsxwriter.worksheet import Worksheet

from billing_assets.invoicing.csvs import SUMMARY_COLUMNS, document_cells, line_cells
from billing_assets.invoicing.document import Document, plain

EXACT_DIGITS = 15

_TOTALS = ("net", "tax", "gross", "self_assessed", "withheld", "payable")
_FIGURES = ("line", "records", "answered", "quantity", "price", "amount", "tax_rate")


def summary_xlsx(document: Document) -> bytes:
    """The workbook; equal documents give equal bytes."""
    stream = io.BytesIO()
    # no text becomes a formula, link or number by how it looks
    options = {
        "in_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(stream, options) as book:
        book.set_properties({"created": datetime.combine(document.issue_date, time())})
        bold = book.add_format({"bold": True})
        facts = document_cells(document)
        _rows(book.add_worksheet("Document"), [*facts.items()], _TOTALS, bold)
        columns = [name for name in SUMMARY_COLUMNS if name not in facts]
        lines = book.add_worksheet("Lines")
        lines.freeze_panes(1, 0)
        _table(lines, columns, (line_cells(line) for line in document.lines), bold)
        tax = [
            {
                "tax_category": row.category,
                "tax_rate": plain(row.rate),
                "base": f"{row.base:f}",
                "tax": f"{row.tax:f}",
                "reason": row.reason,
            }
            for row in document.taxes
        ]
        _table(book.add_worksheet("Tax"), list(tax[0]), tax, bold)
    return stream.getvalue()


def _rows(sheet: Worksheet, pairs: list[tuple[str, str]], figures: tuple[str, ...], bold) -> None:
    sheet.set_column(0, 0, 20)
    sheet.set_column(1, 1, 40)
    for row, (name, value) in enumerate(pairs):
        sheet.write_string(row, 0, name, bold)
        _cell(sheet, row, 1, value, figure=name in figures)


def _table(sheet: Worksheet, columns: list[str], rows: Iterable[dict[str, str]], bold) -> None:
    for column, name in enumerate(columns):
        sheet.write_string(0, column, name, bold)
    for row, cells in enumerate(rows, start=1):
        for column, name in enumerate(columns):
            figure = name in (*_FIGURES, "base", "tax")
            _cell(sheet, row, column, cells[name], figure=figure)


def _cell(sheet: Worksheet, row: int, column: int, text: str, *, figure: bool) -> None:
    digits = sum(character.isdigit() for character in text.lstrip("-0."))
    if figure and text and digits <= EXACT_DIGITS:
        sheet.write_number(row, column, float(Decimal(text)))
    elif text:
        sheet.write_string(row, column, text)
