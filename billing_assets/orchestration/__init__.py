"""Everything that imports dagster: partitions, assets, checks, jobs, schedules, resources.

No billing rule lives here. `marts` and the `dbt_` modules do not import dagster, so that the
command line and dbt itself can load them without it.
"""
