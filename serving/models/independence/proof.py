"""Whether a model's rows are independent of each other, proven from its graph. Pure.

Theorem. Let every input of a model have the number of rows N as its first dimension, and let every output be
"rows at axis 0" in the abstract interpretation below (`serving.models.independence.values`). Then for any
inputs of N rows of which a run succeeds, and any i < j <= N, a run of the rows i to j of the inputs by
themselves succeeds, too, and its outputs equal the rows i to j of the outputs, in real arithmetic.

Proof, by induction over the nodes. The runs that are compared have inputs that agree in all but their first
dimension, so what is uniform is the same in all of them, and so is every symbolic length but N. Each rule
takes inputs as described by their abstract values to outputs as described by its result. What no rule vouches
for is spoilt, and so is what is made from it; a graph that has such an operator is not proven even if no
output is made from it, since the number of rows may decide whether it fails.

It speaks of runs of at least one row and of inputs without an empty dimension; `serving.models.batches` joins
no others. Floating point adds rounding: onnxruntime may choose another kernel, and so another order of
summation, for another number of rows. What is discontinuous (a class, a quantized step) can then fall on the
other side.
"""

from dataclasses import dataclass

import onnx

from serving.models.independence.dims import ROWS, Dim, N
from serving.models.independence.interpreter import Interpreter, TooLarge
from serving.models.independence.values import Spoilt, State, Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether rows may be run together.

    Attributes:
        independent: that no row can influence another one's result, for sure.
        reason: why that is not so, in words; empty if it is.
    """

    independent: bool
    reason: str = ""


def prove(graph: bytes) -> Verdict:
    """Look at a model's graph; never raises on account of it.

    Args:
        graph: a serialized ModelProto; external data is not needed.
    """
    try:
        model = onnx.ModelProto.FromString(graph)
        return _prove(model)
    except TooLarge:
        return Verdict(independent=False, reason="its graph has more steps than are followed")
    except MemoryError:
        return Verdict(independent=False, reason="there was no memory to look at its graph")
    except Exception as error:  # noqa: BLE001  (what cannot be read is not proven, and no reason to refuse it)
        return Verdict(independent=False, reason=f"its graph could not be followed ({type(error).__name__})")


def _prove(model: onnx.ModelProto) -> Verdict:
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    states: dict[str, State] = {}
    names = set()
    for value in inputs:
        kind = value.type.tensor_type
        if (
            value.type.WhichOneof("value") != "tensor_type"
            or not kind.HasField("shape")
            or not kind.shape.dim
        ):
            return Verdict(independent=False, reason=f"input {value.name!r} has no first dimension of rows")
        first, *others = kind.shape.dim
        if first.HasField("dim_value") and first.dim_value >= 0:
            return Verdict(independent=False, reason=f"the first dimension of input {value.name!r} is fixed")
        names.add(first.dim_param)
        lengths = [
            Dim(dim.dim_value)
            if dim.HasField("dim_value") and dim.dim_value > 0
            else Dim(1, (f"+{value.name}:{place}",))
            for place, dim in enumerate(others, 1)
        ]
        states[value.name] = Value((N, *lengths), 0)
    if not states:
        return Verdict(independent=False, reason="it has no inputs")
    if len(names) > 1:
        called = " and ".join(sorted(repr(name) for name in names))
        return Verdict(
            independent=False, reason=f"the first dimensions of its inputs have different names ({called})"
        )
    interpreter = Interpreter(model)
    results = interpreter.outputs(graph, states)
    for output, state in zip(graph.output, results, strict=True):
        reason = _spoils(output.name, state)
        if reason:
            return Verdict(independent=False, reason=reason)
    if interpreter.spoilt is not None:
        return Verdict(independent=False, reason=interpreter.spoilt.reason)
    return Verdict(independent=True)


def _spoils(name: str, state: State) -> str:
    if isinstance(state, Spoilt):
        return state.reason
    if state.axis is None or state.shape is None:
        return (
            f"output {name!r} is the same whatever the rows are"
            if state.uniform
            else f"output {name!r} counts rows"
        )
    if state.axis != 0 or state.shape[0] != Dim(1, (ROWS,)):
        return f"output {name!r} does not have one row for each row of the inputs"
    return ""
