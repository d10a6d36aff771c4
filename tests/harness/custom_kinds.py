"""Checks manifests of kinds that Kubernetes does not have, by the schemas that their projects publish."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from harness.system import ROOT

KINDS = ROOT / "tests" / "deploy" / "kinds"


def problems(manifest: Mapping[str, Any]) -> list[str]:
    """What a server would refuse, or leave out, of a manifest; none of a kind that Kubernetes has."""
    if not (KINDS / f"{manifest['kind']}.json").exists():
        return []
    validator, schema = _schema(manifest["kind"])
    found = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(dict(manifest))]
    return [*found, *_repeated(manifest, schema)]


@cache
def _schema(kind: str) -> tuple[jsonschema_rs.Draft202012Validator, Mapping[str, Any]]:
    schema = json.loads((KINDS / f"{kind}.json").read_text())
    return jsonschema_rs.Draft202012Validator(schema), schema


def _repeated(value: Any, schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Items of lists that are maps by some of their keys, where two have the same."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _repeated(child, schema.get("properties", {}).get(key, {}), f"{place}/{key}")
    elif isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys", [])
        names = [tuple(item.get(key) for key in keys) for item in value if keys]
        yield from (f"{place}: {name} twice" for name in {each for each in names if names.count(each) > 1})
        for number, item in enumerate(value):
            yield from _repeated(item, schema.get("items", {}), f"{place}/{number}")
