"""Which configurations of a model are tried, and which is best. Pure.

Law: what is there is tried first and, where another one is ahead, last too; between, one setting after the
other, each with those before that were kept. A setting is kept, and what is there replaced, only where it
keeps the target and takes clearly more requests: a search of the highest rate ends within a tenth, so less is
nothing, and what does nothing is not written down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from serving.models.files.config import Optimization
from understudy.bench.steps import Objective, Step

CLEARLY = 1.1
LEVELS: tuple[Optimization, ...] = ("basic", "extended", "all")
BATCHES: tuple[int | Literal["auto"], ...] = (1, 8, 32, "auto")
EXECUTIONS: tuple[Literal["inline", "pooled"], ...] = ("inline", "pooled")


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of `config.yaml`; None leaves one as it is.

    Args:
        threads: of one run.
        batching: the most rows that are run together, or `auto`.
        execution: on the event loop or beside it.
        optimization: of the graph.
    """

    threads: int | None = None
    batching: int | Literal["auto"] | None = None
    execution: Literal["inline", "pooled"] | None = None
    optimization: Optimization | None = None

    def words(self) -> str:
        """For people."""
        told = [(name, getattr(self, name)) for name in ("threads", "optimization", "batching", "execution")]
        return ", ".join(f"{name} {value}" for name, value in told if value is not None) or "as it is"


@dataclass(frozen=True, slots=True)
class Trial:
    """What one configuration came to.

    Args:
        choice: what was tried.
        rate: good answers a second at the highest rate that kept the target; 0 where none did.
        p99_seconds: at that rate.
        why: what it missed at the lowest rate that was tried, or that it was not tried as it changes
            answers; empty where it kept the target.
        limited: whether it may take more, as no higher rate was to be tried, or what asks was too slow.
    """

    choice: Choice
    rate: float
    p99_seconds: float = 0.0
    why: str = ""
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning came to.

    Args:
        trials: in order; the first is what was there, and so is the last where another one was ahead.
        best: the one to take; None where none keeps the target.
        whole: whether all was tried that there is to try.
    """

    trials: list[Trial]
    best: Trial | None
    whole: bool

    @property
    def better(self) -> bool:
        """Whether it is another one than what is there."""
        return self.best is not None and self.best.choice != Choice()


def judged(
    choice: Choice, steps: Sequence[Step], knee: Step | None, objective: Objective, highest: float
) -> Trial:
    """What a search of the highest rate came to.

    Args:
        choice: with which it was made.
        steps: all rates that were tried.
        knee: the highest that kept the objective; None where none did.
        objective: the target.
        highest: no higher rate was to be tried.
    """
    if knee is None:
        slowest = min(steps, key=lambda step: step.offered)
        return Trial(choice, 0.0, why=f"{slowest.shortfall(objective)} at {slowest.offered:,.0f}/s")
    limited = knee.offered >= highest or any(step.generator_limited for step in steps)
    return Trial(choice, knee.achieved, knee.seen.percentile(99), limited=limited)


def tried(cpus: int, there: Choice, measure: Callable[[Choice], Trial], more: Callable[[], bool]) -> Tuned:
    """Try configurations.

    Args:
        cpus: that a worker has.
        there: what is set now, as far as it is said; it is not tried a second time.
        measure: tries one.
        more: whether there is time for another one.
    """
    first = measure(Choice())
    trials, ahead, whole = [first], first, True
    for choices in _rounds(cpus, there):
        began = len(trials)
        for choice in choices(ahead.choice):
            whole = whole and more()
            if whole:
                trials.append(measure(choice))
        ahead = _clearly(ahead, trials[began:])
    if ahead is first:
        return Tuned(trials, first if first.rate else None, whole)
    trials.append(measure(Choice()))  # a machine that was busy at first would make anything better
    now = max(first, trials[-1], key=lambda trial: trial.rate)
    return Tuned(trials, _clearly(now, [ahead]), whole)


def _rounds(cpus: int, there: Choice) -> Sequence[Callable[[Choice], list[Choice]]]:
    """By each setting, from the best of those before it, what is tried."""
    threads = [count for count in (1, 2, 4, 8, 16, 32) if count <= cpus and count != there.threads]
    levels = [level for level in LEVELS if level != there.optimization]
    batches = [most for most in BATCHES if most != there.batching]
    places = [where for where in EXECUTIONS if where != there.execution]
    return (
        lambda at: [replace(at, threads=count) for count in threads],
        lambda at: [replace(at, optimization=level) for level in levels],
        lambda at: [replace(at, batching=most) for most in batches],
        lambda at: [replace(at, execution=where) for where in places],
    )


def _clearly(now: Trial, others: Sequence[Trial]) -> Trial:
    """The best of others where it takes clearly more than what is now, else that."""
    best = max(others, key=lambda trial: trial.rate, default=now)
    return best if best.rate > CLEARLY * now.rate else now
