"""The terms of legs as columns of a query, and the roundings that depend on terms alone."""

import numpy as np
import polars as pl

from billing_assets.rating.labels import gather
from billing_assets.rating.plan import OPEN, RatingPlan

_MICRO = 1_000_000


class TermColumns:
    """Columns of the plan's terms by leg; a term that is the same everywhere becomes a constant."""

    def __init__(self, plan: RatingPlan) -> None:
        self.terms = plan.terms
        self.used = plan.terms_in_use

    def values(self, name: str) -> list[int | bool | str]:
        """The values that a term takes in this plan."""
        return [getattr(self.terms[n], name) for n in self.used]

    def any(self, name: str) -> bool:
        """Whether any terms in use have it."""
        return any(self.values(name))

    def largest(self, name: str) -> int:
        """The largest value of a whole-number term."""
        return max(int(value) for value in self.values(name))

    def value(self, name: str) -> pl.Expr:
        """A whole-number term of each leg; legs without an agreement, which are not priced, have
        that of some terms in use."""
        values = set(self.values(name))
        if len(values) == 1:
            return pl.lit(int(values.pop()), pl.Int64)
        column = np.full(len(self.terms), self.values(name)[0], np.int64)
        column[self.used] = self.values(name)
        return gather(column, pl.col("_terms"))

    def flag(self, name: str) -> pl.Expr:
        """A yes-or-no term of each leg."""
        return self.value(name) != 0

    def word(self, name: str, word: str) -> pl.Expr:
        """Whether a term of each leg is a word."""
        values = set(self.values(name))
        if len(values) == 1:
            return pl.lit(values.pop() == word)
        return gather(np.array([getattr(t, name) == word for t in self.terms]), pl.col("_terms"))


def round_to_seconds(terms: TermColumns, milliseconds: pl.Expr) -> pl.Expr:
    """Milliseconds to whole seconds: up, half up, down, or each stamp floored first (A13)."""
    rules = {
        "up": (milliseconds + 999) // 1000,
        "half_up": (milliseconds + 500) // 1000,
        "floor": milliseconds // 1000,
        "floor_stamps": pl.when("answered")
        .then(
            pl.col("end_time").dt.epoch("us") // _MICRO
            - pl.when(terms.flag("from_setup"))
            .then("setup_time")
            .otherwise("answer_time")
            .dt.epoch("us")
            // _MICRO
        )
        .otherwise(0),
    }
    used = sorted({str(rule) for rule in terms.values("duration_rounding")})
    expression = rules[used[0]]
    for rule in used[1:]:
        here = terms.word("duration_rounding", rule)
        expression = pl.when(here).then(rules[rule]).otherwise(expression)
    return expression


def amount_of(terms: TermColumns, whole: pl.Expr, part: pl.Expr) -> pl.Expr:
    """`_amount`: minimum, cap, then a record's one rounding, in 10^-10 units with its sign."""
    if terms.any("minimum_e10"):
        low = terms.value("minimum_e10")
        raised = pl.col("_charged") & (pl.col("_status") == OPEN) & (whole < low)
        part = pl.when(raised).then(0).otherwise(part)
        whole = pl.when(raised).then(low).otherwise(whole)
    if set(terms.values("cap_e10")) != {-1}:
        high = terms.value("cap_e10")
        above = (whole > high) | ((whole == high) & (part > 0))
        capped = pl.col("_charged") & (high >= 0) & above
        part = pl.when(capped).then(0).otherwise(part)
        whole = pl.when(capped).then(high).otherwise(whole)
    return _rounded(terms, whole, part).alias("_amount")


def _rounded(terms: TermColumns, whole: pl.Expr, part: pl.Expr) -> pl.Expr:
    """Round whole + part/per to the agreement's decimals and method, and apply the sign."""
    per, step = terms.value("per"), terms.value("step")
    steps = whole // step
    rest = (whole - steps * step) * per + part
    unit = step * per
    rules = {
        "half_up": 2 * rest >= unit,
        "half_even": (2 * rest > unit) | ((2 * rest == unit) & (steps % 2 == 1)),
        "up": rest > 0,
        "down": pl.lit(False),
    }
    used = sorted({str(rule) for rule in terms.values("method")})
    upward = rules[used[0]]
    for rule in used[1:]:
        upward = pl.when(terms.word("method", rule)).then(rules[rule]).otherwise(upward)
    return signed(terms, (steps + upward.cast(pl.Int64)) * step)


def signed(terms: TermColumns, amount: pl.Expr) -> pl.Expr:
    """An amount with the sign of its terms: reverse billed ones are negative."""
    return amount * terms.value("sign") if set(terms.values("sign")) != {1} else amount
