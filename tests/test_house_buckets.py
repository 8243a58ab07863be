"""The number of buckets is chosen once: by another one a partner's usage would be missed."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from billing_assets.core.errors import BillingError
from billing_assets.core.settings import PROJECT_ROOT, Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import RATED_LEG, USAGE_DAILY
from tests.support.billing_home import open_home
from tests.test_late_records import arrive, call

RATED = date(2026, 3, 10)


def listing(root: Path, buckets: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("icb")), "cycle", "list"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "ICB_HOME": str(root), "ICB_BUCKETS": str(buckets)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_number_of_buckets_is_refused_once_a_day_was_rated(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    # free to choose before the first file
    assert Installation.open(Settings(home=tmp_path, buckets=7)).settings.buckets == 7
    arrive(home, 1, RATED, call(1, "2026-03-09T10:00"))
    with pytest.raises(BillingError) as refusal:
        Installation.open(Settings(home=tmp_path, buckets=7))
    assert refusal.value.message == "ICB_BUCKETS is 7, but days were rated by 4 buckets"

    refused = listing(tmp_path, 7)
    assert refused.returncode != 0
    assert "ICB_BUCKETS=4" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
    assert listing(tmp_path, 4).returncode == 0


def test_a_partners_legs_and_usage_lie_in_the_bucket_where_they_are_sought(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    arrive(home, 1, RATED, call(1, "2026-03-09T10:00"))
    for table in (RATED_LEG, USAGE_DAILY):
        rows = home.lake.scan(table).select("partner", "bucket").collect()
        assert rows.rows() == [("P15", home.bucket_of("P15"))]
        part = {"bucket": home.bucket_of("P15")}
        assert home.lake.scan(table, part=part).select(pl.len()).collect().item() == 1
