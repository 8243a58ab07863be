"""What a workbook's number format says of a number: its currency, or that it is a percentage."""

import re
from functools import cache

from iso4217 import Currency

_SYMBOL = re.compile(r"\[\$([^\]-]*)(?:-[^\]]*)?\]")
_BRACKETS = re.compile(r"\[[^\]]*\]")
_CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")

_SYMBOLS = {"€": "EUR", "£": "GBP EGP GIP FKP SHP LBP SYP SDG SSP", "¥": "JPY CNY", "₹": "INR"}
"""The currencies of a symbol."""

_OF_THE_DOLLAR_SIGN = ("dollar", "peso", "real")
"""What currencies are called that are written with $."""


@cache
def shown_otherwise(number_format: str, currency: str) -> str:
    """How a format contradicts a price in a currency, in words; empty when it does not."""
    marked = _SYMBOL.sub(r" \1 ", number_format)
    marked = _BRACKETS.sub("", marked)
    if "%" in marked:
        return "is shown as a percentage"
    if "$" in marked and not any(word in _name(currency) for word in _OF_THE_DOLLAR_SIGN):
        return f"is shown with $, not as the agreement's currency, {currency}"
    for symbol, codes in _SYMBOLS.items():
        if symbol in marked and currency not in codes.split():
            return f"is shown with {symbol}, not as the agreement's currency, {currency}"
    codes = {code for code in _CODE.findall(marked) if _name(code)}
    if codes - {currency}:
        return f"is shown as {min(codes - {currency})}, not as the agreement's currency, {currency}"
    return ""


def _name(code: str) -> str:
    """A currency's name in lower case; empty for what is none."""
    try:
        return str(Currency(code).currency_name).lower()
    except ValueError:
        return ""
