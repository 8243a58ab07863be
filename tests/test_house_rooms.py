"""The rooms of the package: who may import whom, and who may know Dagster."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "billing_assets"

ROOMS = [
    "core",
    "lake",
    "registry",
    "reference",
    "installation",
    "intake",
    "rating",
    "charging",
    "controls",
    "invoicing",
    "settlement",
    "demo",
    "orchestration",
    "desk",
    "cli",
    "definitions",
]
"""The order of ARCHITECTURE.md: a room imports only from itself and from rooms above it."""

KNOW_DAGSTER = {"orchestration", "definitions", "cli"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    """The folder below the package, or the module's own name where it stands in the package."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Every import of a module with its line, those inside functions too."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            if node.module == "billing_assets":
                yield from ((node.lineno, f"billing_assets.{a.name}") for a in node.names)
            else:
                yield node.lineno, node.module or ""


def places(module: Path, lines: list[tuple[int, str]]) -> list[str]:
    return [f"{module.relative_to(PACKAGE.parent)}:{line} imports {name}" for line, name in lines]


def test_the_list_of_rooms_is_the_package() -> None:
    found = {room_of(module) for module in modules()} - {"__init__"}
    # desk is a room that the design has and the package has not yet
    assert found <= set(ROOMS), f"ARCHITECTURE.md does not name {found - set(ROOMS)}"


def test_only_orchestration_the_definitions_and_the_command_line_import_dagster() -> None:
    strangers = [
        place
        for module in modules()
        if room_of(module) not in KNOW_DAGSTER
        for place in places(
            module,
            [
                (n, name)
                for n, name in imports(module)
                if name.partition(".")[0].startswith("dagster")
            ],
        )
    ]
    assert strangers == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_above_it(room: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room) + 1]}
    wrong = [
        place
        for module in modules()
        if room_of(module) == room
        for place in places(
            module,
            [
                (line, name)
                for line, name in imports(module)
                if name.startswith("billing_assets.") and name.split(".")[1] not in allowed
            ],
        )
    ]
    assert wrong == []


def test_the_marts_load_without_dagster() -> None:
    """`marts` and the dbt modules behind it serve the command line, which starts without it."""
    orchestration = PACKAGE / "orchestration"
    for module in [orchestration / "marts.py", *orchestration.glob("dbt_*.py")]:
        assert not [n for _, n in imports(module) if n.startswith("dagster")], module
