"""A reference made of agreement files alone: partners, accounts and trunks are invented.

For asking what usage would cost under an agreement, with nothing loaded. Every agreement stands
on a trunk of its own, so that two offers for one account can be compared.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.reference.deals import Deal
from billing_assets.reference.decks import sheet_path
from billing_assets.reference.load import InForce, Reference, load_reference
from billing_assets.reference.models import Account, Partner, TrunkRange
from billing_assets.reference.share_terms import CARRIER
from billing_assets.reference.yamltext import Located

_ROOT = "agreements"
_CALENDARS = "calendars.yaml"
_FIXINGS = "fixings.csv"
_LAYOUTS = "layouts.yaml"
_ADDRESS = {"street": "-", "city": "-", "country": "PT"}
_CARRIER = {
    "entity": "OWN",
    "name": "Own carrier",
    "country": "PT",
    "address": _ADDRESS,
    "currency": "EUR",
    "zone": "UTC",
    "vat_id": "",
    "vat_rate": "0",
    "bank": [],
    "contact_email": "",
    "series": [],
}


@dataclass(frozen=True)
class Standalone:
    """A reference in which each agreement has its own trunk.

    `trunks` maps an agreement's id to its trunk; `accounts` to the accounts that its files list.
    """

    reference: Reference
    trunks: Mapping[str, str]
    accounts: Mapping[str, frozenset[str]]

    def versions(self, agreement: str) -> list[InForce]:
        """The versions of an agreement, by number."""
        return [a for a in self.reference.agreements if a.terms.agreement == agreement]


def standalone_reference(paths: Sequence[Path], calendars: Path | None = None) -> Standalone:
    """Load agreement files, the sheets and samples that they name, calendars and fixings.

    A fixings.csv, and without `calendars` a calendars.yaml, is looked for beside each agreement
    and in the folder above, as a reference folder has them. Versions of one agreement may be given
    together. Raises `InputError` that names every problem with its file.
    """
    named = {_key(path): path for path in paths}
    problems: list[Problem] = []
    groups: list[_Group] = []
    for key, path in list(named.items()):
        content = _read(path, problems)
        if content is None:
            continue
        value = _value(key, content)
        names = {str(value.get("agreement", key))} | _named_in(value)
        place = key
        if "deal" in value:
            place, names = f"deals/{key}", _named_in(value) or {key}
            named[place] = path
        files = {place: content, **_beside(key, value), **_layouts(path, problems)}
        _join(groups, names, files, value)
    shared = _shared(paths, calendars, problems)
    agreements: list[InForce] = []
    deals: list[Deal] = []
    hashes: dict[str, str] = {}
    samples: dict[str, pl.DataFrame] = {}
    for group in groups:
        files, invented = group.files, _partner_files(group.values)
        loaded = load_reference({**files, **shared, **invented})
        told = [p for p in loaded.problems if p.file not in invented]
        problems += [_as_named(p, named, calendars) for p in told or loaded.problems]
        agreements += loaded.reference.agreements
        deals += loaded.reference.deals
        hashes |= loaded.reference.files
        samples |= loaded.reference.samples
    if problems or not agreements:
        raise InputError("cannot use the agreements", problems)
    base = load_reference({**shared, **_partner_files([])}).reference
    version = sha256_of(canonical_json(hashes))
    base = replace(base, version=version, deals=tuple(deals), samples=samples)
    return _assembled(agreements, base)


@dataclass(frozen=True)
class _Group:
    """Files that are loaded together, because a term or a deal of one names another's agreement."""

    names: frozenset[str]
    files: Mapping[str, bytes]
    values: tuple[Mapping[str, object], ...]


def _join(
    groups: list[_Group], names: set[str], files: dict[str, bytes], value: Mapping[str, object]
) -> None:
    """Put a file to the groups that share a name with it; they become one."""
    met = [group for group in groups if group.names & names]
    for group in met:
        groups.remove(group)
    groups.append(
        _Group(
            frozenset(names).union(*(group.names for group in met)),
            {path: content for group in met for path, content in group.files.items()} | files,
            (*(one for group in met for one in group.values), value),
        )
    )


def _named_in(value: Mapping[str, object]) -> set[str]:
    """The agreements that a file's terms, or a deal's directions, name."""
    found: set[str] = set()
    for direction in (value.get("received"), value.get("sent")):
        if isinstance(direction, dict) and "agreement" in direction:
            found.add(str(direction["agreement"]))
    found |= {str(part.get("agreement")) for part in _mappings(value.get("parts"))}
    for field in ("volume", "commitments"):
        terms = value.get(field)
        for term in terms if isinstance(terms, list) else []:
            listed = term.get("agreements") if isinstance(term, dict) else None
            found |= {str(name) for name in listed} if isinstance(listed, list) else set()
    return found


def _key(path: Path) -> str:
    """The file's place under the root, so that relative sheets keep their meaning."""
    absolute = _ROOT + path.resolve().as_posix()
    return absolute if absolute.endswith(".yaml") else f"{absolute}.yaml"


def _read(path: Path, problems: list[Problem]) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        problems.append(Problem(f"cannot be read: {error.strerror}", str(path)))
        return None


def _value(key: str, content: bytes) -> Mapping[str, object]:
    """The mapping of an agreement file; empty when it is none, which loading then tells."""
    try:
        value = Located(content, key).value
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


def _beside(key: str, value: Mapping[str, object]) -> dict[str, bytes]:
    """The sheets and samples that an agreement names; a missing one is told by loading."""
    found: dict[str, bytes] = {}
    for field, name in (("sheets", "file"), ("capacity", "samples")):
        terms = value.get(field)
        for term in terms if isinstance(terms, list) else []:
            named = term.get(name) if isinstance(term, dict) else None
            if not isinstance(named, str):
                continue
            place = Path(sheet_path(key, named).removeprefix(_ROOT))
            pattern = place.name if field == "capacity" else glob.escape(place.name)
            for path in place.parent.glob(pattern):
                if path.is_file():
                    found[_ROOT + path.as_posix()] = path.read_bytes()
    return found


def _layouts(path: Path, problems: list[Problem]) -> dict[str, bytes]:
    """The layouts.yaml beside an agreement, or in the folder above."""
    folder = path.resolve().parent
    for place in (folder / _LAYOUTS, folder.parent / _LAYOUTS):
        if place.is_file():
            content = _read(place, problems)
            return {} if content is None else {_LAYOUTS: content}
    return {}


def _shared(
    paths: Sequence[Path], calendars: Path | None, problems: list[Problem]
) -> dict[str, bytes]:
    """The one calendars.yaml and the one fixings.csv of all agreements, where there are any."""
    if calendars is None:
        found = _one_beside(paths, _CALENDARS, problems)
    else:
        content = _read(calendars, problems)
        found = {} if content is None else {_CALENDARS: content}
    return {**found, **_one_beside(paths, _FIXINGS, problems)}


def _one_beside(paths: Sequence[Path], name: str, problems: list[Problem]) -> dict[str, bytes]:
    """The file of a name beside the agreements or in the folder above."""
    found: dict[bytes, Path] = {}
    for path in paths:
        folder = path.resolve().parent
        for place in (folder / name, folder.parent / name):
            if place.is_file():
                found.setdefault(place.read_bytes(), place)
                break
    if len(found) > 1:
        problems += [
            Problem("differs from that of another agreement; name one", str(place))
            for place in found.values()
        ]
    return {name: next(iter(found))} if found else {}


def _partner_files(agreements: Sequence[Mapping[str, object]]) -> dict[str, bytes]:
    """A carrier, and a partner for each one that agreements name, with their accounts."""
    accounts: dict[str, set[str]] = {}
    for value in agreements:
        listed = value.get("accounts")
        names = {a for a in listed if isinstance(a, str)} if isinstance(listed, list) else set()
        accounts.setdefault(str(value.get("partner", "")), set()).update(names)
        for party in _parties_of(value):
            accounts.setdefault(party, set())
    files = {"carrier.yaml": canonical_json(_CARRIER)}
    for partner, names in accounts.items():
        form = _partner_form(partner, [{"account": name} for name in sorted(names)])
        files[f"partners/{partner}.yaml"] = canonical_json(form)
    return files


def _parties_of(value: Mapping[str, object]) -> set[str]:
    """The parties among whom an agreement shares out, taken as they are named."""
    rules = _mappings(value.get("shares"))
    named = [rule.get("remainder") for rule in rules]
    named += [take.get("to") for rule in rules for take in _mappings(rule.get("takes"))]
    return {party for party in named if isinstance(party, str) and party != CARRIER}


def _mappings(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _partner_form(partner: str, accounts: Sequence[object]) -> dict[str, object]:
    return {
        "partner": partner,
        "name": partner,
        "country": "PT",
        "address": _ADDRESS,
        "currency": "EUR",
        "zone": "UTC",
        "roles": [],
        "tax": {"category": "O"},
        "accounts": accounts,
    }


def _as_named(problem: Problem, named: Mapping[str, Path], calendars: Path | None) -> Problem:
    """The problem at the path that the user gave."""
    if problem.file in named:
        return replace(problem, file=str(named[problem.file]))
    if problem.file == _CALENDARS and calendars is not None:
        return replace(problem, file=str(calendars))
    return replace(problem, file=problem.file.removeprefix(_ROOT))


def _assembled(agreements: Sequence[InForce], base: Reference) -> Standalone:
    """One reference of all agreements, each for an account and a trunk of its own."""
    trunks = {a.terms.agreement: f"price/{a.terms.agreement}" for a in agreements}
    accounts: dict[str, set[str]] = {}
    partners: dict[str, dict[str, Account]] = {}
    for one in agreements:
        agreement = one.terms.agreement
        accounts.setdefault(agreement, set()).update(one.terms.accounts)
        partners.setdefault(one.terms.partner, {})[agreement] = Account(
            account=agreement, trunks=(TrunkRange(trunk=trunks[agreement]),)
        )
    reference = replace(
        base,
        partners={
            name: Partner.model_validate(_partner_form(name, list(held.values())))
            for name, held in partners.items()
        },
        agreements=tuple(
            replace(a, terms=a.terms.model_copy(update={"accounts": (a.terms.agreement,)}))
            for a in agreements
        ),
        breaches=tuple(breach for a in agreements for breach in a.deck.breaches),
    )
    return Standalone(
        reference, trunks, {name: frozenset(listed) for name, listed in accounts.items()}
    )
