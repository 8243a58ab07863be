"""Numbers as switches write them, to E.164 digits, and the kinds of calling numbers (1.2)."""

from typing import Any

import polars as pl
import pytest

from billing_assets.intake.numbers import ANONYMOUS, e164, read_numbers
from billing_assets.reference.sources import Source
from tests.support.intake import line, only, parse, refusals, source_of, table

TRUNK = "sw1/TG01"
PORTUGAL = source_of(country_code="351")


def digits(written: str, source: Source = PORTUGAL, trunk: str = TRUNK) -> str | None:
    return read_numbers(pl.Series([written]), pl.Series([trunk]), source)["text"][0]


@pytest.mark.parametrize(
    "written",
    [
        "442071234567",
        "+442071234567",
        "00442071234567",
        "+44 20 7123 4567",
        "+44 (20) 7123-4567",
        "0044.207.123.4567",
        "  442071234567  ",
        "+ 44 2071 234567",
        "+44\u00a020\u00a07123\u00a04567",
        "00\u00a044 2071\u00a0234567",
        "sip:+442071234567@198.51.100.7:5060;user=phone",
        "sips:442071234567@example.net",
        "tel:+44-20-7123-4567;phone-context=example.net",
        "442071234567@198.51.100.7",
    ],
)
def test_every_international_form_is_the_same_number(written: str) -> None:
    assert digits(written) == "442071234567"
    assert digits(written, source_of()) == "442071234567"


@pytest.mark.parametrize("written", ["112.0", "442071234567.0", "0211234567.0", "0044207.0"])
@pytest.mark.parametrize("country", [None, "1", "351"])
def test_a_decimal_fraction_stays_as_it_is(written: str, country: str | None) -> None:
    assert digits(written, source_of(country_code=country)) == written


def test_a_national_zero_becomes_the_sources_country_code() -> None:
    assert digits("0211234567") == "351211234567"
    assert digits("0211234567", source_of()) == "0211234567", "without a country it is unknown"


@pytest.mark.parametrize(
    ("country", "written", "expected"),
    [
        ("44", "02071234567", "442071234567"),
        ("39", "0612345678", "390612345678"),
        ("1", "0114420712345", "4420712345"),
        ("1", "+442071234567", "442071234567"),
        ("351", "0114420712345", "351114420712345"),
    ],
    ids=["trunk zero", "Italy keeps its zero", "011 from +1", "plus", "011 elsewhere is national"],
)
def test_dialling_rules_are_those_of_the_country(country: str, written: str, expected: str) -> None:
    assert digits(written, source_of(country_code=country)) == expected


def test_a_number_with_plus_is_never_taken_for_a_national_one() -> None:
    assert digits("+0211234567") == "0211234567"


def test_a_technical_prefix_goes_before_anything_else_and_on_its_trunk_alone() -> None:
    site = source_of(country_code="351", prefixes={TRUNK: "9990", "sw1/TG02": "777#"})
    assert digits("9990442071234567", site) == "442071234567"
    assert digits("999000442071234567", site) == "442071234567"
    assert digits("99900211234567", site) == "351211234567"
    assert digits("442071234567", site) == "442071234567", "the trunk also sends plain numbers"
    assert digits("9990442071234567", site, "sw1/TG09") == "9990442071234567"
    assert digits("777#442071234567", site, "sw1/TG02") == "442071234567"


def test_a_source_may_have_prefixes_on_hundreds_of_trunks() -> None:
    site = source_of(prefixes={f"sw1/TG{n}": f"9{n:03}" for n in range(300)})
    assert digits("9042442071234567", site, "sw1/TG42") == "442071234567"
    assert digits("9042442071234567", site, "sw1/TG43") == "9042442071234567"


def test_a_prefix_is_stripped_once() -> None:
    site = source_of(prefixes={TRUNK: "44"})
    assert digits("44442071234567", site) == "442071234567"


KINDS = [
    ("351211234567", "number", 351211234567),
    ("12345", "number", 12345),
    ("123456789012345", "number", 123456789012345),
    ("1234", "invalid", 1234),
    ("1234567890123456", "invalid", 1234567890123456),
    ("12345678901234567", "invalid", 12345678901234567),
    ("9" * 30, "invalid", None),
    ("0123456", "invalid", 123456),
    ("", "missing", None),
    ("   ", "missing", None),
    ("112.0", "invalid", None),
    ("+112.0", "invalid", None),
    ("351211234567.0", "invalid", None),
    ("+", "invalid", None),
    ("+ -", "invalid", None),
    ("00", "invalid", None),
    ("+00", "invalid", 0),
    ("0-0", "invalid", None),
    ("ACME", "alpha", None),
    ("35121x", "alpha", None),
    ("#31#351211234567", "alpha", None),
    *((word, "anonymous", None) for word in ANONYMOUS),
    ("Anonymous", "anonymous", None),
    ("sip:anonymous@anonymous.invalid", "anonymous", None),
]


@pytest.mark.parametrize(("written", "kind", "number"), KINDS)
def test_a_calling_number_lands_whatever_it_is_with_its_kind(
    written: str, kind: str, number: int | None
) -> None:
    row = only(parse(table(line(a_number=written))).landed)
    assert (row["a_kind"], row["a_number"]) == (kind, number)
    assert (row["a_length"] is None) == (number is None)


def test_the_length_keeps_a_leading_zero_that_an_integer_loses() -> None:
    row = only(parse(table(line(a_number="0123456"))).landed)
    assert (row["a_number"], row["a_length"]) == (123456, 7)


@pytest.mark.parametrize("written", ["1", "112", "442071234567", "442071234567890"])
def test_a_called_number_has_one_to_fifteen_digits(written: str) -> None:
    row = only(parse(table(line(b_number=written))).landed)
    assert (row["b_number"], row["b_length"]) == (int(written), len(written))


@pytest.mark.parametrize(
    "written", ["4420712345678901", "0", "0123", "+", "00", "112.0", "12a", "anonymous"]
)
def test_a_called_number_that_is_none_is_refused_as_it_was_written(written: str) -> None:
    read = parse(table(line(), line(b_number=written)))
    assert refusals(read) == [(3, "BAD_NUMBER", "b_number", written)]


def test_the_called_number_goes_by_the_prefix_of_its_own_switch() -> None:
    columns = ("service", "switch", "in_trunk", "answer_time", "duration_ms", "b_number")
    site = source_of(prefixes={"sw1/TG01": "99", "sw2/TG01": "77"})
    read = parse(
        table(
            line(columns, switch="sw1", b_number="99442071234567"),
            line(columns, switch="sw2", b_number="77442071234567"),
            line(columns, switch="sw3", b_number="442071234567"),
            columns=columns,
        ),
        site,
    )
    assert read.landed["b_number"].to_list() == [442071234567] * 3


def test_the_fast_way_for_plain_digits_reads_as_the_rules_do() -> None:
    written = [
        "442071234567", "+442071234567", "0211234567", "", "anonymous", "9990351", "12 34 5",
        "442071234567.0",
    ]  # fmt: skip
    site = source_of(country_code="351", prefixes={TRUNK: "9990"})
    for trunk in (TRUNK, "sw1/TG09", None):
        trunks = pl.Series([trunk] * len(written), dtype=pl.String)
        frame = pl.DataFrame({"number": written, "trunk": trunks})
        rules: list[Any] = frame.select(e164(pl.col("number"), pl.col("trunk"), site))[
            "number"
        ].to_list()
        assert read_numbers(frame["number"], trunks, site)["text"].to_list() == rules


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2125550123", "12125550123"),
        ("12125550123", "12125550123"),
        ("+4420712345", "4420712345"),
        ("0114420712345", "4420712345"),
        ("1125550123", "1125550123"),
        ("2120550123", "2120550123"),
    ],
)
def test_ten_digits_of_the_north_american_plan_get_their_country_code(
    written: str, expected: str
) -> None:
    assert digits(written, source_of(country_code="1")) == expected


def test_national_numbers_are_of_their_trunks_country() -> None:
    site = source_of(country_code="49", countries={TRUNK: "1", "sw1/TG02": "39"})
    numbers = {
        ("2125550123", TRUNK): "12125550123",
        ("0612345678", "sw1/TG02"): "390612345678",
        ("0301234567", "sw1/TG03"): "49301234567",
        ("2125550123", "sw1/TG03"): "2125550123",
    }
    texts = pl.Series([written for written, _ in numbers])
    trunks = pl.Series([trunk for _, trunk in numbers])
    assert read_numbers(texts, trunks, site)["text"].to_list() == list(numbers.values())


def test_a_technical_prefix_stands_before_called_numbers_alone() -> None:
    read = parse(
        table(line(a_number="998712345678", b_number="99442071234567")),
        source_of(prefixes={TRUNK: "99"}),
    )
    row = only(read.landed)
    assert (row["a_number"], row["b_number"]) == (998712345678, 442071234567)
