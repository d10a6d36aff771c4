"""`profile.json`: the distribution of a model's inputs and outputs that drift is measured against. Pure.

Law: a profile is written and read without loss. Profiles over the same bins add to the one of all rows.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from router.drift.features import Column, Side
from router.drift.histograms import (
    MOST_TEXT,
    Categories,
    Histogram,
    Moments,
    Numbers,
    added,
    of_categories,
    of_numbers,
)
from router.drift.measures import Distance, distance
from serving.errors import InvalidInput, fault_in_words
from serving.wire.tensors import DATATYPES, Signature, TensorSpec

FORMAT = 1
MOST_FEATURES = 20_000
MOST_BYTES = 64 << 20

_COUNT = Annotated[int, Field(ge=0, le=2**53)]
_NUMBER = Annotated[float, Field(allow_inf_nan=False)]
_NO_TENSORS = Signature((), ())


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a reference.

    Attributes:
        side: of the model on which it is.
        histogram: of its values.
    """

    side: Side
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a reference.

    Attributes:
        model: `name/version` whose inputs and outputs they are.
        sha256: of that model's files; empty where it did not run, so that there are no outputs.
        source: where the rows are from, in words.
        features: by name.
        uncounted: tensors of which nothing was counted, as the length of their rows varies.
        signature: of the model, so that whoever has not loaded it can count.
        classes: names of the model's classes, in the order of probabilities; none where it names none.
    """

    model: str
    sha256: str
    source: str
    features: Mapping[str, Feature]
    uncounted: tuple[str, ...] = ()
    signature: Signature = _NO_TENSORS
    classes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """The most that were counted of a feature."""
        return max((feature.histogram.rows for feature in self.features.values()), default=0)

    @property
    def empty(self) -> "Profile":
        """The same features, of no rows: what is counted now begins with it."""
        features = {
            name: replace(each, histogram=each.histogram.empty) for name, each in self.features.items()
        }
        return replace(self, features=features)

    def counted(self, columns: Iterable[Column]) -> "Profile":
        """With these rows, too; features that it has not are left out.

        Raises:
            InvalidInput: a feature is of numbers here and of categories there.
        """
        features = dict(self.features)
        for column in columns:
            if (known := features.get(column.name)) is not None:
                features[column.name] = replace(known, histogram=_counted(known.histogram, column))
        return replace(self, features=features)

    def __add__(self, other: "Profile") -> "Profile":
        """Of both together.

        Raises:
            InvalidInput: they have not the same features over the same bins; says which.
        """
        if self.features.keys() != other.features.keys():
            odd = sorted(self.features.keys() ^ other.features.keys())
            raise InvalidInput(f"only one of the two profiles has the feature {odd[0]!r}")
        features = {}
        for name, one in self.features.items():
            try:
                features[name] = replace(one, histogram=added(one.histogram, other.features[name].histogram))
            except InvalidInput as error:
                raise InvalidInput(f"feature {name!r}: {error}") from None
        return replace(self, features=features)

    def distances(self, now: "Profile") -> dict[str, Distance]:
        """How far each feature is now from this reference, those that move most by PSI first.

        Args:
            now: counted over this profile's bins; features of which it has no rows are left out.
        """
        found = {
            name: distance(each.histogram, now.features[name].histogram)
            for name, each in self.features.items()
            if name in now.features and now.features[name].histogram.rows and each.histogram.rows
        }
        return dict(sorted(found.items(), key=lambda item: (item[1].noise - item[1].psi, item[0])))


def profile_of(
    model: str,
    sha256: str,
    source: str,
    columns: Iterable[Column],
    uncounted: tuple[str, ...] = (),
    signature: Signature = _NO_TENSORS,
    classes: tuple[str, ...] = (),
) -> Profile:
    """The profile of a reference, over bins of its own. Features without any value are uncounted, too."""
    features: dict[str, Feature] = {}
    without: list[str] = []
    for column in columns:
        histogram = _of_reference(column)
        if histogram is None:
            without.append(column.name)
        else:
            features[column.name] = Feature(column.side, histogram)
    return Profile(model, sha256, source, features, (*uncounted, *without), signature, classes)


def _of_reference(column: Column) -> Histogram | None:
    if isinstance(column.values, list):
        return of_categories(column.values)
    values: Any = column.values
    return of_numbers(values) if np.isfinite(values).any() else None


def _counted(histogram: Histogram, column: Column) -> Histogram:
    values: Any = column.values
    numbers = not isinstance(values, list)
    match histogram:
        case Numbers() if numbers:
            return histogram.counted(values)
        case Categories() if not numbers:
            return histogram.counted(values)
    kinds = ("numbers", "categories") if numbers else ("categories", "numbers")
    raise InvalidInput(f"feature {column.name!r}: {kinds[0]} now, and {kinds[1]} in the profile")


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Numbers(_Written):
    kind: Literal["number"]
    side: Side
    edges: list[_NUMBER] = Field(min_length=2, max_length=1000)
    counts: list[_COUNT]
    missing: _COUNT = 0
    finite: _COUNT
    mean: _NUMBER = 0.0
    squares: Annotated[float, Field(ge=0)] = 0.0
    least: _NUMBER | None = None
    greatest: _NUMBER | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> "_Numbers":
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("counts are one more than edges: below, each bin, above")
        steps = list(zip(self.edges, self.edges[1:], strict=False))
        if not (all(low < high for low, high in steps) or (len(steps) == 1 and steps[0][0] == steps[0][1])):
            raise ValueError("edges ascend; of a constant they are two that are equal")
        if (self.least is None or self.greatest is None) != (self.finite == 0):
            raise ValueError("least and greatest are there where finite is more than 0")
        return self

    def histogram(self) -> Numbers:
        return Numbers(
            tuple(self.edges),
            tuple(self.counts),
            self.missing,
            Moments(self.finite, self.mean, self.squares),
            math.inf if self.least is None else self.least,
            -math.inf if self.greatest is None else self.greatest,
        )


class _Categories(_Written):
    kind: Literal["category"]
    side: Side
    values: dict[Annotated[str, Field(min_length=1, max_length=MOST_TEXT)], _COUNT] = Field(max_length=1000)
    other: _COUNT = 0
    missing: _COUNT = 0

    def histogram(self) -> Categories:
        return Categories(self.values, self.other, self.missing)


class _Tensor(_Written):
    name: str = Field(max_length=1000)
    datatype: str
    shape: list[Annotated[int, Field(ge=-1)]] | None

    @field_validator("datatype")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in DATATYPES:
            raise ValueError(f"a datatype is one of {', '.join(DATATYPES)}")
        return value

    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.datatype, None if self.shape is None else tuple(self.shape))


class _File(_Written):
    format: Literal[1]
    model: str = Field(max_length=200)
    sha256: str = Field(pattern="^([0-9a-f]{64})?$")
    source: str = Field(max_length=5000)
    uncounted: list[str] = Field([], max_length=MOST_FEATURES)
    inputs: list[_Tensor] = Field([], max_length=MOST_FEATURES)
    outputs: list[_Tensor] = Field([], max_length=MOST_FEATURES)
    classes: list[str] = Field([], max_length=MOST_FEATURES)
    features: dict[str, Annotated[_Numbers | _Categories, Field(discriminator="kind")]] = Field(
        max_length=MOST_FEATURES
    )


def to_json(profile: Profile) -> bytes:
    """A profile as its file has it: a line for each feature, so that a difference is read as one."""
    head = {
        "format": FORMAT,
        "model": profile.model,
        "sha256": profile.sha256,
        "source": profile.source,
        "uncounted": list(profile.uncounted),
        "inputs": [_tensor(spec) for spec in profile.signature.inputs],
        "outputs": [_tensor(spec) for spec in profile.signature.outputs],
        "classes": list(profile.classes),
    }
    lines = [b"  " + _pair(name, value) for name, value in head.items()]
    features = [b"    " + _pair(name, _written(each)) for name, each in profile.features.items()]
    lines.append(b'  "features": {\n' + b",\n".join(features) + b"\n  }")
    return b"{\n" + b",\n".join(lines) + b"\n}\n"


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _pair(name: str, value: object) -> bytes:
    return orjson.dumps(name) + b": " + orjson.dumps(value)


def _written(feature: Feature) -> dict[str, Any]:
    histogram = feature.histogram
    if isinstance(histogram, Categories):
        counts = {"values": dict(histogram.counts), "other": histogram.other, "missing": histogram.missing}
        return {"kind": "category", "side": feature.side, **counts}
    moments, met = histogram.moments, histogram.moments.number > 0
    return {
        "kind": "number",
        "side": feature.side,
        "edges": list(histogram.edges),
        "counts": list(histogram.counts),
        "missing": histogram.missing,
        "finite": moments.number,
        "mean": moments.mean,
        "squares": moments.squares,
        "least": histogram.least if met else None,
        "greatest": histogram.greatest if met else None,
    }


def from_json(text: bytes, file: str) -> Profile:
    """Read a profile.

    Args:
        text: of the file.
        file: the name that errors show.

    Raises:
        InvalidInput: it is none; says where and why.
    """
    if len(text) > MOST_BYTES:
        raise InvalidInput(f"{file}: more than {MOST_BYTES >> 20} MiB; profile fewer features")
    try:
        written = _File.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        if place[:1] == ("features",):
            place = (*place[:2], *place[3:])  # without the kind
        fault = fault_in_words({"loc": place, "msg": first["msg"]})
        raise InvalidInput(f"{file}: {fault}; write it anew with `understudy profile`") from None
    features = {name: Feature(each.side, each.histogram()) for name, each in written.features.items()}
    signature = Signature(
        tuple(each.spec() for each in written.inputs), tuple(each.spec() for each in written.outputs)
    )
    return Profile(
        written.model,
        written.sha256,
        written.source,
        features,
        tuple(written.uncounted),
        signature,
        tuple(written.classes),
    )


def read_profile(path: Path) -> Profile:
    """Read a profile from its file.

    Raises:
        InvalidInput: it is none, or not there.
    """
    try:
        with path.open("rb") as file:
            return from_json(file.read(MOST_BYTES + 1), str(path))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror or error}; `understudy profile` writes it") from None
