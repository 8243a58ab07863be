"""The demo carrier: its mediation files and reference data, made from a scenario in YAML.

The facts stand in `data/demo/`, where a person reads and edits them; this room only turns them
into files. It rates nothing and knows no table: what billing must arrive at is data, too. Rules
of the formats: catalogue 1.6; the scenario and its defects: catalogue 6 and 6.1.
"""
