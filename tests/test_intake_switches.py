"""The presets of switches and servers, by rows in their own column orders (catalogue 1.6)."""

import io
from datetime import date, datetime

import polars as pl
import pytest

from billing_assets.core.errors import BillingError, InputError
from billing_assets.intake.presets import preset_of
from billing_assets.intake.resolve import resolve_day
from tests.support.intake import (
    ASTERISK_ROW,
    GOOD,
    line,
    only,
    parse,
    refusals,
    rows_of,
    source_of,
    table,
    utc,
)

DAY = date(2026, 3, 10)


def test_freeswitch_template_asterisk_has_its_own_order() -> None:
    row = (
        '"acc","351211234567","442071234567","carriers","Anna <351211234567>","sofia/in/3512",'
        '"sofia/out/4420","bridge","sofia/gateway/out/4420","2026-03-10 12:00:00",'
        '"2026-03-10 12:00:05","2026-03-10 12:01:35","95","90","NORMAL_CLEARING","3","uuid-1","gw7"'
    )
    options = {"template": "asterisk", "in_trunk": "accountcode", "out_trunk": "userfield"}
    call = only(parse(row, source_of("freeswitch", options=options)).landed)
    assert (call["in_trunk"], call["out_trunk"]) == ("sw1/acc", "sw1/gw7")
    assert call["answer_time"] == utc("2026-03-10 12:00:05")
    assert (call["a_number"], call["b_number"]) == (351211234567, 442071234567)
    assert (call["duration_ms"], call["status"]) == (90_000, "NORMAL_CLEARING")


def test_asterisk_cdr_custom_stands_in_another_order_than_cdr_csv() -> None:
    cells = pl.read_csv(io.StringIO(ASTERISK_ROW), has_header=False, infer_schema=False).row(0)
    custom = [cells[4], *cells[1:4], *cells[5:], cells[0], "1741608000.7", "", "81"]
    text = ",".join('"' + (cell or "").replace('"', '""') + '"' for cell in custom)
    call = only(parse(text, source_of("asterisk-custom")).landed)
    assert (call["in_trunk"], call["out_trunk"]) == ("sw1/tg-01", "sw1/tg09")
    assert (call["record_sequence"], call["duration_ms"]) == (81, 90_000)
    assert call["b_number"] == 442071234567


def acc(number: int, method: str, tags: tuple[str, str], time: str, code: str = "200") -> str:
    """A row of acc with the stock configuration's further columns, as its sender saw the call."""
    users = {"caller": "351211234567", "callee": "442071234567"}
    source, target = (users[tag] for tag in tags)
    peer = "192.0.2.10" if tags[0] == "caller" else "203.0.113.20"
    return (
        f"{number},{method},{tags[0]},{tags[1]},call-{number // 10}@example,{code},OK,{time},"
        f"{source},a.example,{peer},{target},{target},b.example"
    )


OUT, BACK = ("caller", "callee"), ("callee", "caller")


@pytest.mark.parametrize("hung_up", [OUT, BACK], ids=["caller", "callee"])
@pytest.mark.parametrize("files", [1, 2], ids=["one file", "two files"])
def test_kamailio_joins_invite_and_bye_whoever_hangs_up(
    hung_up: tuple[str, str], files: int
) -> None:
    invite = acc(10, "INVITE", OUT, "2026-03-10 12:00:05")
    bye = acc(11, "BYE", hung_up, "2026-03-10 12:01:35")
    texts = [f"{invite}\n{bye}\n"] if files == 1 else [invite, bye]
    landed = pl.concat([parse(text, source_of("kamailio-acc")).landed for text in texts])
    made = resolve_day(DAY, landed)
    call = only(made.xdr)
    assert (call["duration_ms"], call["parts"], call["answered"]) == (90_000, 2, True)
    assert (call["a_number"], call["b_number"]) == (351211234567, 442071234567)
    assert (call["in_trunk"], call["out_trunk"]) == ("sw1/192.0.2.10", "sw1/b.example")
    assert call["end_time"] == utc("2026-03-10 12:01:35")
    assert made.partial.height == 2


def test_kamailio_tells_failed_calls_waits_for_a_bye_and_passes_over_the_rest() -> None:
    text = "\n".join(
        [
            acc(10, "INVITE", OUT, "2026-03-10 12:00:05", "486"),
            acc(20, "INVITE", OUT, "2026-03-10 12:00:06"),
            acc(30, "ACK", OUT, "2026-03-10 12:00:07"),
            acc(41, "BYE", BACK, "2026-03-10 12:00:08"),
        ]
    )
    read = parse(text, source_of("kamailio-acc"))
    assert sum(count.filtered for count in read.counts) == 1
    made = resolve_day(DAY, read.landed)
    failed = only(made.xdr)
    assert (failed["answered"], failed["status"], failed["duration_ms"]) == (False, "486", 0)
    assert made.suspense["reason"].to_list() == ["MISSING_PART"] * 2


def test_kamailio_cdrs_takes_the_columns_that_cdr_extra_names() -> None:
    extra = ["caller", "callee", "in_trunk", "call_id"]
    options = {"extra_columns": extra, "a_number": "caller", "b_number": "callee"}
    row = "7,2026-03-10 12:00:05.250,2026-03-10 12:01:35.750,90.500,351211234567,442071234567,ip1,c"
    call = only(parse(row, source_of("kamailio-cdrs", options=options)).landed)
    assert (call["duration_ms"], call["record_sequence"]) == (90_500, 7)
    assert call["answer_time"] == utc("2026-03-10 12:00:05.250")
    assert call["in_trunk"] == "sw1/ip1"


def test_opensips_answer_is_the_invite_and_the_seconds_of_its_setup() -> None:
    options = {"extra_columns": ["a_number", "b_number", "in_trunk"]}
    ends = "351211234567,442071234567,ip1"
    rows = [
        f"1,INVITE,t1,t2,c1,200,OK,2026-03-10 12:01:35,90,5,2026-03-10 12:00:00,{ends}",
        f"2,INVITE,t3,t4,c2,486,Busy,2026-03-10 12:01:35,0,9,2026-03-10 12:00:00,{ends}",
        f"3,BYE,t3,t4,c2,200,OK,2026-03-10 12:01:35,NULL,\\N,2026-03-10 12:00:00,{ends}",
        f"4,INVITE,t5,t6,c3,200,OK,2026-03-10 12:01:35,x,5,2026-03-10 12:00:00,{ends}",
    ]
    read = parse("\n".join(rows), source_of("opensips-acc", options=options))
    answered, busy = read.landed.rows(named=True)
    assert answered["answer_time"] == utc("2026-03-10 12:00:05")
    assert answered["end_time"] == utc("2026-03-10 12:01:35")
    assert (answered["duration_ms"], busy["duration_ms"], busy["answered"]) == (90_000, 0, False)
    assert refusals(read) == [(4, "BAD_NUMBER", "duration_ms", "x")]


STOP = {
    1: "STOP",
    2: "GW1",
    3: "0x0000001A",
    4: "123456",
    5: "GMT+00:00",
    6: "03/10/2026",
    7: "12:00:00.3",
    8: "2",
    9: "200",
    10: "525",
    11: "03/10/2026",
    12: "12:01:35.5",
    13: "9",
    14: "9027",
    15: "16",
    16: "VOIP",
    17: "IP-TO-IP",
    20: "351211234567",
    21: "442071234567",
    34: "TG_IN",
    40: "TG_OUT",
}
ATTEMPT = {**STOP, 1: "ATTEMPT", 10: "12:00:09.1", 12: "17", 17: "351211234567", 18: "442071234567"}
RIBBON = source_of("ribbon", options={"in_trunk": "field_34", "out_trunk": "field_40"})


def act(cells: dict[int, str], width: int) -> str:
    """A row of an ACT file; one of its fields has sub-fields in quotes."""
    return ",".join({36: '"a,b,""c"""', **cells}.get(n, "") for n in range(1, width + 1))


def test_ribbon_stops_and_attempts_count_in_ticks_and_other_rows_are_passed_over() -> None:
    text = "\n".join(
        [
            act(STOP, 310),
            act(ATTEMPT, 290),
            "REBOOT,GW1",
            act({**STOP, 1: "INTERMEDIATE"}, 310),
            act({**STOP, 1: "BOGUS"}, 310),
        ]
    )
    read = parse(text, RIBBON)
    stop, attempt = read.landed.rows(named=True)
    assert stop["setup_time"] == utc("2026-03-10 12:00:00.3")
    assert stop["answer_time"] == utc("2026-03-10 12:00:05.55")
    assert (stop["duration_ms"], stop["in_trunk"]) == (90_270, "sw1/TG_IN")
    assert stop["end_time"] == utc("2026-03-10 12:01:35.5")
    assert (attempt["answered"], attempt["b_number"]) == (False, 442071234567)
    assert sum(count.filtered for count in read.counts) == 2
    assert refusals(read) == [(5, "UNKNOWN_RECORD_TYPE", "record_type", "BOGUS")]


def oracle_row(**changes: str) -> str:
    cells = {
        1: "2",
        5: "in-1",
        10: '"Anna, B." <sip:+351211234567@a.example;user=phone>;tag=1',
        11: "sip:442071234567@b.example",
        13: "90",
        14: "12:00:00.868 PDT MAR 10 2026",
        15: "12:00:05.868 PDT MAR 10 2026",
        16: "12:01:35.868 PDT MAR 10 2026",
        17: "16",
        22: "carrier-out",
        23: "carrier-in",
        **{int(name[1:]): value for name, value in changes.items()},
    }
    return ",".join(cells.get(n, "") for n in range(1, 176))


ORACLE = source_of("oracle", zone="America/Los_Angeles")


def test_oracle_reads_zoned_stamps_uris_and_rows_of_any_width_past_24() -> None:
    text = "\n".join(
        [oracle_row(), oracle_row(f1="1"), oracle_row(f13="0", f15="00:00:00.000 UTC JAN 01 1970")]
    )
    read = parse(text, ORACLE)
    call, unanswered = read.landed.rows(named=True)
    assert call["answer_time"] == utc("2026-03-10 19:00:05.868")
    assert (call["a_number"], call["b_number"]) == (351211234567, 442071234567)
    assert (call["in_trunk"], call["out_trunk"]) == ("sw1/carrier-in", "sw1/carrier-out")
    assert (call["duration_ms"], unanswered["answered"]) == (90_000, False)
    assert sum(count.filtered for count in read.counts) == 1


def test_oracle_stamps_of_another_zone_than_the_sources_are_refused() -> None:
    read = parse(f"{oracle_row()}\n{oracle_row(f15='12:00:05.868 CET MAR 10 2026')}", ORACLE)
    (refused,) = refusals(read)
    assert refused[:3] == (2, "BAD_TIME", "answer_time")


KANNEL = (
    "2026-03-10 12:00:00 Sent SMS [SMSC:hub1] [SVC:api] [ACT:acme] [BINF:] [FID:m-1] "
    "[from:Farolink] [to:+254722000001] [flags:-1:0:-1:0:31] [msg:11:top] secret] [udh:0:]\n"
    "2026-03-10 12:00:01 Receive SMS [SMSC:hub1] [SVC:] [ACT:] [BINF:] [FID:m-2] "
    "[from:+254722000002] [to:40404] [flags:-1:0:-1:0:-1] [msg:9:two\nlines] [udh:0:]\n"
    "2026-03-10 12:00:02 DLR SMS [SMSC:hub1] [SVC:] [ACT:] [BINF:] [FID:m-1] [from:] [to:] "
    "[flags:-1:-1:-1:-1:31] [msg:7:ACK/xyz] [udh:0:]\n"
    "something else [msg:6:hidden] [udh:0:]\n"
)


def test_kannel_messages_land_without_their_texts() -> None:
    source = source_of("kannel")
    redact = preset_of(source).redact
    assert redact is not None
    kept = redact(KANNEL.encode())
    assert not any(word in kept for word in (b"secret", b"lines", b"xyz", b"hidden"))
    read = parse(kept, source)
    sent, received = read.landed.rows(named=True)
    assert (sent["in_trunk"], sent["out_trunk"]) == ("sw1/acme", "sw1/hub1")
    assert (sent["a_kind"], sent["b_number"], sent["quantity"]) == ("alpha", 254722000001, 1)
    assert (received["in_trunk"], received["answered"]) == ("sw1/hub1", True)
    assert sum(count.filtered for count in read.counts) == 1
    assert read.rejected["reason"].to_list() == ["UNKNOWN_RECORD_TYPE"]


def test_parquet_lands_as_the_same_records_in_csv() -> None:
    cells = [GOOD, {**GOOD, "call_id": "c2", "b_number": "12x4"}, {**GOOD, "last_part": "true"}]
    frame = pl.DataFrame(cells).with_columns(
        pl.col("^.*_time$").str.to_datetime(time_zone="UTC", time_unit="ms"),
        pl.col("duration_ms").cast(pl.Int32),
        pl.col("record_sequence").cast(pl.Int64),
        pl.col("last_part").cast(pl.String).eq("true"),
    )
    stream = io.BytesIO()
    frame.write_parquet(stream)
    read = parse(stream.getvalue(), source_of("canonical-parquet"))
    csv = parse(table(*(line(**row) for row in cells)))
    ids = ("record_id", "file")
    assert read.landed.drop(ids).equals(csv.landed.drop(ids))
    assert refusals(read) == [(2, "BAD_NUMBER", "b_number", "12x4")]
    assert '"b_number":"12x4"' in read.rejected["payload"][0]
    assert rows_of(read.landed) == [1, 3]


@pytest.mark.parametrize("content", [b"PAR1", b"x", b"PAR1" + bytes(100) + b"PAR1"])
def test_bytes_that_are_no_parquet_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="no Parquet file"):
        parse(content, source_of("canonical-parquet"))


MAPPING = {
    "separator": ";",
    "stamps": "%d.%m.%Y %H:%M:%S",
    "unit": "s",
    "service": "voice",
    "fields": {
        "in_trunk": {"column": "Route", "pattern": r"^IN_(.+)$"},
        "setup_time": "Begin",
        "answer_time": "Begin",
        "duration_ms": "Seconds",
        "a_number": "From",
        "b_number": "To",
        "status": {"column": "State", "values": {"A": "answered", "N": "no answer"}},
    },
    "only": [{"column": "Kind", "values": ["CALL"]}],
    "answered": {"column": "State", "values": ["A"]},
}
MAPPED = (
    "Kind;Route;Begin;Seconds;From;To;State;Note\n"
    "CALL;IN_TG1;10.03.2026 13:00:05;90;0211234567;00442071234567;A;x\n"
    "CALL;IN_TG1;10.03.2026 13:00:05;12;0211234567;00442071234567;N;\n"
    "TEST;IN_TG1;10.03.2026 13:00:05;90;0211234567;00442071234567;A;\n"
)


def test_a_mapping_reads_a_format_that_no_preset_knows() -> None:
    source = source_of("mapping", mapping=MAPPING, zone="Europe/Berlin", country_code="49")
    read = parse(MAPPED, source)
    call, missed = read.landed.rows(named=True)
    assert call["answer_time"] == utc("2026-03-10 12:00:05")
    assert (call["in_trunk"], call["duration_ms"]) == ("sw1/TG1", 90_000)
    assert (call["a_number"], call["b_number"]) == (49211234567, 442071234567)
    assert (call["status"], missed["answered"]) == ("answered", False)
    assert sum(count.filtered for count in read.counts) == 1


def test_a_mapping_may_name_columns_and_count_seconds_since_1970() -> None:
    mapping = {
        "columns": ["service", "in_trunk", "when", "ms", "b_number"],
        "stamps": "epoch",
        "fields": {"answer_time": "when", "duration_ms": "ms", "call_id": {"constant": "x"}},
    }
    call = only(
        parse(
            "voice,T,1773144005.250,1500,442071234567\n", source_of("mapping", mapping=mapping)
        ).landed
    )
    assert call["answer_time"] == datetime.fromisoformat("2026-03-10T12:00:05.250+00:00")
    assert call["duration_ms"] == 1500


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("mapping", {"mapping": {"fields": {"colour": "x"}}}, "are no fields"),
        ("mapping", {"mapping": {"columns": ["a"], "fields": {"b_number": "z"}}}, "columns z"),
        ("mapping", {}, "has a mapping"),
        ("sansay", {"mapping": {}}, "has a mapping"),
        ("ribbon", {}, "no column is the in_trunk"),
        ("opensips-acc", {}, "no column is the b_number"),
        ("kamailio-cdrs", {"options": {"extra_columns": ["b_number"]}}, "the in_trunk"),
        ("kamailio-acc", {"options": {"b_number": "nowhere"}}, "'nowhere'"),
        ("freeswitch", {"options": {"template": "x"}}, "no template"),
    ],
)
def test_a_source_that_cannot_work_is_refused_before_any_file(
    preset: str, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(BillingError, match=words):
        preset_of(source_of(preset, **changes))


FRAMED = source_of(
    "canonical-csv",
    header={"begins": "HDR"},
    trailer={"begins": "TRL", "records": 2, "seconds": 3},
)


def framed(records: str, seconds: str = "180", head: str = "HDR,x\n") -> str:
    body = table(line(), line(call_id="c2"))
    return f"{head}{body}TRL,{records},{seconds}\n"


def test_header_and_trailer_are_no_records_and_their_counts_hold() -> None:
    read = parse(framed("2"), FRAMED)
    assert rows_of(read.landed) == [3, 4]
    assert (read.totals["declared_records"], read.warnings) == (2, ())
    (told,) = parse(framed("2", "999"), FRAMED).warnings
    assert "declares 999 s" in told.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (framed("3"), "holds 2 records, not the declared 3"),
        (framed("x"), "declares no number of records"),
        (framed("2", "9" * 5000), "declares no number of seconds"),
        (framed("2", head=""), "does not begin with the header"),
        (framed("2").replace("TRL", "T"), "does not end with the trailer"),
    ],
)
def test_a_file_that_contradicts_its_frame_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(text, FRAMED)


@pytest.mark.parametrize(
    ("start", "end", "ticks", "answered"),
    [
        ("01:50:00.0", "02:10:05.0", "120000", "2026-10-25 01:50:05"),
        ("01:50:00.0", "02:10:05.0", "480000", "2026-10-25 00:50:05"),
        ("01:50:00.0", "01:10:05.0", "120000", "2026-10-25 00:50:05"),
    ],
)
def test_the_length_of_a_ribbon_call_tells_which_pass_of_a_repeated_hour_it_began_in(
    start: str, end: str, ticks: str, answered: str
) -> None:
    day = "10/25/2026"
    call = {**STOP, 6: day, 7: start, 10: "500", 11: day, 12: end, 14: ticks}
    lisbon = RIBBON.model_copy(update={"zone": "Europe/Lisbon"})
    row = only(parse(act(call, 310), lisbon).landed)
    assert row["answer_time"] == utc(answered)
    assert (row["end_time"] - row["answer_time"]).total_seconds() * 100 == int(ticks)


@pytest.mark.parametrize(
    ("word", "day", "answered"),
    [
        ("PDT", "NOV 01", "2026-11-01 08:30:05"),
        ("PST", "NOV 01", "2026-11-01 09:30:05"),
        ("PST", "JUL 01", "2026-07-01 09:30:05"),
    ],
)
def test_the_zone_that_an_oracle_stamp_names_settles_its_pass(
    word: str, day: str, answered: str
) -> None:
    stamps = {14: "01:30:00.000", 15: "01:30:05.000", 16: "01:31:35.000"}
    cells = {f"f{n}": f"{time} {word} {day} 2026" for n, time in stamps.items()}
    row = only(parse(oracle_row(**cells), ORACLE).landed)
    assert (row["answer_time"], row["duration_ms"]) == (utc(answered), 90_000)
