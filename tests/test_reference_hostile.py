"""Hostile and broken sheets: refused in bounded time and memory, or read rightly; never a crash."""

import csv
import io
import json
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_assets.cli.price import quote
from billing_assets.core.e164 import COUNTRY_CODES
from billing_assets.core.money import to_e10
from billing_assets.reference import grids
from billing_assets.reference.codes import prefixes_of_range
from billing_assets.reference.grids import read_grids
from billing_assets.reference.yamltext import Located
from tests.support.references import agreement
from tests.support.sheets import good, load

SECONDS = 30
MEGABYTES = 1500


@contextmanager
def bounded() -> Iterator[None]:
    """A bomb is refused soon."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


def xlsx(**parts: bytes) -> bytes:
    """A minimal workbook with some of its parts replaced (by the last word of their path)."""
    book = openpyxl.Workbook()
    book.worksheets[0].append(["code", "rate"])
    content = io.BytesIO()
    book.save(content)
    packed = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            word = info.filename.rsplit("/", 1)[-1].split(".")[0]
            new.writestr(info.filename, parts.pop(word, None) or old.read(info))
        for word, part in parts.items():
            new.writestr(f"xl/{word}.xml", part)
    return packed.getvalue()


SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


def sheet(rows: bytes) -> bytes:
    return xlsx(sheet1=SHEET + rows + b"</sheetData></worksheet>")


def refused(content: bytes, path: str = "x.xlsx") -> str:
    with bounded(), pytest.raises(ValueError, match=r".") as told:
        read_grids(path, content)
    return str(told.value)


def test_a_zip_bomb_is_refused_while_it_unpacks() -> None:
    bomb = sheet(b" " * (grids.MAX_BYTES + 1))
    assert len(bomb) < 1_000_000
    assert "unpacks to more than" in refused(bomb)


def test_a_bomb_of_many_parts_or_hidden_outside_the_sheets_is_refused_too() -> None:
    assert "unpacks to more than" in refused(xlsx(sharedStrings=b"\0" * (grids.MAX_BYTES + 1)))
    many = {f"p{n}": b"x" for n in range(grids.MAX_PARTS + 1)}
    assert "parts, more than" in refused(xlsx(**many))


def test_entities_that_expand_without_end_are_refused() -> None:
    lol = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    assert "has a document type in xl/worksheets/sheet1.xml" in refused(
        xlsx(sheet1=lol + SHEET + b"</sheetData></worksheet>")
    )
    assert "document type" in refused(xlsx(sheet1=lol.decode().encode("utf-16")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b'<row r="1048577"><c r="A1048577" t="str"><v>code</v></c></row>', "rows"),
        (b'<row r="999999999"><c r="A999999999" t="str"><v>1</v></c></row>', "rows"),
        (b'<row r="1"><c r="XFD1" t="str"><v>code</v></c></row>', "columns"),
        (b'<row r="1"><c r="A1"><v>1e999</v></c></row>', "cannot be read"),
        (b'<row r="1"><c r="A1" t="s"><v>99</v></c></row>', "cannot be read"),
        (b'<row r="1"><c r="A1"><v>1</v></row>', "cannot be read"),
    ],
)
def test_a_sheet_of_absurd_size_or_shape_is_refused(rows: bytes, message: str) -> None:
    assert message in refused(sheet(rows))


def test_a_workbook_that_is_none_is_refused() -> None:
    for content in (b"", b"PK", b"PK\x03\x04torn", xlsx()[:-200], b"code,rate\n44,1\n"):
        assert refused(content)
    locked = bytearray(xlsx())
    for at in range(len(locked) - 4):
        if locked[at : at + 4] == b"PK\x01\x02":
            locked[at + 8] |= 1
    assert "password" in refused(bytes(locked))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("code,rate\n44,1\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("code,rate\n44,1\n".encode("utf-16-le"), "has a NUL at byte 1"),
        ("code,rate\n44,1\n".encode("utf-32"), "is UTF-32"),
        ("destination,code,rate\nUK,44,1\nPerú,51,1\n".encode("latin-1"), "not UTF-8 in line 3"),
        (b"PK\x03\x04", "workbook or archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old XLS"),
        (b"\x1f\x8b\x08", "packed by gzip"),
        (b"", "is empty"),
        (b"\n\n , ,\n", "is empty"),
        (b"a," * 300 + b"a\n", "columns in row 1"),
        (b'code,rate\n"44,1\n' + b"x" * 200_000, "field larger than field limit"),
        (b"code,rate\n" + b"4" * 110_000 + b",1\n", "a cell of 110,000 characters"),
        (b'code,rate\n"44"5,1\n', "is not CSV in line 2"),
    ],
)  # fmt: skip
def test_a_csv_of_a_wrong_encoding_or_an_absurd_shape_is_refused(
    content: bytes, message: str
) -> None:
    assert message in refused(content, "x.csv")


def test_a_csv_of_too_many_bytes_rows_or_cells_is_refused() -> None:
    assert "is larger than" in refused(b"a" * (grids.MAX_BYTES + 1), "x.csv")
    assert "more than 1,048,576 rows" in refused(b"1\n" * (grids.MAX_ROWS + 1), "x.csv")
    assert "cells" in refused(b"1,2,3,4,5,6,7,8,9,10,11,12\n" * 300_000, "x.csv")


def test_cells_of_very_many_codes_are_refused_before_they_are_unfolded() -> None:
    cell = ";".join(str(n) for n in range(200000, 213000))
    text = "code,rate\n" + f'"{cell}",1\n' * 300
    with bounded():
        (problem,) = load([({}, text)]).problems
    assert "more than 3,000,000 codes" in problem.message
    ranges = "100000000000001-899999999999998;" * 1000
    with bounded():
        (problem,) = load([({}, f"code,rate\n{ranges},1\n" * 40)]).problems[:1]
    assert problem.file == "sheets/0.csv"


def test_a_bomb_is_refused_in_bounded_memory() -> None:
    program = (
        "import sys; from tests.test_reference_hostile import sheet; "
        "from billing_assets.reference.grids import read_grids, MAX_BYTES\n"
        "rows = b'<row>' + b'<c/>' * 200 + b'</row>'\n"
        "try: read_grids('x.xlsx', sheet(rows * 100_000))\n"
        "except ValueError as error: print(error)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 21, MEGABYTES << 21))

    with bounded():
        ran = subprocess.run(
            [sys.executable, "-c", program], preexec_fn=limit, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-500:]
    assert "cells" in ran.stdout


# generated sheets

digits = st.text("0123456789", min_size=1, max_size=8)
cells = st.one_of(
    st.text(max_size=12),
    digits,
    st.sampled_from(
        ["4.474E+05", "01/02/2026", "2026-03-01", "1-2", "44;45", "7400-7409", "", "60/60", "-1",
         "0.0120", "increase", "blocked", "=1+1", "\ufeff", "1e400", "0" * 40, "\uff19", "\u0663"]
    ),
)  # fmt: skip
HEADER = ["code", "destination", "rate", "increments", "from", "status", "currency"]


def as_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(cells, min_size=1, max_size=8), max_size=6))
def test_any_rows_are_loaded_whole_or_refused_with_a_place(rows: list[list[str]]) -> None:
    result = load([({}, as_csv(rows))])
    if result.problems:
        assert result.reference.agreements == ()
        assert all(p.file in ("sheets/0.csv", "agreements/A.yaml") for p in result.problems)
        assert all(p.message for p in result.problems)
    else:
        deck = result.reference.agreements[0].deck.rows
        assert deck.filter(deck["price_e10"].is_null() & (deck["status"] == "open")).is_empty()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", "\u0663\u0665\u0661"),
        ("code", "4\u00b2-49"),
        ("rate", "\uff10"),
        ("rate", "0.0\u0661"),
        ("increments", "\uff16\uff10/60"),
        ("from", "202\uff16-03-01"),
    ],
)
def test_digits_of_other_scripts_are_refused_in_their_place(field: str, value: str) -> None:
    row = {"code": "49", "rate": "0.01", "increments": "60/60", "from": "2026-03-01"} | {
        "destination": "Germany", "status": "", "currency": "EUR", field: value
    }  # fmt: skip
    result = load([({}, as_csv([[row[name] for name in HEADER]]))])
    assert result.reference.agreements == ()
    assert [(p.file, p.row, p.field, p.value) for p in result.problems] == [
        ("sheets/0.csv", 2, field, value)
    ]


# amounts at their bounds


def test_amounts_of_a_period_at_their_bound_are_charged_to_the_last_unit(tmp_path: Path) -> None:
    usage = "start,duration_s,b_number\n2026-03-10T12:00:00Z,60,447400123456\n"
    (tmp_path / "usage.csv").write_text(usage)
    most = 10**15
    terms = {
        "one_time": [
            {"fee": "a", "title": "A", "price": most, "on": "2026-03-10"},
            {"fee": "b", "title": "B", "price": "0.0000000001", "quantity": most,
             "on": "2026-03-10"},
        ],
        "recurring": [
            {"fee": "m", "title": "M", "price": most, "from": "2026-03-01"},
            {"fee": "y", "title": "Y", "price": most, "from": "2026-03-01", "every": "year"},
        ],
        "commitments": [
            {"commitment": "c", "period": "month", "amount": "999999999999999.9999999999"},
            {"commitment": "q", "period": "month", "quantity": most, "price": 1},
        ],
    }  # fmt: skip
    rates = [{"code": 44, "rate": "0.01"}]
    own = agreement(currency="IDR", rates=rates, rounding={"line": {"decimals": 10}}, **terms)
    (tmp_path / "own.yaml").write_text(json.dumps(own))
    found = quote(
        [tmp_path / "own.yaml"], tmp_path / "usage.csv", calendar=None, month="", zone="UTC"
    )
    amounts = {charge["description"]: charge["amount"] for charge in found["charges"]}
    assert amounts == {
        "44": Decimal("0.01"),
        "A": most,
        "B": 100_000,
        "M": most,
        "Y": Decimal("84931506849315.0684931507"),
        "c": Decimal("999999999999999.9899999999"),
        "q": most - 1,
    }


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.0000000001", 1),
        ("-12.50", -125_000_000_000),
        ("1" + "0" * 59, 10**69),
        ("0" * 90 + "1.5" + "0" * 90, 15 * 10**9),
    ],
)
def test_decimals_of_any_length_are_taken_exactly(text: str, units: int) -> None:
    assert to_e10(Decimal(text)) == units


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.00000000001", "more than 10 decimals"),
        ("1." + "0" * 69 + "1", "more than 10 decimals"),
        ("1" * 48 + ".00000000001" + "0" * 40, "more than 10 decimals"),
        ("1" * 61, "more than 60 digits"),
        ("7" * 10**6, "more than 60 digits"),
    ],
)
def test_what_is_not_exact_is_refused_at_once(text: str, message: str) -> None:
    with bounded(), pytest.raises(ValueError, match=message):
        to_e10(Decimal(text))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for path in ("x.csv", "x.xlsx"):
        try:
            assert read_grids(path, content)
        except ValueError as error:
            assert str(error)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6 - 1), st.integers(0, 10**6 - 1))
def test_a_range_becomes_the_codes_that_cover_it_and_no_number_more(one: int, two: int) -> None:
    low, high = sorted((one, two))
    found = prefixes_of_range(f"1{low:06d}", f"1{high:06d}")
    covered = sum(10 ** (7 - len(code)) for code in found)
    assert covered == high - low + 1
    assert all(
        int(code.ljust(7, "0")) >= 10**6 + low and int(code.ljust(7, "9")) <= 10**6 + high
        for code in found
    )
    # minimal: no ten codes could be one shorter code
    stems = [code[:-1] for code in found if len(code) > 1]
    assert all(stems.count(stem) < 10 for stem in set(stems))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(sorted(COUNTRY_CODES)), st.integers(1, 10**8), min_size=1, max_size=12
    ),
    st.data(),
)
def test_a_full_sheet_leaves_in_force_exactly_what_it_says(
    old: dict[str, int], data: st.DataObject
) -> None:
    kept = data.draw(st.dictionaries(st.sampled_from(sorted(old)), st.integers(1, 10**8)))
    added = data.draw(st.dictionaries(st.sampled_from(["882", "883"]), st.integers(1, 10**8)))
    new = {**kept, **added}

    def text(prices: dict[str, int]) -> str:
        return "code,rate\n" + "".join(f"{c},{p / 10**4:.4f}\n" for c, p in prices.items())

    entry = {"mode": "full", "effective": "2026-03-01", "drop_confirmed": True}
    if not new:
        return
    deck = good([({}, text(old)), (entry, text(new))]).reference.agreements[0].deck.rows

    def at(month: int) -> dict[str, int]:
        return {
            str(r["code"]): r["price_e10"] // 10**6
            for r in deck.iter_rows(named=True)
            if r["valid_from"].month <= month
            and (r["valid_to"] is None or r["valid_to"].month > month)
        }

    assert at(2) == old
    assert at(3) == new


def test_merges_of_merges_grow_with_the_file_alone() -> None:
    lines = ["a0: &a0 {k: 1, l: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], m{n}: 3}}" for n in range(1, 60)]
    value = Located("\n".join(lines).encode(), "x.yaml").value
    assert isinstance(value, dict)
    assert len(value["a59"]) == 61 and value["a2"] == {"k": 1, "l": 2, "m1": 3, "m2": 3}


def test_a_merged_key_gives_way_to_the_mapping_s_own_and_to_one_merged_before() -> None:
    text = b"a: &a {x: 1, y: 1}\nb: &b {x: 2}\nc: {y: 5, <<: [*a, *b]}\n"
    value = Located(text, "x.yaml").value
    assert isinstance(value, dict)
    assert value["c"] == {"x": 1, "y": 5}
