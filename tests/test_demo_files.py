"""Files of the demo: formats as catalogue 1.6 says, numbered, repeatable, with their defects."""

import csv
import gzip
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import openpyxl
import pytest

from billing_assets.demo.generate import MANIFEST, Manifest, generate
from billing_assets.demo.reference import workbook
from billing_assets.demo.scenario import Scenario, load_scenario

DIVIDE = 400
HEADER = (
    "service,in_trunk,out_trunk,setup_time,answer_time,end_time,duration_ms,a_number,b_number,"
    "routing_number,serving_network,quantity,event_type,status,call_id,record_sequence,part,"
    "last_part"
)
CANONICAL = HEADER.split(",")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("demo")
    return out, generate(out, divide=DIVIDE)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("clean")
    return out, generate(out, divide=DIVIDE, defects=False)


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def _rows(demo: tuple[Path, Manifest], source: str, separator: str = ",") -> list[list[str]]:
    """Data rows of a source's files, by a plain CSV reader; files that a seed spoilt left out."""
    out, manifest = demo
    rows: list[list[str]] = []
    for entry in manifest.files:
        if entry.source == source and not entry.seed:
            text = _text(out / "inbox" / source / entry.name)
            found = list(csv.reader(io.StringIO(text), delimiter=separator))
            rows += found[1:] if found[0] == CANONICAL else found
    return rows


def _hashes(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def _seeded(manifest: Manifest, seed: str):
    return next(entry for entry in manifest.files if entry.seed == seed)


def test_the_same_seed_gives_the_same_bytes(demo: tuple[Path, Manifest], tmp_path: Path):
    out, manifest = demo
    assert generate(tmp_path, divide=DIVIDE) == manifest
    assert _hashes(tmp_path) == _hashes(out)


def test_another_seed_gives_other_files_with_as_many_records(
    demo: tuple[Path, Manifest], tmp_path: Path
):
    other = generate(tmp_path, divide=DIVIDE, seed=7)
    assert other.records == demo[1].records
    assert _hashes(tmp_path)["inbox/lis1/" + _first(other, "lis1")] not in _hashes(demo[0]).values()


def _first(manifest: Manifest, source: str) -> str:
    return next(entry.name for entry in manifest.files if entry.source == source)


def test_the_manifest_lists_every_file_with_its_rows(demo: tuple[Path, Manifest]):
    out, manifest = demo
    on_disk = {f"{p.parent.name}/{p.name}" for p in (out / "inbox").glob("*/*")}
    assert on_disk == {f"{entry.source}/{entry.name}" for entry in manifest.files}
    for entry in manifest.files:
        path = out / "inbox" / entry.source / entry.name
        assert path.stat().st_size == entry.size
        if entry.seed in ("torn-file", "wrong-encoding", "empty-file"):
            continue
        lines = len(_text(path).splitlines())
        header = 1 if entry.source in ("lis1", "smsc1", "ipx1") else 0
        assert lines - header == entry.rows, entry.name


def test_without_defects_the_files_hold_each_record_of_the_scenario_once(
    clean: tuple[Path, Manifest], scenario: Scenario
):
    _, manifest = clean
    assert not any(entry.seed for entry in manifest.files)
    assert manifest.rows == sum(manifest.records.values())
    assert set(manifest.records) == {group.key for group in scenario.groups(defects=False)}
    for source in scenario.sources:
        separator = ";" if source.preset == "sansay" else ","
        expected = sum(
            manifest.records[group.key]
            for group in scenario.groups(defects=False)
            if group.switch == source.switch
        )
        assert len(_rows(clean, source.source, separator)) == expected


def test_defects_take_no_record_of_the_scenario_away(
    demo: tuple[Path, Manifest], clean: tuple[Path, Manifest]
):
    def calls(out: Path, manifest: Manifest) -> Counter[tuple[str, ...]]:
        whole = [
            entry.name
            for entry in manifest.files
            if entry.source == "lis1" and entry.seed in ("", "malformed-rows")
        ]
        rows = [
            row
            for name in whole
            for row in csv.DictReader(io.StringIO(_text(out / "inbox" / "lis1" / name)))
        ]
        kept = ("in_trunk", "out_trunk", "answer_time", "end_time", "a_number", "b_number", "part")
        return Counter(tuple(row[k] or "" for k in kept) for row in rows)

    assert calls(*clean) <= calls(*demo)


def test_canonical_files_have_our_header_and_utc_stamps(demo: tuple[Path, Manifest]):
    out, manifest = demo
    rows = list(csv.DictReader(io.StringIO(_text(out / "inbox/smsc1" / _first(manifest, "smsc1")))))
    assert list(rows[0]) == CANONICAL
    assert {row["service"] for row in rows} == {"sms"}
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", row["answer_time"]) for row in rows
    )
    assert {row["in_trunk"] for row in rows} <= {"kijani", "pulso", ""}, "trunks without switch"


def test_freeswitch_files_quote_17_fields_and_write_lisbon_time(demo: tuple[Path, Manifest]):
    out, _ = demo
    line = _text(next((out / "inbox/opo2").glob("*_20260310_*"))).splitlines()[0]
    assert line.startswith('"') and line.endswith('"') and line.count('","') == 16
    summer = [row for row in _rows(demo, "opo2") if row[5].startswith("2026-03-29 01:")]
    assert summer == [], "Lisbon has no hour from 01:00 to 02:00 on the day of the change"
    numbers = {row[2][:2] for row in _rows(demo, "opo2") if row[15] == "zenko"}
    assert numbers == {"00"}


def test_freeswitch_leaves_answer_empty_when_nobody_answered(demo: tuple[Path, Manifest]):
    unanswered = [r for r in _rows(demo, "opo2") if r[9] == "NO_ANSWER"]
    assert unanswered
    assert {(row[5], row[8]) for row in unanswered} == {("", "0")}


def test_asterisk_files_have_18_columns_and_the_trunk_in_the_channel(demo: tuple[Path, Manifest]):
    out, manifest = demo
    rows = _rows(demo, "ams4")
    assert {len(row) for row in rows} == {18}
    trunk = re.compile(r"PJSIP/(.+)-[0-9a-f]{8}")
    trunks = {m[1] for row in rows for m in [trunk.fullmatch(row[5])] if m}
    assert trunks == {"core", "kijani-voice"}
    line = _text(out / "inbox/ams4" / _first(manifest, "ams4")).splitlines()[0]
    assert re.search(r'",\d+,\d+,"ANSWERED"', line), "duration and billsec are not quoted"


def test_sansay_files_have_59_columns_without_header(demo: tuple[Path, Manifest]):
    rows = _rows(demo, "fra3", ";")
    assert {len(row) for row in rows} == {59}
    assert {row[2] for row in rows} == {"R"}
    assert {row[51] for row in rows} == {"F"}
    assert all(
        re.fullmatch(r"[A-Z][a-z]{2} Mar \d\d [\d:]{8} 2026", row[6]) or "Apr" in row[6]
        for row in rows
    )
    prefixed = {row[17][:5] for row in rows if row[13] == "40140"}
    assert prefixed == {"99100"}, "the trunk dials a technical prefix"
    assert not any(row[36].startswith("99100") for row in rows), "which does not leave the switch"


def test_file_numbers_run_on_and_wrap_where_the_source_wraps(
    clean: tuple[Path, Manifest], scenario: Scenario
):
    for source in scenario.sources:
        names = [entry.name for entry in clean[1].files if entry.source == source.source]
        matches = [re.match(source.pattern, name) for name in names]
        numbers = [int(match["sequence"]) for match in matches if match]
        assert len(numbers) == len(names), "every name has the form that sources.yaml tells"
        steps = [
            after - before if after != 1 else after - before + source.sequence_wrap
            for before, after in pairwise(numbers)
        ]
        assert set(steps) == {1}
    wrapped = [entry.name for entry in clean[1].files if entry.source == "ams4"]
    assert [name[-8:-4] for name in wrapped].index("0001") == (
        [name[-8:-4] for name in wrapped].index("9999") + 1
    )


def test_a_number_is_missing_on_switch_2_on_12_march(demo: tuple[Path, Manifest]):
    numbers = sorted(
        {int(entry.name.split("_")[2][:6]) for entry in demo[1].files if entry.source == "opo2"}
    )
    missing = set(range(numbers[0], numbers[-1])) - set(numbers)
    assert len(missing) == 1
    of_the_day = next(e.name for e in demo[1].files if e.name.startswith("opo2_20260312_"))
    assert int(of_the_day.split("_")[2][:6]) == missing.pop() + 1


def test_a_file_arrives_again_with_the_same_bytes_under_another_name(demo: tuple[Path, Manifest]):
    out, manifest = demo
    again = _seeded(manifest, "redelivered-file")
    first = again.name.replace("_again", "")
    folder = out / "inbox" / again.source
    assert (folder / again.name).read_bytes() == (folder / first).read_bytes()


def test_repeated_records_stand_in_a_file_of_another_name(demo: tuple[Path, Manifest]):
    out, manifest = demo
    entry = _seeded(manifest, "duplicate-records")
    repeated = set(_text(out / "inbox" / entry.source / entry.name).splitlines())
    assert {line.split(";")[13] for line in repeated} == {"40110"}, "all are of P01"
    others = {
        line
        for path in (out / "inbox" / entry.source).iterdir()
        if path.name != entry.name
        for line in _text(path).splitlines()
    }
    assert repeated <= others


def test_a_torn_file_cannot_be_decompressed_and_the_whole_file_is_there(
    demo: tuple[Path, Manifest],
):
    out, manifest = demo
    entry = _seeded(manifest, "torn-file")
    torn = out / "inbox" / entry.source / entry.name
    with pytest.raises(EOFError):
        gzip.decompress(torn.read_bytes())
    whole = torn.with_name(entry.name.replace("_part", ""))
    assert whole.read_bytes().startswith(torn.read_bytes())


def test_a_file_of_another_preset_and_one_in_another_encoding_are_planted(
    demo: tuple[Path, Manifest],
):
    out, manifest = demo
    foreign = _seeded(manifest, "wrong-preset")
    line = _text(out / "inbox" / foreign.source / foreign.name).splitlines()[0]
    assert line.count(";") == 58
    encoded = _seeded(manifest, "wrong-encoding")
    path = out / "inbox" / encoded.source / encoded.name
    right = path.with_name(encoded.name.replace("_utf", ""))
    assert path.read_bytes().decode("utf-16") == right.read_text()
    empty = _seeded(manifest, "empty-file")
    assert (out / "inbox" / empty.source / empty.name).read_bytes() == b""


def test_malformed_rows_lie_among_good_ones(demo: tuple[Path, Manifest]):
    out, manifest = demo
    entry = _seeded(manifest, "malformed-rows")
    assert entry.day >= date(2026, 3, 20)
    lines = _text(out / "inbox" / entry.source / entry.name).splitlines()[1:]
    rows = [dict(zip(CANONICAL, line.split(","), strict=False)) for line in lines]
    assert len([row for row in rows if len(row) < len(CANONICAL)]) == 1
    bad = [row for row in rows if row.get("call_id", "").startswith("bad-")]
    assert len(bad) == 4
    assert bad[0]["setup_time"] == ""
    assert "02-30" in bad[1]["answer_time"]
    assert int(bad[2]["duration_ms"]) < 0
    assert not bad[3]["b_number"].isdigit()
    assert len(rows) > 5


def test_every_seed_names_its_control_and_is_planted(demo: tuple[Path, Manifest]):
    _, manifest = demo
    planted = {entry.seed for entry in manifest.files} | {"sequence-gap"}
    for seed in manifest.seeds:
        assert seed.control
        if seed.file:
            assert seed.seed in planted
        for group in seed.usage:
            assert manifest.records[group.key]
        assert seed.file or seed.usage or seed.always


def test_the_numbers_of_seeded_records_are_those_of_the_catalogue(scenario: Scenario):
    calls = {seed.seed: sum(g.total for g in seed.usage) for seed in scenario.seeds}
    assert calls["unknown-trunk"] == 500
    repeated = next(seed.file for seed in scenario.seeds if seed.seed == "duplicate-records")
    assert repeated and repeated.records == 150


@pytest.fixture
def one_partner(scenario: Scenario) -> Scenario:
    return replace(scenario, partners=scenario.partners[-1:], seeds=())


def test_files_of_an_earlier_generation_go_and_other_files_stay(
    one_partner: Scenario, tmp_path: Path
):
    generate(tmp_path, divide=50, scenario=one_partner)
    mine = tmp_path / "inbox" / "lis1" / "from_elsewhere.csv"
    mine.write_text("not ours")
    manifest = generate(tmp_path, divide=6000, scenario=one_partner)
    expected = {f"inbox/{e.source}/{e.name}" for e in manifest.files}
    expected |= {f"reference/{name}" for name in manifest.reference}
    found = set(_hashes(tmp_path)) - {MANIFEST}
    assert found == expected | {"inbox/lis1/from_elsewhere.csv"}
    assert set(json.loads((tmp_path / MANIFEST).read_text())) == expected


def test_progress_reaches_the_number_of_records(one_partner: Scenario, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    manifest = generate(
        tmp_path,
        divide=50,
        scenario=one_partner,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1] == sum(manifest.records.values())
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_workbook_holds_the_sheet_as_text_and_equal_text_gives_equal_bytes():
    text = "code,rate\n447400;447401,0.0120\n220,\n"
    assert workbook(text) == workbook(text)
    sheet = openpyxl.load_workbook(io.BytesIO(workbook(text))).worksheets[0]
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == [
        ["code", "rate"],
        ["447400;447401", "0.0120"],
        ["220", None],
    ]
