"""Presets: hand-written rows in the column orders of the catalogue (1.6), read back."""

import json

import pytest

from billing_assets.core.errors import BillingError
from billing_assets.intake.preset import CANONICAL
from tests.support.intake import (
    ASTERISK_ROW,
    FREESWITCH_ROW,
    GOOD,
    line,
    only,
    parse,
    refusals,
    rows_of,
    sansay_row,
    source_of,
    table,
    utc,
)

MILLIS = 1000


def test_a_canonical_record_lands_cell_by_cell() -> None:
    row = only(parse(table(line())).landed)
    assert row["setup_time"] == utc("2026-03-10 12:00:00")
    assert row["answer_time"] == utc("2026-03-10 12:00:05.250")
    assert row["end_time"] == utc("2026-03-10 12:01:35.250")
    assert row["day"] == utc("2026-03-10 00:00:00").date()
    assert (row["duration_ms"], row["answered"]) == (90 * MILLIS, True)
    assert (row["switch"], row["in_trunk"], row["out_trunk"]) == ("sw1", "sw1/TG01", "sw1/TG09")
    assert (row["a_number"], row["a_length"], row["a_kind"]) == (351211234567, 12, "number")
    assert (row["b_number"], row["b_length"]) == (442071234567, 12)
    assert (row["record_sequence"], row["part"], row["last_part"]) == (1, None, False)
    assert (row["record_id"] & ((1 << 27) - 1)) == 2, "the line of the file, the header is 1"


def test_a_canonical_header_may_be_a_subset_in_any_order() -> None:
    columns = ("b_number", "duration_ms", "answer_time", "service", "in_trunk", "a_number")
    whole, part = parse(table(line())), parse(table(line(columns), columns=columns))
    row, same = only(part.landed), only(whole.landed)
    for name in ("b_number", "duration_ms", "answer_time", "end_time", "in_trunk", "a_number"):
        assert row[name] == same[name], name
    assert row["setup_time"] == row["answer_time"], "no setup time: the answer stands for it"
    assert row["out_trunk"] is None
    assert row["call_key"] is None


def test_a_canonical_file_may_name_the_switch_of_each_row() -> None:
    columns = (*CANONICAL, "switch")
    two = parse(
        table(line(columns, switch="sw7"), line(columns, switch="", call_id="c2"), columns=columns)
    )
    assert two.landed["switch"].to_list() == ["sw7", "sw1"], "an empty one is the source's"
    assert two.landed["in_trunk"].to_list() == ["sw7/TG01", "sw1/TG01"]


def test_equal_call_ids_of_two_switches_are_two_calls() -> None:
    columns = (*CANONICAL, "switch")
    two = parse(table(line(columns, switch="sw7"), line(columns), columns=columns))
    assert two.landed["call_key"].n_unique() == 2


def test_services_other_than_voice_land_with_their_quantity() -> None:
    nothing = {"answer_time": "", "end_time": "", "duration_ms": ""}
    read = parse(
        table(
            line(service="sms", quantity="2", status="DELIVRD", call_id="c1", **nothing),
            line(service="sms", quantity="2", status="UNDELIV", call_id="c2", **nothing),
            line(service="data", quantity="1048576", b_number="", call_id="c3", **nothing),
            line(service="event", quantity="1", event_type="lookup", b_number="", **nothing),
        )
    )
    assert refusals(read) == []
    assert read.landed["service"].to_list() == ["sms", "sms", "data", "event"]
    assert read.landed["quantity"].to_list() == [2, 2, 1048576, 1]
    assert read.landed["answered"].to_list() == [True, False, True, True]
    assert read.landed["duration_ms"].to_list() == [0, 0, 0, 0]
    assert set(read.landed["answer_time"]) == {utc("2026-03-10 12:00:00")}


def test_states_of_messages_are_those_of_smpp_however_they_are_written() -> None:
    states = ["DELIVRD", "delivrd", "Delivered", "undeliv", ""]
    nothing = {"answer_time": "", "end_time": "", "duration_ms": "", "quantity": "1"}
    messages = [
        line(service="sms", status=state, call_id=f"c{n}", **nothing)
        for n, state in enumerate(states)
    ]
    read = parse(table(*messages, line(status="Delivered", call_id="v")))
    told = ["DELIVRD", "DELIVRD", "DELIVRD", "UNDELIV", None, "Delivered"]
    assert read.landed["status"].to_list() == told, "a call keeps its switch's word"
    assert read.landed["answered"].to_list()[:5] == [True, True, True, False, True]


def test_partial_records_keep_their_position() -> None:
    read = parse(
        table(
            line(part="1", last_part="false"),
            line(part="2", last_part="True"),
            line(part="3", last_part="1"),
        )
    )
    assert read.landed["part"].to_list() == [1, 2, 3]
    assert read.landed["last_part"].to_list() == [False, True, True]


def json_line(**changes: object) -> str:
    return json.dumps({**GOOD, "duration_ms": 90000, "record_sequence": 1, **changes})


def test_canonical_json_lines_are_the_same_records_as_canonical_csv() -> None:
    text = json_line(part=1, last_part=True) + "\n\n" + json_line(part=None) + "\n"
    read = parse(text, source_of("canonical-jsonl"))
    csv = parse(table(line(part="1", last_part="true"), "", line()))
    assert rows_of(read.landed) == [1, 3]
    drop = ("record_id", "file")
    assert read.landed.drop(drop).equals(csv.landed.drop(drop))


def test_json_lines_read_long_integers_and_text_digits_exactly() -> None:
    text = json_line(a_number=351211234567, routing_number=442071234567891, duration_ms="90000")
    row = only(parse(text, source_of("canonical-jsonl")).landed)
    assert row["a_number"] == 351211234567
    assert row["routing_number"] == 442071234567891
    assert row["duration_ms"] == 90000


def test_json_lines_that_are_no_records_are_told_by_row() -> None:
    bad = ["[1, 2]", "{broken", '"text"', json_line(nonsense=1), "3"]
    read = parse("\n".join([json_line(), *bad]), source_of("canonical-jsonl"))
    assert rows_of(read.landed) == [1]
    assert [row for row, *_ in refusals(read)] == [2, 3, 4, 5, 6]
    assert read.rejected["payload"].to_list() == bad


FREESWITCH = {"preset": "freeswitch", "zone": "America/New_York"}


def test_freeswitch_with_fifteen_columns_and_the_sites_own() -> None:
    site = source_of(**FREESWITCH, options={"extra_columns": ["in_trunk", "out_trunk"]})
    row = only(parse(FREESWITCH_ROW + ',"tg1","tg2"\n', site).landed)
    # 10 March 2026: New York is on summer time (since the 8th), four hours behind UTC
    assert row["setup_time"] == utc("2026-03-10 16:00:00")
    assert row["answer_time"] == utc("2026-03-10 16:00:05")
    assert row["end_time"] == utc("2026-03-10 16:01:35")
    assert row["duration_ms"] == 90 * MILLIS
    assert (row["in_trunk"], row["out_trunk"]) == ("sw1/tg1", "sw1/tg2")
    assert (row["a_number"], row["b_number"]) == (351211234567, 442071234567)
    assert row["status"] == "NORMAL_CLEARING"
    assert (row["service"], row["a_kind"], row["answered"]) == ("voice", "number", True)


def test_freeswitch_with_the_thirteen_columns_of_template_sql() -> None:
    site = source_of(**FREESWITCH, options={"template": "sql", "extra_columns": ["in_trunk"]})
    thirteen = FREESWITCH_ROW.removesuffix(',"PCMA","PCMA"')
    row = only(parse(thirteen + ',"tg1"\n', site).landed)
    assert (row["in_trunk"], row["out_trunk"]) == ("sw1/tg1", None)
    assert row["duration_ms"] == 90 * MILLIS


def test_freeswitch_may_have_its_trunk_in_a_column_of_its_own() -> None:
    site = source_of(**FREESWITCH, options={"in_trunk": "accountcode"})
    assert only(parse(FREESWITCH_ROW, site).landed)["in_trunk"] == "sw1/acc"


def test_an_unanswered_freeswitch_call_has_an_empty_answer_stamp() -> None:
    site = source_of(**FREESWITCH, options={"in_trunk": "accountcode"})
    text = FREESWITCH_ROW.replace('"2026-03-10 12:00:05"', '""').replace('"90"', '"0"')
    row = only(parse(text, site).landed)
    assert (row["answered"], row["answer_time"], row["duration_ms"]) == (False, None, 0)
    assert row["end_time"] == utc("2026-03-10 16:01:35")


def asterisk(further: str, **options: object) -> dict:
    return only(parse(ASTERISK_ROW + further + "\n", source_of("asterisk", options=options)).landed)


UNIQUE, FIELD = ',"1773144000.26"', ',"note"'
NEW = ',"peer","1773144000.25",81'


@pytest.mark.parametrize(
    ("further", "options", "sequence"),
    [
        ("", {"columns": 16}, None),
        (UNIQUE, {"columns": 17}, None),
        (FIELD, {"columns": 17, "loguniqueid": False}, None),
        (UNIQUE + FIELD, {}, None),
        (NEW, {"columns": 19}, 81),
        (UNIQUE + NEW, {"columns": 20}, 81),
        (FIELD + NEW, {"columns": 20, "loguniqueid": False}, 81),
        (UNIQUE + FIELD + NEW, {"columns": 21}, 81),
    ],
    ids=["16", "17 id", "17 field", "18", "19", "20 id", "20 field", "21"],
)
def test_asterisk_columns_follow_the_switchs_settings(
    further: str, options: dict[str, object], sequence: int | None
) -> None:
    row = asterisk(further, **options)
    assert row["record_sequence"] == sequence
    assert (row["call_key"] is not None) == (UNIQUE in further)
    assert (row["in_trunk"], row["out_trunk"]) == ("sw1/tg-01", "sw1/tg09")
    assert row["setup_time"] == utc("2026-03-10 12:00:00")
    assert row["answer_time"] == utc("2026-03-10 12:00:05")
    assert (row["duration_ms"], row["status"]) == (90 * MILLIS, "ANSWERED")
    assert (row["a_number"], row["b_number"]) == (351211234567, 442071234567)


@pytest.mark.parametrize("disposition", ["NO ANSWER", "BUSY", "FAILED", "CONGESTION"])
def test_an_asterisk_call_that_was_not_answered_lands_unanswered(disposition: str) -> None:
    text = ASTERISK_ROW.replace("ANSWERED", disposition).replace('"2026-03-10 12:00:05"', "")
    row = only(parse(text + UNIQUE + FIELD, source_of("asterisk")).landed)
    assert (row["answered"], row["answer_time"], row["duration_ms"]) == (False, None, 0)


def test_a_sansay_row_lands_with_its_own_milliseconds() -> None:
    row = only(parse(sansay_row() + "\n", source_of("sansay")).landed)
    assert row["setup_time"] == utc("2026-03-10 12:00:00")
    assert row["answer_time"] == utc("2026-03-10 12:00:05")
    assert row["end_time"] == utc("2026-03-10 12:01:35")
    assert row["duration_ms"] == 90250
    assert (row["in_trunk"], row["out_trunk"]) == ("sw1/TG01", "sw1/TG09")
    assert (row["a_number"], row["b_number"]) == (351211234567, 442071234567)
    assert row["record_sequence"] == 2712
    assert row["routing_number"] is None, "routing digits may be anything, not only an LRN"
    assert row["status"] == "Normal call clearing"


def test_later_sansay_releases_append_columns() -> None:
    later = sansay_row(f60="x", f61="y;z", f62="")
    read = parse("\n".join([sansay_row(), later, sansay_row(f60="")]), source_of("sansay"))
    assert read.landed["b_number"].to_list() == [442071234567] * 3
    assert refusals(read) == []


@pytest.mark.parametrize("day", ["Thu Mar  5", "Thu Mar 05", "Thu Mar 5"])
def test_the_day_of_a_sansay_stamp_may_be_padded_with_a_blank_or_a_zero(day: str) -> None:
    stamps = {f"f{n}": f"{day} 12:00:0{n} 2026" for n in (7, 8, 9)}
    row = only(parse(sansay_row(**stamps, f57="1000"), source_of("sansay")).landed)
    assert row["setup_time"] == utc("2026-03-05 12:00:07")
    assert row["end_time"] == utc("2026-03-05 12:00:09")


@pytest.mark.parametrize(("west", "hour"), [("300", 17), ("-60", 11), ("0", 12)])
def test_sansay_stamps_are_minutes_west_of_greenwich(west: str, hour: int) -> None:
    row = only(parse(sansay_row(f10=west), source_of("sansay", zone="Asia/Tokyo")).landed)
    assert row["setup_time"] == utc(f"2026-03-10 {hour}:00:00")
    assert row["end_time"] == utc(f"2026-03-10 {hour}:01:35")


@pytest.mark.parametrize(("west", "reason"), [("", "MISSING_FIELD"), ("GMT", "BAD_NUMBER")])
def test_sansay_stamps_without_their_minutes_west_are_no_times(west: str, reason: str) -> None:
    read = parse("\n".join([sansay_row(f10=west), sansay_row()]), source_of("sansay"))
    assert rows_of(read.landed) == [2]
    assert refusals(read) == [(1, reason, "minutes_west", west)]


def test_only_final_sansay_routes_are_records_the_others_are_filtered() -> None:
    read = parse(
        "\n".join([sansay_row(f52="I"), sansay_row(), sansay_row(f3="A"), sansay_row(f3="Q")]),
        source_of("sansay"),
    )
    assert rows_of(read.landed) == [2]
    assert [(row, reason) for row, reason, *_ in refusals(read)] == [(4, "UNKNOWN_RECORD_TYPE")]
    assert [(c.received, c.landed, c.rejected, c.filtered) for c in read.counts] == [(4, 1, 1, 2)]


def test_a_sansay_call_without_duration_is_unanswered() -> None:
    row = only(parse(sansay_row(f57="0", f54="0"), source_of("sansay")).landed)
    assert (row["answered"], row["duration_ms"]) == (False, 0)


def test_a_quote_in_a_format_without_quotes_is_a_sign_like_any_other() -> None:
    read = parse("\n".join([sansay_row(f11='Say "bye'), sansay_row()]), source_of("sansay"))
    assert read.landed["status"].to_list() == ['Say "bye', "Normal call clearing"]


def test_quoted_cells_may_hold_separators_and_doubled_quotes() -> None:
    read = parse(table(line(status='"16, normal ""call"""'), line()))
    assert read.landed["status"].to_list() == ['16, normal "call"', "16"]


def test_an_open_quote_costs_its_own_row_only() -> None:
    read = parse(table(line(), line(status='"16'), line(call_id="c2"), line(call_id="c3")))
    assert rows_of(read.landed) == [2, 4, 5]
    assert [(row, reason) for row, reason, *_ in refusals(read)] == [(3, "OPEN_QUOTE")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_rows_keep_the_numbers_that_an_editor_shows(end: str, mark: bytes) -> None:
    lines = ["", *table(line(), "", "", line(call_id="c2"), "   ", line(b_number="x")).split("\n")]
    read = parse(mark + end.join(lines).encode())
    assert rows_of(read.landed) == [3, 6]
    assert read.landed["record_sequence"].to_list() == [1, 1]
    assert refusals(read) == [(8, "BAD_NUMBER", "b_number", "x")]
    assert read.rejected["payload"].to_list() == [line(b_number="x")]


def test_a_last_line_without_its_line_end_is_a_row_like_any_other() -> None:
    assert rows_of(parse(table(line(), line()).rstrip("\n")).landed) == [2, 3]


def test_blanks_around_cells_do_not_count() -> None:
    row = only(parse(table(line(b_number=" 442071234567 ", duration_ms=" 90000"))).landed)
    assert (row["b_number"], row["duration_ms"]) == (442071234567, 90000)


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("no-such", {}),
        ("asterisk", {"columns": 15}),
        ("freeswitch", {"template": "other"}),
        ("freeswitch", {"in_trunk": "gateway"}),
        ("canonical-csv", {"columns": 3}),
        ("canonical-csv", {"encoding": "ebcdic"}),
    ],
)
def test_a_source_that_names_what_there_is_not_is_told(
    preset: str, options: dict[str, object]
) -> None:
    with pytest.raises(BillingError, match="source s1"):
        parse(table(line()), source_of(preset, options=options))
