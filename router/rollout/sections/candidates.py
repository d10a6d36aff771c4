"""Reading and writing A/B/n tests, `candidates` and `best`, and the table of their fields. Pure."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Shape, duration_text
from router.rollout.reading import Readers, fields, without_none
from router.rollout.sections.servers import RULES as TARGET_RULES
from router.rollout.sections.servers import SERVER
from router.rollout.sections.targets import parse_with, target_entries
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
    default_of,
    sample,
    section,
)
from router.rollout.values import Best, Canary, Rollout
from serving.document import Node, read_each


def parse_candidates(node: Node) -> tuple[Canary, ...]:
    """The candidates of an A/B/n test.

    Raises:
        DocumentError: one of them is none, or their shares leave stable nothing.
    """
    nodes = node.sequence()
    if not kinds.CANDIDATES.least <= len(nodes) <= kinds.CANDIDATES.most:
        node.fail(
            f"expected {kinds.CANDIDATES.least} to {kinds.CANDIDATES.most} candidates, got {len(nodes)}"
            " (a single one is a `canary`)"
        )
    found = tuple(read_each(partial(_candidate, each) for each in nodes))
    if (taken := sum(each.weight or 0.0 for each in found)) >= 100.0:
        node.fail(
            f"their weights add up to {taken:g}%, which leaves nothing to stable, whom they are held to"
        )
    return found


def parse_best(node: Node) -> Best:
    """When the test ends.

    Raises:
        DocumentError: it does not say by which outcome.
    """
    readers: Readers = {
        "outcome": ("outcome", Node.string),
        "max": ("max_seconds", kinds.STEP_TIME.read),
        "promote": ("promote", kinds.PROMOTE.read),
    }
    return Best(**fields(node, ["outcome"], readers))


def candidates_to_document(candidates: Sequence[Canary]) -> list[dict[str, Any]]:
    """As documents have them."""
    return [
        {**target_entries(each.target), "weight": each.weight, "mirror": each.mirror} for each in candidates
    ]


def best_to_document(best: Best) -> dict[str, Any]:
    """As documents have it."""
    return without_none(
        outcome=best.outcome,
        max=None if best.max_seconds is None else duration_text(best.max_seconds),
        promote=best.promote,
    )


def refuse_a_vain_test(rollout: Rollout, entries: Mapping[str, Node]) -> None:
    """Refuse what cannot be told apart, or would never end.

    Args:
        rollout: the document's.
        entries: the keys of the document.

    Raises:
        DocumentError: at the key that is too much, or lacks another.
    """
    if rollout.candidates and rollout.canary is not None:
        entries["candidates"].fail("a canary and candidates exclude each other: say one of them")
    if rollout.candidates and rollout.sticky_header is not None:
        entries["sticky"].fail(
            "candidates are told apart by draws of each request, which a sticky user has once: leave out"
            " `sticky`, or say one `canary`"
        )
    if rollout.best is not None:
        _refuse_a_vain_end(rollout, rollout.best, entries["best"])


def _refuse_a_vain_end(rollout: Rollout, best: Best, node: Node) -> None:
    if not rollout.candidates:
        node.fail("it is the best of `candidates`, and there are none")
    outcome = rollout.outcome(best.outcome)
    of = node.entries()["outcome"]
    if outcome is None:
        known = ", ".join(each.name for each in rollout.outcomes) or "none"
        of.fail(f"{best.outcome[:140]!r} is no outcome of this rollout; known: {known}")
    if outcome.kind == "label":
        if not all(each.mirror > 0 for each in rollout.candidates):
            of.fail(f"{outcome.name} is a label, which takes a mirror above 0 at each candidate")
        if outcome.output in rollout.redacted:
            of.fail(
                f"{outcome.name} is the truth for {outcome.output[:160]!r}, which is redacted, and answers"
                " that are held against labels are kept by control: leave it out of `redact`"
            )
    elif outcome.kind == "number" and outcome.range is None:
        of.fail(f"{outcome.name} is a number without bounds: say its `range`, or take another outcome")


def _candidate(node: Node) -> Canary:
    readers: Readers = {"weight": ("weight", kinds.PART.read), "mirror": ("mirror", kinds.SHARE.read)}
    target, found = parse_with(node, readers)
    if "weight" not in found:
        node.fail("a candidate has a weight, e.g. {model: digits/2, weight: 20}")
    return Canary(target, **found)


CANDIDATES = Shape(
    f"a list of {kinds.CANDIDATES.least} to {kinds.CANDIDATES.most} candidates",
    kinds.CANDIDATES.of(section("candidate")),
)
_TWO = [{"model": "digits/2", "weight": 20}, {"model": "digits/3", "weight": 20}]
_PAID = {"paid": {"kind": "binary", "within": "1h"}}
SAMPLE = {"candidates": _TWO, "outcomes": _PAID}
SECTIONS = (
    Section(
        "candidate",
        "A candidate of an A/B/n test",
        "Several models at once, each with a fixed share, none with steps: [A/B/n tests](../abn.md). Each"
        " is judged against stable by the guards, which share `alpha`, and one that does harm is taken off.",
        (NAME, "candidates", 0),
        sample(candidates=_TWO),
        [
            dataclasses.replace(MODEL, good="digits/4", wrong="digits"),
            dataclasses.replace(URL, wrong="triton:8000"),
            SERVER,
            Field("weight", kinds.PART, REQUIRED, 0.1, 0, "its share of the requests"),
            Field(
                "mirror",
                kinds.SHARE,
                default_of(Canary, "mirror"),
                100,
                "all",
                "percentage of stable's requests that it runs too, for comparison",
            ),
        ],
        rules=TARGET_RULES,
    ),
    Section(
        "best",
        "best",
        "When an A/B/n test ends by itself. Left out, a person ends it.",
        (NAME, "best"),
        sample(**SAMPLE, best={"outcome": "paid"}),
        [
            Field(
                "outcome",
                kinds.NAME,
                REQUIRED,
                "paid",
                1,
                "by which stable and the candidates are compared with each other",
            ),
            Field(
                "max",
                kinds.STEP_TIME,
                UNSET,
                "14d",
                "two weeks",
                "after this the test ends undecided, and stable answers all; left out, no limit",
            ),
            Field(
                "promote",
                kinds.PROMOTE,
                default_of(Best, "promote"),
                True,
                "yes please",
                "whether the best is promoted at once; else `understudy rollouts promote` does",
            ),
        ],
    ),
)
REFUSED = (
    Refused(
        "one canary or several candidates",
        sample(canary={"model": "digits/4", "weight": 5}, candidates=_TWO),
    ),
    Refused("a single candidate is a canary", sample(candidates=_TWO[:1])),
    Refused(
        "stable keeps a share",
        sample(candidates=[{"model": "digits/2", "weight": 50}, {"model": "digits/3", "weight": 50}]),
        beyond=True,
    ),
    Refused("candidates are drawn request by request", sample(candidates=_TWO, sticky={"header": "x-user"})),
    Refused("the best is one of several", sample(outcomes=_PAID, best={"outcome": "paid"})),
    Refused(
        "the best needs an outcome of the rollout",
        sample(**SAMPLE, best={"outcome": "sold"}),
        beyond=True,
    ),
)
RULES = {
    "candidates": {"not": any_of("canary", "sticky")},
    "best": {"required": ["candidates"]},
}
"""Of a document that has the key."""
