"""A running installation: its settings and the stores that they name, opened together.

The rooms above take stores as arguments; orchestration, desk and command line open them here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from billing_assets.core.errors import BillingError
from billing_assets.core.ids import bucket_of
from billing_assets.core.settings import Settings
from billing_assets.lake.store import Lake
from billing_assets.reference.load import Reference
from billing_assets.reference.versions import current_reference, named_version, reference_of
from billing_assets.registry.blobs import BlobStore
from billing_assets.registry.registry import Registry


@dataclass(frozen=True)
class Installation:
    """The stores of one home."""

    settings: Settings
    lake: Lake
    registry: Registry
    blobs: BlobStore
    """Raw files, reference files and documents, by content."""

    @classmethod
    def open(cls, settings: Settings | None = None) -> Self:
        """Open the stores, making what does not exist yet; settings default to the environment.

        Raises `BillingError` when days were rated by another number of buckets: a partner's usage
        is sought in its bucket alone, and would be missed where it lies in another.
        """
        settings = settings or Settings()
        settings.root.mkdir(parents=True, exist_ok=True)
        registry = Registry.open(settings.registry)
        if (used := registry.versions.buckets()) not in (None, settings.buckets):
            raise BillingError(
                f"ICB_BUCKETS is {settings.buckets}, but days were rated by {used} buckets",
                hint=f"set ICB_BUCKETS={used}: it is chosen once, before the first file",
            )
        return cls(
            settings=settings,
            lake=Lake(settings.lake, settings.lake_storage_options),
            registry=registry,
            blobs=BlobStore(settings.archive),
        )

    @property
    def templates(self) -> Path:
        """Folder of document layouts."""
        return self.settings.templates

    def bucket_of(self, partner: str) -> int:
        """The bucket in which a partner's rated legs and usage lie."""
        return bucket_of(partner, self.settings.buckets)

    @property
    def reference(self) -> Reference:
        """The reference data in force; raises `NotFound` when none was loaded yet."""
        return current_reference(self.registry, self.blobs)

    def reference_as(self, version: str) -> Reference:
        """A version by its name: current, pending, a number, or a moment (what was known then)."""
        named = named_version(version, self.registry)
        return reference_of(named.hash, self.registry, self.blobs)
