"""Refused files, back into the inbox once the cause is mended."""

from collections.abc import Callable
from pathlib import Path

from billing_assets.core.ids import sha256_of_file

_REASON = ".reason.txt"
_HASH = 13
"""Letters of a hash and the line under them, before a kept file's name."""


def return_files(quarantine: Path, inbox: Path, wanted: Callable[[str, str], bool]) -> list[Path]:
    """Put refused files back into the inbox, to be read as their sources are described now.

    `wanted` chooses by source and name. A file whose name waits in the inbox stays. Returns the
    new places.
    """
    returned = []
    for path in sorted(quarantine.glob("*/*")):
        source = path.parent.name
        if path.name.endswith(_REASON) or source == "counters" or not wanted(source, path.name):
            continue
        # another refused file of the same name was kept under its hash
        name = path.name
        if path.name[:_HASH] == f"{sha256_of_file(path)[: _HASH - 1]}_":
            name = name[_HASH:]
        place = inbox / source / name
        if place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        path.with_name(path.name + _REASON).unlink(missing_ok=True)
        returned.append(place)
    return returned
