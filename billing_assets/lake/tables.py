"""The contracts of the lake's tables: grain, columns with their units, partitions.

Units are in the names or beside them: `_e10` is int64 in 10^-10 of the currency, `_ms` is
milliseconds, times are UTC. Words with few values are strings, written dictionary-encoded.
"""

from dataclasses import dataclass, field
from typing import Literal

import polars as pl

UTC_TIME = pl.Datetime("us", "UTC")
MONEY = pl.Decimal(38, 10)


@dataclass(frozen=True)
class Table:
    """One table: what one row is, its columns, and the columns that cut it into slices.

    `order` is how rows of a slice are sorted, so that readers skip row groups; `about` says
    what each column means where its name does not. `page_bytes` are what a reader decompresses
    of a column at least. `compression` is zstd, the smallest, or lz4 for what is read far more
    often than it is written. `bounds` tells whether files state the least and the greatest value
    of each column in each row group.
    """

    name: str
    grain: str
    schema: pl.Schema
    partition_by: tuple[str, ...]
    order: tuple[str, ...] = ()
    about: dict[str, str] = field(default_factory=dict)
    page_bytes: int = 256 * 1024
    compression: Literal["zstd", "lz4"] = "zstd"
    bounds: bool = True


_RECORD = {
    "day": pl.Date,
    "record_id": pl.Int64,
    "service": pl.String,
    "switch": pl.String,
    "in_trunk": pl.String,
    "out_trunk": pl.String,
    "setup_time": UTC_TIME,
    "answer_time": UTC_TIME,
    "end_time": UTC_TIME,
    "arrived_time": UTC_TIME,
    "duration_ms": pl.Int64,
    "answered": pl.Boolean,
    "a_number": pl.Int64,
    "a_length": pl.Int8,
    "a_kind": pl.String,
    "b_number": pl.Int64,
    "b_length": pl.Int8,
    "routing_number": pl.Int64,
    "serving_network": pl.Int32,
    "quantity": pl.Int64,
    "event_type": pl.String,
    "status": pl.String,
    "call_key": pl.Int64,
}

_ABOUT_RECORD = {
    "day": "UTC day of answer_time, or of setup_time when unanswered",
    "record_id": "36 bits of the file's hash, 27 bits of the row in it",
    "service": "voice, sms, data or event",
    "in_trunk": "'switch/trunk group' on which the record came in; null: our own side",
    "out_trunk": "'switch/trunk group' on which it went out; null: our own side",
    "answer_time": "null when unanswered; for messages and events the event itself",
    "arrived_time": "when its file was taken in; of a merged call that of its last part",
    "duration_ms": "answered duration; 0 when unanswered",
    "a_number": "E.164 digits as an integer; null unless a_kind is number or invalid",
    "a_kind": "number, invalid (not 5 to 15 digits), missing, anonymous, alpha",
    "b_number": "E.164 digits as an integer; null when the record has none (data, events)",
    "routing_number": "LRN or other routing number as dialled-number digits, if known",
    "serving_network": "MCC-MNC digits of the serving network, if known",
    "quantity": "messages' segments, data bytes or event count; null for voice",
    "status": "delivery state of a message, release cause of a call, as the source wrote it",
    "call_key": "63-bit hash of switch and call id: equal for one event seen twice",
}

LANDED = Table(
    "landed",
    "one well-formed record of one mediation file, before duplicates and partials are resolved",
    pl.Schema(
        {
            **_RECORD,
            "file": pl.String,
            "record_sequence": pl.Int64,
            "part": pl.Int16,
            "last_part": pl.Boolean,
        }
    ),
    ("day", "file"),
    ("record_id",),
    {
        **_ABOUT_RECORD,
        "file": "SHA-256 of the file, in hex",
        "record_sequence": "the switch's own number of the record, if it has one",
        "part": "position of a partial record (1, 2, ...); null for a whole record",
        "last_part": "true on the partial record that closes the call",
    },
)

REJECTED = Table(
    "rejected",
    "one row of a mediation file that could not be taken in",
    pl.Schema(
        {
            "day": pl.Date,
            "file": pl.String,
            "row": pl.Int64,
            "reason": pl.String,
            "field": pl.String,
            "value": pl.String,
            "payload": pl.String,
        }
    ),
    ("day", "file"),
    ("row",),
    {
        "day": "UTC day of the file's first good record, else of its arrival",
        "reason": "BAD_TIME, BAD_NUMBER, MISSING_FIELD, NEGATIVE_DURATION, ...",
        "payload": "the row as it stood in the file",
    },
)

XDR = Table(
    "xdr",
    "one accepted usage record, merged from its partials, duplicates removed",
    pl.Schema({**_RECORD, "parts": pl.Int16}),
    ("day",),
    # a partner's few records lie in few row groups and pages: the rest is not even decompressed
    ("in_trunk", "out_trunk", "b_number", "record_id"),
    {**_ABOUT_RECORD, "parts": "how many partial records were merged into this one (1: none)"},
    page_bytes=32 * 1024,
    # read by each rating, re-rating and itemised document: 28% more room, a third less time to read
    compression="lz4",
)

DUPLICATE = Table(
    "duplicate",
    "one record that repeats another",
    pl.Schema({"day": pl.Date, "record_id": pl.Int64, "repeats": pl.Int64, "level": pl.String}),
    ("day",),
    ("record_id",),
    {
        "repeats": "record_id of the record that was kept",
        "level": "record, event or fuzzy (other ids, same parties, time and duration)",
    },
)

PARTIAL = Table(
    "partial",
    "one partial record and the call it became part of",
    pl.Schema(
        {
            "day": pl.Date,
            "record_id": pl.Int64,
            "call_record_id": pl.Int64,
            "part": pl.Int16,
            "duration_ms": pl.Int64,
        }
    ),
    ("day",),
    ("record_id",),
    {
        "day": "UTC day of the merged call",
        "call_record_id": "the xdr's record_id; the first part has its own. null: in suspense",
    },
)

SUSPENSE = Table(
    "suspense",
    "one record, or one leg of it, that cannot be priced yet, with the reason",
    pl.Schema(
        {
            "day": pl.Date,
            "stage": pl.String,
            "record_id": pl.Int64,
            "leg": pl.String,
            "reason": pl.String,
            "detail": pl.String,
            "partner": pl.String,
            "duration_ms": pl.Int64,
            "quantity": pl.Int64,
            "at_risk_e10": pl.Int64,
            "currency": pl.String,
        }
    ),
    ("day", "stage"),
    ("record_id",),
    {
        "stage": "xdr (a part of a call is missing) or rating",
        "leg": "customer or supplier; null for the whole record",
        "reason": "UNKNOWN_TRUNK, NO_AGREEMENT, NO_RATE, BLOCKED_CODE, INVALID_NUMBER, ...",
        "at_risk_e10": "estimate by the partner's average price of the day; null: no partner",
    },
)

RATED_LEG = Table(
    "rated_leg",
    "one priced leg of a record: customer leg (we are owed) or supplier leg (we owe)",
    pl.Schema(
        {
            "day": pl.Date,
            "bucket": pl.Int32,
            "record_id": pl.Int64,
            "leg": pl.String,
            "service": pl.String,
            "partner": pl.String,
            "account": pl.String,
            "agreement": pl.String,
            "rate_id": pl.Int64,
            "code": pl.Int64,
            "destination": pl.String,
            "band": pl.String,
            "origin": pl.String,
            "event_time": UTC_TIME,
            "local_day": pl.Date,
            "answered": pl.Boolean,
            "duration_ms": pl.Int64,
            "quantity": pl.Int64,
            "billed_units": pl.Int64,
            "rate_e10": pl.Int64,
            "fees_e10": pl.Int64,
            "amount_e10": pl.Int64,
            "currency": pl.String,
            "pricing": pl.String,
            "plan": pl.String,
            "rerate_request": pl.Int64,
        }
    ),
    ("day", "bucket"),
    ("partner", "destination", "record_id"),
    {
        "day": "the UTC slice day of the record in xdr",
        "bucket": "hash of the partner into the configured number of buckets",
        "agreement": "'ID@version'",
        "rate_id": "row of table `rate`; null where an uncharged record has none",
        "code": "the matched code's digits",
        "event_time": "the stamp that the agreement rates by",
        "local_day": "day of event_time in the agreement's zone: the day that a cycle counts",
        "quantity": "measured seconds, messages, segments, bytes or events before increments",
        "billed_units": "the same after increments",
        "rate_e10": "price of one unit of account (minute, message, MB) incl. surcharges",
        "fees_e10": "setup, attempt and per-call fees inside amount_e10",
        "amount_e10": "rounded once as the agreement says; negative when reverse billed",
        "pricing": "priced; split (over a band or rate change, by parts: no single rate); "
        "not_chargeable (unanswered, undelivered, under grace); bill_and_keep (free on purpose)",
        "plan": "content hash of the rating plan",
        "rerate_request": "the request that last priced the leg; null at first rating",
    },
    # a slice is a few partners, of which a reader wants most: bounds would skip little, and
    # stating them takes a twelfth of a day's rating
    bounds=False,
)

RATE = Table(
    "rate",
    "one row of a deck, at the version of its sheet that is loaded",
    pl.Schema(
        {
            "deck": pl.String,
            "rate_id": pl.Int64,
            "sheet": pl.String,
            "sheet_sha256": pl.String,
            "row": pl.Int64,
            "code": pl.Int64,
            "destination": pl.String,
            "origin": pl.String,
            "band": pl.String,
            "price_e10": pl.Int64,
            "first_price_e10": pl.Int64,
            "first_units": pl.Int64,
            "next_units": pl.Int64,
            "setup_fee_e10": pl.Int64,
            "minimum_e10": pl.Int64,
            "cap_e10": pl.Int64,
            "valid_from": UTC_TIME,
            "valid_to": UTC_TIME,
            "status": pl.String,
        }
    ),
    ("deck",),
    ("code", "valid_from"),
    {
        "row": "line of the sheet, from 1 with its header",
        "status": "open, blocked or bill_and_keep",
        "valid_to": "exclusive; null: until further notice",
    },
)

USAGE_DAILY = Table(
    "usage_daily",
    "UTC day x local day x agreement x leg x service x destination x rate x band x origin x "
    "pricing",
    pl.Schema(
        {
            "day": pl.Date,
            "bucket": pl.Int32,
            "local_day": pl.Date,
            "leg": pl.String,
            "service": pl.String,
            "partner": pl.String,
            "account": pl.String,
            "agreement": pl.String,
            "destination": pl.String,
            "rate_e10": pl.Int64,
            "band": pl.String,
            "origin": pl.String,
            "pricing": pl.String,
            "currency": pl.String,
            "records": pl.Int64,
            "answered": pl.Int64,
            "duration_ms": pl.Int64,
            "quantity": pl.Int64,
            "billed_units": pl.Int64,
            "fees": MONEY,
            "amount": MONEY,
        }
    ),
    ("day", "bucket"),
    ("partner", "destination"),
    {"answered": "records answered or delivered", "amount": "exact sum of rounded records"},
)

CHARGE = Table(
    "charge",
    "one charge of a cycle: usage line, fee, tier, shortfall, rebate, share or adjustment",
    pl.Schema(
        {
            "month": pl.String,
            "bucket": pl.Int32,
            "charge_id": pl.Int64,
            "cycle": pl.String,
            "partner": pl.String,
            "agreement": pl.String,
            "leg": pl.String,
            "kind": pl.String,
            "section": pl.String,
            "service": pl.String,
            "description": pl.String,
            "destination": pl.String,
            "band": pl.String,
            "origin": pl.String,
            "first_day": pl.Date,
            "last_day": pl.Date,
            "records": pl.Int64,
            "answered": pl.Int64,
            "quantity": pl.Decimal(38, 10),
            "unit": pl.String,
            "price": MONEY,
            "exact_amount": MONEY,
            "priced_in": pl.String,
            "amount": MONEY,
            "currency": pl.String,
            "rule": pl.String,
            "tax_treatment": pl.String,
            "steps": pl.String,
            "inputs": pl.String,
            "sources": pl.String,
        }
    ),
    ("month", "cycle"),
    ("partner", "charge_id"),
    {
        "month": "'YYYY-MM' in which the cycle ends",
        "charge_id": "63-bit hash of the charge's key, equal at every run",
        "kind": "usage, recurring, surcharge, ...: the charging model; replaced: usage that a "
        "named rule prices instead, with its rated amount as exact_amount and no money",
        "section": "usage, recurring, prior_period, ...: where the document shows it",
        "exact_amount": "before the line's rounding and exchange",
        "priced_in": "currency of price and exact_amount: the agreement's; `currency` is that of "
        "amount, which the document is in",
        "rule": "the term that priced it; its version is that of the agreement",
        "tax_treatment": "empty: as the agreement's supplies are taxed; compensation: no supply",
        "steps": "JSON list of sentences that derive the amount",
        "inputs": "JSON object of the figures that the rule was given",
        "sources": "JSON object that names what the charge was made from",
    },
)

ACCRUAL = Table(
    "accrual",
    "day of accrual x cycle x agreement x leg x service x service month x kind x rule x currency",
    pl.Schema(
        {
            "day": pl.Date,
            "partner": pl.String,
            "cycle": pl.String,
            "agreement": pl.String,
            "leg": pl.String,
            "service": pl.String,
            "service_month": pl.String,
            "kind": pl.String,
            "section": pl.String,
            "rule": pl.String,
            "first_day": pl.Date,
            "last_day": pl.Date,
            "records": pl.Int64,
            "exact_amount": MONEY,
            "amount": MONEY,
            "currency": pl.String,
            "basis": pl.String,
            "steps": pl.String,
            "sources": pl.String,
        }
    ),
    ("day",),
    ("partner", "cycle", "agreement", "leg", "kind", "rule", "first_day"),
    {
        "day": "the accrual is of the end of this local day",
        "cycle": "the cycle that will bill it",
        "agreement": "'ID@version'; the id alone where the version is not known yet",
        "kind": "rated (usage not billed), replaced (what rules price instead of it), tier, "
        "recurring, rebate, shortfall, ...: as in charge; missing_day, suspense",
        "service_month": "'YYYY-MM' of the last day of service",
        "amount": "as the charge will be rounded; equal to exact_amount where nothing is",
        "basis": "charged: by the terms; expected: a window that still runs, at the rate of use "
        "so far; estimate: records that are not there or not priced",
        "steps": "JSON list of sentences that derive the amount",
        "sources": "JSON object: versions of the reference data and of usage_daily",
    },
)

RECORD_FATE = Table(
    "record_fate",
    "UTC day x landed day x file x switch x fate: records and their durations",
    pl.Schema(
        {
            "day": pl.Date,
            "landed_day": pl.Date,
            "file_key": pl.Int64,
            "switch": pl.String,
            "fate": pl.String,
            "records": pl.Int64,
            "duration_ms": pl.Int64,
        }
    ),
    ("day",),
    ("file_key", "switch", "fate"),
    {
        "day": "UTC day whose slices of xdr, duplicate, partial, suspense and rated_leg tell it",
        "landed_day": "UTC day of the record in landed; null: it never landed",
        "fate": "landed; set aside as duplicate, merged or incomplete (a part is missing); "
        "accepted, and then suspense, rated or own",
        "duration_ms": "of a merged call, what its first part brought",
    },
)

TRAFFIC = Table(
    "traffic_hourly",
    "UTC hour x leg x partner x service x destination x high-risk code x currency",
    pl.Schema(
        {
            "day": pl.Date,
            "hour": pl.Int64,
            "local_hour": pl.Int64,
            "local_weekday": pl.Int64,
            "leg": pl.String,
            "partner": pl.String,
            "service": pl.String,
            "destination": pl.String,
            "high_risk": pl.String,
            "currency": pl.String,
            "attempts": pl.Int64,
            "answered": pl.Int64,
            "user_busy": pl.Int64,
            "no_answer": pl.Int64,
            "short_calls": pl.Int64,
            "duration_ms": pl.Int64,
            "amount": MONEY,
        }
    ),
    ("day",),
    ("partner", "destination", "hour"),
    {
        "hour": "0 to 23, of the event in UTC",
        "local_hour": "0 to 23 in the carrier's zone",
        "local_weekday": "1 Monday to 7 Sunday, in the carrier's zone",
        "high_risk": "the code of the high-risk list that the called number begins with; else ''",
        "short_calls": "answered for no longer than the threshold `short_seconds`",
    },
)

MARGIN = Table(
    "margin_daily",
    "UTC day x customer x supplier x service x destination x currencies: records with both legs",
    pl.Schema(
        {
            "day": pl.Date,
            "customer": pl.String,
            "supplier": pl.String,
            "service": pl.String,
            "destination": pl.String,
            "revenue_currency": pl.String,
            "cost_currency": pl.String,
            "records": pl.Int64,
            "duration_ms": pl.Int64,
            "revenue": MONEY,
            "cost": MONEY,
            "home_currency": pl.String,
            "margin": MONEY,
        }
    ),
    ("day",),
    ("customer", "destination", "supplier"),
    {
        "destination": "in the words of the customer's deck",
        "margin": "revenue less cost in one currency: theirs when both are equal, else the "
        "home currency at the nearest fixing; null without a fixing",
        "home_currency": "the currency of the margin",
    },
)

SWITCH_COUNTER = Table(
    "switch_counter",
    "UTC day x switch x trunk or partner x leg: what a switch or a mediation system counted",
    pl.Schema(
        {
            "day": pl.Date,
            "switch": pl.String,
            "trunk": pl.String,
            "partner": pl.String,
            "leg": pl.String,
            "calls": pl.Int64,
            "duration_ms": pl.Int64,
            "file": pl.String,
        }
    ),
    ("day", "switch"),
    ("trunk", "partner", "leg"),
    {
        "trunk": "'switch/trunk group'; empty in a total of a partner",
        "partner": "empty in a row of a trunk",
        "leg": "customer: what came in; supplier: what went out",
        "calls": "answered calls",
        "file": "SHA-256 of the file, in hex",
    },
)

COMPLETENESS = Table(
    "completeness_daily",
    "UTC day x switch x trunk x leg: answered calls counted by the switch and received as records",
    pl.Schema(
        {
            "day": pl.Date,
            "switch": pl.String,
            "trunk": pl.String,
            "leg": pl.String,
            "partner": pl.String,
            "counted": pl.Int64,
            "counted_ms": pl.Int64,
            "received": pl.Int64,
            "received_ms": pl.Int64,
        }
    ),
    ("day",),
    ("switch", "trunk", "partner", "leg"),
    {
        "trunk": "empty: all trunks of the partner on the switch, counted together",
        "partner": "to whom the trunk belongs at noon; empty: to nobody",
        "counted": "null: nobody counted it",
        "received": "answered voice records accepted, duplicates aside, parts of a call as one",
    },
)

TABLES = {
    table.name: table
    for table in (
        LANDED,
        REJECTED,
        XDR,
        DUPLICATE,
        PARTIAL,
        SUSPENSE,
        RATED_LEG,
        RATE,
        USAGE_DAILY,
        CHARGE,
        ACCRUAL,
        RECORD_FATE,
        TRAFFIC,
        MARGIN,
        SWITCH_COUNTER,
        COMPLETENESS,
    )
}
