"""What needs a person: of each rollout, in order of urgency, in words. Pure.

Law: one value for everyone who is told, so that the API, the page and the command line cannot differ. What
mends itself within `GRACE_SECONDS`, as a canary that starts, is no need; who remembers since when a thing has
been so decides that (`control.views.attention`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from control.judging.verdicts import Judgement
from control.rollouts.state import Progress
from control.views.candidates import Judged

Kind = Literal[
    "store_silent",
    "not_leading",
    "older_database",
    "snapshot_refused",
    "file_refused",
    "no_worker",
    "not_served",
    "not_ready",
    "not_promoted",
    "sample_ratio",
    "not_proven",
    "harm_observed",
    "not_followed",
    "doubtful",
    "keys_full",
    "best_found",
    "test_ended",
    "approval_wanted",
    "waits",
    "paused",
    "paused_by_person",
    "taken_off",
]
"""The most urgent first."""

URGENCY: dict[Kind, int] = {kind: place for place, kind in enumerate(get_args(Kind))}

GRACE_SECONDS: dict[Kind, float] = {"no_worker": 10.0, "not_served": 5.0, "not_ready": 5.0}
"""For how long each kind must have been so before it needs anybody; the others need one at once."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs a person.

    Args:
        kind: for programs.
        title: in a few words.
        sentence: what is the matter, and what to do where that is not plain.
        target: key of the target that it is about, or empty.
    """

    kind: Kind
    title: str
    sentence: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class Unready:
    """A target that is not ready in each process that is to have it.

    Args:
        target: its key.
        role: canary, shadow or warm.
        ready: in how many processes it is ready.
        processes: how many are to have it.
        problem: why it is not ready, by one of them; empty where none says.
    """

    target: str
    role: str
    ready: int
    processes: int
    problem: str


def needs(
    progress: Progress,
    gap: str,
    unready: Sequence[Unready],
    judged: Judged,
    *,
    keys_full: bool = False,
    approval: str = "",
) -> tuple[Need, ...]:
    """What of a rollout needs a person, the most urgent first.

    Args:
        progress: where it is.
        gap: which workers do not serve what is wanted as stable, in words; or empty.
        unready: its other targets that are not ready everywhere.
        judged: what its guards say.
        keys_full: more sticky keys erred than control tells apart.
        approval: whose approval it waits for, in words; empty for nobody's.
    """
    held = progress.candidate if progress.cause == "unready" else None  # said by the phase
    found = [_unready(row) for row in unready if row.target != held]
    if approval:
        sentence = f"it waits for approval by {approval}; look at the evidence, then approve or reject it"
        found.append(Need("approval_wanted", "Approval wanted", sentence))
    if gap:
        found.append(Need("not_served", "Not served", gap))
    found += _of_phase(progress, judged.sole)
    # An A/A has its false alarms in its report: they ask nothing of anybody.
    found += [n for n in _of_guards(judged.sole) if progress.aa is None or n.kind != "harm_observed"]
    found += [need for target in progress.on_keys for need in _of_arm(target, judged.arms.get(target))]
    if keys_full:
        found.append(
            Need(
                "keys_full",
                "Keys full",
                "more users met an error than control tells apart: those of others do not count in"
                " this stage, of either role; abort and resume, which draws users anew",
            )
        )
    return tuple(sorted(found, key=lambda need: URGENCY[need.kind]))


def _unready(row: Unready) -> Need:
    where = "in no process" if row.ready == 0 else f"in {row.ready} of {row.processes} processes only"
    reason = row.problem or "no process reports why; it starts, or its process does not"
    word = {"canary": "Canary", "shadow": "Shadow", "warm": "Warm target"}[row.role]
    return Need(
        "not_ready", f"{word} not ready", f"{row.role} {row.target} is ready {where}: {reason}", row.target
    )


def _of_phase(progress: Progress, judgement: Judgement | None) -> list[Need]:
    """What waits for a person because of where the rollout is."""
    canary, reason = progress.candidate, progress.reason
    hold = judgement.hold if judgement is not None else None
    if progress.arms and progress.phase in {"rolled_back", "comparing", "ended"}:
        return _of_test(progress)
    if progress.phase == "rolled_back":
        return [
            Need(
                "taken_off",
                "Taken off",
                f"{canary} was taken off ({reason}); the document still names it: resume, or edit it",
            )
        ]
    if progress.phase == "paused":
        return [_paused(canary, progress.cause, reason)]
    if hold is not None and progress.live:
        return [
            Need("sample_ratio", "Draws are off", f"{hold}; no verdict can be trusted until it is known why")
        ]
    return []


def _of_test(progress: Progress) -> list[Need]:
    """What an A/B/n test that nobody won, or that waits for somebody to promote the best, asks for."""
    best, reason = progress.best, progress.reason
    if progress.phase == "rolled_back":
        sentence = (
            f"every candidate was taken off ({reason}); the document still names them: resume, or edit it"
        )
        return [Need("taken_off", "Taken off", sentence)]
    if progress.phase == "ended":
        sentence = f"the test has ended ({reason}); the document still names them: resume, or edit it"
        return [Need("test_ended", "Test ended", sentence)]
    if not best:
        return []
    then = "abort the test" if best == progress.stable.key else "promote it, or abort the test"
    return [Need("best_found", "Best found", f"{reason}; {then}", best)]


def _of_arm(target: str, judgement: Judgement | None) -> list[Need]:
    """What the guards of one candidate of several ask for."""
    hold = [] if judgement is None or judgement.hold is None else [judgement.hold]
    off = [
        Need("sample_ratio", "Draws are off", f"{target}: {why}; no verdict on it can be trusted", target)
        for why in hold
    ]
    guards = _of_guards(judgement)
    return off + [replace(each, sentence=f"{target}: {each.sentence}", target=target) for each in guards]


def _paused(canary: str | None, cause: str | None, reason: str) -> Need:
    match cause:
        case "step":
            return Need("waits", "Waits for you", f"{reason}; resume, promote or abort {canary}")
        case "person":
            return Need("paused_by_person", "Paused by a person", f"paused by a person: {reason}; resume it")
        case "undecided":
            return Need(
                "not_proven", "Not proven", f"{canary} is {reason}; resume to wait again, promote or abort it"
            )
        case "mismatch":
            return Need(
                "sample_ratio",
                "Draws are off",
                f"{reason}; find out why, then resume (evidence begins again) or abort",
            )
        case "load":
            return Need(
                "not_promoted", "Not promoted", f"{canary} is not promoted: {reason}; resume or abort"
            )
        case "unready":
            return Need("not_ready", "Canary not ready", f"{canary}: {reason}; resume or abort", canary or "")
        case _:
            return Need("paused", "Paused", f"paused: {reason}; resume, promote or abort {canary}")


def _of_guards(judgement: Judgement | None) -> list[Need]:
    """Guards that only observe and say harm, on which only a person acts, and guards in doubt."""
    guards = judgement.guards if judgement is not None else ()
    doubtful = [
        Need("doubtful", "Guard in doubt", f"{guard.guard}: {guard.doubt}", guard.guard)
        for guard in guards
        if guard.doubt
    ]
    return doubtful + [
        Need("harm_observed", "Harm observed", f"{guard.guard} only observes: {guard.reason}", guard.guard)
        for guard in guards
        if guard.mode == "observe" and guard.verdict == "harmful"
    ]
