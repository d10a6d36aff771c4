"""The file that says who is told of what: strict YAML.

```yaml
link: https://understudy.example.org            # the admin door, for links; may be left out
channels:
  hook: {webhook: {url: https://example.org/hook, secret: {env: HOOK_SECRET}}}
  chat: {slack: {url: {file: /run/secrets/slack}}, events: [rolled_back, promoted], models: [digits]}
  mail:
    email: {host: smtp.example.org, from: u@example.org, to: [on@call.org], user: u, password: {env: P}}
```

Law: a secret stands in no file of this kind, only the name of the environment variable or file that has it;
it is shown in no error, log line or `repr`. What is not understood is refused at its line and column.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import httpx

from control.notify.messages import EVENTS, Channel, Email, Notifications, Security, Slack, Way, Webhook
from control.notify.ways import secret_bytes
from router.rollout.reading import Readers, check_name, fields
from serving import document
from serving.document import Node
from serving.errors import InvalidInput

MAX_CHANNELS = 32
MAX_SECRET_BYTES = 1 << 16

_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}|[0-9A-Fa-f:.]{2,45}")


def read(path: Path) -> Notifications:
    """The file at this path.

    Raises:
        DocumentError: it is not understood; the error names line and column.
        InvalidInput: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path.name}: cannot be read: {error.strerror}") from None
    return parse(content, path.name)


def parse(text: str | bytes, file: str, environment: Mapping[str, str] = os.environ) -> Notifications:
    """The text of such a file.

    Args:
        text: YAML.
        file: the name that errors show.
        environment: where `{env: NAME}` looks.

    Raises:
        DocumentError: it is not understood, or a secret that it names is not there.
    """
    entries = document.parse(text, file).mapping(["channels"], ["link", "source"])
    nodes = entries["channels"].entries()
    if not 0 < len(nodes) <= MAX_CHANNELS:
        entries["channels"].fail(f"expected 1 to {MAX_CHANNELS} channels, got {len(nodes)}")
    channels = tuple(_channel(name, node, environment) for name, node in nodes.items())
    source = entries["source"].string(100) if "source" in entries else socket.gethostname()
    link = _plain_url(entries["link"]).rstrip("/") if "link" in entries else None
    return Notifications(channels, source, link)


def _channel(name: str, node: Node, environment: Mapping[str, str]) -> Channel:
    check_name(name, node)
    ways: dict[str, Callable[[Node, Mapping[str, str]], Way]] = {
        "webhook": _webhook,
        "slack": _slack,
        "email": _email,
    }
    entries = node.mapping(optional=[*ways, "events", "models"])
    found = [way for way in ways if way in entries]
    if len(found) != 1:
        node.fail("expected one of webhook, slack and email")
    channel = Channel(name, ways[found[0]](entries[found[0]], environment))
    if "events" not in entries and "models" not in entries:
        return channel
    events = _words(entries["events"], EVENTS) if "events" in entries else channel.events
    models = _words(entries["models"], ()) if "models" in entries else ()
    return Channel(name, channel.way, events, models)  # type: ignore[arg-type]


def _words(node: Node, known: tuple[str, ...]) -> tuple[str, ...]:
    words: list[str] = []
    for each in node.sequence():
        word = each.choice(known) if known else each.string(128)
        if word in words:
            each.fail(f"{word!r} is named already")
        words.append(word)
    if not words:
        node.fail("expected at least one; leave it out for all")
    return tuple(words)


def _webhook(node: Node, environment: Mapping[str, str]) -> Webhook:
    entries = node.mapping(["url"], ["secret"])
    url = entries["url"]
    place = _plain_url(url) if isinstance(url.value, str) else _secret_url(url, environment)
    if "secret" not in entries:
        return Webhook(place)
    secret = _secret(entries["secret"], environment)
    try:
        return Webhook(place, secret_bytes(secret))
    except ValueError:
        entries["secret"].fail("a secret that begins with whsec_ goes on in base64")


def _slack(node: Node, environment: Mapping[str, str]) -> Slack:
    return Slack(_secret_url(node.mapping(["url"])["url"], environment))


def _email(node: Node, environment: Mapping[str, str]) -> Email:
    readers: Readers = {
        "host": ("host", lambda node: _matching(node, _HOST, "the name or address of a host")),
        "port": ("port", lambda node: node.integer(1, 65535)),
        "from": ("sender", _address),
        "to": ("to", lambda node: tuple(_address(each) for each in _one_or_more(node))),
        "security": ("security", lambda node: node.choice(get_args(Security))),
        "user": ("user", lambda node: node.string(320)),
        "password": ("password", lambda node: _secret(node, environment)),
    }
    email = Email(**fields(node, ["host", "from", "to"], readers))
    if (email.user is None) != (email.password is None):
        node.fail("user and password come together")
    if email.password is not None and email.security == "none":
        node.entries()["security"].fail("a password is not sent over a connection that is not encrypted")
    return email


def _one_or_more(node: Node) -> list[Node]:
    nodes = node.sequence()
    if not 0 < len(nodes) <= 100:
        node.fail(f"expected 1 to 100 addresses, got {len(nodes)}")
    return nodes


def _address(node: Node) -> str:
    return _matching(node, _ADDRESS, "an address such as oncall@example.org")


def _matching(node: Node, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(node.string()):
        node.fail(f"expected {what}")
    return node.string()


def _plain_url(node: Node) -> str:
    if not _is_url(node.string(2000)):
        node.fail("expected a URL that begins with http:// or https://, without user and password")
    return node.string(2000)


def _secret_url(node: Node, environment: Mapping[str, str]) -> str:
    url = _secret(node, environment)
    if not _is_url(url):
        node.fail("what stands there is no URL that begins with http:// or https://")
    return url


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and not url.userinfo


def _secret(node: Node, environment: Mapping[str, str]) -> str:
    """What the environment or a file has under the name that stands here."""
    if isinstance(node.value, str):
        node.fail("a secret does not belong in this file: say {env: NAME} or {file: path}")
    entries = node.mapping(optional=["env", "file"])
    if len(entries) != 1:
        node.fail("expected {env: NAME} or {file: path}")
    ((kind, place),) = entries.items()
    if kind == "env":
        secret = environment.get(place.string(), "")
        if not secret:
            place.fail(f"environment variable {place.string()!r} is not set")
        return secret
    try:
        with Path(place.string()).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        secret = content.decode().strip()
    except OSError as error:
        place.fail(f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        place.fail("is not text")
    if not secret or len(content) > MAX_SECRET_BYTES:
        place.fail(f"expected 1 to {MAX_SECRET_BYTES} bytes in the file")
    return secret
