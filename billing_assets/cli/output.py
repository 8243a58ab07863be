"""How commands speak: tables for people, JSON for scripts, sentences for errors."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from billing_assets.core.errors import BillingError

WIDE = 170
"""Columns of tables that go into a file or a pipe."""

# what is printed holds partners' words: none of it is markup, nor the name of an emoji
console = Console(width=None if sys.stdout.isatty() else WIDE, markup=False, emoji=False)
errors = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)

JSON_HELP = "print one JSON document for scripts"

Row = Mapping[str, object]


def show(rows: Sequence[Row], title: str, *, as_json: bool, empty: str = "nothing to show") -> None:
    """Rows of one shape as a table, or as a JSON list."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        numeric = isinstance(value, int | Decimal) and not isinstance(value, bool)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(text(value) for value in row.values()))
    console.print(table)


def print_json(value: object) -> None:
    """One JSON document on standard output; decimals, times and what is no number as text."""
    try:
        document = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    except ValueError:
        read = json.loads(json.dumps(value, default=_plain), parse_constant=str)
        document = json.dumps(read, ensure_ascii=False)
    console.print_json(document)


def text(value: object) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return _amount(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def _amount(value: Decimal) -> str:
    """All digits, without the zeros that end a long fraction."""
    whole, point, fraction = f"{value:,f}".partition(".")
    return f"{whole}{point}{fraction[:2]}{fraction[2:].rstrip('0')}"


def fail(error: BillingError) -> None:
    """An error as a sentence and a hint, on standard error."""
    errors.print(Text.assemble(("error:", "bold red"), f" {error.message}"))
    if error.hint:
        errors.print(f"  {error.hint}", highlight=False)


def warn(words: str) -> None:
    """A sentence that a person should read, on standard error: standard output is the answer's."""
    errors.print(words, style="yellow", highlight=False)


def check_writable(file: Path) -> None:
    """Raise `BillingError` for a file that cannot be written, before work is done for it."""
    try:
        file.open("a").close()
    except OSError as error:
        raise BillingError(f"cannot write {file}: {error.strerror}") from error


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
