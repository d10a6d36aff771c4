"""What a rollout should take, before it starts: its guards simulated on the traffic of today. Pure.

Two canaries are sent through the steps many times: one as good as stable, which tells how long each step
takes, and one with the smallest harm worth catching, which tells what share of those would be taken off by
then. Counts are drawn in slices that grow by a twentieth and looked at after each, so a verdict comes up to
5% later here than in a rollout, which is looked at every second. Left out, since nothing here tells how they
would do: PromQL guards, and the latency guard when no latency of stable is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from control.judging.evidence import Floats
from control.judging.guards.lines import harm_lines, sharing
from control.judging.guards.registry import judged
from control.judging.guards.simulation import Behaviour, Runs, Traffic
from router.rollout.values import Approve, Guard, Pause, Run, SetWeight, Step

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
FIRST_SLICE_SECONDS = 1.0
SLICE_GROWTH = 1.05
GIVE_UP_SECONDS = 7 * 86_400.0
"""When a `prove` step without `max` counts as not passed."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step, simulated.

    Args:
        step: of the document.
        seconds_median: what a good canary spends in it (the wait for a person apart), half of them at most;
            None when fewer get through.
        seconds_p95: the same for 19 of 20 of those that come to it.
        passed: share of good canaries that get past it.
        caught: share of harmful canaries that are taken off by the end of it.
    """

    step: Step
    seconds_median: float | None
    seconds_p95: float | None
    passed: float
    caught: float


def plan(
    steps: Sequence[Step],
    guards: Sequence[Guard],
    alpha: float,
    traffic: Traffic,
    harmful: Behaviour,
    good: Behaviour | None = None,
    runs: int = 400,
    seed: int = 1,
) -> tuple[PlannedStep, ...]:
    """Simulate the steps of a rollout.

    Args:
        steps: of the document; the weight is 0 before the first `SetWeight`.
        guards: of the document; only those in force count.
        alpha: of the document.
        traffic: what stable does today.
        harmful: the smallest harm worth catching.
        good: a canary that ought to pass; None for one that fails as often as stable and never differs.
        runs: simulated rollouts of each; shares are known to about half of their inverse root.
        seed: of the random numbers.
    """
    good = good or Behaviour(traffic.error_rate)
    passing = _Cohort(np.random.default_rng([seed, 0]), runs, steps, guards, alpha, traffic, good)
    failing = _Cohort(np.random.default_rng([seed, 1]), runs, steps, guards, alpha, traffic, harmful)
    planned = []
    for step in steps:
        came = int(passing.live.sum())
        seconds = passing.take(step)
        failing.take(step)
        spent = np.sort(np.append(seconds, np.full(came - len(seconds), np.inf)))
        median, p95 = (float(spent[min(int(q * came), came - 1)]) if came else np.inf for q in (0.5, 0.95))
        planned.append(
            PlannedStep(
                step,
                median if np.isfinite(median) else None,
                p95 if np.isfinite(p95) else None,
                float(passing.live.mean()),
                float(failing.taken_off.mean()),
            )
        )
    return tuple(planned)


class _Cohort:
    """Many rollouts of one canary, step by step."""

    def __init__(
        self,
        rng: np.random.Generator,
        runs: int,
        steps: Sequence[Step],
        guards: Sequence[Guard],
        alpha: float,
        traffic: Traffic,
        canary: Behaviour,
    ) -> None:
        self.rng, self.traffic = rng, traffic
        self.live, self.taken_off = np.ones(runs, dtype=bool), np.zeros(runs, dtype=bool)
        self.weights = [0.0, *(step.percent / 100 for step in steps if isinstance(step, SetWeight))]
        self.stage = 0
        of, enforced = Runs(runs, self.weights, traffic, canary), sharing(guards)
        self.proof_line = log(1.0 / alpha)
        self.guards = [
            (found, line)
            for guard, line in zip(enforced, harm_lines(enforced, alpha), strict=True)
            if (found := judged(guard).simulate(guard, of))
        ]

    def take(self, step: Step) -> Floats:
        """Take a step; the seconds that those who got through spent in it."""
        if isinstance(step, SetWeight):
            self.stage += 1
            return np.zeros(int(self.live.sum()))
        if isinstance(step, Approve | Run):  # how long people and hooks take is not known
            return np.zeros(int(self.live.sum()))
        if isinstance(step, Pause):
            self._run(step.seconds or 0.0, prove=False)
            return np.full(int(self.live.sum()), step.seconds or 0.0)
        seconds = self._run(step.max_seconds or GIVE_UP_SECONDS, prove=True)
        late = self.live & np.isinf(seconds)
        self.live &= ~late
        if step.on_timeout == "rollback":
            self.taken_off |= late
        return seconds[self.live]

    def _run(self, until: float, *, prove: bool) -> Floats:
        """Let time pass; when each run was proven, infinity for those that were not."""
        proven_at, elapsed, slice_seconds = np.full(len(self.live), np.inf), 0.0, FIRST_SLICE_SECONDS
        waiting = np.flatnonzero(self.live)
        while elapsed < until and len(waiting):
            slice_seconds = min(max(slice_seconds, elapsed * (SLICE_GROWTH - 1)), until - elapsed)
            elapsed += slice_seconds
            harmful, proven = self._look(waiting, slice_seconds, prove=prove)
            self.live[waiting[harmful]], self.taken_off[waiting[harmful]] = False, True
            if prove:
                proven_at[waiting[proven & ~harmful]] = elapsed
                waiting = waiting[~proven & ~harmful]
            else:
                waiting = waiting[~harmful]
        return proven_at

    def _look(self, runs: Ints, seconds: float, *, prove: bool) -> tuple[Flags, Flags]:
        """Draw a slice and judge as control does: harm on all stages, proof on the present one."""
        requests = self.rng.poisson(self.traffic.requests_per_second * seconds, len(runs))
        canary = self.rng.binomial(requests, self.weights[self.stage])
        harmful, proven = np.zeros(len(runs), dtype=bool), np.full(len(runs), prove and bool(self.guards))
        for guard, line in self.guards:
            guard.add(self.rng, runs, self.stage, canary, requests - canary)
            harmful |= guard.evidence(runs, slice(None)).harm >= line
            if prove:
                proven &= guard.evidence(runs, slice(self.stage, self.stage + 1)).safe >= self.proof_line
        return harmful, proven
