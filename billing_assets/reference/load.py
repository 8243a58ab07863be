"""From the files of a reference folder to one checked, immutable `Reference`.

Pure: a mapping of paths to bytes goes in, so any past version can be loaded from its archive.
A file with a problem is set aside and its last good version stays in force; the rest loads.

Folder: carrier.yaml, calendars.yaml, sources.yaml, layouts.yaml, controls.yaml, ledger.yaml,
traffic.yaml, tax.yaml, fixings.csv, partners/*.yaml, agreements/*.yaml and the sheets that
agreements name, deals/*.yaml, samples/*.csv.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from reprlib import Repr
from typing import TypeVar
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import TypeAdapter, ValidationError

from billing_assets.core.errors import InputError, NotFound, Problem
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.lake.tables import RATE
from billing_assets.reference.bands import band_problems
from billing_assets.reference.bindings import (
    Version,
    bind,
    idle_deals,
    idle_terms,
    unrated_destinations,
)
from billing_assets.reference.cells import local_instant
from billing_assets.reference.controls import Controls
from billing_assets.reference.deals import Deal
from billing_assets.reference.decks import Deck, build_deck, sheet_path
from billing_assets.reference.fallback import PARTNER, Fallback
from billing_assets.reference.findings import Breach, Finding
from billing_assets.reference.following import cannot_follow, ends_early
from billing_assets.reference.fx import Fixings, read_fixings
from billing_assets.reference.layouts import Layout
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import Agreement, Calendar, Carrier, Partner
from billing_assets.reference.repeats import repeated
from billing_assets.reference.retention import Retention
from billing_assets.reference.samples import load_samples, unnamed_samples
from billing_assets.reference.share_terms import share_problems
from billing_assets.reference.shelf import DeckShelf
from billing_assets.reference.sources import Source
from billing_assets.reference.tax import Taxation, TaxRules
from billing_assets.reference.traffic import DEFAULT, Traffic
from billing_assets.reference.trunks import FAR_FUTURE, TrunkClaims
from billing_assets.reference.wording import place, said
from billing_assets.reference.yamltext import Located

T = TypeVar("T")


@dataclass(frozen=True)
class InForce:
    """An agreement version with its validity in UTC, half-open, and its deck."""

    terms: Agreement
    start: datetime
    end: datetime
    deck: Deck
    file: str

    @property
    def local_days(self) -> tuple[date, date]:
        """Its days in the agreement's zone: the first, and the one after the last."""
        zone = ZoneInfo(self.terms.zone)
        return self.start.astimezone(zone).date(), self.end.astimezone(zone).date()


@dataclass(frozen=True)
class Reference:
    """All reference data of one version: what rating, charging and invoicing are given.

    `files` maps each path in force to its SHA-256; `version` is the hash of that mapping.
    `fixings` has columns source, date, base, currency, units_per_base (text, exact); `samples`
    are those of capacity by file, in the columns of `samples.SAMPLES`.
    """

    version: str
    files: Mapping[str, str]
    carrier: Carrier
    partners: Mapping[str, Partner]
    agreements: tuple[InForce, ...]
    calendars: Mapping[str, Calendar]
    sources: Mapping[str, Source]
    fixings: pl.DataFrame
    breaches: tuple[Breach, ...] = ()
    findings: tuple[Finding, ...] = ()
    ledger: Ledger | None = None
    retention: Retention = field(default_factory=Retention)
    controls: Controls = field(default_factory=Controls)
    deals: tuple[Deal, ...] = ()
    samples: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    traffic: Traffic = DEFAULT
    tax: TaxRules = field(default_factory=TaxRules)

    def partner(self, partner_id: str) -> Partner:
        """The partner of an id; raises `NotFound` that lists the known ones."""
        if partner_id not in self.partners:
            raise NotFound(f"no partner {partner_id!r}", hint=f"known: {', '.join(self.partners)}")
        return self.partners[partner_id]

    def agreements_of(self, partner_id: str) -> list[InForce]:
        """All agreement versions of a partner, by id and version."""
        return [a for a in self.agreements if a.terms.partner == partner_id]

    def with_parts_of(self, partner_id: str) -> set[str]:
        """The partners that have a part in shares of a partner's agreements."""
        own = {one.terms.agreement for one in self.agreements_of(partner_id)}
        return {
            one.terms.partner
            for one in self.agreements
            if any(part.agreement in own for part in one.terms.parts)
        }

    def deals_of(self, partner_id: str) -> list[Deal]:
        """All deals of a partner, by id."""
        return sorted((d for d in self.deals if d.partner == partner_id), key=lambda d: d.deal)

    def taxation_of(self, partner_id: str) -> Taxation:
        """By what a partner's supplies are taxed."""
        partner = self.partner(partner_id)
        return Taxation(self.tax, self.carrier.country, partner.country, partner.tax)

    @property
    def rates_of_exchange(self) -> Fixings:
        """The fixings of our source, as old as the controls allow one to be."""
        return Fixings(
            self.fixings, self.carrier.fixing_source, self.controls.thresholds.fixing_age_days
        )

    def rates(self) -> pl.DataFrame:
        """Every deck's rows in one frame: the content of table `rate`."""
        return pl.concat(
            [pl.DataFrame(schema=RATE.schema), *(a.deck.rows for a in self.agreements)]
        )


@dataclass(frozen=True)
class Loaded:
    """The outcome of loading: the reference, what was refused, and the bytes in force."""

    reference: Reference
    problems: tuple[Problem, ...]
    in_force: Mapping[str, bytes] = field(repr=False)


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a reference folder by relative path.

    Raises `NotFound` when there is no such folder; hidden files are passed over.
    """
    if not folder.is_dir():
        raise NotFound(
            f"no reference folder {folder}", hint="run `icb demo` or set ICB_REFERENCE_DIR"
        )
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def load_reference(
    files: Mapping[str, bytes],
    last_good: Mapping[str, bytes] | None = None,
    *,
    honour_notice: bool = True,
    shelf: DeckShelf | None = None,
) -> Loaded:
    """Load a reference; files with problems give way to their last good version, or are left out.

    An agreement and its sheets stand or fall together; what is as it was does not fall for a change
    elsewhere (`fallback`). Without `honour_notice`, changes hold
    from the day that their sheets ask for. A `shelf` has the decks of unchanged sheets. Raises
    `InputError` when no usable carrier.yaml remains, because then nothing can be billed.
    """
    fallback = Fallback(dict(files), last_good or {})
    in_force = fallback.in_force
    found: list[Problem] = []
    for _ in range(len({*files, *fallback.last_good}) + 2):
        reader = _Reader(in_force, honour_notice, shelf)
        reference = reader.read()
        if not reader.problems:
            if reference is None:
                raise InputError("no reference data in force", found)
            return Loaded(reference, tuple(found), in_force)
        refused = {problem.file for problem in reader.problems}
        told = [*reader.problems, *fallback.set_aside(refused, reader.units, reader.blamed)]
        found += [p for p in told if p not in found]
        if "carrier.yaml" not in in_force:
            raise InputError("cannot load the reference data", found)
    raise InputError("cannot load the reference data", found)


class _Reader:
    """One pass over the files: forms, cross-references, decks; problems are collected."""

    def __init__(
        self, files: Mapping[str, bytes], honour_notice: bool, shelf: DeckShelf | None
    ) -> None:
        self.files = files
        self.honour_notice = honour_notice
        self.build = shelf.deck if shelf else build_deck
        self.problems: list[Problem] = []
        self.units: dict[str, list[str]] = {}
        self.blamed: dict[str, set[str]] = {}
        self.partner_files: dict[str, str] = {}

    def _tell(self, problem: Problem, *blamed: str) -> None:
        """Refuse a file, and note what it may not go with: that gives way if it has changed."""
        self.problems.append(problem)
        self.blamed.setdefault(problem.file, set()).update(blamed)

    def read(self) -> Reference | None:
        carrier = self._form("carrier.yaml", Carrier)
        calendars = self._form("calendars.yaml", dict[str, Calendar], {}) or {}
        sources = self._form("sources.yaml", list[Source], []) or []
        partners = self._partners(carrier)
        layouts = self._form("layouts.yaml", dict[str, Layout], {}) or {}
        agreements = self._agreements(partners, calendars, layouts)
        deals = self._deals()
        agreements = self._bound(agreements, deals)
        samples, wrong = load_samples(self.files, [(a.file, a.terms.capacity) for a in agreements])
        self.problems += wrong
        fixings, wrong = read_fixings(self.files.get("fixings.csv"), "fixings.csv")
        self.problems += wrong
        ledger = self._form("ledger.yaml", Ledger) if "ledger.yaml" in self.files else None
        retention = self._form("retention.yaml", Retention, Retention()) or Retention()
        controls = self._controls(partners)
        traffic = self._form("traffic.yaml", Traffic, DEFAULT) or DEFAULT
        tax = self._form("tax.yaml", TaxRules, TaxRules()) or TaxRules()
        self._tell_unread()
        if carrier is None or self.problems:
            return None
        hashes = {path: sha256_of(content) for path, content in sorted(self.files.items())}
        return Reference(
            version=sha256_of(canonical_json(hashes)),
            files=hashes,
            carrier=carrier,
            partners=partners,
            agreements=tuple(agreements),
            calendars=calendars,
            sources={source.source: source for source in sources},
            fixings=fixings,
            breaches=tuple(b for a in agreements for b in a.deck.breaches),
            findings=tuple(f for a in agreements for f in a.deck.findings),
            ledger=ledger,
            retention=retention,
            controls=controls,
            deals=tuple(deal for deal, _ in deals),
            samples=samples,
            traffic=traffic,
            tax=tax,
        )

    def _located(self, path: str) -> Located | None:
        try:
            return Located(self.files[path], path)
        except InputError as error:
            self.problems += error.problems
            return None

    def _form(self, path: str, form: type[T], default: T | None = None) -> T | None:
        """Read one file into a form; None (or the default) when it is absent or refused."""
        if path not in self.files:
            if default is None:
                self.problems.append(Problem("is missing from the reference folder", path))
            return default
        located = self._located(path)
        return self._validated(located, form) if located else None

    def _validated(self, located: Located, form: type[T]) -> T | None:
        try:
            return TypeAdapter(form).validate_python(located.value)
        except ValidationError as error:
            for one in error.errors():
                at = place(one)
                # what is missing, or wrong of the whole file, has no value to show
                is_shown = at and one["type"] != "missing"
                self.problems.append(
                    Problem(
                        said(one),
                        located.file,
                        located.line(at),
                        ".".join(str(part) for part in at),
                        _shown(one.get("input")) if is_shown else "",
                    )
                )
            return None

    def _partners(self, carrier: Carrier | None) -> dict[str, Partner]:
        partners: dict[str, Partner] = {}
        claims = TrunkClaims(carrier.own_trunks if carrier else ())
        for path in self._paths("partners/"):
            partner = self._form(path, Partner)
            if partner is None:
                continue
            if partner.partner in partners:
                self._tell(
                    Problem("is defined by two files", path, None, "partner", partner.partner),
                    self.partner_files[partner.partner],
                )
                continue
            partners[partner.partner] = partner
            self.partner_files[partner.partner] = path
            for problem, other in claims.of(partner, path):
                self._tell(problem, other)
        return dict(sorted(partners.items()))

    def _agreements(
        self,
        partners: Mapping[str, Partner],
        calendars: Mapping[str, Calendar],
        layouts: Mapping[str, Layout],
    ) -> list[InForce]:
        read: list[tuple[Agreement, Located]] = []
        for path in self._paths("agreements/"):
            located = self._located(path)
            terms = self._validated(located, Agreement) if located else None
            if terms is None or located is None:
                continue
            self.units[path] = [sheet_path(path, sheet.file) for sheet in terms.sheets]
            if self._agreement_fits(terms, located, partners, calendars):
                read.append((terms, located))
        read.sort(key=lambda item: (item[0].agreement, item[0].version))
        in_force: list[InForce] = []
        for index, (terms, located) in enumerate(read):
            start = local_instant(terms.valid_from, terms.zone)
            end = local_instant(terms.valid_to, terms.zone) if terms.valid_to else FAR_FUTURE
            if end <= start:
                self.problems.append(ends_early(terms, located))
                continue
            for following, other in read[index + 1 : index + 2]:
                if following.agreement == terms.agreement:
                    end = min(end, local_instant(following.valid_from, following.zone))
                    if problem := cannot_follow(terms, located, following, other):
                        self._tell(problem, other.file)
            if end <= start:
                continue
            deck, problems = self.build(
                terms, located, self.files, layouts, honour_notice=self.honour_notice
            )
            for problem in problems:
                self._tell(problem, "layouts.yaml")
            if deck is not None:
                in_force.append(InForce(terms, start, end, deck, located.file))
        self._refuse_overlaps(in_force)
        return in_force

    def _agreement_fits(
        self,
        terms: Agreement,
        located: Located,
        partners: Mapping[str, Partner],
        calendars: Mapping[str, Calendar],
    ) -> bool:
        before = len(self.problems)
        self.problems += repeated(terms, located)
        partner = partners.get(terms.partner)
        if partner is None:
            self._tell(
                Problem(
                    "names a partner that is not in partners/",
                    located.file,
                    located.line(("partner",)),
                    "partner",
                    terms.partner,
                ),
                f"{PARTNER}{terms.partner}",
            )
        else:
            known = {account.account for account in partner.accounts}
            for account in terms.accounts:
                if account not in known:
                    self._tell(
                        Problem(
                            f"is not an account of {terms.partner}",
                            located.file,
                            located.line(("accounts",)),
                            "accounts",
                            account,
                        ),
                        self.partner_files[terms.partner],
                    )
        self.problems += share_problems(
            terms.shares,
            terms.partner,
            is_paid=terms.pays_partner,
            partners=partners,
            bands=terms.bands.names if terms.bands else (),
            located=located,
        )
        self.problems += unnamed_samples(terms.capacity, located, self.files)
        if terms.bands:
            line = located.line(("bands",))
            if terms.bands.calendar and terms.bands.calendar not in calendars:
                self._tell(
                    Problem(
                        "is not in calendars.yaml",
                        located.file,
                        line,
                        "calendar",
                        terms.bands.calendar,
                    ),
                    "calendars.yaml",
                )
            else:
                calendar = calendars.get(terms.bands.calendar or "", Calendar())
                for message in band_problems(terms.bands, calendar):
                    problem = Problem(message, located.file, line, "bands")
                    self._tell(problem, "calendars.yaml")
        return len(self.problems) == before

    def _deals(self) -> list[tuple[Deal, Located]]:
        read: list[tuple[Deal, Located]] = []
        for path in self._paths("deals/"):
            located = self._located(path)
            deal = self._validated(located, Deal) if located else None
            if deal and located:
                read.append((deal, located))
        return read

    def _bound(
        self, agreements: Sequence[InForce], deals: Sequence[tuple[Deal, Located]]
    ) -> list[InForce]:
        """Agreements with the terms of their deals; checked once all files are in order."""
        if self.problems:
            return list(agreements)
        bound, problems = bind(deals, {a.terms.key: (a.terms, a.file) for a in agreements})
        life: dict[str, list[Version]] = {}
        for one in agreements:
            rated = frozenset(one.deck.rows["destination"])
            problems += unrated_destinations(one.terms, rated, one.file)
            version = Version(*one.local_days, rated, frozenset(one.terms.accounts))
            life.setdefault(one.terms.agreement, []).append(version)
        if not problems:
            problems += idle_deals(deals, life)
            problems += [p for one in agreements for p in idle_terms(one.terms, one.file, life)]
        self.problems += [self._with_row(problem) for problem in problems]
        return [replace(a, terms=bound[a.terms.key]) for a in agreements]

    def _with_row(self, problem: Problem) -> Problem:
        """A problem of a term with the line on which its field stands."""
        located = self._located(problem.file) if problem.row is None else None
        if located is None:
            return problem
        steps = problem.field.split(".")
        row = located.line(tuple(int(step) if step.isdecimal() else step for step in steps))
        return replace(problem, row=row)

    def _refuse_overlaps(self, agreements: Sequence[InForce]) -> None:
        """Two agreements may not price the same account, leg and service at one time."""
        claims: dict[tuple[str, str, str, str], list[InForce]] = {}
        for one in (a for a in agreements if not a.terms.parts):
            for account in one.terms.accounts:
                key = (one.terms.partner, account, one.terms.leg, one.terms.service)
                for other in claims.setdefault(key, []):
                    if one.start < other.end and other.start < one.end:
                        self._tell(
                            Problem(
                                f"overlaps {other.terms.key} of {other.file} for {account}, "
                                f"{one.terms.leg} leg, {one.terms.service}",
                                one.file,
                                None,
                                "agreement",
                                one.terms.key,
                            ),
                            other.file,
                        )
                claims[key].append(one)

    def _controls(self, partners: Mapping[str, Partner]) -> Controls:
        """controls.yaml, or the defaults where there is none; its partners must be known."""
        path = "controls.yaml"
        controls = self._form(path, Controls, Controls()) or Controls()
        self.problems += [
            Problem("is no partner of partners/", path, None, "partners", name)
            for name in controls.partners
            if name not in partners
        ]
        return controls

    def _tell_unread(self) -> None:
        """Refuse YAML that nobody reads: a misspelt name would leave out what it says."""
        read = {path for prefix in _FOLDERS for path in self._paths(prefix)} | _SINGLE
        for path in self.files:
            if path.lower().endswith((".yaml", ".yml")) and path not in read:
                known = ", ".join(sorted(_SINGLE))
                said = f"is not read: known are {known}, and *.yaml in {', '.join(_FOLDERS)}"
                self.problems.append(Problem(said, path))

    def _paths(self, prefix: str) -> list[str]:
        return [p for p in sorted(self.files) if p.startswith(prefix) and p.endswith(".yaml")]


_FOLDERS = ("partners/", "agreements/", "deals/")
"""Folders of which each YAML file is read."""

_SINGLE = {
    f"{name}.yaml"
    for name in (
        "carrier", "calendars", "sources", "layouts", "controls", "ledger", "retention", "traffic",
        "tax",
    )
}  # fmt: skip
"""YAML files that stand alone."""

_MOST_SHOWN = 80
"""So many characters of a refused value are told."""


def _shown(value: object) -> str:
    """A refused value as short text; of a list or mapping, some of what it holds."""
    text = Repr().repr(value) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
