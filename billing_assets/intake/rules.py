"""What may be wrong with a record: each rule with its reason, and the field that shows it."""

from datetime import timedelta

import polars as pl

from billing_assets.intake.times import TOLERANCE_MS
from billing_assets.reference.models import Service

LONGEST_MS = 31 * 86_400_000
"""A record that lasts longer than a month is a mistake."""

CLOCKS = timedelta(milliseconds=TOLERANCE_MS)
"""A call may be answered so long before it was set up, by two clocks or whole seconds."""

STAMPS = ("setup_time", "answer_time", "end_time")
WHOLE = ("routing_number", "serving_network", "quantity", "record_sequence", "part")
YES, NO = ("true", "1", "yes"), ("false", "0", "no")
DIGITS = r"^-?[0-9]{1,18}$"

_NUMBERED = (Service.VOICE.value, Service.SMS.value)


def rules() -> list[tuple[pl.Expr, str, str]]:
    """What may be wrong with a record, in the order in which it is told: broken, reason, field."""
    service, day = pl.col("service"), pl.col("day")
    voice = service == Service.VOICE.value
    closing = pl.col("_closing")
    b_wanted = service.is_in(_NUMBERED) & ~closing
    number = pl.col("b_number").is_between(1, 10**15 - 1) & ~pl.col("_b").str.starts_with("0")
    words = pl.col("_last_part").str.to_lowercase()

    def no_digits(name: str, form: str = DIGITS) -> tuple[pl.Expr, str, str]:
        text = pl.col(f"_{name}")
        return text.is_not_null() & ~text.str.contains(form), "BAD_NUMBER", name

    return [
        (pl.col("_record_type").is_not_null(), "UNKNOWN_RECORD_TYPE", "record_type"),
        (service.is_null(), "MISSING_FIELD", "service"),
        (~service.is_in([s.value for s in Service]), "UNKNOWN_SERVICE", "service"),
        (pl.col("_minutes_west") == "", "MISSING_FIELD", "minutes_west"),
        no_digits("minutes_west", r"^[+-]?[0-9]{1,4}$"),
        *((pl.col(f"_unread_{name}"), "BAD_TIME", name) for name in STAMPS),
        (pl.col("setup_time").is_null(), "MISSING_FIELD", "setup_time"),
        *(
            (~pl.col(name).is_between(*_TIMES), "BAD_TIME", name)
            for name in ("answer_time", "setup_time", "end_time")
        ),
        (day.is_null(), "BAD_TIME", "setup_time"),
        no_digits("answer_after", r"^[0-9]{1,9}$"),
        (
            pl.col("in_trunk").is_null() & pl.col("out_trunk").is_null() & ~closing,
            "MISSING_FIELD",
            "in_trunk",
        ),
        no_digits("duration_ms", r"^-?[0-9]{1,18}(?:\.[0-9]{1,9})?$"),
        (
            pl.col("_reported").is_null() & pl.col("_duration_ms").is_not_null(),
            "BAD_NUMBER",
            "duration_ms",
        ),
        (pl.col("_duration_ms").str.starts_with("-"), "NEGATIVE_DURATION", "duration_ms"),
        (
            pl.col("answer_time") < pl.col("setup_time") - CLOCKS,
            "NEGATIVE_DURATION",
            "answer_time",
        ),
        (pl.col("end_time") < pl.col("answer_time"), "NEGATIVE_DURATION", "end_time"),
        (pl.col("end_time") < pl.col("setup_time"), "NEGATIVE_DURATION", "end_time"),
        (pl.col("_reported") > LONGEST_MS, "OUT_OF_RANGE", "duration_ms"),
        (pl.col("duration_ms") > LONGEST_MS, "OUT_OF_RANGE", "end_time"),
        (
            voice
            & pl.col("answered")
            & pl.col("_reported").is_null()
            & pl.col("_end_time").is_null(),
            "MISSING_FIELD",
            "duration_ms",
        ),
        (
            voice & pl.col("answer_time").is_null() & (pl.col("_reported") > 0),
            "MISSING_FIELD",
            "answer_time",
        ),
        (b_wanted & pl.col("_b_number").is_null(), "MISSING_FIELD", "b_number"),
        (b_wanted & ~number.fill_null(False), "BAD_NUMBER", "b_number"),
        (
            (service == Service.EVENT.value) & pl.col("event_type").is_null(),
            "MISSING_FIELD",
            "event_type",
        ),
        *(no_digits(name) for name in WHOLE),
        (
            (service == Service.DATA.value) & pl.col("quantity").is_null(),
            "MISSING_FIELD",
            "quantity",
        ),
        *((pl.col(name) < 0, "OUT_OF_RANGE", name) for name in ("quantity", "record_sequence")),
        (~pl.col("routing_number").is_between(1, 10**15 - 1), "OUT_OF_RANGE", "routing_number"),
        (~pl.col("serving_network").is_between(1, 999_999), "OUT_OF_RANGE", "serving_network"),
        # as whole numbers they would lose the 0, and be those of another country
        *(
            (pl.col(f"_{name}").str.starts_with("0"), "BAD_NUMBER", name)
            for name in ("routing_number", "serving_network")
        ),
        (~pl.col("part").is_between(1, 32_000), "OUT_OF_RANGE", "part"),
        (~words.is_in([*YES, *NO]), "BAD_VALUE", "last_part"),
        # parts without a call to belong to would be put together with others' parts
        (pl.col("part").is_not_null() & pl.col("_call_id").is_null(), "MISSING_FIELD", "call_id"),
    ]


_TIMES = (
    pl.datetime(2000, 1, 1, time_zone="UTC"),
    pl.datetime(2100, 1, 1, time_zone="UTC"),
)


def broken_rows(records: pl.DataFrame) -> pl.Series:
    """Which rows are refused."""
    return records.select(
        pl.any_horizontal(broken.fill_null(False) for broken, _, _ in rules())
    ).to_series()


REFUSED = pl.Schema({"row": pl.Int64, "reason": pl.String, "field": pl.String, "value": pl.String})


def refusal() -> list[pl.Expr]:
    """Row, and reason, field and value of the first thing wrong with it."""
    reason = field = value = pl.lit(None, pl.String)
    for broken, word, name in reversed(rules()):
        here = broken.fill_null(False)
        reason = pl.when(here).then(pl.lit(word)).otherwise(reason)
        field = pl.when(here).then(pl.lit(name)).otherwise(field)
        value = (
            pl.when(here).then(pl.col(f"_{name}").cast(pl.String).fill_null("")).otherwise(value)
        )
    return [pl.col("row"), reason.alias("reason"), field.alias("field"), value.alias("value")]
