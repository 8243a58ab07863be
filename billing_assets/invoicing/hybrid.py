"""Factur-X and ZUGFeRD: the PDF with its CII inside, as one file of PDF/A-3.

The XML is the file `factur-x.xml`, an alternative of the PDF, and the metadata say so in the
schema of Factur-X 1.0, which PDF/A wants described beside it.
"""

import io

import pikepdf

from billing_assets.invoicing.document import Document

FILE = "factur-x.xml"
SPACE = "urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#"
PROPERTIES = {
    "DocumentFileName": (FILE, "Name of the embedded XML file"),
    "DocumentType": ("INVOICE", "INVOICE"),
    "Version": ("1.0", "Version of the Factur-X schema"),
    "ConformanceLevel": ("EN 16931", "Level of conformance of the embedded XML"),
}


def embed(pdf: bytes, cii: bytes, document: Document) -> bytes:
    """The PDF with the CII embedded; equal input gives equal bytes."""
    stamp = f"D:{document.issue_date:%Y%m%d}000000Z"
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        attached = pikepdf.AttachedFileSpec(
            opened,
            cii,
            filename=FILE,
            description="Factur-X invoice",
            mime_type="text/xml",
            creation_date=stamp,
            mod_date=stamp,
        )
        attached.relationship = pikepdf.Name.Alternative
        opened.attachments[FILE] = attached
        opened.Root.AF = pikepdf.Array([attached.obj])
        metadata = opened.Root.Metadata.read_bytes().decode()
        opened.Root.Metadata = opened.make_stream(
            _described(metadata).encode(),
            Type=pikepdf.Name.Metadata,
            Subtype=pikepdf.Name.XML,
        )
        out = io.BytesIO()
        opened.save(
            out,
            deterministic_id=True,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
        )
        return out.getvalue()


def _described(metadata: str) -> str:
    """XMP with the properties of Factur-X and the description of their schema."""
    values = "".join(f"<fx:{name}>{value}</fx:{name}>" for name, (value, _) in PROPERTIES.items())
    described = "".join(
        '<rdf:li rdf:parseType="Resource">'
        f"<pdfaProperty:name>{name}</pdfaProperty:name>"
        "<pdfaProperty:valueType>Text</pdfaProperty:valueType>"
        "<pdfaProperty:category>external</pdfaProperty:category>"
        f"<pdfaProperty:description>{about}</pdfaProperty:description></rdf:li>"
        for name, (_, about) in PROPERTIES.items()
    )
    pdfa = "http://www.aiim.org/pdfa/ns"
    added = (
        f'<rdf:Description rdf:about="" xmlns:fx="{SPACE}">{values}</rdf:Description>'
        f'<rdf:Description rdf:about="" xmlns:pdfaExtension="{pdfa}/extension/" '
        f'xmlns:pdfaSchema="{pdfa}/schema#" xmlns:pdfaProperty="{pdfa}/property#">'
        '<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">'
        "<pdfaSchema:schema>Factur-X PDFA Extension Schema</pdfaSchema:schema>"
        f"<pdfaSchema:namespaceURI>{SPACE}</pdfaSchema:namespaceURI>"
        "<pdfaSchema:prefix>fx</pdfaSchema:prefix>"
        f"<pdfaSchema:property><rdf:Seq>{described}</rdf:Seq></pdfaSchema:property>"
        "</rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>"
    )
    head, mark, tail = metadata.rpartition("</rdf:RDF>")
    return head + added + mark + tail
