"""Dagster's entry: `dagster dev -w workspace.yaml` loads `defs` from here."""

from billing_assets.orchestration.build import build_defs

defs = build_defs()
