"""What a move of an alias makes of a rollout that follows it.

Law:
- The document in force knows at which version it is, so it and where the alias stands now decide alone.
  Who is told twice, late, in another order, or starts anew, decides the same.
- A version is tried once by its coming. Where it is under way, was promoted or was taken off, only another
  version, an edit or a person's resuming begins anything. Stable is never its own canary.
- While a promotion is under way nothing begins; then what the alias says by then.
- The document after a move is that in force, with the version as its canary and what was promoted as its
  stable. `began` keeps the stable that was edited last: an edit that still says that one keeps what was
  promoted since, and one that says another is taken at its word.
- No promotion leads back to the alias that its rollout follows, over whatever other rollouts: such a circle
  is refused. So one move by others is at most one change of each rollout.

Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from control.rollouts.state import Progress
from router.rollout.parser import parse_one, to_document
from router.rollout.values import Follow, Rollout


def begins(rollout: Rollout, progress: Progress, version: int | None) -> bool:
    """Whether a rollout is to be begun, now that the alias stands at this version; None for no such alias."""
    follow = rollout.follow
    if follow is None or version is None or version == follow.version or progress.phase == "promoting":
        return False
    return f"{follow.model}/{version}" != progress.stable.key


def moved(rollout: Rollout, progress: Progress, version: int) -> Rollout:
    """The document after a move of the alias to this version.

    Args:
        rollout: the document in force, with `follow`.
        progress: where it is.
        version: of which `begins` is true.

    Raises:
        DocumentError: it cannot be served with this version as canary, such as where it is a shadow already.
    """
    follow = _of(rollout)
    edited = follow.began or rollout.stable.model
    began = None if progress.stable.model == edited else edited
    after = replace(rollout, stable=progress.stable, follow=replace(follow, version=version, began=began))
    return _whole(after)


def kept(before: Rollout | None, edited: Rollout) -> Rollout:
    """An edited document with what it leaves to control: the version that is tried, and what was promoted.

    Args:
        before: the document in force; None where there is none.
        edited: the new one; one that says its version is taken at its word.

    Raises:
        DocumentError: it names as a target what is stable or tried since.
    """
    known = None if before is None else before.follow
    follow = edited.follow
    if before is None or known is None or follow is None or follow.version is not None:
        return edited
    if (follow.model, follow.alias) != (known.model, known.alias):
        return edited
    stable, began = edited.stable, None
    if known.began == edited.stable.model:
        stable, began = before.stable, known.began
    version = None if stable.key == f"{known.model}/{known.version}" else known.version
    return _whole(replace(edited, stable=stable, follow=replace(follow, version=version, began=began)))


def circles(rollouts: Mapping[str, Rollout]) -> dict[str, str]:
    """By model, in words, each rollout whose promotion would lead to another change of itself."""
    following: dict[tuple[str, str], list[str]] = {}
    for model, rollout in rollouts.items():
        if rollout.follow is not None:
            following.setdefault((rollout.follow.model, rollout.follow.alias), []).append(model)
    leads_to = {
        model: following.get((rollout.follow.model, rollout.follow.promote), [])
        for model, rollout in rollouts.items()
        if rollout.follow is not None and rollout.follow.promote is not None
    }
    found = {}
    for model in leads_to:
        if (way := _way_back(model, leads_to)) is not None:
            promote = _of(rollouts[model]).promote
            others = ", then ".join(way)
            found[model] = (
                f"a promotion that moves {promote} would begin {others}, and in the end this one again: let"
                " one of them promote another alias, or none"
            )
    return found


def _way_back(model: str, leads_to: Mapping[str, list[str]]) -> list[str] | None:
    """Over which others a promotion of this rollout leads back to it; None where it does not."""
    ways, seen = [[each] for each in leads_to[model]], set(leads_to[model])
    while ways:
        way = ways.pop(0)
        for each in leads_to.get(way[-1], []):
            if each == model:
                return way
            if each not in seen:
                seen.add(each)
                ways.append([*way, each])
    return None


def _whole(rollout: Rollout) -> Rollout:
    """With the canary that its `follow` means, checked as any document."""
    return parse_one(rollout.model, json.dumps(to_document(rollout)), "follow")


def _of(rollout: Rollout) -> Follow:
    assert rollout.follow is not None  # who calls has seen to that
    return rollout.follow
