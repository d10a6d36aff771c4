"""Makes a schema of this folder from a CustomResourceDefinition: `python reduce.py CRD.yaml KIND VERSION`.

Descriptions go, and subtrees that embed a whole pod and that no manifest of ours uses; objects are closed, so
that a misspelt field is refused instead of pruned by a server.
"""

import json
import sys
from pathlib import Path

import yaml

PODS = {"job", "workerSpec", "affinity", "volumes", "containers"}
"""Of AnalysisTemplate and ClusterServingRuntime; containers are checked as those of a Pod."""
DROPPED = {"x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-map-type"}


def reduced(node, name=""):
    if isinstance(node, list):
        return [reduced(each) for each in node]
    if not isinstance(node, dict):
        return node
    if name in PODS and "type" in node:
        return {"type": node["type"]}
    kept = {
        key: {child: reduced(value, child) for child, value in value.items()}
        if key == "properties"
        else reduced(value)
        for key, value in node.items()
        if key not in DROPPED and not (key == "description" and isinstance(value, str))
    }
    if "properties" in kept and not kept.get("x-kubernetes-preserve-unknown-fields"):
        kept.setdefault("additionalProperties", False)
    if kept.pop("x-kubernetes-int-or-string", False):
        kept = {"type": ["integer", "string"]}
    return kept


def main():
    path, kind, version = sys.argv[1:]
    for crd in yaml.safe_load_all(Path(path).read_text()):
        if crd and crd["kind"] == "CustomResourceDefinition" and crd["spec"]["names"]["kind"] == kind:
            [found] = [each for each in crd["spec"]["versions"] if each["name"] == version]
            schema = reduced(found["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            print(json.dumps(schema, separators=(",", ":"), sort_keys=True))


if __name__ == "__main__":
    main()
