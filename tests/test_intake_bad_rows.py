"""Rows that are refused one by one: with reason, field and value, and the line as it stood."""

import json

import pytest

from billing_assets.core.errors import InputError
from billing_assets.intake.preset import CANONICAL
from tests.support.intake import (
    ARRIVED,
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

NEW_YORK_GAP = "2026-03-08 02:30:00"
"""Clocks in New York go from 02:00 to 03:00 on this day: no clock ever shows it."""

BAD_CELLS = [
    ({"service": ""}, "MISSING_FIELD", "service", ""),
    ({"service": "fax"}, "UNKNOWN_SERVICE", "service", "fax"),
    ({"setup_time": "", "answer_time": ""}, "MISSING_FIELD", "setup_time", ""),
    ({"in_trunk": "", "out_trunk": ""}, "MISSING_FIELD", "in_trunk", ""),
    ({"b_number": ""}, "MISSING_FIELD", "b_number", ""),
    ({"setup_time": "2026-02-30T12:00:00Z"}, "BAD_TIME", "setup_time", "2026-02-30T12:00:00Z"),
    ({"answer_time": "2026-03-10T25:00:00Z"}, "BAD_TIME", "answer_time", "2026-03-10T25:00:00Z"),
    ({"end_time": "yesterday"}, "BAD_TIME", "end_time", "yesterday"),
    ({"setup_time": "2026-03-10"}, "BAD_TIME", "setup_time", "2026-03-10"),
    ({"setup_time": "1773144000"}, "BAD_TIME", "setup_time", "1773144000"),
    ({"setup_time": "1026-03-10T12:00:00Z"}, "BAD_TIME", "setup_time", "1026-03-10T12:00:00Z"),
    ({"setup_time": NEW_YORK_GAP}, "BAD_TIME", "setup_time", NEW_YORK_GAP),
    ({"end_time": NEW_YORK_GAP}, "BAD_TIME", "end_time", NEW_YORK_GAP),
    ({"duration_ms": "-1"}, "NEGATIVE_DURATION", "duration_ms", "-1"),
    (
        {"end_time": "2026-03-10T12:00:05.249Z", "duration_ms": ""},
        "NEGATIVE_DURATION",
        "end_time",
        "2026-03-10T12:00:05.249Z",
    ),
    (
        {"answer_time": "2026-03-01T12:00:05Z", "duration_ms": ""},
        "NEGATIVE_DURATION",
        "answer_time",
        "2026-03-01T12:00:05Z",
    ),
    (
        {"setup_time": "1970-01-01T00:00:00Z", "answer_time": "", "end_time": "", "status": "1"},
        "BAD_TIME",
        "setup_time",
        "1970-01-01T00:00:00Z",
    ),
    ({"duration_ms": "9e4"}, "BAD_NUMBER", "duration_ms", "9e4"),
    ({"duration_ms": "ninety"}, "BAD_NUMBER", "duration_ms", "ninety"),
    ({"duration_ms": "9" * 40}, "BAD_NUMBER", "duration_ms", "9" * 40),
    ({"duration_ms": "9" * 18}, "OUT_OF_RANGE", "duration_ms", "9" * 18),
    ({"b_number": "44207x"}, "BAD_NUMBER", "b_number", "44207x"),
    ({"b_number": "4420712345678901"}, "BAD_NUMBER", "b_number", "4420712345678901"),
    ({"b_number": "9" * 500}, "BAD_NUMBER", "b_number", "9" * 500),
    ({"b_number": "٤٤٢٠٧١٢٣٤٥٦٧"}, "BAD_NUMBER", "b_number", "٤٤٢٠٧١٢٣٤٥٦٧"),
    ({"record_sequence": "1.5"}, "BAD_NUMBER", "record_sequence", "1.5"),
    ({"record_sequence": "-1"}, "OUT_OF_RANGE", "record_sequence", "-1"),
    ({"quantity": "many"}, "BAD_NUMBER", "quantity", "many"),
    ({"quantity": "-5"}, "OUT_OF_RANGE", "quantity", "-5"),
    ({"routing_number": "12x"}, "BAD_NUMBER", "routing_number", "12x"),
    ({"serving_network": "2680100"}, "OUT_OF_RANGE", "serving_network", "2680100"),
    ({"routing_number": "07900123456"}, "BAD_NUMBER", "routing_number", "07900123456"),
    ({"serving_network": "00101"}, "BAD_NUMBER", "serving_network", "00101"),
    ({"serving_network": "9" * 18}, "OUT_OF_RANGE", "serving_network", "9" * 18),
    ({"part": "0"}, "OUT_OF_RANGE", "part", "0"),
    ({"part": "40000"}, "OUT_OF_RANGE", "part", "40000"),
    ({"part": "first"}, "BAD_NUMBER", "part", "first"),
    ({"part": "1", "last_part": "perhaps"}, "BAD_VALUE", "last_part", "perhaps"),
    ({"part": "1", "call_id": ""}, "MISSING_FIELD", "call_id", ""),
    ({"service": "data", "quantity": ""}, "MISSING_FIELD", "quantity", ""),
    ({"service": "event", "event_type": ""}, "MISSING_FIELD", "event_type", ""),
    ({"end_time": "", "duration_ms": ""}, "MISSING_FIELD", "duration_ms", ""),
    ({"answer_time": ""}, "MISSING_FIELD", "answer_time", ""),
]


@pytest.mark.parametrize(("cells", "reason", "field", "value"), BAD_CELLS)
def test_a_bad_cell_costs_its_row_and_no_other(
    cells: dict[str, str], reason: str, field: str, value: str
) -> None:
    bad = line(**cells)
    read = parse(table(line(), bad, line(call_id="c2")), source_of(zone="America/New_York"))
    assert rows_of(read.landed) == [2, 4]
    assert refusals(read) == [(3, reason, field, value)]
    assert only(read.rejected)["payload"] == bad
    assert [(c.received, c.landed, c.rejected) for c in read.counts] == [(3, 2, 1)]


@pytest.mark.parametrize(("cells", "reason", "field", "value"), BAD_CELLS)
def test_a_bad_cell_is_told_alike_in_json_lines(
    cells: dict[str, str], reason: str, field: str, value: str
) -> None:
    lines = [json.dumps(GOOD), json.dumps({**GOOD, **cells}, ensure_ascii=False), json.dumps(GOOD)]
    read = parse("\n".join(lines), source_of("canonical-jsonl", zone="America/New_York"))
    assert rows_of(read.landed) == [1, 3]
    assert refusals(read) == [(2, reason, field, value)]
    assert only(read.rejected)["payload"] == lines[1]


@pytest.mark.parametrize("found", [1, 17, 19, 60])
def test_a_row_with_another_number_of_columns_is_never_cut_or_filled(found: int) -> None:
    cells = [*line().split(","), *["x"] * 60][:found]
    bad = ",".join(cells)
    read = parse(table(line(), bad, line()))
    assert rows_of(read.landed) == [2, 4]
    assert refusals(read) == [(3, "WRONG_COLUMN_COUNT", "line", f"{found} columns")]
    assert only(read.rejected)["payload"] == bad


def test_one_column_too_many_and_one_too_few_do_not_make_up_for_each_other() -> None:
    read = parse(table(line() + ",x", line(), line().rsplit(",", 1)[0]))
    assert rows_of(read.landed) == [3]
    assert [(row, value) for row, _, _, value in refusals(read)] == [
        (2, "19 columns"),
        (4, "17 columns"),
    ]


@pytest.mark.parametrize(
    ("preset", "good", "bad", "refused"),
    [
        (
            "freeswitch",
            FREESWITCH_ROW,
            FREESWITCH_ROW.replace("12:00:05", "12:60:05"),
            ("BAD_TIME", "answer_time", "2026-03-10 12:60:05"),
        ),
        (
            "freeswitch",
            FREESWITCH_ROW,
            FREESWITCH_ROW.replace('"90"', '"ninety"'),
            ("BAD_NUMBER", "duration_ms", "ninety"),
        ),
        (
            "freeswitch",
            FREESWITCH_ROW,
            FREESWITCH_ROW.replace('"442071234567"', '""'),
            ("MISSING_FIELD", "b_number", ""),
        ),
        (
            "asterisk",
            ASTERISK_ROW + ',"u1",""',
            ASTERISK_ROW.replace(",90,", ",-90,") + ',"u1",""',
            ("NEGATIVE_DURATION", "duration_ms", "-90"),
        ),
        (
            "asterisk",
            ASTERISK_ROW + ',"u1",""',
            ASTERISK_ROW + ',"u1"',
            ("WRONG_COLUMN_COUNT", "line", "17 columns"),
        ),
        (
            "sansay",
            sansay_row(),
            sansay_row(f7="Tue Feb 30 12:00:00 2026"),
            ("BAD_TIME", "setup_time", "Tue Feb 30 12:00:00 2026"),
        ),
        (
            "sansay",
            sansay_row(),
            sansay_row(f57="1:30"),
            ("BAD_NUMBER", "duration_ms", "1:30"),
        ),
        (
            "sansay",
            sansay_row(),
            sansay_row(f57=""),
            ("BAD_NUMBER", "duration_ms", ""),
        ),
        (
            "sansay",
            sansay_row(),
            sansay_row(f52="X"),
            ("UNKNOWN_RECORD_TYPE", "record_type", "R X"),
        ),
        (
            "freeswitch",
            FREESWITCH_ROW,
            FREESWITCH_ROW.replace('"90"', f'"{2**64 // 1000 + 1}"'),
            ("OUT_OF_RANGE", "duration_ms", f"{2**64 // 1000 + 1}"),
        ),
        (
            "sansay",
            sansay_row(),
            sansay_row().rsplit(";", 1)[0],
            ("WRONG_COLUMN_COUNT", "line", "58 columns"),
        ),
    ],
)
def test_bad_rows_of_switches_are_told_by_canonical_field(
    preset: str, good: str, bad: str, refused: tuple[str, str, str]
) -> None:
    options = {"in_trunk": "accountcode"} if preset == "freeswitch" else {}
    read = parse("\n".join([good, bad, good]), source_of(preset, options=options))
    assert rows_of(read.landed) == [1, 3]
    assert refusals(read) == [(2, *refused)]
    assert only(read.rejected)["payload"] == bad


def test_a_freeswitch_site_without_a_trunk_column_has_no_record_to_bill() -> None:
    read = parse(f"{FREESWITCH_ROW}\n" * 2, source_of("freeswitch"))
    assert [refusal[1:3] for refusal in refusals(read)] == [("MISSING_FIELD", "in_trunk")] * 2


def test_rejected_rows_are_counted_on_the_first_day_of_their_file() -> None:
    later = {"setup_time": "2026-03-12T01:00:00Z", "answer_time": "", "duration_ms": "0"}
    read = parse(table(line(b_number=""), line(**later, end_time=""), line()))
    assert read.rejected["day"].to_list() == [utc("2026-03-10 00:00:00").date()]
    assert [(str(c.day), c.received, c.landed, c.rejected) for c in read.counts] == [
        ("2026-03-10", 2, 1, 1),
        ("2026-03-12", 1, 1, 0),
    ]


def test_without_a_good_row_they_are_counted_on_the_day_of_arrival() -> None:
    read = parse(table(line(b_number="")))
    assert read.landed.is_empty()
    assert read.rejected["day"].to_list() == [ARRIVED]
    assert [(c.day, c.received, c.rejected) for c in read.counts] == [(ARRIVED, 1, 1)]


def test_the_first_of_several_faults_is_told() -> None:
    read = parse(table(line(), line(setup_time="x", b_number="", duration_ms="-1")))
    assert refusals(read) == [(3, "BAD_TIME", "setup_time", "x")]


def test_an_absurdly_long_line_is_one_refused_row() -> None:
    """Among rows as they should be: a file of such lines alone is refused as a whole."""
    read = parse(table(line(), line(b_number="4" * 2_000_000), *[line()] * 30))
    assert rows_of(read.landed) == [2, *range(4, 34)]
    assert refusals(read)[0][:3] == (3, "BAD_NUMBER", "b_number")
    with pytest.raises(InputError, match="it holds no records"):
        parse(table(line(b_number="4" * 2_000_000)))


def test_a_record_that_disagrees_with_its_stamps_lands_and_is_told() -> None:
    read = parse(table(line(), line(duration_ms="3690000")))
    assert read.landed["duration_ms"].to_list() == [90_000, 3_690_000]
    (warning,) = read.warnings
    assert (warning.row, warning.field, warning.value) == (3, "duration_ms", "3690000")


def test_canonical_columns_are_all_read_or_refused() -> None:
    """No canonical column may hold rubbish that lands in silence, unless it is free text."""
    free = {"in_trunk", "out_trunk", "a_number", "event_type", "status", "call_id"}
    for name in set(CANONICAL) - free:
        read = parse(table(line(), line(**{name: "§rubbish§"})))
        assert [refusal[2] for refusal in refusals(read)] == [name]


def test_json_numbers_with_an_exponent_are_no_digits() -> None:
    """4.42e11 is a called number whose last digits somebody's spreadsheet rounded away."""
    lines = [json.dumps({**GOOD, "status": '":1e5,'})]
    for value in ("4.42e11", "4.42E+11"):
        lines.append(json.dumps(GOOD).replace('"442071234567"', value))
    read = parse("\n".join(lines), source_of("canonical-jsonl"))
    assert read.landed["status"].to_list() == ['":1e5,']
    assert refusals(read) == [
        (2, "BAD_NUMBER", "b_number", "4.42e11"),
        (3, "BAD_NUMBER", "b_number", "4.42E+11"),
    ]
    assert read.rejected["payload"].to_list() == lines[1:]


DIGITS_OF_OTHERS = {
    "duration_ms": "9٤٤٤٤",
    "b_number": "44٢٣٤٢٣٤٢٣",
    "routing_number": "٣",
    "part": "٣",
    "setup_time": "2026-03-10T12:00:00.٣٣٣Z",
}


@pytest.mark.parametrize("name", DIGITS_OF_OTHERS)
def test_digits_of_other_scripts_are_no_digits(name: str) -> None:
    cells = {**GOOD, **dict.fromkeys(("answer_time", "end_time"), "2026-03-10T12:00:30.000Z")}
    cells |= {"duration_ms": "0", name: DIGITS_OF_OTHERS[name]}
    read = parse(table(line(), line(**cells), line()))
    assert rows_of(read.landed) == [2, 4]
    assert [refusal[2:] for refusal in refusals(read)] == [(name, DIGITS_OF_OTHERS[name])]


def test_a_separator_in_quotes_does_not_make_up_for_one_that_a_line_lacks() -> None:
    read = parse(table(line(call_id='"a,b"'), line().rsplit(",", 1)[0], line()))
    assert rows_of(read.landed) == [2, 4]
    assert refusals(read) == [(3, "WRONG_COLUMN_COUNT", "line", "17 columns")]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"service":"voice",}', "NOT_AN_OBJECT"),
        ('{"service":"voice","quantity":NaN}', "NOT_AN_OBJECT"),
        ('{"service":' + "[" * 5000 + "]" * 5000 + "}", "NOT_AN_OBJECT"),
        (json.dumps({**GOOD, "duration_ms": 10**39}), "BAD_NUMBER"),
    ],
    ids=["comma", "NaN", "deep", "integer"],
)
def test_a_json_line_that_only_some_readers_take_costs_no_other(bad: str, reason: str) -> None:
    good = json.dumps(GOOD)
    read = parse(f"{good}\n{bad}\n{good}", source_of("canonical-jsonl"))
    assert rows_of(read.landed) == [1, 3]
    assert [(row, told) for row, told, _, _ in refusals(read)] == [(2, reason)]


def test_a_call_may_be_answered_a_moment_before_it_was_set_up_by_two_clocks() -> None:
    row = only(parse(table(line(setup_time="2026-03-10T12:00:07Z"))).landed)
    assert row["duration_ms"] == 90_000
