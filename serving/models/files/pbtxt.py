"""Triton's `config.pbtxt`, as far as it says something that has a meaning here. Pure.

Law: nothing in it is ignored without a word. What maps becomes a `ModelConfig`; each other field is a note
with its place, but for those that only describe the model (names, shapes and datatypes of its tensors), which
are the model's own here.

Source: triton-inference-server/common, model_config.proto; protobuf's text format specification.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from serving.document import DocumentError
from serving.models.files.config import ModelConfig, Optimization, is_version

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?))
    |(?P<word>[A-Za-z_][A-Za-z0-9_.]*|\[[A-Za-z0-9_./]+\](?=\s*[:{<]))
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_MAX_DEPTH = 32
_CLOSING = {"{": "}", "<": ">"}
_DESCRIBING = frozenset({"input", "output", "backend", "platform", "runtime", "default_model_filename"})
_MICROSECONDS = 1e-6
_LEVELS: dict[object, Optimization] = {-1: "basic", 0: "all", 1: "extended", 2: "none"}
"""Of graph optimization, as Triton's backend for onnxruntime numbers them."""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message: a number, text, a word, or the fields of a message in it."""

    name: str
    value: "int | float | str | list[_Field]"
    line: int


def parse_pbtxt(text: bytes, file: str, name: str) -> tuple[ModelConfig, tuple[str, ...]]:
    """Read one `config.pbtxt`.

    Args:
        text: the document.
        file: the name that errors and notes show, such as `digits/config.pbtxt`.
        name: of the model.

    Returns:
        The configuration, and what of the document has no counterpart here, a sentence each.

    Raises:
        DocumentError: it is no protobuf text, or a value that maps is impossible.
    """
    fields = _Parser(text.decode("utf-8", "replace"), file).message("")
    values: dict[str, Any] = {}
    notes: list[str] = []
    reader = _Reader(file, name, values, notes)
    for field in fields:
        read = getattr(reader, f"read_{field.name}", None)
        if read is not None:
            read(field)
        elif field.name not in _DESCRIBING:
            reader.note(field)
    if reader.largest == 0:
        values["batching"] = 1
    elif reader.largest is not None:
        values["most_rows"] = reader.largest
    return ModelConfig(**values), tuple(dict.fromkeys(notes))


class _Reader:
    """A method for every field that maps."""

    def __init__(self, file: str, name: str, values: dict[str, Any], notes: list[str]) -> None:
        self.file, self.name, self.values, self.notes = file, name, values, notes
        self.largest: int | None = None

    def note(self, field: _Field, why: str = "it has no counterpart here", path: str = "") -> None:
        self.notes.append(f"{self.file}:{field.line}: {path}{field.name} is not used: {why}")

    def whole(self, field: _Field, least: int) -> int:
        if type(field.value) is not int or field.value < least:
            raise DocumentError(
                self.file, field.line, 1, f"{field.name}: expected a whole number from {least}"
            )
        return field.value

    def parts(self, field: _Field) -> "list[_Field]":
        if not isinstance(field.value, list):
            raise DocumentError(self.file, field.line, 1, f"{field.name}: expected a message in braces")
        return field.value

    def read_name(self, field: _Field) -> None:
        if field.value != self.name:
            self.note(field, f"the model is called as its folder, {self.name!r}")

    def read_max_batch_size(self, field: _Field) -> None:
        self.largest = self.whole(field, 0)

    def read_version_policy(self, field: _Field) -> None:
        for policy in self.parts(field):
            inner = self.parts(policy)
            if policy.name == "all":
                self.values["versions"] = "all"
            elif policy.name == "latest":
                self.values["versions"] = self.whole(inner[0], 1) if inner else 1
            elif policy.name == "specific":
                versions = tuple(str(self.whole(part, 1)) for part in inner)
                if not versions or not all(map(is_version, versions)):
                    raise DocumentError(self.file, policy.line, 1, "specific: expected at least one version")
                self.values["versions"] = versions
            else:
                self.note(policy, path="version_policy.")

    def read_dynamic_batching(self, field: _Field) -> None:
        for part in self.parts(field):
            if part.name == "default_queue_policy":
                self._queue(part)
            elif part.name == "max_queue_delay_microseconds":
                self.note(
                    part, "a request never waits for others while its model is free", "dynamic_batching."
                )
            elif part.name == "preferred_batch_size":
                self.note(part, "the best size is measured at each load", "dynamic_batching.")
            else:
                self.note(part, path="dynamic_batching.")

    def _queue(self, field: _Field) -> None:
        for part in self.parts(field):
            if part.name == "max_queue_size":
                self.values["queue"] = self.whole(part, 0) or ModelConfig().queue
            elif part.name == "default_timeout_microseconds":
                microseconds = self.whole(part, 0)
                self.values["timeout"] = microseconds * _MICROSECONDS if microseconds else None
            else:
                self.note(part, path="dynamic_batching.default_queue_policy.")

    def read_instance_group(self, field: _Field) -> None:
        for part in self.parts(field):
            if part.name == "count" and self.whole(part, 1) > 1:
                self.note(part, "each worker has one (--workers)", "instance_group.")
            elif part.name == "kind" and part.value not in {"KIND_CPU", "KIND_AUTO"}:
                self.note(part, "name `providers` in a config.yaml", "instance_group.")
            elif part.name not in {"count", "kind", "name"}:
                self.note(part, path="instance_group.")

    def read_ensemble_scheduling(self, field: _Field) -> None:
        self.note(field, "write the steps into a graph.yaml in the version's folder (docs/graphs.md)")

    def read_optimization(self, field: _Field) -> None:
        for part in self.parts(field):
            if part.name != "graph":
                self.note(part, path="optimization.")
                continue
            for level in self.parts(part):
                if level.name != "level" or level.value not in _LEVELS:
                    raise DocumentError(self.file, level.line, 1, "graph: expected a level of -1, 0, 1 or 2")
                self.values["optimization"] = _LEVELS[level.value]

    def read_parameters(self, field: _Field) -> None:
        entry = {part.name: part for part in self.parts(field)}
        key = entry["key"].value if "key" in entry else ""
        inner = self.parts(entry["value"]) if "value" in entry else []
        text = str(inner[0].value) if inner else ""
        if key == "intra_op_thread_count" and text.isdecimal():
            self.values["threads"] = int(text) or None
        else:
            self.note(_Field(f"parameters[{key!r}]", "", field.line))


class _Parser:
    """The text format: fields with or without colons, messages in braces, lists, comments."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._tokens = list(_tokens(text, file))
        self._place = 0

    def message(self, closing: str, depth: int = 0) -> "list[_Field]":
        fields: list[_Field] = []
        while (token := self._next()).text != closing:
            if token.kind != "word" or depth > _MAX_DEPTH:
                self._fail(token, "expected the name of a field")
            fields += self._values(token, depth)
            if self._peek().text in {",", ";"}:
                self._next()
        return fields

    def _values(self, name: _Token, depth: int) -> "list[_Field]":
        colon = self._peek().text == ":"
        if colon:
            self._next()
        if self._peek().text != "[":
            return [_Field(name.text, self._value(depth, colon=colon), name.line)]
        self._next()
        found: list[_Field] = []
        while self._peek().text != "]":
            if found and self._next().text != ",":
                self._fail(self._tokens[self._place - 1], "expected , or ]")
            found.append(_Field(name.text, self._value(depth, colon=colon), name.line))
        self._next()
        return found

    def _value(self, depth: int, *, colon: bool) -> "int | float | str | list[_Field]":
        token = self._next()
        if token.text in _CLOSING:
            return self.message(_CLOSING[token.text], depth + 1)
        if not colon or token.kind in {"mark", "end"}:
            self._fail(token, "expected a value" if colon else "expected : or a message in braces")
        if token.kind == "text":
            parts = [_unquoted(token.text)]
            while self._peek().kind == "text":
                parts.append(_unquoted(self._next().text))
            return "".join(parts)
        if token.kind == "number":
            digits = token.text.rstrip("fF") if "x" not in token.text.lower() else token.text
            try:
                return int(digits, 0 if "x" in digits.lower() else 10)
            except ValueError:
                return float(digits)
        return token.text

    def _peek(self) -> _Token:
        return self._tokens[self._place]

    def _next(self) -> _Token:
        token = self._tokens[self._place]
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def _fail(self, token: _Token, message: str) -> NoReturn:
        raise DocumentError(self._file, token.line, token.column, message)


def _tokens(text: str, file: str) -> Iterator[_Token]:
    place, line, start = 0, 1, 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise DocumentError(file, line, place - start + 1, "no protobuf text")
        assert found.lastgroup is not None
        if found.lastgroup != "space":
            yield _Token(found.lastgroup, found[0], line, place - start + 1)
        line += found[0].count("\n")
        place = found.end()
        start = text.rfind("\n", 0, place) + 1
    yield _Token("end", "", line, place - start + 1)


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])
