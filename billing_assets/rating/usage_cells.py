"""The cells of a usage file, CSV or JSON lines, as text by column.

What is no table of the columns of usage is refused whole, by row, field and value.
"""

import json
import re
from typing import Any

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.intake.preset import CANONICAL
from billing_assets.intake.reading import numbered_lines, read_separated

COLUMNS = (
    *CANONICAL,
    "switch",
    "start",
    "duration_s",
    "answered",
    "text_length",
    "encoding",
    "records",
)
"""Columns that a usage file may have: the canonical ones, and shorter ways to say the same.

`start` is the answer time (the setup time of an unanswered record), `duration_s` the duration in
seconds with up to three decimals; `text_length` and `encoding` give a message's segments;
`records` says how many equal records the row stands for.
"""

_HALF = re.compile("[\ud800-\udfff]")


def refused(problems: list[Problem], hint: str = "") -> InputError:
    """The refusal of a usage file for its problems."""
    return InputError("cannot read the usage", problems, hint=hint)


def usage_cells(content: bytes, name: str) -> pl.DataFrame:
    """Text columns by name, and `line`; raises `InputError` for what is no table of them."""
    if content.lstrip()[:1] in (b"{", b"["):
        return _json_cells(content, name)
    lines = numbered_lines(content)
    header = [cell.strip().strip('"').lower() for cell in lines["payload"][0].split(",")]
    _refuse_unknown(header, name, int(lines["row"][0]))
    read = read_separated(lines[1:], header, ",")
    if not read.ragged.is_empty():
        problems = []
        for row, payload, found in read.ragged.iter_rows():
            message = f"has {found} columns, the header {len(header)}"
            if found is None:
                message = "has quotes that do not enclose a whole cell"
            problems.append(Problem(message, name, row, "", payload))
        raise refused(problems)
    return read.columns.drop("payload").rename({"row": "line"})


def _json_cells(content: bytes, name: str) -> pl.DataFrame:
    """An object a line, or one array of objects; values become text without passing a float."""
    text = content.decode("utf-8")
    if text.lstrip().startswith("["):
        rows = list(enumerate(_parsed(text, name), start=1))
    else:
        rows = [
            (number, _parsed(line, name, number))
            for number, line in enumerate(text.split("\n"), start=1)
            if line.strip()
        ]
    wrong = [number for number, row in rows if not isinstance(row, tuple)]
    if wrong:
        raise refused([Problem("is not a JSON object", name, number) for number in wrong])
    for number, row in rows:
        _refuse_unknown([key.lower() for key, _ in row], name, number)
    problems = [
        Problem(message, name, number, key.lower(), shown)
        for number, row in rows
        for key, value in row
        for message, shown in _no_cell(value)
    ]
    if problems:
        raise refused(problems)

    def cell(value: object) -> str | None:
        if value is None:
            return None
        return str(value).lower() if isinstance(value, bool) else str(value)

    return pl.DataFrame(
        [{"line": n, **{k.lower(): cell(v) for k, v in row}} for n, row in rows],
        schema={"line": pl.Int64, **dict.fromkeys(COLUMNS, pl.String)},
    )


def _parsed(text: str, name: str, row: int | None = None) -> Any:
    """What JSON says: an object as a tuple of its pairs, a number as it is written.

    Raises `InputError` at `row`, or without one at the line of the text.
    """
    try:
        return json.loads(text, object_pairs_hook=tuple, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise refused([Problem(f"is not JSON: {error.msg}", name, row or error.lineno)]) from error
    except RecursionError as error:
        begins = text.count("\n", 0, len(text) - len(text.lstrip())) + 1
        raise refused([Problem("is nested too deeply", name, row or begins)]) from error


def _no_cell(value: object) -> list[tuple[str, str]]:
    """Why a JSON value cannot be a cell, and how to show it; empty where it can."""
    if isinstance(value, list):
        return [("is a list, not one value", "[...]")]
    if isinstance(value, tuple):
        return [("is an object, not one value", "{...}")]
    if isinstance(value, str) and not value.isascii() and _HALF.search(value):
        return [("has half of a surrogate pair, which is no character", value)]
    return []


def _refuse_unknown(names: list[str], file: str, row: int) -> None:
    problems = [
        Problem("is not a column of usage", file, row, "column", name)
        for name in names
        if name not in COLUMNS
    ]
    problems += [
        Problem("stands twice", file, row, "column", name)
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if "duration_s" in names and "duration_ms" in names:
        problems.append(Problem("give duration_s or duration_ms, not both", file, row, "column"))
    if problems:
        raise refused(problems, f"columns are {', '.join(COLUMNS)}")
