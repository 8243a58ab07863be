"""Pre-invoice validation of one cycle (catalogue 4.1, WD3): findings, blocking or not."""

from decimal import Decimal

import polars as pl

from billing_assets.charging.run import Charged
from billing_assets.reference.load import Reference
from billing_assets.registry.cycles import Finding

SUSPENSE_LIMIT = Decimal("0.01")
"""Share of a partner's answered legs that may wait in suspense before its cycle is blocked."""


def validate_cycle(charged: Charged, suspense: pl.DataFrame, reference: Reference) -> list[Finding]:
    """What a person must know, or must mend first, before the cycle is billed.

    `suspense` are the partner's rows of that table on the cycle's days.
    """
    partner = reference.partner(charged.cycle.partner)
    findings = _suspense(charged, suspense)
    if charged.charges.is_empty():
        findings.append(Finding("empty_cycle", "no charge at all in this period", blocks=False))
    free = charged.usage.filter(
        (pl.col("pricing") == "priced") & (pl.col("rate_e10") == 0) & (pl.col("answered") > 0)
    )
    if not free.is_empty():
        names = ", ".join(free["destination"].unique().sort())
        findings.append(
            Finding(
                "zero_rate",
                f"{free['answered'].sum()} answered records at a rate of zero: {names}",
                blocks=False,
            )
        )
    if "customer" in partner.roles and not partner.tax.vat_id and partner.tax.category == "AE":
        findings.append(Finding("vat_id", "reverse charge needs the partner's VAT id", blocks=True))
    return findings


def _suspense(charged: Charged, suspense: pl.DataFrame) -> list[Finding]:
    """One finding a reason; blocking when too much of the partner's traffic waits."""
    if suspense.is_empty():
        return []
    answered = int(charged.usage["answered"].sum())
    share = Decimal(suspense.height) / Decimal(answered + suspense.height)
    reasons = suspense.group_by("reason").len().sort("reason")
    return [
        Finding(
            "suspense",
            f"{count} legs wait in suspense: {reason} ({share:.4%} of the cycle's legs in all)",
            blocks=share > SUSPENSE_LIMIT,
        )
        for reason, count in reasons.iter_rows()
    ]
