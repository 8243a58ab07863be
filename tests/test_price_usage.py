"""`icb price`: which agreement prices which record, what usage may say, and what is refused."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from billing_assets.cli.price import price
from billing_assets.core.errors import BillingError, InputError
from billing_assets.rating.usage_file import read_usage
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


HEAD = "start,duration_s,b_number"
GOOD = "2026-03-10T12:00:00Z,60,44"

STAMP = "2026-03-10T12:00:00Z"
SETUP = "setup_time,duration_s,b_number"

BAD = [
    (f"{HEAD},prize\n{GOOD},1\n", (1, "column", "prize", "is not a column of usage")),
    (f"{HEAD},b_number\n{GOOD},1\n", (1, "column", "b_number", "stands twice")),
    (f"{HEAD},duration_ms\n{GOOD},1\n", (1, "column", "", "give duration_s or duration_ms")),
    (f"{HEAD}\n{GOOD},1\n", (2, "", f"{GOOD},1", "has 4 columns, the header 3")),
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
    (f"{HEAD},part\n{GOOD},1\n", (2, "call_id", "", "is missing from a part of a call")),
    (f"{HEAD},part,call_id\n{GOOD},1,c\n{GOOD},3,c\n", (2, "call_id", "c", "not parts 1 to n")),
    (f"{SETUP}\n{GOOD}\n", (2, "answer_time", "", "but it has a duration")),
    (f"{SETUP},answered\n{GOOD},yes\n", (2, "answer_time", "", "missing from an answered call")),
    (f"{HEAD},end_time\n{GOOD},2026-03-10T11:00Z\n", (2, "end_time", "2026-03-10T11:00Z", "time")),
    (f"{HEAD},end_time\n{GOOD},2026-03-10T11:00:00Z\n",
     (2, "end_time", "2026-03-10T11:00:00Z", "is before the record begins")),
    ('{"start": 1', (1, "", "", "is not JSON")),
    ('{"start": "2026-03-10T12:00:00Z", "cost": 1}', (1, "column", "cost", "is not a column")),
    ('["start"]', (1, "", "", "is not a JSON object")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), BAD, ids=[text for text, _ in BAD])
def test_a_cell_that_cannot_be_read_is_named(text: str, problem: tuple) -> None:
    row, field, value, message = refused(text)[0]
    assert (row, field, value) == problem[:3]
    assert problem[3] in message


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
        ("--month", "March", "is not a month"),
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
