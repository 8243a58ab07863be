"""Which of the seeded defects the controls caught, with the evidence of each.

Every seed of `data/demo/defects.yaml` has one function here that looks where its control writes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from billing_assets.demo.generate import Manifest
from billing_assets.installation import Installation
from billing_assets.intake.sequence import sequence_report
from billing_assets.lake.tables import (
    CHARGE,
    DUPLICATE,
    PARTIAL,
    RATED_LEG,
    REJECTED,
    SUSPENSE,
    Table,
)
from billing_assets.registry.schema import FileState


@dataclass(frozen=True)
class Seen:
    """What the controls left behind: the home, what was generated, the month's anomalies."""

    home: Installation
    manifest: Manifest
    anomalies: pl.DataFrame

    def count(self, table: Table, *conditions: pl.Expr) -> int:
        """Rows of a table of the lake."""
        rows = self.home.lake.scan(table)
        for condition in conditions:
            rows = rows.filter(condition)
        return rows.select(pl.len()).collect(engine="streaming").item()

    def finding(self, partner: str, rule: str) -> str:
        """A partner's finding, with what became of its cycle."""
        for cycle in self.home.registry.cycles.list(partner=partner):
            for one in cycle.findings:
                if one.rule == rule:
                    waived = {w.rule: w for w in self.home.registry.cycles.waivers(cycle.id)}
                    after = f"; waived by {waived[rule].who}" if rule in waived else ""
                    return f"{cycle.id} {cycle.state.value}: {one.message}{after}"
        return ""

    def refused(self, seed: str) -> str:
        """Why intake refused the file of a seed."""
        names = {(file.source, file.name) for file in self.manifest.files if file.seed == seed}
        for source, name in sorted(names):
            for entry in self.home.registry.files.of_source(source):
                if entry.name == name and entry.state is FileState.QUARANTINED:
                    return f"{name} refused: {entry.message}"
        return ""

    def anomaly(self, partner: str, kind: str) -> str:
        """The largest anomaly of a kind."""
        rows = self.anomalies.filter((pl.col("partner") == partner) & (pl.col("kind") == kind))
        if rows.is_empty():
            return ""
        row = rows.sort(pl.col("value").abs(), descending=True).row(0, named=True)
        hour = "" if row["hour"] is None else f" {row['hour']:02}:00"
        return f"{kind} on {row['day']}{hour} {row['destination']}: {row['value'].normalize():f}"


def _gap(seen: Seen) -> str:
    reports = sequence_report(seen.home.registry, list(seen.home.reference.sources.values()))
    missing = {one.source: one.missing for one in reports}.get("opo2", ())
    return f"opo2 misses number {', '.join(map(str, missing))}" if missing else ""


def _again(seen: Seen) -> str:
    names = [one.name for one in seen.home.registry.files.redeliveries()]
    wanted = [file.name for file in seen.manifest.files if file.seed == "redelivered-file"]
    return f"{wanted[0]} is known as delivered again" if set(wanted) & set(names) else ""


def _duplicates(seen: Seen) -> str:
    count = seen.count(DUPLICATE)
    return f"{count} duplicates kept apart, none rated" if count >= 150 else ""


def _malformed(seen: Seen) -> str:
    rows = seen.home.lake.scan(REJECTED).select("reason").collect()["reason"]
    reasons = ", ".join(sorted(set(rows)))
    return f"{len(rows)} rows rejected: {reasons}" if len(rows) >= 5 else ""


def _unknown_trunk(seen: Seen) -> str:
    waiting = seen.count(SUSPENSE, pl.col("reason") == "UNKNOWN_TRUNK")
    days = [date(2026, 3, 17), date(2026, 3, 18)]
    rated = seen.count(RATED_LEG, pl.col("partner") == "P03", pl.col("local_day").is_in(days))
    if waiting >= 500:
        return f"{waiting} legs in suspense UNKNOWN_TRUNK"
    return f"mapped and retried: {rated} calls rated to P03, {waiting} wait" if rated else ""


def _no_rate(seen: Seen) -> str:
    waiting = seen.count(SUSPENSE, pl.col("reason") == "NO_RATE", pl.col("partner") == "P15")
    return seen.finding("P15", "suspense") if waiting >= 40 else ""


def _unanswered(seen: Seen) -> str:
    free = seen.count(RATED_LEG, ~pl.col("answered"), pl.col("amount_e10") == 0)
    charged = seen.count(
        RATED_LEG, ~pl.col("answered"), pl.col("amount_e10") != 0, pl.col("service") == "voice"
    )
    return f"{free} unanswered legs, none charged" if free and not charged else ""


def _origin(seen: Seen) -> str:
    count = seen.count(RATED_LEG, pl.col("partner") == "P03", pl.col("origin") == "INVALID")
    return f"{count} calls of origin INVALID" if count >= 50 else ""


def _partials(seen: Seen) -> str:
    merged = seen.count(PARTIAL, pl.col("call_record_id").is_not_null())
    return f"{merged} parts merged into one call" if merged == 3 else ""


def _edges(seen: Seen) -> str:
    count = seen.count(RATED_LEG, pl.col("local_day") != pl.col("day"))
    return f"{count} legs billed on a local day that is not their UTC day" if count else ""


def _late(seen: Seen) -> str:
    rows = (
        seen.home.lake.scan(CHARGE)
        .filter(pl.col("section") == "prior_period", pl.col("partner") == "P15")
        .collect()
    )
    total = sum(rows["amount"], Decimal(0))
    return f"prior-period line of {total.normalize():f} USD" if rows.height else ""


def _notice(seen: Seen) -> str:
    breaches = [one for one in seen.home.reference.breaches if "P07" in str(one)]
    return f"{len(breaches)} breach of notice listed" if breaches else ""


_CONTROLS: Mapping[str, tuple[str, Callable[[Seen], str]]] = {
    "sequence-gap": ("file audit", _gap),
    "redelivered-file": ("file audit", _again),
    "duplicate-records": ("duplicates", _duplicates),
    "torn-file": ("intake", lambda seen: seen.refused("torn-file")),
    "wrong-preset": ("intake", lambda seen: seen.refused("wrong-preset")),
    "malformed-rows": ("intake", _malformed),
    "empty-file": ("intake", lambda seen: seen.refused("empty-file")),
    "wrong-encoding": ("intake", lambda seen: seen.refused("wrong-encoding")),
    "unknown-trunk": ("suspense", _unknown_trunk),
    "no-rate": ("validation: suspense", _no_rate),
    "zero-rate": ("validation: zero_rate", lambda seen: seen.finding("P14", "zero_rate")),
    "unanswered-calls": ("rating", _unanswered),
    "calling-numbers": ("origin classes", _origin),
    "partial-records": ("partial records", _partials),
    "calls-over-an-edge": ("periods and zones", _edges),
    "late-records": ("late usage", _late),
    "increase-without-notice": ("notice periods", _notice),
    "irsf-spike": ("anomalies: high_risk", lambda seen: seen.anomaly("P14", "high_risk")),
    "short-calls": ("anomalies: short_calls", lambda seen: seen.anomaly("P04", "short_calls")),
    "negative-margin": (
        "anomalies: negative_margin",
        lambda seen: seen.anomaly("P15", "negative_margin"),
    ),
    "vat-lapse": ("validation: vat_validity", lambda seen: seen.finding("P03", "vat_validity")),
}


def caught(
    home: Installation, manifest: Manifest, anomalies: pl.DataFrame
) -> list[dict[str, object]]:
    """A row for each planted seed: whether it was caught, by which control, with what evidence.

    `anomalies` are the month's rows of the mart of that name.
    """
    seen = Seen(home, manifest, anomalies)
    rows: list[dict[str, object]] = []
    for seed in manifest.seeds:
        control, look = _CONTROLS.get(seed.seed, (seed.control, lambda _: ""))
        evidence = look(seen)
        rows.append(
            {
                "defect": seed.seed,
                "where": seed.where,
                "result": "caught" if evidence else "MISSED",
                "control": control,
                "evidence": evidence,
            }
        )
    return rows
