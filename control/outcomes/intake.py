"""What becomes of an outcome that is told: a row, or a reason why it is left out. Pure.

Law: an outcome is attributed by the draw of its request, never by who answered. A receipt says that draw.
Of a user it is worked out anew from the stage in force when they were answered, which holds as long as
routers served that stage: within `AROUND_SECONDS` of a change that draws otherwise nobody is attributed to a
side. All are left out then, and not those alone whose side would differ: of the others most would be at one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import orjson

from control.store.outcomes import Row, Stage, signed
from router.counting.receipt import Receipt, name_id
from router.counting.split import decide, key_hash, point, salt_of
from router.mirror.label_pairs import ID_BYTES, id_of
from router.rollout.values import Outcome, Rollout
from router.wire.outcomes import Reason, Told, refusal
from serving.errors import InvalidInput

AROUND_SECONDS = 10.0
"""How long before and after a change it is not known by which stage a router drew."""
KEPT_SECONDS = 86_400.0
"""How long an outcome is known beyond the time until which it is taken: for nodes that tell of it late."""


class LeftOut(NamedTuple):
    """Why an outcome is not taken, and the same in words."""

    reason: Reason
    words: str
    model: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What outcomes are held against.

    Args:
        rollouts: the documents in force, by public name.
        names: the public names by their `name_id`.
        stages: the stages of a public name by their number, in order.
        read: what a receipt says; raises `InvalidInput`.
    """

    rollouts: Mapping[str, Rollout]
    names: Mapping[int, str]
    stages: Callable[[str], Mapping[int, Stage]]
    read: Callable[[str], Receipt]


class _Answer(NamedTuple):
    """An answered request, as far as its outcome is concerned.

    Args:
        id: of the request.
        model: the public name.
        stage: in which it was drawn.
        arm: whom the draw chose; None where nobody was drawn.
        anew: as of `control.store.outcomes.Row`.
        arrived: seconds since 1970.
        key: hash of its user as a signed number.
        partly: whether a candidate of an A/B/n test was away, so that the draw was not as its shares say.
    """

    id: bytes
    model: str
    stage: int
    arm: int | None
    anew: bool
    arrived: float
    key: int
    partly: bool = False


def intake(told: Told, known: Known, now: float) -> Row | LeftOut:
    """The row of an outcome, or why there is none.

    Args:
        told: as a client or a node told it.
        known: what it is held against.
        now: seconds since 1970: when it is taken, unless a node took it before.
    """
    answer = _by_receipt(told, known) if told.receipt else _by_user(told, known)
    if isinstance(answer, LeftOut):
        return answer
    model = answer.model
    outcome = known.rollouts[model].outcome(told.name)
    if outcome is None:
        return LeftOut("outcome", f"{model!r} has no outcome {told.name!r}", model)
    at = now if told.at is None else told.at
    refused = _refused(outcome, told, answer, at, now)
    if refused is not None:
        return LeftOut(*refused, model, outcome.name)
    return _row(outcome, told, answer, at)


def _refused(
    outcome: Outcome, told: Told, answer: _Answer, at: float, now: float
) -> tuple[Reason, str] | None:
    reason = refusal(outcome, told.value, answer.arrived, at)
    if reason is not None:
        return reason, _WORDS[reason](outcome, told)
    if now > _kept_until(outcome, answer.arrived):  # it may have been told before: nobody would know any more
        return "late", "it came to control more than a day after its time was over"
    if outcome.kind == "label":
        return None if told.receipt else ("receipt", "a label is told with the receipt of its answer")
    if answer.arm is None:
        return "not_drawn", "nobody was drawn for this answer: a target was named, or the canary was away"
    if answer.partly:
        return "not_drawn", "a candidate was away when this was drawn, so that it was not among all of them"
    return None


def _row(outcome: Outcome, told: Told, answer: _Answer, at: float) -> Row:
    label = orjson.dumps(told.value).decode() if outcome.kind == "label" else None
    return Row(
        answer.id,
        outcome.name,
        answer.model,
        answer.stage,
        answer.arm or 0,
        answer.anew,
        answer.arrived,
        answer.key,
        0.0 if label is not None else float(told.value),
        label,
        at,
        at if label is not None else answer.arrived + outcome.within_seconds,
        _kept_until(outcome, answer.arrived),
    )


def _kept_until(outcome: Outcome, arrived: float) -> float:
    return arrived + outcome.within_seconds + KEPT_SECONDS


def _by_receipt(told: Told, known: Known) -> _Answer | LeftOut:
    try:
        said = known.read(told.receipt)
    except InvalidInput as error:
        return LeftOut("receipt", str(error))
    model = known.names.get(said.rollout)
    if model is None:
        return LeftOut("rollout", "no rollout is in force whose receipt this is")
    stage = known.stages(model).get(said.stage)
    if stage is None:
        return LeftOut("rollout", f"stage {said.stage} of {model!r} is not known: how it drew is not", model)
    arm = None if said.drawn is None else said.candidate if said.drawn == "canary" else 0
    if arm is not None and arm > max(len(stage.arms), 1):
        words = f"candidate {arm} took no part in stage {said.stage} of {model!r}"
        return LeftOut("rollout", words, model)
    id_ = id_of(told.receipt.encode())
    partly = bool(stage.arms) and not said.anew
    return _Answer(id_, model, said.stage, arm, said.anew, said.arrived, signed(said.key), partly)


def _by_user(told: Told, known: Known) -> _Answer | LeftOut:
    assert told.time is not None  # `read_lines` asks for it
    model, time = told.model, told.time
    if model not in known.rollouts:
        return LeftOut("rollout", f"no rollout for model {model[:128]!r} is in force")
    stages = _in_force(tuple(known.stages(model).values()), time)
    if not stages:
        return LeftOut("rollout", f"how {model!r} drew its users at that time is not known", model)
    *_, stage = stages
    if any(_draws(each) != _draws(stage) for each in stages):
        return LeftOut(
            "ambiguous", f"within {AROUND_SECONDS:g} s of a change users were drawn either way", model
        )
    if stage.arms:
        words = f"the A/B/n test of {model!r} draws each request, and no users; tell its receipt"
        return LeftOut("ambiguous", words, model)
    if stage.sticky is None:
        return LeftOut(
            "ambiguous", f"{model!r} has no `sticky`: each request is drawn; tell its receipt", model
        )
    text = told.key.strip(" \t").encode()  # as routers read the header
    if not text:
        return LeftOut("ambiguous", "a user of blanks is none: the request was drawn by itself", model)
    place = 1.0 if stage.candidate is None else point(salt_of(model, stage.candidate, stage.draw), text)
    id_ = blake2b(b"%s\0%s\0%r" % (model.encode(), text, time), digest_size=ID_BYTES, person=b"user").digest()
    drawn, anew = decide(stage.weight, place), place >= stage.used / 100.0
    return _Answer(id_, model, stage.stage, int(drawn == "canary"), anew, time, signed(key_hash(text)))


def _in_force(stages: Sequence[Stage], time: float) -> list[Stage]:
    """The stages by which a router may have drawn at a time, the one in force by control's clock the last."""
    found: list[Stage] = []
    until = float("inf")
    for stage in reversed(stages):
        if stage.began <= time + AROUND_SECONDS and time - AROUND_SECONDS < until:
            found.append(stage)
        until = stage.began
    if not found or found[-1].began > time:
        return []
    return sorted(found, key=lambda stage: (stage.began <= time, stage.stage))


def _draws(stage: Stage) -> tuple[object, ...]:
    """All that a user's draw is made from."""
    return stage.sticky, stage.candidate, stage.draw, stage.weight, stage.used, stage.arms


def _late(outcome: Outcome, _: Told) -> str:
    return f"{outcome.name!r} is taken until {outcome.within_seconds:g} s after its answer"


def _early(_: Outcome, __: Told) -> str:
    return "the answer is of a time to come: compare the clocks"


def _value(outcome: Outcome, told: Told) -> str:
    expected = "1 or 0, true or false" if outcome.kind == "binary" else "a number"
    if outcome.range is not None:
        expected = f"a number from {outcome.range[0]:g} to {outcome.range[1]:g}"
    return f"{outcome.name!r} takes {expected}, got {str(told.value)[:40]!r}"


_WORDS: Mapping[Reason, Callable[[Outcome, Told], str]] = {"late": _late, "early": _early, "value": _value}


def names_of(rollouts: Mapping[str, Rollout]) -> dict[int, str]:
    """The public names by what receipts call them."""
    return {name_id(model): model for model in rollouts}
