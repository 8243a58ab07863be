"""Cells of rate rows, from text to codes, scaled prices, increments and UTC instants.

Every cell is checked, and a bad one named; nothing is compared with other rows.
"""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl

from billing_assets.core.errors import Problem
from billing_assets.core.ids import event_code
from billing_assets.core.money import E10, to_e10
from billing_assets.core.periods import midnight_utc
from billing_assets.lake.tables import UTC_TIME
from billing_assets.reference.codes import report
from billing_assets.reference.models import Agreement, Service
from billing_assets.reference.values import MAX_PRICE, parse_moment

_PRICES = ("rate", "first_rate", "setup_fee", "minimum", "cap", "previous_rate")
_PRICE_PATTERN = r"^[0-9]{1,8}(\.[0-9]{1,10})?$"
_MAX_PRICE_E10 = MAX_PRICE * E10
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def local_instant(value: date | datetime, zone: str) -> datetime:
    """The UTC instant of a local date (its midnight) or time; an explicit offset is kept."""
    try:
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))
            return aware.astimezone(UTC)
        return midnight_utc(value, zone)
    except OverflowError:
        # the first and last hours of the calendar: 9999-12-31T23:59:59 means for ever
        return _LAST if value.year > 5000 else _FIRST


def typed_rows(agreement: Agreement, rows: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """Check every cell and turn text into codes, scaled prices, increments and UTC instants."""
    by_event = agreement.match == "event_type"
    pattern = r"^[A-Za-z0-9_.]+$" if by_event else r"^[1-9][0-9]{0,14}$"
    form = "an event type" if by_event else "a code of 1 to 15 digits without leading zero"
    if agreement.service is Service.EVENT and not by_event:
        form += "; event types need match: event_type"
    report(
        rows.filter(~pl.col("code").str.contains(pattern).fill_null(False)),
        "code",
        f"is not {form}",
        problems,
    )
    for name in _PRICES:
        fits = pl.col(name).str.contains(_PRICE_PATTERN)
        report(rows.filter(~fits), name, "is not a decimal price of at most 10 decimals", problems)
        report(
            rows.filter(fits).filter(_e10(name) > _MAX_PRICE_E10),
            name,
            f"is above {MAX_PRICE:,}: a record's amount could overflow",
            problems,
        )
    _check_bounds(agreement, rows, problems)
    report(
        rows.filter(~pl.col("increments").str.contains(r"^[1-9][0-9]{0,7}/[1-9][0-9]{0,7}$")),
        "increments",
        "is not of the form first/next with both at least 1, such as 60/1",
        problems,
    )
    status = pl.col("status").str.to_lowercase().fill_null("open")
    report(
        rows.filter(~status.is_in(["open", "blocked", "bill_and_keep", "withdrawn"])),
        "status",
        "is not open, blocked, bill_and_keep or withdrawn",
        problems,
    )
    if not agreement.bill_and_keep:
        report(
            rows.filter((status == "open") & pl.col("rate").is_null()),
            "rate",
            "is missing: an open code needs a price, which may be 0",
            problems,
        )
    _check_words(agreement, rows, problems)
    if agreement.rounding.quantity:
        for name in ("first_rate", "minimum", "cap"):
            report(
                rows.filter(pl.col(name).is_not_null()),
                name,
                "does not go with rounding.quantity, which prices the quantity of a period",
                problems,
            )
    stamps = {
        text: _instant(text, agreement.zone)
        for text in pl.concat([rows["from"], rows["to"]]).drop_nulls().unique()
    }
    unreadable = [text for text, value in stamps.items() if value is None]
    for name in ("from", "to"):
        report(
            rows.filter(pl.col(name).is_in(unreadable)),
            name,
            "is not a date (2026-03-01) or time in whole seconds (2026-03-01T12:00:00)",
            problems,
        )
    if problems:
        return rows
    begin = local_instant(agreement.valid_from, agreement.zone)
    increments = pl.col("increments").str.split_exact("/", 1).struct
    default_status = "bill_and_keep" if agreement.bill_and_keep else "open"

    def term(name: str, default: int | None) -> pl.Expr:
        return _e10(name).fill_null(pl.lit(default, pl.Int64))

    def instant(name: str) -> pl.Expr:
        return pl.col(name).replace_strict(stamps, default=None, return_dtype=UTC_TIME)

    if by_event:
        rows = rows.with_columns(
            pl.col("destination").fill_null(pl.col("code")),
            pl.col("code").replace_strict({n: str(event_code(n)) for n in rows["code"].unique()}),
        )
    return rows.select(
        "sheet",
        "sheet_sha256",
        "row",
        "to",
        "marker",
        _e10("previous_rate").alias("previous_e10"),
        pl.col("code").cast(pl.Int64),
        pl.col("destination", "origin", "band").fill_null(""),
        _e10("rate").alias("price_e10"),
        _e10("first_rate").alias("first_price_e10"),
        increments.field("field_0")
        .cast(pl.Int64)
        .fill_null(agreement.increments.first)
        .alias("first_units"),
        increments.field("field_1")
        .cast(pl.Int64)
        .fill_null(agreement.increments.next)
        .alias("next_units"),
        term("setup_fee", to_e10(agreement.setup_fee)).alias("setup_fee_e10"),
        term("minimum", to_e10(agreement.minimum)).alias("minimum_e10"),
        term("cap", None if agreement.cap is None else to_e10(agreement.cap)).alias("cap_e10"),
        instant("from").fill_null(begin).alias("valid_from"),
        instant("to").alias("valid_to"),
        pl.when(status == "open").then(pl.lit(default_status)).otherwise(status).alias("status"),
    ).with_columns(
        pl.when(pl.col("destination") == "")
        .then(pl.col("code").cast(pl.String))
        .otherwise("destination")
        .alias("destination")
    )


def _check_bounds(agreement: Agreement, rows: pl.DataFrame, problems: list[Problem]) -> None:
    """No row's minimum may be above its cap, where one of them is the agreement's too."""
    cells = pl.col("minimum", "cap")
    sound = rows.filter(pl.all_horizontal(cells.is_null() | cells.str.contains(_PRICE_PATTERN)))
    low, high = _e10("minimum"), _e10("cap")
    report(sound.filter(low > high), "minimum", "is above the cap of its row", problems)
    if agreement.cap is not None:
        said = f"is above the agreement's cap, {agreement.cap}"
        above = sound.filter(low > to_e10(agreement.cap), pl.col("cap").is_null())
        report(above, "minimum", said, problems)
    said = f"is below the agreement's minimum, {agreement.minimum}"
    below = sound.filter(high < to_e10(agreement.minimum), pl.col("minimum").is_null())
    report(below, "cap", said, problems)


def _check_words(agreement: Agreement, rows: pl.DataFrame, problems: list[Problem]) -> None:
    """Bands and origins of rows must be words of the agreement."""
    bands = {window.band for window in agreement.bands.windows} if agreement.bands else set()
    if agreement.bands and agreement.bands.otherwise:
        bands.add(agreement.bands.otherwise)
    origins = set()
    if agreement.origins:
        origins = {c.origin for c in agreement.origins.classes} | {agreement.origins.otherwise}
    if agreement.jurisdiction:
        origins = {"INTER", "INTRA", "INDETERMINATE"}
    for name, known in (("band", bands), ("origin", origins)):
        report(
            rows.filter(pl.col(name).is_not_null() & ~pl.col(name).is_in(sorted(known))),
            name,
            f"is not among the agreement's {name}s ({', '.join(sorted(known)) or 'none'})",
            problems,
        )


def _instant(text: str, zone: str) -> datetime | None:
    """A local date or time as UTC; None when it is not one."""
    try:
        return local_instant(parse_moment(text), zone)
    except ValueError:
        return None


def _e10(column: str) -> pl.Expr:
    """Text with at most ten decimals to an exact integer of 10^-10, without a float between."""
    parts = pl.col(column).str.split_exact(".", 1).struct
    fraction = parts.field("field_1").fill_null("").str.pad_end(10, "0")
    return parts.field("field_0").cast(pl.Int64) * E10 + fraction.cast(pl.Int64)
