"""Layouts: Jinja2 templates that write Typst, into which data enters as text and never as markup.

Templates have delimiters of their own (`<< >>`, `<% %>`, `<# #>`), because Typst uses braces and
hashes itself. Every value becomes a Typst string literal; an unknown field is an error. A folder
of a partner or brand overrides blocks of `default/`. Wording lies in `default/words.yaml`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import yaml
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import BytecodeCache, FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.bccache import Bucket
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup
from typing_extensions import override

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.ids import canonical_json, sha256_of
from billing_assets.core.money import Rounding, minor_units, round_amount
from billing_assets.invoicing.document import (
    CORRECTION_LINE,
    UNNUMBERED,
    Document,
    Kind,
    Line,
    Subtotal,
    ratio_text,
)
from billing_assets.invoicing.statement import Statement

DEFAULT: Final = "default"

FONTS: Final = "fonts"
"""Folder beside the layouts with fonts for scripts that ours does not have."""

TERRITORIES: Final = {"en": "GB", "pt": "PT"}
"""Where a language without a territory is taken to be, for its dates and digits."""

QUANTITY_DECIMALS: Final = {"minute": 2, "kb": 2, "mb": 3}
"""Decimals shown of a quantity by unit; anything else shows what it has, up to four."""

USAGE_PRICE_DECIMALS: Final = 4

UNSAFE_FILTERS: Final = ("safe", "e", "escape", "forceescape", "tojson", "urlize", "xmlattr")
"""Filters whose output Jinja2 takes for markup: they would let data past `_finalize`."""


class _Compiled(BytecodeCache):
    """Compiled templates by their source: thousands of documents share a few layouts."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    @override
    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code of a template whose source has not changed, if it is known."""
        known = self._code.get(f"{bucket.key}{bucket.checksum}")
        if known is not None:
            bucket.bytecode_from_string(known)

    @override
    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template's code."""
        self._code[f"{bucket.key}{bucket.checksum}"] = bucket.bytecode_to_string()


_COMPILED: Final = _Compiled()


def render_layout(document: Document, templates: Path) -> str:
    """The Typst source of a document, by the layout that it names under `templates`.

    Raises `NotFound` for a layout or language that is not there, `BillingError` that names the
    field and the template's line for a field that a document does not have.
    """
    locale, language = locale_of(document.language)
    words = _words(templates, language)
    name = document.kind.value if document.kind in UNNUMBERED else "invoice"
    return _rendered(name, document, templates, _context(document, locale, language, words))


def render_statement(statement: Statement, templates: Path) -> str:
    """The Typst source of a statement of account; raises as `render_layout` does."""
    _, language = locale_of(statement.language)
    words = _words(templates, language)
    context = {
        "document": statement.model_dump(),
        "title": f"{words['kinds']['statement']} {statement.buyer.id} {statement.currency}",
        "is_draft": False,
        "language": language,
        "t": words,
    }
    return _rendered("statement", statement, templates, context)


def _rendered(
    name: str, document: Document | Statement, templates: Path, context: Mapping[str, Any]
) -> str:
    if not (templates / document.template_name).is_dir():
        raise NotFound(
            f"document.template names {document.template_name!r}, and there is no such folder",
            hint=f"make it under {templates.name}/, or name another in the partner's file",
        )
    locale, language = locale_of(document.language)
    environment = _environment(templates, document.currency, locale, _words(templates, language))
    file = f"{name}.typ.j2"
    try:
        template = environment.select_template(
            [f"{document.template_name}/{file}", f"{DEFAULT}/{file}"]
        )
        brand = f"{document.template_name}/invoice.typ.j2"
        known = (templates / brand).is_file()
        return template.render(context, invoice=brand if known else f"{DEFAULT}/invoice.typ.j2")
    except TemplateNotFound as error:
        raise NotFound(f"no layout {error} under {templates}") from error
    except TemplateError as error:
        raise BillingError(f"layout {_place(error, templates)}: {error.message}") from error


def template_hash(templates: Path, name: str) -> str:
    """Content hash of everything that a layout is made of: the default's files, its own, fonts."""
    files = [
        path
        for folder in sorted({DEFAULT, FONTS, name})
        for path in sorted((templates / folder).rglob("*"))
        if path.is_file()
    ]
    contents = {
        path.relative_to(templates).as_posix(): sha256_of(path.read_bytes()) for path in files
    }
    return sha256_of(canonical_json(contents))


def locale_of(language: str) -> tuple[Locale, str]:
    """The locale of a language tag ('pt', 'de-AT') and its bare language.

    Raises `NotFound` for one that is not known.
    """
    try:
        locale = Locale.parse(language.replace("-", "_"))
        if locale.territory is None and locale.language in TERRITORIES:
            locale = Locale(locale.language, TERRITORIES[locale.language])
    except (ValueError, UnknownLocaleError) as error:
        raise NotFound(f"{language!r} is no language tag such as 'en' or 'pt-PT'") from error
    return locale, locale.language


def typst_literal(text: str) -> str:
    r"""A Typst string literal of some text, the same text in markup and in code.

    Everything but letters, digits and blanks is escaped by its code point, so that no text can
    end the literal or be read as markup, wherever a template puts it.

    >>> typst_literal('a"b')
    '"a\\u{22}b"'
    """
    body = "".join(c if c.isalnum() or c == " " else f"\\u{{{ord(c):x}}}" for c in text)
    return f'"{body}"'


def _finalize(value: object) -> object:
    """Turn what a template prints into a literal in markup; blocks and macros pass as they are."""
    return value if isinstance(value, Markup) else Markup("#" + typst_literal(str(value)))


def _environment(
    templates: Path, currency: str, locale: Locale, words: Mapping[str, Any]
) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(templates),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        autoescape=True,
        bytecode_cache=_COMPILED,
    )
    for name in UNSAFE_FILTERS:
        del environment.filters[name]
    decimals = minor_units(currency)

    def digits(value: Decimal | int, places: int) -> str:
        return _digits(value, places, locale)

    def quantity(value: Decimal, unit: str) -> str:
        return digits(value, QUANTITY_DECIMALS.get(unit, min(_places(value), 4)))

    def word(value: str, group: str) -> str:
        return words[group].get(value, value.replace("_", " ").capitalize())

    environment.filters |= {
        "money": lambda value: digits(value, decimals),
        "digits": digits,
        "count": lambda value: digits(value, 0),
        "quantity": quantity,
        "percent": lambda rate: digits(rate * 100, _places(rate * 100)) + "\u00a0%",
        "day": lambda value: _day(value, locale),
        "country": lambda code: locale.territories.get(code, code),
        "word": word,
        "grouped": lambda text: re.sub(r"(.{4})(?=.)", "\\1\u00a0", text.replace(" ", "")),
        "code": lambda text: Markup(typst_literal(str(text))),
        "number": lambda value: Markup(format(Decimal(value), "f")),
    }
    return environment


def _context(
    document: Document, locale: Locale, language: str, words: Mapping[str, Any]
) -> dict[str, Any]:
    """What a template may name: the document as plain data, its groups, words and chart."""
    unnumbered = document.kind in UNNUMBERED
    number = document.number or (document.provenance.cycle if unnumbered else words["draft"])
    home = document.home_tax
    services = {subtotal.service for subtotal in document.subtotals if subtotal.records}
    return {
        "document": document.model_dump(),
        "payable": document.payable,
        "home_rate": home and ratio_text(home.rate),
        "home_decimals": home and minor_units(home.currency),
        "number": number,
        "title": f"{words['kinds'][_titled(document)]} {number}",
        "titled": _titled(document),
        "is_credit": document.kind is Kind.CREDIT_NOTE,
        "is_draft": document.is_draft and not unnumbered,
        "groups": [_group(document, subtotal) for subtotal in document.subtotals],
        "counted": any(subtotal.records for subtotal in document.subtotals),
        "record_kind": services.pop() if len(services) == 1 else "mixed",
        "derived": [line.model_dump() for line in document.lines if _is_derived(line)],
        "by_record": any(line.kind == "usage" for line in document.lines),
        "usage_records": sum(line.records for line in document.lines if line.kind == "usage"),
        "chart": _chart(document, locale, words),
        "language": language,
        "t": words,
    }


def _group(document: Document, subtotal: Subtotal) -> dict[str, Any]:
    """A subtotal with its lines, and how many decimals their prices share in one column."""
    lines = [
        line
        for line in document.lines
        if (line.section, line.service, line.unit)
        == (subtotal.section, subtotal.service, subtotal.unit)
    ]
    least = USAGE_PRICE_DECIMALS if subtotal.records else minor_units(document.currency)
    prices = [line.price for line in lines if line.price is not None]
    prices_of = Counter((line.agreement, line.description) for line in lines)
    return {
        **subtotal.model_dump(),
        "lines": [
            {
                **line.model_dump(),
                "own_days": prices_of[line.agreement, line.description] > 1
                or _has_own_days(line, document),
            }
            for line in lines
        ],
        "price_decimals": max([least, *(_places(price) for price in prices)]),
    }


def _has_own_days(line: Line, document: Document) -> bool:
    """Whether a line's days say something: those of usage in the period are only its traffic's."""
    period = document.period
    if period.first_day <= line.first_day and line.last_day <= period.last_day:
        whole = (line.first_day, line.last_day) == (period.first_day, period.last_day)
        return line.kind != "usage" and not whole
    return True


def _is_derived(line: Line) -> bool:
    """Usage is price times quantity by record; any other charge shows how it came about.

    That of a correction is its reason, which stands among the notes.
    """
    return line.kind not in ("usage", CORRECTION_LINE) and bool(line.steps)


def _titled(document: Document) -> str:
    """What a document is called: notes to what was self-billed say so (VAT Directive 226(10a))."""
    if document.kind is Kind.CREDIT_NOTE and not document.ours:
        return "self_billed_credit"
    if document.kind is Kind.SELF_BILLED and document.references.corrects:
        return "self_billed_debit"
    return document.kind.value


def _day(day: date, locale: Locale) -> str:
    return format_date(day, "medium", locale=locale)


def _digits(value: Decimal | int, places: int, locale: Locale) -> str:
    """A figure with its decimals and thousands as the locale writes them, rounded half up."""
    rounded = round_amount(value, places, Rounding.HALF_UP)
    pattern = "#,##0" + ("." + "0" * places if places else "")
    return format_decimal(rounded, pattern, locale=locale, decimal_quantization=False)


def _chart(document: Document, locale: Locale, words: Mapping[str, Any]) -> dict[str, Any]:
    """Bars of traffic by day as shares of the highest: minutes, or records without minutes."""
    days = document.traffic
    minutes = any(day.minutes for day in days)
    values: list[tuple[date, Decimal]] = [
        (day.day, day.minutes if minutes else Decimal(day.records)) for day in days
    ]
    peak_day, peak = max(values, key=lambda item: item[1], default=(None, Decimal(0)))
    if peak_day is None or not peak:
        return {"bars": [], "legend": ""}
    legend = words["traffic_minutes" if minutes else "traffic_records"].format(
        peak=_digits(peak, 0, locale), day=_day(peak_day, locale)
    )
    bars = [
        {"day": day.day, "share": round_amount(value / peak, 4, Rounding.HALF_UP)}
        for day, value in values
    ]
    return {"bars": bars, "legend": legend}


def _places(value: Decimal) -> int:
    """Decimals that a value needs."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@lru_cache(maxsize=4)
def _catalogue(text: str) -> Mapping[str, Any]:
    return yaml.safe_load(text)


def _words(templates: Path, language: str) -> Mapping[str, Any]:
    catalogue = _catalogue((templates / DEFAULT / "words.yaml").read_text("utf-8"))
    if language not in catalogue:
        known = ", ".join(catalogue)
        raise NotFound(f"document.language: no words for {language!r}", hint=f"known: {known}")
    return catalogue[language]


def _place(error: TemplateError, templates: Path) -> str:
    """File and line of the template where an error arose."""
    inside = [
        f for f in extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(templates)
    ]
    if not inside:
        return str(templates)
    return f"{Path(inside[-1].filename).relative_to(templates)}:{inside[-1].lineno}"
