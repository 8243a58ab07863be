"""The results of all controls of a month in one shape, for people and scripts."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from billing_assets.registry.registry import Registry

OWNER = "revenue assurance"

_SENTENCES = {
    "spike": "{value:,.0f} attempts in the hour, {usual:,.0f} are usual (score {score})",
    "high_risk": "{value:,.0f} calls to a high-risk range",
    "new_destination": "first traffic, worth {value:,.2f}",
    "calm_jump": "{value:,.1f} minutes at night or at the weekend, {usual:,.1f} are usual",
    "asr_shift": "ASR {value:.2%}, {usual:.2%} is usual",
    "ner_shift": "NER {value:.2%}, {usual:.2%} is usual",
    "acd_shift": "ACD {value:.1f} s, {usual:.1f} s is usual",
    "short_calls": "{value:.2%} of the answered calls are short",
    "negative_margin": "sold below cost, margin {value:,.2f}",
}


@dataclass(frozen=True)
class Result:
    """What one control says: `severity` is error, warning, info or passed; `query` is SQL."""

    control: str
    severity: str
    partner: str
    where: str
    finding: str
    owner: str
    query: str
    waived: str = ""


def anomaly_results(anomalies: pl.DataFrame) -> Iterator[Result]:
    """Rows of mart `anomalies` in words."""
    for row in anomalies.sort("day", "hour", "kind").iter_rows(named=True):
        hour = "" if row["hour"] is None else f" {row['hour']:02}:00"
        condition = f"partner = '{row['partner']}' AND day = DATE '{row['day']}'"
        query = f"SELECT * FROM traffic_hourly WHERE {condition} ORDER BY hour, destination"
        if row["kind"] == "negative_margin":
            condition = condition.replace("partner", "customer", 1)
            query = f"SELECT * FROM margin_daily WHERE {condition} AND margin < 0"
        yield Result(
            row["kind"],
            row["severity"],
            row["partner"],
            f"{row['day']}{hour} {row['destination']}".strip(),
            _SENTENCES[row["kind"]].format(**row),
            OWNER,
            query,
        )


def completeness_results(rows: pl.DataFrame) -> Iterator[Result]:
    """Rows of mart `completeness_by_partner_day` that are outside their tolerance."""
    for row in rows.filter("outside").sort("day", "partner", "leg").iter_rows(named=True):
        value = row["missing_value"]
        worth = "" if value is None else f", about {value:,.2f} {row['currency']}"
        yield Result(
            "completeness",
            "warning",
            row["partner"],
            f"{row['day']} {row['leg']}",
            f"{row['counted']:,} calls and {row['counted_ms'] / 60_000:,.1f} minutes counted, "
            f"{row['matched']:,} and {row['matched_ms'] / 60_000:,.1f} received{worth}",
            "mediation",
            "SELECT * FROM completeness_daily WHERE counted IS NOT NULL AND day = DATE "
            f"'{row['day']}' AND partner = '{row['partner']}' AND leg = '{row['leg']}'",
        )


def invoiced_results(rows: pl.DataFrame) -> Iterator[Result]:
    """Rows of mart `charged_vs_invoiced` whose documents do not show what was charged."""
    apart = (pl.col("difference") != 0) | (pl.col("charges") != pl.col("invoiced_charges"))
    for row in rows.filter((pl.col("state") != "none") & apart).iter_rows(named=True):
        yield Result(
            "charged_vs_invoiced",
            "error" if row["state"] == "final" else "warning",
            row["partner"],
            f"{row['cycle']} {row['leg']} {row['currency']}",
            f"{row['invoiced_charges']} of {row['charges']} charges stand on {row['state']} "
            f"documents, which bill {row['invoiced']:,.2f} of {row['charged']:,.2f}",
            OWNER,
            f"SELECT charge_id, description, amount FROM charge WHERE cycle = '{row['cycle']}'",
        )


def balance_results(stages: pl.DataFrame, month: str) -> Iterator[Result]:
    """The record balance of each stage of a month: passed, or each file that does not add up."""
    for (stage,), rows in stages.group_by("stage", maintain_order=True):
        wrong = rows.filter((pl.col("difference") != 0) | (pl.col("difference_ms") != 0))
        for row in wrong.iter_rows(named=True):
            yield Result(
                "record_balance",
                "error",
                "",
                f"{row['day']} {row['source']} {stage}",
                f"{row['difference']} records and {row['difference_ms']} ms without a fate",
                "mediation",
                f"SELECT * FROM record_fate WHERE file_key = {row['file_key']}",
            )
        if wrong.is_empty():
            records = int(rows["records_in"].sum())
            yield Result(
                "record_balance",
                "passed",
                "",
                f"{month} {stage}",
                f"{records:,} records in {rows['file_key'].n_unique()} files, difference 0",
                "mediation",
                "SELECT landed_day, fate, sum(records) AS records FROM record_fate GROUP BY ALL",
            )


def cycle_results(registry: Registry, month: str) -> Iterator[Result]:
    """The exceptions of the cycles that end in a month, with what was waived."""
    for cycle in registry.cycles.list(month=month):
        waived = {one.rule: one for one in registry.cycles.waivers(cycle.id)}
        for one in cycle.findings:
            waiver = waived.get(one.rule)
            yield Result(
                one.rule,
                "error" if one.blocks else one.severity or "warning",
                cycle.partner,
                cycle.id,
                one.message,
                one.owner,
                one.query,
                f"{waiver.who}: {waiver.reason}" if waiver and one.blocks else "",
            )
