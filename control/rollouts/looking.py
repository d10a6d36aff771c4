"""What someone who is asked to approve looks at, and what stands for it. Pure.

Law: it names the document, the bytes, where the rollout is and what its guards say, by their verdicts. So
evidence that grows leaves it as it is, and a verdict, an edit or another step that came since does not.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from control.judging.verdicts import Judgement
from control.rollouts.state import Progress
from router.rollout.parser import to_document
from router.rollout.values import Rollout


def looked_at(
    rollout: Rollout, progress: Progress, digests: Mapping[str, str], judgement: Judgement | None
) -> dict[str, Any]:
    """All that an approval is bound to, as JSON values.

    Args:
        rollout: the document in force.
        progress: where it is.
        digests: of the accepted bytes, by `name/version`.
        judgement: what its guards say; None while nobody is judged.
    """
    guards = () if judgement is None else judgement.guards
    canary = rollout.canary.target if rollout.canary is not None else progress.stable
    return {
        "model": rollout.model,
        "stage": progress.stage,
        "step": progress.step + 1,
        "weight": progress.weight,
        "targets": {
            target.key: "unpinned" if target.url is not None else digests.get(target.model, "")
            for target in (progress.stable, canary)
        },
        "verdict": "undecided" if judgement is None else judgement.verdict,
        "guards": {row.guard: row.verdict for row in guards if row.verdict != "undecided"},
        "document": to_document(rollout),
    }


def hash_of(looked: Mapping[str, Any]) -> str:
    """What stands for it: SHA-256 of its canonical JSON, in hex."""
    text = json.dumps(looked, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
