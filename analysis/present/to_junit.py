"""A Document as JUnit XML, as CI systems read it."""

from xml.etree import ElementTree

from analysis.present.document import Document, Facts
from bench.process.printable import printable


def render(document: Document) -> bytes:
    """A test case for each of the document's, and what it says of itself as the output of the suite."""
    outcomes = [case.outcome for case in document.cases]
    totals = {"tests": len(outcomes), "failures": outcomes.count("failed"), "skipped": outcomes.count("skipped")}
    counted = {name: str(total) for name, total in (totals | {"errors": 0}).items()}
    suites = ElementTree.Element("testsuites", counted)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": f"bench {document.suite}", **counted})
    for case in document.cases:
        element = ElementTree.SubElement(suite, "testcase", {"classname": document.suite, "name": case.name})
        if case.outcome == "failed":
            failure = ElementTree.SubElement(element, "failure", {"type": case.kind, "message": case.message})
            failure.text = case.detail or case.message
        elif case.outcome == "skipped":
            ElementTree.SubElement(element, "skipped", {"message": case.message})
    ElementTree.SubElement(suite, "system-out").text = "\n".join(_about(document))
    return as_xml(suites)


def _about(document: Document) -> list[str]:
    """The verdict, what was looked at, and the warnings, a line each."""
    first = next((block for block in document.blocks if isinstance(block, Facts)), Facts(()))
    headline = [document.headline.text] if document.headline else []
    return [*headline, *(f"{fact.label}: {fact.text}" for fact in first.facts), *(n.text for n in document.warnings)]


def as_xml(suites: ElementTree.Element) -> bytes:
    """A document, with what XML cannot hold shown as escapes, wherever it came from."""
    for element in suites.iter():
        element.text = printable(element.text) if element.text else element.text
        for name, value in element.attrib.items():
            element.set(name, printable(value))
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))
