"""The whole file of a rollout, for auditors: as JSON, or as a page to print. Pure.

Law: everything that the audit log has of the name is in it, nothing is drawn together or left out; the page
has the same rows as the JSON, in the same order. It is written row by row, since a log may be long.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any, Protocol

import orjson

from control.store.store import Revision
from control.views.html import table
from control.views.rollout import revision_view

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; --line: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; overflow-wrap: anywhere; }
tr { border-bottom: 1px solid var(--line); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; border-left: 3px solid var(--line);
  padding-left: .75rem; }
section { break-inside: avoid-page; border-top: 2px solid var(--line); margin-top: 1.5rem; }
@media print { body { margin: 0; max-width: none; font-size: 11px } }
"""


class Writing(Protocol):
    """How the file is written: begin, a row for each revision from the latest on, end."""

    media_type: str

    def begin(self, head: Mapping[str, Any]) -> bytes:
        """What stands before the revisions.

        Args:
            head: all of `control.views.schemas.ExportView` but the revisions.
        """

    def revision(self, row: Revision, older: Revision | None) -> bytes:
        """One row of the audit log, and the one before it in time."""

    def end(self) -> bytes:
        """What stands behind them."""


class JsonWriting:
    """One JSON object: the head, and `revisions`."""

    media_type = "application/json"

    def __init__(self) -> None:
        self._between = b""

    def begin(self, head: Mapping[str, Any]) -> bytes:
        """As `Writing`."""
        return orjson.dumps(head)[:-1] + b',"revisions":['

    def revision(self, row: Revision, older: Revision | None) -> bytes:  # noqa: ARG002  (the page shows changes)
        """As `Writing`."""
        between, self._between = self._between, b","
        return between + orjson.dumps(revision_view(row))

    def end(self) -> bytes:
        """As `Writing`."""
        return b"]}\n"


class PageWriting:
    """A page that asks no other host for anything, and can be printed."""

    media_type = "text/html; charset=utf-8"

    def begin(self, head: Mapping[str, Any]) -> bytes:
        """As `Writing`."""
        model, view = str(head["model"]), head["rollout"]
        status = "It is deleted." if view is None else view["status"]["sentence"]
        made = f"{_moment(head['made_at'])} for {head['made_by']}"
        parts = [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>Rollout {escape(model)}: audit file</title>",
            f"<style>{_STYLE}</style>",
            f"<h1>Rollout {escape(model)}</h1>",
            f"<p>All that Understudy {escape(head['understudy'])} knows of it, written on {escape(made)}.",
            f"<p>{escape(status)}",
        ]
        if view is not None:
            parts += [
                "<h2>In force</h2>",
                _pairs({"revision": view["revision"], "stage": view["status"]["stage"]}),
                table(
                    ("role", "target", "SHA-256 of its bytes"),
                    [(row["role"], row["target"], row["sha256"] or "not known") for row in view["targets"]],
                ),
                _values("Document", view["document"]),
                "<h2>Evidence just now</h2>",
                _evidence(head["evidence"]),
            ]
        return "\n".join([*parts, "<h2>Audit log, the latest first</h2>", ""]).encode()

    def revision(self, row: Revision, older: Revision | None) -> bytes:
        """As `Writing`."""
        facts = {
            "when": _moment(row.at),
            "who": row.actor,
            "by way of": row.kind,
            "what": row.event or "",
            "why": row.reason,
        }
        parts = [f"<section><h3>Revision {row.revision}</h3>", _pairs(facts)]
        if row.digests:
            parts.append(table(("target", "SHA-256 of its bytes"), sorted(row.digests.items())))
        if row.lineage:
            rows = [(model, *said) for model, told in sorted(row.lineage.items()) for said in told.items()]
            parts.append(table(("target", "where it comes from", "claimed"), rows))
        if row.document is None:
            parts.append("<p>The rollout was deleted.")
        elif older is not None and older.document == row.document:
            parts.append(f"<p>The document is that of revision {older.revision}.")
        else:
            parts.append(_values("Document", row.document))
        if row.evidence is not None:
            parts += ["<h4>Evidence at that moment</h4>", _evidence(row.evidence)]
        return "\n".join([*parts, "</section>", ""]).encode()

    def end(self) -> bytes:
        """As `Writing`."""
        return b"</html>\n"


def _evidence(evidence: Any) -> str:
    """The guards as a table, where it has some, and all of it as JSON."""
    guards = evidence.get("guards") if isinstance(evidence, dict) else None
    shown = ""
    if isinstance(guards, list) and all(isinstance(guard, dict) for guard in guards):
        rows = [[str(guard.get(key, "")) for key in ("guard", "verdict", "reason")] for guard in guards]
        shown = table(("guard", "verdict", "what is known"), rows)
    return shown + ("<p>There is none." if evidence is None else _values("All of it", evidence))


def _pairs(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}<td>{escape(str(value))}" for key, value in facts.items())
    return f"<table>{rows}</table>"


def _values(title: str, value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return f"<h4>{escape(title)}</h4><pre>{escape(text)}</pre>"


def _moment(at: float) -> str:
    """UTC, since auditors and servers may sit in different places."""
    return datetime.fromtimestamp(at, UTC).strftime("%F %T UTC")
