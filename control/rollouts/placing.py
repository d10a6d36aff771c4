"""On which nodes a candidate with a placement stands.

Law: they are the first of the living nodes in an order of the rollout's and the candidate's own, as many as
the document's percentage says, rounded up, so at least one and never more draws than there are. A stage has
them fixed, and with them the probability of a draw on them. They are chosen anew where a stage begins, and
within one only once they have been a wrong part of the living nodes for `OFF_SECONDS`: a proof rests on one
stage, and must not begin again with each node that comes and goes. Pure.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from control.rollouts.events import Effect
from control.rollouts.state import Progress, Standing, on_nodes
from router.rollout.snapshot import Placed, Waves
from router.rollout.values import Rollout

OFF_SECONDS = 15.0
"""Longer than a process takes to start again, and than control takes to hear of all nodes."""
LEAST_PART, MOST_PART = 0.5, 1.5
"""Of the part of the nodes that was chosen: within these bounds the nodes that are left will do."""
NAMED = 3
"""Nodes that an effect names; the page has them all."""


def wanted(rollout: Rollout, progress: Progress) -> dict[str, float]:
    """Percentage of the nodes by key of each candidate that has a placement now."""
    placements = {shadow.target.key: shadow.placement for shadow in rollout.shadows}
    if rollout.canary is not None and progress.live:
        placements[rollout.canary.target.key] = rollout.canary.placement
    return {key: each.nodes for key, each in placements.items() if each is not None and not each.waves}


def placed(rollout: Rollout, progress: Progress) -> dict[str, Placed]:
    """Where those stand, as routers are told."""
    found = {each.target: Placed(each.nodes, each.of) for each in progress.standing}
    return {key: found.get(key, Placed()) for key in wanted(rollout, progress)}


def waves(rollout: Rollout, progress: Progress) -> Waves | None:
    """How far a canary in waves has come, as routers are told."""
    labels = rollout.waves if progress.live else ()
    if not labels:
        return None
    return Waves(labels[progress.wave], labels[: progress.wave], progress.wave + 1 == len(labels))


def standing(rollout: Rollout, progress: Progress) -> tuple[Standing, ...]:
    """Where those stand of which the document, as it is now, has a placement."""
    shares = wanted(rollout, progress) if progress.standing else {}
    return tuple(each for each in progress.standing if each.target in shares)


def place(
    rollout: Rollout, progress: Progress, living: Sequence[str], elapsed: float
) -> tuple[Progress, tuple[Effect, ...]]:
    """Choose nodes for those that have none, and others where that is due.

    Args:
        rollout: the document in force.
        progress: where it is.
        living: names of the nodes that serve, each once; none where that is not known.
        elapsed: seconds since this was last asked.
    """
    shares = wanted(rollout, progress)
    if not shares or not living:
        return progress, ()
    before = {each.target: each for each in progress.standing}
    after, effects = [], []
    for key, share in shares.items():
        known = before.get(key)
        if known is not None and not _is_due(known, share, progress.stage, living, elapsed):
            after.append(_noted(known, living, elapsed))
            continue
        found = _chosen(rollout.model, key, share, living, progress.stage)
        if known is not None and (known.nodes, known.of) == (found.nodes, found.of):
            after.append(found)
            continue
        after.append(replace(found, stage=progress.stage + 1))  # which it begins, where it is the canary
        effects.append(Effect("placed", _told(found)))
    return replace(progress, standing=tuple(after)), tuple(effects)


def _is_due(known: Standing, share: float, stage: int, living: Sequence[str], elapsed: float) -> bool:
    """Whether nodes are to be chosen anew."""
    late = _is_off(known, living) and known.off_seconds + elapsed >= OFF_SECONDS
    return known.share != share or known.stage < stage or late


def _noted(known: Standing, living: Sequence[str], elapsed: float) -> Standing:
    """Its nodes stay; for how long they have been a wrong part."""
    return replace(known, off_seconds=known.off_seconds + elapsed if _is_off(known, living) else 0.0)


def _is_off(known: Standing, living: Sequence[str]) -> bool:
    left = len(set(known.nodes).intersection(living))
    part = (left / len(living)) / (len(known.nodes) / known.of)
    return not LEAST_PART <= part <= MOST_PART


def _chosen(model: str, target: str, share: float, living: Sequence[str], stage: int) -> Standing:
    """The first nodes in the candidate's order: rendezvous hashing, so few move when others come and go."""
    number = math.ceil(share * len(living) / 100.0 - 1e-9)  # of 30 nodes 10% are 3, whatever floats say
    key = blake2b(f"{model}\0{target}".encode(), digest_size=16).digest()
    ranked = sorted(living, key=lambda node: blake2b(node.encode(), digest_size=8, key=key).digest())
    return Standing(target, tuple(sorted(ranked[: max(1, number)])), len(living), share, stage)


def _told(found: Standing) -> str:
    names, more = found.nodes[:NAMED], len(found.nodes) - NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"{found.target} stands on {on_nodes(len(found.nodes), found.of)}: {', '.join(names)}{rest}"
