"""What the admin API shows of a rollout: JSON-able values, made from what is in force."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from control.fleet.acknowledged import Acknowledged
from control.fleet.instance import Alike, Instance, alike, alone
from control.fleet.nodes import Nodes
from control.judging.shadow_verdicts import as_json as shadow_json
from control.judging.shadow_verdicts import shadow_verdict
from control.judging.verdicts import Judgement, as_json, guards_as_json
from control.pilot.examiner import Examiner
from control.rollouts.progress import possible, served_by
from control.rollouts.state import AATest, Progress, status_sentence
from control.rollouts.writer import REPOSITORY, Door, Entry, Proposal
from control.store.store import Revision
from control.views.candidates import Judged, best_view, candidates_view
from control.views.outcomes import ToldOfRollout
from control.views.waiting import waiting_view
from router.rollout.guards.segments import SegmentsGuard
from router.rollout.parser import to_document
from router.rollout.snapshot import Placed, ServedRollout
from router.rollout.values import Rollout, Target


def rollout_view(
    entry: Entry,
    door: Door,
    nodes: Nodes,
    now: float,
    needs: Sequence[dict[str, Any]],
    seen: Judged,
    told: ToldOfRollout,
    follow: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One rollout: its document, where it is, what is served, where it is ready, and what needs a person."""
    judgement = seen.sole
    progress = entry.progress
    effective = served_by(entry.rollout, progress)
    reports = [instance.report for instance in nodes.alive(now, "worker")]
    acknowledged = nodes.acknowledged(now)
    answers, gap = served(entry, effective, nodes, now)
    gap = "; ".join(filter(None, (gap, waits_for_nodes(entry, acknowledged))))
    targets = _targets(entry, effective, nodes, now)
    ready = {row["target"]: row["ready"] for row in targets if row["role"] == "canary"}
    applied = [(report.node, report.instance, report.revision) for report in reports]
    return {
        "model": entry.rollout.model,
        "revision": entry.revision,
        "kind": entry.kind,
        "status": _status(entry, gap),
        "aa": None if progress.aa is None else _aa(progress, progress.aa),
        "needs": list(needs),
        "actions": possible(entry.rollout, progress),
        "waiting_for": waiting_view(entry, judgement),
        "serving": _serving(entry.rollout, effective),
        "follow": follow,
        "candidates": candidates_view(entry.rollout, progress, effective, ready, seen.arms),
        "best": best_view(entry.rollout, progress, seen.best),
        "served": answers,
        "shadows": shadows(entry, effective, nodes),
        "guards": [] if judgement is None else guards_as_json(judgement.guards),
        "segments": segments(entry, judgement),
        "outcomes": list(told.outcomes),
        "labels": told.labels,
        "targets": targets,
        "nodes": _nodes(applied, door.snapshot.revision),
        "out_of_sight": [asdict(unseen) for unseen in nodes.sight.out(now)],
        "applied": {instance: revision for _, instance, revision in applied},
        "in_force": {
            "nodes": acknowledged.nodes,
            "serving": acknowledged.serving(entry.revision),
            "needed": acknowledged.needed,
        },
        "in_force_everywhere": all(revision == door.snapshot.revision for _, _, revision in applied),
        "document": to_document(entry.rollout),
    }


def _serving(rollout: Rollout, effective: ServedRollout) -> dict[str, Any]:
    """What is wanted, as routers are told."""
    return {
        "stable": effective.stable.key,
        "canary": effective.canary.key if effective.canary else None,
        "weight": effective.weight,
        "mirror": effective.mirror,
        "top_up": effective.top_up,
        "waves": _waves(rollout, effective),
    }


def _status(entry: Entry, gap: str) -> dict[str, Any]:
    """Where a rollout is; `gap` says where what is wanted is not served."""
    rollout, progress = entry.rollout, entry.progress
    sentence = status_sentence(rollout, progress)
    if entry.kind == REPOSITORY.kind:
        sentence += ", chosen without a rollout file: the highest version when it was first seen"
    return {
        "phase": progress.phase,
        "sentence": f"{sentence}; but {gap}" if gap else sentence,
        "step": progress.step + 1 if rollout.canary and rollout.canary.steps else 0,
        "waited_seconds": progress.waited_seconds,
        "cause": progress.cause,
        "reason": progress.reason,
        "stage": progress.stage,
    }


def waits_for_nodes(entry: Entry, acknowledged: Acknowledged) -> str:
    """How many nodes serve what a rollout is at, where its time waits for more of them; else empty."""
    counts = entry.progress.phase in {"progressing", "aa", "comparing"}
    return acknowledged.words(entry.revision) if counts else ""


def _aa(progress: Progress, aa: AATest) -> dict[str, Any]:
    return {
        "started_by": aa.by,
        "seconds": aa.seconds,
        "requests": aa.requests,
        "waited_seconds": progress.waited_seconds,
    }


def aa_view(model: str, seen: Mapping[str, Any], end: Revision | None) -> dict[str, Any]:
    """An A/A test: what the examiner says of it, and the row with which it ended; None while it runs."""
    ended = {"ended": None, "ended_by": None} if end is None else {"ended": end.reason, "ended_by": end.actor}
    return {"model": model, "running": end is None, **ended, "cut_short": False, **seen}


def _targets(entry: Entry, effective: ServedRollout, nodes: Nodes, now: float) -> list[dict[str, Any]]:
    """Everyone who is to be loaded: as whom, which bytes, and where they are ready."""
    return [
        {
            "target": target.key,
            "role": role,
            "sha256": pinned(entry, target),
            **readiness(effective, target, role, nodes, now),
            "placed": _placed(effective, target, role, nodes, now),
        }
        for role, target in effective.roles()
    ]


def _placed(
    effective: ServedRollout, target: Target, role: str, nodes: Nodes, now: float
) -> dict[str, Any] | None:
    """The nodes on which a candidate stands, where it has a placement, and its share of the draws there."""
    placed = effective.placed.get(target.key)
    if effective.waves is not None and role == "canary":
        placed = _in_wave(effective.waves.now, nodes.workers(now))
    if placed is None or role == "warm":
        return None
    drawn = placed.drawn(effective.weight) if role == "canary" else 0.0
    return {"nodes": list(placed.nodes), "of": placed.of, "drawn": drawn}


def _in_wave(label: str, workers: Sequence[Instance]) -> Placed:
    """The nodes of the wave under way: they all draw the share itself."""
    names = {worker.report.node for worker in workers if worker.report.label == label}
    return Placed(tuple(sorted(names)), len(names))


def _waves(rollout: Rollout, effective: ServedRollout) -> dict[str, Any] | None:
    """How far a canary in waves has come."""
    waves = effective.waves
    if waves is None:
        return None
    left = rollout.waves[len(waves.done) + 1 :]
    return {"now": waves.now, "done": list(waves.done), "left": list(left)}


def judged(examiner: Examiner, entry: Entry) -> Judged:
    """What is said of a rollout, as last judged."""
    model = entry.rollout.model
    return Judged(examiner.judgements.get(model), examiner.arms.get(model, {}), examiner.best.get(model))


def shadows(entry: Entry, effective: ServedRollout, nodes: Nodes) -> list[dict[str, Any]]:
    """What the comparisons with each shadow say; only those with the stable of now."""
    progress, model = entry.progress, entry.rollout.model
    # A promotion and its end change what a shadow is compared with, and leave the canary's evidence alone.
    ended = progress.phase in {"promoted", "rolled_back", "ended"}
    stages = range(progress.stage if ended else progress.evidence_stage, progress.stage + 1)
    return [
        shadow_json(
            shadow_verdict(entry.rollout, key, [nodes.compared(model, stage, key) for stage in stages])
        )
        for key in (shadow.target.key for shadow in effective.shadows)
    ]


def segments(entry: Entry, judgement: Judgement | None) -> dict[str, Any] | None:
    """Segments with errors as their guard last saw them; None where nobody looks at them now."""
    asked = entry.rollout.segments
    if asked is None or judgement is None:
        return None
    guards = (guard for guard in judgement.guards if guard.guard == SegmentsGuard.name)
    rows = [asdict(row) for guard in guards for row in guard.segments]
    return {"header": asked.header, "rows": rows}


def pinned(entry: Entry, target: Target) -> str:
    """The digest of a target's accepted bytes; `unpinned` behind a URL, empty where it is not known."""
    return "unpinned" if target.url is not None else entry.digests.get(target.model, "")


def served(
    entry: Entry, effective: ServedRollout, nodes: Nodes, now: float
) -> tuple[list[dict[str, Any]], str]:
    """Who answers as stable by what the workers say, and in words where what is wanted is not served."""
    model, workers = entry.rollout.model, nodes.workers(now)
    rows, gap = stable_served(entry, effective, alike(workers))
    if gap:
        return rows, gap
    for one in effective.each():
        if workers and one.canary is not None and one.weight > 0:
            ready = nodes.canary_ready(model, one.canary.key, entry.revision, now)
            if not any(ready.values()):
                problem = nodes.canary_problem(model, one.canary.key, now)
                return rows, _canary_gap(entry, one.canary.key, problem, workers)
    return rows, ""


def _canary_gap(entry: Entry, canary: str, problem: str, workers: Sequence[Instance]) -> str:
    """Why no worker says that it has this canary ready, at the newest change."""
    if not problem and all(worker.report.revision < entry.revision for worker in workers):
        return "no worker has said yet that it has the newest change"
    return f"{canary} is ready in no worker: {problem or 'it starts'}"


def stable_served(
    entry: Entry, effective: ServedRollout, workers: Sequence[Alike]
) -> tuple[list[dict[str, Any]], str]:
    """Who answers as stable by what these workers say, and in words where that is not what is wanted."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    gaps, gap, lacking = 0, "", ""
    for each in workers if effective.waves is None else alone(workers):
        row, its = each.rows.served.get(entry.rollout.model), each.instances[0].report
        found = (row.target, row.sha256) if row is not None else ("", "")
        stable = effective.at(its.node, its.label).stable
        wanted = stable.key, "" if stable.url is not None else pinned(entry, stable)
        counts[*found, found == wanted] += len(each.instances)
        if found != wanted:
            gaps += len(each.instances)
            lacking = lacking or stable.key
            gap = gap or _gap(each.instances[0], entry, wanted, found)
    rows = [
        {"target": target, "sha256": sha256, "workers": number, "wanted": is_wanted}
        for (target, sha256, is_wanted), number in counts.most_common()
        if target
    ]
    if gaps:
        return rows, f"{gaps} of {counts.total()} workers do not serve {lacking}: {gap}"
    return rows, ""


def _gap(worker: Instance, entry: Entry, wanted: tuple[str, str], found: tuple[str, str]) -> str:
    if worker.report.revision < entry.revision:
        return "the change is under way there"
    row = worker.targets.get((entry.rollout.model, wanted[0], "stable"))
    reason = row.problem if row is not None and row.problem else "it is not loaded"
    instead = f"{found[0]} answers" if found[0] else "nobody answers"
    return f"{instead} at {worker.report.instance}, {reason}"


def _nodes(applied: list[tuple[str, str, int]], newest: int) -> list[dict[str, Any]]:
    """Per node: its workers, the oldest revision in force there, and whether all have the newest."""
    revisions: dict[str, list[int]] = {}
    for node, _, revision in applied:
        revisions.setdefault(node, []).append(revision)
    return [
        {
            "node": node,
            "workers": len(found),
            "revision": min(found),
            "in_force": all(revision == newest for revision in found),
        }
        for node, found in sorted(revisions.items())
    ]


def readiness(
    effective: ServedRollout, target: Target, role: str, nodes: Nodes, now: float
) -> dict[str, Any]:
    """Where a rollout's target is ready, and what is wrong where not. A shadow is ready in its sandbox."""
    kind = "sandbox" if role == "shadow" else "worker"
    place = effective.rollout.model, target.key, role
    found = {
        each.report.instance: each.targets.get(place)
        for each in nodes.alive(now, kind)
        if role == "shadow" or effective.wants(role, target, each.report.node, each.report.label)
    }
    if role == "shadow":
        found = {instance: row for instance, row in found.items() if row is not None}
    problems = {instance: row.problem for instance, row in found.items() if row is not None and row.problem}
    return {
        "ready": {instance: row is not None and row.ready for instance, row in found.items()},
        "problems": problems,
    }


def proposal_view(proposal: Proposal) -> dict[str, Any]:
    """What a change would do."""
    after, old = served_by(proposal.rollout, proposal.progress), proposal.before
    before = served_by(old.rollout, old.progress) if old is not None else None
    loaded = set() if before is None else {target.key for _, target in before.roles()}
    return {
        "model": proposal.rollout.model,
        "changed": proposal.changes,
        "begins_again": proposal.begins_again,
        "revision": proposal.before.revision if proposal.before is not None else 0,
        "before": None if before is None else _shares(before),
        "after": _shares(after),
        "load": sorted({target.key for _, target in after.roles()} - loaded),
        "warnings": list(proposal.warnings),
        "status": status_sentence(proposal.rollout, proposal.progress),
        "document": to_document(proposal.rollout),
    }


def _shares(effective: ServedRollout) -> dict[str, Any]:
    shares = {effective.stable.key: effective.stable_weight}
    for arm in effective.all_arms:  # in an A/A test both are one
        shares[arm.target.key] = shares.get(arm.target.key, 0.0) + arm.weight
    return {"shares": shares, "shadows": [shadow.target.key for shadow in effective.shadows]}


def revision_view(revision: Revision) -> dict[str, Any]:
    """One row of the audit log."""
    return {
        "revision": revision.revision,
        "model": revision.model,
        "at": revision.at,
        "actor": revision.actor,
        "kind": revision.kind,
        "reason": revision.reason,
        "event": revision.event,
        "evidence": revision.evidence,
        "digests": revision.digests or {},
        "lineage": revision.lineage or {},
        "document": revision.document,
    }


def evidence_view(entry: Entry, seen: Judged) -> dict[str, Any]:
    """What the guards of a rollout say, each with its e-values."""
    return {
        "model": entry.rollout.model,
        "revision": entry.revision,
        "stage": entry.progress.stage,
        "alpha": entry.rollout.alpha,
        "judgement": None if seen.sole is None else as_json(seen.sole),
        "candidates": {target: as_json(judgement) for target, judgement in seen.arms.items()},
    }
