"""One version of a model: its bytes, what it takes and gives, what is claimed of where it comes from."""

from collections.abc import Sequence
from typing import Any

from serving.models.checking.verify import Report
from serving.models.files.lineage import Lineage
from serving.models.files.repository import ModelEntry
from serving.wire.tensors import spec_json


def model_view(
    entry: ModelEntry, report: Report, lineage: Lineage, place: str, rollouts: Sequence[str] = ()
) -> dict[str, Any]:
    """As `GET /v1/models/{name}/{version}` shows it; blocks, as it looks at its files.

    Args:
        entry: whose files are here.
        report: of its verification.
        lineage: what is claimed of it.
        place: the folder or URL that it is from; empty where that is not known.
        rollouts: that use it.
    """
    signature = report.signature
    files = [path for path in entry.path.parent.rglob("*") if path.is_file()]
    return {
        "name": entry.name,
        "version": entry.version,
        "rollouts": list(rollouts),
        "place": place,
        "ok": report.ok,
        "reason": report.reason,
        "sha256": report.sha256,
        "bytes": sum(path.stat().st_size for path in files),
        "inputs": [spec_json(spec) for spec in signature.inputs] if signature else [],
        "outputs": [spec_json(spec) for spec in signature.outputs] if signature else [],
        "independent": report.ok and not report.dependence,
        "dependence": report.dependence,
        "graph": report.form,
        "lineage": lineage.as_json(),
    }
