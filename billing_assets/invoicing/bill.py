"""The document as JSON in the shape of TM Forum's TMF678 v4 CustomerBill.

One resource `CustomerBill` with its lines as `appliedCustomerBillingRate`. Amounts are JSON
numbers with all their digits, as TMF's Money has them; a reader should take them as decimals.
"""

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from billing_assets.invoicing.document import Document, Kind, Line, Party, TaxRow, plain

CATEGORIES = {
    Kind.CREDIT_NOTE: "creditNote",
    Kind.DEBIT_NOTE: "debitNote",
    Kind.SELF_BILLED: "selfBilled",
}
"""TMF's `category` is open; an ordinary invoice is 'normal', a draft 'trial'."""

_MONEY = re.compile(r'("unit": "[A-Z]{3}",\s+"value": )"(-?[0-9.]+)"')


def customer_bill(document: Document) -> bytes:
    """The bill as UTF-8 JSON."""
    currency = document.currency
    partner = document.buyer if document.ours else document.seller
    number = document.number or ""
    zone = document.period.zone
    content: dict[str, Any] = {
        "@type": "CustomerBill",
        "id": number or document.provenance.cycle,
        "billNo": number,
        "billDate": document.issue_date.isoformat(),
        "paymentDueDate": document.due_date.isoformat(),
        "billingPeriod": {
            "startDateTime": _local(document.period.first_day),
            "endDateTime": _local(document.period.last_day + timedelta(days=1)),
            "timeZone": zone,
        },
        "category": "trial" if document.is_draft else CATEGORIES.get(document.kind, "normal"),
        "runType": "onCycle",
        "state": "new" if document.is_draft else "generated",
        "billingAccount": {"id": partner.id, "name": partner.name},
        "taxExcludedAmount": _money(document.totals.net, currency),
        "taxIncludedAmount": _money(document.totals.gross, currency),
        "amountDue": _money(document.totals.gross, currency),
        "remainingAmount": _money(document.totals.gross, currency),
        "taxItem": [_tax(row, currency) for row in document.taxes],
        "relatedParty": [
            _party(document.seller, "supplier"),
            _party(document.buyer, "customer"),
        ],
        "appliedPayment": [],
        "appliedCustomerBillingRate": [_rate(line, currency) for line in document.lines],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    # json writes no decimals; inside a text every quote is escaped, so only Money matches
    return _MONEY.sub(r"\1\2", text).encode()


def _local(day: date) -> str:
    """Midnight of a local day; the zone stands beside it."""
    return f"{day.isoformat()}T00:00:00"


def _money(amount: Decimal, currency: str) -> dict[str, str]:
    return {"unit": currency, "value": f"{amount:f}"}


def _tax(row: TaxRow, currency: str) -> dict[str, Any]:
    return {
        "taxCategory": row.category,
        "taxRate": plain(row.rate * 100),
        "taxBase": _money(row.base, currency),
        "taxAmount": _money(row.tax, currency),
    }


def _party(party: Party, role: str) -> dict[str, Any]:
    return {
        "@referredType": "Organization",
        "id": party.id,
        "name": party.name,
        "role": role,
        "taxId": party.vat_id,
    }


def _rate(line: Line, currency: str) -> dict[str, Any]:
    facts = {
        "section": line.section,
        "service": line.service,
        "agreement": line.agreement,
        "destination": line.destination,
        "origin": line.origin,
        "band": line.band,
        "records": str(line.records),
        "unit": line.unit,
        "quantity": plain(line.quantity),
        "unitPrice": "" if line.own_price is None else plain(line.own_price),
    }
    return {
        "@type": "AppliedCustomerBillingRate",
        "id": line.charge_id,
        "name": line.description,
        "type": line.kind,
        "isBilled": True,
        "periodCoverage": {
            "startDateTime": _local(line.first_day),
            "endDateTime": _local(line.last_day + timedelta(days=1)),
        },
        "taxExcludedAmount": _money(line.amount, currency),
        "appliedTax": [{"taxCategory": line.tax_category, "taxRate": plain(line.tax_rate * 100)}],
        "characteristic": [
            {"name": name, "value": value} for name, value in facts.items() if value
        ],
    }
