"""An inbox with its lake, registry and blobs, and a process that dies at a given step of intake.

`python -m tests.support.intake_home HOME STEP` takes the inbox in and ends without a word of
goodbye right after the step.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from billing_assets.intake.landing import Intake, IntakeReport
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import Table
from billing_assets.reference.sources import Source
from billing_assets.registry import BlobStore, Registry
from billing_assets.registry.files import FileLog
from tests.support.intake import source_of

NOW = datetime(2026, 3, 20, 6, 0, tzinfo=UTC)
SOURCES = {name: source_of(source=name, switch=f"sw-{name}") for name in ("s1", "s2")}
KILLED = 9


@dataclass(frozen=True)
class IntakeHome:
    """Everything that intake touches, below one folder."""

    root: Path
    lake: Lake
    registry: Registry
    blobs: BlobStore

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def put(self, name: str, content: str | bytes, source: str = "s1") -> Path:
        """Deliver a file to a source's folder."""
        path = self.inbox / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def take_in(self, sources: Mapping[str, Source] = SOURCES, **options: Any) -> IntakeReport:
        """Take the inbox in."""
        return self.intake().take_in(self.inbox, sources, **options)

    def intake(self) -> Intake:
        return Intake(
            lake=self.lake,
            registry=self.registry,
            blobs=self.blobs,
            quarantine=self.quarantine,
            now=NOW,
            who="ana",
        )

    def rows(self, table: Table) -> pl.DataFrame:
        """A table's rows in a fixed order."""
        return self.lake.scan(table).collect().sort(table.schema.names())

    def names(self, folder: Path) -> list[str]:
        """All files below a folder of the home.

        Without the unfinished `.*.part` of a writer that died: it has no hash for a name, so
        nothing ever reads it.
        """
        files = [path for path in folder.rglob("*") if path.is_file()]
        return sorted(
            path.relative_to(folder).as_posix()
            for path in files
            if not (path.name.startswith(".") and path.suffix == ".part")
        )


@contextmanager
def opened(root: Path) -> Iterator[IntakeHome]:
    """Open a home, made on the first use."""
    root.mkdir(parents=True, exist_ok=True)
    with Registry.open(f"sqlite:///{root / 'registry.db'}") as registry:
        yield IntakeHome(root, Lake(str(root / "lake")), registry, BlobStore(root / "archive"))


def _die_after(owner: type, method: str, when: Callable[[tuple[Any, ...]], bool]) -> None:
    """Let the process end right after a call of a method."""
    original = getattr(owner, method)

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if when(args):
            os._exit(KILLED)
        return result

    setattr(owner, method, dying)


STEPS: Mapping[str, tuple[type, str, Callable[[tuple[Any, ...]], bool]]] = {
    "key": (FileLog, "assign_file_keys", lambda _: True),
    "archived": (BlobStore, "put", lambda _: True),
    "landed": (Lake, "replace_slice", lambda args: args[1].name == "landed"),
    "rejected": (Lake, "replace_slice", lambda args: args[1].name == "rejected"),
    "logged": (FileLog, "record_all", lambda _: True),
    "refused": (FileLog, "record", lambda _: True),
}
"""Calls after which the process dies: of the first file that comes so far."""


def main(root: Path, step: str) -> None:
    """Take the inbox of a home in, and die after a step."""
    _die_after(*STEPS[step])
    with opened(root) as home:
        home.take_in()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
