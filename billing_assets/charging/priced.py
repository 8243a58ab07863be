"""Usage of a cycle after its named rules: what they leave at the price of its records."""

from dataclasses import dataclass, field
from fractions import Fraction

import polars as pl

from billing_assets.charging.line import Line
from billing_assets.reference.share_terms import RevenueShare
from billing_assets.reference.volume_terms import VolumeRule, Window


@dataclass(frozen=True)
class Worth:
    """What a rule came to in one of its windows, before this cycle's usage and with it."""

    agreement: str
    rule: VolumeRule | RevenueShare
    window: Window
    before: Fraction
    now: Fraction


@dataclass
class Priced:
    """Usage of a cycle after its named rules.

    `kept` is the cycle's usage that stays at the price of its records, `kept_before` that of
    other cycles; `worth` is what rules charge instead of the rest.
    """

    kept: pl.DataFrame
    kept_before: pl.DataFrame
    lines: list[Line] = field(default_factory=list)
    worth: list[Worth] = field(default_factory=list)
