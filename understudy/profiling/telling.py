"""A profile, and how far rows are from it, as people read them. Pure."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from router.drift.histograms import Categories, Histogram
from router.drift.measures import Distance
from router.drift.profile import Profile

HEADINGS = ["feature", "PSI", "without change", "JS", "moved by", "missing", "outside", ""]
MANY = 20


def rows_of(distances: Mapping[str, Distance], most: int = MANY) -> list[list[str]]:
    """A line for each of the features that moved most."""
    return [[name, *_row(each)] for name, each in list(distances.items())[:most]]


def _row(found: Distance) -> list[str]:
    moved = "" if found.wasserstein is None else f"{found.wasserstein:.2f} sd"
    return [
        f"{found.psi:.3f}",
        f"{found.noise:.3f}",
        f"{found.js:.3f}",
        moved,
        _share(found.missing, found.missing_before),
        _share(found.outside, found.outside_before),
        "always the same" if found.constant else "",
    ]


def _share(now: float, before: float) -> str:
    return f"{now:.1%}" if not before else f"{now:.1%} ({before:.1%})"


def seen_in_words(target: Mapping[str, Any]) -> list[str]:
    """What was seen of a target, in sentences.

    Args:
        target: of the drift of a rollout, as control shows it.
    """
    if not target["answers"]:
        return [f"{target['target']}: {target['problem'] or 'no answer was counted in the last hour'}"]
    counted = target["answers"] - target["left_out"]
    since = datetime.fromtimestamp(target["since"], UTC).astimezone().strftime("%H:%M")
    words = f"{target['target']} against {target['profile']}: {counted:,} answers since {since}"
    if (of := round(target["of"])) > counted:
        words += f", of about {of:,} ({counted / of:.0%})"
    return [words, *([target["problem"]] if target["problem"] else [])]


def distances_of(target: Mapping[str, Any]) -> dict[str, Distance]:
    """How far its features are from the profile; a target as of `seen_in_words`."""
    known = [each.name for each in fields(Distance)]
    return {each["name"]: Distance(*(each[name] for name in known)) for each in target["features"]}


def words_of(profile: Profile) -> list[str]:
    """What a profile is of, in sentences."""
    sides = [feature.side for feature in profile.features.values()]
    inputs, outputs = sides.count("input"), sides.count("output")
    words = [f"{profile.model}: {inputs} features of inputs, {outputs} of answers, from {profile.source}"]
    if profile.uncounted:
        few = ", ".join(profile.uncounted[:8])
        words.append(f"not counted, as no number is in them or their rows vary in length: {few}")
    words += [f"{name}: {word}" for name, each in profile.features.items() if (word := _odd(each.histogram))]
    return words[: MANY + 2]


def _odd(histogram: Histogram) -> str:
    """What a person should look at in a reference; or nothing."""
    if histogram.missing:
        return f"{histogram.missing / histogram.rows:.1%} are missing"
    if isinstance(histogram, Categories):
        return f"{histogram.other} rows have values too rare to be told apart" if histogram.other else ""
    return "always the same" if histogram.edges[0] == histogram.edges[-1] else ""
