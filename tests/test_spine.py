"""The whole way, as its users go it: files in an inbox, Dagster runs, issued documents.

A hundredth of the demo carrier is billed as it comes; and with its files in two deliveries in
another order, rated by two processes at once. Both must come to the same.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from billing_assets.charging.lines import carrying
from billing_assets.cli.reference import approve_version
from billing_assets.core.ids import canonical_json
from billing_assets.demo.generate import generate
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.invoicing.verify import verify
from billing_assets.lake.tables import (
    CHARGE,
    DUPLICATE,
    PARTIAL,
    RATED_LEG,
    REJECTED,
    SUSPENSE,
    USAGE_DAILY,
    XDR,
    Table,
)
from billing_assets.orchestration.dbt_manifest import mart_tables
from billing_assets.orchestration.runs import Runs
from billing_assets.registry.schema import DocumentKind
from tests.support.demo_month import (
    ISSUED,
    MONTH,
    draft,
    issue,
    landed_days,
    open_ad_hoc,
    settings,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def billed(rated_month: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The month in issued documents, with its marts."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(rated_month, home, dirs_exist_ok=True)
    with Runs.of(settings(home)) as runs:
        draft(runs)
        issue(runs)
        days = landed_days(runs.installation)
        runs.marts(sorted({day.isoformat()[:7] for day in days}))
        return runs.installation


def contents(home: Installation, table: Table) -> list[tuple[object, ...]]:
    frame = home.lake.scan(table).collect()
    drop = [c for c in ("sources", "arrived_time") if c in frame.columns]
    return sorted(frame.drop(drop).rows(), key=repr)


def documents(home: Installation) -> dict[str, str]:
    folder = home.settings.documents
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_same(one: Installation, other: Installation) -> None:
    for table in (XDR, DUPLICATE, PARTIAL, SUSPENSE, RATED_LEG, USAGE_DAILY, CHARGE):
        assert contents(one, table) == contents(other, table), table.name
    assert documents(one) == documents(other)


def test_every_record_of_every_file_is_accounted_for(billed: Installation) -> None:
    balance = billed.lake.scan(mart_tables()["record_balance"]).collect()
    counted = billed.registry.files.counts(date(2026, 1, 1), date(2026, 6, 1))
    assert balance["received"].sum() == sum(c.received for c in counted)
    assert balance["difference"].abs().sum() == 0
    assert balance["duplicates"].sum() == billed.lake.scan(DUPLICATE).collect().height > 0
    assert balance["rejected"].sum() == billed.lake.scan(REJECTED).collect().height == 5
    assert set(billed.lake.scan(SUSPENSE).collect()["reason"]) == {"NO_RATE", "UNKNOWN_TRUNK"}


def test_money_adds_up_from_leg_to_document(billed: Installation) -> None:
    legs = billed.lake.scan(RATED_LEG).collect()
    lines = carrying(billed.lake.scan(CHARGE).collect())
    april = legs.filter(pl.col("local_day") > date(2026, 3, 31))
    assert april.is_empty(), "the demo carrier has no traffic of April in local time"
    rated = legs.group_by("agreement").agg(pl.col("amount_e10").cast(pl.Int128).sum())
    charged = lines.group_by("agreement").agg(pl.col("exact_amount").sum())
    assert dict(rated.iter_rows()) == {a: int(v.scaleb(10)) for a, v in charged.iter_rows()}
    for cycle in billed.registry.cycles.list(month=MONTH):
        rows = billed.lake.scan(CHARGE, part={"month": MONTH, "cycle": cycle.id}).collect()
        documents = billed.registry.documents.of_cycle(cycle.id)
        assert all(d.net + d.tax == d.gross for d in documents)
        kinds = {document.kind for document in documents}
        # P11's supplier leg is billed whole: in its name, and toll-free to it
        legs = ["customer", *(["supplier"] if DocumentKind.SELF_BILLED in kinds else [])]
        for currency in {document.currency for document in documents}:
            mine = rows.filter(pl.col("currency") == currency, pl.col("leg").is_in(legs))
            owed = sum(r["amount"] * (1 if r["leg"] == "customer" else -1) for r in mine.to_dicts())
            billed_net = sum(
                d.net * (-1 if d.kind == DocumentKind.SELF_BILLED else 1)
                for d in documents
                if d.currency == currency
            )
            assert billed_net == owed, cycle.id


def test_every_issued_document_is_proved(billed: Installation) -> None:
    issued = [
        document
        for cycle in billed.registry.cycles.list(month=MONTH)
        for document in billed.registry.documents.of_cycle(cycle.id)
    ]
    for series in {d.series for d in issued}:
        numbers = sorted(d.number for d in issued if d.series == series)
        assert numbers == list(range(1, len(numbers) + 1))
    for document in issued:
        checks = verify(document.id, registry=billed.registry, blobs=billed.blobs, lake=billed.lake)
        assert [check for check in checks if not check.ok] == []


def test_every_issued_xml_keeps_schema_and_en_16931(billed: Installation) -> None:
    profiles = Counter()
    for cycle in billed.registry.cycles.list(month=MONTH):
        for stored in billed.registry.documents.of_cycle(cycle.id):
            made = Document.model_validate_json(billed.blobs.get(stored.canonical_sha256))
            profiles[made.xml_profile] += 1
            xml = billed.blobs.get(stored.files["xml"].sha256)
            # dinars have three decimals, which EN 16931 cannot carry
            only_schema = made.xml_profile == "ubl-schema-only"
            assert validate_ubl(xml, schema_only=only_schema) == [], stored.number_text
            assert only_schema is (made.currency == "KWD")
    assert {"ubl", "peppol-bis-3", "peppol-self-billing-3", "ubl-schema-only"} == set(profiles)


RATE_DAYS = """
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from billing_assets.core.settings import Settings
from billing_assets.orchestration.runs import Runs

with Runs.of(Settings(home=Path(sys.argv[1]), user="ana")) as runs:
    runs.rate([date.fromisoformat(day) for day in sys.argv[2:]])
"""


@pytest.mark.slow
def test_another_order_of_files_and_runs_side_by_side_change_nothing(
    billed: Installation, tmp_path: Path
) -> None:
    generated = tmp_path / "generated"
    generate(generated, divide=100)
    shutil.copytree(generated / "reference", tmp_path / "reference")
    files = sorted(path for path in (generated / "inbox").rglob("*") if path.is_file())
    with Runs.of(settings(tmp_path)) as runs:
        for delivery in (files[1::2][::-1], files[0::2]):
            for path in delivery:
                target = tmp_path / path.relative_to(generated)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
            runs.take_in()
        days = landed_days(runs.installation)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RATE_DAYS, str(tmp_path), *(day.isoformat() for day in part)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.DEVNULL,
        )
        for part in (days[0::2], days[1::2])
    ]
    assert [process.wait() for process in running] == [0, 0]
    with Runs.of(settings(tmp_path)) as runs:
        draft(runs)
        issue(runs)
    assert_same(billed, Installation.open(settings(tmp_path)))


def test_billing_a_final_month_again_changes_no_document(billed: Installation) -> None:
    before = documents(billed)
    numbers = [
        d.number_text
        for c in billed.registry.cycles.list(month=MONTH)
        for d in billed.registry.documents.of_cycle(c.id)
    ]
    with Runs.of(billed.settings) as runs:
        runs.take_in()
        runs.rate(landed_days(billed)[:3])
        runs.draft(MONTH, sorted(billed.reference.partners), ISSUED)
        runs.issue(MONTH, ["P13", "P14"], ISSUED, "bruno")
    assert documents(billed) == before
    assert numbers == [
        d.number_text
        for c in billed.registry.cycles.list(month=MONTH)
        for d in billed.registry.documents.of_cycle(c.id)
    ]


def test_a_partner_that_cannot_be_billed_stops_no_other(rated_month: Path, tmp_path: Path) -> None:
    shutil.copytree(rated_month, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "reference" / "partners" / "P03.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "vat_id" not in line))
    with Runs.of(settings(tmp_path)) as runs:
        runs.take_in()
        approve_version(runs.installation, 2, who="bruno")
        open_ad_hoc(runs.installation)
        runs.draft(MONTH, ["P02", "P03", "P14"], ISSUED)
        states = {c.id: c.state.value for c in runs.installation.registry.cycles.list()}
    # the other weeks bill nothing at this scale: there is no tax to state
    weeks = {f"P03/2026-W{week:02d}": "draft" for week in range(9, 14)}
    weeks |= {f"P03/2026-W{week}": "blocked" for week in (11, 13)}
    assert states == {"P02/2026-03": "draft", "P14/2026-03": "draft", **weeks}


def icb(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from billing_assets.cli.main import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, "ICB_HOME": str(home), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_shows_explains_proves_and_queries(billed: Installation) -> None:
    home = billed.settings.root
    status = icb(home, "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["total"]["difference"] == 0
    cycles = json.loads(icb(home, "cycle", "list", "--json").stdout)
    # P15 has numbers without a rate, P03's VAT id lapses: seeded in the demo's files
    waiting = {row["cycle"]: row["state"] for row in cycles if row["state"] != "final"}
    assert waiting == {"P03/2026-W13": "blocked", "P15/2026-03": "blocked"}
    shown = json.loads(icb(home, "cycle", "show", "P14/2026-03", "--json").stdout)
    number = shown["documents"][0]["number"]
    explained = json.loads(icb(home, "explain", f"{number}:1", "--json").stdout)
    assert explained["amount"] and explained["records"] == explained["line"]["records"]
    record = explained["sample"][0]["record_id"]
    text = icb(home, "explain", str(record)).stdout
    assert "longest code" in text and "line" in text
    assert icb(home, "verify", number).returncode == 0
    counted = json.loads(icb(home, "sql", "select count(*) as n from rated_leg", "--json").stdout)
    assert counted == [{"n": billed.lake.scan(RATED_LEG).collect().height}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", "nonsense"), "neither a record id nor DOCUMENT:LINE"),
        (("explain", "12"), "no accepted record 12"),
        (("verify", "FT 2026/999999"), "FT 2026/999999"),
        (("cycle", "show", "P99/2026-03"), "P99/2026-03"),
        (("cycle", "run", "March"), "not a month"),
        (("sql", "select nothing from nowhere"), "DuckDB refuses"),
        (("nonsense",), "No such command"),
        (("cycle", "show"), "Missing argument"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(
    billed: Installation, words: tuple[str, ...], said: str
) -> None:
    answer = icb(billed.settings.root, *words)
    assert answer.returncode == 2
    assert "error" in answer.stderr.lower() and said in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr


def test_canonical_json_is_the_documents_own_hash(billed: Installation) -> None:
    for cycle in billed.registry.cycles.list(month=MONTH):
        for document in billed.registry.documents.of_cycle(cycle.id):
            content = json.loads(billed.blobs.get(document.canonical_sha256))
            assert hashlib.sha256(canonical_json(content)).hexdigest() == document.canonical_sha256
