"""What a reference folder may get wrong: told by file, row, field and value, and set aside."""

import io
import json
from collections.abc import Mapping
from typing import Any

import openpyxl
import pytest
from pydantic import ValidationError, create_model

from billing_assets.core.errors import InputError, Problem
from billing_assets.reference.forms import Form
from billing_assets.reference.load import Loaded, load_reference
from tests.support.references import CARRIER, loaded, partner, reference
from tests.support.references import agreement as form

GOOD = """\
agreement: A
partner: P01
leg: customer
accounts: [P01-A]
from: 2026-01-01
zone: UTC
currency: EUR
"""

RATES = """\
rates:
  - {code: 44, rate: 0.0120}
"""

FILE = "agreements/A-1.yaml"


def load(
    text: str,
    sheets: Mapping[str, bytes] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> Loaded:
    """Load one agreement's text beside a carrier and partner P01."""
    files = {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        FILE: text.encode(),
        **{f"sheets/{name}": content for name, content in (sheets or {}).items()},
        **(more or {}),
    }
    return load_reference(files)


def told(problems: tuple[Problem, ...]) -> list[tuple[str, int | None, str, str]]:
    return [(p.file, p.row, p.field, p.value) for p in problems]


TERMS = [
    ("increments: 0/1", "increments", "0/1", "first/next"),
    ("increments: 60/0", "increments", "60/0", "first/next"),
    ("increments: -60/60", "increments", "-60/60", "first/next"),
    ("increments: 60", "increments", "60", "first/next"),
    ("increments: 99999999/1", "increments.first", "99999999", "less than or equal"),
    ("setup_fee: -0.01", "setup_fee", "-0.01", "greater than or equal to 0"),
    ("setup_fee: 0,01", "setup_fee", "0,01", "not a decimal"),
    ("setup_fee: 1e-3", "setup_fee", "1e-3", "not a decimal"),
    ("setup_fee: .nan", "setup_fee", ".nan", "not a decimal"),
    ("setup_fee: true", "setup_fee", "True", "not a decimal"),
    ("setup_fee: 0.00000000001", "setup_fee", "0.00000000001", "more than 10 decimals"),
    (f"setup_fee: 1.{'0' * 69}1", "setup_fee", f"1.{'0' * 69}1", "more than 10 decimals"),
    (f"setup_fee: {'1' * 61}", "setup_fee", "1" * 61, "more than 60 digits"),
    ("{cap: 1, minimum: 1.01}", "cap", "1", "is below the minimum, 1.01"),
    ("cap: 10000000.01", "cap", "10000000.01", "less than or equal to 10000000"),
    ("minimum_duration: 86401", "minimum_duration", "86401", "less than or equal to 86400"),
    ("grace: {seconds: 0, mode: threshold}", "grace.seconds", "0", "greater than or equal to 1"),
    ("zone: Europe/Lisboa", "zone", "Europe/Lisboa", "not an IANA time zone"),
    ("zone: Europe", "zone", "Europe", "not an IANA time zone"),
    ("zone: localtime", "zone", "localtime", "not an IANA time zone"),
    ("zone: Factory", "zone", "Factory", "not an IANA time zone"),
    ("zone: posixrules", "zone", "posixrules", "not an IANA time zone"),
    ("zone: right/Europe/Lisbon", "zone", "right/Europe/Lisbon", "not an IANA time zone"),
    ("zone: posix/UTC", "zone", "posix/UTC", "not an IANA time zone"),
    (f"zone: {'x' * 300}", "zone", "x" * 77 + "...", "not an IANA time zone"),
    ("currency: EURO", "currency", "EURO", "not an ISO 4217 currency"),
    ("currency: XAU", "currency", "XAU", "not an ISO 4217 currency"),
    ("from: 20260101", "from", "20260101", "is not a date"),
    ("from: 2026-02-30", "from", "2026-02-30", "is not a date"),
    ("from: 2026-01-01T00:00:00.5", "from", "2026-01-01T00:00:00.5", "whole seconds"),
    ("leg: customers", "leg", "customers", "'customer' or 'supplier'"),
    ("tarif: 3", "tarif", "3", "is not known here"),
    ("partner: P99", "partner", "P99", "not in partners/"),
    ("agreement: a b", "agreement", "a b", "is not an identifier: 1 to 64 letters, digits"),
    ("origins: {classes: [{origin: A, codes: [044]}]}", "origins.classes.0.codes.0", "044",
     "is not a code of 1 to 15 digits without leading zero"),
    ("version: x", "version", "x", "is not a whole number"),
    ("reverse: perhaps", "reverse", "perhaps", "is not true or false"),
    ("notice: soon", "notice", "soon", "is not a mapping of terms"),
    ("recurring: 44", "recurring", "44", "is not a list"),
    ("match: event_type", "", "", "match: event_type is for service event"),
    ("accounts: [P01-A, P01-Z]", "accounts", "P01-Z", "not an account of P01"),
    ("accounts: []", "accounts", "[]", "at least 1 item"),
    ("accounts: [P01-A, P01-A]", "accounts.1", "P01-A", "stands twice: accounts.0 is P01-A too"),
    ("to: 2025-12-31", "to", "2025-12-31", "ends before it begins on 2026-01-01"),
    ("to: 2026-01-01T00:00:00", "to", "2026-01-01T00:00:00", "ends before it begins"),
    ("unit: message", "", "", "unit message does not fit service voice"),
    ("{service: sms, crossing: split}", "", "", "crossing: split is for voice"),
    ("{crossing: split, event_time: end}", "", "", "event_time must be answer"),
    ("{rounding: {quantity: {}}, cap: 1}", "", "", "excludes crossing: split, minimum and cap"),
    ("{service: sms, short_calls: {seconds: 6, threshold: 0.1, fee: 1}}", "", "", "is for voice"),
    ("short_calls: {seconds: 6, threshold: 15, fee: 1}", "short_calls.threshold", "15", "than 1"),
    ("{origins: {classes: []}, jurisdiction: {states: {}}}", "", "", "exclude each other"),
    ("match: event", "match", "event", "'dialled', 'routing_number'"),
    ("bands: {windows: [{band: x, from: '25:00'}]}", "bands.windows.0.from", "25:00", "of day"),
    ("bands: {windows: [{band: x, from: 08, to: 20}]}", "bands.windows.0.from", "08", "of day"),
    ("bands: {windows: [{band: x, from: 08:00, to: 20}]}", "bands.windows.0.to", "20", "of day"),
    ("bands: {windows: [{band: x, from: 1}]}", "bands.windows.0.from", "1", "of day"),
    ("bands: {windows: [{band: x, from: true}]}", "bands.windows.0.from", "True", "of day"),
    ("bands: {windows: [{band: x, from: T08:00}]}", "bands.windows.0.from", "T08:00", "of day"),
    ("bands: {windows: [{band: x, to: '0800'}]}", "bands.windows.0.to", "0800", "of day"),
    ("bands: {windows: [{band: x, to: '08:00+01:00'}]}", "bands.windows.0.to", "08:00+01:00",
     "of day"),
    ("notice: {cut_off: 17}", "notice.cut_off", "17", "is not a time of day such as 08:00"),
    ("notice: {cut_off: '17:00:00.5'}", "notice.cut_off", "17:00:00.5", "is not a time of day"),
    ("version: true", "version", "True", "is not a whole number"),
    ("bands: {windows: [{band: h, days: [holiday]}], otherwise: n}", "bands", "",
     "name their `calendar`"),
    ("origins: {classes: [{origin: NON_EAA, surcharge: 1}], otherwise: NON_EEA}", "origins",
     "{'classes': [{'origin': 'NON_EAA', 'surcharge': 1}], 'otherwise': 'NON_EEA'}",
     "class NON_EAA has neither codes nor kinds"),
    ("minimum_duration: true", "minimum_duration", "True", "is not a whole number"),
    ("grace: {seconds: true, mode: threshold}", "grace.seconds", "True", "is not a whole number"),
    ("rounding: {record: {decimals: true}}", "rounding.record.decimals", "True", "whole number"),
    ("rounding: {quantity: {decimals: false}}", "rounding.quantity.decimals", "False",
     "is not a whole number"),
    ("notice: {increase_days: true}", "notice.increase_days", "True", "is not a whole number"),
    ("origins: {classes: [{origin: A, codes: [351]}, {origin: A, codes: [49]}]}",
     "origins.classes.1.origin", "A", "stands twice: origins.classes.0.origin is A too"),
    ("origins: {classes: [{origin: A, codes: [351, 49]}, {origin: B, codes: [34, 49]}]}",
     "origins.classes.1.codes.1", "49", "stands twice: origins.classes.0.codes.1 is 49 too"),
    ("origins: {classes: [{origin: A, codes: [351, 351]}]}", "origins.classes.0.codes.1", "351",
     "stands twice"),
    ("origins: {classes: [{origin: A, kinds: [alpha]}, {origin: B, kinds: [invalid, alpha]}]}",
     "origins.classes.1.kinds.1", "alpha", "stands twice: origins.classes.0.kinds.0 is alpha too"),
    ("jurisdiction: {states: {NY: [1212], CA: [1415, 1212]}}", "jurisdiction.states.CA.1", "1212",
     "stands twice: jurisdiction.states.NY.0 is 1212 too"),
    ("jurisdiction: {states: {NY: [1212, 1212]}}", "jurisdiction.states.NY.1", "1212",
     "stands twice"),
    ("surcharges: [{surcharge: a, codes: [18, 19]}, {surcharge: b, codes: [18]}]",
     "surcharges.1.codes.0", "18", "stands twice: surcharges.0.codes.0 is 18 too"),
    ("one_time: [{fee: a, title: A, price: 1, quantity: 1000000000000001, on: 2026-03-01}]",
     "one_time.0.quantity", "1000000000000001", "less than or equal to 1000000000000000"),
    ("commitments: [{commitment: m, period: month, amount: 1000000000000000.01}]",
     "commitments.0.amount", "1000000000000000.01", "less than or equal to 1000000000000000"),
    ("commitments: [{commitment: m, period: month, quantity: 1, price: 10000000.01}]",
     "commitments.0.price", "10000000.01", "less than or equal to 10000000"),
    ("bands: {calendar: es, windows: [{band: x}]}", "calendar", "es", "not in calendars.yaml"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "field", "value", "message"), TERMS, ids=[t[0] for t in TERMS])
def test_a_wrong_term_is_named_with_its_line_field_and_value(
    line: str, field: str, value: str, message: str
) -> None:
    name = line.strip("{").partition(":")[0]
    kept = [text for text in GOOD.splitlines() if not text.startswith(f"{name}:")]
    added = [
        f"{key}: {json.dumps(part)}" if isinstance(part, dict | list) else f"{key}: {part}"
        for key, part in _flow(line).items()
    ]
    result = load("\n".join([*kept, *added]) + "\n" + RATES)
    (problem, *_) = result.problems
    assert problem.file == FILE
    assert (problem.field, problem.value) == (field, value)
    assert message in problem.message
    if field:
        assert problem.row == len(kept) + 1
    assert result.reference.agreements == ()


def test_a_channel_that_takes_what_is_not_made_is_refused() -> None:
    channel = {"channel": "portal", "via": "folder", "path": "P01", "formats": ["csv", "xlsx"]}
    for formats, refused in ((["pdf"], True), (["pdf", "xlsx"], False)):
        terms = {**partner(), "delivery": [channel], "document": {"formats": formats}}
        files = {
            "carrier.yaml": json.dumps(CARRIER).encode(),
            "partners/P01.yaml": json.dumps(terms).encode(),
        }
        said = [problem.message for problem in load_reference(files).problems]
        assert bool(said) is refused
        assert all("channel portal takes xlsx" in message for message in said)


SERIES = [
    ([{"pattern": "{series}/{number:06d}"}], "would give a number twice"),
    ([{"pattern": "FT {year}"}], "would give a number twice"),
    ([{"pattern": "{year}-{number:x}"}], "would give a number twice"),
    ([{"pattern": "{year}-{number}\n"}], "would give a number twice"),
    ([{"pattern": "{year}-{count}"}], "is no number format"),
    ([{"pattern": "{year-{number}"}], "is no number format"),
    ([{"pattern": "{year}-{number}", "document": "self_billed"}], "would give a number twice"),
    ([{}, {"series": "FX"}], "two series number invoice"),
    (
        [
            {"pattern": "{year}-{number}"},
            {"pattern": "{year}-{number}", "series": "NC", "document": "credit_note"},
        ],
        "writes the numbers of another series",
    ),
]


@pytest.mark.parametrize(("series", "message"), SERIES)
def test_series_that_would_give_a_number_twice_are_refused(
    series: list[dict[str, str]], message: str
) -> None:
    told = [{"series": "FT", "document": "invoice", **one} for one in series]
    with pytest.raises(InputError) as refused:
        load_reference({"carrier.yaml": json.dumps({**CARRIER, "series": told}).encode()})
    (problem,) = refused.value.problems
    assert problem.field.startswith("series")
    assert message in problem.message


def test_a_series_may_have_words_of_its_own() -> None:
    told = [{"series": "FT", "document": "invoice", "pattern": "INV-{year}-{number:05d}"}]
    load_reference({"carrier.yaml": json.dumps({**CARRIER, "series": told}).encode()})


@pytest.mark.parametrize("scheme", ["GLN", "88", "0088:1", "em"])
def test_a_list_of_endpoints_that_is_none_is_refused(scheme: str) -> None:
    document = {"endpoint_scheme": scheme, "endpoint_id": "1"}
    files = {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps({**partner(), "document": document}).encode(),
    }
    (problem,) = load_reference(files).problems
    assert (problem.field, problem.value) == ("document.endpoint_scheme", scheme)


@pytest.mark.parametrize("country", ["EL", "UK", "ZZ", "EU"])
def test_a_country_that_is_none_is_refused(country: str) -> None:
    # taken as it stands Greece would be outside the EU, and its supplies exports
    files = {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps({**partner(), "country": country}).encode(),
    }
    (problem,) = load_reference(files).problems
    assert (problem.file, problem.field, problem.value) == (
        "partners/P01.yaml",
        "country",
        country,
    )
    assert "no country of ISO 3166 (Greece is GR" in problem.message


def _flow(line: str) -> dict[str, object]:
    """Terms of a flow mapping, or of one line kept as it is written."""
    if not line.startswith("{"):
        key, _, rest = line.partition(": ")
        return {key: rest}
    from billing_assets.reference.yamltext import Located  # noqa: PLC0415

    value = Located(line.encode(), "").value
    assert isinstance(value, dict)
    return value


def test_an_event_type_among_codes_is_told_what_it_needs() -> None:
    text = f"{GOOD}service: event\nrates: [{{code: lookup, rate: 1}}]\n"
    [problem] = load(text).problems
    assert problem.value == "lookup" and "event types need match: event_type" in problem.message


@pytest.mark.parametrize("match", ["serving_network", "event_type"])
def test_surcharges_by_code_need_a_number_that_has_one(match: str) -> None:
    service = {"serving_network": "data", "event_type": "event"}[match]
    terms = f"service: {service}\nmatch: {match}\nsurcharges: [{{surcharge: a, codes: [234]}}]\n"
    [problem] = load(GOOD + terms + RATES).problems
    assert f"match: {match} does not look at" in problem.message


def test_what_is_missing_has_no_value() -> None:
    text = GOOD.replace("currency: EUR\n", "") + "rates: [{rate: 1}]\n"
    assert told(load(text).problems) == [(FILE, 1, "currency", ""), (FILE, 7, "rates.0.code", "")]


ROWS = [
    ("{code: 44x, rate: 1}", "code", "44x", "a code of 1 to 15 digits"),
    ("{code: 044, rate: 1}", "code", "044", "without leading zero"),
    ("{code: 4477009001234567, rate: 1}", "code", "4477009001234567", "1 to 15 digits"),
    ("{code: 4.474E+05, rate: 1}", "code", "4.474E+05", "1 to 15 digits"),
    ("{code: ' ', rate: 1}", "rates.0.code.0", "", "at least 1 character"),
    ("{code: 447412-447400, rate: 1}", "code", "447412-447400", "not a range"),
    ("{code: 4474-44799, rate: 1}", "code", "4474-44799", "of one length"),
    ("{code: 44 7400-7412, rate: 1}", "code", "44 7400-7412", "may be codes of country 44"),
    ("{code: 44}", "rate", "", "an open code needs a price"),
    ("{code: 44, rate: -1}", "rates.0.rate", "-1", "greater than or equal to 0"),
    ("{code: 44, rate: 10000001}", "rates.0.rate", "10000001", "less than or equal to 10000000"),
    ("{code: 44, rate: 1, increments: 1/0}", "rates.0.increments", "1/0", "first/next"),
    ("{code: 44, rate: 1, band: peak}", "band", "peak", "not among the agreement's bands (none)"),
    ("{code: 44, rate: 1, origin: EEA}", "origin", "EEA", "is not among the agreement's origins"),
    ("{code: 44, rate: 1, status: shut}", "rates.0.status", "shut", "'open', 'blocked'"),
    ("{code: 44, rate: 1, from: 1.3.2026}", "rates.0.from", "1.3.2026", "is not a date"),
    ("{code: 44, rate: 1, to: 2025-12-31}", "to", "2025-12-31", "not after"),
    ("{code: 44, rate: 1, minimum: 2, cap: 1.99}", "minimum", "2", "is above the cap of its row"),
    ("{code: 44, rate: [1, 2]}", "rates.0.rate", "[1, 2]", "is not a decimal"),
    ("{code: 44, rate: {a: 1}}", "rates.0.rate", "{'a': 1}", "is not a decimal"),
    ("{code: 44, country_code: 044, rate: 1}", "rates.0.country_code", "044",
     "is not a country code of 1 to 3 digits"),
    ("{code: 44, rat: 1}", "rates.0.rat", "1", "is not known here"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "value", "message"), ROWS, ids=[r[0] for r in ROWS])
def test_a_wrong_rate_row_is_named_with_its_line(
    row: str, field: str, value: str, message: str
) -> None:
    result = load(f"{GOOD}rates:\n  - {row}\n  - {{code: 33, rate: 2}}\n")
    (problem, *_) = result.problems
    assert (problem.file, problem.row) == (FILE, 9)
    assert problem.field == field
    assert problem.value.strip() == value
    assert message in problem.message


SHEETS = [
    ("code,rate\n44,0.01\n44x,0.02\n", 3, "code", "44x"),
    ("code,rate\n44,0.01\n,0.02\n", 3, "code", ""),
    ("code,rate\n44,-0.01\n", 2, "rate", "-0.01"),
    ("code,rate\n44,1.2.3\n", 2, "rate", "1.2.3"),
    ("code,rate\n44,0.12345678901\n", 2, "rate", "0.12345678901"),
    ("code,rate\n44,99999999\n", 2, "rate", "99999999"),
    ("code,rate,increments\n44,1,0/60\n", 2, "increments", "0/60"),
    ("code,rate,increments\n44,1,60/-1\n", 2, "increments", "60/-1"),
    ("code,rate,from\n44,1,03/04/2026\n", 2, "from", "03/04/2026"),
    ("code,rate,from\n44,1,2026-W10-1\n", 2, "from", "2026-W10-1"),
    ("code,rate,status\n44,1,gone\n", 2, "status", "gone"),
    ("code,rate,tax\n44,1,2\n", 1, "header", "tax"),
    ("prefix,rate\n44,1\n", 1, "header", "prefix"),
    ("code,rate\n44,1\n33,2\n44,3\n", 2, "code", "44"),
    ("code,rate,minimum,cap\n44,1,1,1\n33,1,0.5,0.25\n", 3, "minimum", "0.5"),
    ("country_code,code,rate\n044,7400,1\n", 2, "code", "0447400"),
]


@pytest.mark.parametrize(("sheet", "row", "field", "value"), SHEETS, ids=[s[0] for s in SHEETS])
def test_a_wrong_sheet_row_is_named_and_the_sheet_is_not_loaded_at_all(
    sheet: str, row: int, field: str, value: str
) -> None:
    result = load(f"{GOOD}sheets: [{{file: ../sheets/s.csv}}]\n", {"s.csv": sheet.encode()})
    assert ("sheets/s.csv", row, field, value) in told(result.problems)
    assert result.reference.agreements == ()


def test_every_bad_row_is_told_and_not_only_the_first() -> None:
    rows = "".join(f"4{n}x,1\n" for n in range(120))
    result = load(
        f"{GOOD}sheets: [{{file: s.csv}}]\n",
        more={"agreements/s.csv": b"code,rate\n" + rows.encode()},
    )
    assert [p.row for p in result.problems[:100]] == list(range(2, 102))
    assert "20 more rows" in result.problems[100].message


def test_a_sheet_that_does_not_exist_is_told_at_the_line_that_names_it() -> None:
    result = load(f"{GOOD}sheets: [{{file: nowhere.csv}}]\n")
    assert told(result.problems) == [(FILE, 8, "file", "nowhere.csv")]


def test_a_torn_workbook_is_told() -> None:
    result = load(f"{GOOD}sheets: [{{file: ../sheets/s.xlsx}}]\n", {"s.xlsx": b"PK\x03\x04torn"})
    assert [(p.file, "cannot be read" in p.message) for p in result.problems] == [
        ("sheets/s.xlsx", True)
    ]


def test_a_workbook_s_numbers_are_read_with_the_digits_that_it_shows() -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in [("Dial code", "Price"), (4477.0, 0.00001), (33, 0.1), ("49;30", "0.0250")]:
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    text = GOOD + "sheets: [{file: ../sheets/s.xlsx, columns: {code: Dial code, rate: Price}}]\n"
    result = load(text, {"s.xlsx": content.getvalue()})
    assert result.problems == ()
    rows = result.reference.agreements[0].deck.rows
    assert dict(rows.select("code", "price_e10").iter_rows()) == {
        4477: 100_000, 33: 10**9, 49: 250_000_000, 30: 250_000_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ("[{band: a, from: 08:00, to: 20:00}, {band: b, from: 19:59, to: 08:00}]",
         "overlap on mon at 19:59"),
        ("[{band: a, from: 08:00, to: 20:00}, {band: b, from: 20:01, to: 08:00}]",
         "no band holds on mon from 20:00"),
        ("[{band: a, days: [weekday]}, {band: b, days: [sat]}]", "no band holds on sun from 00:00"),
        ("[{band: a}, {band: h, days: [holiday]}]", "overlap on mon, a holiday at 00:00"),
        ("[{band: a, days: [weekday, weekend]}, {band: h, days: [holiday], from: 06:00}]",
         "no band holds on mon, a holiday from 00:00"),
        ("[{band: n, days: [fri], from: 20:00, to: 10:00}, {band: d, days: [sat], from: 08:00}, "
         "{band: d, days: [sun, mon, tue, wed, thu]}, {band: d, days: [fri], to: 20:00}]",
         "windows n and d overlap on sat at 08:00"),
    ],
)  # fmt: skip
def test_windows_that_overlap_or_leave_a_gap_are_refused(windows: str, message: str) -> None:
    result = load(f"{GOOD}bands:\n  windows: {windows}\n{RATES}")
    assert any(message in p.message for p in result.problems)
    assert {(p.file, p.row, p.field) for p in result.problems} == {(FILE, 9, "bands")}


def every_form(form: type[Form] = Form) -> set[type[Form]]:
    found = {form}.union(*(every_form(one) for one in form.__subclasses__()))
    return {one for one in found if one.__module__.startswith("billing_assets.reference.")}


def test_true_is_taken_only_where_a_boolean_is_meant() -> None:
    tried = 0
    for one in every_form():
        for name, field in one.model_fields.items():
            fields: dict[str, Any] = {name: (field.annotation, field)}
            alone = create_model("Alone", **fields)
            (schema,) = alone.model_json_schema()["properties"].values()
            kinds = {part.get("type") for part in (schema, *schema.get("anyOf", ()))} - {None}
            if kinds and "boolean" not in kinds:
                tried += 1
                with pytest.raises(ValidationError):
                    alone.model_validate({field.alias or name: True})
    assert tried > 200


def test_times_of_day_are_hours_and_minutes_with_or_without_seconds() -> None:
    text = (
        f"{GOOD}notice: {{cut_off: '17:00'}}\n"
        "bands: {windows: [{band: a, to: 08:00}, {band: b, from: 08:00:30, to: 24:00}], "
        f"otherwise: c}}\nrates: [{{code: 44, rate: 1, band: a}}]\n"
    )
    terms = load(text).reference.agreements[0].terms
    assert terms.notice.cut_off == 17 * 3600
    assert terms.bands
    windows = [(one.start, one.end) for one in terms.bands.windows]
    assert windows == [(0, 8 * 3600), (8 * 3600 + 30, 86400)]


def test_codes_of_other_lengths_and_of_other_kinds_of_terms_are_no_repetition() -> None:
    origins = {"classes": [{"origin": "A", "codes": [35, 44]}, {"origin": "B", "codes": [351]}]}
    surcharges = [{"surcharge": "a", "codes": [44]}, {"surcharge": "a", "codes": [447]}]
    reference(form(origins=origins, surcharges=surcharges, minimum=1, cap=1, rates=[]))


@pytest.mark.parametrize("zone", ["UTC", "Etc/GMT+3", "America/Argentina/Ushuaia", "Asia/Calcutta"])
def test_zones_of_the_database_are_taken(zone: str) -> None:
    reference(form(zone=zone, rates=[]))


FEES = [
    ("one_time: [{fee: a, title: A, price: 10000000, quantity: 100000001, on: 2026-03-01}]",
     "one_time.0", "100,000,001 x 10,000,000 comes to more than 1,000,000,000,000,000"),
    ("recurring: [{fee: a, title: A, price: 2, from: 2026-01-01, quantities: "
     "[{from: 2026-02-01, quantity: 1000000000000000}]}]",
     "recurring.0", "from 2026-02-01 1,000,000,000,000,000 x 2 comes to more than"),
    ("recurring: [{fee: a, title: A, price: 5, quantity: 10, from: 2026-01-01, prices: "
     "[{from: 2026-02-01, price: 100000000000001}]}]",
     "recurring.0", "from 2026-02-01 10 x 100,000,000,000,001 comes to more than"),
    ("capacity: [{capacity: a, title: A, commit: 2, commit_price: 1000000000000000, "
     "burst_price: 1, samples: s.csv, ports: [p], from: 2026-01-01}]",
     "capacity.0", "2 x 1,000,000,000,000,000 comes to more than"),
    ("commitments: [{commitment: m, period: month, quantity: 1000000000000, price: 1001}]",
     "commitments.0", "1,000,000,000,000 x 1,001 comes to more than"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "field", "message"), FEES, ids=[f[2] for f in FEES])
def test_what_a_period_would_come_to_is_bounded(line: str, field: str, message: str) -> None:
    (problem,) = load(f"{GOOD}{line}\n{RATES}").problems
    assert (problem.file, problem.row, problem.field) == (FILE, 8, field)
    assert message in problem.message
    assert 10 < len(problem.value) <= 80


def test_an_indexation_may_not_compound_beyond_all_bounds() -> None:
    steps = [{"from": f"2026-02-{n + 1:02d}", "percent": 1000} for n in range(20)]
    fee = {"fee": "a", "title": "A", "price": 100, "from": "2026-01-01", "price_decimals": 2}
    (problem,) = loaded([form(rates=[], recurring=[{**fee, "indexation": steps}])]).problems
    assert (problem.row, problem.field) == (1, "recurring.0")
    assert "from 2026-02-13 1 x 3,452,271,214,393,100 comes to" in problem.message
    suspended = {"quantities": [{"from": "2026-01-02", "quantity": 0}], "indexation": steps}
    assert loaded([form(rates=[], recurring=[{**fee, **suspended}])]).problems
    reference(form(rates=[], recurring=[{**fee, "indexation": steps[:12]}]))


def test_the_volume_of_a_deal_is_bounded_by_what_its_shortfall_would_cost() -> None:
    deal = {
        "deal": "D", "partner": "P01", "from": "2026-01-01", "to": "2027-01-01",
        "received": {"agreement": "A", "quantity": 10**12, "price": 1, "shortfall_price": 1001},
    }  # fmt: skip
    result = load(GOOD + RATES, more={"deals/D.yaml": json.dumps(deal).encode()})
    (problem,) = result.problems
    assert (problem.file, problem.row, problem.field) == ("deals/D.yaml", 1, "received")
    assert "1,000,000,000,000 x 1,001 comes to more than" in problem.message


def test_a_decimal_written_as_a_yaml_number_is_exact_and_no_float() -> None:
    text = (
        f"{GOOD}rates:\n  - {{code: 44, rate: 0.1}}\n  - {{code: 33, rate: 12345678.0123456789}}\n"
    )
    result = load(text)
    assert [p.field for p in result.problems] == ["rates.1.rate"]
    rows = load(text.replace("12345678.", "123456.")).reference.agreements[0].deck.rows
    assert rows.sort("code")["price_e10"].to_list() == [1234560123456789, 10**9]


def test_the_same_code_twice_is_refused_only_for_one_instant_origin_and_band() -> None:
    row = {"code": 44, "rate": "1"}
    fine = [row, {**row, "from": "2026-03-01"}, {**row, "code": "441-443"}]
    reference(form(rates=fine))
    result = loaded([form(rates=[*fine, {**row, "code": "440-443"}])])
    assert {(p.field, p.value) for p in result.problems} == {
        ("code", "441"), ("code", "442"), ("code", "443"),
    }  # fmt: skip


def test_a_key_that_stands_twice_is_refused_because_yaml_would_keep_the_last() -> None:
    result = load(f"{GOOD}zone: Europe/Lisbon\n{RATES}")
    assert told(result.problems) == [(FILE, 8, "key", "zone")]


def test_a_merge_of_a_shared_mapping_is_no_repeated_key() -> None:
    text = f"{GOOD}rates:\n  - &base {{code: 44, rate: 1}}\n  - {{<<: *base, code: 33}}\n"
    result = load(text)
    assert result.problems == ()
    assert result.reference.agreements[0].deck.rows.height == 2


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"a: [1", b"a: b: c", b"- just\n- a list", b"", b"[" * 5000, b"a: &a [*a]",
     b"a: !!python/object:os.system x"],
)  # fmt: skip
def test_a_file_that_is_no_agreement_is_told_and_the_rest_loads(text: bytes) -> None:
    good = reference(form("B", rates=[{"code": 44, "rate": "1"}]))
    files = {
        "carrier.yaml": json.dumps(CARRIER).encode(),
        "partners/P01.yaml": json.dumps(partner()).encode(),
        "agreements/A.yaml": text,
        "agreements/B-1.yaml": json.dumps(form("B", rates=[{"code": 44, "rate": "1"}])).encode(),
    }
    result = load_reference(files)
    assert {p.file for p in result.problems} == {"agreements/A.yaml"}
    assert [a.terms.key for a in result.reference.agreements] == ["B@1"]
    assert result.reference.agreements[0].deck.rows.equals(good.agreements[0].deck.rows)


@pytest.mark.parametrize(
    "value",
    ["!!float abc", "!!float 1.5", "!!int abc", "!!bool maybe", "!!null x", "!!timestamp foo",
     "!!timestamp 2026-02-30", "!!binary '%'", "!!set {a}", "!!omap [a: 1]", "!!map 1", "!!str [1]",
     "{? !!int abc : 1}", '"\\UFFFFFFFF"', '"\\U00110000"', '"\\ud800"'],
)  # fmt: skip
def test_a_tag_that_does_not_fit_and_an_escape_of_no_character_are_told_with_their_line(
    value: str,
) -> None:
    (problem,) = load(f"{GOOD}title: {value}\n{RATES}").problems
    assert (problem.file, problem.row) == (FILE, 8)
    assert problem.message.startswith("is not YAML: ")


def test_tags_that_say_what_stands_there_are_read() -> None:
    terms = load(f"{GOOD}title: !!str 5\nversion: !!int 2\nreverse: !!bool true\n{RATES}")
    assert terms.problems == ()
    (one,) = terms.reference.agreements
    assert (one.terms.title, one.terms.version, one.terms.reverse) == ("5", 2, True)


def test_aliases_cannot_blow_a_file_up() -> None:
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    result = load("\n".join(levels))
    assert result.problems


def test_two_agreements_for_one_account_leg_and_service_at_one_time_are_refused() -> None:
    one, two = form("A", rates=[]), form("B", rates=[], **{"from": "2026-06-01"})
    result = loaded([one, two])
    assert told(result.problems) == [("agreements/B-1.yaml", None, "agreement", "B@1")]
    assert [a.terms.key for a in result.reference.agreements] == ["A@1"]
    reference({**one, "to": "2026-06-01"}, two)
    reference(one, {**two, "service": "sms"})


def test_versions_follow_each_other_and_none_may_stand_twice() -> None:
    second = {**form("A", rates=[], **{"from": "2026-03-01"}), "version": 2}
    both = reference(form("A", rates=[]), second)
    assert [(a.terms.key, str(a.end)[:10]) for a in both.agreements] == [
        ("A@1", "2026-03-01"), ("A@2", "9999-01-01"),
    ]  # fmt: skip
    late = {**second, "from": "2025-12-01"}
    (problem,) = loaded([form("A", rates=[]), late]).problems
    assert problem == Problem(
        "version 2 in agreements/A-2.yaml begins on 2025-12-01, not after version 1",
        "agreements/A-1.yaml", 1, "from", "2026-01-01",
    )  # fmt: skip


def test_one_version_in_two_files_is_refused() -> None:
    result = load(GOOD + RATES, more={"agreements/copy.yaml": (GOOD + RATES).encode()})
    assert "version 1 stands in agreements/copy.yaml too" in [p.message for p in result.problems]


def test_a_trunk_may_belong_to_one_account_at_a_time() -> None:
    trunk = {"trunk": "sw/T"}
    both = [partner(n, [{"account": f"{n}-A", "trunks": [trunk]}]) for n in ("P01", "P02")]
    result = loaded([], partners=both)
    assert [(p.field, p.value) for p in result.problems] == [("trunk", "sw/T")]
    assert set(result.reference.partners) == {"P01"}
    apart = [
        partner("P01", [{"account": "P01-A", "trunks": [{**trunk, "to": "2026-03-01"}]}]),
        partner("P02", [{"account": "P02-A", "trunks": [{**trunk, "from": "2026-03-01"}]}]),
    ]
    assert loaded([], partners=apart).problems == ()


def test_the_last_good_version_stays_in_force_and_the_rest_loads() -> None:
    def files(a: str, b: str, sheet: str) -> dict[str, bytes]:
        return {
            "carrier.yaml": json.dumps(CARRIER).encode(),
            "partners/P01.yaml": json.dumps(partner()).encode(),
            "agreements/A-1.yaml": json.dumps(form("A", rates=[{"code": 44, "rate": a}])).encode(),
            "agreements/B-1.yaml": json.dumps(
                form("B", service="sms", rates=[{"code": 44, "rate": b}])
            ).encode(),
            "agreements/C-1.yaml": json.dumps(
                form("C", service="data", sheets=[{"file": "../sheets/c.csv"}])
            ).encode(),
            "sheets/c.csv": f"code,rate\n44,{sheet}\n".encode(),
        }

    good = files("0.1", "0.1", "0.1")
    result = load_reference(files("-1", "0.2", "oops"), good)
    assert {(p.file, p.row) for p in result.problems} == {
        ("agreements/A-1.yaml", 1), ("sheets/c.csv", 2),
    }  # fmt: skip
    prices = {
        a.terms.agreement: a.deck.rows["price_e10"].to_list() for a in result.reference.agreements
    }
    assert prices == {"A": [10**9], "B": [2 * 10**9], "C": [10**9]}
    assert result.in_force["sheets/c.csv"] == good["sheets/c.csv"]


def test_an_agreement_that_never_was_good_is_left_out() -> None:
    bad = form("A", rates=[{"code": 44, "rate": "-1"}])
    result = loaded([bad, form("B", service="sms", rates=[{"code": 44, "rate": "1"}])])
    assert [a.terms.key for a in result.reference.agreements] == ["B@1"]


def test_without_a_carrier_nothing_can_be_billed() -> None:
    with pytest.raises(InputError, match=r"carrier\.yaml"):
        load_reference({"partners/P01.yaml": json.dumps(partner()).encode()})


def test_fixings_are_checked_row_by_row() -> None:
    text = (
        b"source,date,base,currency,units_per_base\n"
        b"ECB,2026-02-30,EUR,USD,1.08\nECB,2026-03-31,EUR,USD,0\n"
    )
    result = load(GOOD + RATES, more={"fixings.csv": text})
    assert told(result.problems) == [
        ("fixings.csv", 2, "date", "2026-02-30"),
        ("fixings.csv", 3, "units_per_base", "0"),
    ]


def test_a_calendar_may_not_hold_what_is_no_day() -> None:
    calendars = json.dumps({"es": {"weekend": ["fri"], "holidays": [20260310]}}).encode()
    result = load(GOOD + RATES, more={"calendars.yaml": calendars})
    assert told(result.problems)[0] == ("calendars.yaml", 1, "es.holidays.0", "20260310")


def test_a_validity_for_ever_may_be_written_as_the_last_second_of_the_calendar() -> None:
    rates = [{"code": 44, "rate": "1", "to": "9999-12-31T23:59:59"}]
    data = reference(form(zone="America/New_York", rates=rates, to="9999-12-31T23:59:59"))
    assert data.agreements[0].deck.rows["valid_to"][0].year == 9999


def test_a_moment_with_an_offset_keeps_it_and_one_without_is_local() -> None:
    rates = [
        {"code": 44, "rate": "1", "from": "2026-03-10T00:00:00+02:00"},
        {"code": 33, "rate": "1", "from": "2026-03-10T00:00:00"},
        {"code": 49, "rate": "1", "from": "2026-03-10"},
    ]
    rows = reference(form(zone="America/New_York", rates=rates)).agreements[0].deck.rows
    assert {code: str(at) for code, at in rows.select("code", "valid_from").iter_rows()} == {
        44: "2026-03-09 22:00:00+00:00",
        33: "2026-03-10 04:00:00+00:00",
        49: "2026-03-10 04:00:00+00:00",
    }
