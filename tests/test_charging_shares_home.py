"""Shares and percentages in a home: every party's own cycle, late usage, what blocks."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_assets.charging.accruals import accrue
from billing_assets.charging.cycles import registered_cycle
from billing_assets.charging.run import imbalance
from billing_assets.installation import Installation
from billing_assets.invoicing.adjusting import open_adjustment
from billing_assets.invoicing.corrections import draft_credit_note, draft_debit_note
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.explain import explain_line
from billing_assets.invoicing.prove import prove
from billing_assets.invoicing.run import approve_and_issue, run_cycle
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.lake.tables import CHARGE
from tests.support.billing_home import ISSUED, NOW, cycle_of, issue, open_home, run, use

VAS = "agreements/P11-VAS.yaml"
HOST = """\
agreement: P12-HOSTING
partner: P12
leg: supplier
service: voice
accounts: [P12-IPX]
from: 2026-01-01
zone: Europe/London
currency: GBP
parts:
  - {part: hosting, title: Hosting, agreement: P11-VAS, share: outpayment}
"""
HOSTING = "      - {priority: 3, to: P12, title: hosting, share: 0.2}\n    remainder: P11"
THIRD_PARTY = {VAS: {"    remainder: P11": HOSTING}, "agreements/P12-HOSTING.yaml": {"": HOST}}
MARCH, APRIL = date(2026, 3, 10), date(2026, 4, 10)


def minutes(day: date, records: int) -> dict[str, object]:
    """Minutes to value-added numbers; the fixture's records are worth 0.0060 of retail."""
    return {
        "partner": "P11",
        "agreement": "P11-VAS@1",
        "leg": "supplier",
        "destination": "UK Value-added",
        "currency": "GBP",
        "local_day": day,
        "day": day,
        "records": records,
    }


def charged(home: Installation, cycle: str, kind: str = "share") -> list[tuple[str, Decimal]]:
    rows = home.lake.scan(CHARGE, part={"cycle": [cycle]}).filter(pl.col("kind") == kind).collect()
    return sorted(rows.select("description", "amount").iter_rows())


def vas(**takes: str) -> dict[str, dict[str, str]]:
    """The demo's reference with a third party, and takes below the fixture's small retail."""
    access = {"price: 0.0450": "price: 0.0010", "price: 0.0080": "price: 0.0005", **takes}
    return {**THIRD_PARTY, VAS: {**access, **THIRD_PARTY[VAS]}}


def test_every_party_is_charged_in_its_own_cycle_and_late_usage_follows(tmp_path: Path) -> None:
    home = open_home(tmp_path, vas())
    use(home, minutes(MARCH, 1000))
    for partner in ("P11", "P12"):
        run(home, f"{partner}/2026-03")
    # 6.00 less 1.00 and 0.50: a fifth of 4.50 is the host's
    assert charged(home, "P11/2026-03") == [("Outpayment, UK Value-added", Decimal("3.60"))]
    assert charged(home, "P12/2026-03") == [("Hosting, UK Value-added", Decimal("0.90"))]
    for partner in ("P11", "P12"):
        assert imbalance(cycle_of(home, f"{partner}/2026-03"), home.reference, home.lake,
                         home.registry) == {}  # fmt: skip
    issue(home, "P11/2026-03")
    issue(home, "P12/2026-03")
    use(home, minutes(date(2026, 3, 11), 100), minutes(APRIL, 2000))
    for partner in ("P11", "P12"):
        run(home, f"{partner}/2026-04")
    assert [amount for _, amount in charged(home, "P11/2026-04")] == [
        Decimal("0.36"), Decimal("7.20"),
    ]  # fmt: skip
    assert [amount for _, amount in charged(home, "P12/2026-04")] == [
        Decimal("0.09"), Decimal("1.80"),
    ]  # fmt: skip
    run(home, "P12/2026-04")
    assert len(charged(home, "P12/2026-04")) == 2


def test_parts_are_accrued_until_their_cycle_is_billed(tmp_path: Path) -> None:
    home = open_home(tmp_path, vas())
    use(home, minutes(MARCH, 1000))

    def accrued(at: date) -> dict[str, Decimal]:
        """Money by partner, without fees."""
        made = accrue(at, home.reference, home.lake, home.registry, buckets=home.settings.buckets)
        rows = made.rows.filter(pl.col("kind") == "share")
        return dict(rows.group_by("partner").agg(pl.col("amount").sum()).iter_rows())

    both = {"P11": Decimal("3.60"), "P12": Decimal("0.90")}
    assert accrued(MARCH) == accrued(date(2026, 4, 30)) == both


def test_the_self_billed_document_of_an_outpayment_is_proved(tmp_path: Path) -> None:
    home = open_home(tmp_path, vas())
    use(home, minutes(MARCH, 1000))
    done = run(home, "P11/2026-03")
    assert done.state == "draft", done.findings
    (stored,) = issue(home, "P11/2026-03")
    document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    (line,) = document.lines
    assert (line.amount, line.quantity, line.price) == (
        Decimal("3.60"), Decimal(1000), Decimal("0.0036"),
    )  # fmt: skip
    assert "P12" not in " ".join(line.steps)
    explained = explain_line(home, stored.id, line.number)
    assert (explained.records, explained.amount) == (1000, "6.0000000000")
    assert (explained.rule, explained.inputs["base"]) == ("outpayment", "6")
    assert [check for check in prove(home, stored.id) if not check.ok] == []


def test_what_we_issue_in_a_partners_name_is_numbered_apart_and_its_notes_with_it(
    tmp_path: Path,
) -> None:
    home = open_home(tmp_path, vas())
    use(home, minutes(MARCH, 1000))
    run(home, "P11/2026-03")
    (stored,) = issue(home, "P11/2026-03")
    when = {"issue_date": ISSUED, "now": NOW, "who": "ana"}
    credit = draft_credit_note(home, stored.number_text, reason="dialled in error", **when)
    debit = draft_debit_note(
        home, stored.number_text, reason="left out", line=1, amount=Decimal("1.00"), **when
    )
    notes = [
        one
        for drafted in (credit, debit)
        for one in approve_and_issue(home, drafted.id, approver="bruno", **when)
    ]
    numbers = [one.number_text for one in (stored, *notes)]
    assert numbers == [f"AF-P11 2026/{n:06d}" for n in (1, 2, 3)]
    codes = ("389</cbc:Invoice", "261</cbc:CreditNote", "527</cbc:Invoice")
    for one, code in zip((stored, *notes), codes, strict=True):
        xml = home.blobs.get(one.files["xml"].sha256)
        assert f">{code}TypeCode>" in xml.decode()
        assert b"selfbilling:3.0" in xml
        assert validate_ubl(xml) == []
        assert [check for check in prove(home, one.id) if not check.ok] == []


def test_what_does_not_cover_a_required_part_blocks_every_party(tmp_path: Path) -> None:
    required = {"title: transit, price: 0.0080": "title: transit, required: true, price: 0.0060"}
    changes = {**THIRD_PARTY, VAS: {"price: 0.0450": "price: 0.0010", **required,
                                    **THIRD_PARTY[VAS]}}  # fmt: skip
    home = open_home(tmp_path, changes)
    use(home, minutes(MARCH, 1000))
    for partner in ("P11", "P12"):
        blocking = [one for one in run(home, f"{partner}/2026-03").findings if one.blocks]
        said = [one.message for one in blocking if one.rule == "unmet_take"]
        assert said == ["Outpayment, UK Value-added: transit must get 6 GBP, and 5 is left"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_percentage_of_what_is_adjusted_is_adjusted_with_it(
    tmp_path: Path, at_once: bool
) -> None:
    percent = "percentages: [{percentage: fee, title: Fee, rate: 0.1}]\nrates:"
    home = open_home(tmp_path, {"agreements/P03-VOICE.yaml": {"rates:": percent}})
    names = {"partner": "P03", "agreement": "P03-VOICE@1", "destination": "PT Mobile"}

    def of_day(day: date, records: int) -> dict[str, object]:
        return {**names, "local_day": day, "day": day, "records": records}

    use(home, of_day(date(2026, 3, 10), 1000))
    run(home, "P03/2026-W11")
    assert charged(home, "P03/2026-W11", "surcharge") == [("Fee, 10%", Decimal("0.60"))]
    issue(home, "P03/2026-W11")
    use(home, of_day(date(2026, 3, 11), 500), of_day(date(2026, 3, 18), 100))
    if at_once:
        opened = open_adjustment(home, "P03/2026-W11", now=NOW, who="ana")
        cycle = registered_cycle(opened)
        done = run_cycle(home, home.reference, cycle, issue_date=ISSUED, now=NOW, who="ana")
        assert done.state == "draft", done.findings
        (stored,) = issue(home, opened.id)
        document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
        assert sorted(line.amount for line in document.lines) == [Decimal("0.30"), Decimal("3.00")]
        assert [check for check in prove(home, stored.id) if not check.ok] == []
        assert charged(home, opened.id, "surcharge")[0][1] == Decimal("0.30")
    run(home, "P03/2026-W12")
    fees = [amount for _, amount in charged(home, "P03/2026-W12", "surcharge")]
    assert fees == [Decimal("0.06")] if at_once else [Decimal("0.06"), Decimal("0.30")]


PASSING = """\
agreement: P02-{leg}-CASCADE
partner: P02
leg: {leg}
accounts: [{account}]
from: 2026-01-01
zone: Europe/Lisbon
currency: EUR
parts:
  - {{part: cascade, title: Cascade, agreement: P03-VOICE, share: cascade}}
"""
CASCADE = """\
shares:
  - share: cascade
    chain: true
    takes: [{priority: 1, to: P02, passes_on: 0.0050}]
    remainder: P14
rates:"""


def test_a_party_in_the_middle_of_a_cascade_gets_and_owes_in_its_own_cycle(tmp_path: Path) -> None:
    """P03 pays 6.00 by the week; it reaches P02, which passes 5.00 on in its month."""
    home = open_home(
        tmp_path,
        {
            "agreements/P03-VOICE.yaml": {"rates:": CASCADE},
            "agreements/P02-IN.yaml": {"": PASSING.format(leg="supplier", account="P02-REG")},
            "agreements/P02-OUT.yaml": {"": PASSING.format(leg="customer", account="P02-REG")},
        },
    )
    names = {"partner": "P03", "agreement": "P03-VOICE@1", "destination": "PT Mobile"}
    use(home, {**names, "local_day": MARCH, "day": MARCH, "records": 1000})
    run(home, "P03/2026-W11")
    assert charged(home, "P03/2026-W11", "usage") == [("PT Mobile", Decimal("6.00"))]
    assert charged(home, "P03/2026-W11") == []
    done = run(home, "P02/2026-03")
    assert done.state == "draft", done.findings
    (stored,) = issue(home, "P02/2026-03")
    document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    assert [(line.description, line.amount, line.steps[1]) for line in document.lines] == [
        ("Cascade, PT Mobile", Decimal("5.00"), "to P14: 5")
    ]
    assert [check for check in prove(home, stored.id) if not check.ok] == []
    rows = home.lake.scan(CHARGE, part={"cycle": ["P02/2026-03"]}).collect()
    assert dict(rows.select("leg", "amount").iter_rows()) == {
        "customer": Decimal("5.00"), "supplier": Decimal("6.00"),
    }  # fmt: skip
