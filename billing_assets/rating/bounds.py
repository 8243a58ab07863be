"""What no record can exceed: more is a fault of the record, and waits as `OUT_OF_RANGE`."""

MAX_DIGITS = 15
"""Digits of the longest number that E.164 allows."""

MAX_SECONDS = 30 * 86400
"""A longer call is an error of the switch, not a call."""

MAX_QUANTITY = 10**15
"""More messages, bytes or events are an error of the record too."""

MAX_E10 = 8 * 10**18
"""Largest cost of a record's units; int64 has room above it for fees and surcharges."""
