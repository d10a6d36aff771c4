"""Three ledgers of the same requests: what clients saw, what the counts say, what targets received."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.load import Ledger
from harness.system import Up, eventually

CLIENT_LEFT = 499


@dataclass(frozen=True, slots=True)
class Ledgers:
    """One public name's requests.

    Attributes:
        clients: (target, status) -> answers that clients saw; target empty where nobody said.
        counted: the same, by `understudy_requests_total`.
        control: requests in the counts that reached control, the evidence.
        received: target -> inference requests by a record of its own, where it keeps one.
    """

    clients: Mapping[tuple[str, int], int]
    counted: Mapping[tuple[str, int], int]
    control: int
    received: Mapping[str, int] = field(default_factory=dict)

    def problems(self, in_flight: int = 0) -> list[str]:
        """Where they contradict each other; empty when they agree.

        Args:
            in_flight: as many requests may have been under way in a process that was killed: counted or
                not, and answered to nobody.
        """
        seen, counted = _by_status(self.clients), _by_status(self.counted)
        found = [
            f"{status}: clients saw {seen[status]}, counted are {counted[status]}"
            for status in sorted((seen.keys() | counted.keys()) - {0, CLIENT_LEFT})
            if not 0 <= counted[status] - seen[status] <= in_flight
        ]
        for (target, status), count in self.clients.items():
            known = self.counted.get((target, status), 0)
            if target and not 0 <= known - count <= in_flight:
                found.append(f"{target} {status}: clients saw {count}, counted are {known}")
        if self.control > sum(counted.values()):
            found.append(f"control counts {self.control} of {sum(counted.values())} requests")
        for target, count in self.received.items():
            if count < self.clients.get((target, 200), 0):
                found.append(f"{target} received {count}, and answered {self.clients[target, 200]}")
        return found


def _by_status(rows: Mapping[tuple[str, int], int]) -> Counter[int]:
    total: Counter[int] = Counter()
    for (_, status), count in rows.items():
        total[status] += count
    return total


def take(up: Up, model: str, clients: Ledger, received: Mapping[str, int] | None = None) -> Ledgers:
    """Read all three, once no request is under way."""
    eventually(lambda: up.metric("understudy_requests_in_flight", model=model) == 0, "none is under way")
    counted: Counter[tuple[str, int]] = Counter()
    for sample in up.samples("understudy_requests_total"):
        if sample.labels["model"] == model:
            named = sample.labels["target"].partition("@")[0]  # clients are told no URLs
            counted[named, int(sample.labels["code"])] += int(sample.value)
    seen = Counter({("", status): count for status, count in clients.statuses.items() if status != 200})
    seen.update({(target, 200): count for target, count in clients.targets.items() if target})
    return Ledgers(seen, counted, control_counts(up, model), received or {})


def control_counts(up: Up, model: str) -> int:
    """Requests of a model in the counts of all workers that control has heard of lately."""
    rows = up.admin.get("/v1/nodes").json()
    return sum(
        counts[role]["requests"]
        for row in rows
        if row["kind"] == "worker"
        for counts in row["counts"]
        if counts["model"] == model
        for role in ("stable", "canary")
    )
