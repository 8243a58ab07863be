"""A partner's way through a cycle: charge, validate, draft; and later, issue.

Every step is safe to repeat: a draft replaces the former draft, a final cycle is left alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import polars as pl

from billing_assets.charging.carry import CARRIED_FORWARD
from billing_assets.charging.cycles import Cycle, cycles_of_month, is_closed, registered_cycle
from billing_assets.charging.run import Charged, charge
from billing_assets.charging.unbilled import require_still_due
from billing_assets.controls.validation import Evidence, finding, validate_cycle
from billing_assets.core.errors import BillingError, NotFound, StateError
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import as_note, naming_originals
from billing_assets.invoicing.assemble import assemble, billable
from billing_assets.invoicing.corrections import require_creditable
from billing_assets.invoicing.document import Document, Kind, Provenance
from billing_assets.invoicing.finalise import file_name, finalise_cycle, keep_draft
from billing_assets.invoicing.itemised import billed_since, write_itemised
from billing_assets.invoicing.layout import template_hash
from billing_assets.invoicing.pdf import engine_versions
from billing_assets.invoicing.renderings import render
from billing_assets.invoicing.streams import Stream, streams
from billing_assets.lake.tables import CHARGE, RATE, RATED_LEG, USAGE_DAILY, XDR
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Cadence, Partner
from billing_assets.registry import cycles as registered_cycles
from billing_assets.registry import documents as registered
from billing_assets.registry.cycles import FINALISED, USAGE_VERSION, Finding, standing
from billing_assets.registry.documents import Draft, StoredFile
from billing_assets.registry.schema import CycleState


@dataclass(frozen=True)
class CycleRun:
    """What a run of a cycle came to: its state, charges, findings and readable files.

    `totals` are net amounts by 'leg currency'; `files` paths of what a person may open.
    """

    cycle: str
    partner: str
    state: CycleState
    lines: int
    totals: Mapping[str, Decimal]
    findings: tuple[Finding, ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)


def due_cycles(home: Installation, partner: Partner, month: str, now: datetime) -> list[Cycle]:
    """The cycles of a partner that end in a month ('YYYY-MM') and are over, in order of time.

    Those of its calendar, and whatever else is registered: ad hoc ones, or those of a calendar
    that the partner had before.
    """
    known = map(registered_cycle, home.registry.cycles.list(month=month, partner=partner.partner))
    cycles = {cycle.cycle: cycle for cycle in (*cycles_of_month(partner, month), *known)}
    over = [cycle for cycle in cycles.values() if is_closed(cycle, now)]
    return sorted(over, key=lambda cycle: (cycle.period.end, cycle.period.start))


def cycle_named(home: Installation, name: str) -> Cycle:
    """A cycle by its name: a registered one, or one of its partner's calendar.

    Raises `NotFound` when there is none.
    """
    for known in home.registry.cycles.list(corrections=True):
        if known.id == name:
            return registered_cycle(known)
    partner, _, period = name.partition("/")
    for month in _months_of(period):
        for cycle in cycles_of_month(home.reference.partner(partner), month):
            if cycle.cycle == name:
                return cycle
    raise NotFound(f"there is no cycle {name}", hint="`icb cycle calendar` lists them")


def _months_of(name: str) -> list[str]:
    """The months in which a cycle of the calendar that is called so may end."""
    week = re.fullmatch(r"([0-9]{4})-W([0-9]{2})", name)
    try:
        first = (
            date.fromisocalendar(int(week[1]), int(week[2]), 1)
            if week
            else date.fromisoformat(f"{name.removesuffix('-A').removesuffix('-B')}-01")
        )
    except ValueError:
        return []
    # a week that begins on another day than Monday ends up to three days later or earlier
    return sorted({(first + timedelta(days=n)).isoformat()[:7] for n in (0, 6, 9)})


def open_cycle(
    home: Installation, cycle: Cycle, *, now: datetime, who: str
) -> registered_cycles.Cycle:
    """Register an ad hoc cycle, so that runs of its month bill it.

    Raises `StateError` when another ad hoc cycle of the partner has some of its days.
    """
    for known in home.registry.cycles.list(partner=cycle.partner):
        shared = known.period.start < cycle.period.end and known.period.end > cycle.period.start
        if shared and known.id != cycle.cycle and known.cadence == Cadence.AD_HOC:
            raise StateError(
                f"{cycle.cycle} and {known.id} ({known.period}) share days",
                hint="ad hoc cycles of a partner may not overlap",
            )
    return home.registry.cycles.open_cycle(
        cycle.cycle, cycle.partner, cycle.period, cycle.cadence, now=now, who=who
    )


def run_cycle(
    home: Installation,
    reference: Reference,
    cycle: Cycle,
    *,
    issue_date: date,
    now: datetime,
    who: str,
) -> CycleRun:
    """Charge, validate and draft a cycle.

    A cycle that is final (or further) is only reported. What validation finds, and what keeps a
    document from being made (master data, templates), blocks the cycle and stands in its
    findings. Raises `BillingError` when the cycle cannot be charged.
    """
    known = home.registry.cycles.open_cycle(
        cycle.cycle, cycle.partner, cycle.period, cycle.cadence, now=now, who=who
    )
    if known.state in FINALISED:
        return report(home, cycle)
    if known.state is CycleState.APPROVED:
        home.registry.cycles.withdraw_approval(cycle.cycle, "run again", now=now, who=who)
    charged = charge(
        cycle,
        reference,
        home.lake,
        home.registry,
        buckets=home.settings.buckets,
        issue_date=issue_date,
    )
    totals = _totals(charged.charges)
    home.registry.cycles.record_run(
        cycle.cycle,
        {
            USAGE_VERSION: charged.usage_version,
            **charged.figures,
            "lines": charged.charges.height,
            **{name: f"{amount:f}" for name, amount in totals.items()},
        },
        now=now,
        who=who,
    )
    findings = validate_cycle(Evidence(charged, reference, home.lake, home.registry, now))
    waived = {one.rule for one in home.registry.cycles.waivers(cycle.cycle)}
    drafts: list[Draft] = []
    files: dict[str, bytes] = {}
    if not standing(findings, waived):
        try:
            drafts, files = _draft(home, reference, charged, issue_date)
        except BillingError as error:
            query = f"SELECT * FROM charge WHERE cycle = '{cycle.cycle}'"
            said = f"{cycle.partner}: {error}"
            findings.append(finding(reference, cycle.partner, "document", said, query))
    validated = home.registry.cycles.record_validation(cycle.cycle, findings, now=now, who=who)
    if validated.state is CycleState.BLOCKED:
        return report(home, cycle)
    home.registry.documents.record_drafts(cycle.cycle, drafts, now=now, who=who)
    folder = folder_of(home, cycle)
    for stale in folder.glob("*"):
        stale.unlink()
    _publish(home, folder, drafts, files)
    return report(home, cycle)


def approve_and_issue(
    home: Installation,
    cycle_id: str,
    *,
    approver: str,
    issue_date: date,
    now: datetime,
    who: str,
    ahead: Mapping[str, Mapping[str, StoredFile]] | None = None,
) -> list[registered.Document]:
    """Approve a drafted cycle in another person's name and issue its documents.

    `ahead` is as in `finalise_cycle`. Issuing a final cycle again returns its documents
    unchanged. Raises `StateError` as the registry does.
    """
    known = home.registry.cycles.get(cycle_id)
    if known.state is CycleState.DRAFT:
        home.registry.cycles.approve(cycle_id, known.runs, now=now, who=approver)
    documents = finalise_cycle(
        cycle_id,
        registry=home.registry,
        blobs=home.blobs,
        templates=home.templates,
        issue_date=issue_date,
        guard=require_creditable if known.is_correction else require_still_due,
        ledger=home.reference.ledger,
        home_currency=home.reference.carrier.currency,
        ahead=ahead,
        now=now,
        who=who,
    )
    folder = folder_of(home, registered_cycle(known))
    for stale in folder.glob("*DRAFT*"):
        stale.unlink()
    _publish(home, folder, documents, {})
    return documents


def publish_drafts(home: Installation, known: registered_cycles.Cycle) -> Sequence[Path]:
    """Put copies of the drafts of a cycle's last run where a person looks for them."""
    folder = folder_of(home, registered_cycle(known))
    _publish(home, folder, home.registry.documents.drafts(known.id, known.runs), {})
    return sorted(folder.glob("*"))


def report(home: Installation, cycle: Cycle) -> CycleRun:
    """How a cycle stands, from the registry, the lake and its folder of readable files."""
    known = home.registry.cycles.get(cycle.cycle)
    charges = home.lake.scan(CHARGE, part={"month": cycle.month, "cycle": cycle.cycle}).collect()
    return CycleRun(
        cycle=cycle.cycle,
        partner=cycle.partner,
        state=known.state,
        lines=charges.height,
        totals=_totals(charges),
        findings=known.findings,
        files=tuple(sorted(folder_of(home, cycle).glob("*"))),
    )


def folder_of(home: Installation, cycle: Cycle) -> Path:
    """Where a person finds the documents of a cycle."""
    return home.settings.documents / cycle.month / cycle.cycle


def _totals(charges: pl.DataFrame) -> dict[str, Decimal]:
    sums = charges.group_by("leg", "currency").agg(pl.col("amount").sum()).sort("leg", "currency")
    return {f"{leg} {currency}": amount.normalize() for leg, currency, amount in sums.iter_rows()}


def _draft(
    home: Installation, reference: Reference, charged: Charged, issue_date: date
) -> tuple[list[Draft], dict[str, bytes]]:
    """The cycle's drafts, one a stream; and files of what bears no number."""
    pins = {
        **home.lake.pins([XDR, RATED_LEG, CHARGE, RATE]),
        USAGE_DAILY.name: charged.usage_version,
    }
    drafts: list[Draft] = []
    internal: dict[str, bytes] = {}
    for document in documents_of(home, reference, charged, issue_date):
        if document.kind is Kind.COST_STATEMENT:
            rendered = render(document, home.templates)
            internal |= {file_name(document, kind): content for kind, content in rendered.items()}
        else:
            drafts.append(_keep(home, reference, charged, document, pins))
    return drafts, internal


def documents_of(
    home: Installation, reference: Reference, charged: Charged, issue_date: date
) -> list[Document]:
    """The documents of a charged cycle, one a stream, side and currency, without numbers.

    What is carried to the next cycle is on none.
    Raises what `assemble` raises.
    """
    partner = reference.partner(charged.cycle.partner)
    agreements = [a.terms for a in reference.agreements_of(partner.partner)]
    carried = charged.charges.filter(pl.col("kind") == CARRIED_FORWARD).select("leg", "currency")
    charges = billable(charged.charges.join(carried, on=["leg", "currency"], how="anti"))
    charges = naming_originals(home, charges)
    documents = [
        assemble(
            stream.charges,
            stream=stream.name,
            turned=stream.turned,
            carrier=reference.carrier,
            partner=partner,
            period=charged.cycle.period,
            issue_date=issue_date,
            provenance=Provenance(
                cycle=charged.cycle.cycle,
                reference=reference.version,
                template=template_hash(home.templates, partner.document.template),
                engines=engine_versions(),
            ),
            agreements=agreements,
            traffic=_usage_of(stream, charged.usage),
            tax_rules=reference.tax,
            fixings=reference.rates_of_exchange,
        )
        for stream in streams(charges, partner, agreements)
    ]
    return [as_note(home, charged.cycle, document) for document in documents]


def _usage_of(stream: Stream, usage: pl.DataFrame) -> pl.DataFrame:
    """The rows of `usage_daily` that a document's lines bill."""
    return usage.filter(
        pl.col("leg").cast(pl.String) == stream.leg.value,
        pl.col("agreement").cast(pl.String).is_in(stream.charges["agreement"].unique().to_list()),
    )


def _keep(
    home: Installation,
    reference: Reference,
    charged: Charged,
    document: Document,
    pins: Mapping[str, int],
) -> Draft:
    """Keep a draft with its itemised records."""
    agreements = {line.agreement for line in document.lines if line.kind == "usage"}
    usage = charged.usage.filter(
        pl.col("leg").cast(pl.String) == document.leg.value,
        pl.col("agreement").cast(pl.String).is_in(agreements),
    )
    days: list[date] = usage["day"].unique().to_list()
    with TemporaryDirectory() as scratch:
        itemised = write_itemised(
            _billed_legs(home, charged, usage, document.leg.value),
            home.lake.scan(XDR, part={"day": days}),
            days,
            Path(scratch) / "itemised.csv",
            zone=charged.cycle.period.zone,
            in_full=reference.partner(charged.cycle.partner).document.numbers_in_full,
        )
        amount = usage["amount"].sum() or Decimal(0)
        if itemised.amount != amount:
            raise BillingError(
                f"the records of {charged.cycle.cycle} sum to {itemised.amount}, its usage to "
                f"{amount}",
                hint="materialise `rated_leg` and `usage_daily` of its days again",
            )
        return keep_draft(
            document,
            carrier=reference.carrier,
            templates=home.templates,
            blobs=home.blobs,
            pins=pins,
            itemised=itemised.path,
        )


def _billed_legs(
    home: Installation, charged: Charged, usage: pl.DataFrame, leg: str
) -> pl.LazyFrame:
    """The rated legs that some usage of a cycle is made of.

    Of days that were billed before these are the differences to the legs of then, which the
    documents of that time pin.
    """
    then = {
        int(cycle.totals[USAGE_VERSION]): document.pins[RATED_LEG.name]
        for cycle in charged.claimed.final_cycles
        for document in home.registry.documents.of_cycle(cycle.id)[:1]
    }
    by_version: dict[int | None, list[date]] = {}
    for day in usage["local_day"].unique().to_list():
        version = charged.claimed.billed_at(day)
        pinned = None if version is None else then.get(version)
        by_version.setdefault(pinned, []).append(day)
    agreements = usage["agreement"].cast(pl.String).unique().to_list()
    bucket = home.bucket_of(charged.cycle.partner)

    def legs(version: int | None, local_days: list[date]) -> pl.LazyFrame:
        slices = usage.filter(pl.col("local_day").is_in(local_days))["day"].unique().to_list()
        return home.lake.scan(RATED_LEG, version, {"day": slices, "bucket": bucket}).filter(
            pl.col("partner") == charged.cycle.partner,
            pl.col("leg") == leg,
            pl.col("agreement").is_in(agreements),
            pl.col("local_day").is_in(local_days),
        )

    parts = [
        legs(None, local_days)
        if version is None
        else billed_since(legs(None, local_days), legs(version, local_days))
        for version, local_days in by_version.items()
    ]
    return pl.concat(parts) if parts else pl.LazyFrame(schema=RATED_LEG.schema)


def _publish(
    home: Installation,
    folder: Path,
    documents: list[Draft] | list[registered.Document],
    files: Mapping[str, bytes],
) -> None:
    """Put copies of documents where a person looks for them, under readable names."""
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        for file in document.files.values():
            home.blobs.prove(file.sha256)
            copyfile(home.blobs.path(file.sha256), folder / file.name)
    for name, content in files.items():
        (folder / name).write_bytes(content)
