"""What Dagster loads: the same definitions as reviewed, from code and the manifest alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.definitions import defs
from tests.support.definitions import SNAPSHOT, snapshot_text

MOST_MODULES = 4500
"""Loading costs what its imports cost, and unlike seconds their number is the same everywhere."""

LOAD = """
import json, os, sys

read = set()

def watch(event, arguments):
    dbt = event == "subprocess.Popen" and "dbt" in str(arguments[:2])
    if dbt or event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        read.add(os.path.abspath(os.fsdecode(arguments[0])))

sys.addaudithook(watch)
import billing_assets.definitions

print(json.dumps({"modules": sorted(sys.modules), "read": sorted(read)}))
"""


def test_the_definitions_are_those_of_the_snapshot() -> None:
    """Drift shows in review: `python -m tests.support.definitions` writes the snapshot anew."""
    assert json.loads(snapshot_text()) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_loading_the_definitions_reads_code_and_the_manifest_alone(tmp_path: Path) -> None:
    """No network, no dbt, no home: a code location is loaded again and again."""
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=PROJECT_ROOT,
        env={**os.environ, "ICB_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    facts = json.loads(loaded.stdout)
    modules = facts["modules"]
    assert "billing_assets.definitions" in modules
    assert not [m for m in modules if m == "dbt.cli" or m.startswith("dbt.cli.")]
    assert len(modules) < MOST_MODULES
    code = (str(PROJECT_ROOT / "billing_assets"), sys.prefix)
    ours = [p for p in facts["read"] if p.startswith(str(PROJECT_ROOT)) and not p.startswith(code)]
    assert ours == [str(PROJECT_ROOT / "dbt_project/manifest/manifest.json")]
    assert not (tmp_path / "home").exists()


def test_group_names_are_plain_strings() -> None:
    """A code location whose group names are enums cannot be serialised, and does not load."""
    groups = {spec.group_name for spec in defs.resolve_all_asset_specs()}
    assert {type(group) for group in groups} == {str}
