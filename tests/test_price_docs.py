"""Every example of docs/pricing.md gives the figures that stand below it."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_assets.cli.price import quote

DOCUMENT = Path(__file__).parents[1] / "docs" / "pricing.md"
_BLOCK = re.compile(r"^```\w+ (?P<name>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[str, dict[str, str]]]:
    """Headings with their named blocks: files to write, and expected `legs` and `charges`."""
    for section in re.split(r"^### ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        blocks = {match["name"]: match["text"] for match in _BLOCK.finditer(section)}
        yield heading, blocks


EXAMPLES = dict(examples())


def shown(found: dict, wanted: dict[str, str]) -> dict[str, str]:
    """The wanted columns as texts."""
    return {name: "" if found[name] is None else str(found[name]) for name in wanted}


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_of_the_document_gives_its_figures(heading: str, tmp_path: Path) -> None:
    blocks = EXAMPLES[heading]
    assert {"usage.csv"} < set(blocks) and {"legs", "charges"} & set(blocks)
    for name, text in blocks.items():
        if "." in name:
            (tmp_path / name).write_text(text)
    agreements = [tmp_path / n for n in blocks if n.endswith(".yaml") and n != "calendars.yaml"]
    result = quote(agreements, tmp_path / "usage.csv", calendar=None, month="", zone="UTC")
    for part in ("legs", "charges"):
        if part in blocks:
            wanted = list(csv.DictReader(io.StringIO(blocks[part])))
            assert len(result[part]) == len(wanted)
            assert [shown(f, w) for f, w in zip(result[part], wanted, strict=True)] == wanted
    breached = "notice" in blocks.get("agreement.yaml", "")
    assert (len(result["breaches"]) == 1) is breached


def test_the_document_explains_every_term_of_an_agreement_and_every_column() -> None:
    from billing_assets.rating.outcomes import REASONS  # noqa: PLC0415
    from billing_assets.rating.usage_cells import COLUMNS  # noqa: PLC0415
    from billing_assets.reference.models import Agreement  # noqa: PLC0415

    text = DOCUMENT.read_text()
    terms = {field.alias or name for name, field in Agreement.model_fields.items()}
    accepted = {"switch", "record_sequence", "last_part"}
    unexplained = {"title", "stream", "contract_reference"}
    for word in {*terms - unexplained, *(set(COLUMNS) - accepted), *REASONS}:
        assert f"`{word}`" in text, word
