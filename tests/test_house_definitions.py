"""What Dagster loads: the same definitions as reviewed, quickly, and without a network."""

import json
import subprocess
import sys

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.definitions import defs
from tests.support.definitions import SNAPSHOT, snapshot_text

MOST_CPU_SECONDS = 6

LOAD = """
import json, resource, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
import billing_assets.definitions

used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "cpu": sum(u.ru_utime + u.ru_stime for u in used),
    "modules": sorted(sys.modules),
}))
"""


def test_the_definitions_are_those_of_the_snapshot() -> None:
    """Drift shows in review: `python -m tests.support.definitions` writes the snapshot anew."""
    assert json.loads(snapshot_text()) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_the_definitions_load_in_seconds_without_a_network_or_dbt_itself() -> None:
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    facts = json.loads(loaded.stdout)
    assert not [m for m in facts["modules"] if m == "dbt.cli" or m.startswith("dbt.cli.")]
    assert facts["cpu"] < MOST_CPU_SECONDS


def test_group_names_are_plain_strings() -> None:
    """A code location whose group names are enums cannot be serialised, and does not load."""
    groups = {spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert {type(group) for group in groups} == {str}
