"""What the processes of a node answered and compared until now: a summary of their metrics.

Whoever draws a node's traffic asks its supervisor, which reads the numbers where the workers keep them
(`serving.telemetry.cells`), so that no worker does anything for it. Cumulative since the supervisor started.
"""

from itertools import islice
from pathlib import Path

from router.metrics import COMPARISON, FAILOVER
from router.wire.node_use import MAX_ROWS, Answered, Compared
from serving.telemetry.cells import Series, Totals, read
from serving.telemetry.families import REQUEST_SECONDS, REQUESTS

_DIFFERENCES = frozenset({"different", "failed"})
_CANARYS_FAULT = frozenset({"failed", "timeout"})
"""Reasons of a failover for which a request counts as failed at the canary, whoever answered it then."""


def served(folder: Path) -> tuple[list[Answered], list[Compared]]:
    """Requests and comparisons of all processes that keep their metrics in this folder.

    Returns:
        Per model, target and role the requests it answered, those that failed there (status 500
        and above, or answered by stable in its place), and the latencies in `SECONDS_BUCKETS` and beyond.
        Per model, target and output the comparisons, and how many of them differed.
    """
    families = read(folder)
    answered: dict[tuple[str, str, str], list[int]] = {}
    for (model, target, role, code), (count,) in _series(families, REQUESTS.name).items():
        row = answered.setdefault((model, target, role), [0, 0])
        row[0] += int(count)
        row[1] += int(count) if int(code) >= 500 else 0
    for (model, target, reason), (count,) in _series(families, FAILOVER.name).items():
        if reason in _CANARYS_FAULT:
            answered.setdefault((model, target, "canary"), [0, 0])[1] += int(count)
    latencies = _series(families, REQUEST_SECONDS.name)
    compared: dict[tuple[str, str, str], list[int]] = {}
    for (model, target, output, verdict), (count,) in _series(families, COMPARISON.name).items():
        row = compared.setdefault((model, target, output), [0, 0])
        row[0] += int(count)
        row[1] += int(count) if verdict in _DIFFERENCES else 0
    return (
        [
            Answered(
                model=model,
                target=target,
                role=role,
                requests=requests,
                failures=failures,
                latency=[int(cell) for cell in latencies.get((model, target, role), [0.0])[:-1]],
            )
            for (model, target, role), (requests, failures) in islice(answered.items(), MAX_ROWS)
        ],
        [
            Compared(
                model=model, target=target, output=output, comparisons=comparisons, differences=differences
            )
            for (model, target, output), (comparisons, differences) in islice(compared.items(), MAX_ROWS)
        ],
    )


def _series(families: dict[str, Totals], name: str) -> Series:
    return families[name].series if name in families else {}
