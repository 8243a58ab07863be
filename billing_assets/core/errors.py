"""Errors that teach: what is wrong, where it stands, what to do next.

No business rule lives here. Every error that a user can cause is a `BillingError`; the command
line prints its message and never a traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input, at the place where a person can mend it.

    `file` is a path as the user knows it, `row` counts from 1 as an editor does (None: the
    whole file), `field` and `value` name the cell, `message` is a sentence.
    """

    message: str
    file: str = ""
    row: int | None = None
    field: str = ""
    value: str = ""

    def __str__(self) -> str:
        place = self.file + (f":{self.row}" if self.row is not None else "")
        cell = f" {self.field}={self.value!r}" if self.field else ""
        return f"{place}{cell}: {self.message}" if place or cell else self.message


class BillingError(Exception):
    """A failure that is the input's or the operator's, told in one sentence and a hint."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InputError(BillingError):
    """An input was refused; `problems` lists every reason, not only the first."""

    def __init__(self, message: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        shown = "\n  ".join(str(p) for p in self.problems[:20])
        more = len(self.problems) - 20
        text = f"{message}\n  {shown}" + (f"\n  and {more} more" if more > 0 else "")
        super().__init__(text, hint=hint)


class NotFound(BillingError):
    """A named thing (partner, cycle, document, record) does not exist."""


class SliceConflict(BillingError):
    """Another run replaced the same slice of a table meanwhile; safe to run again."""


class StateError(BillingError):
    """A step was asked for in a state that does not allow it (a final cycle, say)."""
