"""`icb intake`: what presets there are, and how a file would land before it does."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.intake.landing import Intake, IntakeReport
from billing_assets.intake.presets import PRESETS
from billing_assets.lake.tables import LANDED
from billing_assets.registry.schema import FileState
from tests.support.intake import line, sansay_row, source_of, table
from tests.support.intake_home import NOW

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


def test_a_refused_file_is_taken_in_once_its_mapping_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICB_HOME", str(tmp_path / "home"))
    home = Installation.open()
    fields = {
        "in_trunk": "Route",
        "setup_time": "Begin",
        "answer_time": "Begin",
        "duration_ms": "Seconds",
        "b_number": "To",
    }
    mapping = {"separator": ";", "unit": "s", "service": "voice", "fields": fields}
    wrong = {**mapping, "fields": {**fields, "b_number": "Called"}}
    pattern = r"^x_(?P<sequence>[0-9]+)\.csv$"
    begin = "Route;Begin;Seconds;To\nTG1;2026-03-10T13:00:0"
    texts = [f"{begin}{n}Z;90;4930123456\n" for n in (1, 2)]

    def take_in(described: object) -> IntakeReport:
        source = source_of("mapping", mapping=described, pattern=pattern)
        intake = Intake(
            lake=home.lake,
            registry=home.registry,
            blobs=home.blobs,
            quarantine=home.settings.quarantine,
            now=NOW,
            who="ana",
        )
        return intake.take_in(home.settings.inbox, {"s1": source})

    inbox = home.settings.inbox / "s1"
    for text in texts:  # two contents of one name: both are kept, and both come back
        inbox.mkdir(parents=True, exist_ok=True)
        (inbox / "x_7.csv").write_text(text)
        assert take_in(wrong).landed == []
    assert run("retry", "y_7.csv").exit_code == 1
    for _ in texts:
        assert "x_7.csv" in run("retry", "--source", "s1").output
        assert take_in(mapping).landed == ["x_7.csv"]
    assert not [path for path in home.settings.quarantine.rglob("*") if path.is_file()]
    assert home.lake.scan(LANDED).collect().height == 2
    states = {entry.state for entry in home.registry.files.of_source("s1")}
    assert states == {FileState.LANDED}


def test_files_are_listed_with_their_fates_and_the_holes_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        Installation, "reference", SimpleNamespace(sources={"s1": source_of(), "s2": source_of()})
    )
    home = Installation.open()
    intake = partial(
        Intake, lake=home.lake, registry=home.registry, blobs=home.blobs, who="ana", now=NOW
    )
    inbox = home.settings.inbox / "s1"
    for _ in range(2):
        inbox.mkdir(parents=True, exist_ok=True)
        (inbox / "s1_1.csv").write_text(table(line(), line(b_number="x")))
        later = line(call_id="c9", end_time="2026-03-10T15:00:00Z", duration_ms="")
        (inbox / "s1_5.csv").write_text(table(later))
        intake(quarantine=home.settings.quarantine).take_in(
            home.settings.inbox, {"s1": source_of()}
        )
    found = json.loads(run("files", "--source", "s1", "--json").output)
    assert [(row["file"], row["landed"], row["rejected"]) for row in found["files"]] == [
        ("s1_1.csv", 1, 1),
        ("s1_5.csv", 1, 0),
    ]
    assert [row["came again"] for row in found["files"]] == [1, 1]
    (audit,) = [one for one in found["continuity"] if one["files"]][:1]
    assert audit["missing"] == "2-4"
    assert audit["hours without a file"] == "2026-03-10 13:00 to 2026-03-10 15:00"
