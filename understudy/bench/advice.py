"""What the figures suggest: workers, threads, a scaling target. Pure; every sentence names its figures."""

from collections.abc import Sequence

from understudy.bench.steps import Objective, Step

HEADROOM = 0.7
"""Plan for this share of the knee: what is left takes a burst, a lost machine, a deployment."""
BUSY = 0.85
FULL = 0.95


def advice(
    steps: Sequence[Step], knee: Step | None, objective: Objective, *, workers: int | None, cpus: int
) -> list[str]:
    """Sentences for a person.

    Args:
        steps: all that were tried.
        knee: the highest that kept the objective; None when none did.
        objective: what it kept.
        workers: of the server; None when unknown.
        cpus: of this machine.
    """
    limited = [step for step in steps if step.generator_limited]
    if knee is None:
        return [_too_slow(min(steps, key=lambda step: step.offered), objective)] if steps else []
    found = []
    if limited:
        found.append(
            f"The load generator, not the server, was the limit at {limited[-1].offered:,.0f}/s: the knee is "
            f"at least {knee.achieved:,.0f}/s. Use --generators, or send from another machine."
        )
    found.append(
        f"Plan for {knee.achieved * HEADROOM:,.0f} requests/s on this machine, {HEADROOM:.0%} of the knee at "
        f"{knee.achieved:,.0f}/s."
    )
    if workers is not None:
        found += _of_processes(steps, knee, workers, cpus)
    return found


def _too_slow(slowest: Step, objective: Objective) -> str:
    return (
        f"Even {slowest.offered:,.1f}/s does not keep the objective ({slowest.shortfall(objective)}): the "
        "model itself is too slow for it, or fails. Try --threads 2, a smaller model, or a higher --p95."
    )


def _of_processes(steps: Sequence[Step], knee: Step, workers: int, cpus: int) -> list[str]:
    if knee.usage is None:
        return []
    found = []
    used = knee.usage.cpu
    full = [step for step in steps if step.machine > FULL]
    if full and used < BUSY * min(workers, cpus):
        found.append(
            f"At {full[0].offered:,.0f}/s this machine was {full[0].machine:.0%} busy while the server used "
            f"{used:.2f} cores: the load generator or other programs took the rest. Send from another "
            "machine to see what the server itself can do."
        )
        return found
    each = knee.achieved / max(used, 1e-9)
    if used >= BUSY * min(workers, cpus):
        found.append(
            f"At the knee the server used {used:.2f} cores with {workers} worker{'s' * (workers > 1)}: it is "
            f"bound by CPU, {each:,.0f} requests/s for each core."
        )
        if workers < cpus:
            found.append(f"{cpus} cores are there: try --workers {cpus}.")
    else:
        calm = min(steps, key=lambda step: step.offered)
        found.append(
            f"At the knee the server used {used:.2f} of {min(workers, cpus)} cores: latency is the limit "
            f"and not CPU (p95 at {calm.offered:,.0f}/s was {calm.p95_seconds * 1e3:.3g} ms). For a model of "
            "several milliseconds try --threads 2; for many small requests a larger batch."
        )
    planned = _cpu_at(steps, knee.achieved * HEADROOM)
    if planned is not None:
        cores = min(workers, cpus)
        found.append(
            f"Scale out at {knee.achieved * HEADROOM:,.0f} requests/s for each replica; as a CPU target, "
            f"{planned / cores:.0%} of {cores} core{'s' * (cores > 1)}."
        )
    return found


def _cpu_at(steps: Sequence[Step], rate: float) -> float | None:
    """CPU in cores at a rate, between the nearest steps on both sides."""
    points = sorted((step.achieved, step.usage.cpu) for step in steps if step.usage is not None)
    below = [point for point in points if point[0] <= rate]
    above = [point for point in points if point[0] > rate]
    if not below or not above:
        return None
    (low, low_cpu), (high, high_cpu) = below[-1], above[0]
    return low_cpu + (high_cpu - low_cpu) * (rate - low) / (high - low)
