"""Whatever the bytes are: each row of a file lands, is refused or filtered, or the file is refused.

Nothing else may come of a file: no other error, no row lost, none made up.
"""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_assets.core.errors import InputError
from billing_assets.intake.preset import CANONICAL
from tests.support.intake import (
    ASTERISK_ROW,
    FREESWITCH_ROW,
    GOOD,
    line,
    parse,
    rows_of,
    sansay_row,
    source_of,
    table,
)

FEW = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

CELLS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            '"',
            '""',
            '"x',
            "0",
            "-1",
            "1e9",
            "NaN",
            "null",
            "+",
            "00",
            "true",
            "٣",
            "4٤٢٣٣٣",
            "\t",
        ]
    ),
    st.sampled_from(
        [
            "2026-03-29T01:30:00",
            "2026-13-01T00:00:00Z",
            "2026-03-10T12:00:00+25:00",
            "2026-03-10T12:00:00.٣٣٣Z",
        ]
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r\0"), max_size=12),
    st.integers(-(10**25), 10**25).map(str),
)


def accounted(content: str | bytes, preset: str, **changes: object) -> tuple[list[int], list[int]]:
    """Rows that landed and rows that were refused; the counts by day are held to them."""
    read = parse(content, source_of(preset, **changes))
    landed, rejected = rows_of(read.landed), read.rejected["row"].to_list()
    assert len({*landed, *rejected}) == len(landed) + len(rejected), "a row has two fates"
    filtered = sum(count.filtered for count in read.counts)
    assert read.received == len(landed) + len(rejected) + filtered
    for count in read.counts:
        assert count.received == count.landed + count.rejected + count.filtered
    assert sum(count.landed for count in read.counts) == len(landed)
    return landed, rejected


@FEW
@given(st.lists(st.dictionaries(st.sampled_from(CANONICAL), CELLS, max_size=4), max_size=8))
def test_canonical_rows_with_any_cells_are_all_accounted_for(
    changes: list[dict[str, str]],
) -> None:
    rows = [line(**{k: json_free(v) for k, v in cells.items()}) for cells in changes]
    landed, rejected = accounted(table(line(), *rows, line()), "canonical-csv")
    assert sorted([*landed, *rejected]) == list(range(2, len(rows) + 4))
    assert {2, len(rows) + 3} <= set(landed), "good rows land, whatever stands between them"


def json_free(cell: str) -> str:
    """A cell as a CSV writer would write it."""
    quoted = any(sign in cell for sign in ',"') or cell != cell.strip()
    return '"' + cell.replace('"', '""') + '"' if quoted else cell


@FEW
@given(
    st.lists(
        st.lists(CELLS.filter(lambda cell: '"' not in cell), min_size=1, max_size=25),
        min_size=1,
        max_size=8,
    )
)
def test_ragged_rows_are_all_accounted_for(rows: list[list[str]]) -> None:
    lines = [",".join(row) for row in rows]
    expected = [n for n, text in enumerate(lines, start=3) if text.strip()]
    landed, rejected = accounted(table(line(), *lines), "canonical-csv")
    assert landed[0] == 2
    assert sorted([*landed[1:], *rejected]) == expected


GOOD_ROWS = {
    "canonical-csv": line(),
    "canonical-jsonl": json.dumps(GOOD),
    "freeswitch": FREESWITCH_ROW,
    "asterisk": ASTERISK_ROW + ',"u","f"',
    "sansay": sansay_row(),
}


@pytest.mark.parametrize("preset", GOOD_ROWS)
@FEW
@given(data=st.data())
def test_a_row_with_any_bytes_changed_costs_no_other_row(preset: str, data: st.DataObject) -> None:
    good = GOOD_ROWS[preset]
    at = data.draw(st.integers(0, len(good) - 1))
    length = data.draw(st.integers(0, 5))
    put = data.draw(
        st.text(
            st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r\0"), max_size=5
        )
    )
    bad = good[:at] + put + good[at + length :]
    head = [",".join(CANONICAL)] if preset == "canonical-csv" else []
    text = "\n".join([*head, good, bad, good, good]) + "\n"
    options = {"in_trunk": "accountcode"} if preset == "freeswitch" else {}
    landed, rejected = accounted(text, preset, options=options)
    first = len(head) + 1
    assert {*landed, *rejected} <= {first, first + 1, first + 2, first + 3}
    assert {first, first + 2, first + 3} <= set(landed), f"{bad!r} took others along"


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@FEW
@given(
    st.lists(
        st.one_of(
            JSON_VALUES,
            st.dictionaries(st.sampled_from([*CANONICAL, "x"]), JSON_VALUES, max_size=4).map(
                lambda cells: {**GOOD, **cells}
            ),
        ),
        max_size=6,
    )
)
def test_json_lines_of_any_values_are_all_accounted_for(values: list[object]) -> None:
    lines = [json.dumps(GOOD), *(json.dumps(value) for value in values)]
    landed, rejected = accounted("\n".join(lines), "canonical-jsonl")
    assert sorted([*landed, *rejected]) == list(range(1, len(lines) + 1))
    assert 1 in landed


@pytest.mark.parametrize("preset", GOOD_ROWS)
@FEW
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_a_file_or_a_refused_file(preset: str, content: bytes) -> None:
    for delivered in (content, gzip.compress(content, mtime=0), b"\x1f\x8b" + content):
        try:
            accounted(delivered, preset)
        except InputError as error:
            assert error.problems
