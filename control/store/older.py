"""The way back: what an older release reads of the database, and what is left out for it. Pure.

Law: what decides about a rollout that is under way is the same for the older release, or nothing is taken
back. A guard, a step or a candidate that it would leave out would promote what nobody has proven.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.errors import Conflict

Json = Mapping[str, Any]

REST: Final = "*"
"""In `Older.document`: any other key; with a word behind it, one whose mapping has that word."""
_WHOLE: Final[Json] = {}
_URL_TARGET: Final = dict.fromkeys(("model", "url"), _WHOLE)
_MODE: Final = {"mode": _WHOLE}
_LIMITS: Final = dict.fromkeys(("max", "min"), _WHOLE) | _MODE
_LIVE: Final = ("idle", "progressing", "paused", "promoting", "aa", "comparing")
_ALWAYS: Final = ("stable", "compare")
_WHILE_LIVE: Final = (*_ALWAYS, "canary", "candidates", "follow", "guards", "sticky")


class CannotGoBack(Conflict):
    """An older release would decide otherwise; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Older:
    """A release before, by what it reads.

    Args:
        format: the last of the `migrations` that it knows.
        released: its name, for a person.
        document: the keys of a rollout document that it knows, each with those inside of it; a list is as its
            elements, and a key with none inside is known whole.
        progress: the fields of a rollout's progress; it reads no others.
        phases: those that it knows.
        causes: why a rollout may be paused.
    """

    format: str
    released: str
    document: Json
    progress: frozenset[str]
    phases: frozenset[str]
    causes: frozenset[str]


OF_26_NOVEMBER: Final = Older(
    format="4",
    released="0.1.0 of 26 November 2026 (519690d)",
    document={
        "stable": _URL_TARGET,
        "canary": _URL_TARGET
        | dict.fromkeys(("weight", "mirror", "progressDeadline"), _WHOLE)
        | {
            "steps": {
                "setWeight": _WHOLE,
                "pause": {"duration": _WHOLE},
                "prove": dict.fromkeys(("max", "onTimeout"), _WHOLE),
            }
        },
        "shadows": _URL_TARGET | {"sample": _WHOLE},
        "sticky": {"header": _WHOLE},
        "compare": {REST: dict.fromkeys(("atol", "cosine", "js", "rtol", "topk"), _WHOLE)},
        "guards": {
            "errors": _LIMITS | dict.fromkeys(("maxRatio", "per"), _WHOLE),
            "latency": _MODE | {"maxRatio": _WHOLE},
            "agreement": _LIMITS | dict.fromkeys(("output", "per"), _WHOLE),
            f"{REST}promql": _LIMITS
            | dict.fromkeys(("promql", "interval", "failureLimit", "inconclusiveLimit"), _WHOLE),
        },
        "examples": dict.fromkeys(("inputs", "keep", "redact"), _WHOLE),
    }
    | dict.fromkeys(("alpha", "timeout", "keepWarm"), _WHOLE),
    progress=frozenset(
        (
            *("phase", "stable", "candidate", "weight", "step", "waited_seconds", "cause", "reason", "stage"),
            *("evidence_stage", "resumes", "warm", "ticked_at", "unready_seconds"),
        )
    ),
    phases=frozenset(("idle", "progressing", "paused", "promoting", "promoted", "rolled_back")),
    causes=frozenset(("step", "person", "undecided", "mismatch", "foreign", "load", "unready")),
)
RELEASES: Final = {each.format: each for each in (OF_26_NOVEMBER,)}
"""Releases that the database can be taken back to, by format."""


def unknown(value: Any, known: Json, place: str = "") -> Iterator[str]:
    """The keys of a document that an older release does not know, as `canary.steps.approve`."""
    if isinstance(value, list):
        for each in value:
            yield from unknown(each, known, place)
    elif isinstance(value, Mapping) and known is not _WHOLE:
        for key, inside in value.items():
            here = f"{place}.{key}" if place else key
            if (words := _words(known, key, inside)) is None:
                yield here
            else:
                yield from unknown(inside, words, here)


def _words(known: Json, key: str, inside: Any) -> Json | None:
    """What is known inside of a key; None of a key that is not."""
    if key in known:
        return known[key]  # type: ignore[no-any-return]
    others = (rest for rest in known if rest.startswith(REST))
    return next((known[rest] for rest in others if rest == REST or rest.removeprefix(REST) in inside), None)


def refusals(model: str, document: Json, progress: Json, to: Older) -> tuple[str, ...]:
    """Why a rollout cannot be left to an older release, with the remedy; none where it can."""
    live = _is_live(progress)
    if live and (progress["phase"] not in to.phases or progress.get("arms")):
        return (f"{model}: a test is under way that it does not know; `understudy rollouts abort {model}`",)
    decides = _WHILE_LIVE if live else _ALWAYS
    found = {
        key: None
        for key in (*unknown(document, to.document), *_of_server(progress))
        if key.partition(".")[0] in decides
    }
    remedy = f"end the rollout (`understudy rollouts abort {model}`) or put" if live else "put"
    return tuple(f"{model}: it does not know `{key}`; {remedy} a document without it" for key in found)


def left_out(model: str, document: Json, progress: Json, to: Older) -> tuple[str, ...]:
    """What an older release will not do for a rollout, in words."""
    found = [f"{model}: `{key}` is left out" for key in dict.fromkeys(unknown(document, to.document))]
    if progress.get("draw") or progress.get("used"):
        found.append(f"{model}: users are drawn anew")
    return tuple(found)


def rewritten(progress: Json, to: Older) -> dict[str, Any]:
    """A progress as the older release reads it; of a test that has ended the stable that came of it."""
    kept = {name: value for name, value in progress.items() if name in to.progress}
    kept["warm"] = [each for each in progress["warm"] if each["target"].keys() <= _URL_TARGET.keys()]
    if progress["phase"] not in to.phases or progress.get("arms"):
        kept |= {"phase": "idle", "candidate": None, "weight": 0.0, "step": 0, "cause": None}
    elif kept["cause"] is not None and kept["cause"] not in to.causes:
        kept["cause"] = "person"
    return kept


def all_of(found: Iterable[str], to: Older) -> CannotGoBack:
    """One error for all refusals."""
    return CannotGoBack(f"{to.released} would decide otherwise, nothing was changed:\n" + "\n".join(found))


def _is_live(progress: Json) -> bool:
    tries = progress.get("candidate") is not None or bool(progress.get("arms"))
    return tries and progress["phase"] in _LIVE


def _of_server(progress: Json) -> Iterator[str]:
    """How stable's server is asked is no part of an older release's progress."""
    for key in progress["stable"].keys() - _URL_TARGET.keys():
        yield f"stable.{key}"
