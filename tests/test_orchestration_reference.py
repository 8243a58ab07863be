from pathlib import Path

import dagster as dg

from billing_assets.core.settings import PROJECT_ROOT, Settings
from billing_assets.demo.reference import write_reference
from billing_assets.orchestration.build import build_defs
from billing_assets.orchestration.partitions import PARTNERS


def test_a_run_that_takes_reference_data_in_makes_every_partner_a_partition(tmp_path: Path) -> None:
    """However the run was launched: the UI bills the same partners as the command line."""
    home = Settings(home=tmp_path / "home")
    write_reference(PROJECT_ROOT / "data" / "demo" / "reference", home.reference)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        ran = (
            build_defs(home)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(instance=instance, asset_selection=[dg.AssetKey("reference_data")])
        )
        partners = instance.get_dynamic_partitions(PARTNERS.name or "")
    assert ran.success
    assert sorted(partners) == [f"P{number:02d}" for number in range(1, 16)]
