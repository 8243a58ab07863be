"""Direct lookup of codes: the longest code that a number begins with, for every length."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.intake.numbers import MAX_KEPT
from billing_assets.rating.codes import build_code_index

CODES = st.lists(st.integers(1, 10**15 - 1), min_size=1, max_size=40)
NUMBERS = st.lists(st.integers(1, 10**MAX_KEPT - 1), min_size=1, max_size=40)


def longest(codes: set[str], number: str) -> int:
    """The longest code that a number begins with, by trying each length; 0: none."""
    heads = (number[:length] for length in range(len(number), 0, -1))
    return int(next((head for head in heads if head in codes), "0"))


@pytest.mark.parametrize("head", [4, 5, 7])
@given(codes=CODES, numbers=NUMBERS, data=st.data())
def test_a_number_finds_its_longest_code_however_long_both_are(
    head: int, codes: list[int], numbers: list[int], data: st.DataObject
) -> None:
    # numbers that begin with a code, end inside one, or are one with noughts behind it
    for code in codes:
        digits = str(code)
        cut = data.draw(st.integers(1, len(digits)))
        room = data.draw(st.integers(0, MAX_KEPT - len(digits)))
        numbers += [int(digits[:cut]), code, code * 10**room]
    index = build_code_index([np.array(codes, np.int64)], head)
    frame = pl.DataFrame({"number": numbers}).with_columns(
        pl.col("number").cast(pl.String).str.len_chars().cast(pl.Int8).alias("length")
    )
    found = index.with_ids(frame.lazy(), "number", "length", "id").collect()["id"]
    known = {str(code) for code in codes}
    assert index.codes[found].tolist() == [longest(known, str(number)) for number in numbers]


def test_a_missing_number_has_no_code() -> None:
    index = build_code_index([np.array([44], np.int64)])
    frame = pl.LazyFrame({"number": [None, 44], "length": [None, 2]}).cast(
        {"number": pl.Int64, "length": pl.Int8}
    )
    assert index.with_ids(frame, "number", "length", "id").collect()["id"].to_list() == [None, 1]
