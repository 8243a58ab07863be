"""A changed sheet makes the days that it touches stale in Dagster, and no other."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.orchestration.build import build_defs
from tests.support.controls_home import FRANCE, SOLD, SPAIN, Calls, SmallHome, at, rate, small_home
from tests.support.references import agreement

DAYS = ["2026-03-10", "2026-03-12", "2026-03-20", "2026-03-25"]


BOTH = ((12, FRANCE), (13, SPAIN))


@pytest.fixture
def home(tmp_path) -> Iterator[SmallHome]:
    with small_home(tmp_path) as home:
        home.deliver([Calls(at(int(day[-2:]), hour), 3, b) for day in DAYS for hour, b in BOTH])
        home.rate()
        yield home


def stale(home: SmallHome, asset: str = "rated_leg") -> list[str]:
    """The days that the UI shows as stale."""
    with dg.DagsterInstance.get() as instance:
        graph = build_defs(home.runs.installation.settings).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        found = {day: resolver.get_status(dg.AssetKey(asset), day) for day in DAYS}
    assert set(found.values()) <= {StaleStatus.FRESH, StaleStatus.STALE}
    return [day for day, status in found.items() if status is StaleStatus.STALE]


def change(home: SmallHome, *rates: dict[str, str]) -> None:
    """Load other rates of agreement A, and approve them as another person."""
    path = home.root / "reference" / "agreements" / "A.yaml"
    path.write_text(json.dumps(agreement("A", rates=[*SOLD, *rates])))
    versions = home.runs.installation.registry.versions
    icb(home, "reference", "load", user="ana")
    pending = versions.pending_reference()
    assert pending is not None
    icb(home, "reference", "approve", str(pending.version), user="bruno")


def icb(home: SmallHome, *arguments: str, user: str) -> None:
    done = CliRunner().invoke(app, arguments, env={"ICB_HOME": str(home.root), "ICB_USER": user})
    assert done.exit_code == 0, done.output


DEARER = {**rate("33", "France", "0.1100"), "from": "2026-03-20"}


def test_a_new_rate_makes_its_days_stale_until_they_are_rated_again(home: SmallHome) -> None:
    home.runs.take_in()
    assert stale(home) == []
    change(home, DEARER)
    assert stale(home) == stale(home, "usage_daily") == DAYS[2:]
    home.runs.take_in()
    assert stale(home) == DAYS[2:]
    home.runs.rate([at(20).date()])
    assert stale(home) == DAYS[3:]


def test_what_is_taken_back_is_not_stale_and_may_become_it_again(home: SmallHome) -> None:
    change(home, DEARER)
    change(home)
    assert stale(home) == []
    change(home, DEARER)
    assert stale(home) == DAYS[2:]


def test_after_a_re_rating_of_a_part_the_rest_is_still_stale(home: SmallHome) -> None:
    change(home, DEARER, {**rate("34", "Spain", "0.16"), "from": "2026-03-20"})
    scope = ("rerate", "--from", "2026-03-20", "--to", "2026-03-20", "--reason", "a dearer sheet")
    icb(home, *scope, "--destination", "Spain", user="ana")
    assert stale(home) == DAYS[2:]
    icb(home, *scope, "--destination", "France", user="ana")
    assert stale(home) == DAYS[3:]
