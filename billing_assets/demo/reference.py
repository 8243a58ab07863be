"""Write the reference folder: YAML and CSV as they stand in git, some sheets as workbooks.

A sheet `NAME.xlsx.csv` in git becomes the workbook `NAME.xlsx`; every other file is copied.
"""

import csv
import io
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
from openpyxl.styles import Font

_FIXED = datetime(2026, 1, 1, tzinfo=UTC)
_STAMP = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def write_reference(source: Path, target: Path) -> list[Path]:
    """Write the reference files of a demo folder; returns their paths below `target`."""
    written = []
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        name = path.relative_to(source)
        content = path.read_bytes()
        if name.name.endswith(".xlsx.csv"):
            name = name.with_name(name.name.removesuffix(".csv"))
            content = workbook(content.decode())
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(content)
        written.append(name)
    return written


def workbook(text: str) -> bytes:
    """A CSV text as a workbook with every cell as text; equal text gives equal bytes."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Rates"
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        for column, value in enumerate(row, start=1):
            cell = sheet.cell(number, column, value or None)
            cell.number_format = "@"
            if number == 1:
                cell.font = Font(bold=True)
    raw = io.BytesIO()
    book.save(raw)
    return _without_clock(raw.getvalue())


def _without_clock(content: bytes) -> bytes:
    """The same archive with fixed times: a workbook carries those of its writing."""
    fixed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(fixed, "w") as new:
        for info in old.infolist():
            part = old.read(info)
            if info.filename == "docProps/core.xml":
                part = _STAMP.sub(rb"\g<1>" + f"{_FIXED:%Y-%m-%dT%H:%M:%SZ}".encode(), part)
            entry = zipfile.ZipInfo(info.filename, _FIXED.timetuple()[:6])
            new.writestr(entry, part)
    return fixed.getvalue()
