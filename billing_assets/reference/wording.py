"""What is wrong with a value of a form, in the words in which all other problems are told."""

from pydantic_core import ErrorDetails

from billing_assets.reference.yamltext import Location

_SAID = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "literal_error": "is not {expected}",
    "enum": "is not {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be greater than or equal to {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be less than or equal to {le}",
    "too_short": "must hold at least {min_length} item(s)",
    "too_long": "must hold at most {max_length} items",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "decimal_type": "is not a decimal",
    "bool_type": "is not true or false",
    "bool_parsing": "is not true or false",
    "string_type": "is not text",
    "union_tag_not_found": "names none of {discriminator}",
    "union_tag_invalid": "is not {expected_tags}",
}
"""A sentence by the kind of error."""

_ALIKE = (
    (("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "is not a whole number"),
    (("model_type", "model_attributes_type", "dict_type"), "is not a mapping of terms"),
    (("list_type", "tuple_type", "frozen_set_type"), "is not a list"),
)
"""One for several kinds."""

_FORMS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "an identifier: 1 to 64 letters, digits, _ . and -, of "
    "which the first is a letter or digit",
    r"^[1-9][0-9]{0,14}$": "a code of 1 to 15 digits without leading zero",
    r"^[1-9][0-9]{0,2}$": "a country code of 1 to 3 digits without leading zero",
    r"^[A-Z]{2}$": "a country such as PT (ISO 3166)",
    r"^[^/\s]+/[^\s]+$": "of the form switch/trunk group",
}
"""What texts of a pattern are."""


def said(error: ErrorDetails) -> str:
    """What is wrong, as a sentence about the value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern", ""))
        return f"is not {_FORMS.get(pattern, f'of the form {pattern}')}"
    sentence = _SAID.get(kind) or next((words for kinds, words in _ALIKE if kind in kinds), "")
    return sentence.format(**context) if sentence else error["msg"].removeprefix("Value error, ")


def place(error: ErrorDetails) -> Location:
    """Where it stands in the file."""
    return tuple(part for part in error["loc"] if part not in _NO_PLACES)


_NO_PLACES = ("constrained-str", "[key]")
"""Parts of a validator's path that are no parts of a file."""
