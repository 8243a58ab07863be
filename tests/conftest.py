"""Fixtures of more than one file."""

import fcntl
from pathlib import Path

import pytest

from billing_assets.demo.generate import generate
from billing_assets.orchestration.runs import Runs
from tests.support.demo_month import landed_days, settings


@pytest.fixture(scope="session")
def rated_month(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A home with a hundredth of the demo carrier's month, taken in and rated: to be copied.

    All workers share one, since it takes a minute to make.
    """
    root = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        root = root.parent
    home = root / "rated-month"
    with (root / "rated-month.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            making = root / "rated-month.making"
            generate(making, divide=100)
            with Runs.of(settings(making)) as runs:
                runs.take_in()
                runs.rate(landed_days(runs.installation))
            making.rename(home)
    return home
