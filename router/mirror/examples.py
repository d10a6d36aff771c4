"""Examples of comparisons, to be looked at and replayed: what is taken of one, and which ones are kept.

Law: an example is bounded before anything keeps it. It holds the first `MAX_VALUES` values of an output on
either side and, only where the document says `inputs: true`, the request, whole or cut and marked so. What
the document redacts is not in it at all. Everything that holds examples is bounded in number and bytes, and
nothing here writes to a disk: values are user data. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from router.rollout.compare import Comparison, Kind
from router.rollout.values import Examples
from serving.wire.bf16 import BF16, widened
from serving.wire.tensors import Array, datatype_of

MAX_VALUES = 256
"""Of one tensor in an example; of an input, where the request as a whole has more than the next bound."""
MAX_REQUEST_VALUES = 2048
MAX_TEXT = 200
"""Characters of one element of text."""
MAX_EXAMPLE_BYTES = 64 << 10

Verdict = Literal["same", "different"]
_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


@dataclass(frozen=True, slots=True)
class Example:
    """One output of one mirrored request: what was answered, and what the candidate answered.

    Attributes:
        id: unique over all sandboxes.
        at: seconds since 1970.
        model: the public name.
        stage: the stage of the rollout that the comparison counted in.
        target: key of the candidate.
        output: name of the output.
        kind: `same`, or what differs, as in `router.rollout.compare`.
        distance: by the output's rule.
        datatype: of the reference, in the protocol's words; empty when it has no such output.
        shape: of the reference.
        reference: its first values in row-major order; NaN and infinities as text.
        candidate_datatype: as `datatype`, of the candidate.
        candidate_shape: as `shape`.
        candidate: as `reference`.
        cut: whether a side has more values than are shown.
        redacted: whether the document keeps the values back.
        request: the inputs in the protocol's JSON; None where they are not to be kept. An input with
            parameters `redacted` or `cut_from` (its number of values) cannot be sent again.
        receipt: of the reference's answer, by which the prediction log has it; empty where it carried none.
    """

    id: str
    at: float
    model: str
    stage: int
    target: str
    output: str
    kind: Kind
    distance: float
    datatype: str
    shape: tuple[int, ...]
    reference: tuple[Any, ...]
    candidate_datatype: str
    candidate_shape: tuple[int, ...]
    candidate: tuple[Any, ...]
    cut: bool = False
    redacted: bool = False
    request: Mapping[str, Any] | None = None
    receipt: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the sides agree."""
        return "same" if self.kind == "same" else "different"


def encoded(example: Example) -> bytes:
    """As JSON, with the names of the attributes."""
    return orjson.dumps(example)


def redacted(example: Example, rules: Examples) -> Example:
    """The example without what the document does not let be kept; the same one when it holds nothing such."""
    request = example.request if rules.inputs else None
    if request is not None:
        inputs = [
            _redacted_input(entry) if entry["name"] in rules.redact else entry for entry in request["inputs"]
        ]
        request = {**request, "inputs": inputs}
    if example.output in rules.redact:
        return replace(example, reference=(), candidate=(), redacted=True, request=request)
    return example if request == example.request else replace(example, request=request)


def _redacted_input(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "data": [], "parameters": {"redacted": True}}


def example_of(
    id_: str,
    place: tuple[str, str, int],
    comparison: Comparison,
    sides: tuple[Array | None, Array | None],
    request: Mapping[str, Array] | None,
    at: float,
    receipt: str = "",
) -> Example:
    """The example of one comparison, cut to its bounds; `redacted` is for the caller.

    Args:
        id_: unique over all sandboxes.
        place: public model name, key of the candidate, stage.
        comparison: of one output.
        sides: reference and candidate; None where an output is missing.
        request: the inputs by name; None leaves them out.
        at: seconds since 1970.
        receipt: as of `Example`.
    """
    model, target, stage = place
    reference, candidate = sides
    return Example(
        id=id_,
        at=at,
        model=model,
        stage=stage,
        target=target,
        output=comparison.output,
        kind=comparison.kind,
        distance=comparison.distance,
        datatype=_datatype(reference),
        shape=() if reference is None else reference.shape,
        reference=json_values(reference, MAX_VALUES),
        candidate_datatype=_datatype(candidate),
        candidate_shape=() if candidate is None else candidate.shape,
        candidate=json_values(candidate, MAX_VALUES),
        cut=any(side is not None and side.size > MAX_VALUES for side in sides),
        request=None if request is None else _request(request),
        receipt=receipt,
    )


def _datatype(array: Array | None) -> str:
    return "" if array is None else datatype_of(array)


def json_values(array: Array | None, limit: int | None = None) -> tuple[Any, ...]:
    """The first values, as JSON has them: floats as short as their own precision allows."""
    if array is None:
        return ()
    flat = array.ravel()[:limit]
    if flat.dtype == BF16:
        flat = widened(flat)
    if flat.dtype.kind == "f":
        return tuple(float(text) if text not in _NOT_FINITE else _NOT_FINITE[text] for text in map(str, flat))
    if flat.dtype.hasobject:
        return tuple(_text(value) for value in flat)
    return tuple(flat.tolist())


def _text(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode(errors="replace")
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _request(inputs: Mapping[str, Array]) -> dict[str, Any]:
    """The inputs as a request of the protocol in JSON, marked where it cannot be sent again."""
    fits = sum(array.size for array in inputs.values()) <= MAX_REQUEST_VALUES
    limit = MAX_REQUEST_VALUES if fits else MAX_VALUES
    return {"inputs": [_input(name, array, limit) for name, array in inputs.items()]}


def _input(name: str, array: Array, limit: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype_of(array),
        "data": list(json_values(array, limit)),
    }
    long = array.dtype.hasobject and any(len(value) > MAX_TEXT for value in array.ravel()[:limit])
    if array.size > limit or long:
        entry["parameters"] = {"cut_from": array.size}
    return entry


def obstacle(request: Mapping[str, Any] | None) -> str:
    """Why the request of an example cannot be sent again; empty when it can."""
    if request is None:
        return "its inputs were not kept (examples: {inputs: true} in the rollout's document keeps them)"
    for entry in request["inputs"]:
        parameters = entry.get("parameters", {})
        for mark, text in _OBSTACLES.items():
            if mark in parameters:
                return f"its input {entry['name']!r} {text}"
    return ""


_OBSTACLES = {
    "redacted": "was redacted",
    "cut_from": "was too long to be kept whole",
}
