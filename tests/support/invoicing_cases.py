"""A carrier, its partners and their charges, as the tests of documents need them."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from billing_assets.core.ids import bucket_of, stable_id
from billing_assets.core.periods import Period, month_period
from billing_assets.invoicing.assemble import assemble
from billing_assets.invoicing.document import Document, Provenance
from billing_assets.lake.tables import CHARGE, USAGE_DAILY
from billing_assets.reference.fx import Fixings
from billing_assets.reference.models import (
    Address,
    Bank,
    Carrier,
    DocumentSettings,
    Partner,
    Tax,
)
from billing_assets.reference.numbering import Series
from billing_assets.reference.tax import TaxRules

UNITS = {"USD": "1.0850", "GBP": "0.8600", "JPY": "162.50", "KWD": "0.3340"}
MARCH = month_period("2026-03", "Europe/Lisbon")
ISSUE_DATE = date(2026, 4, 3)

CARRIER = Carrier(
    entity="FAROLINK",
    name="Farolink Carrier Services, S.A.",
    country="PT",
    address=Address(
        street="Rua do Farol 120, 4.º", city="Lisboa", postcode="1990-084", country="PT"
    ),
    currency="EUR",
    zone="Europe/Lisbon",
    vat_id="PT509999990",
    registration="509999990",
    vat_rate=Decimal("0.23"),
    bank=(
        Bank(
            beneficiary="Farolink Carrier Services, S.A.",
            iban="PT50000201231234567890154",
            bic="FARLPTPLXXX",
            bank="Banco do Farol (EUR)",
        ),
        Bank(
            beneficiary="Farolink Carrier Services, S.A.",
            account="0001 4711",
            bic="FARLUS33",
            bank="Banco do Farol (USD)",
        ),
    ),
    contact_email="billing@farolink.example",
    endpoint_scheme="9946",
    endpoint_id="PT509999990",
    series=(Series(series="FT", document="invoice"), Series(series="NC", document="credit_note")),
)

TAXES = {
    "S": Tax(category="S", rate=Decimal("0.23"), vat_id="PT501234560", registration="501234560"),
    "AE": Tax(category="AE", vat_id="DE123456788", registration="HRB 12345"),
    "G": Tax(category="G", registration="20260001"),
    "O": Tax(category="O", registration="27AAAPL1234C1ZV"),
    "E": Tax(category="E", vat_id="PT501234560", reason="Exempt, Art. 9 CIVA"),
}


def partner(
    tax: str = "S", currency: str = "EUR", name: str = "Polar Reseller, Lda", **settings: Any
) -> Partner:
    """A partner of a tax category and currency, with some document settings."""
    return Partner.model_validate(
        {
            "partner": "P14",
            "name": name,
            "country": "PT",
            "address": Address(
                street="Av. da Neve 7", city="Porto", postcode="4000-001", country="PT"
            ),
            "currency": currency,
            "zone": "Europe/Lisbon",
            "roles": ("customer",),
            "terms_days": 30,
            "tax": TAXES[tax],
            "document": DocumentSettings(**settings),
            "accounts": (),
        }
    )


def charge(
    description: str = "Portugal Mobile",
    quantity: str = "1000",
    price: str | None = "0.0060",
    amount: str = "6.00",
    **fields: Any,
) -> dict[str, Any]:
    """One row of table `charge`: a usage line of March unless `fields` say otherwise."""
    return {
        "month": "2026-03",
        "bucket": bucket_of("P14", 4),
        "charge_id": stable_id(description, quantity, str(price), amount, str(fields)),
        "cycle": "P14/2026-03",
        "partner": "P14",
        "agreement": "P14-VOICE@1",
        "leg": "customer",
        "kind": "usage",
        "section": "usage",
        "service": "voice",
        "description": description,
        "destination": description,
        "band": "",
        "origin": "",
        "first_day": date(2026, 3, 1),
        "last_day": date(2026, 3, 31),
        "records": 400,
        "answered": 380,
        "quantity": Decimal(quantity),
        "unit": "minute",
        "price": None if price is None else Decimal(price),
        "exact_amount": Decimal(amount),
        "amount": Decimal(amount),
        "currency": "EUR",
        "rule": "usage",
        "tax_treatment": "",
        "steps": "[]",
        "inputs": "{}",
        "sources": "{}",
        **fields,
    }


def recurring(
    description: str = "SIP trunk", quantity: str = "2", price: str = "45.00", amount: str = "90.00"
) -> dict[str, Any]:
    """A monthly fee as a row of table `charge`."""
    return charge(
        description,
        quantity,
        price,
        amount,
        kind="recurring",
        section="recurring",
        destination=None,
        records=None,
        answered=None,
        unit="month",
        rule="recurring",
        steps=json.dumps([f"{quantity} x {price} for the whole month = {amount}"]),
    )


def charges(*rows: dict[str, Any], currency: str = "EUR") -> pl.DataFrame:
    """Rows as a frame of table `charge`."""
    told = [{**row, "currency": currency, "priced_in": currency} for row in rows]
    return pl.DataFrame(told, schema=CHARGE.schema)


def traffic(period: Period = MARCH) -> pl.DataFrame:
    """A weekly rhythm of calls as rows of `usage_daily`."""
    days = [period.start + timedelta(days=n) for n in range(period.days)]
    frame = pl.DataFrame(
        {
            "local_day": days,
            "records": [
                9000 + 700 * ((day.day * 7) % 5) - 5200 * (day.weekday() > 4) for day in days
            ],
        }
    ).with_columns(
        duration_ms=pl.col("records") * 131_000,
    )
    return frame.select(
        *(
            pl.col(name) if name in frame.columns else pl.lit(None, dtype).alias(name)
            for name, dtype in USAGE_DAILY.schema.items()
        )
    ).cast(USAGE_DAILY.schema)


FIXINGS = Fixings(
    pl.DataFrame(
        [("treasury", "2026-03-31", "EUR", currency, units) for currency, units in UNITS.items()],
        schema=["source", "date", "base", "currency", "units_per_base"],
        orient="row",
    ),
    "treasury",
)


def document(
    rows: Sequence[dict[str, Any]] = (),
    *,
    to: Partner | None = None,
    notes: Sequence[str] = (),
    template: str = "",
    tax_rules: TaxRules | None = None,
) -> Document:
    """A draft made of some charges, by default of one usage line and one fee."""
    receiver = to or partner()
    return assemble(
        charges(*(rows or (charge(), recurring())), currency=receiver.currency),
        carrier=CARRIER,
        partner=receiver,
        period=MARCH,
        issue_date=ISSUE_DATE,
        provenance=Provenance(cycle="P14/2026-03", template=template),
        traffic=traffic(),
        notes=notes,
        tax_rules=tax_rules,
        fixings=FIXINGS,
    )
