"""Contributions and gross-up as lines of a cycle, and supplies that no rule taxes (K04, K05)."""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from billing_assets.charging.cycles import Cycle
from billing_assets.charging.line import Facts
from billing_assets.charging.lines import charge_cycle
from billing_assets.charging.tax_lines import factor_amount, gross_up_amount
from billing_assets.cli.main import app
from billing_assets.core.money import Rounding, round_amount
from billing_assets.core.periods import month_period
from billing_assets.lake.tables import USAGE_DAILY
from billing_assets.reference.models import Tax
from billing_assets.reference.tax import Taxation, TaxRules
from tests.support.controls_home import FRANCE, Calls, at, small_home
from tests.support.references import agreement, loaded, partner

USF = {
    "factor": "USF",
    "title": "Federal universal service contribution",
    "customer": "US",
    "services": ["voice"],
    "share": "0.80",
    "exempt_with": "reseller",
    "rates": [{"from": "2026-01-01", "rate": "0.36"}, {"from": "2026-04-01", "rate": "0.39"}],
}
HELD = {"rule": "ke", "supplier": "PT", "customer": "KE", "rate": "0.10"}
RULES = TaxRules.model_validate({"factors": [USF], "withholding": [HELD]})
MARCH = Cycle("P01/2026-03", "P01", "2026-03", month_period("2026-03", "UTC"))


def reseller(first: str, last: str) -> dict[str, object]:
    return {"certificates": [{"certificate": "reseller", "from": first, "last_day": last}]}


def charged(price: str, country: str, **tax: Any) -> list[dict[str, Any]]:
    """The charges of March with one fee of a price, to a partner of a country."""
    fee = {"fee": "port", "title": "Port", "price": price, "quantity": 1, "on": "2026-03-11"}
    terms = loaded([agreement(one_time=[fee])], [partner()]).reference.agreements
    taxation = Taxation(RULES, "PT", country, Tax.model_validate(tax))
    empty = pl.DataFrame(schema=USAGE_DAILY.schema)
    facts = Facts(MARCH, list(terms), empty, taxation=taxation)
    return charge_cycle(facts, buckets=4, sources={}).to_dicts()


@pytest.mark.parametrize(
    ("tax", "due"),
    [
        ({}, "288.00"),
        (reseller("2026-01-01", "2026-12-31"), None),
        (reseller("2025-01-01", "2025-12-31"), "288.00"),
        ({"shares": {"USF": "0.5"}}, "180.00"),
    ],
)
def test_k05_a_contribution_is_passed_through_unless_a_certificate_is_valid(
    tax: dict[str, Any], due: str | None
) -> None:
    rows = [row for row in charged("1000.00", "US", **tax) if row["kind"] == "surcharge"]
    assert [row["amount"] for row in rows] == ([Decimal(due)] if due else [])
    for row in rows:
        assert "factor 0.36 in force since 2026-01-01" in row["steps"]


def test_no_contribution_is_due_elsewhere() -> None:
    assert [row["kind"] for row in charged("1000.00", "NO")] == ["one_time"]


def test_k04_gross_up_leaves_the_agreed_net_after_withholding() -> None:
    rows = charged("100000.00", "KE", gross_up=True)
    assert sorted(row["amount"] for row in rows) == [Decimal("11111.11"), Decimal("100000.00")]
    assert len(charged("100000.00", "KE")) == 1


@given(
    st.decimals("0.01", "1e9", places=2),
    st.decimals("0.01", "0.9", places=2),
)
def test_what_is_left_of_a_grossed_up_amount_is_the_net(net: Decimal, rate: Decimal) -> None:
    whole = Fraction(net) + gross_up_amount(net, rate)
    assert whole * (1 - Fraction(rate)) == Fraction(net)
    billed = net + round_amount(gross_up_amount(net, rate), 2, Rounding.HALF_UP)
    kept = round_amount(Fraction(billed) * Fraction(rate), 2, Rounding.HALF_UP)
    assert abs(billed - kept - net) <= Decimal("0.01")


def test_a_contribution_is_exact_before_its_one_rounding() -> None:
    assert factor_amount(Decimal("0.07"), Decimal("0.333"), Decimal("0.361")) == Fraction(
        7 * 333 * 361, 100_000_000
    )


def test_the_factor_of_the_day_holds_until_the_next() -> None:
    [factor] = RULES.factors
    assert factor.on(date(2025, 12, 31)) is None
    assert [factor.on(day) and str(factor.on(day).rate) for day in (  # type: ignore[union-attr]
        date(2026, 3, 31), date(2026, 4, 1))] == ["0.36", "0.39"]  # fmt: skip


def test_a_supply_without_rule_blocks_its_partner_alone(tmp_path: Path) -> None:
    rules = {"rules": [{"rule": "fr", "supplier": "PT", "customer": "FR", "direction": "sale",
                        "treatment": "reverse_charge"}],
             "factors": [{**USF, "customer": "DE", "rates": [{"from": "2026-04-01",
                                                               "rate": "0.4"}]}]}  # fmt: skip
    lapsed = reseller("2025-01-01", "2025-12-31")
    facts = {"tax": {"vat_id": "DE312746388", **lapsed}}
    with small_home(tmp_path, tax=rules, P01=facts) as home:
        home.deliver([Calls(at(4), 60, FRANCE)])
        home.rate()
        home.draft()

        def shown(cycle: str) -> dict[str, Any]:
            result = CliRunner().invoke(
                app, ["cycle", "show", cycle, "--json"],
                env={"ICB_HOME": str(home.root), "ICB_USER": "carla"},
            )  # fmt: skip
            assert result.exit_code == 0, result.output
            return json.loads(result.output)

        assert shown("P02/2026-03")["state"] == "draft"
        blocked = shown("P01/2026-03")
        assert blocked["state"] == "blocked"
        said = {one["finding"] for one in blocked["findings"] if one["rule"] == "tax_rule"}
        assert said == {
            "no tax rule for voice from PT to DE (business, sale) on 2026-03-31",
            "factor USF has no rate on 2026-03-31",
        }
        [warned] = [one for one in blocked["findings"] if one["rule"] == "tax_certificate"]
        assert (warned["severity"], warned["finding"]) == (
            "warning", "certificate reseller lapsed on 2025-12-31, the cycle ends on 2026-03-31",
        )  # fmt: skip
