"""What MLflow is to be told of a change of a rollout that follows it. Pure.

Law: of each revision the deeds are the same whenever they are asked for, and doing them again changes
nothing: the last one marks the version with the revision, and what is marked is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control.store.store import Json, Revision

MAX_TAG = 1000
"""Characters of a tag; MLflow takes a few more."""
TELLS = frozenset({"promoted", "rolled_back"})


@dataclass(frozen=True, slots=True)
class Alias:
    """Let an alias name a version.

    Args:
        only_from: only where it names this one now; None: whatever it names.
    """

    alias: str
    version: str
    only_from: str | None = None


@dataclass(frozen=True, slots=True)
class Deeds:
    """What is to be done of one revision, in this order.

    Args:
        model: the registered model.
        version: the version that was tried.
        alias: first; None for none.
        tags: of the version, in order, after it.
        mark: those of the tags that, when all are there, say that everything was done.
    """

    model: str
    version: str
    alias: Alias | None
    tags: tuple[tuple[str, str], ...]
    mark: tuple[tuple[str, str], ...]


def deeds(revision: Revision, older: Sequence[Revision], link: str | None) -> Deeds | None:
    """What is to be told of a revision; None for nothing.

    Args:
        revision: of the audit log.
        older: those of the same rollout before it, the latest first.
        link: base of links to the admin door; None for no link.
    """
    follow = _follow(revision.document)
    if follow is None or revision.event not in TELLS or follow.get("version") is None:
        return None
    model, version, promote = follow["model"], str(follow["version"]), follow.get("promote")
    alias = None
    if promote is not None and revision.event == "promoted":
        alias = Alias(promote, version)
    elif promote is not None and _was_promoted(older):
        stable = _version(revision.document, model)
        alias = None if stable is None else Alias(promote, stable, only_from=version)
    at = datetime.fromtimestamp(revision.at, UTC).isoformat(timespec="milliseconds")
    mark = (("understudy.revision", str(revision.revision)), ("understudy.at", at))
    told = {
        "understudy.result": revision.event,
        "understudy.rollout": revision.model,
        "understudy.reason": revision.reason[:MAX_TAG],
    }
    if link is not None:
        before = _evidence_of(revision, older) + 1
        told["understudy.evidence"] = f"{link}/v1/rollouts/{revision.model}/history?limit=1&before={before}"
    return Deeds(model, version, alias, (*told.items(), *mark), mark)


def _evidence_of(revision: Revision, older: Sequence[Revision]) -> int:
    """The revision that has the evidence, the last of this version; where none has any, this one."""
    for row in (revision, *older):
        if row.evidence is not None:
            return row.revision
        if row.event == "started":
            break
    return revision.revision


def _was_promoted(older: Sequence[Revision]) -> bool:
    """Whether what is taken off was promoted before, since the rollout began."""
    for revision in older:
        if revision.event in {"promoted", "started", "rolled_back", "deleted"}:
            return revision.event == "promoted"
    return False


def _follow(document: Json | None) -> Any:
    return None if document is None else document.get("follow")


def _version(document: Json | None, model: str) -> str | None:
    """The version of stable, where it is one of this registered model."""
    stable = None if document is None else document.get("stable")
    if not isinstance(stable, str):
        return None
    name, _, version = stable.rpartition("/")
    return version if name == model else None
