"""Pre-invoice validation of one cycle (catalogue 3.7 and 4.1, WD3): findings, blocking or not.

Rules, owners and severities are `reference.controls.RULES`, changed by `controls.yaml`. Every
finding brings a query over the lake's views (`icb sql`) that shows what it speaks of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from billing_assets.charging.capacity import missing_samples
from billing_assets.charging.carry import CARRIED_FORWARD
from billing_assets.charging.exchange import missing_rates
from billing_assets.charging.line import REPLACED
from billing_assets.charging.lines import carrying, totals
from billing_assets.charging.run import Charged
from billing_assets.charging.share_lines import unmet_takes
from billing_assets.controls.balance import imbalances
from billing_assets.controls.profile import silent_days, silent_hours
from billing_assets.controls.vat import vat_problem
from billing_assets.intake.sequence import missing_between
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import CHARGE, COMPLETENESS, SUSPENSE, TRAFFIC, USAGE_DAILY
from billing_assets.reference.controls import Severity, Thresholds
from billing_assets.reference.fx import MissingFixing
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Cadence, Leg, Partner
from billing_assets.reference.tax import NoTaxRule, factors_of, position, supply_day
from billing_assets.registry.cycles import ADJUSTMENT, Finding
from billing_assets.registry.registry import Registry

Found = tuple[str, str, str]
"""Rule, message, evidence query."""


@dataclass(frozen=True)
class Evidence:
    """A charged cycle and what it is judged by; `now` tells how long suspense has waited."""

    charged: Charged
    reference: Reference
    lake: Lake
    registry: Registry
    now: datetime

    @property
    def partner(self) -> Partner:
        """The cycle's partner."""
        return self.reference.partner(self.charged.cycle.partner)

    @property
    def thresholds(self) -> Thresholds:
        """The partner's thresholds."""
        return self.reference.controls.thresholds_of(self.partner.partner)

    @property
    def days(self) -> list[date]:
        """The UTC days of the cycle."""
        return self.charged.cycle.period.utc_days()

    def where(self, column: str = "day") -> str:
        """The SQL condition of the cycle's UTC days and its partner."""
        days = self.days
        return (
            f"partner = '{self.partner.partner}' AND {column} BETWEEN DATE '{days[0]}' "
            f"AND DATE '{days[-1]}'"
        )


def validate_cycle(evidence: Evidence) -> list[Finding]:
    """What a person must know, or must mend or waive first, before the cycle is billed."""
    findings = []
    for check in _CHECKS:
        for rule, message, query in check(evidence):
            findings.append(
                finding(evidence.reference, evidence.partner.partner, rule, message, query)
            )
    return [one for one in findings if one.severity != Severity.OFF]


def finding(reference: Reference, partner: str, rule: str, message: str, query: str) -> Finding:
    """A finding with the severity and the owner that hold for the partner."""
    terms = reference.controls.rule_of(partner, rule)
    return Finding(
        rule,
        message,
        blocks=terms.severity is Severity.BLOCKING,
        severity=terms.severity.value,
        owner=terms.owner,
        query=query,
        waivable=terms.waivable,
    )


def _balance(e: Evidence) -> Iterator[Found]:
    """Files of the cycle's days that do not add up: any of the missing may be this partner's."""
    wrong = imbalances(e.lake, e.registry, e.days)
    if wrong:
        worst = wrong[0]
        entry = e.registry.files.by_key(worst.file_key)
        yield (
            "record_balance",
            f"{len(wrong)} file days do not add up; {entry.name if entry else worst.file_key} on "
            f"{worst.day}: {worst.difference} records and {worst.difference_ms} ms without fate",
            f"SELECT landed_day, switch, fate, sum(records) AS records, sum(duration_ms) AS ms "
            f"FROM record_fate WHERE file_key = {worst.file_key} GROUP BY ALL ORDER BY ALL",
        )


def _charges(e: Evidence) -> Iterator[Found]:
    """Usage lines and replaced usage, as they are stored, against the usage that is billed."""
    cycle = e.charged.cycle
    stored = e.lake.scan(CHARGE, part={"month": cycle.month, "cycle": cycle.cycle}).collect()
    rated, lines = totals(e.charged.usage, "amount"), totals(carrying(stored), "exact_amount")
    nothing = Decimal(0)
    for agreement, currency in sorted({**rated, **lines}):
        one = rated.get((agreement, currency), nothing)
        other = lines.get((agreement, currency), nothing)
        if one != other:
            yield (
                "charges_add_up",
                f"{agreement}: {one:f} {currency} rated, {other:f} on usage lines or replaced",
                "SELECT agreement, currency, kind, rule, sum(exact_amount) AS amount FROM charge "
                f"WHERE cycle = '{cycle.cycle}' GROUP BY ALL ORDER BY ALL",
            )


def _profile(e: Evidence) -> Iterator[Found]:
    first = e.days[0] - timedelta(days=e.thresholds.profile_days)
    span = [first + timedelta(days=n) for n in range((e.days[-1] - first).days + 1)]
    traffic = (
        e.lake.scan(TRAFFIC, part={"day": span})
        .filter(pl.col("partner") == e.partner.partner)
        .group_by("day", "hour")
        .agg(pl.col("attempts").sum())
        .collect()
    )
    query = (
        f"SELECT day, sum(attempts) AS attempts FROM traffic_hourly WHERE {e.where()} "
        "GROUP BY day ORDER BY day"
    )
    for day, usual in silent_days(traffic, e.days, e.thresholds.usual_day):
        yield "missing_days", f"no record on {day} where {usual} are usual", query
    silent = silent_hours(traffic, e.days, e.thresholds.usual_hour)
    if silent:
        day, hour, usual = silent[0]
        yield (
            "missing_hours",
            f"{len(silent)} hours without a record, the first {day} {hour:02}:00 UTC where "
            f"{usual} are usual",
            query.replace("day, sum", "day, hour, sum").replace("BY day", "BY day, hour"),
        )


def _sequences(e: Evidence) -> Iterator[Found]:
    """Numbers missing between the files that brought records of the cycle's days."""
    switches = {trunk.trunk.partition("/")[0] for one in e.partner.accounts for trunk in one.trunks}
    keys = {
        count.file_key
        for count in e.registry.files.counts(e.days[0], e.days[-1] + timedelta(days=1))
    }
    for source in e.reference.sources.values():
        if source.switch not in switches:
            continue
        missing = missing_between(e.registry, source, keys)
        if missing:
            numbers = ", ".join(map(str, missing[:5]))
            yield (
                "sequence_gap",
                f"{source.source}: {len(missing)} files missing: {numbers}",
                "SELECT landed_day, file_key, sum(records) AS records FROM record_fate WHERE "
                f"fate = 'landed' AND switch = '{source.switch}' AND landed_day BETWEEN DATE "
                f"'{e.days[0]}' AND DATE '{e.days[-1]}' GROUP BY ALL ORDER BY ALL",
            )


def _counters(e: Evidence) -> Iterator[Found]:
    """Days whose records differ from what switches counted of the same traffic."""
    counted = (
        e.lake.scan(COMPLETENESS, part={"day": e.days})
        .filter(pl.col("partner") == e.partner.partner, pl.col("counted").is_not_null())
        .group_by("day", "leg")
        .agg(pl.col("counted", "counted_ms", "received", "received_ms").sum())
        .sort("day", "leg")
        .collect()
    )
    limit = e.thresholds.counter_share
    wrong = [
        row
        for row in counted.iter_rows(named=True)
        if any(
            abs(row[f"received{unit}"] - row[f"counted{unit}"])
            > limit * max(row[f"counted{unit}"], row[f"received{unit}"])
            for unit in ("", "_ms")
        )
    ]
    if wrong:
        worst = max(wrong, key=lambda row: abs(row["received_ms"] - row["counted_ms"]))
        yield (
            "switch_counters",
            f"{len(wrong)} days differ by more than {limit:.2%} from what switches counted; most "
            f"on {worst['day']} ({worst['leg']}): {worst['counted']} calls, "
            f"{Decimal(worst['counted_ms']) / 60_000:.1f} minutes counted, {worst['received']} "
            f"calls, {Decimal(worst['received_ms']) / 60_000:.1f} minutes received",
            "SELECT day, switch, trunk, leg, counted, received, counted_ms, received_ms FROM "
            f"completeness_daily WHERE {e.where()} AND counted IS NOT NULL ORDER BY ALL",
        )


def _suspense(e: Evidence) -> Iterator[Found]:
    """One finding a reason; blocking when too much of the partner's traffic waits."""
    waiting = (
        e.lake.scan(SUSPENSE, part={"day": e.days})
        .filter(pl.col("partner") == e.partner.partner)
        .group_by("reason", "currency")
        .agg(
            pl.len().alias("legs"),
            pl.col("at_risk_e10").cast(pl.Int128).sum().alias("at_risk"),
            pl.col("day").min().alias("oldest"),
        )
        .sort("reason")
        .collect(engine="streaming")
    )
    if waiting.is_empty():
        return
    legs = int(waiting["legs"].sum())
    # what is rated of these days, not what is billed: a cycle that takes calls back has less than 0
    rated = (
        e.lake.scan(USAGE_DAILY, e.charged.usage_version, {"day": e.days})
        .filter(pl.col("partner") == e.partner.partner)
        .select(pl.col("answered").sum())
        .collect()
    )
    share = Decimal(legs) / Decimal(int(rated.item() or 0) + legs)
    limit, most = e.thresholds.suspense_share, e.thresholds.suspense_value
    value = Decimal(int(waiting["at_risk"].sum() or 0)).scaleb(-10)
    over = share > limit or (most is not None and value > most)
    query = (
        "SELECT day, stage, reason, detail, count(*) AS legs, sum(at_risk) AS at_risk, currency "
        f"FROM suspense WHERE {e.where()} GROUP BY ALL ORDER BY ALL"
    )
    for reason, _, count, at_risk, oldest in waiting.iter_rows():
        money = Decimal(int(at_risk or 0)).scaleb(-10).quantize(Decimal("0.01"))
        yield (
            "suspense" if over else "suspense_open",
            f"{count} legs wait in suspense: {reason} ({share:.4%} of the cycle's legs in all, "
            f"{limit:.4%} allowed; about {money} at risk)",
            query,
        )
        age = (e.now.astimezone(UTC).date() - oldest).days
        if age > e.thresholds.suspense_age_days:
            yield "suspense_age", f"{reason}: the oldest waits for {age} days", query


def _samples(e: Evidence) -> Iterator[Found]:
    """Capacity by too few samples: its level may be too low."""
    for said in missing_samples(e.charged.charges):
        yield (
            "missing_samples",
            said,
            "SELECT description, first_day, last_day, amount, inputs FROM charge WHERE cycle = "
            f"'{e.charged.cycle.cycle}' AND kind = 'capacity'",
        )


def _unmet(e: Evidence) -> Iterator[Found]:
    """Usage that does not bring what somebody must get of it: the margin's floor, for one."""
    for said in unmet_takes(e.charged.charges):
        yield (
            "unmet_take",
            said,
            "SELECT description, records, quantity, amount, steps, inputs FROM charge "
            f"WHERE cycle = '{e.charged.cycle.cycle}' AND inputs LIKE '%\"short\"%'",
        )


def _free(e: Evidence) -> Iterator[Found]:
    free = e.charged.usage.filter(
        (pl.col("pricing") == "priced") & (pl.col("rate_e10") == 0) & (pl.col("answered") > 0)
    )
    if not free.is_empty():
        names = ", ".join(free["destination"].unique().sort())
        yield (
            "zero_rate",
            f"{free['answered'].sum()} answered records at a rate of zero: {names}",
            "SELECT local_day, destination, sum(answered) AS answered, sum(duration_ms) AS ms "
            f"FROM usage_daily WHERE {e.where()} AND rate_e10 = 0 AND pricing = 'priced' "
            "AND answered > 0 GROUP BY ALL ORDER BY ALL",
        )


def _destinations(e: Evidence) -> Iterator[Found]:
    nowhere = e.charged.usage.filter(
        (pl.col("service") == "voice") & (pl.col("answered") > 0) & (pl.col("destination") == "")
    )
    invalid = (
        e.lake.scan(SUSPENSE, part={"day": e.days})
        .filter(
            pl.col("partner") == e.partner.partner,
            pl.col("reason").is_in(["INVALID_NUMBER", "BLOCKED_CODE"]),
        )
        .select(pl.len())
        .collect()
        .item()
    )
    count = int(nowhere["answered"].sum()) + invalid
    if count:
        yield (
            "invalid_destination",
            f"{count} answered records to no destination of the agreement, or to a blocked one",
            f"SELECT day, reason, detail, count(*) AS legs FROM suspense WHERE {e.where()} "
            "AND reason IN ('INVALID_NUMBER', 'BLOCKED_CODE') GROUP BY ALL ORDER BY ALL",
        )


def _fixing(e: Evidence) -> Iterator[Found]:
    last = e.charged.cycle.period.last_day
    found = missing_rates(e.charged.charges)
    for currency in sorted(set(e.charged.charges["currency"])):
        try:
            e.reference.rates_of_exchange.on(currency, e.reference.carrier.currency, last)
        except MissingFixing as error:
            found.append(str(error))
    for said in found:
        yield (
            "missing_fixing",
            said,
            f"SELECT currency, sum(amount) AS amount FROM charge WHERE cycle = "
            f"'{e.charged.cycle.cycle}' GROUP BY currency",
        )


def _taxed(e: Evidence) -> tuple[list[str], set[str]]:
    """What keeps the cycle's supplies from being taxed, and the categories of our sales."""
    taxation, period = e.reference.taxation_of(e.partner.partner), e.charged.cycle.period
    reverse = {a.terms.key for a in e.reference.agreements_of(e.partner.partner) if a.terms.reverse}
    supplies = (
        e.charged.charges.filter(
            ~pl.col("kind").is_in([REPLACED, CARRIED_FORWARD]), pl.col("rule") != "not_chargeable"
        )
        .select("leg", "agreement", "service", "last_day")
        .unique()
        .sort(pl.all())
    )
    said, categories = set(), set()
    for leg, agreement, service, day in supplies.iter_rows():
        sale = (leg == Leg.CUSTOMER) is not (agreement in reverse)
        supply = taxation.supply(sale=sale, service=service or "", day=supply_day(day, period))
        said |= {
            f"factor {factor.factor} has no rate on {supply.day}"
            for factor in factors_of(taxation.rules, supply)
            if factor.on(supply.day) is None
        }
        try:
            found = position(taxation.rules, supply)
        except NoTaxRule as error:
            said.add(error.message)
            continue
        if sale:
            categories.add(found.category)
    return sorted(said), categories


def _tax(e: Evidence) -> Iterator[Found]:
    tax, last = e.partner.tax, e.charged.cycle.period.last_day
    query = (
        "SELECT leg, currency, sum(amount) AS net FROM charge WHERE cycle = "
        f"'{e.charged.cycle.cycle}' GROUP BY ALL"
    )
    said, categories = _taxed(e)
    for message in said:
        yield "tax_rule", message, query
    for kind in sorted({one.certificate for one in tax.certificates}):
        ends = max(one.last_day for one in tax.certificates if one.certificate == kind)
        if ends < last:
            yield (
                "tax_certificate",
                f"certificate {kind} lapsed on {ends}, the cycle ends on {last}",
                query,
            )
    if "customer" in e.partner.roles and not tax.vat_id and "AE" in categories:
        yield "vat_id", "reverse charge needs the partner's VAT id", query
    wrong = vat_problem(tax.vat_id, e.partner.country)
    if wrong:
        yield "vat_id", f"VAT id {tax.vat_id} {wrong}", query
    if tax.vat_valid_to and tax.vat_valid_to < last:
        yield (
            "vat_validity",
            f"VAT id {tax.vat_id} lapsed on {tax.vat_valid_to}, the cycle ends on {last}",
            query,
        )
    elif tax.vat_checked and (last - tax.vat_checked).days > e.thresholds.vat_check_days:
        yield "vat_validity", f"VAT id {tax.vat_id} was last confirmed on {tax.vat_checked}", query


def _master_data(e: Evidence) -> Iterator[Found]:
    missing = []
    # the carrier's own channels lead to our systems, not to the partner
    if not (e.partner.document.emails or e.partner.delivery):
        missing.append("an e-mail address or a delivery channel")
    if "supplier" in e.partner.roles and e.partner.bank is None:
        missing.append("the bank to pay to")
    if missing:
        yield (
            "partner_data",
            f"missing: {', '.join(missing)}",
            f"SELECT cycle, leg, sum(amount) AS net FROM charge WHERE cycle = "
            f"'{e.charged.cycle.cycle}' GROUP BY ALL",
        )


def _negative(e: Evidence) -> Iterator[Found]:
    reverse = {
        one.terms.key for one in e.reference.agreements_of(e.partner.partner) if one.terms.reverse
    }
    below = e.charged.charges.filter(
        (pl.col("kind") == "usage")
        & (pl.col("section") != "prior_period")
        & (pl.col("amount") < 0)
        & ~pl.col("agreement").is_in(sorted(reverse))
    )
    if not below.is_empty():
        names = ", ".join(below["description"].unique().sort().head(3))
        yield (
            "negative_amount",
            f"{below.height} usage charges below zero: {names}",
            f"SELECT * FROM charge WHERE cycle = '{e.charged.cycle.cycle}' AND amount < 0",
        )


def _change(e: Evidence) -> Iterator[Found]:
    cycle, limits = e.charged.cycle, e.thresholds
    if cycle.cadence in (Cadence.AD_HOC, ADJUSTMENT):
        return
    before = [
        one
        for one in e.registry.cycles.list(partner=cycle.partner)
        if one.runs and one.period.end <= cycle.period.start and one.cadence == cycle.cadence
    ]
    last = sorted(before, key=lambda one: one.period.end)[-limits.change_cycles :]
    if not last:
        return
    sums = e.charged.charges.group_by("leg", "currency").agg(pl.col("amount").sum())
    now = {f"{leg} {currency}": amount for leg, currency, amount in sums.iter_rows()}
    names = {name for one in last for name in one.totals if " " in name} | set(now)
    for name in sorted(names):
        usual = sum((Decimal(one.totals.get(name, 0)) for one in last), Decimal(0)) / len(last)
        amount = now.get(name, Decimal(0))
        if usual and abs(amount - usual) > limits.change_share * abs(usual):
            yield (
                "change",
                f"{name}: {amount:.2f} against {usual:.2f} on average of the last {len(last)} "
                f"cycles ({(amount - usual) / abs(usual):+.1%})",
                "SELECT cycle, leg, currency, sum(amount) AS net FROM charge WHERE partner = "
                f"'{cycle.partner}' GROUP BY ALL ORDER BY ALL",
            )


def _empty(e: Evidence) -> Iterator[Found]:
    period = e.charged.cycle.period
    active = any(
        one.start < period.end_utc and one.end > period.start_utc
        for one in e.reference.agreements_of(e.partner.partner)
    )
    if e.charged.charges.is_empty() and active:
        yield (
            "empty_cycle",
            "no charge at all in this period, though an agreement is in force",
            f"SELECT day, sum(attempts) AS attempts FROM traffic_hourly WHERE {e.where()} "
            "GROUP BY day ORDER BY day",
        )


_CHECKS = (
    _balance,
    _charges,
    _profile,
    _sequences,
    _counters,
    _suspense,
    _samples,
    _unmet,
    _free,
    _destinations,
    _fixing,
    _tax,
    _master_data,
    _negative,
    _change,
    _empty,
)
