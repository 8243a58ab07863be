"""Tables that a person reads in the UI: frames and problems as Markdown metadata."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import dagster as dg
import polars as pl

from billing_assets.core.errors import Problem

MOST_ROWS = 40


def markdown(frame: pl.DataFrame, most: int = MOST_ROWS) -> dg.MarkdownMetadataValue:
    """A frame as a Markdown table; figures to the right, long frames cut and said so."""
    names = frame.columns
    right = [frame.schema[name].is_numeric() for name in names]
    lines = [
        "| " + " | ".join(names) + " |",
        "| " + " | ".join("---:" if r else "---" for r in right) + " |",
    ]
    lines += [
        "| " + " | ".join(_cell(value) for value in row) + " |"
        for row in frame.head(most).iter_rows()
    ]
    if frame.height > most:
        lines.append(f"\n{frame.height - most} more rows")
    return dg.MetadataValue.md("\n".join(lines))


def problem_table(problems: Iterable[Problem]) -> dg.MarkdownMetadataValue:
    """Problems with the place where each can be mended."""
    rows: Sequence[tuple[str, int | None, str, str, str]] = [
        (p.file, p.row, p.field, p.value, p.message) for p in problems
    ]
    if not rows:
        return dg.MetadataValue.md("none")
    schema = ["file", "row", "field", "value", "message"]
    return markdown(pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value.normalize():,f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")
