"""Segments of messages by length and encoding, and of texts."""

import polars as pl
import pytest

from billing_assets.core.sms import (
    Encoding,
    encoding_of,
    segments,
    segments_column,
    segments_of_text,
)


@pytest.mark.parametrize(
    ("length", "encoding", "count"),
    [(0, "GSM7", 1), (1, "GSM7", 1), (160, "GSM7", 1), (161, "GSM7", 2), (306, "GSM7", 2),
     (307, "GSM7", 3), (459, "GSM7", 3), (460, "GSM7", 4), (70, "UCS2", 1), (71, "UCS2", 2),
     (134, "UCS2", 2), (135, "UCS2", 3), (201, "UCS2", 3)],
)  # fmt: skip
def test_a_longer_message_loses_room_to_the_header_of_each_segment(
    length: int, encoding: str, count: int
) -> None:
    assert segments(length, Encoding(encoding)) == count


def test_the_column_form_counts_like_the_function() -> None:
    frame = pl.DataFrame(
        [(n, e.value) for e in Encoding for n in range(500)],
        schema=["length", "encoding"],
        orient="row",
    )
    counted = frame.select(segments_column(pl.col("length"), pl.col("encoding"))).to_series()
    assert counted.to_list() == [segments(n, Encoding(e)) for n, e in frame.iter_rows()]


def test_a_message_of_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 units"):
        segments(-1, Encoding.GSM7)


def test_an_extension_character_takes_two_septets() -> None:
    assert segments_of_text("a" * 160) == (Encoding.GSM7, 160, 1)
    assert segments_of_text("a" * 159 + "€") == (Encoding.GSM7, 161, 2)
    assert segments_of_text("[{}]~|\\^") == (Encoding.GSM7, 16, 1)


def test_an_extension_character_is_not_cut_by_the_end_of_a_segment() -> None:
    # 152 + 1 septet: the euro does not fit into the last septet of the first segment
    text = "a" * 152 + "€" + "a" * 152
    assert segments_of_text(text) == (Encoding.GSM7, 306, 3)
    assert segments(306, Encoding.GSM7) == 2


def test_one_character_outside_the_alphabet_makes_the_message_ucs2() -> None:
    assert segments_of_text("é" * 70) == (Encoding.GSM7, 70, 1)
    assert segments_of_text("ç" + "a" * 69) == (Encoding.UCS2, 70, 1)
    assert segments_of_text("ж" * 71) == (Encoding.UCS2, 71, 2)


def test_a_surrogate_pair_counts_two_units_and_stays_whole() -> None:
    assert segments_of_text("\U0001f600" * 35) == (Encoding.UCS2, 70, 1)
    # 67 is odd: each segment holds 33 pairs
    assert segments_of_text("\U0001f600" * 67) == (Encoding.UCS2, 134, 3)


@pytest.mark.parametrize("name", ["GSM7", "gsm-7", "GSM 7", "Gsm7"])
def test_encodings_are_read_as_systems_write_them(name: str) -> None:
    assert encoding_of(name) is Encoding.GSM7
    assert encoding_of("UCS-2") is Encoding.UCS2


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="latin1"):
        encoding_of("latin1")
