"""`icb intake`: what presets there are, and how a file would land before it does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.intake.presets import PRESETS
from tests.support.intake import line, sansay_row, table

MAPPING = """
# a source as of sources.yaml
switch: sw9
zone: Europe/Berlin
country_code: "49"
mapping:
  separator: ";"
  unit: s
  service: voice
  fields:
    in_trunk: Route
    setup_time: Begin
    duration_ms: {column: Seconds}
    answer_time: Begin
    b_number: To
"""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["intake", *map(str, words)])


def test_presets_are_listed_with_their_options() -> None:
    rows = json.loads(run("presets", "--json").output)
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert all(row["reads"] for row in rows)


def test_a_file_is_tried_by_a_preset_and_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "x_000007.cdr"
    file.write_text(f"{sansay_row()}\n{sansay_row(f8='soon')}\n{sansay_row(f52='I')}\n")
    done = run("try", file, "--preset", "sansay", "--json")
    found = json.loads(done.output)
    assert done.exit_code == 1
    (row,) = found["rows"]
    assert (row["row"], row["b_number"], row["duration_ms"]) == (1, "442071234567", 90250)
    (refused,) = found["refused"]
    assert (refused["row"], refused["field"], refused["value"]) == (2, "answer_time", "soon")
    assert (found["passed over"], found["file number"]) == (1, 7)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_is_tried_by_a_mapping_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAPPING)
    file = tmp_path / "x_1.csv"
    file.write_text("Route;Begin;Seconds;To\nTG1;2026-03-10 13:00:05;90;030123456\n")
    done = run("try", file, "--mapping", tmp_path / "map.yaml")
    assert done.exit_code == 0, done.output
    assert "4930123456" in done.output
    assert "sw9/TG1" in done.output


def test_a_file_that_would_be_refused_whole_says_why(tmp_path: Path) -> None:
    file = tmp_path / "x_1.csv"
    file.write_bytes(table(line()).encode("utf-16"))
    done = run("try", file, "--preset", "canonical-csv", "--json")
    assert done.exit_code == 1
    assert "UTF-16" in json.loads(done.output)["refused"][0]["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mapping: {unit: weeks}\n", "mapping.unit"),
        ("- 1\n", "is no source"),
        ("mapping: {fields: {b_number: {constant: x, column: y}}}\n", "a column or is a constant"),
        ("mapping: {fields: {b_number: {column: y, pattern: '('}}}\n", "is no expression"),
        ("mapping: {fields: {b_number: {column: y, pattern: 'x'}}}\n", "no group"),
    ],
)
def test_a_mapping_that_is_wrong_is_told_in_a_sentence(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "map.yaml").write_text(text)
    (tmp_path / "x_1.csv").write_text("a\n")
    done = run("try", tmp_path / "x_1.csv", "--mapping", tmp_path / "map.yaml")
    assert isinstance(done.exception, BillingError)
    assert words in str(done.exception)
