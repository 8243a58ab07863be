"""What passes between the marts and dbt: tables in, outcomes of tests out.

It loads without dbt, whose import costs seconds that the definitions should not pay.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import pyarrow as pa
import pyarrow.dataset as ds

from billing_assets.core.errors import BillingError
from billing_assets.core.settings import PROJECT_ROOT

PROJECT = PROJECT_ROOT / "dbt_project"

Source: TypeAlias = pa.Table | ds.Dataset
"""A table that is handed over to dbt."""


class DbtError(BillingError):
    """dbt could not read its project, build a model or run a test."""


class Verdict(StrEnum):
    """What a data test found; `warned` is a failure that blocks nothing."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"


@dataclass(frozen=True)
class TestOutcome:
    """What one test found: `failures` counts the rows that break it, `message` is dbt's."""

    __test__ = False

    test: str
    verdict: Verdict
    failures: int
    message: str
