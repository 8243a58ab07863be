"""Numbers as switches write them, to E.164 digits and to the kinds that money hangs on (1.2)."""

import polars as pl
import pytest

from billing_assets.intake.keys import stable_key
from billing_assets.intake.numbers import e164, kind_of, read_numbers
from billing_assets.reference.models import Source
from tests.support.intake import line, only, parse, refusals, source_of, table


def digits(number: str, source: Source, trunk: str = "sw1/TG01") -> str | None:
    frame = pl.DataFrame({"n": [number], "t": [trunk]})
    text = frame.select(e164(pl.col("n"), pl.col("t"), source)).item()
    (row,) = read_numbers(frame["n"], frame["t"], source)["text"]
    assert row == text, "the quick way reads as the rules do"
    return text


PORTUGAL, US, ITALY = (source_of(country_code=code) for code in ("351", "1", "39"))
NOWHERE = source_of()


@pytest.mark.parametrize(
    ("written", "source", "expected"),
    [
        ("351211234567", PORTUGAL, "351211234567"),
        ("+351211234567", PORTUGAL, "351211234567"),
        ("00351211234567", PORTUGAL, "351211234567"),
        ("0211234567", PORTUGAL, "351211234567"),
        (" +351 (21) 123-45.67 ", PORTUGAL, "351211234567"),
        ("0014155550100", PORTUGAL, "14155550100"),
        ("01144207123456", US, "44207123456"),
        ("01144207123456", PORTUGAL, "3511144207123456"),
        ("+14155550100", US, "14155550100"),
        ("14155550100", US, "14155550100"),
        ("0669812345", ITALY, "390669812345"),
        ("+390669812345", PORTUGAL, "390669812345"),
        ("00351211234567", NOWHERE, "351211234567"),
        ("0211234567", NOWHERE, "0211234567"),
        ("sip:+351211234567@198.51.100.1;user=phone", PORTUGAL, "351211234567"),
        ("tel:+351211234567", PORTUGAL, "351211234567"),
        ("0211234567@198.51.100.1", PORTUGAL, "351211234567"),
    ],
)
def test_national_and_international_writing_come_to_the_same_digits(
    written: str, source: Source, expected: str
) -> None:
    assert digits(written, source) == expected


@pytest.mark.parametrize(
    ("written", "trunk", "expected"),
    [
        ("99100447700900123", "sw1/TG01", "447700900123"),
        ("99100+447700900123", "sw1/TG01", "447700900123"),
        ("991000211234567", "sw1/TG01", "351211234567"),
        ("447700900123", "sw1/TG01", "447700900123"),
        ("99100447700900", "sw1/TG02", "99100447700900"),
        ("1234#00447700900123", "sw1/TG03", "447700900123"),
    ],
)
def test_the_technical_prefix_of_a_trunk_goes_before_anything_else(
    written: str, trunk: str, expected: str
) -> None:
    prefixes = {"sw1/TG01": "99100", "sw1/TG03": "1234#"}
    assert digits(written, source_of(country_code="351", prefixes=prefixes), trunk) == expected


@pytest.mark.parametrize(
    ("written", "kind", "number", "length"),
    [
        ("351211234567", "number", 351211234567, 12),
        ("12345", "number", 12345, 5),
        ("123456789012345", "number", 123456789012345, 15),
        ("1234", "invalid", 1234, 4),
        ("1234567890123456", "invalid", 1234567890123456, 16),
        ("123456789012345678", "invalid", 123456789012345678, 18),
        ("1234567890123456789", "invalid", None, None),
        ("0212345678", "invalid", 212345678, 10),
        ("", "missing", None, None),
        ("anonymous", "anonymous", None, None),
        ("Anonymous", "anonymous", None, None),
        ("withheld", "anonymous", None, None),
        ("RESTRICTED", "anonymous", None, None),
        ("unknown", "anonymous", None, None),
        ("Private", "anonymous", None, None),
        ("sip:anonymous@anonymous.invalid", "anonymous", None, None),
        ("MyBank", "alpha", None, None),
        ("35121O234567", "alpha", None, None),
    ],
)
def test_every_calling_number_has_its_kind(
    written: str, kind: str, number: int | None, length: int | None
) -> None:
    row = only(parse(table(line(a_number=written))).landed)
    assert (row["a_kind"], row["a_number"], row["a_length"]) == (kind, number, length)


def test_a_kind_is_told_of_digits_as_they_stand() -> None:
    numbers = pl.DataFrame({"n": ["351211234567", None, "x"]})
    assert numbers.select(kind_of(pl.col("n"))).to_series().to_list() == [
        "number",
        "missing",
        "alpha",
    ]


@pytest.mark.parametrize("service", ["voice", "sms"])
@pytest.mark.parametrize("written", ["1", "112", "447700900123", "123456789012345"])
def test_a_called_number_has_one_to_fifteen_digits(service: str, written: str) -> None:
    row = only(parse(table(line(service=service, b_number=written, quantity="1"))).landed)
    assert (row["b_number"], row["b_length"]) == (int(written), len(written))


@pytest.mark.parametrize("service", ["voice", "sms"])
@pytest.mark.parametrize(
    "written", ["1234567890123456", "44770090O123", "0212345678", "0", "-44770090", "*31#", "+"]
)
def test_a_called_number_that_is_none_costs_its_row(service: str, written: str) -> None:
    read = parse(table(line(service=service, b_number=written, quantity="1")))
    assert refusals(read) == [(2, "BAD_NUMBER", "b_number", written)]


def test_plain_and_other_numbers_of_one_column_keep_their_rows() -> None:
    written = ["351211234567", "+44 20 7123 4567", "", "12", "442071234567", "anonymous"]
    read = parse(table(*(line(a_number=one) for one in written)))
    assert read.landed["a_number"].to_list() == [
        351211234567,
        442071234567,
        None,
        12,
        442071234567,
        None,
    ]
    assert read.landed["a_kind"].to_list() == [
        "number",
        "number",
        "missing",
        "invalid",
        "number",
        "anonymous",
    ]


def mixed(word: int) -> int:
    """The finaliser of SplitMix64, in plain integers."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ word >> shift) * factor % 2**64
    return word ^ word >> 31


def plain_key(text: str) -> int:
    octets = text.encode()
    words = [octets[n : n + 8].ljust(8, b"\0") for n in range(0, len(octets), 8)]
    total = len(octets) + sum(
        mixed(int.from_bytes(word, "little") ^ n * 0x9E3779B97F4A7C15 % 2**64)
        for n, word in enumerate(words, start=1)
    )
    return mixed(total % 2**64) >> 1


def test_keys_of_calls_are_those_of_the_definition_whatever_stands_beside_them() -> None:
    texts = ["", "a", "LIS1|8f3c", "12345678", "123456789", "ç" * 7, "x" * 200]
    expected = [plain_key(text) for text in texts]
    assert stable_key(pl.Series(texts)).to_list() == expected
    assert [stable_key(pl.Series([text]))[0] for text in texts] == expected
    assert stable_key(pl.Series([None, "a"])).to_list() == [None, plain_key("a")]
    assert plain_key("LIS1|8f3c") == 2666405720691833517, "a key once stored never changes"
