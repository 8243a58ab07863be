"""Usage records for tests, in the columns of `xdr`."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from billing_assets.lake.tables import XDR


def record(
    record_id: int = 1,
    *,
    at: Any = "2026-03-10T12:00:00",
    seconds: float = 60,
    b: Any = "447700900123",
    a: Any = "351912345678",
    **fields: Any,
) -> dict[str, object]:
    """One answered voice call from P01's trunk to our side; times are UTC."""
    moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    answered = bool(fields.get("answered", True))
    milliseconds = round(seconds * 1000) if answered else 0
    return {
        "record_id": record_id,
        "service": "voice",
        "switch": "sw",
        "in_trunk": "sw/P01",
        "out_trunk": None,
        "setup_time": moment - timedelta(seconds=5),
        "answer_time": moment if answered else None,
        "end_time": moment + timedelta(milliseconds=milliseconds),
        "arrived_time": moment + timedelta(hours=1),
        "duration_ms": milliseconds,
        "answered": answered,
        "a_number": int(a) if a else None,
        "a_length": len(a) if a else None,
        "a_kind": "number" if a else "missing",
        "b_number": int(b) if b else None,
        "b_length": len(b) if b else None,
        "parts": 1,
        "day": moment.date() if answered else (moment - timedelta(seconds=5)).date(),
        **fields,
    }


def frame(*records: dict[str, object]) -> pl.DataFrame:
    """Records as a frame of `xdr`."""
    return pl.DataFrame(list(records), schema=XDR.schema)
