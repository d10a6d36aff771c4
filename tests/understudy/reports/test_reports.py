"""A report in every format: complete, escaped, and read by what reads such files."""

import re
from xml.etree import ElementTree as ET

from understudy.reports.junit import junit
from understudy.reports.markdown import markdown
from understudy.reports.page import page
from understudy.reports.report import Check, Report, Table

NASTY = "<script>alert('x')</script> | *b* @someone [a](b) \x00 & ünï"
CHECKS = (
    Check("errors", "passed", "0 of 5 failed"), Check("agreement", "failed", NASTY),
    Check("latency", "undecided", "no pairs"), Check("orders", "noted", "only shown"),
)  # fmt: skip
TABLES = (Table("Figures", ("", "a"), (("rows", NASTY),)), Table("Nothing", ("a",), ()))
REPORT = Report(f"a/2 against a/1 {NASTY}", "harmful", "failed", CHECKS, TABLES, (NASTY,), 1.5)


def test_junit_has_a_case_for_each_check_and_fails_what_is_harmful_or_undecided():
    root = ET.fromstring(junit([REPORT, REPORT], "understudy test"))
    assert (root.get("tests"), root.get("failures")) == ("8", "4")
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    failed = {case.get("name"): case.find("failure") for case in suite.findall("testcase")}
    assert [name for name, failure in failed.items() if failure is not None] == ["agreement", "latency"]
    assert failed["latency"].get("type") == "undecided"
    assert failed["agreement"].get("message") == NASTY.replace("\x00", "?")
    assert "Figures" in suite.find("system-out").text


def test_markdown_begins_with_the_verdict_and_mentions_nobody():
    text = markdown(REPORT)
    assert text.startswith("### ❌ harmful: a/2 against a/1 &lt;script&gt;")
    assert "| ❔ latency | no pairs |" in text
    assert not re.search(r"(?<!\\)@|<script|(?<!\\)\*b", text)
    assert "Nothing" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(CHECKS) + 3
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


def test_the_page_is_whole_escaped_and_asks_nobody_for_anything():
    text = page(REPORT)
    assert "default-src 'none'" in text
    assert "<script>" not in text
    assert not re.search(r"https?:|//|src=|url\(|@import", text.replace("default-src", ""))
    for words in ("harmful", "0 of 5 failed", "only shown", "Figures", "ünï", '<html lang="en">'):
        assert words in text
    assert "Nothing" not in text
