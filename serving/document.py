"""Strict YAML (and so JSON) documents in which every value knows where it stands.

Law: a document is a tree. Aliases, anchors, merge keys, tags, duplicate keys, several documents in one
file, control characters and nesting deeper than `MAX_DEPTH` are errors, and every error names file, line
and column. Finite values that are accepted as YAML read the same when written as JSON, if not too large.
Pure: text in, values or `DocumentError` out.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from serving.errors import Faulty, as_one

MAX_BYTES = 1 << 18
MAX_DEPTH = 32
MAX_KEY_LENGTH = 500  # as escaped ASCII; YAML allows a key on one line 1024 characters

Scalar = str | int | float | bool | None

T = TypeVar("T")

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.IGNORECASE
)
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
"""One part of a duration: `1h30m` has two."""
SHORTEST_SECONDS = 1e-6
LONGEST_SECONDS = 366 * 86400.0

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")
_SIZE = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,16})?) *(B|kB|KiB|MB|MiB|GB|GiB)")
_BYTES = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


class DocumentError(Faulty):
    """A document refused, with the place of the fault; `str()` is a line `file:line:column: message` a fault.

    `line` and `column` count from 1; `path` is the dotted path of the value, empty at the top. All of them
    are of the first fault; `faults` are all, in the order of the document.
    """

    def __init__(self, file: str, line: int, column: int, message: str, path: str = "") -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file, self.line, self.column, self.message, self.path = file, line, column, message, path


def all_of(errors: Iterable[DocumentError]) -> DocumentError:
    """One error with all faults of these, of which there is at least one, by line and column, each once."""
    found = {(fault.line, fault.column, fault.message): fault for error in errors for fault in error.faults}
    return as_one(found[place] for place in sorted(found))


def read_each(readers: Iterable[Callable[[], T]]) -> list[T]:
    """What each of these reads; a fault in one does not hide those in the others.

    Raises:
        DocumentError: with the faults of all.
    """
    found, errors = [], []
    for read in readers:
        try:
            found.append(read())
        except DocumentError as error:
            errors.append(error)
    if errors:
        raise all_of(errors)
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document: a scalar, a list of nodes, or a mapping from text to nodes."""

    value: "Scalar | list[Node] | dict[str, Node]"
    file: str
    line: int
    column: int
    path: str
    lenient: bool = False
    """Keys that are not known are left out; for documents of another version of ours, never a person's."""

    def fail(self, message: str) -> NoReturn:
        """Refuse the document because of this value.

        Raises:
            DocumentError: always.
        """
        raise self.fault(message)

    def fault(self, message: str) -> DocumentError:
        """What `fail` raises."""
        where = f"{self.path}: " if self.path else ""
        return DocumentError(self.file, self.line, self.column, where + message, self.path)

    def entries(self) -> "dict[str, Node]":
        """The mapping from free keys to nodes, in the order of the document."""
        if not isinstance(self.value, dict):
            self.fail(f"expected a mapping, got {self._kind()}")
        return self.value

    def mapping(self, required: Collection[str] = (), optional: Collection[str] = ()) -> "dict[str, Node]":
        """The mapping, refused when it has a key not named here or lacks a required one."""
        entries = self.entries()
        if self.lenient:
            entries = {key: node for key, node in entries.items() if key in required or key in optional}
        faults = list(self._faults_of_keys(entries, required, optional))
        if faults:
            raise all_of(faults)
        return entries

    def _faults_of_keys(
        self, entries: "Mapping[str, Node]", required: Collection[str], optional: Collection[str]
    ) -> Iterator[DocumentError]:
        for key, node in entries.items():
            if key not in required and key not in optional:
                known = ", ".join(sorted({*required, *optional}))
                yield node.fault(f"unknown key; known here: {known}")
        for key in required:
            if key not in entries:
                yield self.fault(f"key {key!r} is missing")

    def sequence(self) -> "list[Node]":
        """The list of nodes."""
        if not isinstance(self.value, list):
            self.fail(f"expected a list, got {self._kind()}")
        return self.value

    def string(self, max_length: int = 1000) -> str:
        """Text that is not empty."""
        if not isinstance(self.value, str):
            self.fail(f"expected text, got {self._kind()}")
        if not 0 < len(self.value) <= max_length:
            self.fail(f"expected 1 to {max_length} characters, got {len(self.value)}")
        return self.value

    def choice(self, options: Collection[str]) -> str:
        """One of the given words."""
        if self.value not in options or not isinstance(self.value, str):
            self.fail(f"expected one of {', '.join(options)}, got {self._kind()}")
        return self.value

    def boolean(self) -> bool:
        """`true` or `false`."""
        if not isinstance(self.value, bool):
            self.fail(f"expected true or false, got {self._kind()}")
        return self.value

    def integer(self, minimum: int, maximum: int) -> int:
        """A whole number within bounds, both included."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.fail(f"expected a whole number, got {self._kind()}")
        if not minimum <= self.value <= maximum:
            self.fail(f"expected {minimum} to {maximum}, got {self.value}")
        return self.value

    def number(self, minimum: float = -math.inf, maximum: float = math.inf) -> float:
        """A finite number within bounds, both included."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"expected a number, got {self._kind()}")
        if not math.isfinite(self.value) or not minimum <= self.value <= maximum:
            self.fail(f"expected a number from {minimum:g} to {maximum:g}, got {self.value}")
        return float(self.value)

    def percentage(self) -> float:
        """A share of 0 to 100, with or without the sign: `25`, `0.1`, `25%`."""
        return self._strip_percent().number(0, 100)

    def fraction(self) -> float:
        """A share of 0 to 1, written as `0.98` or `98%`."""
        stripped = self._strip_percent()
        return stripped.number(0, 1) if stripped is self else stripped.number(0, 100) / 100

    def duration(
        self, minimum_seconds: float = SHORTEST_SECONDS, maximum_seconds: float = LONGEST_SECONDS
    ) -> float:
        """Seconds within bounds, both included, written with a unit (`250ms`, `30s`, `1h30m`)."""
        text = self.value if isinstance(self.value, str) else ""
        parts = DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"expected a duration with a unit such as 250ms, 30s or 10m, got {self._kind()}")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        if not minimum_seconds <= seconds <= maximum_seconds:
            self.fail(f"expected {minimum_seconds:g} s to {maximum_seconds:.10g} s, got {self._kind()}")
        return seconds

    def size(self) -> int:
        """Bytes, 1 to 2^50, written as a whole number or with a unit (`64MiB`)."""
        if isinstance(self.value, int):
            return self.integer(1, 2**50)
        found = _SIZE.fullmatch(self.value) if isinstance(self.value, str) else None
        if found is None:
            self.fail(f"expected a size such as 64MiB, got {self._kind()}")
        return self._with(int(float(found[1]) * _BYTES[found[2]])).integer(1, 2**50)

    def _strip_percent(self) -> "Node":
        if isinstance(self.value, str) and self.value.endswith("%"):
            number = _plain(self.value[:-1])
            if isinstance(number, int | float) and not isinstance(number, bool):
                return self._with(number)
        return self

    def _with(self, value: Scalar) -> "Node":
        return Node(value, self.file, self.line, self.column, self.path, self.lenient)

    def _kind(self) -> str:
        match self.value:
            case None:
                return "nothing"
            case dict():
                return "a mapping"
            case list():
                return "a list"
            case str():
                return repr(self.value if len(self.value) <= 60 else self.value[:60] + "...")
            case bool():
                return str(self.value).lower()
            case _:
                return str(self.value)


def parse(text: str | bytes, file: str) -> Node:
    """Read one document.

    Args:
        text: YAML 1.2 or JSON, UTF-8, at most `MAX_BYTES`.
        file: the name that errors show.

    Raises:
        DocumentError: when it is not one well-formed document within the limits above.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError(file, 1, 1, f"larger than {MAX_BYTES} bytes")
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        line, column = _place(error.object[: error.start].decode())
        raise DocumentError(file, line, column, "not UTF-8 text") from None
    if found := _OTHER_BREAKS.search(decoded):  # text to YAML 1.2 and JSON, but folded by the parser
        line, column = _place(decoded[: found.start()])
        raise DocumentError(file, line, column, f"character U+{ord(found[0]):04X} is not allowed")
    return _build(_events(decoded, file), file)


def of_our_own(value: object, file: str, path: str = "") -> Node:
    """The node of a JSON value that came from another process of ours: read once already, and lenient.

    Raises:
        DocumentError: the value is no JSON.
    """
    content: Scalar | list[Node] | dict[str, Node]
    match value:
        case dict():
            content = {
                key: of_our_own(each, file, f"{path}.{key}" if path else key) for key, each in value.items()
            }
        case list():
            content = [of_our_own(each, file, f"{path}[{index}]") for index, each in enumerate(value)]
        case None | bool() | int() | float() | str():
            content = value
        case _:
            raise DocumentError(file, 1, 1, f"expected a value of JSON, got {type(value).__name__}", path)
    return Node(content, file, 1, 1, path, lenient=True)


def _place(before: str) -> tuple[int, int]:
    """Line and column of what follows this text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _events(text: str, file: str) -> Iterator[Event]:
    """The parser's events, lazily, with its errors made ours."""
    line = column = 1
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            line, column = event.end_mark.line + 1, event.end_mark.column + 1
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (line, column)
        raise DocumentError(file, line, column, error.problem or error.context or "not YAML") from None
    except ReaderError as error:
        line, column = _place(text[: error.position])
        raise DocumentError(file, line, column, f"character U+{error.character:04X} is not allowed") from None
    except YAMLError as error:
        raise DocumentError(file, line, column, str(error).splitlines()[0]) from None
    except (ValueError, OverflowError):  # the scanner's, for "\UFFFFFFFF"
        raise DocumentError(file, line, column, "an escape after this names no character") from None


def _build(events: Iterable[Event], file: str) -> Node:
    """One pass over the parser's events, so that a hostile depth is refused before it is read."""
    root: Node | None = None
    open_nodes: list[Node] = []
    keys: list[str | None] = []  # per open node: the mapping key that waits for its value
    for event in events:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, CollectionEndEvent):
            open_nodes.pop()
            keys.pop()
            continue
        if isinstance(event, DocumentStartEvent) and root is not None:
            raise DocumentError(file, line, column, "expected one document, found a second")
        if not isinstance(event, NodeEvent):
            continue
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise DocumentError(file, line, column, "anchors and aliases are not allowed")
        if (tag := getattr(event, "tag", None)) is not None:
            raise DocumentError(file, line, column, f"tags are not allowed: {tag}")
        parent = open_nodes[-1] if open_nodes else None
        if parent is not None and isinstance(parent.value, dict) and keys[-1] is None:
            keys[-1] = _key(event, parent.value, file)
            continue
        path = _child_path(parent, keys[-1] if keys else None)
        node = Node(_value(event, file), file, line, column, path)
        if parent is None:
            root = node
        elif isinstance(parent.value, dict):
            parent.value[str(keys[-1])] = node
            keys[-1] = None
        elif isinstance(parent.value, list):
            parent.value.append(node)
        if isinstance(event, CollectionStartEvent):
            if len(open_nodes) == MAX_DEPTH:
                raise DocumentError(file, line, column, f"nested deeper than {MAX_DEPTH} levels", path)
            open_nodes.append(node)
            keys.append(None)
    if root is None:
        raise DocumentError(file, 1, 1, "the document is empty")
    return root


def _key(event: NodeEvent, siblings: Mapping[str, Node], file: str) -> str:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    if not isinstance(event, ScalarEvent):
        raise DocumentError(file, line, column, "a key must be text")
    key = _text(event, file)
    if key == "<<" and event.style is None:
        raise DocumentError(file, line, column, "merge keys are not allowed")
    if len(ascii(key)) > MAX_KEY_LENGTH:
        raise DocumentError(file, line, column, f"a key of more than {MAX_KEY_LENGTH} characters")
    if key in siblings:
        raise DocumentError(file, line, column, f"duplicate key {key!r}")
    return key


def _child_path(parent: Node | None, key: str | None) -> str:
    if parent is None:
        return ""
    step = f"[{len(parent.value)}]" if isinstance(parent.value, list) else str(key)
    return parent.path + step if step.startswith("[") or not parent.path else f"{parent.path}.{step}"


def _value(event: NodeEvent, file: str) -> Scalar | list[Node] | dict[str, Node]:
    if isinstance(event, MappingStartEvent):
        return {}
    if isinstance(event, SequenceStartEvent):
        return []
    assert isinstance(event, ScalarEvent)
    text = _text(event, file)
    return text if event.style is not None else _plain(text)


def _text(event: ScalarEvent, file: str) -> str:
    """The scalar's text: printable, so that written as JSON by anyone it reads the same again."""
    text = str(event.value)
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    if not text.isascii():
        try:  # JSON writes a character beyond U+FFFF as two escapes, which YAML keeps apart
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise DocumentError(file, line, column, "half of a surrogate pair") from None
    for character in text:
        if not character.isprintable() and character not in "\t\n":
            raise DocumentError(file, line, column, f"character U+{ord(character):04X} is not allowed")
    return text


def _plain(text: str) -> Scalar:
    """YAML 1.2's core schema, decimal only: what is not clearly a number, boolean or null is text."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text.lower() in {"true", "false"} and (text.islower() or text.istitle() or text.isupper()):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
