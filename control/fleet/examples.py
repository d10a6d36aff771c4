"""Examples of comparisons, as the sandboxes send them, held to be looked at.

Law: they are held in memory only, within the number that each document says and within `MAX_BYTES` a
rollout; and at every moment nothing is held that the document in force does not let be kept, whatever a
sandbox that has not heard of an edit yet may send.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from router.mirror.examples import Example, redacted
from router.mirror.sampler import Ring
from router.rollout.values import Examples, Rollout
from router.wire.examples_report import ExamplesReport

MAX_BYTES = 4 << 20
MAX_TOTAL_BYTES = 64 << 20
MAX_INSTANCES = 100

Order = Literal["distance", "recent"]
_NONE_KEPT = Examples(keep=0)
_ALL = ""  # no output has an empty name


class Gallery:
    """The examples of all rollouts."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}
        self._rules: dict[str, Examples] = {}
        self._seen: dict[str, dict[str, Counter[str]]] = {}

    def follow(self, rollouts: Iterable[Rollout]) -> None:
        """From now on these documents are in force; what they do not let be kept is forgotten at once."""
        rules = {rollout.model: rollout.examples for rollout in rollouts}
        for model, ring in list(self._rings.items()):
            wanted = rules.get(model, _NONE_KEPT)
            if wanted.keep == 0:
                del self._rings[model]
            elif wanted != self._rules[model]:
                ring.keep = wanted.keep
                ring.replace(redacted(example, wanted) for example, _ in ring.in_order())
        for model in self._seen.keys() - rules.keys():
            del self._seen[model]
        self._rules = rules

    def hear(self, instance: str, report: ExamplesReport) -> None:
        """Take in what one process sends; what it sends again, since our answer got lost, counts once."""
        rules = self._rules.get(report.model, _NONE_KEPT)
        if rules.keep == 0:
            return
        self._count(self._seen.setdefault(report.model, {}), instance, report)
        ring = self._rings.get(report.model)
        if ring is None:
            ring = self._rings[report.model] = Ring(rules.keep, MAX_BYTES)
        for each in report.kept:
            if each.model == report.model:
                ring.add(redacted(each, rules))
        while sum(other.bytes for other in self._rings.values()) > MAX_TOTAL_BYTES:
            max(self._rings.values(), key=lambda ring: ring.bytes).drop_one()

    @staticmethod
    def _count(seen: dict[str, Counter[str]], instance: str, report: ExamplesReport) -> None:
        """Keep the numbers of each process, of the longest silent ones only the sums."""
        seen.pop(instance, None)
        if len(seen) >= MAX_INSTANCES:
            silent = next(name for name in seen if name)
            seen[""] = seen.pop("", Counter()) + seen.pop(silent)
        seen[instance] = Counter(report.outputs) + Counter({_ALL: report.seen})

    def view(self, model: str, output: str | None, order: Order, limit: int) -> dict[str, Any]:
        """For `GET /v1/rollouts/{model}/examples`.

        Args:
            model: the public name.
            output: only of this output; None for all.
            order: those that differ before those that agree and the farthest first, or the latest first.
            limit: at most so many.
        """
        ring = self._rings.get(model)
        found = [] if ring is None else [example for example, _ in ring.in_order()]
        if output is not None:
            found = [example for example in found if example.output == output]
        if order == "recent":
            found.sort(key=lambda example: example.at, reverse=True)
        return {
            "examples": [_shown(example) for example in found[:limit]],
            "seen": sum(of[output or _ALL] for of in self._seen.get(model, {}).values()),
        }


def _shown(example: Example) -> Mapping[str, Any]:
    return {
        "id": example.id,
        "at": datetime.fromtimestamp(example.at, UTC).isoformat(timespec="milliseconds"),
        "stage": example.stage,
        "target": example.target,
        "output": example.output,
        "distance": example.distance,
        "verdict": example.verdict,
        "kind": example.kind,
        "datatype": example.datatype,
        "shape": example.shape,
        "reference": example.reference,
        "candidate_datatype": example.candidate_datatype,
        "candidate_shape": example.candidate_shape,
        "candidate": example.candidate,
        "cut": example.cut,
        "redacted": example.redacted,
        "request": example.request,
        "receipt": example.receipt,
    }
