"""The baseline of SageMaker's Model Monitor (`statistics.json`) as a profile of a model's inputs.

Columns are features of the model by their name; else, where there are as many as the model has features, in
their order. Bins are the buckets of the baseline, which are of equal width.
Source: the schema of statistics in the documentation of Amazon SageMaker Model Monitor (version 0).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.drift.features import names
from router.drift.histograms import MOST_TEXT, Categories, Histogram, Moments, Numbers
from router.drift.profile import MOST_BYTES, Feature, Profile
from serving.errors import InvalidInput, fault_in_words
from serving.wire.tensors import Signature

STATISTICS = ".json"

_COUNT = Annotated[float, Field(ge=0, le=2**53)]
_NUMBER = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Common(_Part):
    num_present: _COUNT
    num_missing: _COUNT


class _Bucket(_Part):
    lower_bound: _NUMBER
    upper_bound: _NUMBER
    count: _COUNT


class _Sketch(_Part):
    buckets: list[_Bucket] = Field(min_length=1, max_length=1000)


class _Spread(_Part):
    kll: _Sketch


class _OfNumbers(_Part):
    common: _Common
    mean: _NUMBER
    std_dev: Annotated[float, Field(ge=0)]
    min: _NUMBER
    max: _NUMBER
    distribution: _Spread


class _Value(_Part):
    value: str
    count: _COUNT


class _Values(_Part):
    buckets: list[_Value] = Field(max_length=1000)


class _Kinds(_Part):
    categorical: _Values


class _OfText(_Part):
    common: _Common
    distribution: _Kinds


class _Feature(_Part):
    name: str
    inferred_type: Literal["Fractional", "Integral", "String", "Unknown"]
    numerical_statistics: _OfNumbers | None = None
    string_statistics: _OfText | None = None


class _Statistics(_Part):
    version: float
    features: list[_Feature] = Field(min_length=1, max_length=20_000)


def baseline(path: Path, key: str, signature: Signature) -> Profile:
    """Read a baseline.

    Args:
        path: of `statistics.json`.
        key: `name/version` of the model whose inputs it is of.
        signature: of that model.

    Raises:
        InvalidInput: it is no such file, or its columns are not the model's features.
    """
    found = _read(path).features
    wanted = names(signature.inputs)
    called = _called([each.name for each in found], wanted, path)
    features = {
        name: Feature("input", histogram)
        for name, each in zip(called, found, strict=True)
        if name and (histogram := _histogram(each, path)) is not None
    }
    left = tuple(name for name in wanted if name not in features)
    return Profile(key, "", f"SageMaker's baseline {path}", features, left, signature)


def _read(path: Path) -> _Statistics:
    try:
        with path.open("rb") as file:
            return _Statistics.model_validate_json(file.read(MOST_BYTES))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        fault = fault_in_words(error.errors()[0])
        raise InvalidInput(f"{path}: {fault}; a .json is read as SageMaker's statistics") from None


def _called(given: Sequence[str], wanted: Sequence[str], path: Path) -> list[str]:
    """What the model calls each column; empty where it has none."""
    if set(given) & set(wanted):
        return [name if name in wanted else "" for name in given]
    if len(given) == len(wanted):
        return list(wanted)
    raise InvalidInput(
        f"{path}: {len(given)} columns, and none is called as one of the {len(wanted)} features of the model:"
        f" {', '.join(wanted[:8])}"
    )


def _histogram(feature: _Feature, path: Path) -> Histogram | None:
    if (numbers := feature.numerical_statistics) is not None:
        edges = [bucket.lower_bound for bucket in numbers.distribution.kll.buckets]
        edges.append(numbers.distribution.kll.buckets[-1].upper_bound)
        if len(set(edges)) > 1 and any(low >= high for low, high in pairwise(edges)):
            raise InvalidInput(f"{path}: feature {feature.name!r}: its buckets do not ascend")
        return _of_numbers(numbers, edges)
    if (text := feature.string_statistics) is not None:
        return _of_text(text)
    return None


def _of_numbers(numbers: _OfNumbers, edges: list[float]) -> Numbers:
    counts = [round(bucket.count) for bucket in numbers.distribution.kll.buckets]
    if len(set(edges)) == 1:
        edges, counts = [edges[0], edges[0]], [sum(counts)]
    present = round(numbers.common.num_present)
    moments = Moments(present, numbers.mean, numbers.std_dev**2 * present) if present else Moments()
    return Numbers(
        tuple(edges),
        (0, *counts, 0),
        round(numbers.common.num_missing),
        moments,
        numbers.min if present else math.inf,
        numbers.max if present else -math.inf,
    )


def _of_text(text: _OfText) -> Categories:
    counts = {each.value[:MOST_TEXT]: round(each.count) for each in text.distribution.categorical.buckets}
    counts.pop("", None)
    other = max(round(text.common.num_present) - sum(counts.values()), 0)
    return Categories(counts, other, round(text.common.num_missing))
