"""Agreements that are invoiced in another currency: by which fixing, rounded once (L01 to L05)."""

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from billing_assets.charging.run import imbalance
from billing_assets.cli.main import app
from billing_assets.core.errors import BillingError
from billing_assets.installation import Installation
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.prove import prove
from billing_assets.invoicing.run import approve_and_issue
from tests.support.billing_home import DEMO, ISSUED, NOW, cycle_of, issue, open_home, run, use
from tests.support.pricing import priced
from tests.support.references import agreement, loaded

HEADER = "source,date,base,currency,units_per_base"


def line(folder: Path, terms: dict, *days: str, fixings: tuple[str, ...] = ()) -> dict:
    """The only charge line of a call of a minute on each day."""
    (folder / "fixings.csv").write_text("\n".join([HEADER, *fixings]) + "\n")
    usage = [{"start": f"{day}T10:00:00Z", "b_number": "4420000", "duration_s": 60} for day in days]
    result = priced(folder, [terms], usage)
    (charge,) = result["charges"]
    return {**charge, "notes": result["notes"]}


def terms(price: str, currency: str, **exchange: object) -> dict:
    rates = [{"code": 44, "destination": "UK", "rate": price}]
    return {"currency": currency, "rates": rates, "exchange": exchange}


@pytest.mark.parametrize(
    ("price", "currency", "exchange", "fixings", "amount"),
    [
        # L01; multiplied it would be 13395.05
        ("12345.67", "USD", {"to": "EUR"}, ["2026-03-31,EUR,USD,1.0850"], "11378.50"),
        # L03: by a rounded inverse 9216590.00
        ("10000000.00", "USD", {"to": "EUR"}, ["2026-03-31,EUR,USD,1.0850"], "9216589.86"),
        # L05: crossed by a third currency, three decimals, rounded once
        (
            "1000.00",
            "GBP",
            {"to": "KWD", "through": "USD"},
            ["2026-03-31,GBP,USD,1.2700", "2026-03-31,KWD,USD,3.2500"],
            "390.769",
        ),
        # no decimals at all, and the quoted direction
        ("100.01", "EUR", {"to": "JPY"}, ["2026-03-31,EUR,JPY,162.50"], "16252"),
        # 31 March is a Tuesday without a fixing: Friday's holds
        ("108.50", "USD", {"to": "EUR"}, ["2026-03-27,EUR,USD,1.0850"], "100.00"),
    ],
)
def test_by_the_last_days_fixing(
    tmp_path: Path, price: str, currency: str, exchange: dict, fixings: list[str], amount: str
) -> None:
    rule = terms(price, currency, rule="last_day", **exchange)
    found = line(tmp_path, rule, "2026-03-10", fixings=tuple(f"bank,{one}" for one in fixings))
    assert (str(found["amount"]), found["currency"]) == (amount, exchange["to"])
    assert (found["priced_in"], str(found["exact_amount"])) == (currency, price)
    assert amount in found["steps"][-1] and "for 2026-03-31" in found["steps"][-1]
    assert not any("line rounded" in step for step in found["steps"])


def test_by_the_average_of_the_period(tmp_path: Path) -> None:
    rule = terms("109.00", "USD", to="EUR", rule="average")
    fixings = ("b,2026-02-27,EUR,USD,9", "b,2026-03-02,EUR,USD,1.08", "b,2026-03-31,EUR,USD,1.10")
    assert str(line(tmp_path, rule, "2026-03-10", fixings=fixings)["amount"]) == "100.00"


def test_by_the_last_day_of_the_month_before(tmp_path: Path) -> None:
    rule = terms("110.00", "USD", to="EUR", rule="previous_month")
    fixings = ("b,2026-02-27,EUR,USD,1.10", "b,2026-03-01,EUR,USD,2")
    assert str(line(tmp_path, rule, "2026-03-10", fixings=fixings)["amount"]) == "100.00"


def test_each_day_by_its_own_fixing(tmp_path: Path) -> None:
    rule = terms("1.10", "USD", to="EUR", rule="event_day")
    fixings = ("b,2026-03-06,EUR,USD,1.10", "b,2026-03-10,EUR,USD,1.00")
    # Saturday by Friday's fixing; 1.00 + 1.00 + 1.10, not 3.30 by any one of them
    days = ("2026-03-06", "2026-03-07", "2026-03-10")
    found = line(tmp_path, rule, *days, fixings=fixings)
    assert str(found["amount"]) == "3.10"


def test_a_day_that_two_utc_days_bring_is_weighed_whole(tmp_path: Path) -> None:
    """101 and 100 of one price: 00:30 in Riyadh is of the UTC day before."""
    found = by_day(tmp_path, {"zone": "Asia/Riyadh"}, ("2026-03-04T21:30", 1000),
                   ("2026-03-05T10:00", 10), ("2026-03-21T10:00", 1000))  # fmt: skip
    assert found == [("usage", "301.00")]


TIERS = [{"up_to": 1500, "price": "0.20"}, {"price": "0.10"}]
HALF = {"share": "s", "takes": [{"priority": 1, "to": "P01", "share": "0.5"}],
        "remainder": "carrier"}  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "wanted"),
    [
        # 1000 minutes at 1, then 500 and 500 at 2
        ({"volume": [{"model": "graduated", "tiers": TIERS}]},
         [("tier", "100.00"), ("tier", "400.00")]),
        ({"volume": [{"model": "graduated", "in_call_order": True, "tiers": TIERS}]},
         [("tier", "100.00"), ("tier", "400.00")]),
        ({"volume": [{"model": "all_unit", "tiers": TIERS}]}, [("tier", "300.00")]),
        ({"volume": [{"model": "bundle", "included": 1500, "fee": 7, "price": "0.20",
                      "overage_price": "0.10"}]},
         [("bundle", "100.00"), ("bundle", "400.00"), ("fixed_fee", "14.00")]),
        ({"volume": [{"model": "bundle", "included": 1500, "price": "0.20"}]},
         [("bundle", "400.00"), ("usage", "100.00")]),
        ({"shares": [HALF]}, [("share", "150.00")]),
        ({"percentages": [{"percentage": "p", "title": "P", "rate": "0.1"}]},
         [("surcharge", "30.00"), ("usage", "300.00")]),
    ],
)  # fmt: skip
def test_what_rules_charge_goes_by_the_fixings_of_its_days(
    tmp_path: Path, terms: dict, wanted: list
) -> None:
    for rule in terms.get("volume", []):
        rule.update(rule="r", period="month")
    calls = ("2026-03-05T10:00", 1000), ("2026-03-21T10:00", 1000)
    assert by_day(tmp_path, terms, *calls) == wanted


def by_day(folder: Path, terms: dict, *calls: tuple[str, int]) -> list[tuple[str, str]]:
    """Kind and euros of the lines of calls of a minute at 0.10 dollars: 1 euro, from the 20th 2."""
    (folder / "fixings.csv").write_text(
        "source,date,base,currency,units_per_base\n"
        "b,2026-03-04,USD,EUR,1\nb,2026-03-20,USD,EUR,2\nb,2026-03-31,USD,EUR,2\n"
    )
    rates = [{"code": 44, "destination": "UK", "rate": "0.10"}]
    usage = [
        {"start": f"{start}:00Z", "b_number": "442012345678", "duration_s": 60, "records": count}
        for start, count in calls
    ]
    form = {"currency": "USD", "rates": rates, "exchange": {"to": "EUR", "rule": "event_day"}}
    charges = priced(folder, [{**form, **terms}], usage)["charges"]
    return sorted((c["kind"], str(c["amount"])) for c in charges if c["kind"] != "replaced")


def test_by_the_rate_of_the_contract(tmp_path: Path) -> None:
    fixed = {"base": "EUR", "currency": "USD", "units_per_base": "1.2500"}
    rule = terms("100.00", "USD", to="EUR", rule="fixed", fixed=fixed)
    found = line(tmp_path, rule, "2026-03-10")
    assert str(found["amount"]) == "80.00"
    assert "1.25 USD per EUR, by contract" in found["steps"][-1]


@pytest.mark.parametrize("rule", ["event_day", "last_day", "average", "invoice_date"])
def test_without_its_fixing_nothing_is_converted_and_the_note_says_why(
    tmp_path: Path, rule: str
) -> None:
    # a later fixing was not known, and one of three weeks ago is too old
    fixings = ("b,2026-02-17,EUR,USD,1.1", "b,2026-04-01,EUR,USD,1.1")
    found = line(tmp_path, terms("5.00", "USD", to="EUR", rule=rule), "2026-03-10", fixings=fixings)
    assert (str(found["amount"]), found["currency"]) == ("5.00", "USD")
    (note,) = found["notes"]
    assert ("none is known" if rule == "invoice_date" else "no fixing between USD and EUR") in note


@pytest.mark.parametrize(
    ("exchange", "said"),
    [
        ({"to": "EUR", "rule": "last_day"}, "converts EUR to EUR"),
        ({"to": "USD", "rule": "fixed"}, "rule: fixed needs the rate"),
        (
            {
                "to": "USD",
                "rule": "last_day",
                "fixed": {"base": "EUR", "currency": "USD", "units_per_base": "1.1"},
            },
            "rule: fixed needs the rate",
        ),
        (
            {
                "to": "USD",
                "rule": "fixed",
                "fixed": {"base": "EUR", "currency": "GBP", "units_per_base": "0.86"},
            },
            "does not convert EUR to USD",
        ),
        (
            {
                "to": "USD",
                "rule": "fixed",
                "fixed": {"base": "EUR", "currency": "USD", "units_per_base": "0"},
            },
            "exchange.fixed.units_per_base",
        ),
        ({"to": "USD", "rule": "yearly"}, "rule"),
        ({"to": "XXQ", "rule": "last_day"}, "ISO 4217"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_at_load(exchange: dict, said: str) -> None:
    result = loaded([agreement(exchange=exchange)])
    assert any(said in f"{one.field} {one.message}" for one in result.problems), result.problems


@settings(deadline=None, max_examples=30)
@given(
    worth=st.lists(st.tuples(st.integers(1, 28), st.integers(1, 10**7)), min_size=1, max_size=8),
    rates=st.lists(st.integers(5_000, 30_000), min_size=28, max_size=28),
)
def test_days_by_their_own_fixings_are_rounded_once(
    tmp_path_factory: pytest.TempPathFactory, worth: list[tuple[int, int]], rates: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("days")
    fixings = [f"b,2026-02-{day:02d},EUR,USD,{rates[day - 1] / 10000:.4f}" for day in range(1, 29)]
    (folder / "fixings.csv").write_text("\n".join([HEADER, *fixings]) + "\n")
    rates_row = [{"code": 44, "destination": "UK", "rate": "0.01"}]
    usage = [
        {
            "start": f"2026-02-{day:02d}T10:00:00Z",
            "b_number": "4420000",
            "duration_s": 60,
            "records": count,
        }
        for day, count in worth
    ]
    rule = {"currency": "USD", "rates": rates_row, "exchange": {"to": "EUR", "rule": "event_day"}}
    (charge,) = priced(folder, [rule], usage)["charges"]
    exact = sum(Fraction(count, 100) / Fraction(rates[day - 1], 10000) for day, count in worth)
    assert abs(Fraction(charge["amount"]) - exact) <= Fraction(1, 200)


def fixings(*rows: str) -> dict[str, dict[str, str]]:
    """The demo's fixings replaced by some of the treasury's, as `open_home` changes files."""
    text = (DEMO / "fixings.csv").read_text()
    return {"fixings.csv": {text: "\n".join([HEADER, *(f"treasury,{row}" for row in rows)])}}


# through the pipeline: a partner's dollars on an invoice in euros

DOLLARS = {
    "agreements/P04-VOICE.yaml": {
        "currency: USD\nrounding:": "currency: USD\nexchange: {to: EUR, rule: last_day}\nrounding:"
    }
}
CYCLE, NEXT = "P04/2026-03-B", "P04/2026-04-A"
TWENTIETH = date(2026, 3, 20)
HAITI = {"partner": "P04", "agreement": "P04-VOICE@1", "destination": "Haiti", "currency": "USD"}


def with_dollars(home: Installation) -> None:
    use(home, {**HAITI, "local_day": TWENTIETH, "day": TWENTIETH, "records": 2_000})


def test_a_document_in_the_invoices_currency_adds_up_and_is_proved(tmp_path: Path) -> None:
    home = open_home(tmp_path, DOLLARS)
    with_dollars(home)
    assert run(home, CYCLE).state == "draft"
    assert not imbalance(cycle_of(home, CYCLE), home.reference, home.lake, home.registry)
    (stored,) = issue(home, CYCLE)
    document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    lines = {one.description: one for one in document.lines}
    haiti, shortfall = lines["Haiti"], lines["Shortfall of the quarter's minimum"]
    assert document.currency == "EUR"
    # 12.00 USD, and what 150,000 less 95,500 and these 12 leave, each divided by 1.0850 once
    assert (haiti.amount, shortfall.amount) == (Decimal("11.06"), Decimal("50219.35"))
    assert (haiti.exact_amount, haiti.priced_in) == (Decimal(12), "USD")
    assert any("1.085 USD per EUR, treasury for 2026-03-31" in note for note in document.notes)
    assert [check for check in prove(home, stored.id) if not check.ok] == []
    said = CliRunner().invoke(
        app,
        ["explain", f"{stored.number_text}:1"],
        env={"ICB_HOME": str(tmp_path), "COLUMNS": "200"},
    )
    assert "12 USD in EUR at 1.085 USD per EUR" in said.output


def test_without_the_fixing_that_cycle_alone_is_blocked(tmp_path: Path) -> None:
    home = open_home(tmp_path, {**DOLLARS, **fixings("2026-03-31,EUR,QAR,4")})
    with_dollars(home)
    done = run(home, CYCLE)
    assert done.state == "blocked"
    told = [one.message for one in done.findings if one.rule == "missing_fixing"]
    assert any("USD and EUR on 2026-03-31" in message for message in told)


def test_what_was_converted_at_the_date_of_invoice_is_issued_on_that_date(tmp_path: Path) -> None:
    ((before, text),) = DOLLARS["agreements/P04-VOICE.yaml"].items()
    home = open_home(
        tmp_path,
        {
            "agreements/P04-VOICE.yaml": {before: text.replace("last_day", "invoice_date")},
            **fixings("2026-03-31,EUR,USD,1.0850", f"{ISSUED},EUR,USD,1.2000"),
        },
    )
    with_dollars(home)
    run(home, CYCLE)
    with pytest.raises(BillingError, match=f"converted at the fixing of {ISSUED}"):
        approve_and_issue(
            home,
            CYCLE,
            approver="bruno",
            issue_date=date(2026, 5, 6),
            now=NOW,
            who="bruno",
        )
    (stored,) = issue(home, CYCLE)
    document = Document.model_validate_json(home.blobs.get(stored.canonical_sha256))
    haiti = next(one for one in document.lines if one.description == "Haiti")
    assert haiti.amount == Decimal("10.00")


def test_an_adjustment_is_converted_as_its_original_was(tmp_path: Path) -> None:
    later = fixings("2026-03-31,EUR,USD,1.0850", "2026-04-15,EUR,USD,2.0000")
    home = open_home(tmp_path, {**DOLLARS, **later})
    with_dollars(home)
    run(home, CYCLE)
    issue(home, CYCLE)
    use(
        home,
        {
            **HAITI,
            "destination": "Jamaica",
            "local_day": TWENTIETH,
            "day": TWENTIETH,
            "records": 2_000,
        },
    )
    # by then April has a fixing of its own: what March lacked is still March's dollars
    done = run(home, NEXT)
    assert done.state == "draft", done.findings
    (draft,) = home.registry.documents.drafts(NEXT, 1)
    document = Document.model_validate_json(home.blobs.get(draft.canonical_sha256))
    jamaica = next(one for one in document.lines if one.destination == "Jamaica")
    assert (jamaica.section, jamaica.amount) == ("prior_period", Decimal("11.06"))


# the command


def fx(home: Installation, *arguments: str) -> str:
    said = CliRunner().invoke(
        app, ["fx", *arguments], env={"ICB_HOME": str(home.settings.root), "COLUMNS": "200"}
    )
    return said.output + (str(said.exception) if said.exception else "")


def test_rates_conversions_and_differences_by_command(tmp_path: Path) -> None:
    home = open_home(
        tmp_path / "home",
        fixings(
            "2026-03-31,EUR,USD,1.0850", "2026-03-31,EUR,GBP,0.8600", "2026-04-30,EUR,USD,1.1000"
        ),
    )
    assert "1.085 USD per EUR" in fx(home, "rate", "USD", "EUR", "2026-04-02")
    assert "11,378.50 EUR" in fx(home, "convert", "12345.67", "USD", "EUR", "2026-03-31")
    crossed = json.loads(
        fx(home, "convert", "100", "GBP", "USD", "2026-03-31", "--through", "EUR", "--json")
    )
    assert crossed["amount"] == "126.16"
    average = fx(home, "rate", "USD", "EUR", "2026-03-01", "--until", "2026-04-30")
    assert "1.0925 USD per EUR" in average
    items = tmp_path / "items.csv"
    items.write_text(
        "item,amount,currency,booked,paid\n"
        "FT 1,1000.00,USD,2026-03-31,\n"
        "FT 2,-1000.00,USD,2026-03-31,2026-04-30\n"
        "FT 3,50.00,USD,2026-05-02,\n"
    )
    rows = json.loads(fx(home, "revalue", str(items), "--at", "2026-04-30", "--json"))
    # 921.66 when booked, 909.09 now: a receivable loses what a payable gains
    assert [(row["item"], row["kind"], row["difference"]) for row in rows] == [
        ("FT 1", "revaluation", "-12.57"),
        ("FT 2", "realised", "12.57"),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rate", "USD", "EUR", "2026-02-01"), "no fixing between USD and EUR"),
        (("rate", "USD", "EUR", "March"), "is not a day"),
        (("convert", "1,5", "USD", "EUR", "2026-03-31"), "is not an amount"),
        (("convert", "1", "USD", "EURO", "2026-03-31"), "ISO 4217"),
    ],
)
def test_what_is_no_rate_is_told_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in fx(open_home(tmp_path), *arguments)
