"""Reading where a request can be answered: a model of the repository, or one behind a URL. Pure."""

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import Any

from router.rollout import kinds
from router.rollout.reading import Readers, fields, without_none
from router.rollout.sections.servers import check_url, parse_server, server_to_document
from router.rollout.values import AS_USUAL, Target
from serving import document
from serving.document import Node

_MODEL = re.compile(kinds.MODEL.pattern)
_URL = re.compile(kinds.URL.pattern)


def parse_target(node: Node) -> Target:
    """A target; refused with `DocumentError` where it is none."""
    return parse_with(node, {})[0]


def parse_with(node: Node, readers: Readers) -> tuple[Target, dict[str, Any]]:
    """A target, short or long, and what else its mapping says.

    Raises:
        DocumentError: it is none, or says something else.
    """
    if isinstance(node.value, str):
        return Target(_model(node)), {}
    found = fields(node, ["model"], {**_TARGET, **readers})
    target = Target(found.pop("model"), found.pop("url", None), found.pop("server", AS_USUAL))
    if not node.lenient:
        check_url(target.server, target.url, node.entries())
    return target, found


def _model(node: Node) -> str:
    model = node.string()
    if not _MODEL.fullmatch(model):
        node.fail(f"expected a model and its version such as digits/2, got {model[:160]!r}")
    return model


def _base(node: Node) -> str:
    return parse_url(node).rstrip("/")


def parse_url(node: Node) -> str:
    """A URL as documents have them; refused with `DocumentError` where it is none."""
    url = node.string()
    found = _URL.fullmatch(url)
    if found is None or not 0 < int(found[2] or 80) < 65536:
        node.fail("expected http://host:port/path or https://, without user, query or fragment")
    if found[1] is not None:
        try:
            IPv6Address(found[1])
        except AddressValueError:
            node.fail("expected an IPv6 address between the brackets")
    return url


def target_to_document(target: Target) -> str | dict[str, Any]:
    """As short as can be."""
    return target.model if target.url is None else target_entries(target)


def target_entries(target: Target) -> dict[str, Any]:
    """As the keys of a mapping, to which others may be added."""
    return without_none(model=target.model, url=target.url, server=_server(target))


def target_to_json(target: Target) -> dict[str, Any]:
    """As it is kept and sent: `model` and `url`, as releases before had it, and `server` where it is said."""
    return {"model": target.model, "url": target.url} | without_none(server=_server(target))


def target_of_json(value: Mapping[str, Any]) -> Target:
    """The inverse of `target_to_json`; what a newer release adds is left out.

    Raises:
        KeyError: it is none.
        DocumentError: its server cannot be asked so.
    """
    said = value.get("server")
    server = AS_USUAL if said is None else parse_server(document.of_our_own(said, "server"))
    return Target(value["model"], value["url"], server)


def _server(target: Target) -> dict[str, Any] | None:
    return None if target.server == AS_USUAL else server_to_document(target.server)


_TARGET: Readers = {"model": ("model", _model), "url": ("url", _base), "server": ("server", parse_server)}
