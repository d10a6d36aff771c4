"""A rollout with a placement as the nodes of its canary see it, where all of its evidence is. Pure."""

from dataclasses import replace

from control.judging.guards.simulation import Traffic
from router.rollout.values import Canary, Rollout, SetWeight


def on_its_nodes(rollout: Rollout, traffic: Traffic) -> tuple[Rollout, Traffic]:
    """The rollout with the shares that are drawn there, and the part of the traffic that comes there.

    As it is with many nodes; without a placement both as they are.

    Args:
        rollout: the document's.
        traffic: of all nodes.
    """
    canary = rollout.canary
    if canary is None or canary.placement is None:
        return rollout, traffic
    part = canary.placement.nodes / 100.0
    there = replace(traffic, requests_per_second=traffic.requests_per_second * part)
    return replace(rollout, canary=_drawn(canary)), there


def placed_note(rollout: Rollout) -> list[str]:
    """What is to be said of that, in words."""
    if rollout.canary is None or rollout.canary.placement is None:
        return []
    if rollout.waves:
        return ["each wave takes what all take here, with the requests of its nodes alone"]
    nodes = rollout.canary.placement.nodes
    where = f"on {nodes:g}% of the nodes: evidence comes from their part of the requests"
    times = f"{100.0 / nodes:g} times its share (less of few nodes: they are rounded up)"
    return [f"{where}, of which each step draws {times}"]


def _drawn(canary: Canary) -> Canary:
    assert canary.placement is not None
    steps = tuple(
        replace(step, percent=canary.placement.drawn(step.percent)) if isinstance(step, SetWeight) else step
        for step in canary.steps
    )
    return replace(canary, steps=steps, placement=None)
