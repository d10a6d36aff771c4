"""The metrics reference: every metric family that a module of the four packages declares."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from docs.gen.markdown import code, page, table
from serving.telemetry.cells import Family

ROOT = Path(__file__).parents[2]
PACKAGES = ("serving", "router", "control", "understudy")

_PARTS = {
    "serving": ("Processes that run models", "Workers, sandboxes and `understudy serve`."),
    "router": ("Routing", "Workers, and the sandboxes that compare."),
    "control": ("Control", "The control plane."),
    "understudy": ("Supervisor", "`understudy up` and `understudy node`."),
}
_LABELS = {
    "model": "public model name, as in the rollout file",
    "target": "`name/version`, with `@URL` for one elsewhere",
    "role": "`stable`, `canary` or `shadow`",
    "code": "HTTP status",
    "output": "output of the model",
    "step": "`name` of a step in `graph.yaml`",
    "resource": "what a process can run out of",
    "guard": "guard, `agreement:OUTPUT` for one on agreement",
}
_MERGE = {"sum": "the sum", "max": "the greatest", "min": "the least"}
_LEAD = """
`GET /metrics` on the admin door (`127.0.0.1:9000`) gives the metrics of all processes of `understudy up`; on a node
elsewhere, `--metrics-port` (9001) does; on `understudy serve`, its own port. What a process counted stays when it dies.
Where a histogram has the name `NAME`, Prometheus sees `NAME_bucket`, `NAME_sum` and `NAME_count`. Beside a gauge
stands what becomes of its values in several processes. Alerts on these metrics: [alerts](../alerts.md).
"""


def families() -> dict[str, tuple[Family, ...]]:
    """Package -> the families declared in its modules, by name."""
    found: dict[str, dict[str, Family]] = {package: {} for package in PACKAGES}
    for module in _modules():
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, Family) and not any(value.name in known for known in found.values()):
                found[module.partition(".")[0]][value.name] = value
    return {package: tuple(known[name] for name in sorted(known)) for package, known in found.items()}


def _modules() -> Iterator[str]:
    """Names of all modules, those of lower layers first: a family belongs where it is declared."""
    for package in PACKAGES:
        # Its folder by name: beside tests of the same name, the package's own path may lead to those too.
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                yield module.name


def sample_name(family: Family) -> str:
    """The name that Prometheus sees, without the suffixes of a histogram."""
    return f"{family.name}_total" if family.kind == "counter" else family.name


def render() -> str:
    """The page."""
    parts = []
    for package, known in families().items():
        title, about = _PARTS[package]
        rows = [
            (
                code(sample_name(family)),
                family.kind + (f", {_MERGE[family.merge]}" if family.kind == "gauge" else ""),
                ", ".join(map(code, family.labels)),
                family.help,
            )
            for family in known
        ]
        parts += [f"## {title}", about, table(["metric", "kind", "labels", "meaning"], rows)]
    labels = table(["label", "is"], [(code(label), meaning) for label, meaning in _LABELS.items()])
    buckets = [
        (code(family.name), ", ".join(f"{bound:g}" for bound in family.buckets))
        for known in families().values()
        for family in known
        if family.buckets
    ]
    return page(
        "Metrics",
        "the metric families in the code",
        _LEAD,
        *parts,
        "## Labels",
        labels,
        "## Buckets of the histograms",
        table(["histogram", "upper bounds"], buckets),
    )
