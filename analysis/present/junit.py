"""JUnit XML, as CI systems read it."""

from xml.etree import ElementTree

from bench.process.printable import printable


def as_xml(suites: ElementTree.Element) -> bytes:
    """A document, with what XML cannot hold shown as escapes, wherever it came from."""
    for element in suites.iter():
        element.text = printable(element.text) if element.text else element.text
        for name, value in element.attrib.items():
            element.set(name, printable(value))
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))
