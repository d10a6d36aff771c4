"""A report as one HTML page that asks no other host for anything. Pure."""

from collections.abc import Sequence
from html import escape

from understudy.reports.report import Report, Table

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --passed: #1a7f37; --failed: #cf222e; --undecided: #9a6700;
  --noted: #57606a; }
@media (prefers-color-scheme: dark) { :root { --passed: #3fb950; --failed: #f85149; --undecided: #d29922;
  --noted: #8b949e; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; }
tr { border-bottom: 1px solid var(--line); }
.passed { color: var(--passed) } .failed { color: var(--failed) } .undecided { color: var(--undecided) }
.noted { color: var(--noted) }
b { font-weight: 600 }
"""


def page(report: Report) -> str:
    """The page."""
    return "\n".join([
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(report.verdict)}: {escape(report.title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<h1><span class="{report.outcome}">{escape(report.verdict)}</span>: {escape(report.title)}</h1>',
        _checks(report),
        *(_table(table) for table in report.shown),
        *([f"<ul>{''.join(f'<li>{escape(note)}' for note in report.notes)}</ul>"] if report.notes else []),
        f"<p>{report.seconds:.1f} s</p>",
        "</html>",
        "",
    ])  # fmt: skip


def _checks(report: Report) -> str:
    rows = [
        f'<tr><td><b>{escape(check.name)}</b><td class="{check.outcome}">{check.outcome}'
        f"<td>{escape(check.reason)}"
        for check in report.checks
    ]
    return f"<table>{_head(('check', 'outcome', 'what is known'))}{''.join(rows)}</table>"


def _table(table: Table) -> str:
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}" for row in table.rows)
    return f"<h2>{escape(table.title)}</h2><table>{_head(table.columns)}{rows}</table>"


def _head(columns: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<th>{escape(column)}' for column in columns)}"
