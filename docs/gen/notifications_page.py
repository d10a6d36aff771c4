"""The reference of the notifications file."""

from types import MappingProxyType
from typing import Any

from control.notifications import Notifications, parse
from docs.gen.documents import REQUIRED, Field, Reference, Refused, Section, render_sections
from docs.gen.markdown import page

ENVIRONMENT = MappingProxyType(
    {"HOOK_SECRET": "s" * 24, "SLACK_URL": "https://chat.example.org/hook", "SMTP_PASSWORD": "p"}
)
_HOOK = {"webhook": {"url": "https://example.org/hook"}}
_EMAIL = {"host": "smtp.example.org", "from": "understudy@example.org", "to": ["oncall@example.org"]}


def _file(**channel: Any) -> dict[str, Any]:
    return {"source": "production", "channels": {"oncall": channel}}


_TOP = Section(
    "The file",
    "",
    (),
    _file(**_HOOK),
    [
        Field("channels", "a mapping of 1 to 32", REQUIRED, {"oncall": _HOOK}, {}, "who is told, by a name of yours"),
        Field("source", "text", "", "production", "", "stands in ids; left out, the name of the host"),
        Field("link", "a URL", "", "https://understudy.example.org", "understudy", "the admin door, for links"),
    ],
)
_CHANNEL = Section(
    "A channel",
    "One of `webhook`, `slack` and `email`, and what it is told.",
    ("channels", "oncall"),
    _file(**_HOOK),
    [
        Field("webhook", "a mapping, see below", "", _HOOK["webhook"], "https://example.org", "a signed POST"),
        Field("events", "a list of events", "", ["promoted"], ["started", "started"], "which; left out, the usual"),
        Field("models", "a list of names", "", ["digits"], [], "only of these; left out, of all"),
    ],
)
