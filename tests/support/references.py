"""Small references made in memory, for tests that price records."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from billing_assets.reference.load import Loaded, Reference, load_reference

ADDRESS = {"street": "Rua Um 1", "city": "Lisboa", "postcode": "1000-001", "country": "PT"}

CARRIER = {
    "entity": "OWN",
    "name": "Own Carrier, S.A.",
    "country": "PT",
    "address": ADDRESS,
    "currency": "EUR",
    "zone": "Europe/Lisbon",
    "vat_id": "PT500000000",
    "vat_rate": "0.23",
    "bank": [{"beneficiary": "Own Carrier, S.A.", "iban": "", "bic": "TESTPTPL"}],
    "contact_email": "billing@example.com",
    "series": [{"series": "FT", "document": "invoice"}],
    "own_trunks": ["sw/OWN"],
}


def partner(name: str = "P01", accounts: Sequence[Mapping[str, object]] = (), **fields: object):
    """A partner with one account `NAME-A` on trunk `sw/NAME` unless accounts are given."""
    return {
        "partner": name,
        "name": f"Partner {name}",
        "country": "DE",
        "address": ADDRESS,
        "currency": "EUR",
        "zone": "UTC",
        "roles": ["customer", "supplier"],
        "tax": {"category": "AE"},
        "accounts": list(accounts)
        or [{"account": f"{name}-A", "trunks": [{"trunk": f"sw/{name}"}]}],
        **fields,
    }


def agreement(name: Any = "A", **fields: Any):
    """A voice agreement of P01's customer leg in UTC and EUR, with the given terms."""
    return {
        "agreement": name,
        "partner": "P01",
        "leg": "customer",
        "accounts": ["P01-A"],
        "from": "2026-01-01",
        "zone": "UTC",
        "currency": "EUR",
        **fields,
    }


def loaded(
    agreements: Sequence[Mapping[str, object]],
    partners: Sequence[Mapping[str, object]] | None = None,
    sheets: Mapping[str, str] | None = None,
    calendars: Mapping[str, object] | None = None,
) -> Loaded:
    """Load a reference of these agreements."""
    return load_reference(reference_files(agreements, partners, sheets, calendars))


def reference_files(
    agreements: Sequence[Mapping[str, object]],
    partners: Sequence[Mapping[str, object]] | None = None,
    sheets: Mapping[str, str] | None = None,
    calendars: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """A reference folder of these agreements; JSON is YAML, so forms are written as they are."""
    files = {"carrier.yaml": json.dumps(CARRIER).encode()}
    for one in [partner()] if partners is None else partners:
        files[f"partners/{one['partner']}.yaml"] = json.dumps(one).encode()
    for one in agreements:
        name = f"agreements/{one['agreement']}-{one.get('version', 1)}.yaml"
        files[name] = json.dumps(one).encode()
    for path, text in (sheets or {}).items():
        files[f"sheets/{path}"] = text.encode()
    if calendars:
        files["calendars.yaml"] = json.dumps(calendars).encode()
    return files


def reference(*agreements: Mapping[str, object], **kinds: object) -> Reference:
    """A reference that must load without a problem."""
    result = loaded(list(agreements), **kinds)  # pyright: ignore[reportArgumentType]
    assert not result.problems, [str(p) for p in result.problems]
    return result.reference
