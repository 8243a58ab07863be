"""The demo's data: forms are kept, numbers have valid check digits, facts agree with each other."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from stdnum import bic, ean, iban
from stdnum.de import vat as german_vat
from stdnum.es import nif as spanish_nif
from stdnum.gb import vat as british_vat
from stdnum.in_ import gstin
from stdnum.jp import cn as japanese_corporate_number
from stdnum.ke import pin as kenyan_pin
from stdnum.mx import rfc as mexican_rfc
from stdnum.nl import btw as dutch_btw
from stdnum.no import mva as norwegian_mva
from stdnum.pt import nif as portuguese_nif
from stdnum.us import ein as american_ein

from billing_assets.core.errors import InputError
from billing_assets.core.money import Rounding, round_amount
from billing_assets.demo.expected import ExpectedResult, expected_results
from billing_assets.demo.reference import write_reference
from billing_assets.demo.scenario import (
    DEMO_DATA,
    ChargeMatch,
    Model,
    Operations,
    Scenario,
    load_scenario,
    read_form,
)
from billing_assets.reference.load import Reference, load_reference, read_folder
from billing_assets.reference.tax import Position, position


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    write_reference(DEMO_DATA / "reference", folder)
    loaded = load_reference(read_folder(folder))
    assert loaded.problems == ()
    return loaded.reference


def test_the_reference_files_load_without_a_problem(reference: Reference):
    assert [f"P{n:02d}" for n in range(1, 16)] == list(reference.partners)
    assert {a.terms.partner for a in reference.agreements} == set(reference.partners)
    assert set(reference.sources) == {"lis1", "opo2", "fra3", "ams4", "smsc1", "ipx1"}


def test_the_increase_of_p07_is_loaded_seven_days_after_its_receipt(reference: Reference):
    assert {
        (b.agreement, f"{b.requested:%m-%d}", f"{b.loaded:%m-%d}") for b in reference.breaches
    } == {("P07-VOICE@1", "03-13", "03-17")}


def test_tax_numbers_have_valid_check_digits(reference: Reference):
    own = reference.carrier.vat_id
    portuguese_nif.validate(own.removeprefix("PT"))
    tax = {name: partner.tax for name, partner in reference.partners.items()}
    norwegian_mva.validate(tax["P01"].vat_id)
    portuguese_nif.validate(tax["P02"].vat_id)
    german_vat.validate(tax["P03"].vat_id)
    american_ein.validate(tax["P04"].registration)
    mexican_rfc.validate(tax["P06"].registration, validate_check_digits=True)
    spanish_nif.validate(tax["P08"].vat_id)
    kenyan_pin.validate(tax["P09"].registration)
    japanese_corporate_number.validate(tax["P10"].registration)
    british_vat.validate(tax["P11"].vat_id)
    dutch_btw.validate(tax["P12"].vat_id)
    portuguese_nif.validate(tax["P14"].vat_id)
    gstin.validate(tax["P15"].registration)


def test_a_vat_id_begins_with_its_country_as_en_16931_asks(reference: Reference):
    for partner in reference.partners.values():
        assert not partner.tax.vat_id or partner.tax.vat_id.startswith(partner.country)


def test_banks_have_valid_ibans_where_the_country_has_them(reference: Reference):
    without_iban = {"US", "MX", "GM", "KE", "JP", "IN"}
    banks = [(reference.carrier.country, bank) for bank in reference.carrier.bank]
    banks += [(p.country, p.bank) for p in reference.partners.values() if p.bank]
    assert len(banks) == 18
    for country, bank in banks:
        bic.validate(bank.bic)
        assert bank.bic[4:6] == country
        if country in without_iban:
            assert bank.account
        else:
            assert iban.validate(bank.iban)[:2] == country


def test_endpoint_ids_of_the_gln_scheme_have_valid_check_digits(reference: Reference):
    glns = [
        p.document.endpoint_id
        for p in reference.partners.values()
        if p.document.endpoint_scheme == "0088"
    ]
    assert len(glns) == 7
    for gln in glns:
        ean.validate(gln)


def test_tax_categories_follow_the_place_of_the_partner(reference: Reference):
    def positions(*, sale: bool) -> dict[str, Position]:
        role = "customer" if sale else "supplier"
        day = date(2026, 3, 31)
        taxations = {n: reference.taxation_of(n) for n in reference.partners}
        return {
            name: position(one.rules, one.supply(sale=sale, service="voice", day=day))
            for name, one in taxations.items()
            if role in reference.partners[name].roles
        }

    sold, bought = positions(sale=True), positions(sale=False)
    assert {n: str(p.rate) for n, p in sold.items() if p.category == "S"} == {
        "P02": "0.23", "P14": "0.23",
    }  # fmt: skip
    assert {n for n, p in sold.items() if p.category == "AE"} == {"P03", "P08"}
    assert {str(p.self_assessed) for n, p in bought.items() if n != "P02"} == {"0.23"}
    assert (bought["P02"].category, bought["P02"].self_assessed) == ("S", 0)
    categories = {p.category for p in (*sold.values(), *bought.values())}
    assert "O" not in categories, "category O forbids our own VAT id on the invoice"


def test_every_trunk_of_the_scenario_is_mapped_or_our_own(scenario: Scenario, reference: Reference):
    sides = {
        (trunk.trunk, side)
        for partner in reference.partners.values()
        for account in partner.accounts
        for trunk in account.trunks
        for side in (("in", "out") if trunk.direction == "both" else (trunk.direction,))
    }
    own = set(reference.carrier.own_trunks)
    for group in scenario.groups(defects=False):
        routes = [(group.in_trunk, "in"), (group.out_trunk, "out")]
        named = [(t, side) for t, side in routes if t and t not in own]
        assert named, f"{group.key} would have no leg"
        assert set(named) <= sides, group.key


def test_every_called_number_of_a_group_has_the_longest_code_of_its_destination(
    scenario: Scenario, reference: Reference
):
    by_trunk: dict[str, list[pl.DataFrame]] = {}
    for agreement in reference.agreements:
        partner = reference.partners[agreement.terms.partner]
        side = "in" if agreement.terms.leg == "customer" else "out"
        for account in partner.accounts:
            if account.account not in agreement.terms.accounts:
                continue
            for trunk in account.trunks:
                if trunk.direction in (side, "both"):
                    key = f"{side} {trunk.trunk} {agreement.terms.service}"
                    by_trunk.setdefault(key, []).append(agreement.deck.rows)
    for group in scenario.groups():
        if not group.partner:
            continue
        decks = [
            deck
            for side, trunk in (("in", group.in_trunk), ("out", group.out_trunk))
            for deck in by_trunk.get(f"{side} {trunk} {group.service}", [])
        ]
        assert decks, group.key
        heads = [str(group.network)] if group.network else [m.rstrip("x") for m in group.b]
        for deck in decks:
            codes = dict(zip(deck["code"].cast(pl.String), deck["destination"], strict=True))
            for head in heads:
                longest = [codes[head[:n]] for n in range(1, len(head) + 1) if head[:n] in codes]
                assert longest[-1:] == ([group.destination] if group.destination else []), head
                assert not any(code.startswith(head) and code != head for code in codes), (
                    "a longer code could take some of the group's numbers"
                )


def _half_up(value: Fraction, decimals: int) -> Decimal:
    return round_amount(value, decimals, Rounding.HALF_UP)


def _calls(count: int, seconds: int, rate: str, decimals: int = 6) -> Decimal:
    """So many calls, each rounded on its own (catalogue, defaults of section 6)."""
    return count * _half_up(Fraction(seconds, 60) * Fraction(rate), decimals)


def test_expected_figures_follow_from_the_scenario_by_hand(scenario: Scenario):
    figure = {(e.partner, e.label): e.amount for e in expected_results(scenario)}
    tier = 100_000 * Decimal("0.0100") + 260_000 * Decimal("0.0085")
    assert figure["P01", "UK Mobile, 360,000 minutes over two tiers"] == tier
    assert figure["P01", "France Fixed"] == _calls(30_000, 95, "0.0035")
    assert figure["P01", "Invoice, net"] == tier + _calls(30_000, 95, "0.0035")
    received = (
        _calls(500_000, 90, "0.0007") + _calls(100_000, 60, "0.0090") + _calls(50_000, 60, "0.0050")
    )
    assert figure["P02", "Receivable, net"] == received
    vat = _half_up(Fraction(received) * Fraction("0.23"), 2)
    assert figure["P02", "Receivable, VAT"] == vat
    assert figure["P02", "Netting, payable to us"] == (received + vat) - Decimal("984.00")
    assert figure["P03", "From the EEA"] == _calls(20_000, 185, "0.0060")
    assert figure["P03", "From outside the EEA"] == _calls(400, 185, "0.1560")
    assert figure["P03", "Without a valid calling number"] == _calls(50, 60, "0.2560")
    march = _calls(60_000, 102, "0.1850", 4) + _calls(40_000, 204, "0.2100", 4)
    assert figure["P04", "Usage of March, net"] == march
    assert figure["P04", "Shortfall of the quarter"] == 150_000 - 48_000 - 47_500 - march
    assert figure["P05", "Receivable under the deal, excess included"] == (
        600_000 * Decimal("0.0500") + 40_000 * Decimal("0.0420")
    )
    assert figure["P05", "Payable under the deal, shortfall included"] == (
        900_000 * Decimal("0.0300") + 100_000 * Decimal("0.0300")
    )
    assert figure["P06", "Our own cost"] == _calls(80_000, 120, "0.0085")
    own = _calls(3_000, 60, "0.6200") + _half_up(
        Fraction(_calls(1_000, 61, "0.6200") + _calls(500, 61, "0.6600")), 2
    )
    assert figure["P07", "Our own cost"] == own
    assert figure["P08", "Delivered segments, net"] == (
        100_000 * Decimal("0.0310") + 40_000 * Decimal("0.0280")
    )
    assert figure["P10", "Portugal Fixed"] == int(_calls(40_000, 77, "1.85"))
    assert figure["P11", "Outpayment, self-billed"] == 8_000 * Decimal("0.1270")
    assert figure["P12", "Roaming data"] == _half_up(Fraction("812400.5") * Fraction("0.0045"), 2)
    assert figure["P12", "Ports from 11 March"] == _half_up(Fraction(600 * 21, 31), 2)
    assert figure["P14", "Invoice, net"] == Decimal("480.00")
    assert figure["P15", "Gulf, March"] == _calls(60_000, 180, "0.0150")
    assert figure["P15", "One call of 71 minutes"] == _half_up(71 * Fraction("0.0150"), 2)
    assert figure["P15", "Gulf, March, our cost"] == _calls(60_000, 125, "0.0118")
    assert figure["P15", "Margin of March"] == (
        figure["P15", "Gulf, March"] - figure["P15", "Gulf, March, our cost"]
    )


def test_usage_of_a_scenario_adds_up_to_its_volumes(scenario: Scenario):
    minutes = {
        group.key: Fraction(group.total * group.total_seconds, 60)
        for group in scenario.groups(defects=False)
    }
    assert minutes["P01/uk-mobile"] == 360_000
    assert minutes["P05/swap-out"] == 900_000
    assert minutes["P05/swap-in"] == 640_000
    assert minutes["P09/voice-in"] == 1_200_000
    assert minutes["P09/voice-out"] == 1_000_000
    assert minutes["P11/value-added"] == 8_000
    assert minutes["P11/toll-free"] == 5_000
    assert minutes["P13/long-calls"] + minutes["P13/short-calls"] == 436_789
    assert minutes["P15/gulf-of-february"] == 250
    sessions = next(g for g in scenario.groups() if g.key == "P12/roaming-data")
    assert sessions.quantity
    assert Fraction(sessions.total * sessions.quantity, 1_000_000) == Fraction("812400.5")


CHARGES = pl.DataFrame(
    {
        "agreement": ["P15-VOICE@1", "P05-GULF@1", "P15-VOICE@1", "P15-VOICE@1", "OTHER@1"],
        "leg": ["customer", "supplier", "customer", "customer", "customer"],
        "kind": ["usage", "usage", "usage", "recurring", "usage"],
        "section": ["usage", "usage", "prior_period", "recurring", "usage"],
        "destination": ["Gulf", "Gulf", "Gulf", None, "Gulf"],
        "band": ["", "", "", "", ""],
        "origin": ["", "", "", "", ""],
        "amount": [Decimal("27.00"), Decimal("14.75"), Decimal("3.50"), Decimal(5), Decimal(9)],
    }
)


def test_a_figure_is_the_sum_of_the_charges_that_it_names(scenario: Scenario):
    figures = {e.label: e for e in expected_results(scenario) if e.partner == "P15"}
    assert figures["Gulf, March"].billed(CHARGES) == Decimal("27.00")
    assert figures["Gulf, late records of February"].billed(CHARGES) == Decimal("3.50")
    assert figures["Invoice, net"].billed(CHARGES) == Decimal("35.50")
    assert figures["Margin of March"].billed(CHARGES) == Decimal("12.25")


def test_a_figure_that_charges_do_not_hold_is_not_made_up():
    tax = ExpectedResult(
        partner="P15",
        case="S15",
        label="VAT",
        kind="vat",
        amount=Decimal(0),
        currency="USD",
        needs=(Model.TAX,),
        match=ChargeMatch(agreements=("P15-VOICE",)),
    )
    assert tax.billed(CHARGES) is None


def test_a_wrong_scenario_file_names_line_field_and_value(tmp_path):
    wrong = tmp_path / "operations.yaml"
    text = (DEMO_DATA / "operations.yaml").read_text()
    wrong.write_text(text.replace("files_a_day: 4", "files_a_day: five", 1))
    with pytest.raises(InputError) as caught:
        read_form(wrong, Operations)
    message = str(caught.value)
    assert "operations.yaml:" in message
    assert "files_a_day='five'" in message
