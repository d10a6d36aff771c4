"""Writes the manifests of deploy/kubernetes from the chart: `make kustomize`. Runs where Helm's library is.

What only Helm reads is left out, as are templates that come to nothing.
"""

import re
import sys
from pathlib import Path

import helm_python
import yaml

CHART = Path(__file__).parent
BASE = CHART.parent / "kubernetes"
HEAD = "# Written by `make kustomize` from deploy/helm with values.yaml. Do not edit.\n"
HELMS_OWN = re.compile(r"^ *(annotations: \{helm\.sh/.*\}|app\.kubernetes\.io/managed-by: .*|helm\.sh/.*|)$")


def manifests() -> dict[str, str]:
    """The text of each file by its name."""
    with helm_python.Chart.load(CHART) as chart:
        values = yaml.safe_load((BASE / "values.yaml").read_text())
        files = chart.render(values, name="understudy", namespace="default")
    texts = {Path(name).name: _plain(text) for name, text in files.items() if name.endswith(".yaml")}
    return {name: HEAD + text for name, text in sorted(texts.items()) if text}


def _plain(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if not HELMS_OWN.fullmatch(line))


def main() -> None:
    """Write them into the folder of the first argument, or to their place."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BASE
    for name, text in manifests().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
