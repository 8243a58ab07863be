"""Slices: some values of a table's partition columns, as Delta's filters and as words."""

from collections.abc import Mapping, Sequence
from datetime import date

from billing_assets.core.errors import BillingError
from billing_assets.lake.tables import Table

Value = str | int | date
Slice = Mapping[str, Value | Sequence[Value]]
"""Partition column -> its value, or a list of values; columns left out are not limited."""

Filters = list[tuple[str, str, str | list[str]]]


def partition_filters(table: Table, part: Slice) -> Filters:
    """A slice as Delta's partition filters; raises `BillingError` for other columns or none."""
    if not part or any(name not in table.partition_by for name in part):
        raise BillingError(
            f"a slice of {table.name} is by {', '.join(table.partition_by)}, "
            f"not by {', '.join(part) or 'nothing'}"
        )
    filters: Filters = []
    for name, wanted in part.items():
        texts = _texts(wanted)
        filters.append((name, "in", texts) if _is_list(wanted) else (name, "=", texts[0]))
    return filters


def partition_text(value: object) -> str:
    """A partition value as a Delta log writes it; raises `BillingError` when it is empty."""
    if value is None or value == "":
        raise BillingError("a partition column may not be empty")
    return value.isoformat() if isinstance(value, date) else str(value)


def assert_inside(table: Table, part: Slice, values: Mapping[str, str]) -> None:
    """Raise `BillingError` when a partition, in Delta's words, is not within a slice."""
    for name, wanted in part.items():
        if values[name] not in _texts(wanted):
            raise BillingError(
                f"a row of {table.name} with {name}={values[name]} is outside the slice "
                f"{slice_text(part)}"
            )


def slice_text(part: Slice) -> str:
    """A slice for a message: `day=2026-03-01, bucket=2`."""
    return ", ".join(f"{name}={'|'.join(_texts(wanted))}" for name, wanted in part.items())


def _is_list(wanted: Value | Sequence[Value]) -> bool:
    return isinstance(wanted, Sequence) and not isinstance(wanted, str)


def _texts(wanted: Value | Sequence[Value]) -> list[str]:
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return [partition_text(one) for one in wanted]
    return [partition_text(wanted)]
