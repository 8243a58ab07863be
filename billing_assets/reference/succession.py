"""How sheets follow each other: full sheets and amendments, notice, markers, outliers, dates.

Each sheet is compared with what the ones before it left in force (catalogue 2.1, RS2 to RS7).
Its changes are computed here and compared with the sender's own words; a change that breaks the
notice is dated to its earliest valid day. In the end at most one row of a code, origin and band
holds at any instant. Columnar: decks may have hundreds of thousands of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.periods import midnight_utc
from billing_assets.lake.tables import UTC_TIME
from billing_assets.reference.codes import report
from billing_assets.reference.findings import Breach, Finding, Kind
from billing_assets.reference.models import Agreement, Notice, Sheet
from billing_assets.reference.notice import earliest_instants, local_day

KEY = ("code", "origin", "band")

_TERMS = (
    "price_e10",
    "first_price_e10",
    "first_units",
    "next_units",
    "setup_fee_e10",
    "minimum_e10",
)
"""What makes a price higher or lower; a cap works the other way."""

MOST_DROPPED = 5
"""A full sheet may leave out one code in so many; more must be confirmed."""

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a row without one."""

OUTLIER = 10
"""A price that rises to so many times, or falls to that part, of the one before."""


@dataclass
class Succession:
    """The rows of an agreement's sheets, one taken after the other."""

    agreement: Agreement
    problems: list[Problem]
    findings: list[Finding] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    state: pl.DataFrame | None = None
    honour_notice: bool = True

    def take(self, rows: pl.DataFrame, sheet: Sheet | None) -> None:
        """Take the next sheet's rows (`typed_rows`); None for the agreement's own rates."""
        last_wins = sheet is not None and sheet.duplicates == "last"
        rows = self._single(rows, last_wins)
        if self.problems:
            return
        effective = None
        if sheet is not None and sheet.mode == "full" and self.state is not None:
            effective = self._effective(rows, sheet)
            rows = self._with_withdrawals(rows, sheet, effective)
            if self.problems:
                return
        state = self._kept(rows, effective)
        told = self._compared(rows, state)
        if sheet is not None:
            self._tell_changes(told)
            self._tell_retroactive(told, sheet)
            if sheet.received is None:
                self._tell_no_receipt(told)
            elif self.honour_notice:
                told = self._noticed(told, sheet.received, state)
        rows = told.select(rows.columns)
        self.state = rows if self.state is None else self._merged(state, rows, sheet)

    def dated(self) -> pl.DataFrame:
        """The rows that hold at some time: at most one of a code, origin and band at any."""
        assert self.state is not None
        return _dated(self.state)

    # duplicates

    def _single(self, rows: pl.DataFrame, last_wins: bool) -> pl.DataFrame:
        """One row for a code, origin, band and instant: two are refused, or the last one wins."""
        backwards = rows.filter(pl.col("valid_to") <= pl.col("valid_from"))
        report(backwards, "to", "is not after the row's start", self.problems)
        twice = rows.filter(pl.struct(*KEY, "valid_from").is_duplicated())
        if twice.is_empty():
            return rows
        if not last_wins:
            report(
                twice,
                "code",
                "stands twice for the same origin, band and instant",
                self.problems,
            )
            return rows
        kept = rows.unique([*KEY, "valid_from"], keep="last", maintain_order=True)
        for at in twice.join(kept.select("row", *KEY, "valid_from"), on=["row", *KEY, "valid_from"],
                             how="anti").iter_rows(named=True):  # fmt: skip
            self._find(Kind.DUPLICATE, at, "code", at["code"], "gives way to a later row")
        return kept

    # full sheets

    def _with_withdrawals(
        self, rows: pl.DataFrame, sheet: Sheet, effective: datetime | None
    ) -> pl.DataFrame:
        """Add a withdrawal for each code in force that a full sheet leaves out."""
        assert self.state is not None
        path = rows["sheet"][0] if rows.height else ""
        if effective is None:
            self.problems.append(
                Problem(
                    "is a full sheet of several dates: say `effective`", path, None, "effective"
                )
            )
            return rows
        in_force = self.dated().filter(
            (pl.col("valid_from") <= effective)
            & (pl.col("valid_to").is_null() | (pl.col("valid_to") > effective))
        )
        absent = in_force.join(rows.select(KEY).unique(), on=KEY, how="anti")
        if absent.height * MOST_DROPPED > in_force.height and not sheet.drop_confirmed:
            self.problems.append(
                Problem(
                    f"leaves out {absent.height:,} of {in_force.height:,} codes in force, more "
                    "than a fifth: say `drop_confirmed: true` if it is the whole list, or "
                    "`mode: amendment`",
                    path,
                    None,
                    "code",
                    ", ".join(str(code) for code in absent["code"].head(5)),
                )
            )
            return rows
        for at in absent.iter_rows(named=True):
            self._find(
                Kind.WITHDRAWN, {**at, "sheet": path, "row": None}, "code", at["code"],
                f"{at['destination']} is not in the full sheet: withdrawn",
            )  # fmt: skip
        gone = absent.with_columns(
            pl.lit(path).alias("sheet"),
            pl.lit(rows["sheet_sha256"][0] if rows.height else "").alias("sheet_sha256"),
            pl.lit(None, pl.Int64).alias("row"),
            pl.lit(effective, UTC_TIME).alias("valid_from"),
            pl.lit(None, UTC_TIME).alias("valid_to"),
            pl.lit("withdrawn").alias("status"),
            pl.lit(None, pl.String).alias("marker"),
            pl.lit(None, pl.Int64).alias("previous_e10"),
        )
        return pl.concat([rows, gone.select(rows.columns)])

    def _effective(self, rows: pl.DataFrame, sheet: Sheet) -> datetime | None:
        """When a sheet begins to hold: as it is said, or the one date of all its rows."""
        if sheet.effective is not None:
            return midnight_utc(sheet.effective, self.agreement.zone)
        dates = rows["valid_from"].unique()
        return dates[0] if len(dates) == 1 else None

    # changes

    def _kept(self, rows: pl.DataFrame, effective: datetime | None) -> pl.DataFrame:
        """What earlier sheets left; a full one is all that is agreed from its date on."""
        state = rows.clear() if self.state is None else self.state
        return state if effective is None else self._without_superseded(state, effective)

    def _compared(self, rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
        """Add each row's `change` and whether it `moved`, by the row before it in time.

        A code's first row in an agreement's first sheet is neither new nor late: it is `first`.
        """
        before = _dated(state).with_columns(
            pl.lit(None).alias(name) for name in rows.columns if name not in state.columns
        )
        before = before.select(rows.columns).cast(rows.schema)
        layers = [f.with_columns(pl.lit(n).alias("_layer")) for n, f in enumerate((before, rows))]
        chain = pl.concat(layers).sort(*KEY, "valid_from", "_layer", maintain_order=True)
        wanted = (*_TERMS, "cap_e10", "status", "destination", "valid_from", "valid_to")
        chain = chain.with_columns(
            pl.col(name).shift(1).over(KEY).alias(f"_old_{name}") for name in wanted
        )
        change = _change()
        if self.state is None:
            opening = pl.col("_old_status").is_null()
            change = pl.when(opening).then(pl.lit("first")).otherwise(change)
        return chain.filter(pl.col("_layer") == 1).drop("_layer").with_columns(
            change.alias("change"),
            (
                (pl.col("_old_destination") != pl.col("destination"))
                & (pl.col("status") != "withdrawn")
            ).fill_null(False).alias("moved"),
        )  # fmt: skip

    def _tell_changes(self, rows: pl.DataFrame) -> None:
        """Compare what changes with the sender's words; prices that look wrong."""
        agreed = (
            (pl.col("marker") == pl.col("change"))
            | (pl.col("change") == "first")
            | ((pl.col("marker") == "moved") & pl.col("moved"))
        )
        for at in rows.filter(pl.col("marker").is_not_null() & ~agreed).iter_rows(named=True):
            self._find(Kind.MARKER, at, "status", at["marker"], f"is {_said(at)}")
        silent = rows.filter(
            "moved", pl.col("change").is_in(["increase", "decrease"]),
            pl.col("marker").ne_missing("moved"), pl.col("_old_destination") != "",
        )  # fmt: skip
        for at in silent.iter_rows(named=True):
            self._find(Kind.MARKER, at, "destination", at["destination"], f"is {_said(at)}")
        old = pl.col("_old_price_e10")
        wrong = rows.filter(pl.col("previous_e10").is_not_null() & (pl.col("previous_e10") != old))
        for at in wrong.iter_rows(named=True):
            self._find(
                Kind.PREVIOUS_RATE, at, "previous_rate", _price(at["previous_e10"]),
                f"is not what was in force, {_price(at['_old_price_e10'])}",
            )  # fmt: skip
        far = rows.filter(
            (old > 0) & (pl.col("price_e10") > 0),
            (pl.col("price_e10") >= old * OUTLIER) | (pl.col("price_e10") * OUTLIER <= old),
        )
        for at in far.iter_rows(named=True):
            self._find(Kind.OUTLIER, at, "rate", _price(at["price_e10"]),
                       f"was {_price(at['_old_price_e10'])}: ten times apart or more")  # fmt: skip
        for at in rows.filter(
            pl.col("price_e10") == 0, old.ne_missing(0), pl.col("status") == "open"
        ).iter_rows(named=True):
            self._find(Kind.ZERO, at, "rate", "0", f"{at['destination']} would cost nothing")
        gone = rows.filter((pl.col("change") == "withdrawn") & ~_was_held(), self.state is not None)
        for at in gone.iter_rows(named=True):
            self._find(Kind.WITHDRAWN, at, "code", at["code"], "is withdrawn and was not in force")
        steps = rows.filter(
            (pl.col("first_units") != pl.col("_old_first_units"))
            | (pl.col("next_units") != pl.col("_old_next_units")),
            pl.col("status") != "withdrawn",
        )
        for at in steps.iter_rows(named=True):
            self._find(
                Kind.INCREMENTS, at, "increments", f"{at['first_units']}/{at['next_units']}",
                f"was {at['_old_first_units']}/{at['_old_next_units']}",
            )  # fmt: skip
        self._tell_other_currency(rows)

    def _tell_other_currency(self, rows: pl.DataFrame) -> None:
        """Most destinations changed by one factor: perhaps they are in another currency."""
        compared = rows.filter(pl.col("_old_price_e10") > 0, pl.col("price_e10") > 0).unique(
            ["destination", "price_e10", "_old_price_e10"]
        )
        factors = compared.filter(pl.col("price_e10") != pl.col("_old_price_e10")).select(
            (pl.col("price_e10") * 1000 // pl.col("_old_price_e10")).alias("thousandths")
        )["thousandths"]
        if compared["destination"].n_unique() < 5 or factors.is_empty():
            return
        middle = int(factors.sort()[len(factors) // 2])
        alike = int(factors.is_between(middle - 5, middle + 5).sum())
        if alike * 2 > compared.height:
            self._find(
                Kind.OTHER_CURRENCY, {"sheet": rows["sheet"][0], "row": None}, "rate", "",
                f"{alike:,} of {compared.height:,} prices change by one factor, about "
                f"{middle / 1000:.3f}: are they in {self.agreement.currency}?",
            )  # fmt: skip

    def _tell_retroactive(self, rows: pl.DataFrame, sheet: Sheet) -> None:
        if sheet.received is None:
            return
        zone = self.agreement.zone
        received = midnight_utc(local_day(sheet.received, zone), zone)
        past = rows.filter(
            pl.col("valid_from") < received, ~pl.col("change").is_in(["unchanged", "first"])
        )
        for at in past.iter_rows(named=True):
            self._find(
                Kind.RETROACTIVE, at, "from", f"{at['valid_from']:%Y-%m-%d}",
                f"{at['change']} of {at['destination']} is before the sheet came: kept; "
                "usage since may be rated again",
            )  # fmt: skip

    # notice

    def _tell_no_receipt(self, rows: pl.DataFrame) -> None:
        """Without the day of receipt nobody can tell which changes are late."""
        notice = self.agreement.notice
        if self.state is not None and rows.height and notice != Notice(cut_off=notice.cut_off):
            self._find(
                Kind.NOTICE, {"sheet": rows["sheet"][0], "row": None}, "received", "",
                "is missing: its changes hold whatever the notice of the agreement",
            )  # fmt: skip

    def _noticed(
        self, rows: pl.DataFrame, received: date | datetime, state: pl.DataFrame
    ) -> pl.DataFrame:
        """Date changes that break the notice to their earliest valid day (RS4, B09).

        A row that moves meets other neighbours: all are compared anew, until none is late.
        """
        terms = self.agreement
        earliest = earliest_instants(terms.notice, received, terms.zone)
        if not earliest:
            return rows
        rows = rows.with_columns(pl.col("valid_from").alias("_requested"))
        bare = (*state.columns, "_requested")
        first = pl.col("change").replace_strict(earliest, default=None, return_dtype=UTC_TIME)
        is_late = (pl.col("valid_from") < first).fill_null(False)
        breaches: dict[tuple[object, ...], Breach] = {}
        while rows.select(is_late.any()).item():
            late = rows.filter(is_late).with_columns(first.alias("valid_from"))
            for at in late.iter_rows(named=True):
                key = tuple(at[name] for name in ("row", *KEY, "_requested"))
                breaches[key] = Breach(
                    terms.key, at["sheet"], at["row"], str(at["code"]), at["_requested"],
                    at["valid_from"], at["change"], at["destination"],
                )  # fmt: skip
            rows = pl.concat([rows.filter(~is_late), late]).select(bare)
            rows = self._compared(_never_held_left_out(rows, state), state)
        self.breaches += breaches.values()
        return rows

    # merging

    def _merged(
        self,
        state: pl.DataFrame,
        rows: pl.DataFrame,
        sheet: Sheet | None,
    ) -> pl.DataFrame:
        """What was in force with the rows of the next sheet, which may correct it."""
        rows = _repeats_left_out(rows, state)
        instant = [*KEY, "valid_from"]
        clash = rows.join(state.select(instant), on=instant, how="semi")
        corrects = sheet is not None and (sheet.duplicates == "last" or sheet.mode == "full")
        if not corrects:
            report(
                clash,
                "code",
                "stands otherwise in an earlier sheet for the same instant: say "
                "`duplicates: last` if this one corrects it",
                self.problems,
            )
        for at in clash.iter_rows(named=True):
            self._find(Kind.DUPLICATE, at, "code", at["code"], "replaces a row of the same instant")
        state = state.join(rows.select(instant), on=instant, how="anti")
        return pl.concat([state, rows])

    def _without_superseded(self, state: pl.DataFrame, effective: datetime) -> pl.DataFrame:
        """A full sheet is all that is agreed from its date on: earlier announcements end."""
        later = state.filter(pl.col("valid_from") > effective)
        for at in later.iter_rows(named=True):
            self._find(
                Kind.SUPERSEDED, at, "from", f"{at['valid_from']:%Y-%m-%d}",
                f"announcement for {at['destination']} is not in the full sheet that came later",
            )  # fmt: skip
        return state.filter(pl.col("valid_from") <= effective)

    def _find(
        self, kind: Kind, at: Mapping[str, object], field: str, value: object, message: str
    ) -> None:
        row = at["row"]
        self.findings.append(
            Finding(
                kind,
                self.agreement.key,
                str(at["sheet"]),
                row if isinstance(row, int) else None,
                field,
                str(value),
                message,
            )
        )


def _dated(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the times at which each is the latest of its code, origin and band: it ends
    where the next one begins, and holds again where that one ends before it."""
    rows = rows.sort(*KEY, "valid_from", maintain_order=True)
    ends = pl.col("valid_to").fill_null(_NEVER)
    outlived = ends < ends.cum_max().shift(1).over(KEY)
    resumed = rows.filter(outlived.fill_null(False)).select(KEY).unique()
    following = pl.col("valid_from").shift(-1).over(KEY)
    if not resumed.is_empty():
        held = _latest_of_each_instant(rows.join(resumed, on=KEY, how="semi", nulls_equal=True))
        rows = pl.concat([rows.join(resumed, on=KEY, how="anti", nulls_equal=True), held])
        rows = rows.sort(*KEY, "valid_from", maintain_order=True)
    rows = rows.with_columns(pl.min_horizontal("valid_to", following).alias("valid_to"))
    return rows.filter(pl.col("status") != "withdrawn")


def _never_held_left_out(rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """The rows without those that were dated so late that they are over, or that what was asked
    for after them holds by then."""
    rows = rows.filter(~(pl.col("valid_to") <= pl.col("valid_from")).fill_null(False))
    asked = pl.concat([
        rows.select(*KEY, "valid_from", "valid_to", "_requested"),
        state.select(*KEY, "valid_from", "valid_to", pl.col("valid_from").alias("_requested")),
    ])  # fmt: skip
    moved = rows.filter(pl.col("valid_from") > pl.col("_requested"))
    lasts = pl.col("valid_to_right").is_null() | (
        pl.col("valid_to_right") >= pl.col("valid_to")
    ).fill_null(False)
    over = moved.join(asked, on=KEY).filter(
        pl.col("_requested_right") > pl.col("_requested"),
        pl.col("valid_from_right") <= pl.col("valid_from"),
        lasts,
    )
    return rows.join(over, on=[*KEY, "_requested"], how="anti")


def _repeats_left_out(rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """The rows without those that say again what holds from their very instant."""
    first = pl.coalesce("first_price_e10", "price_e10").alias("_first")
    terms = [name for name in _TERMS if name != "first_price_e10"]
    same = [*KEY, "valid_from", "valid_to", "status", "destination", *terms, "cap_e10", "_first"]
    held = state.with_columns(first).select(same)
    return rows.with_columns(first).join(held, on=same, how="anti", nulls_equal=True).drop("_first")


def _latest_of_each_instant(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, each for every stretch of time in which none that holds began later."""
    instants = (
        pl.concat(
            rows.select(*KEY, pl.col(edge).alias("_at")) for edge in ("valid_from", "valid_to")
        )
        .drop_nulls("_at")
        .unique()
        .sort(*KEY, "_at")
        .with_columns(pl.col("_at").shift(-1).over(KEY).alias("_until"))
    )
    latest = (
        instants.join(rows, on=KEY, nulls_equal=True)
        .filter(
            pl.col("_at").is_between("valid_from", pl.col("valid_to").fill_null(_NEVER), "left")
        )
        .sort(*KEY, "_at", "valid_from")
        .unique([*KEY, "_at"], keep="last", maintain_order=True)
    )
    # an instant at which only another row ended begins nothing
    again = (pl.col("valid_from") == pl.col("valid_from").shift(1).over(KEY)) & (
        pl.col("_at") == pl.col("_until").shift(1).over(KEY)
    )
    stretch = (~again.fill_null(False)).cum_sum().alias("_stretch")
    return (
        latest.with_columns(stretch)
        .group_by("_stretch", maintain_order=True)
        .agg(pl.col(rows.columns).first(), pl.col("_at").first(), pl.col("_until").last())
        .with_columns(pl.col("_at").alias("valid_from"), pl.col("_until").alias("valid_to"))
        .select(rows.columns)
    )


def _was_held() -> pl.Expr:
    """Whether a row before holds past this one's start."""
    ended = (pl.col("_old_valid_to") <= pl.col("valid_from")).fill_null(False)
    return (pl.col("_old_status") != "withdrawn").fill_null(False) & ~ended


def _change() -> pl.Expr:
    """What a row does to the code's price: any dearer term makes it an increase."""
    none = ~_was_held()
    higher = pl.any_horizontal(_now(n) > _before(n) for n in _TERMS) | (
        _cap("cap_e10") > _cap("_old_cap_e10")
    )
    lower = pl.any_horizontal(_now(n) < _before(n) for n in _TERMS) | (
        _cap("cap_e10") < _cap("_old_cap_e10")
    )
    freed = (pl.col("_old_status") != "open") & (pl.col("status") == "open")
    return (
        pl.when(pl.col("status") == "withdrawn")
        .then(pl.lit("withdrawn"))
        .when((pl.col("status") == "blocked") & (pl.col("_old_status").ne_missing("blocked")))
        .then(pl.lit("blocked"))
        .when(none | freed.fill_null(False))
        .then(pl.lit("new"))
        .when(higher.fill_null(False))
        .then(pl.lit("increase"))
        .when(lower.fill_null(False))
        .then(pl.lit("decrease"))
        .otherwise(pl.lit("unchanged"))
    )


def _now(name: str) -> pl.Expr:
    price = pl.col("price_e10") if name == "first_price_e10" else pl.lit(0, pl.Int64)
    return pl.coalesce(name, price)


def _before(name: str) -> pl.Expr:
    price = pl.col("_old_price_e10") if name == "first_price_e10" else pl.lit(0, pl.Int64)
    return pl.coalesce(f"_old_{name}", price)


def _cap(name: str) -> pl.Expr:
    return pl.col(name).fill_null(2**62)


def _said(at: Mapping[str, object]) -> str:
    """What a row does, in words."""
    said = str(at["change"])
    if at["_old_price_e10"] is not None and said in ("increase", "decrease"):
        said += f" from {_price(at['_old_price_e10'])} to {_price(at['price_e10'])}"
    if at["moved"] and at["_old_destination"]:
        said += f", moved from {at['_old_destination']}"
    return said


def _price(e10: object) -> str:
    if not isinstance(e10, int):
        return "nothing"
    return f"{e10 // 10**10}.{e10 % 10**10:010d}".rstrip("0").rstrip(".")
