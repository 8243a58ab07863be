"""Which content of a file stays in force when files of a folder are refused.

A unit is an agreement with its sheets, or any other file alone: it stands or falls together. What
has changed gives way to what was good before; so a file that is as it was is not refused for a
change elsewhere that it does not go with.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from billing_assets.core.errors import InputError, Problem
from billing_assets.reference.yamltext import Located


@dataclass
class Fallback:
    """The files in force, which lose what is refused; `last_good` are those of the version before.

    `left_out` are paths of which no content is good.
    """

    in_force: dict[str, bytes]
    last_good: Mapping[str, bytes]
    left_out: set[str] = field(default_factory=set)

    def set_aside(
        self,
        refused: set[str],
        units: Mapping[str, Sequence[str]],
        blamed: Mapping[str, Set[str]],
    ) -> Iterator[Problem]:
        """Put the last good content in place of each refused unit, or leave the unit out.

        `units` are the sheets of each agreement, `blamed` what a refused file may not go with:
        paths, or `PARTNER` and its id. Where the refused unit has not changed, what is blamed for
        it gives way in its place, which the problems tell.
        """
        together = [{agreement, *sheets} for agreement, sheets in units.items()]
        groups = [group for group in together if group & refused]
        groups += [{path} for path in refused.difference(*together)]
        for group in groups:
            if not self._is_unchanged(group):
                self._restore(group)
                continue
            names = {name for path in group for name in blamed.get(path, ())}
            changed = self._changed(names)
            for path in sorted(changed):
                yield Problem(self._said(path, min(group & refused)), path)
                self._restore(next((unit for unit in together if path in unit), {path}))
            if not changed:
                self._leave_out(group)

    def _is_unchanged(self, group: Set[str]) -> bool:
        return all(self.in_force.get(path) == self.last_good.get(path) for path in group)

    def _restore(self, group: Iterable[str]) -> None:
        for path in group:
            if path in self.last_good and path not in self.left_out:
                self.in_force[path] = self.last_good[path]
            else:
                self.in_force.pop(path, None)

    def _leave_out(self, group: Set[str]) -> None:
        self.left_out |= group
        for path in group:
            self.in_force.pop(path, None)

    def _changed(self, names: Set[str]) -> set[str]:
        """The files among those of some names that are not as they were."""
        paths = {*self.in_force, *self.last_good} - self.left_out
        return {
            path
            for path in paths
            if not self._is_unchanged({path})
            and (path in names or f"{PARTNER}{_partner(path, self.last_good.get(path))}" in names)
        }

    def _said(self, path: str, refused: str) -> str:
        """What becomes of a changed file that an unchanged one does not go with."""
        if path not in self.in_force:
            return f"stays: {refused} needs it"
        kept = "its last good version stays" if path in self.last_good else "it is left out"
        return f"does not go with {refused}, which is as it was: {kept}"


PARTNER = "partner "
"""Before a partner's id: whichever file defined it."""


def _partner(path: str, content: bytes | None) -> str:
    """The partner that a file of partners/ defines; empty when it defines none."""
    if content is None or not path.startswith("partners/"):
        return ""
    try:
        value = Located(content, path).value
    except InputError:
        return ""
    return str(value.get("partner", "")) if isinstance(value, dict) else ""
