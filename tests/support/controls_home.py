"""A small carrier billed through Dagster runs: two customers, one supplier, a switch, March 2026.

P01 sends calls to France (0.1000 a minute), to Togo (0.0000, free by mistake) and, without a rate,
to satellite 88213; P02 buys them at 0.0600 to France and 0.2000 to Spain, which P01 pays 0.1500.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from billing_assets.core.settings import Settings
from billing_assets.orchestration.runs import Runs
from tests.support.intake import line, table
from tests.support.references import CARRIER, agreement, partner

MONTH = "2026-03"
ISSUED = date(2026, 4, 5)

FRANCE, TOGO, SPAIN, SATELLITE = "33612345678", "22890123456", "34612345678", "88213123456"


def rate(code: str, destination: str, price: str) -> dict[str, str]:
    """A row of an agreement's own prices."""
    return {"code": code, "destination": destination, "price": price, "from": "2026-01-01"}


SOLD = [rate("33", "France", "0.1000"), rate("228", "Togo", "0"), rate("34", "Spain", "0.1500")]
BOUGHT = [
    *(
        rate(code, to, price)
        for code, to, price in (
            ("33", "France", "0.0600"),
            ("34", "Spain", "0.2"),
            ("228", "Togo", "0.0100"),
            ("882", "Satellite", "1"),
        )
    )
]


@dataclass
class Calls:
    """Answered calls of one hour: `count` of them, a second apart, from `at` on (UTC)."""

    at: datetime
    count: int
    b: str = FRANCE
    seconds: int = 60
    trunk: str = "P01"
    status: str = "16"
    answered: bool = True


def at(day: int, hour: int = 12, month: int = 3) -> datetime:
    """A full hour of 2026."""
    return datetime(2026, month, day, hour, tzinfo=UTC)


def reference_files(**changes: Any) -> dict[str, bytes]:
    """The reference folder; `controls`, `tax` and `P01` change these files and that partner."""
    files: dict[str, object] = {
        "carrier.yaml": {
            **CARRIER,
            "bank": [
                {
                    "beneficiary": "Own Carrier, S.A.",
                    "iban": "PT50009801050007712035574",
                    "bic": "TESTPTPL",
                }
            ],
        },
        "sources.yaml": [{"source": "s1", "preset": "canonical-csv", "switch": "sw"}],
        "partners/P01.yaml": partner(
            "P01", **{"tax": {"category": "AE", "vat_id": "DE312746388"}, **changes.get("P01", {})}
        ),
        "partners/P02.yaml": partner("P02", tax={"category": "O"}, roles=["supplier"]),
        "agreements/A.yaml": agreement("A", rates=SOLD),
        "agreements/B.yaml": agreement(
            "B", partner="P02", accounts=["P02-A"], leg="supplier", rates=BOUGHT
        ),
    }
    for name in ("controls", "tax"):
        if name in changes:
            files[f"{name}.yaml"] = changes[name]
    return {name: json.dumps(content).encode() for name, content in files.items()}


@dataclass
class SmallHome:
    """A home that is filled file by file and billed through runs."""

    root: Path
    runs: Runs
    files: int = 0
    records: int = 0
    days: set[date] = field(default_factory=set)

    def refer(self, files: Mapping[str, bytes]) -> None:
        """Write the reference folder."""
        for name, content in files.items():
            path = self.root / "reference" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def deliver(self, calls: Iterable[Calls], sequence: int = 0) -> None:
        """Put a file of calls in the inbox."""
        lines = []
        for group in calls:
            for number in range(group.count):
                self.records += 1
                begun = group.at + timedelta(seconds=number)
                ended = begun + timedelta(seconds=group.seconds)
                self.days.add(begun.date())
                cells = {
                    "in_trunk": group.trunk,
                    "out_trunk": "P02",
                    "setup_time": stamp(begun),
                    "answer_time": stamp(begun) if group.answered else "",
                    "end_time": stamp(ended),
                    "duration_ms": str(group.seconds * 1000 if group.answered else 0),
                    "b_number": group.b,
                    "status": group.status,
                    "call_id": f"call-{self.records}",
                    "record_sequence": str(self.records),
                }
                lines.append(line(**cells))
        self.files = sequence or self.files + 1
        path = self.root / "inbox" / "s1" / f"s1_{self.files:06}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table(*lines))

    def rate(self) -> None:
        """Take in what came and rate its days."""
        self.runs.take_in()
        self.runs.rate(sorted(self.days))

    def draft(self, partners: Sequence[str] = ("P01", "P02")) -> None:
        """Charge, validate and draft March."""
        self.runs.draft(MONTH, partners, ISSUED)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextmanager
def small_home(root: Path, **changes: Any):
    """A home with its reference folder written."""
    with Runs.of(Settings(home=root, user="ana")) as runs:
        home = SmallHome(root, runs)
        home.refer(reference_files(**changes))
        yield home
