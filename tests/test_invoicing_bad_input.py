"""What keeps one partner's document from being made is named with what to do; others go on."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest

from billing_assets.core.settings import PROJECT_ROOT
from billing_assets.installation import Installation
from billing_assets.reference.load import load_reference, read_folder
from tests.support.billing_home import DEMO, open_home, run, use

DAY = {"local_day": date(2026, 3, 10), "day": date(2026, 3, 10)}
P03, P11, VAS = "partners/P03.yaml", "partners/P11.yaml", "agreements/P11-VAS.yaml"
MINE = {**DAY, "partner": "P03", "agreement": "P03-VOICE@1", "records": 1000}
THEIRS = {**DAY, "partner": "P11", "agreement": "P11-VAS@1", "leg": "supplier",
          "currency": "GBP", "destination": "UK Value-added", "records": 1000}  # fmt: skip
OTHER = {**DAY, "partner": "P02", "agreement": "P02-TRANSIT@1", "records": 1000, "band": "peak"}
XML = "  xml: peppol-bis-3\n"
LAYOUT = '<% extends "default/invoice.typ.j2" %>\n<% block letterhead %>\n{}\n<% endblock %>\n'


def said(home: Installation, cycle: str) -> str:
    """What blocks a cycle, while that of another partner is drafted."""
    blocked = run(home, cycle)
    assert blocked.state == "blocked"
    assert run(home, "P02/2026-03").state == "draft"
    (one,) = (found for found in blocked.findings if found.blocks)
    assert one.owner
    return one.message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  vat_id: DE312746388\n", "", r"reverse charge needs the partner's VAT id"),
        (
            "  endpoint_id: DE312746388\n",
            "",
            r"P03 document\.endpoint_id='': Peppol needs the partner's",
        ),
        ("  buyer_reference: VX-30417\n", "", r"document\.buyer_reference.*or a purchase order"),
        (
            "name: Voxhansa GmbH\n",
            "name: 電話 GmbH\n",
            r"P03: no font has a glyph for '電話' in '電話 GmbH' \(.*folder fonts/\)",
        ),
        (
            XML,
            f"{XML}  language: it\n",
            r"P03: document\.language: no words for 'it' \(known: en, pt, de, es, fr\)",
        ),
        (
            XML,
            f"{XML}  template: nosuch\n",
            r"P03: document\.template names 'nosuch'.*\(make it under templates/",
        ),
    ],
)
def test_a_partner_that_lacks_something_is_blocked_alone(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    home = open_home(tmp_path, {P03: {old: new}})
    use(home, MINE, OTHER)
    assert re.search(message, said(home, "P03/2026-W11"))


def test_a_self_billed_partner_without_a_bank_is_blocked_alone(tmp_path: Path) -> None:
    bank = next(
        line
        for line in (DEMO / P11).read_text().splitlines(keepends=True)
        if line.startswith("bank:")
    )
    prices = {"price: 0.0450": "price: 0.0010", "price: 0.0080": "price: 0.0005"}
    home = open_home(tmp_path, {P11: {bank: ""}, VAS: prices})
    use(home, THEIRS, OTHER)
    assert "partner P11 bank='': no bank account to pay GBP to" in said(home, "P11/2026-03")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<< document.seller.fax >>", r"P03: layout brand/invoice\.typ\.j2:3: .*'fax'"),
        ('#panic("x")', r"P03: .*panicked"),
    ],
)
def test_a_template_that_fails_is_named_with_its_line(
    tmp_path: Path, body: str, message: str
) -> None:
    layouts = tmp_path / "layouts"
    shutil.copytree(PROJECT_ROOT / "templates", layouts)
    (layouts / "brand").mkdir()
    (layouts / "brand" / "invoice.typ.j2").write_text(LAYOUT.format(body))
    home = open_home(tmp_path / "home", {P03: {XML: f"{XML}  template: brand\n"}})
    home = Installation.open(home.settings.model_copy(update={"templates_dir": layouts}))
    use(home, MINE, OTHER)
    assert re.search(message, said(home, "P03/2026-W11"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("address: {street: Speicherkehre 7, ", "location: {", r"address='': is missing"),
        ("street: Speicherkehre 7", "street: ''", r"address\.street=''"),
        ("country: DE}", "country: Germany}", r"address\.country='Germany'"),
        (
            "DE61990102000047110815",
            "DE61990102000047110816",
            r"bank=.*'DE61990102000047110816' is no IBAN",
        ),
    ],
)
def test_a_partners_file_that_cannot_be_billed_by_is_refused_by_field(
    old: str, new: str, message: str
) -> None:
    files = dict(read_folder(DEMO))
    text = files[P03].decode()
    assert old in text
    files[P03] = text.replace(old, new).encode()
    told = "\n".join(map(str, load_reference(files).problems))
    assert re.search(rf"{P03}:\d+ {message}", told)
