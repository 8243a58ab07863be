"""Segments of a short message (3GPP TS 23.038 and 23.040): what a message is billed as.

A message in one segment holds 160 septets of GSM-7 or 70 UTF-16 units of UCS-2; a longer one
spends some of each segment on the header that joins them: 153 or 67 remain.
"""

from enum import StrEnum

import polars as pl


class Encoding(StrEnum):
    """How the text of a message is coded."""

    GSM7 = "GSM7"
    UCS2 = "UCS2"


SINGLE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
"""Units (septets, UTF-16 units) of a message that fits one segment."""

JOINED = {Encoding.GSM7: 153, Encoding.UCS2: 67}
"""Units of each segment of a longer message."""

DELIVERED = "DELIVRD"
"""The state of a message that arrived (SMPP 3.4, 5.2.28)."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")


def encoding_of(name: str) -> Encoding:
    """Read an encoding as systems write it: GSM7, gsm-7, 'GSM 7', UCS2, UCS-2.

    Raises `ValueError` for any other.
    """
    plain = "".join(c for c in name.upper() if c.isalnum())
    if plain not in Encoding.__members__:
        raise ValueError(f"{name!r} is not an encoding of messages (GSM7, UCS2)")
    return Encoding(plain)


def segments(length: int, encoding: Encoding) -> int:
    """Segments of a message of `length` units: septets of GSM-7, UTF-16 units of UCS-2.

    An empty message is one segment. Raises `ValueError` for a negative length.

    >>> [segments(160, Encoding.GSM7), segments(161, Encoding.GSM7), segments(71, Encoding.UCS2)]
    [1, 2, 2]
    """
    if length < 0:
        raise ValueError(f"a message of {length} units")
    return 1 if length <= SINGLE[encoding] else -(-length // JOINED[encoding])


def segments_column(length: pl.Expr, encoding: pl.Expr) -> pl.Expr:
    """The same for columns of lengths (Int64) and encodings (`Encoding` words), as Int64."""
    words = [one.value for one in Encoding]
    single = encoding.replace_strict(words, list(SINGLE.values()), default=None)
    joined = encoding.replace_strict(words, list(JOINED.values()), default=None)
    return pl.when(length <= single).then(1).otherwise((length + joined - 1) // joined)


def segments_of_text(text: str) -> tuple[Encoding, int, int]:
    """Encoding, length in its units, and segments of a text.

    GSM-7 as long as its alphabet has every character, else UCS-2. A character of the extension
    table takes two septets, one outside the basic plane two UTF-16 units; neither is cut in two
    by the end of a segment.

    >>> segments_of_text("10 €")
    (<Encoding.GSM7: 'GSM7'>, 5, 1)
    """
    if all(c in _BASIC or c in _EXTENSION for c in text):
        encoding, widths = Encoding.GSM7, [2 if c in _EXTENSION else 1 for c in text]
    else:
        encoding, widths = Encoding.UCS2, [2 if ord(c) > 0xFFFF else 1 for c in text]
    length = sum(widths)
    if length <= SINGLE[encoding]:
        return encoding, length, 1
    count, free = 1, JOINED[encoding]
    for width in widths:
        if width > free:
            count, free = count + 1, JOINED[encoding]
        free -= width
    return encoding, length, count


def state_of(status: pl.Expr) -> pl.Expr:
    """A message's state as SMPP writes it: upper case, `DELIVRD` for delivered; null stays null."""
    state = status.str.strip_chars().str.to_uppercase()
    return pl.when(state == "DELIVERED").then(pl.lit(DELIVERED)).otherwise(state)
