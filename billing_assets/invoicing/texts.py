"""Text of a document by a partner's own Jinja2 template: fixed columns, EDI-like rows, mails.

A template lies in the partner's layout folder (or the default's) and reads nothing but what it
is given: it runs in a sandbox, sees only those two folders, and a missing field is an error.
Filters: `cell` for CSV (quoted where needed, no formula), `plain` for exact decimals, `fixed`
for decimals with a set number of places.
"""

import csv
import io
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from billing_assets.core.errors import BillingError, NotFound
from billing_assets.core.money import Rounding, round_amount
from billing_assets.invoicing.csvs import guarded
from billing_assets.invoicing.document import plain


def render_text(templates: Path, layout: str, name: str, facts: Mapping[str, object]) -> str:
    """The text that a template of a layout folder makes of some facts.

    Raises `NotFound` when neither the layout's folder nor the default's has the template,
    `BillingError` that names the template and its line when it fails or asks for what is not
    there.
    """
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([templates / layout, templates / "default"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"cell": _cell, "plain": plain, "fixed": _fixed}
    try:
        return environment.get_template(name).render(facts)
    except TemplateNotFound as error:
        raise NotFound(f"no template {error} in {templates / layout}") from error
    except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError) as error:
        line = getattr(error, "lineno", None) or _line(error)
        raise BillingError(
            f"template {layout}/{name}:{line}: {error}", hint="mend the template"
        ) from error


def _line(error: BaseException) -> int:
    """The template's line in which an error arose: Jinja2 names it in the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(".j2"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _cell(value: object) -> str:
    """A CSV cell: quoted where it must be; figures as they are, text never run as a formula."""
    text = plain(value) if isinstance(value, Decimal) else str(value)
    if isinstance(value, str):
        text = guarded(text)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow([text])
    return stream.getvalue()


def _fixed(value: Decimal, places: int, point: str = ".") -> str:
    """A decimal with a set number of places, rounded half up."""
    rounded = round_amount(value, places, Rounding.HALF_UP)
    return format(rounded, "f").replace(".", point)
