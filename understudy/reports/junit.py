"""A report as JUnit XML: a test case for each check, in the dialect that CI systems have in common. Pure.

Source: the schema of Jenkins' xunit plugin (`junit-10.xsd`), which GitLab and GitHub's readers take too.
"""

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from understudy.reports.report import Report

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for."""


def junit(reports: Sequence[Report], name: str) -> bytes:
    """A document with a suite for each report.

    What is harmful and what is undecided are failures, of that type; what is only noted has passed.
    """
    root = Element("testsuites", name=name)
    for report in reports:
        _suite(root, report)
    root.set("tests", str(len(root.findall("*/testcase"))))
    root.set("failures", str(len(root.findall("*/testcase/failure"))))
    indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root) + b"\n"


def _suite(root: Element, report: Report) -> None:
    failures = [check for check in report.checks if check.outcome in {"failed", "undecided"}]
    suite = SubElement(
        root,
        "testsuite",
        name=_text(report.title),
        tests=str(len(report.checks)),
        failures=str(len(failures)),
        errors="0",
        skipped="0",
        time=f"{report.seconds:.3f}",
    )
    for check in report.checks:
        case = SubElement(suite, "testcase", classname=_text(report.title), name=_text(check.name), time="0")
        if check in failures:
            failure = SubElement(case, "failure", type=check.outcome, message=_text(check.reason))
            failure.text = _text(check.reason)
        else:
            SubElement(case, "system-out").text = _text(check.reason)
    SubElement(suite, "system-out").text = _text("\n".join(_lines(report)))


def _lines(report: Report) -> list[str]:
    found = [f"{report.verdict}: {report.title}"]
    for table in report.shown:
        found += ["", table.title, *("; ".join(row) for row in (table.columns, *table.rows))]
    return [*found, *([""] if report.notes else []), *report.notes]


def _text(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
