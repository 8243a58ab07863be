"""Credit and debit notes, through the command line, to a document issued in a real home."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree
from pypdf import PdfReader
from typer.testing import CliRunner

from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError, StateError
from billing_assets.installation import Installation
from billing_assets.invoicing.corrections import draft_credit_note
from billing_assets.invoicing.prove import prove, prove_registry
from billing_assets.invoicing.run import approve_and_issue
from billing_assets.invoicing.ubl_rules import validate_ubl
from billing_assets.invoicing.verify import verify
from billing_assets.registry.documents import Document
from tests.support.billing_home import ISSUED, NOW, issue, open_home, run, use

CYCLE = "P02/2026-03"
SPACES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """P02 with one regulated line of 60.00 and two transit lines of 90.00 and 0.01, issued."""
    made = open_home(tmp_path)
    day = {"partner": "P02", "local_day": date(2026, 3, 10)}
    use(
        made,
        {**day, "agreement": "P02-FTR-IN@1", "records": 10_000, "destination": "Portugal"},
        {**day, "agreement": "P02-TRANSIT@1", "records": 15_000, "band": "peak"},
        {**day, "agreement": "P02-TRANSIT@1", "records": 1, "band": "off-peak"},
    )
    run(made, CYCLE)
    issue(made, CYCLE)
    monkeypatch.setenv("ICB_HOME", str(tmp_path))
    monkeypatch.setenv("ICB_USER", "ana")
    yield made


def icb(*words: str) -> str:
    """The output of a command; a failure is raised as the command line would tell it."""
    answer = CliRunner().invoke(app, list(words))
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


def documents(home: Installation) -> dict[str, Document]:
    listed = json.loads(icb("document", "list", "--json"))
    return {row["number"]: home.registry.documents.with_number(row["number"])[0] for row in listed}


def transit(home: Installation) -> Document:
    return next(one for one in documents(home).values() if "transit" in one.id)


def content(home: Installation, document: Document) -> dict:
    return json.loads(home.blobs.get(document.canonical_sha256))


def failures(home: Installation, document: Document) -> list[str]:
    checks = verify(document.id, registry=home.registry, blobs=home.blobs, lake=home.lake)
    return [f"{check.name}: {check.detail}" for check in checks if not check.ok]


def test_a_whole_document_is_credited_by_two_people(home: Installation) -> None:
    original = transit(home)
    said = icb("document", "credit", original.number_text, "--reason", "billed to the wrong party")
    assert "P02/2026-03/C1 is drafted by ana" in said
    with pytest.raises(StateError, match="another person has to"):
        icb("document", "issue", "P02/2026-03/C1", "--approver", "Ana ")
    assert "NC 2026/000001" in icb("document", "issue", "P02/2026-03/C1", "--approver", "bruno")
    note = documents(home)["NC 2026/000001"]
    assert (note.net, note.tax, note.gross) == (original.net, original.tax, original.gross)
    made = content(home, note)
    assert made["references"]["corrects"]["number"] == original.number_text
    assert made["notes"] == ["billed to the wrong party"]
    xml = home.blobs.get(note.files["xml"].sha256)
    assert validate_ubl(xml) == []
    tree = etree.fromstring(xml)
    assert tree.findtext("cbc:CreditNoteTypeCode", namespaces=SPACES) == "381"
    path = "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID"
    assert tree.findtext(path, namespaces=SPACES) == original.number_text
    assert failures(home, note) == [] and failures(home, original) == []
    proved = [*prove(home, note.id), *prove(home, original.id), *prove_registry(home)]
    assert [f"{check.name}: {check.detail}" for check in proved if not check.ok] == []
    with pytest.raises(StateError, match="every line"):
        icb("document", "credit", original.number_text, "--reason", "again")


def test_a_line_is_credited_in_parts_until_nothing_is_left(home: Installation) -> None:
    original = transit(home)
    lines = {line["band"]: line["number"] for line in content(home, original)["lines"]}
    peak = ("--line", str(lines["peak"]))
    icb("document", "credit", original.number_text, *peak, "--amount", "30", "--reason", "rate")
    icb("document", "issue", "P02/2026-03/C1", "--approver", "bruno")
    note = documents(home)["NC 2026/000001"]
    assert [str(amount) for amount in (note.net, note.tax, note.gross)] == [
        "30.00",
        "6.90",
        "36.90",
    ]
    assert failures(home, note) == []
    assert validate_ubl(home.blobs.get(note.files["xml"].sha256)) == []
    with pytest.raises(BillingError, match=r"of which 30 is credited: 60\.01 cannot be credited"):
        icb("document", "credit", original.number_text, *peak, "--amount", "60.01", "--reason", "x")
    icb("document", "credit", original.number_text, *peak, "--amount", "20", "--reason", "rate")
    icb("document", "issue", "P02/2026-03/C2", "--approver", "bruno")
    # what is left of the document is 40.00 of the line and its other line
    icb("document", "credit", original.number_text, "--reason", "the rest")
    icb("document", "issue", "P02/2026-03/C3", "--approver", "bruno")
    rest = documents(home)["NC 2026/000003"]
    left = {line["band"]: line["amount"] for line in content(home, rest)["lines"]}
    assert left == {"peak": "40.00", "off-peak": "0.01"}
    credited = sum(one.net for name, one in documents(home).items() if name.startswith("NC"))
    assert credited == original.net
    for words in (peak, ()):
        with pytest.raises(StateError, match="credited"):
            icb("document", "credit", original.number_text, *words, "--reason", "again")


def test_a_part_that_another_note_has_moved_is_drafted_again(home: Installation) -> None:
    original = transit(home)
    lines = {line["band"]: line["number"] for line in content(home, original)["lines"]}
    peak = ("--line", str(lines["peak"]))
    for amount in ("50", "60"):
        icb("document", "credit", original.number_text, *peak, "--amount", amount, "--reason", "x")
    icb("document", "issue", "P02/2026-03/C1", "--approver", "bruno")
    with pytest.raises(StateError, match="credited by another note"):
        icb("document", "issue", "P02/2026-03/C2", "--approver", "bruno")


def test_two_drafts_of_the_same_credit_are_issued_once(home: Installation) -> None:
    original = transit(home)
    for _ in range(2):
        icb("document", "credit", original.number_text, "--reason", "twice asked")
    first = ("document", "issue", "P02/2026-03/C1", "--approver", "bruno")
    with pytest.raises(BillingError, match="no note to it can be of 2026-05-04"):
        icb(*first, "--issue-date", "2026-05-04")
    icb(*first)
    with pytest.raises(StateError, match="credited by another note"):
        icb("document", "issue", "P02/2026-03/C2", "--approver", "bruno")
    assert home.registry.documents.check_gaps() == []
    assert [n for n in documents(home) if n.startswith("NC")] == ["NC 2026/000001"]


def test_a_debit_note_adds_to_a_line_and_names_its_document(home: Installation) -> None:
    original = transit(home)
    icb(
        *("document", "debit", original.number_text, "--line", "1"),
        *("--amount", "12.50", "--reason", "the band was missed"),
    )
    icb("document", "issue", "P02/2026-03/C1", "--approver", "bruno")
    note = documents(home)["ND 2026/000001"]
    assert [str(amount) for amount in (note.net, note.tax)] == ["12.50", "2.88"]
    xml = home.blobs.get(note.files["xml"].sha256)
    assert validate_ubl(xml) == []
    assert b">383</cbc:InvoiceTypeCode>" in xml
    assert failures(home, note) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reason", " "], "needs a reason"),
        (["--reason", "x", "--issue-date", "2026-05-04"], "no note to it can be of 2026-05-04"),
        (["--reason", "x", "--line", "9"], "no line 9"),
        (["--reason", "x", "--line", "1", "--amount", "1000"], "cannot be credited"),
        (["--reason", "x", "--line", "1", "--amount", "-1"], "cannot be credited"),
        (["--reason", "x", "--line", "1", "--amount", "0.001"], "more than the 2 decimals"),
        (["--reason", "x", "--line", "1", "--amount", "one"], "no amount"),
        (["--reason", "x", "--line", "1", "--amount", ""], "no amount"),
        (["--reason", "x", "--line", "1", "--amount", "9" * 40], "is more than"),
        (["--reason", "x", "--amount", "1"], "one line"),
        (["--reason", "x", "--line", "1", "--line", "1"], "named twice"),
    ],
)
def test_a_credit_that_makes_no_sense_is_refused(
    home: Installation, words: list[str], said: str
) -> None:
    with pytest.raises(BillingError, match=said):
        icb("document", "credit", transit(home).number_text, *words)
    with pytest.raises(BillingError, match="no final document"):
        icb("document", "credit", "FT 2026/999999", "--reason", "x")
    assert [c.id for c in home.registry.cycles.list(corrections=True)] == [CYCLE]


def test_a_correction_bills_no_usage_and_stands_in_no_ones_way(home: Installation) -> None:
    draft_credit_note(
        home, transit(home).number_text, reason="x", issue_date=ISSUED, now=NOW, who="ana"
    )
    approve_and_issue(
        home, "P02/2026-03/C1", approver="bruno", issue_date=ISSUED, now=NOW, who="bruno"
    )
    assert [c.id for c in home.registry.cycles.list(partner="P02")] == [CYCLE]
    use(
        home,
        {
            "partner": "P02",
            "agreement": "P02-TRANSIT@1",
            "local_day": date(2026, 3, 11),
            "records": 100,
        },
    )
    run(home, "P02/2026-04")
    [late] = issue(home, "P02/2026-04")
    assert str(late.net) == "0.60"
    assert "P02/2026-03/C1" in icb("cycle", "list")
    assert "NC 2026/000001" in icb("cycle", "show", "P02/2026-03/C1")


def test_a_statement_of_account_adds_invoices_and_takes_credits_off(
    home: Installation, tmp_path: Path
) -> None:
    icb("document", "credit", transit(home).number_text, "--reason", "x")
    later = ("--issue-date", "2026-05-20")
    icb("document", "issue", "P02/2026-03/C1", "--approver", "bruno", *later)
    may = ("--to", "2026-05-31", "--out", str(tmp_path))
    pdf, text = icb("document", "statement", "P02", "--from", "2026-05-01", *may).split()
    whole = json.loads(Path(text).read_text())
    invoiced = [Decimal(entry["debit"]) for entry in whole["entries"][:2]]
    assert sum(invoiced) == Decimal("184.51"), "150.01 with 23%"
    assert whole["entries"][2]["kind"] == "credit_note"
    assert (whole["opening"], whole["closing"]) == ("0.00", "73.80")
    assert "NC 2026/000001" in " ".join(PdfReader(pdf).pages[0].extract_text().split())
    _, text = icb("document", "statement", "P02", "--from", "2026-05-10", *may).split()
    rest = json.loads(Path(text).read_text())
    assert (rest["opening"], len(rest["entries"])) == ("184.51", 1)
