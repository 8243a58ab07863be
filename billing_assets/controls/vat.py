"""Whether a VAT number can be one: its country's form and check digits, by python-stdnum."""

from stdnum import get_cc_module
from stdnum.exceptions import ValidationError
from stdnum.util import clean

_PREFIXES = {"EL": "gr", "XI": "gb"}


def vat_problem(vat_id: str, country: str) -> str:
    """What is wrong with a VAT number; empty when nothing is, or when its country has no form.

    A number without letters in front is one of `country` (ISO 3166).

    >>> vat_problem("PT503816469", "PT")
    ''
    >>> vat_problem("DE312746389", "DE")
    'is not valid in DE: The number\\'s checksum or check digit is invalid.'
    """
    number = clean(vat_id, " -./").upper()
    if not number:
        return ""
    prefix = number[:2] if number[:2].isalpha() else country
    module = get_cc_module(_PREFIXES.get(prefix, prefix.lower()), "vat")
    if module is None:
        return ""
    try:
        module.validate(number)
    except ValidationError as error:
        return f"is not valid in {prefix}: {error}"
    return ""
