"""A report as Markdown for a comment on a change: the verdict first, figures folded in. Pure."""

from collections.abc import Sequence

from understudy.reports.report import Outcome, Report, Table

SIGNS: dict[Outcome, str] = {"passed": "✅", "failed": "❌", "undecided": "❔", "noted": "💬"}


def markdown(report: Report) -> str:
    """The report; GitHub and GitLab show it alike."""
    lines = [f"### {SIGNS[report.outcome]} {report.verdict}: {_text(report.title)}", ""]
    rows = [(f"{SIGNS[check.outcome]} {check.name}", check.reason) for check in report.checks]
    lines += _table(("check", "what is known"), rows)
    for table in report.shown:
        lines += ["", f"<details><summary>{_text(table.title)}</summary>", "", *_of(table), "", "</details>"]
    lines += ["", *(f"- {_text(note)}" for note in report.notes)] if report.notes else []
    return "\n".join(lines) + "\n"


def _of(table: Table) -> list[str]:
    return _table(table.columns, table.rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    found = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(map(_text, row))} |" for row in found]


def _text(text: str) -> str:
    """Plain text: what looks like Markdown, HTML or a mention of somebody is none."""
    for character in "\\`*_[]|@#~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
