"""The inbox: which files have wholly arrived, from which source, with which checksum.

Nothing is read here but names and checksums; no file is moved or judged.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from billing_assets.core.errors import BillingError, InputError, Problem
from billing_assets.intake.presets import preset_of
from billing_assets.reference.sources import Source

_ARRIVING = (".part", ".tmp", ".filepart")
"""Endings under which transfers write: such a file is not here yet."""

_LONGEST_NAME = 200
"""Bytes of a name to which the endings of a checksum and a reason can be added."""

CHECKSUMS = ("md5", "sha256")
"""Endings of files that state the checksum of the file beside them."""


@dataclass(frozen=True)
class Waiting:
    """A file of the inbox, its source, and the file that states its checksum, if there is one."""

    path: Path
    source: Source
    sidecar: Path | None = None

    def seen(self) -> "Seen":
        """The file as it is now; raises `FileNotFoundError` when it is gone."""
        found = self.path.stat()
        return Seen(found.st_ctime_ns, found.st_size)

    def leave(self, seen: "Seen") -> bool:
        """Remove the file and its checksum from the inbox; False when it changed since it was
        seen: what was written to it since then would be lost, so both stay."""
        with suppress(FileNotFoundError):
            if self.seen() != seen:
                return False
        for path in (self.path, self.sidecar):
            if path is not None:
                path.unlink(missing_ok=True)
        return True


@dataclass(frozen=True)
class Seen:
    """What tells a copy from another one under the same name, or from itself once it grew: when
    it was last changed, in nanoseconds, and its bytes."""

    changed: int
    size: int


def waiting_files(
    inbox: Path, sources: Mapping[str, Source], problems: list[Problem]
) -> Iterator[Waiting]:
    """Files to take in, source by source in the order of their names.

    Folders and files that cannot be used stay where they are and are told in `problems`.
    """
    problems += [
        Problem("lies beside the folders of the sources, and in none of them", _shown(path))
        for path in sorted(inbox.glob("*"))
        if _is_here(path)
    ]
    for folder in sorted(path for path in inbox.glob("*") if path.is_dir()):
        files = list(_usable(folder, problems))
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


def _usable(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """A folder's files that have arrived, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and any(map(_is_here, path.iterdir())):
            problems.append(Problem("is a folder below a source's own: not looked into", str(path)))
        elif _is_here(path):
            name = os.fsencode(path.name)
            if len(name) > _LONGEST_NAME:
                message = f"has a name of more than {_LONGEST_NAME} bytes"
                problems.append(Problem(message, _shown(path)))
            elif name.decode(errors="replace") != path.name:
                problems.append(Problem("has a name that is not UTF-8", _shown(path)))
            else:
                yield path


def _shown(path: Path) -> str:
    """A path that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="replace")


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
    """The file's number at its source, by the source's pattern; None when the name has none.

    Digits past the last number of the sequence are none: a date, or a time.
    """
    found = re.match(source.pattern, name)
    digits = (found["sequence"] or "") if found else ""
    number = int(digits) if digits.isdecimal() else None
    return None if number is None or number > source.sequence_wrap else number


def _is_here(path: Path) -> bool:
    """Whether a file has wholly arrived, by its name."""
    return path.is_file() and not path.name.startswith(".") and path.suffix not in _ARRIVING
