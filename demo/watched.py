"""What the demo shows: answers as clients saw them, and what the two doors of the server say."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from harness.system import Up

RATE = 300


@dataclass(slots=True)
class Seen:
    """The answers of one target since the last edit."""

    answers: int = 0
    right: int = 0
    seconds: list[float] = field(default_factory=list)

    def milliseconds(self, percent: float) -> float:
        """Latency at a percentile, as the client measured it."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000


class Traffic:
    """The process that sends, and what it reported since `begin`."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("traffic.py")), url, str(RATE)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._lock = threading.Lock()
        self._targets: dict[str, Seen] = {}
        self._since = 0.0
        self.total = self.failed = 0
        threading.Thread(target=self._read, daemon=True).start()

    def begin(self) -> None:
        """Count anew what is sent from now on."""
        with self._lock:
            self._since = time.monotonic()
            self._targets = {}

    def seen(self) -> dict[str, Seen]:
        """By target, a copy."""
        with self._lock:
            return {
                target: Seen(seen.answers, seen.right, seen.seconds[:])
                for target, seen in sorted(self._targets.items())
            }

    def end(self) -> None:
        """Send no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._lock:
                for sent, target, seconds, label, answer in orjson.loads(line):
                    self.total += 1
                    self.failed += not target
                    if target and sent >= self._since:
                        seen = self._targets.setdefault(target, Seen())
                        seen.answers += 1
                        seen.right += label == answer
                        seen.seconds.append(seconds)


@dataclass(frozen=True, slots=True)
class Guard:
    """What the evidence says about one guard.

    Attributes:
        name: as in the document.
        verdict: `harmful`, `proven` or `undecided`.
        log_harm: natural logarithm of the e-value for harm; None without counts.
        log_safe: the same for being no worse.
        log_line: what either must reach.
    """

    name: str
    verdict: str
    log_harm: float | None
    log_safe: float | None
    log_line: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything.

    Attributes:
        phase: of the rollout, from the admin API.
        step: the one under way, from 1; 0 without steps.
        sentence: both in words, without the reason.
        weights: target -> percent of the draw.
        seen: target -> its answers since the last edit.
        agreement: (target, output) -> comparisons that were the same, and all, since the start.
        guards: the evidence as the autopilot last weighed it.
    """

    phase: str
    step: int
    sentence: str
    weights: dict[str, float]
    seen: dict[str, Seen]
    agreement: dict[tuple[str, str], tuple[int, int]]
    guards: tuple[Guard, ...]

    def share(self, target: str) -> float:
        """Percent of the answers that this target gave."""
        everything = sum(seen.answers for seen in self.seen.values())
        return 100 * self.seen[target].answers / everything if target in self.seen else 0.0


def look(up: Up, traffic: Traffic) -> Look:
    """Ask both."""
    view = up.view("digits")
    serving: dict[str, Any] = view["serving"]
    weights = {serving["stable"]: 100.0}
    if serving["canary"]:
        weights = {serving["stable"]: 100 - serving["weight"], serving["canary"]: serving["weight"]}
    status = view["status"]
    phase, sentence = status["phase"], status["sentence"].partition(" (")[0]
    return Look(phase, status["step"], sentence, weights, traffic.seen(), _agreement(up), _guards(up, phase))


def _agreement(up: Up) -> dict[tuple[str, str], tuple[int, int]]:
    agreement: dict[tuple[str, str], tuple[int, int]] = {}
    for sample in up.samples("understudy_comparison_total"):
        labels = sample.labels
        if labels["model"] == "digits":
            key = labels["target"], labels["output"]
            same, compared = agreement.get(key, (0, 0))
            count = int(sample.value)
            agreement[key] = same + count * (labels["verdict"] == "same"), compared + count
    return dict(sorted(agreement.items()))


def _guards(up: Up, phase: str) -> tuple[Guard, ...]:
    """As last judged; of a rollout that has ended, what ended it."""
    name = "/v1/rollouts/digits"
    judgement = up.admin.get(f"{name}/evidence").raise_for_status().json()["judgement"]
    if phase in {"promoted", "rolled_back"}:
        history = up.admin.get(f"{name}/history").raise_for_status().json()
        judgement = next(row["evidence"] for row in history if row["evidence"])
    return tuple(
        Guard(found["guard"], found["verdict"], found["log_harm"], found["log_safe"], found["log_line"])
        for found in (judgement or {"guards": ()})["guards"]
    )
