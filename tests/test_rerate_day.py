"""Re-rating a day: the scope is as if rated from scratch, all else is what it was."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_assets.core.errors import BillingError, SliceConflict
from billing_assets.lake.store import Lake
from billing_assets.lake.tables import RATED_LEG, SUSPENSE, USAGE_DAILY, XDR
from billing_assets.rating.change import Change, DayRerated
from billing_assets.rating.compile import compile_plan
from billing_assets.rating.day import daily_usage, rate_day
from billing_assets.rating.rerate import rerate_day
from billing_assets.rating.scope import RatingScope
from billing_assets.reference.load import Reference
from billing_assets.reference.models import Leg
from tests.support.records import frame, record
from tests.support.references import agreement, partner, reference

TEN = date(2026, 3, 10)
BUCKETS = 4
PRICE = [
    name
    for name in RATED_LEG.schema
    if name not in ("plan", "rerate_request", "answered", "duration_ms")
]


def rates(**prices: str) -> list[dict[str, object]]:
    """Rate rows of codes written c44='0.60'; '-' blocks, '' leaves the code out."""
    found: list[dict[str, object]] = []
    for name, price in prices.items():
        said = {"status": "blocked"} if price == "-" else {"rate": price}
        if price:
            found.append({"code": name[1:], "destination": f"D{name[1:3]}", **said})
    return found


def world(trunk: str = "P02", **decks: list[dict[str, object]]) -> Reference:
    """Three partners that buy, P03 also sells; trunk sw/T belongs to one of them."""
    names = ["P01", "P02", "P03"]
    terms = [
        agreement(f"{name}-C", partner=name, accounts=[f"{name}-A"], rates=decks[name])
        for name in names
    ]
    terms.append(
        agreement("P03-S", partner="P03", leg="supplier", accounts=["P03-A"], rates=decks["S"])
    )
    accounts = {
        name: [{"account": f"{name}-A", "trunks": [{"trunk": f"sw/{name}"}]}] for name in names
    }
    if trunk in names:
        accounts[trunk][0]["trunks"].append({"trunk": "sw/T"})
    return reference(*terms, partners=[partner(n, accounts[n]) for n in names])


BEFORE = world(
    P01=rates(c44="0.60", c447="0.90", c33="0.30"),
    P02=rates(c44="0.50", c33="0.20"),
    P03=rates(c44="0.40"),
    S=rates(c44="0.25", c33="0.10"),
)
NUMBERS = ["447700900123", "441234567890", "331234567890", "491234567890"]
TRUNKS = ["sw/P01", "sw/P02", "sw/P03", "sw/T", "sw/NEW"]


def day_of(folder: Path, data: Reference, *records: dict[str, object]) -> Lake:
    """A lake with the records of one day, rated."""
    lake = Lake(str(folder))
    lake.replace_slice(XDR, frame(*records).lazy(), {"day": TEN})
    rate_day(lake, compile_plan(data, TEN, buckets=BUCKETS))
    return lake


def traffic() -> list[dict[str, object]]:
    """Every trunk with every number, half of them in transit to P03."""
    return [
        record(n + 1, b=b, in_trunk=trunk, out_trunk="sw/P03" if n % 2 else None, seconds=60 + n)
        for n, (trunk, b) in enumerate((t, b) for t in TRUNKS for b in NUMBERS)
    ]


def again(lake: Lake, data: Reference, *, dry_run: bool = False, **scope: object) -> DayRerated:
    return rerate_day(
        lake,
        data,
        RatingScope(TEN, TEN, **scope),  # pyright: ignore[reportArgumentType]
        TEN,
        buckets=BUCKETS,
        request=7,
        dry_run=dry_run,
    )


def rows(lake: Lake, table=RATED_LEG) -> pl.DataFrame:
    return lake.scan(table).collect().sort(pl.all())


def legs(lake: Lake) -> dict[tuple[int, str], dict[str, object]]:
    found = lake.scan(RATED_LEG).collect()
    assert found.select("record_id", "leg").is_unique().all()
    return {(row["record_id"], row["leg"]): row for row in found.iter_rows(named=True)}


def waiting(lake: Lake) -> dict[tuple[int, str], str]:
    found = lake.scan(SUSPENSE).collect()
    assert found.select("record_id", "leg").is_unique().all()
    return {
        (i, leg): reason for i, leg, reason in found.select("record_id", "leg", "reason").rows()
    }


def unpriced(lake: Lake) -> dict[tuple[int, str], dict[str, object]]:
    """The legs in suspense, which have no destination."""
    return {
        (row["record_id"], row["leg"]): {**row, "destination": None}
        for row in lake.scan(SUSPENSE).collect().iter_rows(named=True)
    }


def assert_summed(lake: Lake) -> None:
    """`usage_daily` is what the legs come to."""
    expected = daily_usage(lake.scan(RATED_LEG))
    assert rows(lake, USAGE_DAILY).equals(expected.sort(pl.all()))


words = st.sampled_from(["0.10", "0.60", "0.61", "-", ""])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_scope_is_as_rated_from_scratch_and_the_rest_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    draw = data.draw
    names = ("c44", "c447", "c33", "c49")
    after = world(
        trunk=draw(st.sampled_from(["P02", "P01", ""])),
        **{
            deck: rates(**{n: draw(words) for n in names}, c1="1")
            for deck in ("P01", "P02", "P03", "S")
        },
    )
    scope = {
        "partners": tuple(draw(st.lists(st.sampled_from(["P01", "P02", "P03"]), unique=True))),
        "destinations": tuple(draw(st.lists(st.sampled_from(["D44", "D33"]), unique=True))),
        "legs": draw(st.sampled_from([(), (Leg.CUSTOMER,), (Leg.SUPPLIER,)])),
    }
    folder = tmp_path_factory.mktemp("rerate")
    lake = day_of(folder / "lake", BEFORE, *traffic())
    scratch = day_of(folder / "scratch", after, *traffic())
    before, files, waited = legs(lake), rows(lake), unpriced(lake)
    result = again(lake, after, **scope)
    now, wanted = legs(lake), legs(scratch)
    old_waiting, waits = waiting(lake), waiting(scratch)

    def inside(leg: dict[str, object] | None) -> bool:
        return leg is not None and all(
            not words or leg[column] in words
            for column, words in (
                ("partner", scope["partners"]),
                ("destination", scope["destinations"]),
                ("leg", [leg.value for leg in scope["legs"]]),
            )
        )

    found = [before, wanted, waited, unpriced(scratch)]
    for key in set().union(*found):
        # in the scope is what was in it, priced or waiting, and what is in it now
        if any(inside(legs_of.get(key)) for legs_of in found):
            assert (key in now) == (key in wanted)
            if key in wanted:
                assert [now[key][c] for c in PRICE] == [wanted[key][c] for c in PRICE]
            else:
                assert old_waiting.get(key) == waits.get(key)
        else:
            assert now.get(key) == before.get(key)
    assert len(now) + len(old_waiting) == len(wanted) + len(waits)
    assert not now.keys() & old_waiting.keys()
    assert_summed(lake)
    if not result.changed:
        assert rows(lake).equals(files)
    assert again(lake, after, **scope).changed == 0


def test_only_slices_with_a_changed_leg_are_written_and_a_dry_run_writes_none(
    tmp_path: Path,
) -> None:
    lake = day_of(tmp_path, BEFORE, *traffic())
    after = world(
        P01=rates(c44="0.70", c447="0.90", c33="0.30"),
        P02=rates(c44="0.50", c33="0.20"),
        P03=rates(c44="0.40"),
        S=rates(c44="0.25", c33="0.10"),
    )
    files = set(lake.dataset(RATED_LEG).files)  # pyright: ignore[reportAttributeAccessIssue]
    tried = again(lake, after, partners=("P01",), destinations=("D44",), dry_run=True)
    assert set(lake.dataset(RATED_LEG).files) == files  # pyright: ignore[reportAttributeAccessIssue]
    done = again(lake, after, partners=("P01",), destinations=("D44",))
    assert done.changes.equals(tried.changes)
    [bucket] = done.buckets
    gone = files - set(lake.dataset(RATED_LEG).files)  # pyright: ignore[reportAttributeAccessIssue]
    assert gone and all(f"bucket={bucket}/" in path for path in gone)
    # 61 seconds of the landline at 0.60 and 0.70 a minute
    [change] = done.changes.filter(pl.col("why") == "rate").to_dicts()
    assert (change["destination"], change["records"]) == ("D44", 1)
    assert (change["before_e10"], change["after_e10"]) == (6_100_000_000, 7_116_670_000)
    mine = lake.scan(RATED_LEG).filter(pl.col("rerate_request") == 7).collect()
    assert set(mine["partner"]) == {"P01"}
    assert_summed(lake)


def test_a_loaded_rate_and_a_mapped_trunk_take_legs_out_of_suspense(tmp_path: Path) -> None:
    lake = day_of(tmp_path, world(trunk="", **{
        "P01": rates(c44="0.60"), "P02": rates(c44="0.50"), "P03": rates(c44="0.40"),
        "S": rates(c44="0.25"),
    }), *traffic())  # fmt: skip
    waited = waiting(lake)
    result = again(lake, BEFORE, partners=("P02",))
    left = waiting(lake)
    gone = {key: reason for key, reason in waited.items() if key not in left}
    assert set(gone.values()) == {"UNKNOWN_TRUNK", "NO_RATE"}
    assert set(result.changes["why"]) >= {
        "priced now, was UNKNOWN_TRUNK",
        "priced now, was NO_RATE",
    }
    assert len(left) + lake.scan(RATED_LEG).collect().height == 30
    assert_summed(lake)


def test_another_writer_of_the_slice_wins_and_this_one_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = day_of(tmp_path, BEFORE, *traffic())
    after = world(
        P01=rates(c44="0.70"), P02=rates(c44="0.80"), P03=rates(c44="0.40"), S=rates(c44="0.25")
    )
    write = Change.write
    rivals = [True]

    def late(change: Change) -> None:
        if rivals and rivals.pop():
            rate_day(lake, compile_plan(BEFORE, TEN, buckets=BUCKETS))
        write(change)

    monkeypatch.setattr(Change, "write", late)
    result = again(lake, after, partners=("P01",), destinations=("D44",))
    assert result.changed and not rivals
    assert again(lake, after, partners=("P01",), destinations=("D44",)).changed == 0

    def always(change: Change) -> None:
        rate_day(lake, compile_plan(BEFORE, TEN, buckets=BUCKETS))
        write(change)

    monkeypatch.setattr(Change, "write", always)
    with pytest.raises(SliceConflict, match="another run replaced rated_leg"):
        again(lake, after, partners=("P02",), destinations=("D44",))


@pytest.mark.parametrize("table", [USAGE_DAILY, SUSPENSE])
def test_the_next_run_completes_one_that_died_after_its_legs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: object
) -> None:
    lake = day_of(tmp_path, BEFORE, *traffic())
    after = world(
        P01=rates(c44="0.70", c49="1"),
        P02=rates(c44="0.5"),
        P03=rates(c44="0.4"),
        S=rates(c44="0.2"),
    )
    replacing = Lake.replacing

    def dying(self: Lake, wanted: object, *arguments: object, **named: object):
        if (
            wanted is table
            and lake.scan(RATED_LEG).filter(pl.col("rerate_request") == 7).collect().height
        ):
            raise KeyboardInterrupt
        return replacing(self, wanted, *arguments, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Lake, "replacing", dying)
    with pytest.raises(KeyboardInterrupt):
        again(lake, after, partners=("P01",))
    monkeypatch.undo()
    again(lake, after, partners=("P01",))
    assert_summed(lake)
    assert not legs(lake).keys() & waiting(lake).keys()
    assert len(legs(lake)) + len(waiting(lake)) == 30


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ({"first": date(2026, 3, 11), "last": TEN}, "ends on 2026-03-10, before it begins"),
        ({"first": TEN, "last": TEN, "codes": ("44x",)}, "'44x' is not of digits alone"),
    ],
)
def test_a_scope_that_cannot_be_is_refused(scope: dict[str, object], message: str) -> None:
    with pytest.raises(BillingError, match=message):
        RatingScope(**scope)  # pyright: ignore[reportArgumentType]
