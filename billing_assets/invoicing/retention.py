"""Retention: days of single records, and raw files, that are older than their rule are deleted or
pseudonymised.

Whole days go at a time, and with them the files of earlier versions of those days: else what a
document pins would still hold what the law wants gone. Usage by day, charges and documents stay;
what is gone stands in the audit log. Days under a legal hold, and days that an open cycle may
still bill, are left as they are.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from billing_assets.installation import Installation
from billing_assets.lake.tables import TABLES, XDR, Table
from billing_assets.reference.retention import RAW_FILES, LegalHold, Retention, RetentionRule
from billing_assets.registry.cycles import FINALISED
from billing_assets.registry.files import FileEntry

KEPT_DIGITS = 6
"""Leading digits of a pseudonymised number that remain: country and network, no subscriber."""


@dataclass(frozen=True)
class Expiry:
    """One day of a table and what retention does with it; `kept_for` says why it is left.

    `records` counts files where the table is that of raw files.
    """

    table: str
    day: date
    action: str
    records: int
    kept_for: str = ""


def expire(
    home: Installation, retention: Retention, today: date, *, now: datetime, who: str, dry_run: bool
) -> list[Expiry]:
    """Carry out the rules as of a day, or only say what they would do; returns every day met.

    Running it again does nothing more. Each day that is changed is logged before it is.
    """
    found: list[Expiry] = []
    billed_from = _first_open_day(home)
    for rule in retention.rules:
        before = today - timedelta(days=rule.keep_days)
        files = _old_files(home, before) if rule.table == RAW_FILES else {}
        counted = {day: len(raw) for day, raw in files.items()} or _old_days(home, rule, before)
        for day, records in counted.items():
            first = min((begins for _, begins in files.get(day, ())), default=day)
            why = _kept_for(first, day, retention.holds, billed_from)
            found.append(Expiry(rule.table, day, rule.then, records, why))
            if why or dry_run:
                continue
            home.registry.audit.note(
                f"retention.{rule.then}",
                f"table:{rule.table}",
                now=now,
                who=who,
                after={"day": day, "records": records, "keep_days": rule.keep_days},
            )
            if files:
                for raw, _ in files[day]:
                    home.blobs.remove(raw.archive_path)
            else:
                _carry_out(home, rule, TABLES[rule.table], day)
    return found


def pseudonymised(records: pl.LazyFrame) -> pl.LazyFrame:
    """Records of `xdr` whose numbers keep their first digits and lose the others."""

    def shortened(name: str) -> pl.Expr:
        digits = pl.col(f"{name}_number").cast(pl.String).str.zfill(pl.col(f"{name}_length"))
        rest = pl.col(f"{name}_length").cast(pl.Int64) - KEPT_DIGITS
        zeros = pl.lit("0").repeat_by(rest.clip(lower_bound=0)).list.join("")
        number = (digits.str.slice(0, KEPT_DIGITS) + zeros).cast(pl.Int64)
        return number.alias(f"{name}_number")

    return records.with_columns(shortened("a"), shortened("b"))


def _old_files(home: Installation, before: date) -> dict[date, list[tuple[FileEntry, date]]]:
    """Archived mediation files whose last record is of a day before one, with the day of their
    first, by that of the last."""
    found: dict[date, list[tuple[FileEntry, date]]] = {}
    for entry, first, last in home.registry.files.archived():
        if last < before and home.blobs.exists(entry.archive_path):
            found.setdefault(last, []).append((entry, first))
    return found


def _old_days(home: Installation, rule: RetentionRule, before: date) -> dict[date, int]:
    """Days of a table before a day that still hold something to act upon, and their records."""
    if rule.table == RAW_FILES or home.lake.version(table := TABLES[rule.table]) is None:
        return {}
    rows = home.lake.scan(table).filter(pl.col("day") < before)
    if rule.then == "pseudonymise":
        rows = rows.filter(pl.col("a_number").is_not_null() | pl.col("b_number").is_not_null())
        done = {
            (entry.after or "").partition('"day":"')[2][:10]
            for entry in home.registry.audit.entries(f"table:{table.name}")
            if entry.action == "retention.pseudonymise"
        }
        rows = rows.filter(~pl.col("day").cast(pl.String).is_in(done))
    return dict(rows.group_by("day").len().sort("day").collect(engine="streaming").iter_rows())


def _kept_for(
    first: date, last: date, holds: tuple[LegalHold, ...], billed_from: date | None
) -> str:
    for hold in holds:
        if hold.first_day <= last and first <= hold.last_day:
            return f"legal hold {hold.hold}: {hold.reason}"
    # a UTC day may hold records of the local day after it
    if billed_from is not None and last >= billed_from - timedelta(days=1):
        return "an open cycle may bill it"
    return ""


def _first_open_day(home: Installation) -> date | None:
    """The first day of any cycle that is not final."""
    waiting = [c.period.start for c in home.registry.cycles.list() if c.state not in FINALISED]
    return min(waiting, default=None)


def _carry_out(home: Installation, rule: RetentionRule, table: Table, day: date) -> None:
    part = {"day": day}
    if rule.then == "delete":
        frame = pl.DataFrame(schema=table.schema)
    else:
        frame = pseudonymised(home.lake.scan(XDR, part=part)).collect(engine="streaming")
    home.lake.replace_slice(table, frame, part)
    home.lake.erase_history(table, part)
