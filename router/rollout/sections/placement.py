"""Reading and writing `placement`, on which nodes a candidate stands, and the table of its fields. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from router.rollout import kinds
from router.rollout.kinds import Shape
from router.rollout.reading import Readers, distinct, fields
from router.rollout.table import NAME, UNSET, Field, Refused, Section, below, sample
from router.rollout.values import Canary, Placement, Rollout, SetWeight
from serving.document import Node

_LABEL = re.compile(kinds.LABEL.pattern)


def parse_placement(node: Node) -> Placement:
    """On which nodes.

    Raises:
        DocumentError: it does not say on which.
    """
    placement = Placement(**fields(node, [], _PLACEMENT))
    if not node.lenient and len(node.entries()) != 1:
        node.fail("say on which nodes, by one of them: {nodes: 10%} or {waves: [eu-1, us]}")
    return placement


def parse_placement_of_shadow(node: Node) -> Placement:
    """On which nodes a shadow stands, which has no steps to go through.

    Raises:
        DocumentError: as `parse_placement`, or it is in waves.
    """
    placement = parse_placement(node)
    if placement.waves:
        node.entries()["waves"].fail("steps are gone through in waves, and a shadow has none: say `nodes`")
    return placement


def placement_to_document(placement: Placement | None) -> dict[str, Any]:
    """The key with its value, or nothing."""
    if placement is None:
        return {}
    said = {"waves": list(placement.waves)} if placement.waves else {"nodes": placement.nodes}
    return {"placement": said}


def refuse_a_vain_placement(rollout: Rollout, canary: Canary, entries: Mapping[str, Node]) -> None:
    """Refuse a canary that could not be given its share on its nodes, or not to the same users on all.

    Args:
        rollout: the document's.
        canary: with a placement.
        entries: the keys of the canary.

    Raises:
        DocumentError: at what is too much.
    """
    assert canary.placement is not None
    if rollout.sticky_header is not None:
        entries["placement"].fail(
            "a sticky user meets the same side on every node, and the canary stands on some only: leave out"
            " `sticky`, or `placement`"
        )
    if canary.placement.waves and not canary.steps:
        entries["placement"].fail("in each wave its steps are gone through: say `steps`, not a fixed weight")
    most = canary.placement.nodes
    if canary.weight is not None and canary.weight > most:
        _refuse_share(entries["weight"], canary.weight, most)
    steps = entries["steps"].sequence() if canary.steps else ()
    for step, node in zip(canary.steps, steps, strict=True):
        if isinstance(step, SetWeight) and step.percent > most:
            _refuse_share(node, step.percent, most)


def _refuse_share(node: Node, share: float, most: float) -> None:
    node.fail(
        f"{share:g}% of all requests are more than reach {most:g}% of the nodes, on which it stands: say a"
        f" share of at most {most:g}, or a placement on more nodes"
    )


def _waves(node: Node) -> tuple[str, ...]:
    words = f"labels of nodes, got {len(node.sequence())}"
    return distinct(node, kinds.WAVES, _label, words, "is a wave already")


def _label(node: Node) -> str:
    if not _LABEL.fullmatch(node.string()):
        node.fail(
            "expected a label of nodes: 1 to 63 letters, digits, dots, dashes and underscores, a letter or"
            f" digit at both ends, unlike {node.string()[:140]!r}"
        )
    return node.string()


_PLACEMENT: Readers = {"nodes": ("nodes", kinds.SOME_NODES.read), "waves": ("waves", _waves)}
PLACEMENT = Field(
    "placement",
    below("placement"),
    UNSET,
    {"nodes": "10%"},
    "10%",
    "on which nodes it stands, and takes memory; left out, on all",
)
_CANARY = {"model": "digits/2", "steps": [{"setWeight": 5}], "placement": {"nodes": "10%"}}
_IN_WAVES = {**_CANARY, "placement": {"waves": ["eu-1", "us"]}}
SECTION = Section(
    "placement",
    "placement",
    "One of both. Control chooses the nodes, or the label of a node (`--label`) says when it is its turn:"
    " [a candidate on some nodes](../placement.md). With `nodes` a canary's weight stays its share of all"
    " requests, in a wave it is of those of its nodes, as a `mirror`, `topUp` or `sample` always is.",
    (NAME, "canary", "placement"),
    sample(canary=_CANARY),
    [
        Field(
            "nodes",
            kinds.SOME_NODES,
            UNSET,
            "10%",
            "0%",
            "on what percentage of the live nodes, rounded up",
        ),
        Field(
            "waves",
            Shape(
                f"a list of {kinds.WAVES.least} to {kinds.WAVES.most} labels of nodes",
                kinds.WAVES.of(kinds.LABEL.schema),
            ),
            UNSET,
            ["eu-1", "eu-2", "us"],
            ["eu 1"],
            "a canary's steps are gone through on the nodes of the first label, then on those of the next,"
            " while those before answer with it alone; then it is promoted everywhere",
        ),
    ],
    one_of=True,
    rules={"minProperties": 1, "maxProperties": 1},
)
REFUSED = (
    Refused(
        "a placed canary is not sticky", sample(canary=_CANARY, sticky={"header": "x-user"}), beyond=True
    ),
    Refused(
        "a share reaches its nodes",
        sample(canary={"model": "digits/2", "weight": 20, "placement": {"nodes": "10%"}}),
        beyond=True,
    ),
    Refused(
        "so does that of each step", sample(canary={**_CANARY, "steps": [{"setWeight": 11}]}), beyond=True
    ),
    Refused(
        "nodes are chosen in one way",
        sample(canary={**_CANARY, "placement": {"nodes": "10%", "waves": ["us"]}}),
    ),
    Refused("a wave is one wave", sample(canary={**_CANARY, "placement": {"waves": ["us", "us"]}})),
    Refused(
        "steps are gone through in waves",
        sample(canary={"model": "digits/2", "weight": 5, "placement": {"waves": ["us"]}}),
        beyond=True,
    ),
    Refused(
        "a shadow has no waves",
        sample(shadows=[{"model": "digits/3", "placement": {"waves": ["us"]}}]),
        beyond=True,
    ),
)
