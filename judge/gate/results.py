"""What a pipeline reads of a gate: JUnit's XML, and a step summary in Markdown."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from equiloss.files import made_for, write_text
from equiloss.numerals import interval, number, plain
from equiloss.redaction import visible
from judge.gate.gate import GateDocument


def write_junit(path: Path, document: GateDocument) -> None:
    """Write one test case: passed, or failed with the reason. Schema: the one that Jenkins and GitLab read."""
    failed = "0" if document.holds else "1"
    suite = ElementTree.Element("testsuite", name="judge gate", tests="1", failures=failed, errors="0", skipped="0")
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="made-for", value=made_for.get())
    name = f"{document.b} is {document.require} against {document.a} ({document.about})"
    case = ElementTree.SubElement(suite, "testcase", classname="judge.gate", name=visible(name), time="0")
    if not document.holds:
        kind = document.outcome
        ElementTree.SubElement(case, "failure", type=kind, message=visible(document.says)).text = visible(document.says)
    ElementTree.SubElement(case, "system-out").text = visible(document.says)
    write_text(path, ElementTree.tostring(suite, "unicode", xml_declaration=True) + "\n")


def append_summary(path: Path, document: GateDocument) -> None:
    """Append a section to a step summary, such as the file that $GITHUB_STEP_SUMMARY names."""

    def cell(text: str) -> str:
        return " ".join(visible(text).replace("|", "\\|").replace("<", "&lt;").split())

    mark = "passed" if document.holds else "did not pass"
    rows = [
        ("required", document.require),
        ("outcome", document.outcome),
        ("B minus A", number(document.points)),
        ("interval", interval(document.interval)),
        ("margin", plain(document.margin)),
        ("about", document.about),
        ("look", str(document.look)),
        ("items, runs of A, of B", f"{document.n_items:,}, {document.n_runs[0]:,}, {document.n_runs[1]:,}"),
        ("judge", f"{document.judge} ({document.rubric}, {document.criterion})"),
    ]
    lines = [f"### Gate {mark}: {cell(document.b)} against {cell(document.a)}", "", cell(document.says), ""]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {cell(value)} |" for name, value in rows), ""]
    lines += [f"- {cell(warning)}" for warning in document.warnings]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
