"""Countries of dialling codes, by the numbering plans that `phonenumbers` carries."""

from functools import cache

import phonenumbers

WORLD = "001"
"""The country of codes that no country has: networks and services of the whole world."""


@cache
def country_of_code(digits: str) -> str:
    """The ISO 3166 country of an E.164 code; empty for digits that no plan has.

    Countries that share a country code (+1, +7, +44) are told apart by the digits behind it; a
    code too short for that is the main country's.

    >>> [country_of_code(code) for code in ("351", "1876", "1", "77", "882")]
    ['PT', 'JM', 'US', 'KZ', '001']
    """
    plans = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    heads = [digits[:length] for length in (1, 2, 3) if digits[:length].isdecimal()]
    code = next((int(head) for head in heads if int(head) in plans), None)
    if code is None:
        return ""
    main, *others = plans[code]
    example = phonenumbers.example_number(main) if others else None
    if example is None:
        return main
    own = digits[len(str(code)) :]
    # any number behind the digits tells: filled up to a number of the usual length
    full = own.ljust(len(str(example.national_number)), "2")
    number = phonenumbers.PhoneNumber(
        country_code=code, national_number=int(full), italian_leading_zero=full.startswith("0")
    )
    return phonenumbers.region_code_for_number(number) or main
