"""Series of document numbers: how a number is written, so that none is given twice."""

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from billing_assets.reference.forms import Form, Identifier


class Series(Form):
    """A series of document numbers of a legal entity: 'FT 2026/000001'.

    Numbers begin anew each year; self-billed documents have a series a partner.
    """

    series: Identifier
    document: Literal["invoice", "credit_note", "debit_note", "self_billed"]
    pattern: str = "{series} {year}/{number:06d}"

    def written(self, series: str, year: int, number: int) -> str:
        """A number as it stands on a document."""
        return self.pattern.format(series=series, year=year, number=number)

    @model_validator(mode="after")
    def _no_number_comes_twice(self) -> "Series":
        try:
            one, *others = (
                self.written(self.series, 2026, 123456),
                self.written(self.series, 2026, 123457),
                self.written(self.series, 2027, 123456),
                *([self.written("-", 2026, 123456)] if self.document == "self_billed" else []),
            )
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(f"pattern {self.pattern!r} is no number format: {error}") from error
        if "123456" not in one or not one.isprintable() or one in others:
            raise ValueError(
                f"pattern {self.pattern!r} would give a number twice: write {{year}} and "
                "{number:06d}, and {series} where documents are self-billed"
            )
        return self


def _distinct_series(series: tuple[Series, ...]) -> tuple[Series, ...]:
    """Refuse two series of one kind of document, and two that write the same numbers."""
    kinds = [one.document for one in series]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise ValueError(f"two series number {twice[0]}: one of them would never be used")
    names: dict[str, str] = {}
    for one in series:
        if names.setdefault(one.written(one.series, 2026, 1), one.series) != one.series:
            raise ValueError(f"{one.series} writes the numbers of another series: write {{series}}")
    return series


AllSeries = Annotated[tuple[Series, ...], AfterValidator(_distinct_series)]
