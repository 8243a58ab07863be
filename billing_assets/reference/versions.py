"""Versions of the reference data: loading a folder, approving, and reading any version back.

Every file of a version is kept by content, so any past version loads exactly as it was. What is
loaded over a version in force is pending until a second person approves it. Two times are kept:
valid time in the files, and recorded time in the log of loads, so that any past day can be rated
as known then (`reference_known_at`) or as known now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from billing_assets.core.errors import BillingError, NotFound, Problem
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATE
from billing_assets.reference.load import Reference, load_reference
from billing_assets.reference.shelf import DeckShelf
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry
from billing_assets.registry.versions import ReferenceLoad, ReferenceVersion


@dataclass(frozen=True)
class Taken:
    """A reference version that was loaded, and what was refused on the way.

    `in_force` tells whether it holds already; else it waits for a second person.
    """

    reference: Reference
    number: int
    problems: tuple[Problem, ...]
    in_force: bool


def take_reference(
    files: Mapping[str, bytes],
    *,
    lake: Lake,
    registry: Registry,
    blobs: BlobStore,
    now: datetime,
    who: str,
) -> Taken:
    """Load a reference folder's files as a version.

    Refused files are passed over; their last good version stays. The first version of a home is
    in force at once; each further one waits for approval. Table `rate` is brought to the version
    in force, should an approval have been cut off. Raises `InputError` when nothing usable
    remains.
    """
    loads = registry.versions.reference_loads()
    last_good = _contents(registry.versions.reference(loads[-1].hash), blobs) if loads else {}
    loaded = load_reference(files, last_good, shelf=_shelf(blobs))
    reference = loaded.reference
    for content in loaded.in_force.values():
        blobs.put(content)
    load = registry.versions.propose_reference(
        reference.version, dict(reference.files), loaded.problems, now=now, who=who
    )
    _publish_rates(lake, current_reference(registry, blobs))
    return Taken(reference, load.version, loaded.problems, load.in_force_from is not None)


def approve_reference(
    version: int, *, lake: Lake, registry: Registry, blobs: BlobStore, now: datetime, who: str
) -> ReferenceLoad:
    """Put the pending version of that number into force, in a second person's name.

    Raises `StateError` as `Versions.approve_reference` says.
    """
    approved = registry.versions.approve_reference(version, now=now, who=who)
    _publish_rates(lake, reference_of(approved.hash, registry, blobs))
    return approved


def _publish_rates(lake: Lake, reference: Reference) -> None:
    """Replace the decks of table `rate` in one commit, if any row changed."""
    rates = reference.rates().sort(RATE.order)
    known = lake.scan(RATE).collect().sort(RATE.order)
    if rates.sort("rate_id").equals(known.sort("rate_id")):
        return
    decks = sorted({*rates["deck"], *known["deck"]})
    lake.replace_slice(RATE, rates, {"deck": decks})


def current_reference(registry: Registry, blobs: BlobStore) -> Reference:
    """The reference data in force; raises `NotFound` when none was loaded yet."""
    version = registry.versions.current_reference()
    if version is None:
        raise NotFound("no reference data loaded yet", hint="run `icb run`")
    return reference_of(version.hash, registry, blobs)


def named_version(name: str, registry: Registry) -> ReferenceVersion:
    """A version as a person names it: current, pending, its number, or a moment.

    A moment ('2026-03-12', '2026-03-12T18:00', UTC without an offset) names the version that was
    in force then. Raises `NotFound` or `BillingError`.
    """
    versions = registry.versions
    if name == "current":
        current = versions.current_reference()
        if current is None:
            raise NotFound("no reference data loaded yet", hint="icb reference load")
        return current
    if name == "pending":
        pending = versions.pending_reference()
        if pending is None:
            raise NotFound("no reference version waits for approval")
        return versions.reference(pending.hash)
    if name.isdecimal():
        for version in versions.references():
            if version.number == int(name):
                return version
        raise NotFound(f"no reference version {name}", hint="icb reference history")
    try:
        moment = datetime.fromisoformat(name)
    except ValueError:
        raise BillingError(
            f"{name!r} names no reference version",
            hint="current, pending, a number, or a moment such as 2026-03-12T18:00",
        ) from None
    return versions.reference_known_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@lru_cache(maxsize=4)
def reference_of(version: str, registry: Registry, blobs: BlobStore) -> Reference:
    """The reference data of a version, as they were; raises `NotFound` for an unknown one."""
    files = _contents(registry.versions.reference(version), blobs)
    return load_reference(files, shelf=_shelf(blobs)).reference


def as_claimed(reference: Reference, blobs: BlobStore) -> Reference:
    """The same version with every change from the day that its sheet asks for.

    So partners bill who do not keep the notice: the difference to what is in force is for
    dispute (B09, S07).
    """
    files = {path: blobs.get(sha256) for path, sha256 in reference.files.items()}
    return load_reference(files, honour_notice=False, shelf=_shelf(blobs)).reference


def _shelf(blobs: BlobStore) -> DeckShelf:
    """The decks that were built of a home's sheets; they lie beside what they are derived from."""
    return DeckShelf(blobs.root.with_name("decks"))


def _contents(version: ReferenceVersion, blobs: BlobStore) -> dict[str, bytes]:
    return {path: blobs.get(sha256) for path, sha256 in version.manifest.items()}
