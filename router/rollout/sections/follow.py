"""Reading and writing `follow`: a canary that is the version at which an alias of MLflow stands.

Law: of a document with `follow` the canary is never written out. `version` says which one it is, so that a
document that was read back means the same canary. Pure.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from router.rollout import kinds
from router.rollout.reading import Readers, fields, without_none
from router.rollout.table import (
    NAME,
    REQUIRED,
    UNSET,
    Field,
    Refused,
    Section,
    any_of,
    below,
    sample,
)
from router.rollout.values import Canary, Follow, Rollout, Target
from serving.document import Node

_ALIAS = re.compile(kinds.ALIAS.pattern)
_NAME = re.compile(kinds.NAME.pattern)
_MODEL = re.compile(kinds.MODEL.pattern)
_UNKNOWN = Target("", None)


def parse_follow(node: Node, share: Callable[[Node], dict[str, Any]]) -> Follow:
    """What is followed; `resolved` puts in what it leaves to the rest of the document.

    Args:
        node: the value.
        share: reads what a canary says beside its target.

    Raises:
        DocumentError: it does not say what, or how.
    """
    readers: Readers = {
        "alias": ("alias", _alias),
        "promote": ("promote", _alias),
        "model": ("model", _name),
        "canary": ("template", lambda each: Canary(_UNKNOWN, **share(each))),
        "version": ("version", kinds.VERSION.read),
        "began": ("began", _target),
    }
    return Follow(**fields(node, ["alias", "canary"], readers))


def resolved(rollout: Rollout) -> Rollout:
    """The rollout with the canary that its `follow` means; without one, as it is."""
    follow = rollout.follow
    if follow is None:
        return rollout
    model = follow.model or rollout.stable.name
    template = dataclasses.replace(follow.template, target=Target(f"{model}/{follow.version or 0}"))
    follow = dataclasses.replace(follow, model=model, template=template)
    return dataclasses.replace(rollout, follow=follow, canary=template if follow.version else None)


def refuse_a_vain_follow(rollout: Rollout, entries: Mapping[str, Node]) -> None:
    """Refuse what says two things, or cannot be followed.

    Args:
        rollout: the document's.
        entries: the keys of the document.

    Raises:
        DocumentError: at the key that is too much.
    """
    follow = rollout.follow
    if follow is None:
        return
    if "canary" in entries:
        entries["canary"].fail(
            "`follow` says who is canary: leave this out, and say its share or steps below `follow`, in"
            " `canary` there"
        )
    if rollout.candidates:
        entries["candidates"].fail("`follow` brings one canary at a time: leave out one of the two")
    if rollout.stable.url is not None:
        entries["stable"].fail(
            "a version takes the place of stable when it is promoted: with `follow` stable is a model of the"
            " repository, without a url"
        )
    if follow.promote == follow.alias:
        entries["follow"].entries()["promote"].fail(
            f"{follow.alias} is followed: a promotion that moves it says nothing; name another alias"
        )


def follow_to_document(follow: Follow, share: Mapping[str, Any]) -> dict[str, Any]:
    """As documents have it; `share` is what they say of the canary beside its target."""
    return without_none(
        alias=follow.alias,
        promote=follow.promote,
        model=follow.model,
        canary=dict(share),
        version=follow.version,
        began=follow.began,
    )


def _alias(node: Node) -> str:
    if not _ALIAS.fullmatch(node.string()):
        node.fail(
            "expected an alias as MLflow has them: letters, digits, dashes and underscores, and neither"
            f" latest nor v1, unlike {node.string()[:140]!r}"
        )
    return node.string()


def _name(node: Node) -> str:
    if not _NAME.fullmatch(node.string()):
        node.fail(f"expected the name of a registered model, got {node.string()[:140]!r}")
    return node.string()


def _target(node: Node) -> str:
    if not _MODEL.fullmatch(node.string()):
        node.fail(f"expected a model and its version such as digits/1, got {node.string()[:140]!r}")
    return node.string()


_SAMPLE = {"alias": "challenger", "canary": {"weight": 10}}
SECTION = Section(
    "follow",
    "follow",
    "The canary is the version at which an alias of MLflow stands, and a move of the alias is a rollout:"
    " [following a registry](../following.md). Beside it there is no `canary`.",
    (NAME, "follow"),
    sample(stable="digits/7", follow=_SAMPLE),
    [
        Field("alias", kinds.ALIAS, REQUIRED, "challenger", "latest", "which alias"),
        Field(
            "promote",
            kinds.ALIAS,
            UNSET,
            "champion",
            "v1",
            "the alias that a promotion moves to the version; left out, none",
        ),
        Field(
            "model",
            kinds.NAME,
            UNSET,
            "digits",
            "digits/2",
            "the registered model; left out, that of `stable`",
        ),
        Field("canary", below("template"), REQUIRED, {"weight": 5}, "digits/2", "how each version is tried"),
        Field(
            "version",
            kinds.VERSION,
            UNSET,
            2,
            0,
            "the version that is tried, or was last; control writes it, and an edit that leaves it out keeps"
            " it",
        ),
        Field(
            "began",
            kinds.MODEL,
            UNSET,
            "digits/1",
            "digits",
            "written by control: the `stable` that was edited last, where a promotion has put another there",
        ),
    ],
)
REFUSED = (
    Refused(
        "a canary is named or followed",
        sample(canary={"model": "digits/2", "weight": 5}, follow=_SAMPLE),
    ),
    Refused(
        "a test has no canary to follow",
        sample(
            candidates=[{"model": "digits/2", "weight": 20}, {"model": "digits/3", "weight": 20}],
            follow=_SAMPLE,
        ),
    ),
    Refused(
        "what is followed takes the place of stable",
        sample(stable={"model": "digits/1", "url": "http://triton:8000"}, follow=_SAMPLE),
    ),
    Refused(
        "a promotion moves another alias",
        sample(follow={**_SAMPLE, "promote": "challenger"}),
        beyond=True,
    ),
)
RULES = {
    "follow": {
        "not": any_of("canary", "candidates"),
        "properties": {"stable": {"not": {"type": "object", "required": ["url"]}}},
    }
}
"""Of a document that has the key."""
