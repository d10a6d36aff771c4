"""A report on the terminal, and in files that were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from understudy.output import fail, table
from understudy.reports.junit import junit
from understudy.reports.markdown import markdown
from understudy.reports.page import page
from understudy.reports.report import Report

Junit = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here, for CI systems")]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write Markdown here, for a comment on a change")
]
Html = Annotated[Path | None, typer.Option("--html", help="Write one HTML page here")]


@dataclass(frozen=True, slots=True)
class Files:
    """Where a report is written to; None writes none of that kind."""

    junit: Path | None
    markdown: Path | None
    html: Path | None

    def write(self, report: Report, suites: Sequence[Report], name: str) -> None:
        """Write them; ends the command where one cannot be written.

        Args:
            report: the whole.
            suites: what JUnit has a suite for.
            name: of the command.
        """
        try:
            if self.junit is not None:
                self.junit.write_bytes(junit(suites, name))
            if self.markdown is not None:
                self.markdown.write_text(markdown(report), encoding="utf-8")
            if self.html is not None:
                self.html.write_text(page(report), encoding="utf-8")
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")


def show(report: Report) -> None:
    """Print a report for a person."""
    typer.echo(f"{report.verdict}: {report.title}")
    if report.checks:
        typer.echo()
        rows = [[check.name, check.outcome, check.reason] for check in report.checks]
        table("", ["check", "outcome", "what is known"], rows)
    for each in report.shown:
        typer.echo(f"\n{each.title}")  # a title of the table would be wrapped to its width
        table("", each.columns, each.rows)
    for note in report.notes:
        typer.echo(f"- {note}")
    typer.echo(f"\n{report.seconds:.1f} s")
