"""The inbox: which files have wholly arrived, from which source, with which checksum.

Nothing is read here but names and checksums; no file is moved or judged.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.intake.presets import preset_of
from billing_assets.reference.sources import Source

_ARRIVING = (".part", ".tmp", ".filepart")
"""Endings under which transfers write: such a file is not here yet."""

CHECKSUMS = ("md5", "sha256")
"""Endings of files that state the checksum of the file beside them."""


@dataclass(frozen=True)
class Waiting:
    """A file of the inbox, its source, and the file that states its checksum, if there is one."""

    path: Path
    source: Source
    sidecar: Path | None = None

    @property
    def copy(self) -> int:
        """What tells this copy from another one under the same name."""
        return self.path.stat().st_ctime_ns

    def leave(self) -> None:
        """Remove the file and its checksum from the inbox."""
        for path in (self.path, self.sidecar):
            if path is not None:
                path.unlink(missing_ok=True)


def waiting_files(
    inbox: Path, sources: Mapping[str, Source], problems: list[Problem]
) -> Iterator[Waiting]:
    """Files to take in, source by source in the order of their names.

    Folders and files that cannot be used stay where they are and are told in `problems`.
    """
    for folder in sorted(path for path in inbox.glob("*") if path.is_dir()):
        files = [path for path in sorted(folder.iterdir()) if _is_here(path)]
        if not files:
            continue
        source = sources.get(folder.name)
        if source is None:
            problems += [
                Problem("lies in a folder that is no source of sources.yaml", str(path))
                for path in files
            ]
            continue
        try:
            check_source(source)
        except BillingError as error:
            problems.append(Problem(str(error), str(folder)))
            continue
        for path in files:
            sidecar = _sidecar_of(path, source)
            if path.suffix[1:] in CHECKSUMS:
                if path.with_suffix("") not in files:
                    problems.append(
                        Problem("states the checksum of a file that is not here", path.name)
                    )
            elif sidecar is None and source.checksum:
                problems.append(
                    Problem(f"waits for its checksum, {path.name}.{source.checksum}", path.name)
                )
            else:
                yield Waiting(path, source, sidecar)


def _sidecar_of(path: Path, source: Source) -> Path | None:
    wanted = (source.checksum,) if source.checksum else CHECKSUMS
    for kind in wanted:
        sidecar = path.with_name(f"{path.name}.{kind}")
        if sidecar.is_file():
            return sidecar
    return None


def check_sum(content: bytes, name: str, sidecar: Path) -> str:
    """The checksum of a file as its sidecar states it, 'md5:...' or 'sha256:...'.

    Raises `InputError` when the file has another, or none can be read.
    """
    kind = sidecar.suffix[1:]
    words = sidecar.read_bytes()[:1000].decode("ascii", "replace").split()
    length = hashlib.new(kind).digest_size * 2
    stated = next(
        (word.lower() for word in words if re.fullmatch(f"[0-9a-fA-F]{{{length}}}", word)), ""
    )
    if not stated:
        raise InputError(
            f"{name} is refused", [Problem(f"states no {kind} checksum", sidecar.name)]
        )
    found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if found != stated:
        message = f"has another checksum than {sidecar.name} states: it was torn or changed"
        raise InputError(f"{name} is refused", [Problem(message, name, None, kind, found)])
    return f"{kind}:{found}"


def check_source(source: Source) -> None:
    """Raise `BillingError` when a source cannot be used: its preset, options or name pattern."""
    preset_of(source)
    try:
        pattern = re.compile(source.pattern)
    except re.error as error:
        raise BillingError(
            f"pattern of source {source.source} is no expression: {error}"
        ) from error
    if "sequence" not in pattern.groupindex:
        raise BillingError(
            f"pattern of source {source.source} names no group 'sequence'",
            hint="write (?P<sequence>[0-9]+) where the file's number stands",
        )


def sequence_of(source: Source, name: str) -> int | None:
    """The file's number at its source, by the source's pattern; None when the name has none."""
    found = re.match(source.pattern, name)
    return int(found["sequence"]) if found and (found["sequence"] or "").isdecimal() else None


def _is_here(path: Path) -> bool:
    """Whether a file has wholly arrived, by its name."""
    return path.is_file() and not path.name.startswith(".") and path.suffix not in _ARRIVING
