"""The table of the fields of a rollout document: what each may be, its default, and what it means.

Law: the reference page, the JSON Schema (`router.rollout.schema`) and the tests that hold both to the parser
are made from this table, and bounds and defaults in it are those of the parser: a kind, a dataclass. Who adds
a field to the parser adds it here, with a value that is accepted and one that is refused. Pure.
"""

import dataclasses
from collections.abc import Sequence

from router.rollout import kinds
from router.rollout.guards.agreement import SAMPLE as AGREEMENT
from router.rollout.guards.registry import KINDS
from router.rollout.kinds import Shape
from router.rollout.sections.candidates import CANDIDATES
from router.rollout.sections.candidates import REFUSED as REFUSED_TESTS
from router.rollout.sections.candidates import RULES as CANDIDATE_RULES
from router.rollout.sections.candidates import SAMPLE as TEST
from router.rollout.sections.candidates import SECTIONS as CANDIDATE_SECTIONS
from router.rollout.sections.follow import REFUSED as REFUSED_FOLLOWS
from router.rollout.sections.follow import RULES as FOLLOW_RULES
from router.rollout.sections.follow import SECTION as FOLLOW
from router.rollout.sections.outcomes import OUTCOMES
from router.rollout.sections.outcomes import SECTIONS as OUTCOME_SECTIONS
from router.rollout.sections.placement import PLACEMENT
from router.rollout.sections.placement import REFUSED as REFUSED_PLACEMENTS
from router.rollout.sections.placement import SECTION as PLACEMENT_SECTION
from router.rollout.sections.servers import REFUSED as REFUSED_SERVERS
from router.rollout.sections.servers import RULES as TARGET_RULES
from router.rollout.sections.servers import SECTIONS as SERVER_SECTIONS
from router.rollout.sections.servers import SERVER
from router.rollout.sections.steps import REFUSED as REFUSED_STEPS
from router.rollout.sections.steps import SECTIONS as STEP_SECTIONS
from router.rollout.table import (
    MODEL,
    NAME,
    REQUIRED,
    UNSET,
    URL,
    Field,
    Refused,
    Section,
    any_of,
    below,
    default_of,
    sample,
    section,
)
from router.rollout.values import Canary, Examples, Record, Rollout, Shadow

_A_PROOF = {
    "type": "object",
    "required": ["steps"],
    "properties": {
        "steps": {"type": "array", "contains": {"type": "object", "required": ["prove"]}},
    },
}
_AN_OUTCOME = {"not": {"additionalProperties": {"not": {"type": "object", "required": ["outcome"]}}}}
"""Of guards: not all of them are none of an outcome."""
_PROOFS_HAVE_GUARDS = {
    "if": {"required": ["canary"], "properties": {"canary": _A_PROOF}},
    "then": {
        "required": ["guards"],
        "properties": {
            "guards": {"anyOf": [*any_of("errors", "latency", "agreement")["anyOf"], _AN_OUTCOME]}
        },
    },
}

_TOP = Section(
    "rollout",
    "A rollout",
    "The file is a mapping from public model names to rollouts; one name, one rollout.",
    (NAME,),
    sample(),
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
            below("canary"),
            UNSET,
            {"model": "digits/2", "weight": 10},
            "digits",
            "the candidate that gets a share",
        ),
        Field(
            "follow",
            below("follow"),
            UNSET,
            {"alias": "challenger", "promote": "champion", "canary": {"weight": 10}},
            "challenger",
            "where the canary comes from, instead of naming it: an alias of MLflow",
        ),
        Field(
            "candidates",
            CANDIDATES,
            UNSET,
            TEST["candidates"],
            ["digits/2", "digits/3"],
            "several candidates at once, instead of a canary",
        ),
        Field(
            "best",
            below("best"),
            UNSET,
            {"outcome": "paid", "promote": True},
            "paid",
            "when a test of several candidates ends",
            beside=TEST,
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
            below("guards"),
            {},
            {"errors": {"max": "1%"}},
            ["errors"],
            "conditions on the canary",
        ),
        Field(
            "alpha",
            kinds.LIMIT,
            f"{default_of(Rollout, 'alpha'):.0%}",
            "5%",
            "100%",
            "risk that a good canary is rolled back, and separately that one at its tolerance is promoted",
        ),
        Field(
            "timeout",
            kinds.TIMEOUT,
            default_of(Rollout, "timeout_seconds"),
            "250ms",
            5,
            "time of one request, retries included",
        ),
        Field(
            "keepWarm",
            kinds.KEEP_WARM,
            default_of(Rollout, "keep_warm_seconds"),
            "1h",
            "soon",
            "how long the old stable stays loaded after a promotion, for a way back without a load",
        ),
        Field(
            "examples",
            below("examples"),
            {},
            {"keep": 10},
            {"keep": 1001},
            "comparisons kept to be looked at",
        ),
        Field(
            "record",
            below("record"),
            UNSET,
            {"sample": "10%"},
            True,
            "answers that go to the prediction log; without it, none",
        ),
        Field(
            "outcomes",
            OUTCOMES,
            UNSET,
            {"conversion": {"kind": "binary", "within": "1h"}},
            {"conversion": {"kind": "binary"}},
            "what becomes known of its answers later, by name",
        ),
        Field(
            "segments",
            below("segments"),
            UNSET,
            {"header": "x-country"},
            ["de", "fr"],
            "parts of the traffic that a guard looks at by themselves",
        ),
    ],
    rules=_PROOFS_HAVE_GUARDS | {"dependentSchemas": CANDIDATE_RULES | FOLLOW_RULES},
)
_TARGET = Section(
    "target",
    "A target",
    "`digits/1` is short for `{model: digits/1}`. With a `url` it is a model of another server that speaks"
    " the Open Inference Protocol v2; without one, a model of the repository.",
    (NAME, "stable"),
    sample(stable={"model": "digits/1"}),
    [MODEL, URL, SERVER],
    short=kinds.MODEL,
    rules=TARGET_RULES,
)
_ONE_SHARE = {"not": {"required": ["weight", "steps"]}}
_SHARE = [
    Field("weight", kinds.SHARE, default_of(Canary, "weight"), 0.1, 120, "its fixed share of the requests"),
    Field(
        "steps",
        Shape(f"a list of {kinds.STEPS.least} to {kinds.STEPS.most} steps", kinds.STEPS.of(section("step"))),
        UNSET,
        [{"setWeight": 10}, {"pause": {}}],
        [],
        "what to go through before promotion; the weight is 0 before the first `setWeight`",
    ),
    Field(
        "mirror",
        kinds.SHARE,
        default_of(Canary, "mirror"),
        100,
        "all",
        "percentage of stable's requests that it runs too, for comparison",
    ),
    Field(
        "topUp",
        kinds.TOP_UP,
        UNSET,
        "100/s",
        100,
        "recorded requests that it runs too on each node, for comparison: see [top-up](../top-up.md);"
        " left out, none",
    ),
    Field(
        "progressDeadline",
        kinds.PROGRESS_DEADLINE,
        default_of(Canary, "progress_deadline_seconds"),
        "1h",
        "0s",
        "how long it may be ready nowhere before the rollout is paused, with the reason",
    ),
    PLACEMENT,
]
_CANARY = Section(
    "canary",
    "canary",
    "A target, with its share: a fixed `weight`, or `steps`. A canary gets requests only where it is loaded,"
    " warm and of a signature that fits stable's.",
    (NAME, "canary"),
    sample(canary={"model": "digits/2"}, record={}),
    [
        dataclasses.replace(MODEL, good="digits/2", wrong="digits"),
        dataclasses.replace(URL, wrong="triton:8000"),
        SERVER,
        *_SHARE,
    ],
    short=kinds.MODEL,
    rules=_ONE_SHARE | TARGET_RULES,
)
_TEMPLATE = Section(
    "template",
    "canary below follow",
    "As `canary`, without saying who: a fixed `weight`, or `steps`.",
    (NAME, "follow", "canary"),
    sample(follow={"alias": "challenger", "canary": {}}, record={}),
    _SHARE,
    rules=_ONE_SHARE,
)
_SHADOW = Section(
    "shadow",
    "A shadow",
    "A target, with the share of the requests that it runs.",
    (NAME, "shadows", 0),
    sample(shadows=[{"model": "digits/3"}]),
    [
        dataclasses.replace(MODEL, good="digits/3", wrong=3),
        dataclasses.replace(URL, good="https://triton:8000/v", wrong="triton"),
        SERVER,
        Field(
            "sample",
            kinds.SHARE,
            default_of(Shadow, "sample"),
            10,
            101,
            "percentage of the requests that it runs",
        ),
        PLACEMENT,
    ],
    short=kinds.MODEL,
    rules=TARGET_RULES,
)
_STICKY = Section(
    "sticky",
    "sticky",
    "",
    (NAME, "sticky"),
    sample(sticky={"header": "x-user-id"}),
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
    sample(compare={"probabilities": {}}),
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


_EXAMPLES = Section(
    "examples",
    "examples",
    "Values are user data: they are held in memory only. See [looking at what happens](../observing.md).",
    (NAME, "examples"),
    sample(examples={}),
    [
        Field("keep", kinds.KEPT, default_of(Examples, "keep"), 0, 1001, "at most so many; 0 keeps none"),
        Field(
            "redact",
            Shape(f"at most {kinds.REDACTED.most} names", kinds.REDACTED.of(kinds.TENSOR.schema)),
            [*default_of(Examples, "redact")],
            ["pixels"],
            "pixels",
            "inputs and outputs whose values are not kept",
        ),
        Field(
            "inputs",
            kinds.INPUTS,
            default_of(Examples, "inputs"),
            True,
            "no",
            "whether the request is kept too, for a replay",
        ),
    ],
)
_RECORD = Section(
    "record",
    "record",
    "One row for each answer to a client, in the folder or bucket of a node's `--records`. A node without"
    " `--records` keeps none, and says so.",
    (NAME, "record"),
    sample(record={}),
    [
        Field(
            "sample",
            kinds.SHARE,
            default_of(Record, "sample"),
            "10%",
            "all",
            "percentage of the answers, drawn by request; with `sticky` by key: all of a user's, or none",
        ),
        Field(
            "inputs",
            kinds.INPUTS,
            default_of(Record, "inputs"),
            False,
            "no",
            "whether the inputs are recorded too",
        ),
        Field(
            "redact",
            Shape(f"at most {kinds.REDACTED.most} names", kinds.REDACTED.of(kinds.TENSOR.schema)),
            [*default_of(Record, "redact")],
            ["pixels"],
            "pixels",
            "inputs and outputs whose values never leave the worker; nor do those of `examples.redact`",
        ),
    ],
)

SECTIONS: Sequence[Section] = (
    _TOP,
    _TARGET,
    *SERVER_SECTIONS,
    _CANARY,
    FOLLOW,
    _TEMPLATE,
    *STEP_SECTIONS,
    PLACEMENT_SECTION,
    _SHADOW,
    _STICKY,
    _RULE,
    *(section for kind in KINDS for section in kind.sections),
    _EXAMPLES,
    _RECORD,
    *CANDIDATE_SECTIONS,
    *OUTCOME_SECTIONS,
)
REFUSED: Sequence[Refused] = (
    Refused(
        "either a fixed share or steps",
        sample(canary={"model": "digits/2", "weight": 5, "steps": [{"setWeight": 5}]}),
    ),
    Refused("a target has one role", sample(canary={"model": "digits/1"}), beyond=True),
    *REFUSED_SERVERS,
    *REFUSED_STEPS,
    Refused("a rule is one rule", sample(compare={"label": {"topk": 5, "js": 0.1}})),
    Refused("a guard has a limit", sample(guards={"errors": {"mode": "observe"}})),
    Refused("a unit is that of max", sample(guards={"errors": {"maxRatio": 1.5, "per": "10s"}})),
    Refused("an output has one guard", sample(guards={"agreement": [{"output": "y", "min": 0.9}] * 2})),
    Refused(
        "bounds are in order", sample(guards={"orders": {"promql": "up", "min": 2, "max": 1}}), beyond=True
    ),
    Refused(
        "a top-up runs recorded requests", sample(canary={"model": "digits/2", "topUp": "5/s"}), beyond=True
    ),
    Refused(
        "a top-up runs whole requests",
        sample(canary={"model": "digits/2", "topUp": "5/s"}, record={"redact": ["pixels"]}),
        beyond=True,
    ),
    Refused(
        "a top-up counts users or requests",
        sample(
            canary={"model": "digits/2", "topUp": "5/s"},
            record={},
            guards={"agreement": {**AGREEMENT, "per": "body"}},
        ),
        beyond=True,
    ),
    Refused(
        "a guard on an outcome needs the outcome",
        sample(guards={"accuracy": {"outcome": "label", "margin": "1%"}}),
        beyond=True,
    ),
    Refused(
        "an outcome has the limits of its kind",
        sample(
            outcomes={"paid": {"kind": "number", "within": "1h"}},
            guards={"paid": {"outcome": "paid", "margin": "1%"}},
        ),
        beyond=True,
    ),
    Refused(
        "a limit is on the side that is worse",
        sample(
            outcomes={"complaint": {"kind": "binary", "better": "lower", "within": "1d"}},
            guards={"complaints": {"outcome": "complaint", "maxDrop": "5%"}},
        ),
        beyond=True,
    ),
    Refused(
        "a label has a tolerance or a loss",
        sample(outcomes={"price": {"output": "price", "tolerance": 1, "range": [0, 9], "within": "1d"}}),
    ),
    Refused(
        "segments are held to what all are",
        sample(segments={"header": "x-country"}, guards={"segments": {"guard": "errors"}}),
        beyond=True,
    ),
    *REFUSED_PLACEMENTS,
    *REFUSED_TESTS,
    *REFUSED_FOLLOWS,
    Refused("no key that is not known", sample(canery="digits/2")),
)
