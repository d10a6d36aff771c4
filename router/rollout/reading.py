"""Reading mappings of a rollout document. Pure."""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import duration_text
from router.rollout.values import Per
from serving.document import Node, read_each

Reader = tuple[str, Callable[[Node], Any]]
Readers = Mapping[str, Reader]

MODE: Reader = ("mode", kinds.MODE.read)
MAX_RATIO: Reader = ("max_ratio", kinds.RATIO.read)
_NAME = re.compile(kinds.NAME.pattern)
_HEADER = re.compile(kinds.HEADER.pattern)


def check_name(name: str, node: Node) -> None:
    """Refuse a public model name or a guard's name that is no plain name.

    Raises:
        DocumentError: at the node, which is what the name stands for.
    """
    if not _NAME.fullmatch(name):
        node.fail(
            "a name has 1 to 128 letters, digits, dots, dashes and underscores, and begins with a letter or"
            f" digit, unlike {name[:140]!r}"
        )


def header_name(node: Node) -> str:
    """The name of a header, in lower case.

    Raises:
        DocumentError: it is none.
    """
    if not _HEADER.fullmatch(node.string()):
        node.fail("expected the name of a header")
    return node.string().lower()


def fields(node: Node, required: Collection[str], readers: Readers) -> dict[str, Any]:
    """What a mapping says, as arguments for a dataclass, which knows the defaults of what it leaves out.

    Args:
        node: the mapping.
        required: keys that must be there.
        readers: for every allowed key the argument's name and what reads the value.

    Raises:
        DocumentError: with every fault of the mapping and of what it holds.
    """
    entries = {key: entry for key, entry in node.entries().items() if key in readers}
    _, *values = read_each(
        [
            partial(node.mapping, required, readers),
            *(partial(readers[key][1], each) for key, each in entries.items()),
        ]
    )
    return dict(zip((readers[key][0] for key in entries), values, strict=True))


def distinct(
    node: Node, many: kinds.Many, read: Callable[[Node], str], words: str, twice: str
) -> tuple[str, ...]:
    """A list of texts, each of them once.

    Args:
        node: the list.
        many: how many there may be.
        read: reads one.
        words: what they are, and what else is said where they are too few or too many.
        twice: what is said of one that was there before.

    Raises:
        DocumentError: it is no such list.
    """
    nodes = node.sequence()
    if not many.least <= len(nodes) <= many.most:
        node.fail(f"expected {many.least} to {many.most} {words}")
    found = tuple(read_each(partial(read, each) for each in nodes))
    for number, each in enumerate(nodes):
        if found[number] in found[:number]:
            each.fail(f"{found[number]!r} {twice}")
    return found


def without_none(**entries: Any) -> dict[str, Any]:
    """The entries that are set."""
    return {key: entry for key, entry in entries.items() if entry is not None}


def per_text(per: Per) -> str | None:
    """As documents have it; None for the default, which an older version does not know by its name."""
    if isinstance(per, int):
        return duration_text(per)
    return None if per == "key" else per
