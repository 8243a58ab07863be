"""What the `icb` command says when its home or its settings cannot be used: a sentence."""

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
