"""The table of the fields of a rollout document: what each may be, its default, and what it means.

Law: the reference page, the JSON Schema (`router.rollout.schema`) and the tests that hold both to the parser
are made from this table, and bounds and defaults in it are those of the parser: a kind, a dataclass. Who adds
a field to the parser adds it here, with a value that is accepted and one that is refused. Pure.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Kind, Shape
from router.rollout.values import (
    AgreementGuard,
    Canary,
    ClientsGuard,
    ErrorsGuard,
    Examples,
    LatencyGuard,
    PromQLGuard,
    Prove,
    Rollout,
    Shadow,
)

REQUIRED = "required"
UNSET = ""
NAME = "digits"


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a mapping.

    Args:
        key: as written.
        kind: what its value may be.
        default: the value that means the same as leaving it out, as documents have it; `REQUIRED`, or `UNSET`
            where leaving it out is a meaning of its own.
        good: a value that is accepted.
        wrong: a value that is refused.
        meaning: in a sentence or two, as Markdown.
        beyond: whether a JSON Schema cannot say that `wrong` is wrong.
    """

    key: str
    kind: Kind
    default: Any
    good: Any
    wrong: Any
    meaning: str
    beyond: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the document.

    Args:
        name: its name in the JSON Schema.
        title: heading on the page.
        about: text below it, as Markdown.
        place: where it stands in `sample`.
        sample: a whole file that is accepted, in which the mapping is.
        fields: all keys of it.
        one_of: whether just one of its keys is there at a time.
        short: what may stand there instead of a mapping.
        rules: what JSON Schema says of the mapping beyond its fields.
    """

    name: str
    title: str
    about: str
    place: tuple[str | int, ...]
    sample: Mapping[str, Any]
    fields: Sequence[Field]
    one_of: bool = field(default=False, kw_only=True)
    short: Kind | None = field(default=None, kw_only=True)
    rules: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is refused though each value by itself would do; `beyond` as for a field."""

    why: str
    document: Mapping[str, Any]
    beyond: bool = field(default=False, kw_only=True)


def section(name: str) -> dict[str, str]:
    """What stands in the JSON Schema for a section of this name."""
    return {"$ref": f"#/$defs/{name}"}


def _default(kind: type, name: str) -> Any:
    """The default of a dataclass's field, as documents have it."""
    found: Any = next(each.default for each in dataclasses.fields(kind) if each.name == name)
    return kinds.duration_text(found) if name.endswith("_seconds") else kinds.plain(found)


def _below(name: str) -> Shape:
    return Shape("a mapping, see below", section(name))


def _any_of(*keys: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in keys]}


def _mode(guard: type) -> Field:
    default, other = sorted(kinds.MODE.options, key=lambda option: option != _default(guard, "mode"))
    meaning = "whether a verdict acts, or is only shown"
    return Field("mode", kinds.MODE, default, other, "warn", meaning)


def _rollout(**more: Any) -> dict[str, Any]:
    return {NAME: {"stable": "digits/1", **more}}


def _steps(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return _rollout(canary={"model": "digits/2", "steps": [*steps]}, guards={"errors": {"max": "1%"}}, **more)


_ONE_KEY = {"minProperties": 1, "maxProperties": 1}
_AGREEMENT = {"output": "label", "min": "98%"}
_A_PROOF = {
    "type": "object",
    "required": ["steps"],
    "properties": {
        "steps": {"type": "array", "contains": {"type": "object", "required": ["prove"]}},
    },
}
_PROOFS_HAVE_GUARDS = {
    "if": {"required": ["canary"], "properties": {"canary": _A_PROOF}},
    "then": {
        "required": ["guards"],
        "properties": {"guards": _any_of("errors", "latency", "agreement")},
    },
}

_MODEL = Field("model", kinds.MODEL, REQUIRED, "digits/1", "digits/latest", "which model")
_URL = Field(
    "url", kinds.URL, UNSET, "http://triton:8000", "http://user@triton:8000", "the server that has it"
)

_TOP = Section(
    "rollout",
    "A rollout",
    "The file is a mapping from public model names to rollouts; one name, one rollout.",
    (NAME,),
    _rollout(),
    [
        Field(
            "stable",
            Shape("a target", section("target")),
            REQUIRED,
            "digits/1",
            "digits",
            "what answers all that the canary does not",
        ),
        Field(
            "canary",
            _below("canary"),
            UNSET,
            {"model": "digits/2", "weight": 10},
            "digits",
            "the candidate that gets a share",
        ),
        Field(
            "shadows",
            Shape(f"a list of at most {kinds.SHADOWS.most}", kinds.SHADOWS.of(section("shadow"))),
            [],
            ["digits/3"],
            "digits/3",
            "candidates that nobody gets answers of",
        ),
        Field(
            "sticky",
            Shape("`{header: NAME}`", section("sticky")),
            UNSET,
            {"header": "x-user-id"},
            {"header": "user id"},
            "requests with the same value of this header go to the same side; raising the weight moves keys"
            " to the canary and none back. Without it each request is drawn by itself",
        ),
        Field(
            "compare",
            Shape(
                "a mapping from outputs to rules",
                {"type": "object", "additionalProperties": section("rule")},
            ),
            {},
            {"label": "exact"},
            {"label": "near"},
            "rule by output, see below",
        ),
        Field(
            "guards",
            _below("guards"),
            {},
            {"errors": {"max": "1%"}},
            ["errors"],
            "conditions on the canary",
        ),
        Field(
            "alpha",
            kinds.LIMIT,
            f"{_default(Rollout, 'alpha'):.0%}",
            "5%",
            "100%",
            "risk that a good canary is rolled back, and separately that one at its tolerance is promoted",
        ),
        Field(
            "timeout",
            kinds.TIMEOUT,
            _default(Rollout, "timeout_seconds"),
            "250ms",
            5,
            "time of one request, retries included",
        ),
        Field(
            "keepWarm",
            kinds.KEEP_WARM,
            _default(Rollout, "keep_warm_seconds"),
            "1h",
            "soon",
            "how long the old stable stays loaded after a promotion, for a way back without a load",
        ),
        Field(
            "examples",
            _below("examples"),
            {},
            {"keep": 10},
            {"keep": 1001},
            "comparisons kept to be looked at",
        ),
    ],
    rules=_PROOFS_HAVE_GUARDS,
)
_TARGET = Section(
    "target",
    "A target",
    "`digits/1` is short for `{model: digits/1}`. With a `url` it is a model of another server that speaks"
    " the Open Inference Protocol v2; without one, a model of the repository.",
    (NAME, "stable"),
    _rollout(stable={"model": "digits/1"}),
    [_MODEL, _URL],
    short=kinds.MODEL,
)
_CANARY = Section(
    "canary",
    "canary",
    "A target, with its share: a fixed `weight`, or `steps`. A canary gets requests only where it is loaded,"
    " warm and of a signature that fits stable's.",
    (NAME, "canary"),
    _rollout(canary={"model": "digits/2"}),
    [
        dataclasses.replace(_MODEL, good="digits/2", wrong="digits"),
        dataclasses.replace(_URL, wrong="triton:8000"),
        Field("weight", kinds.SHARE, _default(Canary, "weight"), 0.1, 120, "its fixed share of the requests"),
        Field(
            "steps",
            Shape(
                f"a list of {kinds.STEPS.least} to {kinds.STEPS.most} steps", kinds.STEPS.of(section("step"))
            ),
            UNSET,
            [{"setWeight": 10}, {"pause": {}}],
            [],
            "what to go through before promotion; the weight is 0 before the first `setWeight`",
        ),
        Field(
            "mirror",
            kinds.SHARE,
            _default(Canary, "mirror"),
            100,
            "all",
            "percentage of stable's requests that it runs too, for comparison",
        ),
        Field(
            "progressDeadline",
            kinds.PROGRESS_DEADLINE,
            _default(Canary, "progress_deadline_seconds"),
            "1h",
            "0s",
            "how long it may be ready nowhere before the rollout is paused, with the reason",
        ),
    ],
    short=kinds.MODEL,
    rules={"not": {"required": ["weight", "steps"]}},
)
_STEP = Section(
    "step",
    "A step",
    "Each step has one of these keys. The names are Argo Rollouts'.",
    (NAME, "canary", "steps", 0),
    _rollout(canary={"model": "digits/2", "steps": [{}], "mirror": 100}, guards={"agreement": _AGREEMENT}),
    [
        Field("setWeight", kinds.SHARE, UNSET, 10, -1, "from here on the canary gets this percentage"),
        Field("pause", _below("pause"), UNSET, {}, 30, "wait, for a time or for a person"),
        Field(
            "prove", _below("prove"), UNSET, {}, {"min": "1h"}, "wait until every enforced guard is proven"
        ),
    ],
    one_of=True,
    rules=_ONE_KEY,
)
_PAUSE = Section(
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
)
_PROVE = Section(
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
            _default(Prove, "on_timeout"),
            "rollback",
            "promote",
            "no proof in time is no success",
        ),
    ],
    rules={"dependentRequired": {"onTimeout": ["max"]}},
)
_SHADOW = Section(
    "shadow",
    "A shadow",
    "A target, with the share of the requests that it runs.",
    (NAME, "shadows", 0),
    _rollout(shadows=[{"model": "digits/3"}]),
    [
        dataclasses.replace(_MODEL, good="digits/3", wrong=3),
        dataclasses.replace(_URL, good="https://triton:8000/v", wrong="triton"),
        Field(
            "sample",
            kinds.SHARE,
            _default(Shadow, "sample"),
            10,
            101,
            "percentage of the requests that it runs",
        ),
    ],
    short=kinds.MODEL,
)
_STICKY = Section(
    "sticky",
    "sticky",
    "",
    (NAME, "sticky"),
    _rollout(sticky={"header": "x-user-id"}),
    [Field("header", kinds.HEADER, REQUIRED, "x-user-id", "", "whose value is the key")],
)
_RULE = Section(
    "rule",
    "A rule of compare",
    "`exact`, `argmax`, or a mapping with `atol` and `rtol`, or with one of the others. Where neither"
    " `compare` nor a guard names an output, all are judged; else those that one of them names, and the"
    " others are compared and shown as not ruled. Judged without a rule: `{atol: 0.00001, rtol: 0.001}` if it"
    " is of floats, else `exact`. Shape, datatype, NaN and infinities that differ are differences under every"
    " rule.",
    (NAME, "compare", "probabilities"),
    _rollout(compare={"probabilities": {}}),
    [
        Field(
            "atol",
            kinds.TOLERANCE,
            UNSET,
            0.02,
            -1,
            "greatest absolute difference, beside `rtol` times the reference",
        ),
        Field("rtol", kinds.TOLERANCE, UNSET, 0.01, "1%", "greatest difference relative to the reference"),
        Field("topk", kinds.TOP_K, UNSET, 5, 0, "the same indices among the k greatest, in any order"),
        Field("cosine", kinds.COSINE, UNSET, 0.99, 2, "least cosine between the two vectors"),
        Field("js", kinds.JENSEN_SHANNON, UNSET, 0.05, 1.5, "greatest Jensen-Shannon divergence, in bits"),
    ],
    one_of=True,
    short=kinds.PLAIN_RULES,
    rules={
        "minProperties": 1,
        "anyOf": [{"maxProperties": 1}, {"propertyNames": {"enum": ["atol", "rtol"]}}],
    },
)
_ERRORS = Section(
    "errors",
    "guards.errors",
    "At least one of the two limits; with both, good is an error rate of at most the greater of the two.",
    (NAME, "guards", "errors"),
    _rollout(guards={"errors": {"maxRatio": 1.5, "max": "1%"}}),
    [
        Field(
            "maxRatio", kinds.RATIO, UNSET, 1.5, 0.5, "greatest ratio of the canary's error rate to stable's"
        ),
        Field("max", kinds.LIMIT, UNSET, "1%", 0, "greatest share of its requests that fail"),
        Field(
            "per",
            kinds.ERRORS_PER,
            _default(ErrorsGuard, "per"),
            "10s",
            "body",
            "the unit of `max`, each of which weighs the same: a user of `sticky` (without it a request), or"
            " all requests of so much time",
        ),
        _mode(ErrorsGuard),
    ],
    rules={**_any_of("maxRatio", "max"), "dependentRequired": {"per": ["max"]}},
)
_LATENCY = Section(
    "latency",
    "guards.latency",
    "",
    (NAME, "guards", "latency"),
    _rollout(guards={"latency": {"maxRatio": 1.25}}),
    [
        Field(
            "maxRatio",
            kinds.LATENCY_RATIO,
            REQUIRED,
            1.25,
            1.05,
            "how many times stable's compute time its own may take, typically and at p90, p95, p99; two "
            "copies of one model differ by a few percent, hence at least 1.1",
        ),
        Field(
            "clients",
            _below("clients"),
            {},
            {"maxRatio": 2},
            2,
            "how much longer its clients may wait; there whether it is written or not",
        ),
        _mode(LatencyGuard),
    ],
)
_CLIENTS = Section(
    "clients",
    "guards.latency.clients",
    "What clients see, in slices of arrival time: are they more often without a good answer after so many"
    " times stable's p50 and p90, and `slack`? It can take a canary off, and proves nothing.",
    (NAME, "guards", "latency", "clients"),
    _rollout(guards={"latency": {"maxRatio": 1.25, "clients": {}}}),
    [
        Field(
            "maxRatio",
            kinds.RATIO,
            _default(ClientsGuard, "max_ratio"),
            2,
            0.5,
            "how many times stable's time, from arrival to answer, its clients may wait",
        ),
        Field(
            "slack",
            kinds.SLACK,
            _default(ClientsGuard, "slack_seconds"),
            "20ms",
            5,
            "and so much longer: a canary in a process of its own has a hop that an inline stable has not",
        ),
        Field(
            "slice",
            kinds.SLICE,
            _default(ClientsGuard, "slice_seconds"),
            "10s",
            "7s",
            "what is one observation; longer than the longest pause of a process",
        ),
        Field(
            "mode",
            kinds.MODE,
            UNSET,
            "observe",
            "warn",
            "whether a verdict acts, or is only shown; left out, as latency's",
        ),
    ],
)
_AGREEMENT_GUARD = Section(
    "agreement",
    "guards.agreement",
    "One mapping, or a list of them, one for each output. It rests on mirrored requests (`mirror`).",
    (NAME, "guards", "agreement"),
    _rollout(guards={"agreement": _AGREEMENT}),
    [
        Field("output", kinds.TENSOR, REQUIRED, "label", 1, "what is compared, by its rule in `compare`"),
        Field("min", kinds.LIMIT, REQUIRED, "98%", 98, "least share of answers that agree"),
        Field(
            "per",
            kinds.AGREEMENT_PER,
            _default(AgreementGuard, "per"),
            "10s",
            "user",
            "the unit, each of which weighs the same: a user of `sticky` (without it a request), of equal"
            " bodies the first in each node, or all comparisons of so much time",
        ),
        _mode(AgreementGuard),
    ],
)
_VALUE = Section(
    "value",
    "guards.NAME",
    "Any other name is a guard on a value of Prometheus (`UNDERSTUDY_PROMETHEUS`). At least one of `min` and"
    " `max`. It observes unless told to enforce: a threshold has no bound on false alarms.",
    (NAME, "guards", "orders"),
    _rollout(guards={"orders": {"promql": "sum(rate(orders_total[5m]))", "min": 10, "max": 1000}}),
    [
        Field("promql", kinds.QUERY, REQUIRED, "up", "", "must give one number"),
        Field("min", kinds.QUERY_BOUND, UNSET, 10, "ten", "least good value"),
        Field("max", kinds.QUERY_BOUND, UNSET, 1000, True, "greatest good value"),
        Field(
            "interval",
            kinds.QUERY_INTERVAL,
            _default(PromQLGuard, "interval_seconds"),
            "30s",
            "10ms",
            "time between two queries",
        ),
        Field(
            "failureLimit",
            kinds.TOLERATED,
            _default(PromQLGuard, "failure_limit"),
            2,
            -1,
            "values out of bounds that are tolerated; one more is harmful",
        ),
        Field(
            "inconclusiveLimit",
            kinds.TOLERATED,
            _default(PromQLGuard, "inconclusive_limit"),
            2,
            1.5,
            "queries without a value that are tolerated",
        ),
        dataclasses.replace(_mode(PromQLGuard), wrong=True),
    ],
    rules=_any_of("min", "max"),
)
_EXAMPLES = Section(
    "examples",
    "examples",
    "Values are user data: they are held in memory only. See [looking at what happens](../observing.md).",
    (NAME, "examples"),
    _rollout(examples={}),
    [
        Field("keep", kinds.KEPT, _default(Examples, "keep"), 0, 1001, "at most so many; 0 keeps none"),
        Field(
            "redact",
            Shape(f"at most {kinds.REDACTED.most} names", kinds.REDACTED.of(kinds.TENSOR.schema)),
            [*_default(Examples, "redact")],
            ["pixels"],
            "pixels",
            "inputs and outputs whose values are not kept",
        ),
        Field(
            "inputs",
            kinds.INPUTS,
            _default(Examples, "inputs"),
            True,
            "no",
            "whether the request is kept too, for a replay",
        ),
    ],
)

SECTIONS: Sequence[Section] = (
    _TOP,
    _TARGET,
    _CANARY,
    _STEP,
    _PAUSE,
    _PROVE,
    _SHADOW,
    _STICKY,
    _RULE,
    _ERRORS,
    _LATENCY,
    _CLIENTS,
    _AGREEMENT_GUARD,
    _VALUE,
    _EXAMPLES,
)
REFUSED: Sequence[Refused] = (
    Refused(
        "either a fixed share or steps",
        _rollout(canary={"model": "digits/2", "weight": 5, "steps": [{"setWeight": 5}]}),
    ),
    Refused("a target has one role", _rollout(canary={"model": "digits/1"}), beyond=True),
    Refused(
        "a step is one thing",
        _rollout(canary={"model": "digits/2", "steps": [{"setWeight": 5, "pause": {}}]}),
    ),
    Refused(
        "a proof needs a guard that can give it",
        _rollout(canary={"model": "digits/2", "steps": [{"prove": {}}]}),
    ),
    Refused("a timeout needs a time", _steps({"setWeight": 5}, {"prove": {"onTimeout": "rollback"}})),
    Refused("a rule is one rule", _rollout(compare={"label": {"topk": 5, "js": 0.1}})),
    Refused("a guard has a limit", _rollout(guards={"errors": {"mode": "observe"}})),
    Refused("a unit is that of max", _rollout(guards={"errors": {"maxRatio": 1.5, "per": "10s"}})),
    Refused("an output has one guard", _rollout(guards={"agreement": [{"output": "y", "min": 0.9}] * 2})),
    Refused(
        "bounds are in order", _rollout(guards={"orders": {"promql": "up", "min": 2, "max": 1}}), beyond=True
    ),
    Refused("no key that is not known", _rollout(canery="digits/2")),
)
