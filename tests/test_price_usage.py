"""`icb price`: which agreement prices which record, what usage may say, and what is refused."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from billing_assets.cli.price import price
from billing_assets.core.errors import BillingError, InputError
from billing_assets.rating.usage_file import read_usage
from tests.support.intake import line, only, parse, source_of, table
from tests.support.pricing import priced
from tests.support.references import agreement

RATES = [{"code": 44, "rate": "0.01"}]
CALL = {"start": "2026-03-10T12:00:00Z", "duration_s": 60, "b_number": "447400123456"}


def read(text: str, *services: str, zone: str = "UTC"):
    return read_usage(text.encode(), "u.csv", services=services or ("voice",), zone=zone)


def refused(text: str, *services: str) -> list[tuple[int | None, str, str, str]]:
    with pytest.raises(InputError) as caught:
        read(text, *services)
    return [(p.row, p.field, p.value, p.message) for p in caught.value.problems]


# which agreement prices which record


def test_every_agreement_of_the_service_prices_a_record(tmp_path: Path) -> None:
    offers = [
        {"rates": RATES},
        {"rates": [{"code": 44, "rate": "0.02"}]},
        {"leg": "supplier", "rates": [{"code": 44, "rate": "0.005"}]},
        {"service": "sms", "rates": RATES},
    ]
    result = priced(tmp_path, offers, [{**CALL, "service": "voice"}])
    assert [(leg["leg"], leg["agreement"], str(leg["amount"])) for leg in result["legs"]] == [
        ("customer", "A@1", "0.010000"),
        ("customer", "B@1", "0.020000"),
        ("supplier", "C@1", "0.005000"),
    ]


def test_trunks_that_name_accounts_narrow_a_record_to_their_agreements(tmp_path: Path) -> None:
    offers = [
        {"rates": RATES},
        {"partner": "P02", "accounts": ["P02-A"], "rates": RATES},
        {"partner": "P03", "accounts": ["P03-A"], "leg": "supplier", "rates": RATES},
    ]
    trunks = [("P01-A", "P03-A"), ("sw/P02-A", None), ("sw/NEW", "sw/NEW"), (None, "sw1/P03-A")]
    usage = [{**CALL, "in_trunk": a, "out_trunk": b} for a, b in trunks]
    result = priced(tmp_path, offers, usage)
    assert [
        (leg["line"], leg["leg"], leg["agreement"], leg["reason"]) for leg in result["legs"]
    ] == [
        (1, "customer", "A@1", ""),
        (1, "supplier", "C@1", ""),
        (2, "customer", "B@1", ""),
        (3, "customer", "", "UNKNOWN_TRUNK"),
        (3, "supplier", "", "UNKNOWN_TRUNK"),
        (4, "supplier", "C@1", ""),
    ]
    assert result["notes"] == []


def test_trunks_that_name_no_account_are_noted_and_passed_over(tmp_path: Path) -> None:
    result = priced(tmp_path, [{"rates": RATES}], [{**CALL, "in_trunk": "sw1/TG7"}])
    assert [leg["reason"] for leg in result["legs"]] == [""]
    assert result["notes"] == [
        "in_trunk names no account of the agreements: every customer agreement prices every "
        "record of its service"
    ]


def test_a_record_of_another_service_is_not_lost(tmp_path: Path) -> None:
    usage = [{**CALL, "service": "voice"}, {**CALL, "service": "sms"}]
    result = priced(tmp_path, [{"rates": RATES}], usage)
    assert [(leg["line"], leg["leg"], leg["reason"]) for leg in result["legs"]] == [
        (1, "customer", ""),
        (2, "", "NO_AGREEMENT"),
    ]
    assert result["totals"][0] == {
        "leg": "", "currency": "", "priced": 0, "unpriced": 1, "amount": None,
    }  # fmt: skip


def test_reasons_stand_where_there_is_no_price(tmp_path: Path) -> None:
    offer = {
        "to": "2026-03-11",
        "rates": [*RATES, {"code": 4470, "status": "blocked"}],
    }
    usage = [
        CALL,
        {**CALL, "start": "2026-03-11T00:00:00Z"},
        {**CALL, "b_number": "331234"},
        {**CALL, "b_number": "447012345678"},
        {**CALL, "b_number": "unknown"},
        {**CALL, "b_number": None},
        {**CALL, "duration_s": 30 * 86400 + 1},
    ]
    result = priced(tmp_path, [offer], usage)
    assert [leg["reason"] for leg in result["legs"]] == [
        "", "NO_AGREEMENT", "NO_RATE", "BLOCKED_CODE", "INVALID_NUMBER", "INVALID_NUMBER",
        "OUT_OF_RANGE",
    ]  # fmt: skip
    assert all(leg["amount"] is None for leg in result["legs"][1:])
    assert [str(charge["amount"]) for charge in result["charges"]] == ["0.01"]


def test_versions_of_an_agreement_price_their_own_time(tmp_path: Path) -> None:
    first = {"agreement": "X", "rates": RATES}
    second = {
        **first, "version": 2, "from": "2026-03-10T12:00:30",
        "rates": [{"code": 44, "rate": "0.02"}],
    }  # fmt: skip
    usage = [CALL, {**CALL, "start": "2026-03-10T12:00:30Z"}]
    result = priced(tmp_path, [first, second], usage)
    assert [leg["agreement"] for leg in result["legs"]] == ["X@1", "X@2"]
    assert {charge["cycle"] for charge in result["charges"]} == {"X/2026-03"}


def test_records_stand_for_many_and_money_stays_exact(tmp_path: Path) -> None:
    offer = {"rates": [{"code": 44, "rate": "0.0035"}]}
    result = priced(tmp_path, [offer], [{**CALL, "duration_s": 95, "records": 30000}])
    (leg,), (charge,) = result["legs"], result["charges"]
    # 95/60 x 0.0035 = 0.00554166..., rounded a record; 30,000 of them
    assert (str(leg["amount"]), str(leg["total"])) == ("0.005542", "166.260000")
    assert (charge["records"], str(charge["amount"])) == (30000, "166.26")


def test_a_month_bills_earlier_usage_as_of_a_prior_period(tmp_path: Path) -> None:
    usage = [{**CALL, "start": f"2026-0{month}-10T12:00:00Z"} for month in (1, 2, 3)]
    result = priced(tmp_path, [{"rates": RATES}], usage, month="2026-02")
    assert [(c["cycle"], c["section"], c["records"]) for c in result["charges"]] == [
        ("A/2026-02", "usage", 1),
        ("A/2026-02", "prior_period", 1),
    ]
    apart = priced(tmp_path, [{"rates": RATES}], usage)
    assert [c["cycle"] for c in apart["charges"]] == ["A/2026-01", "A/2026-02", "A/2026-03"]


def test_stamps_without_an_offset_are_of_the_zone_given(tmp_path: Path) -> None:
    bands = {"windows": [{"band": "day", "from": "08:00", "to": "20:00"}], "otherwise": "night"}
    offer = {"zone": "Asia/Riyadh", "bands": bands, "rates": RATES}
    call = {**CALL, "start": "2026-03-10T19:59:59"}
    assert [leg["band"] for leg in priced(tmp_path, [offer], [call])["legs"]] == ["night"]
    local = priced(tmp_path, [offer], [call], zone="Asia/Riyadh")
    assert [leg["band"] for leg in local["legs"]] == ["day"]


def test_calendars_are_found_beside_and_above_and_must_agree(tmp_path: Path) -> None:
    bands = {
        "calendar": "c", "windows": [{"band": "feast", "days": ["holiday"]},
                                     {"band": "plain", "days": ["weekday", "weekend"]}],
    }  # fmt: skip
    offer = {"bands": bands, "rates": RATES}
    deep = tmp_path / "agreements"
    deep.mkdir()
    (tmp_path / "calendars.yaml").write_text("c: {holidays: [2026-03-10]}")
    assert [leg["band"] for leg in priced(deep, [offer], [CALL])["legs"]] == ["feast"]
    beside = priced(deep, [offer], [CALL], calendars={"c": {"holidays": []}})
    assert [leg["band"] for leg in beside["legs"]] == ["plain"]


# what a usage file may say


def test_csv_and_json_lines_say_the_same() -> None:
    table = read(
        "Start,duration_s,b_number,answered\n2026-03-10T12:00:00Z,1.5,+44 7400-123456,yes\n"
    )
    lines = read(
        '{"start": "2026-03-10 12:00:00+00:00", "duration_s": 1.5, "b_number": 447400123456, '
        '"answered": true}\n'
    )
    array = read(
        '[{"start":"2026-03-10T12:00:00Z","duration_ms":1500,"b_number":"00447400123456"}]'
    )
    other = [frame.drop("line", "record_id") for frame in (table, lines, array)]
    assert other[0].equals(other[1]) and other[0].equals(other[2])
    assert table["duration_ms"].to_list() == [1500]
    assert table["b_number"].to_list() == [447400123456]


def test_a_duration_comes_from_the_stamps_where_none_is_written() -> None:
    frame = read(
        "setup_time,answer_time,end_time,b_number\n"
        "2026-03-10T12:00:00.100Z,2026-03-10T12:00:01.200Z,2026-03-10T12:00:02.345Z,44\n"
        "2026-03-10T12:00:00Z,,,44\n"
    )
    assert frame["duration_ms"].to_list() == [1145, 0]
    assert frame["answered"].to_list() == [True, False]


def test_numbers_that_are_none_have_their_kind() -> None:
    callers = ["351912345678", "123", "anonymous", "", "ACME", "0351"]
    rows = "".join(f"2026-03-10T12:00:00Z,1,44,{a}\n" for a in callers)
    frame = read(f"start,duration_s,b_number,a_number\n{rows}")
    assert frame["a_kind"].to_list() == [
        "number", "invalid", "anonymous", "missing", "alpha", "invalid",
    ]  # fmt: skip


def test_messages_without_a_state_are_delivered_ones_unless_the_file_tells_states() -> None:
    rows = "start,b_number\n2026-03-10T12:00:00Z,44\n"
    assert read(rows, "sms")["status"].to_list() == ["DELIVRD"]
    told = "start,b_number,status\n2026-03-10T12:00:00Z,44,\n2026-03-10T12:00:00Z,44,UNDELIV\n"
    assert read(told, "sms")["status"].to_list() == [None, "UNDELIV"]


@pytest.mark.parametrize("state", ["delivrd", "DELIVERED", "Delivered", "DELIVRD"])
def test_a_delivered_message_is_charged_however_its_state_is_written(
    tmp_path: Path, state: str
) -> None:
    offer = {"service": "sms", "rates": RATES}
    message = {"start": STAMP, "b_number": "447400123456", "quantity": 1}
    usage = [{**message, "status": state}, {**message, "status": "undeliv"}]
    legs = priced(tmp_path, [offer], usage)["legs"]
    assert [(leg["pricing"], str(leg["amount"])) for leg in legs] == [
        ("priced", "0.010000"),
        ("not_chargeable", "0.000000"),
    ]


def test_states_of_messages_tell_which_are_answered_and_other_services_keep_theirs() -> None:
    rows = [("sms", "delivered"), ("sms", "undeliv"), ("sms", ""), ("event", "delivered")]
    text = "".join(f"{STAMP},{service},{state}\n" for service, state in rows)
    frame = read(f"start,service,status\n{text}", "sms", "event")
    assert frame["status"].to_list() == ["DELIVRD", "UNDELIV", None, "delivered"]
    assert frame["answered"].to_list() == [True, False, True, True]


def test_a_number_with_a_decimal_fraction_has_no_price(tmp_path: Path) -> None:
    offer = {"rates": [*RATES, {"code": 112, "rate": "0.01"}]}
    usage = [{**CALL, "b_number": number} for number in ("112", 112.0, "+\u00a044 74\u00a000 1")]
    legs = priced(tmp_path, [offer], usage)["legs"]
    assert [(leg["code"], leg["reason"]) for leg in legs] == [
        ("112", ""),
        ("", "INVALID_NUMBER"),
        ("44", ""),
    ]


def test_legs_of_events_show_the_type_as_their_code(tmp_path: Path) -> None:
    offer = {
        "service": "event", "match": "event_type",
        "rates": [{"code": "hlr_lookup", "destination": "HLR", "rate": "0.002"}],
    }  # fmt: skip
    usage = [{"start": STAMP, "event_type": kind} for kind in ("hlr_lookup", "fax")]
    legs = priced(tmp_path, [offer], usage)["legs"]
    assert [(leg["code"], leg["reason"]) for leg in legs] == [
        ("hlr_lookup", ""),
        ("", "NO_RATE"),
    ]


# clock changes: Madrid's go from 02:00 to 03:00 on 29 March 2026, from 03:00 back to 02:00 on
# 25 October

MADRID = "Europe/Madrid"
TIMES = ("setup_time", "answer_time", "end_time")


@pytest.mark.parametrize(
    ("clock", "duration", "answered"),
    [
        ((None, "02:50:00", "03:10:00"), 1200, "01:50:00"),
        ((None, "02:50:00", "03:10:00"), 4800, "00:50:00"),
        ((None, "02:50:00", "03:10:00"), None, "00:50:00"),
        ((None, "02:50:00", "02:10:00"), None, "00:50:00"),
        ((None, "02:50:00", None), 60, "00:50:00"),
        (("02:55:00", "02:05:00", None), 60, "01:05:00"),
        (("02:55:00", "02:05:00", "02:15:00"), 600, "01:05:00"),
        (("01:59:55", "02:05:00", "02:15:00"), 600, "00:05:00"),
    ],
)
def test_a_repeated_hour_is_read_as_intake_reads_it(
    clock: tuple[str | None, ...], duration: int | None, answered: str
) -> None:
    stamps = [f"2026-10-25 {time}" if time else "" for time in clock]
    cells = ",".join([*stamps, "44", str(duration or "")])
    (row,) = read(f"{','.join(TIMES)},b_number,duration_s\n{cells}\n", zone=MADRID).rows(named=True)
    assert row["answer_time"] == datetime.fromisoformat(f"2026-10-25T{answered}Z")
    assert row["setup_time"] <= row["answer_time"] <= row["end_time"]
    milliseconds = str(duration * 1000) if duration else ""
    same = line(**dict(zip(TIMES, stamps, strict=True)), duration_ms=milliseconds)
    landed = only(parse(table(same), source_of(zone=MADRID)).landed)
    assert {name: landed[name] for name in TIMES} == {name: row[name] for name in TIMES}


@pytest.mark.parametrize(
    ("stamp", "message"),
    [
        ("2026-03-29 02:30:00", "is skipped by Europe/Madrid: clocks go forward"),
        ("2026-03-29 25:30:00", "is not a time such as 2026-03-10T12:00:00Z"),
    ],
)
def test_a_time_that_the_zone_skips_is_refused_as_such(stamp: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(f"{HEAD}\n{GOOD}\n{stamp},60,44\n", zone=MADRID)
    (problem,) = caught.value.problems
    assert (problem.row, problem.field, problem.value) == (3, "start", stamp)
    assert problem.message == message


HEAD = "start,duration_s,b_number"
GOOD = "2026-03-10T12:00:00Z,60,44"

STAMP = "2026-03-10T12:00:00Z"
SETUP = "setup_time,duration_s,b_number"

BAD = [
    (f"{HEAD},prize\n{GOOD},1\n", (1, "column", "prize", "is not a column of usage")),
    (f"{HEAD},b_number\n{GOOD},1\n", (1, "column", "b_number", "stands twice")),
    (f"{HEAD},duration_ms\n{GOOD},1\n", (1, "column", "", "give duration_s or duration_ms")),
    (f"{HEAD}\n{GOOD},1\n", (2, "", f"{GOOD},1", "has 4 columns, the header 3")),
    (f'{HEAD}\n{STAMP},60,4"4\n', (2, "", f'{STAMP},60,4"4', "has quotes that do not enclose")),
    (f'{HEAD}\n"{STAMP},60,44\n', (2, "", f'"{STAMP},60,44', "has quotes that do not enclose")),
    (f"{HEAD}\n", (None, "", "", "holds no record")),
    (f"{HEAD}\n{GOOD}\n2026-03-10T25Z,60,44\n", (3, "start", "2026-03-10T25Z", "is not a time")),
    (f"{HEAD}\n,60,44\n", (2, "start", "", "is missing: a record needs its time")),
    (f"{HEAD}\n{STAMP},,44\n", (2, "duration_s", "", "is missing: give duration_s")),
    (f"{HEAD}\n{STAMP},-1,44\n", (2, "duration_s", "-1", "is not a duration")),
    (f"{HEAD}\n{STAMP},1.0001,44\n", (2, "duration_s", "1.0001", "at most three decimals")),
    (f"{HEAD},records\n{GOOD},0\n", (2, "records", "0", "is not a count")),
    (f"{HEAD},answered\n{GOOD},maybe\n", (2, "answered", "maybe", "is not yes or no")),
    (f"{HEAD},service\n{GOOD},fax\n", (2, "service", "fax", "is not voice, sms, data, event")),
    (f"{HEAD},serving_network\n{GOOD},2680\n", (2, "serving_network", "2680", "MCC and MNC")),
    (f"{HEAD},serving_network\n{GOOD},00101\n", (2, "serving_network", "00101", "begins with 0")),
    (f"{HEAD},routing_number\n{GOOD},07900123456\n",
     (2, "routing_number", "07900123456", "begins with 0: a routing number is in international")),
    (f"{HEAD},routing_number\n{GOOD},+447900123456\n",
     (2, "routing_number", "+447900123456", "digits alone: a routing number is in international")),
    (f"{HEAD},routing_number\n{GOOD},44 7900 123456\n",
     (2, "routing_number", "44 7900 123456", "without + or blanks")),
    (f"{HEAD},setup_time\n{GOOD},2026-03-10T12:00:01Z\n",
     (2, "setup_time", "2026-03-10T12:00:01Z", "is after the call was answered")),
    (f"answer_time,duration_s,b_number,setup_time\n{GOOD},2026-03-10T13:00:00+00:30\n",
     (2, "setup_time", "2026-03-10T13:00:00+00:30", "is after the call was answered")),
    (f"{HEAD},setup_time,answered\n{GOOD},2026-03-10T12:00:01Z,no\n",
     (2, "setup_time", "2026-03-10T12:00:01Z", "is after its start")),
    (f"{HEAD},setup_time,service\n{GOOD},2026-03-10T12:00:01Z,event\n",
     (2, "setup_time", "2026-03-10T12:00:01Z", "is after its start")),
    (f"setup_time,end_time,b_number\n{STAMP},2026-03-10T11:59:59Z,44\n",
     (2, "setup_time", STAMP, "is after its end")),
    (f"{HEAD},part\n{GOOD},1\n", (2, "call_id", "", "is missing from a part of a call")),
    (f"{HEAD},part,call_id\n{GOOD},1,c\n{GOOD},3,c\n", (2, "call_id", "c", "not parts 1 to n")),
    (f"{SETUP}\n{GOOD}\n", (2, "answer_time", "", "but it has a duration")),
    (f"{SETUP},answered\n{GOOD},yes\n", (2, "answer_time", "", "missing from an answered call")),
    (f"{HEAD},end_time\n{GOOD},2026-03-10T11:00Z\n", (2, "end_time", "2026-03-10T11:00Z", "time")),
    (f"{HEAD},end_time\n{GOOD},2026-03-10T11:00:00Z\n",
     (2, "end_time", "2026-03-10T11:00:00Z", "is before the record begins")),
    (f"{HEAD},part,call_id\n{GOOD},x,c\n", (2, "part", "x", "is not a whole number")),
    (f"{HEAD},quantity\n{GOOD},{10**15}\n", (2, "quantity", f"{10**15}", "more than 15 digits")),
    ('{"start": 1', (1, "", "", "is not JSON")),
    (f'{{"start": "{STAMP}"}}\n\n{{"start":\n', (3, "", "", "is not JSON")),
    (f'[{{"start": "{STAMP}"}},\n{{"start": 1}},\n{{"start"}}]', (3, "", "", "is not JSON")),
    ('{}\n{"b_number": 44, "b_number": 33}', (2, "column", "b_number", "stands twice")),
    ('[{}, {"b_number": 44, "b_number": 33}]', (2, "column", "b_number", "stands twice")),
    ('{}\n{"b_number": [44]}', (2, "b_number", "[...]", "is a list, not one value")),
    ('[{}, {"b_number": {"e164": 44}}]', (2, "b_number", "{...}", "is an object, not one value")),
    ('{}\n{"b_number": "4\\ud800"}', (2, "b_number", "4\ud800", "half of a surrogate pair")),
    ("\n" + "[" * 100_000, (2, "", "", "is nested too deeply")),
    ('{}\n{"b_number": ' + "[" * 100_000, (2, "", "", "is nested too deeply")),
    ('{"start": "2026-03-10T12:00:00Z", "cost": 1}', (1, "column", "cost", "is not a column")),
    ('["start"]', (1, "", "", "is not a JSON object")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), BAD, ids=[text[:80] for text, _ in BAD])
def test_a_cell_that_cannot_be_read_is_named(text: str, problem: tuple) -> None:
    row, field, value, message = refused(text)[0]
    assert (row, field, value) == problem[:3]
    assert problem[3] in message


def test_integers_of_any_length_are_read_as_they_are_written() -> None:
    digits = "9" * 5000
    line = f'{{"start": "{STAMP}", "duration_ms": {digits}}}'
    assert refused(f"{line}\n") == [(1, "duration_ms", digits, "has more than 15 digits")]
    (row,) = read(f'{{"start": "{STAMP}", "duration_s": 1, "a_number": {digits}}}').rows(named=True)
    assert (row["a_number"], row["a_kind"]) == (None, "invalid")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "stamp",
    [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59",
        "9999-12-31T23:59:59-01:00",
        "2262-01-01T00:00:00Z",
        "1970-01-01T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00",
        "0000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "+99999-01-01T00:00:00Z",
    ],
)
def test_a_stamp_at_the_ends_of_the_calendar_is_refused(stamp: str, zone: str) -> None:
    text = f"setup_time,duration_s,b_number,end_time\n{STAMP},0,44,\n{{}},0,44,{{}}\n"
    for cells, field in (((stamp, ""), "setup_time"), ((STAMP, stamp), "end_time")):
        with pytest.raises(InputError) as caught:
            read(text.format(*cells), zone=zone)
        problem = caught.value.problems[0]
        assert (problem.row, problem.field, problem.value) == (3, field, stamp)
        assert problem.message == "is outside 1970-01-02 to 2261-12-31"


@pytest.mark.parametrize("terms", [{}, {"event_time": "end"}, {"crossing": "split"}])
def test_the_first_and_the_last_stamps_are_priced(tmp_path: Path, terms: dict) -> None:
    ends = {"start": "1970-01-02T00:00:00Z"}, {"start": "2261-12-31T23:58:59Z"}
    offer = {"from": "1969-01-01", "zone": "Asia/Tokyo", "rates": RATES, **terms}
    result = priced(tmp_path, [offer], [{**CALL, **one} for one in ends])
    assert [str(leg["amount"]) for leg in result["legs"]] == ["0.010000", "0.010000"]


@pytest.mark.parametrize(
    ("column", "value"), [("duration_ms", 10**15 - 1), ("duration_s", "999999999.999")]
)
def test_a_record_must_end_inside_the_calendar_too(column: str, value: object) -> None:
    start = "2261-01-01T00:00:00Z"
    found = refused(f"start,b_number,quantity,{column}\n{start},44,1,{value}\n", "data")
    message = "ends the record outside 1970-01-02 to 2261-12-31"
    assert found == [(2, column, str(value), message)]


@pytest.mark.parametrize(
    ("service", "column", "value", "records", "unit"),
    [
        ("data", "quantity", "1000002", 999_999_999, ""),
        ("sms", "text_length", "999999999", 999_999_999, ""),
        ("voice", "duration_ms", "2592000000", 400_000, " ms"),
        ("voice", "duration_s", "2592000", 400_000, " ms"),
        ("voice", "end_time", "2026-04-10T12:00:00Z", 400_000, " ms"),
    ],
)
def test_a_row_that_counts_too_much_with_its_records_is_refused(
    service: str, column: str, value: str, records: int, unit: str
) -> None:
    text = f"start,encoding,{column},records\n{STAMP},GSM7,{value},{{}}\n"
    assert read(text.format(1), service)["line"].to_list() == [2]
    message = f"is more than 10^15{unit} with its records and parts"
    assert refused(text.format(records), service) == [(2, column, value, message)]


def test_the_parts_of_a_call_may_not_count_too_much_together() -> None:
    rows = "".join(f"{STAMP},{10**15 - 1},c,{part}\n" for part in range(1, 10_001))
    found = refused(f"start,quantity,call_id,part\n{rows}", "data")
    message = "is more than 10^15 with its records and parts"
    assert found == [(2, "quantity", str(10**15 - 1), message)]


# parts of a call

PART = {
    "service": "voice", "start": STAMP, "duration_s": 60, "a_number": "+44 7400 000001",
    "b_number": "+447400123456", "in_trunk": "P01-A", "out_trunk": "P02-A", "switch": "sw1",
    "records": 2, "call_id": "c",
}  # fmt: skip


def parts(*rows: dict) -> str:
    """Parts 1 to n of call c as JSON lines: `PART` with the changes of each."""
    lines = [json.dumps({**PART, "part": n, **row}) for n, row in enumerate(rows, start=1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("field", "value", "of_first"),
    [
        ("service", "sms", "voice"),
        ("a_number", "447400000002", "+44 7400 000001"),
        ("a_number", "anonymous", "+44 7400 000001"),
        ("b_number", "447400123457", "+447400123456"),
        ("b_number", "", "+447400123456"),
        ("in_trunk", "P03-A", "P01-A"),
        ("out_trunk", "P03-A", "P02-A"),
        ("switch", "sw2", "sw1"),
        ("records", "3", "2"),
    ],
)
def test_parts_of_different_calls_are_not_put_together(
    field: str, value: str, of_first: str
) -> None:
    text = parts({}, {}, {field: value}, {field: value})
    assert refused(text) == [(3, field, value, f"is not that of part 1 ({of_first})")]


def test_each_call_is_told_of_once_and_an_empty_cell_is_another() -> None:
    text = "\n".join(
        [
            parts({"switch": None}, {"b_number": "44", "in_trunk": "P03-A", "switch": "sw2"}),
            parts({"call_id": "d", "a_number": ""}, {"call_id": "d"}),
            parts({"call_id": "e", "part": 2}),
        ]
    )
    assert refused(text) == [
        (2, "b_number", "44", "is not that of part 1 (+447400123456)"),
        (4, "a_number", "+44 7400 000001", "is not that of part 1 (empty)"),
        (5, "call_id", "e", "is not parts 1 to n, each once"),
    ]


@pytest.mark.parametrize(
    ("later", "field"),
    [
        ({"start": "2026-03-10T12:00:59Z"}, "start"),
        ({"start": None, "answer_time": "2026-03-10T12:00:59Z"}, "answer_time"),
        ({"start": None, "setup_time": "2026-03-10T12:00:59Z", "duration_s": None}, "setup_time"),
    ],
)
def test_parts_that_run_backwards_are_refused(later: dict, field: str) -> None:
    second = {"start": "2026-03-10T12:01:00Z"}
    found = refused(parts({}, second, later, later))
    assert found == [(3, field, "2026-03-10T12:00:59Z", "is before part 2 begins")]


def test_parts_may_stand_in_any_order_and_begin_together() -> None:
    later = {"start": "2026-03-10T12:01:00Z"}
    frame = read(parts({"part": 3, **later}, {"part": 2, **later}, {"part": 1}))
    assert (frame["parts"].item(), frame["duration_ms"].item()) == (3, 180_000)


def test_parts_may_write_what_they_share_in_different_ways() -> None:
    ways = {"a_number": "00447400000001", "b_number": 447400123456}
    told = {"switch": "usage", "records": 1}
    calls = parts({}, ways, {"part": "03"}) + "\n"
    calls += parts({"call_id": "d", **told}, {"call_id": "d", "switch": "", "records": None})
    frame = read(calls)
    assert frame["parts"].to_list() == [3, 2]
    assert frame["duration_ms"].to_list() == [180_000, 120_000]


def test_what_parts_measure_adds_up_from_the_first_answer() -> None:
    frame = read(parts({"service": "data", "quantity": 5}, {"service": "data", "quantity": 7}))
    assert frame["quantity"].to_list() == [12]
    later = "2026-03-10T12:00:09Z"
    ringing = {"start": None, "setup_time": STAMP, "duration_s": None}
    frame = read(parts(ringing, {"start": later}))
    (row,) = frame.rows(named=True)
    assert (row["answered"], row["duration_ms"], row["quantity"]) == (True, 60_000, None)
    assert row["answer_time"].isoformat() == "2026-03-10T12:00:09+00:00"


def test_a_call_has_as_many_parts_as_a_record_can_count() -> None:
    def call(number: int) -> str:
        rows = "".join(f"{GOOD},c,{part}\n" for part in range(1, number + 1))
        return f"{HEAD},call_id,part\n{rows}"

    assert read(call(32_767))["parts"].to_list() == [32_767]
    assert refused(call(33_000)) == [(2, "call_id", "c", "has more than 32,767 parts")]


def test_data_needs_bytes_and_messages_their_encoding() -> None:
    assert refused("start\n2026-03-10T12:00:00Z\n", "data")[0][:2] == (2, "quantity")
    text = "start,b_number,text_length,encoding\n2026-03-10T12:00:00Z,44,160,{}\n"
    assert refused(text.format(""), "sms")[0][:2] == (2, "encoding")
    assert refused(text.format("latin1"), "sms")[0][:3] == (2, "encoding", "latin1")


def test_a_service_must_be_named_when_the_agreements_have_several() -> None:
    assert refused(f"{HEAD}\n{GOOD}\n", "voice", "sms")[0][:2] == (2, "service")


# the command

app = typer.Typer()
app.command()(price)


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "a.yaml").write_text(json.dumps(agreement(rates=RATES)))
    (tmp_path / "u.csv").write_text(f"{HEAD}\n{GOOD}\n2026-03-10T12:00:00Z,60,331\n")
    return tmp_path / "a.yaml", tmp_path / "u.csv"


def test_the_command_prints_tables_for_people(files: tuple[Path, Path]) -> None:
    result = run("--agreement", files[0], "--usage", files[1])
    assert result.exit_code == 0
    assert "Legs" in result.stdout and "Charge lines" in result.stdout
    assert "NO_RATE" in result.stdout


def test_the_command_prints_one_json_document_with_exact_amounts(
    files: tuple[Path, Path],
) -> None:
    result = run("--agreement", files[0], "--usage", files[1], "--json")
    document = json.loads(result.stdout)
    assert [leg["amount"] for leg in document["legs"]] == ["0.010000", None]
    assert document["charges"][0]["steps"][0] == "1 records, 1 answered, 1 billed minutes"
    assert document["totals"] == [
        {"leg": "customer", "currency": "EUR", "priced": 1, "unpriced": 1, "amount": "0.01"}
    ]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--usage", "nowhere.csv", "cannot read nowhere.csv"),
        ("--agreement", "nowhere.yaml", "cannot be read"),
        ("--zone", "Mars/Base", "is not an IANA time zone"),
        ("--zone", "Europe", "is not an IANA time zone"),
        ("--zone", "x" * 300, "is not an IANA time zone"),
        ("--zone", "localtime", "is not an IANA time zone"),
        ("--month", "March", "is not a month"),
        ("--month", "9999-12", "month '9999-12' is outside 1970 to 2261"),
        ("--month", "0001-01", "month '0001-01' is outside 1970 to 2261"),
        ("--calendar", "nowhere.yaml", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_without_a_traceback(
    files: tuple[Path, Path], option: str, value: str, message: str
) -> None:
    result = run("--agreement", files[0], "--usage", files[1], option, value)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_wrong_agreement_is_named_by_the_path_that_was_given(files: tuple[Path, Path]) -> None:
    files[0].write_text("agreement: A\npartner: P01\nleg: customer\nfrom: 2026-01-01\n")
    result = run("--agreement", files[0], "--usage", files[1])
    assert result.exit_code == 2
    assert f"{files[0]}:1 accounts" in result.stderr.replace("\n", "")


def test_calendars_that_differ_must_be_chosen(tmp_path: Path) -> None:
    paths = []
    for name in ("x", "y"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "calendars.yaml").write_text(f"{name}: {{}}")
        (folder / "a.yaml").write_text(json.dumps(agreement(name, rates=RATES)))
        paths += ["--agreement", folder / "a.yaml"]
    (tmp_path / "u.csv").write_text(f"{HEAD}\n{GOOD}\n")
    result = run(*paths, "--usage", tmp_path / "u.csv")
    assert result.exit_code == 2
    assert "differs from that of another agreement" in " ".join(result.stderr.split())
    chosen = run(*paths, "--usage", tmp_path / "u.csv", "--calendar", tmp_path / "x/calendars.yaml")
    assert chosen.exit_code == 0


def test_an_empty_list_of_agreements_is_no_reference() -> None:
    from billing_assets.reference.standalone import standalone_reference  # noqa: PLC0415

    with pytest.raises(BillingError, match="cannot use the agreements"):
        standalone_reference([])


def test_sheets_are_found_relative_to_their_agreement(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    (tmp_path / "agreements").mkdir()
    (tmp_path / "sheets" / "s.csv").write_text("code,rate\n44,0.01\n")
    offer = {"sheets": [{"file": "../sheets/s.csv"}]}
    result = priced(tmp_path / "agreements", [offer], [CALL])
    assert result["legs"][0]["amount"] == Decimal("0.010000")
    with pytest.raises(InputError, match="does not exist"):
        priced(tmp_path / "agreements", [{"sheets": [{"file": "none.csv"}]}], [CALL])
