"""Everything that imports dagster: partitions, assets, checks, jobs, schedules, resources.

No billing rule lives here. The modules about dbt that name no asset (`marts`, `manifest`,
`dbt_plugin`) do not import dagster, so that the command line and dbt itself can load them.
"""
