"""What nodes have seen, held against the profiles that lie beside the models; blocks where it reads."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from control.drift.window import Place, Sum, Window
from router.drift.beside import profile_beside
from router.drift.measures import Distance
from router.drift.profile import Feature, Profile
from router.drift.references import Reference, References
from router.drift.tally import over_bins_of
from serving.errors import InvalidInput
from serving.models.files.source import Source

LOOK_SECONDS: Final = 10.0
"""For which a profile counts as the one that lies beside its model."""
NO_PROFILE: Final = "its profile.json is not where control finds the model"
OTHER_PROFILE: Final = "nodes count in the bins of another profile.json than the one that control finds"


@dataclass(frozen=True, slots=True)
class Held:
    """A target, held against its profile.

    Attributes:
        model: the rollout's public name.
        target: its key.
        seen: what was counted.
        source: where the rows of the profile are from, in words; empty where there is none.
        rows: of the profile.
        sides: of its features, `input` or `output`, by name.
        distances: how far features are from it, those that moved most first.
        problem: why some of it, or all, is not known; empty where it is.
    """

    model: str
    target: str
    seen: Sum
    source: str
    rows: int
    sides: Mapping[str, str]
    distances: Mapping[str, Distance]
    problem: str


class Drift:
    """Drift of all targets that nodes tell of.

    Args:
        source: of the models.
    """

    def __init__(self, source: Source) -> None:
        self.window = Window()
        self._source = source
        self._references = References()
        self._known: dict[str, tuple[float, Reference | None, str]] = {}

    def of(self, model: str | None = None) -> list[Held]:
        """The targets of a rollout, or of all; blocks."""
        return [self._held(place, time.time()) for place in self.window.targets(model)]

    def has_profile(self, target: str) -> bool:
        """Whether a profile lies beside a target; blocks."""
        return self._reference(target)[0] is not None

    def _held(self, place: Place, now: float) -> Held:
        model, target = place
        reference, problem = self._reference(target)
        if reference is None:
            return Held(model, target, Sum(), "", 0, {}, {}, problem or NO_PROFILE)
        profile, seen, distances = reference.profile, Sum(), {}
        problem = self.window.problem(place, reference.digest)
        if reference.digest not in self.window.digests(place):
            problem = OTHER_PROFILE
        try:
            seen = self.window.sum(place, reference.digest, now)
            distances = profile.distances(_counted(profile, seen))
        except InvalidInput as error:
            problem = f"what nodes counted does not fit the profile: {error}"
        sides = {name: feature.side for name, feature in profile.features.items()}
        return Held(model, target, seen, profile.source, profile.rows, sides, distances, problem)

    def _reference(self, target: str) -> tuple[Reference | None, str]:
        """The profile of a target, and why there is none."""
        at, reference, problem = self._known.get(target, (-math.inf, None, ""))
        now = time.monotonic()
        if now - at > LOOK_SECONDS:
            reference, problem = self._read(target)
            self._known[target] = now, reference, problem
        return reference, problem

    def _read(self, target: str) -> tuple[Reference | None, str]:
        path = profile_beside(self._source, target)
        try:
            return (None if path is None else self._references.read(path)), ""
        except InvalidInput as error:
            return None, str(error)


def _counted(profile: Profile, seen: Sum) -> Profile:
    """What was seen, over the bins of a profile.

    Raises:
        InvalidInput: it was counted over others.
    """
    features: dict[str, Feature] = {}
    for name, tally in seen.tallies.items():
        if (known := profile.features.get(name)) is not None:
            features[name] = replace(known, histogram=over_bins_of(known.histogram, tally))
    return replace(profile, features=features)
