"""Files that are refused whole: a sentence with the file, and the row where there is one."""

import gzip
import io

import pytest

from billing_assets.core.errors import InputError, Problem
from billing_assets.intake import reading
from tests.support.intake import (
    ASTERISK_ROW,
    FREESWITCH_ROW,
    NAME,
    line,
    packed,
    parse,
    rows_of,
    sansay_row,
    source_of,
    table,
)

GOOD_FILE = table(*(line(call_id=f"c{n}") for n in range(200)))


def refusal(content: str | bytes, preset: str = "canonical-csv") -> Problem:
    """The one problem for which a file is refused."""
    with pytest.raises(InputError) as caught:
        parse(content, source_of(preset))
    assert str(caught.value).startswith(f"{NAME} is refused")
    (problem,) = caught.value.problems
    assert problem.file == NAME
    return problem


@pytest.mark.parametrize("missing", [1, 8, 100])
def test_a_torn_gzip_file_is_refused(missing: int) -> None:
    assert "torn" in refusal(packed(GOOD_FILE)[:-missing]).message


def test_a_gzip_file_with_a_damaged_byte_is_refused() -> None:
    content = bytearray(packed(GOOD_FILE))
    content[len(content) // 2] ^= 0xFF
    assert "torn" in refusal(bytes(content)).message


def test_a_gzip_file_followed_by_rubbish_is_refused() -> None:
    assert "torn" in refusal(packed(GOOD_FILE) + b"rubbish").message


def test_a_gzip_file_of_several_members_is_one_text() -> None:
    half = len(GOOD_FILE) // 2
    parsed = parse(packed(GOOD_FILE[:half]) + packed(GOOD_FILE[half:]))
    assert rows_of(parsed.landed) == list(range(2, 202))


def test_a_gzip_bomb_is_refused_before_it_is_unpacked() -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as bomb:
        for _ in range(64):
            bomb.write(b"\0" * 2**20)
    assert "unpacks to more than" in refusal(stream.getvalue()).message


def test_a_file_larger_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    assert "larger than 1,000 bytes" in refusal(GOOD_FILE).message
    assert "more than 1,000 bytes" in refusal(packed(GOOD_FILE)).message


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n", packed(""), b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert refusal(content).message == "is empty"


@pytest.mark.parametrize("preset", ["freeswitch", "asterisk", "sansay", "canonical-jsonl"])
def test_an_empty_file_of_any_preset_is_refused(preset: str) -> None:
    assert refusal(b"\n\n", preset).message == "is empty"


def test_a_utf_16_file_is_refused() -> None:
    assert "UTF-16" in refusal(GOOD_FILE.encode("utf-16")).message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_of_wide_characters_without_a_mark_is_refused(encoding: str) -> None:
    assert refusal(GOOD_FILE.encode(encoding)).field in ("", "byte")


def test_a_latin_1_file_is_refused_with_the_row_and_the_byte() -> None:
    problem = refusal(table(line(), line(status="Télécom")).encode("latin-1"))
    assert (problem.row, problem.field, problem.value) == (3, "byte", "e9")
    assert "UTF-8" in problem.message


def test_a_source_may_say_that_it_writes_latin_1() -> None:
    content = table(line(status="Télécom")).encode("latin-1")
    landed = parse(content, source_of(options={"encoding": "latin-1"})).landed
    assert landed["status"].to_list() == ["Télécom"]


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_file_with_nul_bytes_is_refused(at: int) -> None:
    content = bytearray(GOOD_FILE.encode())
    content[at] = 0
    assert refusal(bytes(content)).message == "is binary, not text"


def test_nul_bytes_far_into_a_long_file_are_seen_too() -> None:
    content = table(*(line(call_id=f"c{n}") for n in range(150_000))).encode()
    assert len(content) > 16 * 2**20
    assert refusal(content[:-100] + b"\0" + content[-99:]).message == "is binary, not text"


FILES = {
    "canonical-csv": GOOD_FILE,
    "canonical-jsonl": '{"service":"voice","setup_time":"2026-03-10T12:00:00Z","in_trunk":"T"}\n',
    "freeswitch": f"{FREESWITCH_ROW}\n" * 3,
    "asterisk": f'{ASTERISK_ROW},"u","f"\n' * 3,
    "sansay": f"{sansay_row()}\n" * 3,
}


@pytest.mark.parametrize("preset", FILES)
@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_preset_is_refused(preset: str, kind: str) -> None:
    if preset == kind:
        assert parse(FILES[kind], source_of(preset)).received > 0
        return
    problem = refusal(FILES[kind], preset)
    assert preset in problem.message
    assert problem.row == 1
    assert problem.value


def test_the_columns_expected_and_found_are_told() -> None:
    problem = refusal(f"{FREESWITCH_ROW}\n" * 2, "asterisk")
    assert "18 columns" in problem.message
    assert "15 found" in problem.message


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("service,setup_time,colour", "colour"),
        ("service,setup_time,setup_time", "setup_time twice"),
        ("in_trunk,b_number", "setup_time"),
    ],
)
def test_a_header_that_is_not_of_the_preset_is_told(header: str, told: str) -> None:
    problem = refusal(f"\n{header}\n1,2,3\n")
    assert told in problem.message
    assert (problem.row, problem.field, problem.value) == (2, "header", header)


def test_a_file_with_a_header_alone_is_a_quiet_hour_and_is_told() -> None:
    """Switches deliver such files so that the numbers of files go on (catalogue 1.5)."""
    parsed = parse(table())
    assert parsed.landed.is_empty()
    assert parsed.rejected.is_empty()
    assert parsed.received == 0
    assert [warning.message for warning in parsed.warnings] == ["holds no record"]


def test_a_plain_file_that_breaks_off_in_its_last_line_keeps_all_others() -> None:
    whole = table(*(line(call_id=f"c{n}") for n in range(5)))
    broken = parse(whole[: -len(line()) // 2])
    assert rows_of(broken.landed) == [2, 3, 4, 5]
    assert broken.rejected["row"].to_list() == [6]
    assert broken.rejected["reason"].to_list() == ["WRONG_COLUMN_COUNT"]


@pytest.mark.parametrize(
    "text",
    [GOOD_FILE.replace("\n", "\r"), "x" * 200_000 + "\n1\n", '"' + "x" * 200_000 + "\n1\n"],
    ids=["line ends of another age", "a header without end", "a quote without end"],
)
def test_a_first_line_that_is_no_header_is_told(text: str) -> None:
    problem = refusal(text)
    assert problem.row == 1
    assert problem.field in ("header", "line")
    assert len(str(problem)) < 2000, "a person reads it"
