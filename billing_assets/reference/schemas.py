"""JSON Schemas of every form of reference file, so that editors complete and check them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from billing_assets.reference.controls import Controls
from billing_assets.reference.deals import Deal
from billing_assets.reference.forms import Form
from billing_assets.reference.layouts import Layout
from billing_assets.reference.ledger import Ledger
from billing_assets.reference.models import (
    Agreement,
    Calendar,
    Carrier,
    Partner,
    RateRow,
)
from billing_assets.reference.sources import Source
from billing_assets.reference.tax import TaxRules
from billing_assets.reference.traffic import Traffic
from billing_assets.reference.values import CurrencyCode, Day, ExchangeRate


class Fixing(Form):
    """One row of fixings.csv: units of `currency` for one of `base`, on a day, by a source."""

    source: str
    date: Day
    base: CurrencyCode
    currency: CurrencyCode
    units_per_base: ExchangeRate


class Sample(Form):
    """One row of samples/*.csv: the level of a port at an instant, in Mbps."""

    port: str
    at: datetime
    mbps: Decimal


FORMS: dict[str, tuple[str, Any]] = {
    "carrier": ("carrier.yaml", Carrier),
    "calendars": ("calendars.yaml", dict[str, Calendar]),
    "sources": ("sources.yaml", list[Source]),
    "layouts": ("layouts.yaml", dict[str, Layout]),
    "controls": ("controls.yaml", Controls),
    "ledger": ("ledger.yaml", Ledger),
    "traffic": ("traffic.yaml", Traffic),
    "tax": ("tax.yaml", TaxRules),
    "partner": ("partners/*.yaml", Partner),
    "agreement": ("agreements/*.yaml", Agreement),
    "deal": ("deals/*.yaml", Deal),
    "sheet-row": ("sheets/*.csv, *.xlsx", RateRow),
    "fixing-row": ("fixings.csv", Fixing),
    "sample-row": ("samples/*.csv", Sample),
}
"""Each form by name: the files it is for, and the model. Sheets, fixings and samples: one row."""


def json_schema(form: str) -> dict[str, object]:
    """The JSON Schema (2020-12) of a form by name; raises `KeyError` for an unknown one."""
    path, model = FORMS[form]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"for {path}",
        **TypeAdapter(model).json_schema(by_alias=True),
    }
