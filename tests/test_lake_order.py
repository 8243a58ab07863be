"""Rows are sorted by packed integers as comparing their columns would sort them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_assets.lake.order import in_order, places_in_order, sort_keys

WORDS = ["", "a", "B", "b", "Zürich", "é", "sw/OWN", "𝄞", "\uffff"]
EDGES = [-(2**63), -(2**62), -1, 0, 1, 351, 2**62, 2**63 - 1]
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
COLUMNS = {
    "word": (pl.String, st.sampled_from(WORDS)),
    "enum": (pl.Enum(WORDS[::-1]), st.sampled_from(WORDS)),
    "categorical": (pl.Categorical, st.sampled_from(WORDS)),
    "small": (pl.Int16, st.integers(-5, 5)),
    "wide": (pl.Int64, st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1)),
    "date": (pl.Date, st.dates(date(1960, 1, 1), date(2030, 1, 1))),
    "at": (
        pl.Datetime("us", "UTC"),
        st.integers(-(10**14), 10**14).map(lambda n: NOON + timedelta(microseconds=n)),
    ),
    "flag": (pl.Boolean, st.booleans()),
    "money": (pl.Decimal(28, 10), st.sampled_from([Decimal("-1.5"), Decimal(0), Decimal("1e-10")])),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[pl.DataFrame, list[str]]:
    columns = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    count = draw(st.integers(0, 12))
    values = {
        name: pl.Series(
            draw(st.lists(st.none() | COLUMNS[name][1], min_size=count, max_size=count)),
            dtype=COLUMNS[name][0],
        )
        for name in columns
    }
    return pl.DataFrame(values).with_row_index("row"), columns


@given(frames())
def test_rows_are_sorted_as_by_their_columns(drawn: tuple[pl.DataFrame, list[str]]) -> None:
    rows, columns = drawn
    # Enums compare by their words, not by the order in which those were declared
    plain = rows.with_columns(cs.enum().cast(pl.String), cs.categorical().cast(pl.String))
    expected = plain.sort([*columns, "row"], nulls_last=True)["row"]
    assert in_order(rows, [*columns, "row"])["row"].to_list() == expected.to_list()


@given(frames())
def test_keys_are_equal_where_the_columns_are(drawn: tuple[pl.DataFrame, list[str]]) -> None:
    rows, columns = drawn
    keys = sort_keys(rows, columns).rows()
    said = rows.select(columns).rows()
    pairs = list(product(zip(keys, said, strict=True), repeat=2))
    assert all((a == b) is (one == two) for (a, one), (b, two) in pairs)


def test_columns_of_few_values_share_a_key() -> None:
    rows = pl.DataFrame({"trunk": ["b", "a", "b"], "number": [351, 49, 351], "id": [3, 2, 1]})
    assert sort_keys(rows, ["trunk", "number", "id"]).width == 1
    assert places_in_order(sort_keys(rows, ["trunk", "number", "id"])).to_list() == [1, 2, 0]


def test_no_column_leaves_the_order_as_it_is() -> None:
    rows = pl.DataFrame({"trunk": ["b", "a"]})
    assert in_order(rows, []).equals(rows)


@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_a_column_of_nulls_has_one_place(column: str) -> None:
    rows = pl.DataFrame({column: pl.Series([None, None], dtype=COLUMNS[column][0])})
    keys = sort_keys(rows, [column])
    assert len(set(keys.rows())) == 1
    assert sum(keys.null_count().row(0)) == 0
