"""The `icb` command: thin commands over the rooms, readable by people and, with --json, scripts."""
