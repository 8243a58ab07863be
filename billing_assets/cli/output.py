"""How commands speak: tables for people, JSON for scripts, sentences for errors."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.table import Table

from billing_assets.core.errors import BillingError

WIDE = 170
"""Columns of tables that go into a file or a pipe."""

console = Console(width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, soft_wrap=True)

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
    """One JSON document on standard output; decimals and times as text."""
    console.print_json(json.dumps(value, default=_plain, ensure_ascii=False))


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
    errors.print(f"[bold red]error:[/] {_escaped(error.message)}", highlight=False)
    if error.hint:
        errors.print(f"  {_escaped(error.hint)}", highlight=False)


def warn(words: str) -> None:
    """A sentence that a person should read, on standard error: standard output is the answer's."""
    errors.print(f"[yellow]{_escaped(words)}[/]", highlight=False)


def check_writable(file: Path) -> None:
    """Raise `BillingError` for a file that cannot be written, before work is done for it."""
    try:
        file.open("a").close()
    except OSError as error:
        raise BillingError(f"cannot write {file}: {error.strerror}") from error


def _escaped(words: str) -> str:
    return words.replace("[", r"\[")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
