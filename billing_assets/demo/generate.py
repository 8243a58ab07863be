"""Generate the demo: the reference folder and the inbox, from the scenario and a seed.

Equal arguments give equal bytes. At scale 1 the inbox holds exactly the scenario's usage, and
the defects' own records if wanted.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from billing_assets.demo.defects import DefectPlanter
from billing_assets.demo.files import FileEntry, SwitchFolder, batches
from billing_assets.demo.reference import write_reference
from billing_assets.demo.scenario import Scenario, Seed, load_scenario
from billing_assets.demo.traffic import Layout, lay_out
from billing_assets.reference.sources import Source

MANIFEST = "demo-manifest.json"

Progress = Callable[[int, int], None]
"""Called with the records generated so far and in all."""


@dataclass(frozen=True)
class Manifest:
    """What was generated.

    `files` are the inbox' files in order of delivery by source, `reference` the paths of the
    reference folder; `records` counts records by group ('partner/group'), a long call's parts
    each; `first_day` and `last_day` are the first and last UTC day with a record; `seeds` are
    the defects planted.
    """

    files: tuple[FileEntry, ...]
    reference: tuple[str, ...]
    records: dict[str, int]
    first_day: date
    last_day: date
    seeds: tuple[Seed, ...]

    @property
    def rows(self) -> int:
        """Rows of records in all files, repeated and malformed ones included."""
        return sum(entry.rows for entry in self.files)

    @property
    def size(self) -> int:
        """Bytes of all mediation files."""
        return sum(entry.size for entry in self.files)


def generate(
    out: Path,
    *,
    scale: int = 1,
    seed: int = 2026,
    defects: bool = True,
    divide: int = 1,
    progress: Progress | None = None,
    scenario: Scenario | None = None,
) -> Manifest:
    """Write `out/reference` and `out/inbox/<source>/` and return what was written.

    `scale` multiplies and `divide` divides the calls of every group (a group keeps at least one
    call a window and all its calls at fixed times). Files of an earlier generation in `out` that
    are not written again are removed, other files stay. Raises `InputError` when the scenario
    is not usable.
    """
    scenario = scenario or load_scenario()
    groups = list(scenario.groups(defects=defects))
    layouts = [
        lay_out(number, group, scenario.operations.load, scale=scale, divide=divide)
        for number, group in enumerate(groups)
    ]
    seeds = tuple(one for one in scenario.seeds if defects or one.always)
    total = sum(layout.calls * max(len(layout.group.parts), 1) for layout in layouts)
    done = 0

    def on_day(records: int) -> None:
        nonlocal done
        done += records
        if progress:
            progress(done, total)

    before = _listed(out)
    reference = write_reference(scenario.folder / "reference", out / "reference")
    entries: list[FileEntry] = []
    for source in scenario.sources:
        folder = SwitchFolder(
            out / "inbox" / source.source, source, scenario.operations.switches[source.source]
        )
        planter = DefectPlanter(folder, seeds, scenario.sources)
        for batch in batches(folder, _of_switch(layouts, source), groups, seed=seed, on_day=on_day):
            planter.write(batch)
        entries += folder.entries
    manifest = Manifest(
        files=tuple(entries),
        reference=tuple(path.as_posix() for path in reference),
        records={
            layout.group.key: layout.calls * max(len(layout.group.parts), 1) for layout in layouts
        },
        first_day=min(layout.days[0] for layout in layouts),
        last_day=max(layout.days[1] for layout in layouts),
        seeds=seeds,
    )
    _list(out, manifest, before)
    return manifest


def _of_switch(layouts: Sequence[Layout], source: Source) -> list[Layout]:
    return [layout for layout in layouts if layout.group.switch == source.switch]


def _listed(out: Path) -> set[str]:
    """The paths that an earlier generation wrote into `out`."""
    listing = out / MANIFEST
    return set(json.loads(listing.read_text())) if listing.is_file() else set()


def _list(out: Path, manifest: Manifest, before: set[str]) -> None:
    """Note the paths written, and remove those of an earlier generation that were not."""
    now = {f"inbox/{entry.source}/{entry.name}" for entry in manifest.files}
    now |= {f"reference/{path}" for path in manifest.reference}
    for path in before - now:
        (out / path).unlink(missing_ok=True)
    (out / MANIFEST).write_text(json.dumps(sorted(now), indent=1) + "\n")
