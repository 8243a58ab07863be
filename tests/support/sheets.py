"""Agreements with rate sheets, written in memory and loaded."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl

from billing_assets.reference.findings import Kind
from billing_assets.reference.load import Loaded, load_reference
from tests.support.references import CARRIER, agreement, partner


def load(sheets: Sequence[tuple[Mapping[str, Any], bytes | str]], **terms: Any) -> Loaded:
    """An agreement with some sheets: each its entry (without `file`) and its content."""
    files: dict[str, bytes] = {}
    entries = []
    for number, (entry, content) in enumerate(sheets):
        suffix = "xlsx" if isinstance(content, bytes) and content.startswith(b"PK") else "csv"
        name = f"{number}.{suffix}"
        files[f"sheets/{name}"] = content.encode() if isinstance(content, str) else content
        entries.append({"file": f"../sheets/{name}", **entry})
    layouts = terms.pop("layouts", None)
    form = agreement("A", sheets=entries, **terms)
    files |= {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        "agreements/A.yaml": json.dumps(form).encode(),
    }
    if layouts:
        files["layouts.yaml"] = json.dumps(layouts).encode()
    return load_reference(files)


def good(sheets: Sequence[tuple[Mapping[str, Any], bytes | str]], **terms: Any) -> Loaded:
    """The same; nothing may be refused."""
    result = load(sheets, **terms)
    assert result.problems == (), [str(p) for p in result.problems]
    return result


def rates(result: Loaded) -> set[tuple[int, str, str, str | None]]:
    """Code, rate, first day and day of the end of every row."""
    rows = result.reference.agreements[0].deck.rows
    return {
        (r["code"], f"{r['price_e10'] / 10**10:.4f}", f"{r['valid_from']:%m-%d}",
         r["valid_to"] and f"{r['valid_to']:%m-%d}")
        for r in rows.iter_rows(named=True)
    }  # fmt: skip


def found(result: Loaded, kind: Kind) -> list[tuple[str, str]]:
    """Value and message of each finding of a kind."""
    return [(f.value, f.message) for f in result.reference.findings if f.kind is kind]


def workbook(
    worksheets: Mapping[str, Sequence[Sequence[object]]], hidden: Sequence[str] = ()
) -> bytes:
    """An XLSX file of these worksheets, some of them hidden."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in worksheets.items():
        sheet = book.create_sheet(name)
        sheet.sheet_state = "hidden" if name in hidden else "visible"
        for row in rows:
            sheet.append(list(row))
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
