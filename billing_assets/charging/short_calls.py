"""The short-call surcharge: counting the short calls of a cycle, and what they cost (J07)."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

import polars as pl

from billing_assets.charging.line import Facts, Line, ShortCallCount, count_text, plain, rule_line
from billing_assets.core.periods import Period
from billing_assets.reference.models import Agreement, ShortCalls


def count_short_calls(
    legs: pl.LazyFrame,
    agreements: Iterable[Agreement],
    period: Period,
    *,
    records: pl.Expr | None = None,
) -> Mapping[str, ShortCallCount]:
    """Count by agreement key the answered legs whose local day lies in a period.

    `legs` has the columns of `rated_leg`; `records` tells how many equal records a row stands
    for (by default one). Agreements without short-call terms are left out.
    """
    limits = {a.key: a.short_calls.seconds * 1000 for a in agreements if a.short_calls}
    if not limits:
        return {}
    weight = pl.lit(1, pl.Int64) if records is None else records
    agreement = pl.col("agreement").cast(pl.String)
    counted = (
        legs.filter(
            agreement.is_in(list(limits)),
            pl.col("answered"),
            pl.col("local_day").is_between(period.start, period.last_day),
        )
        .select(
            agreement,
            weight.alias("calls"),
            (pl.col("duration_ms") <= agreement.replace_strict(limits)).alias("short"),
        )
        .group_by("agreement")
        .agg(pl.col("calls").sum(), pl.col("calls").filter("short").sum().alias("short"))
        .collect(engine="streaming")
    )
    return {key: ShortCallCount(calls, short) for key, calls, short in counted.iter_rows()}


def short_call_fee(count: ShortCallCount, terms: ShortCalls) -> tuple[int, Decimal]:
    """How many calls are surcharged, and the amount; (0, 0) up to the threshold.

    The excess is counted in whole calls above the allowed share.
    """
    if count.share <= Fraction(terms.threshold):
        return 0, Decimal(0)
    allowed = int(Fraction(terms.threshold) * count.calls)
    charged = count.short if terms.scope == "all" else count.short - allowed
    return charged, terms.fee * charged


def short_call_lines(facts: Facts) -> list[Line]:
    """The surcharges of agreements whose share of short calls is above their threshold (J07)."""
    lines = []
    for terms in facts.terms.values():
        rule, count = terms.short_calls, facts.short_calls.get(terms.key)
        charged, exact = short_call_fee(count, rule) if rule and count else (0, Decimal(0))
        if rule and count and charged:
            lines.append(_line(facts, terms, rule, count, charged, exact))
    return lines


def _line(
    facts: Facts,
    terms: Agreement,
    rule: ShortCalls,
    count: ShortCallCount,
    charged: int,
    exact: Decimal,
) -> Line:
    share, limit = (count_text(100 * Fraction(part)) for part in (count.share, rule.threshold))
    return rule_line(
        terms,
        key=("short_calls", terms.key),
        kind="surcharge",
        title=f"Short calls of at most {rule.seconds} s",
        days=(facts.cycle.period.start, facts.cycle.period.last_day),
        exact=-exact if terms.reverse else exact,
        steps=[
            f"{count.short} of {count.calls} answered calls last at most {rule.seconds} s: "
            f"{share}%",
            f"above {limit}%: {charged} calls ({rule.scope}) at {plain(rule.fee)} {terms.currency}",
        ],
        rule=f"short calls ({rule.scope})",
        quantity=charged,
        unit="call",
        price=rule.fee,
        records=charged,
        answered=charged,
        inputs={"answered": count.calls, "short_calls": count.short},
    )
