"""Versions of the reference data: taking a folder into force, and reading any version back.

Every file of a version is kept by content, so any past version loads exactly as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from billing_assets.core.errors import NotFound, Problem
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATE
from billing_assets.reference.load import Reference, load_reference
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class Taken:
    """A reference version that came into force, and what was refused on the way."""

    reference: Reference
    number: int
    problems: tuple[Problem, ...]


def take_reference(
    files: Mapping[str, bytes],
    *,
    lake: Lake,
    registry: Registry,
    blobs: BlobStore,
    now: datetime,
    who: str,
) -> Taken:
    """Load a reference folder's files and put them into force.

    Refused files are passed over; their last good version stays. Decks go into table `rate`
    before the registry names the version, so a version that is in force is whole. Raises
    `InputError` when nothing usable remains.
    """
    previous = registry.versions.current_reference()
    last_good = (
        {path: blobs.get(sha256) for path, sha256 in previous.manifest.items()} if previous else {}
    )
    loaded = load_reference(files, last_good)
    reference = loaded.reference
    for content in loaded.in_force.values():
        blobs.put(content)
    _publish_rates(lake, reference)
    version = registry.versions.load_reference(
        reference.version, dict(reference.files), loaded.problems, now=now, who=who
    )
    return Taken(reference, version.number, loaded.problems)


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


@lru_cache(maxsize=4)
def reference_of(version: str, registry: Registry, blobs: BlobStore) -> Reference:
    """The reference data of a version, as they were; raises `NotFound` for an unknown one."""
    manifest = registry.versions.reference(version).manifest
    return load_reference({path: blobs.get(sha256) for path, sha256 in manifest.items()}).reference
