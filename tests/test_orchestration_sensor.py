"""The sensor that starts runs when something has come."""

import os
from pathlib import Path

import dagster as dg
import pytest

from billing_assets.installation import Installation
from billing_assets.orchestration.jobs import inbox_files
from tests.support.billing_home import DEMO, open_home
from tests.support.intake import line, table

FILE = "lis1_20260310_000001.csv"


def put(home: Installation) -> None:
    """Deliver a file with a call."""
    folder = home.settings.inbox / "lis1"
    folder.mkdir(parents=True, exist_ok=True)
    call = line(
        in_trunk="deccan",
        out_trunk="core",
        b_number="97150123450",
    )
    (folder / FILE).write_text(table(call))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    monkeypatch.setenv("ICB_REFERENCE_DIR", str(DEMO))
    return open_home(tmp_path)


def test_the_sensor_sees_a_file_sent_again_and_counters(home: Installation) -> None:
    put(home)
    file = home.settings.inbox / "lis1" / FILE
    cursor: str | None = None

    def asks() -> bool:
        nonlocal cursor
        context = dg.build_sensor_context(cursor=cursor)
        evaluated = inbox_files(context) or ()
        requests = [one for one in evaluated if isinstance(one, dg.RunRequest)]
        cursor = context.cursor
        return bool(requests)

    assert asks()
    assert not asks()
    # the run took it, and it is sent again before the sensor looks
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
    assert asks()
    assert not asks()
    home.settings.counters.mkdir()
    (home.settings.counters / "lis1.csv").write_text("day,switch\n")
    assert asks()
    assert not asks()
