"""A reference made of agreement files alone: partners, accounts and trunks are invented.

For asking what usage would cost under an agreement, with nothing loaded. Every agreement stands
on a trunk of its own, so that two offers for one account can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.reference.deals import Deal
from billing_assets.reference.decks import sheet_path
from billing_assets.reference.load import InForce, Reference, load_reference
from billing_assets.reference.models import Account, Partner, TrunkRange
from billing_assets.reference.samples import sample_files
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
    problems: list[Problem] = []
    groups: list[_Group] = []
    for key, path in {_key(path): path for path in paths}.items():
        file = _read(path, problems)
        if file is None:
            continue
        value = _value(key, file.content)
        names = {str(value.get("agreement", key))} | _named_in(value)
        place = key
        if "deal" in value:
            place, names = f"deals/{key}", _named_in(value) or {key}
        beside = _beside(key, value, problems)
        layouts = _layouts(path, problems)
        _join(groups, names, {place: file, **beside, **layouts}, value, problems)
    shared = _shared(paths, calendars, problems)
    agreements: list[InForce] = []
    deals: list[Deal] = []
    hashes: dict[str, str] = {}
    samples: dict[str, pl.DataFrame] = {}
    for group in groups:
        files, invented = {**group.files, **shared}, _partner_files(group.values)
        loaded = load_reference({**_contents(files), **invented})
        told = [p for p in loaded.problems if p.file not in invented]
        problems += [_as_named(p, files) for p in told or loaded.problems]
        agreements += [_with_known_paths(a, files) for a in loaded.reference.agreements]
        deals += loaded.reference.deals
        hashes |= loaded.reference.files
        samples |= loaded.reference.samples
    if problems or not agreements:
        raise InputError("cannot use the agreements", problems)
    base = load_reference({**_contents(shared), **_partner_files([])}).reference
    version = sha256_of(canonical_json(hashes))
    base = replace(base, version=version, deals=tuple(deals), samples=samples)
    return _assembled(agreements, base)


@dataclass(frozen=True)
class _File:
    """What a file holds, and the path by which problems name it."""

    content: bytes
    path: Path


@dataclass(frozen=True)
class _Group:
    """Files that are loaded together, because a term or a deal of one names another's agreement."""

    names: frozenset[str]
    files: Mapping[str, _File]
    values: tuple[Mapping[str, object], ...]


def _join(
    groups: list[_Group],
    names: set[str],
    files: dict[str, _File],
    value: Mapping[str, object],
    problems: list[Problem],
) -> None:
    """Put a file to the groups that share a name with it; they become one, of one layouts.yaml."""
    met = [group for group in groups if group.names & names]
    layouts = [held[_LAYOUTS] for held in (*(g.files for g in met), files) if _LAYOUTS in held]
    problems += _differing(layouts, "differs from that of an agreement that is counted with this")
    for group in met:
        groups.remove(group)
    groups.append(
        _Group(
            frozenset(names).union(*(group.names for group in met)),
            {key: file for group in met for key, file in group.files.items()} | files,
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
    """The file's place under the root, so that relative sheets keep their meaning.

    Every name is lengthened, so that `x` and `x.yaml` have places of their own.
    """
    return f"{_ROOT}{path.resolve().as_posix()}.yaml"


def _read(path: Path, problems: list[Problem]) -> _File | None:
    try:
        return _File(path.read_bytes(), path)
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


def _beside(key: str, value: Mapping[str, object], problems: list[Problem]) -> dict[str, _File]:
    """The sheets and samples that an agreement names; a missing one is told by loading."""
    wanted = [sheet_path(key, name) for name in _texts(value.get("sheets"), "file")]
    for name in _texts(value.get("capacity"), "samples"):
        folder = PurePosixPath(sheet_path(key, name)).parent
        wanted += sample_files(key, name, [str(folder / one) for one in _names_in(folder)])
    found: dict[str, _File] = {}
    for place in wanted:
        path = _on_disk(PurePosixPath(place))
        # what ends in .yaml would be loaded as an agreement
        if not path or path.suffix == ".yaml" or not _is_file(path):
            continue
        if file := _read(path, problems):
            found[place] = file
    return found


def _texts(terms: object, field: str) -> list[str]:
    """A field of every term of a list, where it is text."""
    return [text for one in _mappings(terms) if isinstance(text := one.get(field), str)]


def _on_disk(place: PurePosixPath) -> Path | None:
    """Where a place under the root is on disk; None for one that is not under it."""
    return Path("/", *place.parts[1:]) if place.parts[:1] == (_ROOT,) else None


def _names_in(place: PurePosixPath) -> list[str]:
    """The names in a folder under the root; none where it cannot be read."""
    folder = _on_disk(place)
    try:
        return [path.name for path in folder.iterdir()] if folder else []
    except (OSError, ValueError):
        return []


def _is_file(path: Path) -> bool:
    """Whether there is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _layouts(path: Path, problems: list[Problem]) -> dict[str, _File]:
    """The layouts.yaml beside an agreement, or in the folder above."""
    place = _nearest(path, _LAYOUTS)
    file = _read(place, problems) if place else None
    return {_LAYOUTS: file} if file else {}


def _nearest(path: Path, name: str) -> Path | None:
    """The file of a name beside an agreement, or in the folder above."""
    folder = path.resolve().parent
    return next((p for p in (folder / name, folder.parent / name) if p.is_file()), None)


def _shared(
    paths: Sequence[Path], calendars: Path | None, problems: list[Problem]
) -> dict[str, _File]:
    """The one calendars.yaml and the one fixings.csv of all agreements, where there are any."""
    if calendars is None:
        found = _one_beside(paths, _CALENDARS, problems)
    else:
        file = _read(calendars, problems)
        found = {_CALENDARS: file} if file else {}
    return {**found, **_one_beside(paths, _FIXINGS, problems)}


def _one_beside(paths: Sequence[Path], name: str, problems: list[Problem]) -> dict[str, _File]:
    """The file of a name beside the agreements or in the folder above."""
    places = dict.fromkeys(place for path in paths if (place := _nearest(path, name)))
    files = [file for place in places if (file := _read(place, problems))]
    problems += _differing(files, "differs from that of another agreement; name one")
    return {name: files[0]} if files else {}


def _differing(files: Sequence[_File], said: str) -> list[Problem]:
    """A problem for each of files that must be one; none when all say the same."""
    if len({file.content for file in files}) < 2:
        return []
    return [Problem(said, path) for path in dict.fromkeys(str(file.path) for file in files)]


def _contents(files: Mapping[str, _File]) -> dict[str, bytes]:
    return {key: file.content for key, file in files.items()}


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


def _as_named(problem: Problem, files: Mapping[str, _File]) -> Problem:
    """The problem with the paths that the user knows, in place of those under the root."""
    message = problem.message
    for key in sorted(files, key=len, reverse=True):
        message = message.replace(key, str(files[key].path))
    file = files.get(problem.file)
    return replace(problem, message=message, file=str(file.path) if file else problem.file)


def _with_known_paths(one: InForce, files: Mapping[str, _File]) -> InForce:
    """The agreement with breaches that name sheets by the paths that the user knows, and times in
    its own zone."""
    zone = ZoneInfo(one.terms.zone)
    breaches = tuple(
        replace(
            breach,
            file=str(files[breach.file].path),
            requested=breach.requested.astimezone(zone),
            loaded=breach.loaded.astimezone(zone),
        )
        for breach in one.deck.breaches
    )
    return replace(one, deck=replace(one.deck, breaches=breaches))


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
