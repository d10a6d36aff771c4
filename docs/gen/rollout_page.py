"""The reference of the rollout file."""

from collections.abc import Mapping
from typing import Any

from docs.gen.documents import REQUIRED, Field, Reference, Refused, Section, render_sections
from docs.gen.markdown import page
from router.rollout import Rollout
from router.rollout_parser import parse

_NAME = "digits"
_STABLE = {"stable": "digits/1"}
_CANARY = {"model": "digits/2", "weight": 10}
_ERRORS = {"maxRatio": 1.5, "max": "1%"}
_PROMQL = {"promql": "sum(rate(orders_total[5m]))", "min": 10, "max": 1000}
_MODE = Field(
    "mode", "`enforce` or `observe`", "enforce", "observe", "warn", "whether a verdict acts, or is only shown"
)


def _rollout(**more: Any) -> dict[str, Any]:
    return {_NAME: {**_STABLE, **more}}


def _steps(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return _rollout(canary={"model": "digits/2", "steps": [*steps]}, guards={"errors": {"max": "1%"}}, **more)


_TOP = Section(
    "A rollout",
    "The file is a mapping from public model names to rollouts; one name, one rollout.",
    (_NAME,),
    _rollout(),
    [
        Field(
            "stable", "a target", REQUIRED, "digits/1", "digits", "what answers all that the canary does not"
        ),
        Field("canary", "a mapping, see below", "", _CANARY, "digits", "the candidate that gets a share"),
        Field(
            "shadows",
            "a list of at most 16",
            [],
            ["digits/3"],
            "digits/3",
            "candidates that nobody gets answers of",
        ),
        Field(
            "sticky",
            "`{header: NAME}`",
            "",
            {"header": "x-user-id"},
            {"header": "user id"},
            "requests with the same value of this header go to the same side; raising the weight moves keys to the "
            "canary and none back. Without it each request is drawn by itself",
        ),
        Field(
            "compare",
            "a mapping from outputs to rules",
            {},
            {"label": "exact"},
            {"label": "near"},
            "see below",
        ),
        Field(
            "guards",
            "a mapping, see below",
            {},
            {"errors": {"max": "1%"}},
            ["errors"],
            "conditions on the canary",
        ),
        Field(
            "alpha",
            "a fraction or percentage, ends excluded",
            "1%",
            "5%",
            "100%",
            "risk that a good canary is rolled back, and separately that one at its tolerance is promoted",
        ),
        Field(
            "timeout",
            "a duration of 1 ms to 10 minutes",
            "1s",
            "250ms",
            5,
            "time of one request, retries included",
        ),
        Field(
            "keepWarm",
            "a duration",
            "10m",
            "1h",
            "soon",
            "how long the old stable stays loaded after a promotion, for a way back without a load",
        ),
        Field(
            "examples",
            "a mapping, see below",
            {},
            {"keep": 10},
            {"keep": 1001},
            "comparisons kept to be looked at",
        ),
    ],
)
_TARGET = Section(
    "A target",
    "`digits/1` is short for `{model: digits/1}`. With a `url` it is a model of another server that speaks the Open "
    "Inference Protocol v2; without one, a model of the repository.",
    (_NAME, "stable"),
    _rollout(stable={"model": "digits/1"}),
    [
        Field("model", "`name/version`", REQUIRED, "digits/1", "digits/latest", "which model"),
        Field(
            "url",
            "`http://` or `https://` with host, port and path",
            "",
            "http://triton:8000",
            "http://user@triton:8000",
            "the server that has it",
        ),
    ],
)
_CANARY_SECTION = Section(
    "canary",
    "A target, with its share: a fixed `weight`, or `steps`. A canary gets requests only where it is loaded, warm and "
    "of a signature that fits stable's.",
    (_NAME, "canary"),
    _rollout(canary={"model": "digits/2"}),
    [
        Field("model", "as in a target", REQUIRED, "digits/2", "digits", "which model"),
        Field("url", "as in a target", "", "http://triton:8000", "triton:8000", "the server that has it"),
        Field("weight", "0 to 100, with or without `%`", 0, 0.1, 120, "its fixed share of the requests"),
        Field(
            "steps",
            "a list of 1 to 64 steps",
            "",
            [{"setWeight": 10}, {"pause": {}}],
            [],
            "what to go through before promotion; the weight is 0 before the first `setWeight`",
        ),
        Field(
            "mirror",
            "0 to 100",
            0,
            100,
            "all",
            "percentage of stable's requests that it runs too, for comparison",
        ),
        Field(
            "progressDeadline",
            "a duration of at least `1s`",
            "10m",
            "1h",
            "0s",
            "how long it may be ready nowhere before the rollout is paused, with the reason",
        ),
    ],
)
_STEP = Section(
    "A step",
    "Each step has one of these keys. The names are Argo Rollouts'.",
    (_NAME, "canary", "steps", 0),
    _rollout(
        canary={"model": "digits/2", "steps": [{}], "mirror": 100},
        guards={"agreement": {"output": "label", "min": "98%"}},
    ),
    [
        Field("setWeight", "0 to 100", "", 10, -1, "from here on the canary gets this percentage"),
        Field("pause", "a mapping, see below", "", {}, 30, "wait, for a time or for a person"),
        Field(
            "prove",
            "a mapping, see below",
            "",
            {},
            {"min": "1h"},
            "wait until every enforced guard is proven",
        ),
    ],
    one_of=True,
)
_PAUSE = Section(
    "pause",
    "",
    (_NAME, "canary", "steps", 0, "pause"),
    _steps({"pause": {}}),
    [
        Field(
            "duration", "a duration", "", "30s", 30, "how long; left out, until `understudy rollouts resume`"
        )
    ],
)
_PROVE = Section(
    "prove",
    "",
    (_NAME, "canary", "steps", 1, "prove"),
    _steps({"setWeight": 10}, {"prove": {"max": "30m"}}),
    [
        Field(
            "max",
            "a duration",
            "",
            "30m",
            "30 minutes",
            "after this, what `onTimeout` says; left out, no limit",
        ),
        Field(
            "onTimeout",
            "`pause` or `rollback`",
            "pause",
            "rollback",
            "promote",
            "no proof in time is no success",
        ),
    ],
)
_SHADOW = Section(
    "A shadow",
    "A target, with the share of the requests that it runs.",
    (_NAME, "shadows", 0),
    _rollout(shadows=[{"model": "digits/3"}]),
    [
        Field("model", "as in a target", REQUIRED, "digits/3", 3, "which model"),
        Field("url", "as in a target", "", "https://triton:8000/v", "triton", "the server that has it"),
        Field("sample", "0 to 100", 100, 10, 101, "percentage of the requests that it runs"),
    ],
)
_STICKY = Section(
    "sticky",
    "",
    (_NAME, "sticky"),
    _rollout(sticky={"header": "x-user-id"}),
    [Field("header", "the name of a header", REQUIRED, "x-user-id", "", "whose value is the key")],
)
_RULE = Section(
    "A rule of compare",
    "`exact`, `argmax`, or a mapping with `atol` and `rtol`, or with one of the others. Where neither "
    "`compare` nor a guard names an output, all are judged; else those that one of them names, and the others are "
    "compared and shown as not ruled. Judged without a rule: `{atol: 0.00001, rtol: 0.001}` if it is of floats, else "
    "`exact`. Shape, datatype, NaN and infinities that differ "
    "are differences under every rule.",
    (_NAME, "compare", "probabilities"),
    _rollout(compare={"probabilities": {}}),
    [
        Field(
            "atol",
            "0 or more",
            "",
            0.02,
            -1,
            "greatest absolute difference, beside `rtol` times the reference",
        ),
        Field("rtol", "0 or more", "", 0.01, "1%", "greatest difference relative to the reference"),
        Field(
            "topk",
            "a whole number, 1 or more",
            "",
            5,
            0,
            "the same indices among the k greatest, in any order",
        ),
        Field("cosine", "-1 to 1", "", 0.99, 2, "least cosine between the two vectors"),
        Field("js", "0 to 1", "", 0.05, 1.5, "greatest Jensen-Shannon divergence, in bits"),
    ],
    one_of=True,
)
_ERRORS_SECTION = Section(
    "guards.errors",
    "At least one of the two limits; with both, good is an error rate of at most the greater of the two.",
    (_NAME, "guards", "errors"),
    _rollout(guards={"errors": _ERRORS}),
    [
        Field("maxRatio", "1 to 1000", "", 1.5, 0.5, "greatest ratio of the canary's error rate to stable's"),
        Field(
            "max",
            "a fraction or percentage, ends excluded",
            "",
            "1%",
            0,
            "greatest share of its requests that fail",
        ),
        _MODE,
    ],
)
_LATENCY = Section(
    "guards.latency",
    "",
    (_NAME, "guards", "latency"),
    _rollout(guards={"latency": {"maxRatio": 1.25}}),
    [
        Field(
            "maxRatio",
            "1 to 1000",
            REQUIRED,
            1.25,
            0,
            "how many times as slow it may be at p50, p90, p95, p99",
        ),
        _MODE,
    ],
)
_AGREEMENT = Section(
    "guards.agreement",
    "One mapping, or a list of them, one for each output. It rests on mirrored requests (`mirror`).",
    (_NAME, "guards", "agreement"),
    _rollout(guards={"agreement": {"output": "label", "min": "98%"}}),
    [
        Field(
            "output",
            "the name of an output",
            REQUIRED,
            "label",
            1,
            "what is compared, by its rule in `compare`",
        ),
        Field(
            "min",
            "a fraction or percentage, ends excluded",
            REQUIRED,
            "98%",
            98,
            "least share of answers that agree",
        ),
        Field(
            "per",
            "`request` or `body`",
            "request",
            "body",
            "user",
            "what counts: each request (with `sticky` each key's first), or of equal bodies the first in each node",
        ),
        _MODE,
    ],
)
_VALUE = Section(
    "guards.NAME",
    "Any other name is a guard on a value of Prometheus (`UNDERSTUDY_PROMETHEUS`). At least one of `min` and `max`. "
    "It observes unless told to enforce: a threshold has no bound on false alarms.",
    (_NAME, "guards", "orders"),
    _rollout(guards={"orders": _PROMQL}),
    [
        Field("promql", "a query", REQUIRED, "up", "", "must give one number"),
        Field("min", "a number", "", 10, "ten", "least good value"),
        Field("max", "a number", "", 1000, True, "greatest good value"),
        Field("interval", "a duration of 1 s or more", "1m", "30s", "10ms", "time between two queries"),
        Field(
            "failureLimit",
            "0 to 1000",
            0,
            2,
            -1,
            "values out of bounds that are tolerated; one more is harmful",
        ),
        Field("inconclusiveLimit", "0 to 1000", 0, 2, 1.5, "queries without a value that are tolerated"),
        Field("mode", "`enforce` or `observe`", "observe", "enforce", True, _MODE.meaning),
    ],
)
_EXAMPLES = Section(
    "examples",
    "Values are user data: they are held in memory only. See [looking at what happens](../observing.md).",
    (_NAME, "examples"),
    _rollout(examples={}),
    [
        Field("keep", "0 to 1000", 100, 0, 1001, "at most so many; 0 keeps none"),
        Field(
            "redact",
            "at most 64 names",
            [],
            ["pixels"],
            "pixels",
            "inputs and outputs whose values are not kept",
        ),
        Field(
            "inputs", "`true` or `false`", False, True, "no", "whether the request is kept too, for a replay"
        ),
    ],
)
_REFUSED = [
    Refused(
        "either a fixed share or steps",
        _rollout(canary={"model": "digits/2", "weight": 5, "steps": [{"setWeight": 5}]}),
    ),
    Refused("a target has one role", _rollout(canary={"model": "digits/1"})),
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
    Refused("an output has one guard", _rollout(guards={"agreement": [{"output": "y", "min": 0.9}] * 2})),
    Refused("bounds are in order", _rollout(guards={"orders": {"promql": "up", "min": 2, "max": 1}})),
    Refused("no key that is not known", _rollout(canery="digits/2")),
]
_LEAD = """
One YAML file says how each public model name is served. It is watched while it serves: a change is applied at once and
whole, or refused with `file:line:column` and the last good one serves on. `understudy rollouts lint FILE` checks it
without a server; the same documents, as JSON or YAML, go to `PUT /v1/rollouts/{model}` of the [admin API](admin-api.md).

Unknown and duplicate keys, anchors, aliases, merge keys and tags are errors. A share of traffic is a percentage (`10`,
`0.1`, `10%`), a limit a fraction or a percentage (`0.98`, `98%`), a duration has a unit (`250ms`, `30s`, `1h30m`).
The last column shows a value that is refused, and the error as it is given, without `file:line:column`.

```yaml
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps:
      - setWeight: 1
      - pause: {duration: 30s}
      - prove: {max: 30m}
      - setWeight: 25
      - prove: {max: 30m, onTimeout: rollback}
      - setWeight: 50
      - pause: {}
    mirror: 20
  shadows:
    - {model: digits/3, sample: 100}
    - {model: digits/2, url: "http://triton:8000", sample: 5}
  sticky: {header: x-user-id}
  compare:
    label: exact
    probabilities: {atol: 0.02}
  guards:
    errors: {maxRatio: 1.5, max: 1%}
    latency: {maxRatio: 1.25}
    agreement: {output: label, min: 95%}
    orders: {promql: "sum(rate(orders_total[5m]))", min: 10}
  alpha: 1%
  timeout: 1s
  keepWarm: 10m
  examples: {keep: 100, redact: [pixels]}
```
"""


def _parse(text: str) -> dict[str, Rollout]:
    return parse(text, "rollouts.yaml")


REFERENCE = Reference(
    _parse,
    [
        _TOP,
        _TARGET,
        _CANARY_SECTION,
        _STEP,
        _PAUSE,
        _PROVE,
        _SHADOW,
        _STICKY,
        _RULE,
        _ERRORS_SECTION,
        _LATENCY,
        _AGREEMENT,
        _VALUE,
        _EXAMPLES,
    ],
    _REFUSED,
)


def render() -> str:
    """The page."""
    return page(
        "The rollout file", "docs/gen/rollout_page.py and the parser", _LEAD, *render_sections(REFERENCE)
    )
