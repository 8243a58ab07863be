"""What Dagster loads: the same definitions as reviewed, and without a network or dbt."""

import json
import subprocess
import sys

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.definitions import defs
from tests.support.definitions import SNAPSHOT, snapshot_text

LOAD = """
import json, sys

def refuse(event, arguments):
    dbt = event == "subprocess.Popen" and "dbt" in str(arguments[:2])
    if dbt or event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
import billing_assets.definitions

print(json.dumps(sorted(sys.modules)))
"""


def test_the_definitions_are_those_of_the_snapshot() -> None:
    """Drift shows in review: `python -m tests.support.definitions` writes the snapshot anew."""
    assert json.loads(snapshot_text()) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_the_definitions_load_without_a_network_or_dbt_itself() -> None:
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    modules = json.loads(loaded.stdout)
    assert "billing_assets.definitions" in modules
    assert not [m for m in modules if m == "dbt.cli" or m.startswith("dbt.cli.")]


def test_group_names_are_plain_strings() -> None:
    """A code location whose group names are enums cannot be serialised, and does not load."""
    groups = {spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert {type(group) for group in groups} == {str}
