"""The groups of the asset graph; the numbers make the UI list them in the order of the flow."""

from enum import StrEnum


class Group(StrEnum):
    """Where an asset stands in the flow; give Dagster its `value`, it serialises no other enum."""

    REFERENCE = "1_reference"
    INTAKE = "2_intake"
    RATING = "3_rating"
    AGGREGATES = "4_aggregates"
    BILLING = "5_billing"
    CONTROLS = "6_controls"
