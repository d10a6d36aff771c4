"""The page behind a link for an approval: plain HTML without scripts. Pure."""

from collections.abc import Mapping
from html import escape
from typing import Any

from control.judging.verdicts import Judgement
from control.views.html import table

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_STYLE = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}code{word-break:break-all}pre{overflow:auto}button{font:inherit;padding:.4rem 1rem;margin-right:.5rem}"  # noqa: E501


def told(title: str, text: str) -> str:
    """A page that says one thing."""
    return _page(title, f"<p>{escape(text)}</p>")


def asked(
    person: str,
    status: str,
    looked: Mapping[str, Any],
    document: str,
    seen: str,
    judgement: Judgement | None,
    *,
    changed: bool,
) -> str:
    """What is to be approved, with a form that says yes or no.

    Args:
        person: who looks.
        status: where the rollout is, in words.
        looked: what the approval is bound to.
        document: in YAML or JSON, for people.
        seen: hash of `looked`.
        judgement: what the guards say; None while nobody is judged.
        changed: whether there was something else to see when the link was made.
    """
    note = "<p><strong>Something has changed since this link was sent; this is how it is now.</strong></p>"
    guards = () if judgement is None else judgement.guards
    parts = [
        f"<p>{escape(person)}, your approval is wanted. {escape(status)}.</p>",
        note if changed else "",
        table(("target", "SHA-256"), [(name, digest) for name, digest in looked["targets"].items()]),
        table(("guard", "verdict", "why"), [(each.guard, each.verdict, each.reason) for each in guards])
        if guards
        else "<p>No guard has judged it.</p>",
        f"<details><summary>The document</summary><pre>{escape(document)}</pre></details>",
        (
            '<form method="post"><p><label>Reason <input name="reason" maxlength="1000"></label></p>'
            f'<input type="hidden" name="seen" value="{escape(seen)}">'
            '<button name="say" value="approve">Approve</button>'
            '<button name="say" value="reject">Reject</button></form>'
        ),
        f"<p>What is shown here is kept with your answer as <code>{escape(seen)}</code>.</p>",
    ]
    return _page(f"Approve {looked['model']}", "\n".join(parts))


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )
