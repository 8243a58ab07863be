from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from billing_assets.core.errors import BillingError, InputError
from billing_assets.core.money import minor_units
from billing_assets.core.periods import month_period
from billing_assets.invoicing.assemble import assemble, master_data_problems
from billing_assets.invoicing.document import Document, Kind, Provenance, identities
from billing_assets.reference.models import Tax
from billing_assets.reference.tax import Position
from tests.support.invoicing_cases import (
    CARRIER,
    ISSUE_DATE,
    MARCH,
    TAXES,
    charge,
    charges,
    document,
    partner,
    recurring,
    traffic,
)

DECIMALS = {"EUR": 2, "JPY": 0, "KWD": 3}


@st.composite
def any_charges(draw: st.DrawFn) -> tuple[str, list[dict[str, object]]]:
    """Charges of one currency with any signs, in units that a document may hold."""
    currency = draw(st.sampled_from(list(DECIMALS)))
    units = st.integers(-(10**12), 10**12).map(
        lambda value: str(Decimal(value).scaleb(-DECIMALS[currency]))
    )
    quantity = st.integers(-(10**14), 10**14).map(lambda value: str(Decimal(value).scaleb(-4)))
    price = st.none() | st.integers(0, 10**11).map(lambda value: str(Decimal(value).scaleb(-10)))
    section = st.sampled_from(["usage", "prior_period", "recurring", "tier"])
    rows = draw(st.lists(st.tuples(units, quantity, price, section), min_size=1, max_size=12))
    return currency, [
        charge(f"line {n}", q, p, a, section=s) for n, (a, q, p, s) in enumerate(rows)
    ]


@settings(max_examples=60, deadline=None)
@given(any_charges(), st.sampled_from(["S", "AE"]))
def test_totals_of_any_charges_agree_to_the_minor_unit(
    drawn: tuple[str, list[dict[str, object]]], tax: str
) -> None:
    currency, rows = drawn
    made = document(rows, to=partner(tax, currency))

    # in whole minor units, so that this proof needs no rounding of ours
    minor = 10 ** DECIMALS[currency]
    net = sum(int(Decimal(str(row["amount"])) * minor) for row in rows)
    percent = 23 if tax == "S" else 0
    tax_minor = (abs(net) * percent * 2 + 100) // 200 * (1 if net >= 0 else -1)
    assert made.totals.net * minor == net
    assert made.totals.tax * minor == tax_minor
    assert made.totals.gross * minor == net + tax_minor
    assert all(check.ok for check in identities(made))
    assert sum(line.amount for line in made.lines) == made.totals.net
    assert all(line.price is None or line.price >= 0 for line in made.lines)
    assert all(line.quantity * line.amount >= 0 for line in made.lines)
    assert sum(group.amount for group in made.subtotals) == made.totals.net


@settings(max_examples=40, deadline=None)
@given(any_charges())
def test_canonical_bytes_say_everything_and_only_once(
    drawn: tuple[str, list[dict[str, object]]],
) -> None:
    currency, rows = drawn
    made = document(rows, to=partner("AE", currency))
    again = Document.model_validate_json(made.canonical())
    assert again == made
    assert again.canonical() == made.canonical()
    assert document(rows[::-1], to=partner("AE", currency)).canonical() == made.canonical()


def test_equal_figures_written_differently_have_equal_bytes() -> None:
    one = document([charge(quantity="1000", price="0.006", charge_id=1)])
    other = document([charge(quantity="1000.0000", price="0.0060000000", charge_id=1)])
    assert one.sha256() == other.sha256()


def test_a_document_whose_totals_do_not_agree_cannot_be_read() -> None:
    altered = document().canonical().replace(b'"net":"96.00"', b'"net":"95.00"')
    with pytest.raises(ValidationError, match=r"lines sum to net: 96.00 = 95.00"):
        Document.model_validate_json(altered)


def test_a_binary_float_is_no_amount() -> None:
    altered = document().canonical().replace(b'"net":"96.00"', b'"net":96.0')
    with pytest.raises(ValidationError, match="binary float"):
        Document.model_validate_json(altered)


def test_polar_resellers_march_is_480_net_and_590_40_gross() -> None:
    made = document(
        [
            charge("Standard", "25000", "0.0060", "300.00", records=10_000),
            charge("Special", "333.3333333333", "0.0300", "40.00", records=2_000),
            charge("Satellite", "6000", "0.0200", "50.00", records=100),
            recurring(),
        ]
    )
    assert (made.totals.net, made.totals.tax) == (Decimal("480.00"), Decimal("110.40"))
    assert made.totals.gross == Decimal("590.40")
    assert [row.base for row in made.taxes] == [Decimal("480.00")]


def test_usage_comes_first_then_earlier_periods_then_fees_then_the_rest() -> None:
    rows = [
        charge("D", section="tier", kind="tier"),
        recurring("C"),
        charge("B", section="prior_period"),
        charge("A"),
    ]
    made = document(rows)
    assert [line.section for line in made.lines] == ["usage", "prior_period", "recurring", "tier"]
    assert [line.number for line in made.lines] == [1, 2, 3, 4]


def test_a_credit_is_a_negative_quantity_at_a_positive_price() -> None:
    line = document([charge(), charge("Rebate", "100", "0.1", "-10.00")]).lines[1]
    assert (line.quantity, line.price, line.amount) == (-100, Decimal("0.1"), -10)


def test_unanswered_records_are_not_lines_but_free_traffic_is() -> None:
    made = document(
        [
            charge(),
            charge("uncharged attempts", "0", None, "0.00", rule="not_chargeable"),
            charge("Peered", "500", "0", "0.00", rule="bill_and_keep"),
        ]
    )
    assert [line.description for line in made.lines] == ["Peered", "Portugal Mobile"]


def test_a_cycle_of_unanswered_records_has_nothing_to_bill() -> None:
    with pytest.raises(BillingError, match="nothing to bill"):
        document([charge("uncharged attempts", "0", None, "0.00", rule="not_chargeable")])


def test_a_draft_has_no_number_and_its_terms_give_the_due_date() -> None:
    made = document()
    assert made.number is None
    assert made.is_draft
    assert (made.due_date - ISSUE_DATE).days == made.terms_days == 30
    assert (made.period.first_day, made.period.last_day) == (date(2026, 3, 1), date(2026, 3, 31))


def test_an_amount_finer_than_the_minor_unit_is_refused_and_named() -> None:
    with pytest.raises(BillingError, match=r"Portugal Mobile\) has amount 6.005"):
        document([charge(amount="6.005")])


@pytest.mark.parametrize("column", ["leg", "cycle", "partner", "currency"])
def test_charges_of_two_documents_are_refused(column: str) -> None:
    frame = charges(charge(), charge("other"))
    mixed = frame.with_columns(
        pl.when(pl.col("description") == "other")
        .then(pl.lit("supplier" if column == "leg" else "USD"))
        .otherwise(pl.col(column))
        .alias(column)
    )
    with pytest.raises(BillingError, match=f"must share their {column}"):
        assemble(
            mixed,
            carrier=CARRIER,
            partner=partner(),
            period=MARCH,
            issue_date=ISSUE_DATE,
            provenance=Provenance(cycle="P14/2026-03"),
        )


def test_a_supplier_leg_becomes_a_cost_statement_with_the_partner_as_seller() -> None:
    made = document([charge(leg="supplier")])
    assert made.kind is Kind.COST_STATEMENT
    assert (made.seller.id, made.buyer.id) == ("P14", "FAROLINK")


def test_usage_that_is_taken_back_counts_backwards() -> None:
    back = charge(
        "India", "-2.5", "0.0140", "-0.04", section="prior_period", records=-1, answered=-1
    )
    line = document([charge(), back]).lines[1]
    assert (line.records, line.quantity, line.price) == (-1, Decimal("-2.5"), Decimal("0.014"))


def test_the_chart_shows_the_days_of_the_period_alone() -> None:
    february = month_period("2026-02", "Europe/Lisbon")
    made = assemble(
        charges(charge()),
        carrier=CARRIER,
        partner=partner(),
        period=MARCH,
        issue_date=ISSUE_DATE,
        provenance=Provenance(cycle="P14/2026-03"),
        traffic=pl.concat([traffic(february), traffic(MARCH)]),
    )
    assert [day.day.month for day in made.traffic] == [3] * 31


def test_traffic_by_day_keeps_every_record_and_second() -> None:
    made = document()
    assert len(made.traffic) == MARCH.days
    first = made.traffic[0]
    # Sunday 1 March: 9,000 + 700 x (7 mod 5) - 5,200 records of 131 s
    assert (first.records, first.minutes) == (5200, Decimal("11353.33"))


def test_a_supplier_without_vat_id_may_be_under_reverse_charge() -> None:
    supplier = partner().model_copy(update={"tax": Tax(category="AE")})
    assert document([charge(leg="supplier")], to=supplier).kind is Kind.COST_STATEMENT


@pytest.mark.parametrize(
    ("tax", "settings", "field"),
    [
        (Tax(category="S"), {}, "tax.rate"),
        (Tax(category="G", rate=Decimal("0.23")), {}, "tax.rate"),
        (Tax(category="AE"), {}, "tax.vat_id"),
        (Tax(category="E"), {}, "tax.reason"),
        (Tax(category="G", vat_id="123456"), {}, "tax.vat_id"),
        (Tax(category="G", vat_id="XX123456"), {}, "tax.vat_id"),
        (Tax(category="G", vat_id="pt501234560"), {}, "tax.vat_id"),
        (TAXES["AE"], {"xml": "peppol-bis-3", "buyer_reference": "x"}, "document.endpoint_id"),
    ],
)
def test_master_data_that_cannot_carry_a_document_is_named_before_it_is_made(
    tax: Tax, settings: dict[str, str], field: str
) -> None:
    receiver = partner(**settings).model_copy(update={"tax": tax})
    stated = Position(tax.category or "S", tax.rate, reason=tax.reason)
    found = master_data_problems(CARRIER, receiver, Kind.INVOICE, "EUR", [stated])
    assert field in {problem.field for problem in found}
    with pytest.raises(InputError, match=field):
        document(to=receiver)


def test_the_minor_units_of_the_currency_are_those_of_every_amount() -> None:
    for currency, decimals in DECIMALS.items():
        made = document([charge(amount="6")], to=partner("O", currency))
        assert minor_units(currency) == decimals
        assert made.totals.gross.as_tuple().exponent == -decimals
