"""The reference of the chart's values: their schema, and their defaults."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from docs.gen.markdown import code, page, table

CHART = Path(__file__).parents[2] / "deploy" / "helm"

_LEAD = """
What `helm install -f values.yaml` can say of the chart in `deploy/helm`. A value that is not here is refused, as is one
that does not fit. How it is used: [Kubernetes](../kubernetes.md).
"""


def rows(schema: Mapping[str, Any], defaults: Any, path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Path, default, bounds and meaning of each value, those of an object below it."""
    for name, child in schema["properties"].items():
        place = f"{path}{name}"
        default = defaults.get(name) if isinstance(defaults, Mapping) else None
        if "properties" in child and "examples" not in child:
            yield code(place), "", "", child["description"]
            yield from rows(child, default, f"{place}.")
        else:
            yield code(place), _text(default), _bounds(child), child["description"]


def _text(default: Any) -> str:
    return "" if default is None or default == "" else code(json.dumps(default).strip('"'))


def _bounds(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "propertyNames" in schema and "enum" in schema["propertyNames"]:
        return "names of [settings](settings.md) that the chart leaves open"
    limits = [f"at least {schema['minimum']}"] if schema.get("minimum") is not None else []
    limits += [f"at most {schema['maximum']}"] if "maximum" in schema else []
    return ", ".join(limits)


def render() -> str:
    """The page."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    return page(
        "Values of the Helm chart",
        "deploy/helm/values.schema.json and values.yaml",
        _LEAD,
        table(["value", "default", "bounds", "meaning"], rows(schema, defaults)),
    )
