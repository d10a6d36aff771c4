"""Drift as metrics: the features of each target that moved most, as they are when Prometheus asks."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from control.drift.held import Drift, Held
from router.drift.measures import Distance
from serving.telemetry.cells import Family, Series, exposed

MOST_FEATURES: Final = 20
"""Of a target."""
MOST_TARGETS: Final = 100
"""Of all rollouts."""

_LABELS = ("model", "target", "feature")
INPUT_PSI = Family(
    "understudy_input_psi",
    "gauge",
    "Population stability index of an input's feature in the last hour, of the 20 that moved most.",
    _LABELS,
    merge="max",
)
OUTPUT_PSI = Family(
    "understudy_output_psi",
    "gauge",
    "Population stability index of an answer's feature in the last hour, of the 20 that moved most.",
    _LABELS,
    merge="max",
)
PSI_NOISE = Family(
    "understudy_drift_psi_noise",
    "gauge",
    "What the index of a feature is on average for so few rows if nothing changed.",
    _LABELS,
    merge="max",
)
MISSING = Family(
    "understudy_drift_missing_ratio",
    "gauge",
    "Share of a feature's values that are missing, in the last hour.",
    _LABELS,
    merge="max",
)
OUTSIDE = Family(
    "understudy_drift_outside_ratio",
    "gauge",
    "Share of a feature's values beyond all of the profile or none of its categories, in the last hour.",
    _LABELS,
    merge="max",
)
ANSWERS = Family(
    "understudy_drift_answers",
    "gauge",
    "Answers of the last hour that are counted for drift.",
    ("model", "target"),
    merge="max",
)
_FAMILIES = (INPUT_PSI, OUTPUT_PSI, PSI_NOISE, MISSING, OUTSIDE, ANSWERS)


class DriftCollector(Collector):
    """What prometheus_client exposes of drift; nothing where none is watched."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift

    def collect(self) -> Iterable[Metric]:
        """Hold all targets against their profiles."""
        series: dict[Family, Series] = {family: {} for family in _FAMILIES}
        for held in islice(self._drift.of(), MOST_TARGETS):
            place = held.model, held.target
            series[ANSWERS][place] = [float(held.seen.answers - held.seen.left_out)]
            for family, feature, value in _values(held):
                series[family][*place, feature] = [value]
        return [exposed(family, found) for family, found in series.items() if found]


def _values(held: Held) -> Iterator[tuple[Family, str, float]]:
    for name, found in islice(held.distances.items(), MOST_FEATURES):
        yield INPUT_PSI if held.sides[name] == "input" else OUTPUT_PSI, name, found.psi
        yield from ((family, name, value) for family, value in _beside(found))


def _beside(found: Distance) -> tuple[tuple[Family, float], ...]:
    return (PSI_NOISE, found.noise), (MISSING, found.missing), (OUTSIDE, found.outside)
