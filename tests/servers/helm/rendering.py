"""Renders the chart by Helm's own library, in the environment of this folder, and validates what comes of it.

From stdin JSON: `chart` (its folder), `name` and `namespace` of the release, `versions` of Kubernetes, and
`values` by a name; `manifests`, text by a name, that are no chart's. To stdout JSON by that name: what
`helm lint` says, each file as text, what the schemas of Kubernetes refuse; or why Helm refused.
"""

import contextlib
import json
import sys
from functools import cache

import helm_python
import kubernetes_validate
import yaml
from kubernetes_validate import utils

utils.schema_contents = cache(utils.schema_contents)  # else all definitions are read anew for each document


def rendered(chart, asked, values):
    try:
        files = chart.render(values, name=asked["name"], namespace=asked["namespace"])
    except helm_python.HelmError as error:
        return {"refused": str(error)}
    found = {"files": {name.removeprefix("understudy/"): text for name, text in files.items()}}
    if asked["versions"]:
        report = helm_python.lint(asked["chart"], values, strict=True, namespace=asked["namespace"])
        found["lint"] = [message["error"] for message in report["messages"] if message["severity"] > 1]
        found["problems"] = list(problems(files, asked["versions"]))
    return found


def problems(files, versions):
    for name, text in files.items():
        for document in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            for version in versions if document else ():
                with contextlib.suppress(kubernetes_validate.SchemaNotFoundError):  # a custom kind
                    try:
                        kubernetes_validate.validate(document, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        yield f"{version} {document['kind']} {list(error.path)}: {error.message}"


def main():
    asked = json.load(sys.stdin)
    with helm_python.Chart.load(asked["chart"]) as chart:
        found = {name: rendered(chart, asked, values) for name, values in asked["values"].items()}
    for name, text in asked["manifests"].items():
        found[name] = {"problems": list(problems({f"{name}.yaml": text}, asked["versions"]))}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
