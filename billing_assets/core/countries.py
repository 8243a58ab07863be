"""The countries of the world, and those of dialling codes by the plans of `phonenumbers`."""

from functools import cache

import phonenumbers

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ
BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM
DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS
GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ
MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI
VN VU WF WS YE YT ZA ZM ZW
XK
"""

COUNTRIES = frozenset(_CODES.split())
"""ISO 3166-1 alpha-2 codes, and the one in use for Kosovo."""

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
