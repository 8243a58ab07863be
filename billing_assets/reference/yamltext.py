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

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what a mapping merges (`<<`) into it, each key once: merges of merges that name one
        mapping twice would else double it each time."""
        super().flatten_mapping(node)
        kept = {
            (key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)): (key, value)
            for key, value in node.value
        }
        node.value = list(kept.values())


_PlainLoader.yaml_implicit_resolvers = {}
_CORE = "tag:yaml.org,2002:"
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("int", r"^-?(?:0|[1-9][0-9]{0,17})$", list("-0123456789")),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("merge", r"^<<$", ["<"]),
):
    _PlainLoader.add_implicit_resolver(f"{_CORE}{_tag}", re.compile(_pattern), _first)


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
            node = _composed(loader)
            if node:
                self._walk(loader, node, (), repeated)
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

    def _walk(
        self, loader: _PlainLoader, node: yaml.Node, at: Location, repeated: list[Problem]
    ) -> None:
        """Note the line of each part, and keys that stand twice: YAML would keep the last one.

        A node that an alias names again is walked once, so that aliases cannot blow it up.
        """
        self._lines[at] = node.start_mark.line + 1
        if id(node) in self._walked:
            return
        self._walked.add(id(node))
        _check(loader, node)
        if isinstance(node, yaml.MappingNode):
            known: set[str] = set()
            for key, value in node.value:
                _check(loader, key)
                name = str(key.value)
                if name in known:
                    line = key.start_mark.line + 1
                    repeated.append(Problem("stands twice", self.file, line, "key", name))
                known.add(name)
                self._walk(loader, value, (*at, name), repeated)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._walk(loader, value, (*at, index), repeated)

    def line(self, at: Location) -> int | None:
        """The line (from 1) of the closest known part at or above a location."""
        for length in range(len(at), -1, -1):
            if at[:length] in self._lines:
                return self._lines[at[:length]]
        return None


_HALVES = re.compile("[\ud800-\udfff]")


def _composed(loader: _PlainLoader) -> yaml.Node | None:
    """The one document's node; raises `yaml.YAMLError` for all that is not YAML."""
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError) as error:
        raise _at(loader.get_mark(), "an escape stands for no character") from error


def _check(loader: _PlainLoader, node: yaml.Node) -> None:
    """Refuse a tag that reads a text as what it is not, and half a character.

    Raises `yaml.YAMLError`.
    """
    if isinstance(node, yaml.ScalarNode):
        own = {f"{_CORE}str", loader.resolve(yaml.ScalarNode, node.value, (True, False))}
        if _HALVES.search(node.value):
            raise _at(node.start_mark, "an escape stands for half a character")
    else:
        own = {f"{_CORE}{'map' if isinstance(node, yaml.MappingNode) else 'seq'}"}
    if node.tag not in own:
        shown = node.tag.replace(_CORE, "!!")
        raise _at(node.start_mark, f"the tag {shown} is not one of this value; leave it out")


def _at(mark: yaml.Mark, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
