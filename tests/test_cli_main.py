"""What the `icb` command says when its home or its settings cannot be used: a sentence."""

import json
import os
import signal
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from billing_assets.cli.main import main
from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import XDR
from billing_assets.orchestration.runs import Runs
from tests.support.records import frame, record


def said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command says on standard error when it refuses."""
    sys.argv = ["icb", *words]
    with pytest.raises(SystemExit) as ended:
        main()
    output, errors = capfd.readouterr()
    assert (ended.value.code, output) == (2, ""), errors
    assert errors.startswith("error: "), errors
    assert "Traceback" not in errors
    return " ".join(errors.split())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["icb"])
    monkeypatch.setenv("ICB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_home_that_is_a_file_is_named(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home.write_text("")
    assert f"{home}: File exists everything lies in the home" in said(capfd, "status")


def test_a_registry_that_is_no_database_is_told(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "registry.db").write_bytes(os.urandom(20_000))
    assert "file is not a database" in said(capfd, "cycle", "list")


def test_a_damaged_table_is_named(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened = Installation.open(Settings(home=home))
    opened.lake.replace_slice(XDR, frame(record()).lazy(), {"day": date(2026, 3, 10)})
    for log in (home / "lake" / "xdr" / "_delta_log").iterdir():
        log.write_text("{")
    assert "a store of the home cannot be read" in said(capfd, "sql", "select * from xdr")


def test_a_missing_file_of_a_table_is_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    opened = Installation.open(Settings(home=home))
    opened.lake.replace_slice(XDR, frame(record()).lazy(), {"day": date(2026, 3, 10)})
    for file in (home / "lake" / "xdr").rglob("*.parquet"):
        file.unlink()
    assert "No such file" in said(capfd, "history", "1")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ICB_BUCKETS", "abc", "ICB_BUCKETS='abc': Input should be a valid integer"),
        ("ICB_BUCKETS", "0", "ICB_BUCKETS='0': Input should be greater than or equal to 1"),
        ("ICB_LAKE_STORAGE_OPTIONS", "none", "ICB_LAKE_STORAGE_OPTIONS is a JSON object"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(
    name: str,
    value: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert told in said(capfd, "status")


def test_a_step_that_fails_says_its_reason_alone(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Runs.of(Settings(home=home)) as runs, pytest.raises(BillingError) as error:
        runs.take_in()
    assert error.value.message.startswith(
        "run of reference_data, mediation_files failed: no reference folder"
    )
    assert "Stack Trace" not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("home")
def test_a_run_that_is_interrupted_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a person presses Ctrl-C while a step runs."""

    def interrupted(_: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr("billing_assets.orchestration.assets.reference.read_folder", interrupted)
    with Runs.of(Settings()) as runs, pytest.raises(KeyboardInterrupt):
        runs.take_in()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cycle", "list", "--month", "March"], "'March' is not a month"),
        (["accruals", "--at", "2099-01-01"], "2099-01-01 is still to come"),
        (["controls", "2026-03", "--partner", "P99"], "no reference data loaded yet"),
        (["completeness", "2026-03", "--partner", "P99"], "no reference data loaded yet"),
    ],
)
def test_words_that_nothing_can_come_of_are_refused(
    words: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert told in said(capfd, *words)


@pytest.mark.usefixtures("home")
def test_controls_of_an_empty_home_are_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    sys.argv = ["icb", "controls", "--json"]
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, json.loads(capsys.readouterr().out)) == (0, [])


@pytest.mark.usefixtures("home")
def test_words_of_data_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither markup nor emoji, in which such words end in a traceback or vanish."""
    words = "[/bold] [red]x :x: postgres:x:101"
    for also in ([], ["--json"]):
        sys.argv = ["icb", "sql", f"select '{words}' as said, 'nan'::double as no_number", *also]
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr().out
        assert ended.value.code == 0
        assert words in printed
    [row] = json.loads(printed, parse_constant=pytest.fail)
    assert row == {"said": words, "no_number": "NaN"}


def test_an_error_says_words_of_data_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no cycle [/b] :x:" in said(capfd, "cycle", "show", "[/b] :x:")
