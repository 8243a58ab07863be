"""What billing must arrive at for each partner, and which charges make up each figure.

The figures are data (`data/demo/scenario/`); nothing here computes a price.
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_assets.demo.scenario import (
    ChargeMatch,
    FigureKind,
    Model,
    Scenario,
    load_scenario,
)


@dataclass(frozen=True)
class ExpectedResult:
    """One figure of one partner, with the models that must be built before it comes out."""

    partner: str
    case: str
    label: str
    kind: FigureKind
    amount: Decimal
    currency: str
    needs: tuple[Model, ...]
    match: ChargeMatch

    def charges(self) -> pl.Expr:
        """The condition on rows of table `charge` that make up the figure."""
        match = self.match
        matched = pl.col("agreement").str.split("@").list.first().is_in(match.agreements)
        for column, words in (
            ("cycle", match.cycles),
            ("kind", match.kinds),
            ("destination", match.destinations),
            ("band", match.bands),
            ("origin", match.origins),
            ("section", match.sections),
        ):
            if words:
                matched &= pl.col(column).is_in(words)
        return matched.fill_null(False)

    def billed(self, charges: pl.DataFrame) -> Decimal | None:
        """What rows of table `charge` came to; None for a figure that charges do not hold."""
        if self.kind not in ("net", "margin"):
            return None
        rows = charges.filter(self.charges())
        total = sum(rows["amount"], Decimal(0))
        if self.kind == "margin":
            owed = rows.filter(pl.col("leg") == "supplier")["amount"]
            total -= 2 * sum(owed, Decimal(0))
        return total


def expected_results(scenario: Scenario | None = None) -> list[ExpectedResult]:
    """The figures of all partners at scale 1, in the order in which a person reads them."""
    scenario = scenario or load_scenario()
    return [
        ExpectedResult(
            one.partner,
            one.case,
            figure.figure,
            figure.kind,
            figure.amount,
            figure.currency,
            figure.needs,
            figure.charges,
        )
        for one in scenario.partners
        for figure in one.expected
    ]
