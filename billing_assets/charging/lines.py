"""All charges of a cycle: every charging model called in turn, its lines written as rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import polars as pl

from billing_assets.charging.balance import balance_lines
from billing_assets.charging.capacity import capacity_lines
from billing_assets.charging.commitments import commitment_lines
from billing_assets.charging.cycles import Cycle
from billing_assets.charging.exchange import exchanged
from billing_assets.charging.line import REPLACED, Facts, Line, inputs_of
from billing_assets.charging.one_time import one_time_lines
from billing_assets.charging.percentages import percentage_lines
from billing_assets.charging.recurring import recurring_lines
from billing_assets.charging.share_lines import part_lines
from billing_assets.charging.short_calls import short_call_lines
from billing_assets.charging.tax_lines import tax_lines
from billing_assets.charging.usage_lines import usage_lines
from billing_assets.charging.volume_lines import credit_lines, price_volumes
from billing_assets.core.errors import BillingError
from billing_assets.core.ids import bucket_of, stable_id
from billing_assets.lake.tables import CHARGE
from billing_assets.registry.cycles import ADJUSTMENT

MODELS: Sequence[Callable[[Facts], list[Line]]] = (
    recurring_lines,
    one_time_lines,
    capacity_lines,
    short_call_lines,
    balance_lines,
)
"""The models that add lines beside the usage; each sees all facts and no other model's lines."""


def charge_cycle(facts: Facts, *, buckets: int, sources: Mapping[str, object]) -> pl.DataFrame:
    """All charges of a cycle, in the columns of table `charge`.

    `sources` names what they were made from. Raises `BillingError` when the lines do not add up
    to the usage.
    """
    cycle = facts.cycle
    priced = price_volumes(facts)
    lines = usage_lines(facts, priced.kept)
    lines += priced.lines
    lines += part_lines(facts)
    lines += percentage_lines(facts, lines)
    lines += credit_lines(facts, priced)
    lines += commitment_lines(facts, priced)
    if cycle.cadence != ADJUSTMENT:
        lines += [line for model in MODELS for line in model(facts)]
    lines = exchanged(facts, [*lines, *tax_lines(facts, lines)])
    provenance = json.dumps(sources, sort_keys=True)
    charges = pl.DataFrame(
        [
            {
                "priced_in": line.columns["currency"],
                **line.columns,
                "month": cycle.month,
                "bucket": bucket_of(cycle.partner, buckets),
                "cycle": cycle.cycle,
                "partner": cycle.partner,
                "charge_id": stable_id(cycle.cycle, *(str(part) for part in line.key)),
                "steps": json.dumps(line.steps, ensure_ascii=False),
                "inputs": json.dumps(
                    inputs_of(facts, line), ensure_ascii=False, sort_keys=True, default=str
                ),
                "sources": provenance,
            }
            for line in lines
        ],
        schema=CHARGE.schema,
    ).sort(CHARGE.order)
    _assert_whole(cycle, facts.usage, charges)
    return charges


def _assert_whole(cycle: Cycle, usage: pl.DataFrame, charges: pl.DataFrame) -> None:
    """Rated usage is on usage lines or replaced by a named rule, to the last unit."""
    rated = totals(usage, "amount")
    lines = totals(carrying(charges), "exact_amount")
    if rated != lines:
        raise BillingError(
            f"usage lines of {cycle.cycle} and what rules replaced do not add up to its rated "
            f"usage: {lines} against {rated}",
            hint="please report this as a defect",
        )


def carrying(charges: pl.DataFrame) -> pl.DataFrame:
    """The charges that together carry the rated usage: its lines, and what rules replaced; in the
    currency that they are priced in, as the usage is."""
    return charges.filter(pl.col("kind").is_in(["usage", REPLACED])).with_columns(
        pl.coalesce("priced_in", "currency").alias("currency")
    )


def totals(frame: pl.DataFrame, column: str) -> dict[tuple[str, str], Decimal]:
    """Sums of a column by agreement and currency."""
    grouped = frame.group_by("agreement", "currency").agg(pl.col(column).sum())
    return {(agreement, currency): total for agreement, currency, total in grouped.iter_rows()}
