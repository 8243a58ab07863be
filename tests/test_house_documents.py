"""What the documents of the house promise exists: commands, targets, links, settings, rooms."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from billing_assets.cli.main import app
from billing_assets.core.settings import PROJECT_ROOT, Settings
from tests.test_house_rooms import PACKAGE, ROOMS

PAGES = sorted(
    [
        *(PROJECT_ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
        *(PROJECT_ROOT / "docs").rglob("*.md"),
    ]
)
README = PROJECT_ROOT / "README.md"
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def code_of(page: Path) -> list[str]:
    """The code in a page, line by line: blocks, and what stands between back quotes."""
    return [
        line
        for piece in CODE.findall(page.read_text(encoding="utf-8"))
        for line in piece.strip("`").splitlines()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {m[1] for line in code_of(page) if (m := re.match(r"make ([a-z-]+)", line))}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    commands = dict(get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]
    for line in code_of(page):
        found = re.match(r"icb ([a-z]+)(?: ([a-z]+))?", line)
        if not found:
            continue
        assert found[1] in commands, line
        within = getattr(commands[found[1]], "commands", None)
        if within and found[2]:
            assert found[2] in within, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    broken = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert broken == []


def test_the_readme_names_every_setting() -> None:
    text = README.read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"| `ICB_{name.upper()}` |" in text


def test_the_architecture_lists_every_room_in_its_order() -> None:
    text = (PROJECT_ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z]+)(?:/|\.py)` \|", text, re.MULTILINE)
    there = [
        r for r in ROOMS if (PACKAGE / r / "__init__.py").exists() or (PACKAGE / f"{r}.py").exists()
    ]
    assert listed == there
