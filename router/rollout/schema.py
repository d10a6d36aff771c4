"""The rollout document as a JSON Schema, draft 2020-12, for editors and linters.

Law: what it refuses the parser refuses. It accepts more: a schema knows no order of two numbers, compares no
two values, adds up no duration, and YAML's anchors and duplicate keys are gone before it looks. So
`understudy rollouts lint` has the last word. Alternatives are told apart by their types (`if`), not tried
(`anyOf`), so that a linter's error is that of the value at fault. Pure.
"""

import json
import re
from typing import Any

from router.rollout import kinds
from router.rollout.fields import SECTIONS
from router.rollout.guards.registry import KINDS
from router.rollout.kinds import Fragment
from router.rollout.table import REQUIRED, UNSET, Field, Section, by_key, section

_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _free() -> Fragment:
    """Of guards with names of their own: told apart by a key, the last kind where none is there."""
    *others, last = (kind for kind in KINDS if not kind.key)
    return by_key({kind.told_by: kind.schema for kind in others}, last.schema)


_GUARDS = {
    "description": "Conditions on the canary; any other name is a guard on an outcome, or on a value of"
    " Prometheus.",
    "type": "object",
    "maxProperties": kinds.GUARDS.most,
    "propertyNames": {"pattern": kinds.NAME.schema["pattern"]},
    "properties": {kind.key: kind.schema for kind in KINDS if kind.key},
    "additionalProperties": _free(),
}


def of_file() -> dict[str, Any]:
    """The schema of a file: a mapping from public model names to rollouts."""
    return {
        "$schema": _DRAFT,
        "title": "Rollouts of Understudy",
        "description": "How each public model name is served.",
        "type": "object",
        "propertyNames": {"pattern": kinds.NAME.schema["pattern"]},
        "additionalProperties": section("rollout"),
        "$defs": _definitions(),
    }


def of_one() -> dict[str, Any]:
    """The schema of one rollout, as `PUT /v1/rollouts/{model}` takes it."""
    return {
        "$schema": _DRAFT,
        "title": "A rollout of Understudy",
        **section("rollout"),
        "$defs": _definitions(),
    }


def as_text(schema: dict[str, Any]) -> str:
    """A schema as the text of a file; the same text for the same table."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _definitions() -> dict[str, Any]:
    return {each.name: _section(each) for each in SECTIONS} | {"guards": _GUARDS}


def _section(found: Section) -> dict[str, Any]:
    required = [each.key for each in found.fields if each.default == REQUIRED]
    mapping = {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": {each.key: _field(each) for each in found.fields},
        **found.rules,
    }
    description = {"description": _LINK.sub(r"\1", found.about)} if found.about else {}
    if found.short is None:
        return {**description, **mapping}
    return {**description, "if": {"type": "string"}, "then": found.short.schema, "else": mapping}


def _field(found: Field) -> dict[str, Any]:
    default = {} if found.default in (REQUIRED, UNSET) else {"default": found.default}
    return {"description": found.meaning, **found.kind.schema, **default, "examples": [found.good]}
