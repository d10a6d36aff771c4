"""References of documents: each field with its default and the error of a value that does not fit.

Law: nothing here repeats what a parser knows. An error on the page is the one that the parser gives, and
`faults` says where a page and its parser disagree: a field that is missing, or is none; a default that is
not the default; a value said to be good that is refused, or wrong and accepted.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docs.gen.markdown import code, table
from serving.document import DocumentError

Place = tuple[str | int, ...]
REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a mapping.

    Args:
        key: as written.
        takes: what its value may be, in words.
        default: the value that means the same as leaving it out, as YAML; `REQUIRED`, or "" where leaving it
            out is a meaning of its own.
        good: a value that is accepted.
        wrong: a value that is refused.
        meaning: in a sentence or two.
        beside: what must be there too for it to be accepted, by key of the same mapping.
    """

    key: str
    takes: str
    default: Any
    good: Any
    wrong: Any
    meaning: str
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of a document.

    Args:
        title: heading on the page.
        about: text below it.
        place: where it stands in `sample`.
        sample: a whole document that is accepted, in which the mapping is.
        fields: all keys of it.
        one_of: whether just one of its keys is there at a time.
    """

    title: str
    about: str
    place: Place
    sample: Mapping[str, Any]
    fields: Sequence[Field]
    one_of: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that is refused though each value by itself would do."""

    why: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """All of one kind of document.

    Args:
        parse: reads a document's text; equal documents mean the same when its results are equal.
        sections: its mappings.
        refused: what is refused because values do not fit each other.
    """

    parse: Callable[[str], Any]
    sections: Sequence[Section]
    refused: Sequence[Refused] = ()


def with_value(section: Section, key: str, value: Any) -> dict[str, Any]:
    """The section's sample with one key set."""
    document = copy.deepcopy(dict(section.sample))
    mapping = _mapping(document, section.place)
    if section.one_of:
        mapping.clear()
    for each in section.fields:
        if each.key == key:
            mapping.update(copy.deepcopy(dict(each.beside)))
    mapping[key] = value
    return document


def without(section: Section, key: str) -> dict[str, Any]:
    """The section's sample without one key."""
    document = copy.deepcopy(dict(section.sample))
    _mapping(document, section.place).pop(key, None)
    return document


def error_of(reference: Reference, document: Mapping[str, Any]) -> str | None:
    """What the parser says of a document, without the place (a column of JSON here); None when it accepts it."""
    try:
        reference.parse(json.dumps(document))
    except DocumentError as error:
        return error.message
    return None


def known_keys(reference: Reference, section: Section) -> set[str]:
    """The keys that the parser says it knows in a section.

    Raises:
        ValueError: it does not say so there.
    """
    said = error_of(reference, with_value(section, "noSuchKey", 1)) or ""
    found = re.search(r"unknown key; known here: (.*)", said)
    if found is None:
        raise ValueError(f"{section.title}: an unknown key gave {said!r}")
    return set(found[1].split(", "))


def faults(reference: Reference) -> Iterator[str]:
    """Where the reference and the parser disagree."""
    for section in reference.sections:
        if not section.one_of and (said := error_of(reference, section.sample)):
            yield f"{section.title}: its sample is refused: {said}"
            continue
        documented = {field.key for field in section.fields}
        if (known := known_keys(reference, section)) != documented:
            yield f"{section.title}: the parser knows {sorted(known)}, the page {sorted(documented)}"
        for each in section.fields:
            yield from (
                f"{section.title}, {each.key}: {fault}" for fault in _faults(reference, section, each)
            )
    for refused in reference.refused:
        if error_of(reference, refused.document) is None:
            yield f"accepted, though {refused.why}"


def _faults(reference: Reference, section: Section, field: Field) -> Iterator[str]:
    if said := error_of(reference, with_value(section, field.key, field.good)):
        yield f"{field.good!r} is refused: {said}"
    if error_of(reference, with_value(section, field.key, field.wrong)) is None:
        yield f"{field.wrong!r} is accepted"
    left_out = without(section, field.key)
    if field.default == REQUIRED:
        if error_of(reference, left_out) is None:
            yield "is not required"
    elif field.default != "":
        same = reference.parse(json.dumps(with_value(section, field.key, field.default)))
        if said := error_of(reference, left_out):
            yield f"is required: {said}"
        elif reference.parse(json.dumps(left_out)) != same:
            yield f"{field.default!r} is not the default"


def _mapping(document: dict[str, Any], place: Place) -> dict[str, Any]:
    found: Any = document
    for step in place:
        found = found[step]
    assert isinstance(found, dict)
    return found


def as_yaml(value: Any) -> str:
    """A value in one line of YAML, as one would write it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {as_yaml(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(as_yaml, value)) + "]"
        case bool():
            return str(value).lower()
        case str() if re.fullmatch(r"[A-Za-z][A-Za-z0-9 _./%-]*|[0-9.]+[a-z%][a-z0-9.%]*", value):
            return value
        case str():
            return json.dumps(value)
        case _:
            return str(value)


def render_sections(reference: Reference) -> list[str]:
    """A heading, a text and a table for each section, then what does not fit together."""
    parts: list[str] = []
    for section in reference.sections:
        heads = ["field", "takes", "default", "meaning", "refused, for example"]
        rows = [_row(reference, section, field) for field in section.fields]
        parts += [f"## {section.title}", section.about, table(heads, rows)]
    if reference.refused:
        rows = [
            (refused.why, code(as_yaml(refused.document)), code(error_of(reference, refused.document) or ""))
            for refused in reference.refused
        ]
        parts += ["## What does not fit together", table(["why", "document", "refused with"], rows)]
    return parts


def _row(reference: Reference, section: Section, field: Field) -> tuple[str, ...]:
    plain = field.default in ("", REQUIRED)
    default = field.default if plain else code(as_yaml(field.default))
    said = error_of(reference, with_value(section, field.key, field.wrong)) or ""
    return (
        code(field.key),
        field.takes,
        default or "none",
        field.meaning,
        f"{code(as_yaml(field.wrong))}: {code(said)}",
    )
