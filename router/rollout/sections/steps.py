"""The steps of a canary, read, written and described. Pure."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, assert_never

from router.rollout import kinds
from router.rollout.guards.agreement import SAMPLE as AGREEMENT
from router.rollout.kinds import Shape, duration_text
from router.rollout.reading import Readers, distinct, fields
from router.rollout.sections.targets import parse_url
from router.rollout.table import NAME, REQUIRED, UNSET, Field, Refused, Section, below, default_of, sample
from router.rollout.values import Approve, Pause, Prove, Run, SetWeight, Step
from serving.document import Node, read_each

_STEPS = ("setWeight", "pause", "prove", "approve", "run")
_ROLE = re.compile(kinds.ROLE.pattern)


def parse_steps(node: Node) -> tuple[Step, ...]:
    """Steps in order; refused with `DocumentError` when one is not understood."""
    nodes = node.sequence()
    if not kinds.STEPS.least <= len(nodes) <= kinds.STEPS.most:
        node.fail(f"expected {kinds.STEPS.least} to {kinds.STEPS.most} steps, got {len(nodes)}")
    known = (step for step in nodes if not step.lenient or step.entries().keys() & {*_STEPS})
    return tuple(read_each(partial(_step, step) for step in known))


def _step(node: Node) -> Step:
    entries = node.mapping(optional=_STEPS)
    if len(entries) != 1:
        node.fail(f"expected one of {', '.join(_STEPS[:-1])} and {_STEPS[-1]}")
    ((kind, value),) = entries.items()
    match kind:
        case "setWeight":
            return SetWeight(kinds.SHARE.read(value))
        case "pause":
            return Pause(**fields(value, [], {"duration": ("seconds", kinds.STEP_TIME.read)}))
        case "approve":
            return Approve(**fields(value, [], _APPROVE))
        case "run":
            return Run(**fields(value, ["url"], _RUN))
        case _:
            return _prove(value)


def _prove(node: Node) -> Prove:
    prove = Prove(**fields(node, [], _PROVE))
    if prove.max_seconds is None and "onTimeout" in node.entries():
        node.entries()["onTimeout"].fail("there is no timeout without max")
    return prove


def _roles(node: Node) -> tuple[str, ...]:
    return distinct(node, kinds.ROLES, _role, "roles; left out, any operator", "is named already")


def _role(node: Node) -> str:
    role = node.string()
    if not _ROLE.fullmatch(role):
        node.fail("expected a role: 1 to 32 small letters, digits, dashes or underscores, a letter first")
    if role == "viewer":
        node.fail("a viewer reads, and does no more; say a role of your own, or operator")
    return role


_PROVE: Readers = {
    "max": ("max_seconds", kinds.STEP_TIME.read),
    "onTimeout": ("on_timeout", kinds.ON_TIMEOUT.read),
}
_APPROVE: Readers = {
    "by": ("by", kinds.APPROVALS.read),
    "from": ("roles", _roles),
    "expires": ("expires_seconds", kinds.EXPIRES.read),
}
_RUN: Readers = {"url": ("url", parse_url), "timeout": ("timeout_seconds", kinds.HOOK_TIMEOUT.read)}


def step_to_document(step: Step) -> dict[str, Any]:
    """What `parse_steps` reads as this step."""
    match step:
        case SetWeight():
            return {"setWeight": step.percent}
        case Pause():
            return {"pause": {} if step.seconds is None else {"duration": duration_text(step.seconds)}}
        case Prove():
            if step.max_seconds is None:
                return {"prove": {}}
            return {"prove": {"max": duration_text(step.max_seconds), "onTimeout": step.on_timeout}}
        case Approve():
            roles = {"from": list(step.roles)} if step.roles else {}
            limit = step.expires_seconds
            return {
                "approve": {
                    "by": step.by,
                    **roles,
                    **({} if limit is None else {"expires": duration_text(limit)}),
                }
            }
        case Run():
            return {"run": {"url": step.url, "timeout": duration_text(step.timeout_seconds)}}
        case _:
            assert_never(step)


def _steps(*steps: Mapping[str, Any]) -> dict[str, Any]:
    return sample(canary={"model": "digits/2", "steps": [*steps]}, guards={"errors": {"max": "1%"}})


_HOOK = "http://gate:8080/hooks/start"
SECTIONS = (
    Section(
        "step",
        "A step",
        "Each step has one of these keys. The names of the first three are Argo Rollouts'.",
        (NAME, "canary", "steps", 0),
        sample(canary={"model": "digits/2", "steps": [{}], "mirror": 100}, guards={"agreement": AGREEMENT}),
        [
            Field("setWeight", kinds.SHARE, UNSET, 10, -1, "from here on the canary gets this percentage"),
            Field("pause", below("pause"), UNSET, {}, 30, "wait, for a time or for a person"),
            Field(
                "prove", below("prove"), UNSET, {}, {"min": "1h"}, "wait until every enforced guard is proven"
            ),
            Field(
                "approve",
                below("approve"),
                UNSET,
                {"by": 2, "from": ["risk"]},
                2,
                "wait until people approved: see [approvals](../approvals.md)",
            ),
            Field(
                "run",
                below("run"),
                UNSET,
                {"url": _HOOK},
                _HOOK,
                "ask a webhook, which lets it go on or halts it: see [approvals](../approvals.md)",
            ),
        ],
        one_of=True,
        rules={"minProperties": 1, "maxProperties": 1},
    ),
    Section(
        "pause",
        "pause",
        "",
        (NAME, "canary", "steps", 0, "pause"),
        _steps({"pause": {}}),
        [
            Field(
                "duration",
                kinds.STEP_TIME,
                UNSET,
                "30s",
                30,
                "how long; left out, until `understudy rollouts resume`",
            )
        ],
    ),
    Section(
        "prove",
        "prove",
        "",
        (NAME, "canary", "steps", 1, "prove"),
        _steps({"setWeight": 10}, {"prove": {"max": "30m"}}),
        [
            Field(
                "max",
                kinds.STEP_TIME,
                UNSET,
                "30m",
                "30 minutes",
                "after this, what `onTimeout` says; left out, no limit",
            ),
            Field(
                "onTimeout",
                kinds.ON_TIMEOUT,
                default_of(Prove, "on_timeout"),
                "rollback",
                "promote",
                "no proof in time is no success",
            ),
        ],
        rules={"dependentRequired": {"onTimeout": ["max"]}},
    ),
    Section(
        "approve",
        "approve",
        "Whoever made the revision cannot approve it. An approval holds for what was looked at: for this"
        " document, these bytes, this step and these verdicts.",
        (NAME, "canary", "steps", 0, "approve"),
        _steps({"approve": {}}),
        [
            Field("by", kinds.APPROVALS, default_of(Approve, "by"), 2, 0, "how many different people"),
            Field(
                "from",
                Shape("a list of 1 to 8 roles", kinds.ROLES.of(kinds.ROLE.schema)),
                UNSET,
                ["risk"],
                ["Risk team"],
                "one of which each of them has; left out, any operator",
            ),
            Field(
                "expires",
                kinds.EXPIRES,
                UNSET,
                "48h",
                "2 days",
                "after this it is paused; left out, no limit",
            ),
        ],
    ),
    Section(
        "run",
        "run",
        "A POST, signed as Standard Webhooks has it, again and again until there is an answer: one of 2xx"
        " lets the rollout go on, one of 4xx pauses it, with the reason.",
        (NAME, "canary", "steps", 0, "run"),
        _steps({"run": {"url": _HOOK}}),
        [
            Field("url", kinds.URL, REQUIRED, _HOOK, "gate/hook", "who is asked"),
            Field(
                "timeout",
                kinds.HOOK_TIMEOUT,
                default_of(Run, "timeout_seconds"),
                "2h",
                60,
                "after this without an answer it is paused",
            ),
        ],
    ),
)
REFUSED = (
    Refused(
        "a step is one thing",
        sample(canary={"model": "digits/2", "steps": [{"setWeight": 5, "pause": {}}]}),
    ),
    Refused(
        "a proof needs a guard that can give it",
        sample(canary={"model": "digits/2", "steps": [{"prove": {}}]}),
    ),
    Refused("a timeout needs a time", _steps({"setWeight": 5}, {"prove": {"onTimeout": "rollback"}})),
    Refused("a viewer only reads", _steps({"approve": {"from": ["viewer"]}}), beyond=True),
)
