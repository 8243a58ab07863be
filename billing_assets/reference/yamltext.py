"""YAML as people mean it: decimals stay text, NO is a country, 20:00 a time; lines are known."""

import re

import yaml

from billing_assets.core.errors import InputError, Problem
from billing_assets.core.ids import sha256_of

Location = tuple[str | int, ...]


class _PlainLoader(yaml.SafeLoader):
    """Reads booleans, whole numbers and null as such, and every other scalar as text.

    YAML 1.1 would read 0.0120 as a binary float, NO as false and 20:00 as 1200.
    """


_PlainLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("int", r"^-?(?:0|[1-9][0-9]{0,17})$", list("-0123456789")),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("merge", r"^<<$", ["<"]),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


class Located:
    """The value of a YAML text, and the line on which each part of it stands."""

    def __init__(self, text: bytes, file: str) -> None:
        """Parse one document; raises `InputError` that names file and line when it is not YAML."""
        self.file = file
        self.sha256 = sha256_of(text)
        self._lines: dict[Location, int] = {}
        self._walked: set[int] = set()
        repeated: list[Problem] = []
        try:
            loader = _PlainLoader(text.decode("utf-8"))
            node = loader.get_single_node()
            if node:
                self._walk(node, (), repeated)
            self.value = loader.construct_document(node) if node else None
        except UnicodeDecodeError as error:
            raise InputError(
                "cannot read reference file",
                [Problem(f"is not UTF-8 (byte {error.start})", file)],
            ) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else None
            raise InputError(
                "cannot read reference file", [Problem(f"is not YAML: {error.problem}", file, line)]
            ) from error
        except yaml.YAMLError as error:
            raise InputError(
                "cannot read reference file", [Problem(f"is not YAML: {error}", file)]
            ) from error
        except RecursionError as error:
            raise InputError(
                "cannot read reference file", [Problem("is nested too deeply", file)]
            ) from error
        if repeated:
            raise InputError("cannot read reference file", repeated)

    def _walk(self, node: yaml.Node, at: Location, repeated: list[Problem]) -> None:
        """Note the line of each part, and keys that stand twice: YAML would keep the last one.

        A node that an alias names again is walked once, so that aliases cannot blow it up.
        """
        self._lines[at] = node.start_mark.line + 1
        if id(node) in self._walked:
            return
        self._walked.add(id(node))
        if isinstance(node, yaml.MappingNode):
            known: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in known:
                    line = key.start_mark.line + 1
                    repeated.append(Problem("stands twice", self.file, line, "key", name))
                known.add(name)
                self._walk(value, (*at, name), repeated)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._walk(value, (*at, index), repeated)

    def line(self, at: Location) -> int | None:
        """The line (from 1) of the closest known part at or above a location."""
        for length in range(len(at), -1, -1):
            if at[:length] in self._lines:
                return self._lines[at[:length]]
        return None
