"""The three things asked of a server: where its knee is, how it takes a burst, what drifts in a long run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from serving.admission.saturation import MEAN_SECONDS
from serving.host.usage import machine_load
from understudy.bench.knee import KneeSearch
from understudy.bench.load import Load
from understudy.bench.patterns import Drift, Spike, drift, spike
from understudy.bench.server import Server
from understudy.bench.steps import Objective, Step, Window, together

WARM_UP_SECONDS = 1.0
MEMORY_POINTS = 1000
SETTLE_SECONDS = 3 * MEAN_SECONDS


@dataclass(frozen=True, slots=True)
class Bench:
    """A server under load.

    Args:
        server: what answers.
        load: what asks.
        objective: what a rate must keep.
        note: tells a person what is being done.
    """

    server: Server
    load: Load
    objective: Objective
    note: Callable[[str], None]

    def ramp(self, start: float, seconds: float, highest: float) -> tuple[list[Step], Step | None]:
        """Search the knee; every step tried, and the best that kept the objective.

        The search ends where the generator is the limit: beyond it nothing can be said of the server.
        """
        search, steps = KneeSearch(start, highest=highest), list[Step]()
        while (rate := search.next_rate()) is not None:
            self.note(f"{rate:,.0f} requests/s (best so far {search.kept:,.0f})")
            self.load.run(rate, WARM_UP_SECONDS, _nothing)
            step = self._step(rate, seconds)
            steps.append(step)
            kept = not step.shortfall(self.objective)
            search = search.tried(rate, kept=kept)
            if step.generator_limited:
                break
        good = [step for step in steps if not step.shortfall(self.objective)]
        return steps, max(good, key=lambda step: step.offered, default=None)

    def held(self, rate: float, seconds: float) -> Step:
        """A step at a rate that has lasted for so long that the server's saturation is that of the rate."""
        self.note(f"{rate:,.0f} requests/s, until the server shows how full that makes it")
        self.load.run(rate, SETTLE_SECONDS, _nothing)
        seen: list[float | None] = []
        step = self._step(rate, seconds, lambda: seen.append(self.server.saturation()))
        told = [saturation for saturation in seen if saturation is not None]
        return replace(step, saturation=sum(told) / len(told) if told else None)

    def _step(self, rate: float, seconds: float, heard: Callable[[], None] | None = None) -> Step:
        before, began = machine_load(), time.monotonic()
        self.server.begin()
        windows = self.load.run(rate, seconds, heard or _nothing)
        usage = self.server.usage()
        busy = (machine_load().busy_seconds - before.busy_seconds) / (time.monotonic() - began)
        return Step(rate, together(windows), usage, min(busy / before.cpus, 1.0))

    def spike(self, rate: float, times: float, seconds: float) -> tuple[Spike, list[Window]]:
        """Steady load, a burst of so many times the rate, steady load again."""
        self.load.run(rate, WARM_UP_SECONDS, _nothing)
        stretches = []
        for stretch, at in (("before", rate), ("burst", rate * times), ("after", rate)):
            self.note(f"{stretch}: {at:,.0f} requests/s")
            stretches.append(self.load.run(at, seconds, _nothing))
        return spike(*stretches), [window for stretch in stretches for window in stretch]

    def soak(self, rate: float, seconds: float) -> tuple[Drift, list[Window]]:
        """Steady load, and what it changed."""
        self.load.run(rate, WARM_UP_SECONDS, _nothing)
        began = time.monotonic()
        memory: list[tuple[float, int]] = []

        def heard() -> None:
            passed = time.monotonic() - began
            self.note(f"{rate:,.0f} requests/s, {passed:,.0f} of {seconds:,.0f} s")
            usage = self.server.usage()
            if usage is not None and passed >= len(memory) * seconds / MEMORY_POINTS:
                memory.append((passed, usage.memory_bytes))

        self.server.begin()
        windows = self.load.run(rate, seconds, heard)
        return drift(windows, memory), windows


def _nothing() -> None:
    """Nobody needs to hear of each window."""
