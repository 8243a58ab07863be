"""PDF of a document by Typst: PDF/A-3a and PDF/UA-1 in one file, the XML attached.

The same document, layout and engine give the same bytes on every machine: the time stamp is the
issue date and the only fonts are the one installed with us and those that lie beside the layouts,
never the system's. What no font can show is refused, because Typst would otherwise leave a hole in
an invoice without a word.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import fontpkg_ibm_plex_sans
import typst

from billing_assets.core.errors import BillingError
from billing_assets.invoicing.document import Document
from billing_assets.invoicing.layout import FONTS, render_layout, render_statement
from billing_assets.invoicing.statement import Statement

STANDARDS: Final[list["typst.PDFStandard"]] = ["a-3a", "ua-1"]

ENGINES: Final = (
    "typst",
    "jinja2",
    "babel",
    "fontpkg-ibm-plex-sans",
    "lxml",
    "pikepdf",
    "xlsxwriter",
)
"""Packages whose version decides about the bytes of a rendering."""

_MISSING_GLYPH: Final = re.compile(r'the text `"(.+?)"` could not be displayed')


def render_pdf(
    document: Document, templates: Path, xml: bytes | None = None, annex: str | None = None
) -> bytes:
    """The document as PDF; `xml` is attached as its alternative form, `annex` (rows of
    `annex_of`) printed behind it.

    Raises `BillingError` when the layout does not compile or a text has a glyph that the font
    lacks, naming the text, and what `render_layout` raises.
    """
    source = render_layout(document, templates)
    stamp = datetime.combine(document.issue_date, time(), UTC)
    try:
        inputs = {"xml": xml.decode() if xml else "", "annex": annex or ""}
        given = {name: text for name, text in inputs.items() if text}
        compiler = _compiler(source, templates, given)
        output = compiler.compile(format="pdf", pdf_standards=STANDARDS, timestamp=stamp)
    except typst.TypstError as error:
        raise _explained(error, document) from error
    if not isinstance(output, bytes):
        raise TypeError("a PDF is one file")
    return output


def render_statement_pdf(statement: Statement, templates: Path) -> bytes:
    """A statement of account as PDF; raises as `render_pdf` does."""
    stamp = datetime.combine(statement.issue_date, time(), UTC)
    try:
        compiler = _compiler(render_statement(statement, templates), templates, {})
        output = compiler.compile(format="pdf", pdf_standards=STANDARDS, timestamp=stamp)
    except typst.TypstError as error:
        raise _explained(error, statement) from error
    if not isinstance(output, bytes):
        raise TypeError("a PDF is one file")
    return output


def render_pages(document: Document, templates: Path, *, ppi: int = 110) -> list[bytes]:
    """The pages of a document as PNG pictures, as its PDF shows them; raises as `render_pdf`."""
    try:
        compiler = _compiler(render_layout(document, templates), templates, {})
        output = compiler.compile(format="png", ppi=ppi)
    except typst.TypstError as error:
        raise _explained(error, document) from error
    pages = output if isinstance(output, list) else [output]
    return [page for page in pages if page]


def _compiler(source: str, templates: Path, inputs: dict[str, str]) -> typst.Compiler:
    return typst.Compiler(
        source.encode(), root=templates, font_paths=_fonts(templates / FONTS), sys_inputs=inputs
    )


def engine_versions() -> dict[str, str]:
    """The installed versions of everything that renders, for a document's provenance."""
    return {name: version(name) for name in ENGINES}


@lru_cache
def _fonts(more: Path) -> typst.Fonts:
    """Our font family and those of a folder; neither the system's nor Typst's own."""
    return typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[fontpkg_ibm_plex_sans.ROOT / "files", *([more] if more.is_dir() else [])],
    )


def _explained(error: typst.TypstError, document: Document | Statement) -> BillingError:
    missing = dict.fromkeys(_MISSING_GLYPH.findall(error.diagnostic))
    glyphs = "".join(
        re.sub(r"\\u\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), g) for g in missing
    )
    if not glyphs:
        return BillingError(
            f"layout {document.template_name} does not compile: {error.message}\n{error.diagnostic}"
        )
    texts = [text for text in _texts(document.model_dump()) if set(text) & set(glyphs)]
    shown = ", ".join(map(repr, dict.fromkeys(texts))) or "a text of the layout"
    return BillingError(
        f"no font has a glyph for {glyphs!r} in {shown}",
        hint=f"{fontpkg_ibm_plex_sans.FAMILY} has Latin, Greek and Cyrillic; put a font of the "
        f"script into the layouts' folder {FONTS}/",
    )


def _texts(value: object) -> Iterator[str]:
    """Every text inside a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
