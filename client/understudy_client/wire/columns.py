"""Named columns -> the inputs of a model, by its metadata.

Law: every column is used and every input that is needed is there, or nothing is sent.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from understudy_client.errors import InvalidData
from understudy_client.wire.fitting import converted, fit, shaped
from understudy_client.wire.metadata import ModelMetadata, TensorSpec
from understudy_client.wire.tensors import Array, Tensor


def tensors_of(inputs: Any, model: ModelMetadata) -> list[Tensor]:
    """The inputs of a request.

    Args:
        inputs: values by name, as a mapping or a pandas DataFrame; of a model with one input that has to be
            given, also its value alone, or a column for each of its elements, in the order of the model's.
        model: what it takes.

    Raises:
        InvalidData: they do not fit; names the column or input.
    """
    named = _named(inputs)
    if named is None:
        spec = _single(model)
        if spec is None:
            raise InvalidData(f"the model takes several inputs; give them by name: {_listed(model)}")
        return [fit(inputs, spec, f"input {spec.name!r}")]
    word = "input" if isinstance(inputs, Mapping) else "column"
    known = {spec.name: spec for spec in model.inputs}
    if named and not named.keys() & known.keys() and (spec := _single(model)) is not None:
        return [_side_by_side(named, spec, word)]
    if unknown := [name for name in named if name not in known]:
        names = ", ".join(map(repr, unknown))
        raise InvalidData(f"the model has no input {names}; leave it out. It takes: {_listed(model)}")
    lacking = [spec for spec in model.inputs if not spec.optional and spec.name not in named]
    if lacking:
        raise InvalidData("needed and not given: " + ", ".join(map(str, lacking)))
    return [fit(value, known[name], f"{word} {name!r}") for name, value in named.items()]


def _named(inputs: Any) -> Mapping[str, Any] | None:
    """The values by name; None where they have none."""
    if isinstance(inputs, Mapping):
        for name in inputs:
            if not isinstance(name, str):
                raise InvalidData(f"inputs are called by text, {name!r} is a {type(name).__name__}")
        return inputs
    pandas = sys.modules.get("pandas")  # who has a DataFrame has imported it
    if pandas is None or not isinstance(inputs, pandas.DataFrame):
        return None
    names = list(inputs.columns)
    for at, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidData(f"columns are called by text, {name!r} is a {type(name).__name__}; rename it")
        if name in names[:at]:
            raise InvalidData(f"column {name!r}: there are two of this name; rename one")
    return {name: _values(inputs[name]) for name in names}


def _values(series: Any) -> Array:
    """Of a column; what is missing in a column of objects is None."""
    if isinstance(series.dtype, np.dtype) and not series.dtype.hasobject:
        return np.asarray(series)
    return np.asarray(series.to_numpy(dtype=object, na_value=None))


def _single(model: ModelMetadata) -> TensorSpec | None:
    """The one input that has to be given."""
    needed = [spec for spec in model.inputs if not spec.optional]
    return needed[0] if len(needed) == 1 else None


def _side_by_side(named: Mapping[str, Any], spec: TensorSpec, word: str) -> Tensor:
    """Columns that are the elements of each row of one input."""
    if spec.shape is None or len(spec.shape) != 2:
        names = ", ".join(map(repr, named))
        raise InvalidData(f"the model has no input {names}; it takes: {spec}")
    if spec.shape[1] not in (-1, len(named)):
        raise InvalidData(f"{len(named)} {word}s, the model takes {spec.shape[1]} in each row of {spec}")
    columns = [converted(value, spec.datatype, f"{word} {name!r}") for name, value in named.items()]
    rows = next(iter(columns)).size
    for name, column in zip(named, columns, strict=True):
        if column.ndim != 1 or len(column) != rows:
            text = f"{word} {name!r}: the shape is {list(column.shape)}, as a column of {spec} it is [{rows}]"
            raise InvalidData(text)
    array = np.stack(columns, axis=1)
    return Tensor(spec.name, spec.datatype, shaped(array, spec, f"input {spec.name!r}"))


def _listed(model: ModelMetadata) -> str:
    return ", ".join(map(str, model.inputs)) or "none"
