"""What a table of fields is made of, and what its rows share. Pure."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Kind, Shape

REQUIRED = "required"
UNSET = ""
NAME = "digits"


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a mapping.

    Args:
        key: as written.
        kind: what its value may be.
        default: the value that means the same as leaving it out, as documents have it; `REQUIRED`, or `UNSET`
            where leaving it out is a meaning of its own.
        good: a value that is accepted.
        wrong: a value that is refused.
        meaning: in a sentence or two, as Markdown.
        beyond: whether a JSON Schema cannot say that `wrong` is wrong.
        beside: what must be there too for it to be accepted, by key of the same mapping.
    """

    key: str
    kind: Kind
    default: Any
    good: Any
    wrong: Any
    meaning: str
    beyond: bool = field(default=False, kw_only=True)
    beside: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the document.

    Args:
        name: its name in the JSON Schema.
        title: heading on the page.
        about: text below it, as Markdown.
        place: where it stands in `sample`.
        sample: a whole file that is accepted, in which the mapping is.
        fields: all keys of it.
        one_of: whether just one of its keys is there at a time.
        short: what may stand there instead of a mapping.
        rules: what JSON Schema says of the mapping beyond its fields.
    """

    name: str
    title: str
    about: str
    place: tuple[str | int, ...]
    sample: Mapping[str, Any]
    fields: Sequence[Field]
    one_of: bool = field(default=False, kw_only=True)
    short: Kind | None = field(default=None, kw_only=True)
    rules: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is refused though each value by itself would do; `beyond` as for a field."""

    why: str
    document: Mapping[str, Any]
    beyond: bool = field(default=False, kw_only=True)


def section(name: str) -> dict[str, str]:
    """What stands in the JSON Schema for a section of this name."""
    return {"$ref": f"#/$defs/{name}"}


def default_of(kind: type, name: str) -> Any:
    """The default of a dataclass's field, as documents have it."""
    found: Any = next(each.default for each in dataclasses.fields(kind) if each.name == name)
    return kinds.duration_text(found) if name.endswith("_seconds") else kinds.plain(found)


def below(name: str) -> Shape:
    """A mapping with a section of its own."""
    return Shape("a mapping, see below", section(name))


def by_choice(
    key: str, schemas: Mapping[str, Mapping[str, Any]], otherwise: Mapping[str, Any]
) -> dict[str, Any]:
    """JSON Schema of a mapping of which the word under a key says what else is in it."""
    found = dict(otherwise)
    for word, schema in schemas.items():
        said = {"required": [key], "properties": {key: {"const": word}}}
        found = {"if": said, "then": schema, "else": found}
    return found


def by_key(schemas: Mapping[str, Mapping[str, Any]], otherwise: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of a mapping in which one of these keys says what else is in it."""
    found = dict(otherwise)
    for key, schema in schemas.items():
        found = {"if": {"required": [key]}, "then": schema, "else": found}
    return found


def any_of(*keys: str) -> dict[str, Any]:
    """JSON Schema: at least one of the keys."""
    return {"anyOf": [{"required": [key]} for key in keys]}


def mode_of(guard: type) -> Field:
    """The field `mode` of a kind of guard."""
    default, other = sorted(kinds.MODE.options, key=lambda option: option != default_of(guard, "mode"))
    meaning = "whether a verdict acts, or is only shown"
    return Field("mode", kinds.MODE, default, other, "warn", meaning)


def sample(**more: Any) -> dict[str, Any]:
    """A file with one rollout, in which this is too."""
    return {NAME: {"stable": "digits/1", **more}}


MODEL = Field("model", kinds.MODEL, REQUIRED, "digits/1", "digits/latest", "which model")
URL = Field(
    "url", kinds.URL, UNSET, "http://triton:8000", "http://user@triton:8000", "the server that has it"
)
