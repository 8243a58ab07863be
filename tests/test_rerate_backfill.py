"""A month rated again by a backfill, as the UI launches it: web server and daemon are real."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.lake.tables import RATED_LEG
from billing_assets.orchestration.runs import prepare_dagster_home
from billing_assets.registry.schema import RerateState
from tests.test_rerate_processes import MONTH, NEW, rated

__all__ = ["rated"]  # the fixture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs(limit: 50) { id status } }
  }
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, query: str, **variables: object) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


@pytest.fixture
def url(rated: Path) -> Iterator[str]:
    """The GraphQL address of a web server on the home, a daemon beside it."""
    prepare_dagster_home(Settings(home=rated))
    port = free_port()
    environment = {
        **os.environ,
        "ICB_HOME": str(rated),
        "ICB_USER": "ana",
        "DAGSTER_HOME": str(Settings(home=rated).dagster_home),
    }
    commands = [
        ["dagster_webserver", "-m", "billing_assets.definitions", "-p", str(port)],
        ["dagster._daemon", "run", "-m", "billing_assets.definitions"],
    ]
    with ExitStack() as stack:
        for words in commands:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", *words],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.terminate)
        address = f"http://127.0.0.1:{port}/graphql"
        deadline = time.monotonic() + 120
        while True:
            try:
                ask(address, "{ version }")
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.5)
        yield address


def test_a_backfill_of_a_month_rates_one_destination_again_in_one_run(
    url: str, rated: Path
) -> None:
    days = [day.isoformat() for day in MONTH]
    launched = ask(
        url,
        LAUNCH,
        params={
            "assetSelection": [
                {"path": [name]} for name in ("rated_leg", "suspense", "usage_daily")
            ],
            "partitionNames": days,
            "tags": [{"key": "icb/reason", "value": "a dearer sheet"}],
            "runConfigData": {"ops": {"rated_usage": {"config": {"destinations": ["UK"]}}}},
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    deadline = time.monotonic() + 300
    status: dict[str, Any] = {}
    while status.get("status") not in ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED"):
        assert time.monotonic() < deadline, status
        time.sleep(2)
        status = ask(url, STATUS, id=launched["backfillId"])["partitionBackfillOrError"]
    assert (status["status"], len(status["runs"])) == ("COMPLETED_SUCCESS", 1), status
    home = Installation.open(Settings(home=rated))
    legs = home.lake.scan(RATED_LEG).filter(pl.col("destination") == "UK").collect()
    assert legs["day"].n_unique() == len(MONTH)
    assert set(legs["amount_e10"]) == {NEW}
    assert set(legs["rerate_request"]) == {1}
    others = home.lake.scan(RATED_LEG).filter(pl.col("destination") != "UK").collect()
    assert others["rerate_request"].null_count() == others.height
    request = home.registry.rerates.get(1)
    assert (request.state, request.reason) == (RerateState.DONE, "a dearer sheet")
