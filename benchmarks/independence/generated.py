"""Graphs made at random from all operators that the proof follows, and some that it must not.

A graph grows node by node: each is tried on onnxruntime by itself with the values at hand, and one that it
refuses is left out. Lengths are small and often equal to the number of rows, so that whatever confuses the
two is found.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.independence.trial import ROWS, Array, session

OPSETS = (9, 11, 12, 13, 17, 18, 20)
ML = "ai.onnx.ml"
MOST_NODES = 6

Node = tuple[str, list[str], dict[str, Any], str]


class Growing:
    """A graph that grows.

    Args:
        seed: of everything that is drawn.

    Attributes:
        values: name -> what it is for the rows at hand.
        feeds: the inputs' rows.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice(OPSETS))
        self.values: dict[str, Array] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.feeds: dict[str, Array] = {}
        self.given: list[onnx.ValueInfoProto] = []
        for place in range(int(self.rng.integers(1, 3))):
            self._input(f"x{place}")
        for _ in range(int(self.rng.integers(1, MOST_NODES + 1))):
            for _ in range(6):
                if self._grow():
                    break

    def _input(self, name: str) -> None:
        lengths = self.lengths(int(self.rng.integers(0, 4)))
        whole = self.rng.random() < 0.25
        if whole:
            array: Array = self.rng.integers(0, 3, (ROWS, *lengths))
        else:
            scales = np.power(10.0, self.rng.uniform(-2, 3, ROWS)).reshape(-1, *[1] * len(lengths))
            array = (self.rng.normal(size=(ROWS, *lengths)) * scales).astype("f4")
        self.values[name] = self.feeds[name] = array
        shape = ["rows", *(f"{name}_{i}" if self.rng.random() < 0.4 else n for i, n in enumerate(lengths))]
        element = TensorProto.INT64 if whole else TensorProto.FLOAT
        self.given.append(helper.make_tensor_value_info(name, element, shape))

    # ------------------------------------------------------------------ what is drawn

    def lengths(self, rank: int) -> list[int]:
        """Lengths of that many axes."""
        return [int(self.rng.choice([1, 2, 3, 4, ROWS])) for _ in range(rank)]

    def some(self, kinds: str = "f", least: int = 0, most: int = 5) -> str:
        """A value of one of these kinds and of so many axes; the newest ones first."""
        fitting = [n for n, v in self.values.items() if v.dtype.kind in kinds and least <= v.ndim <= most]
        if not fitting:
            raise LookupError
        return fitting[-1 - int(min(self.rng.geometric(0.5) - 1, len(fitting) - 1))]

    def constant(self, array: Any, dtype: Any = None) -> str:
        """A name for a constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def axis(self, name: str, more: int = 0) -> int:
        """An axis, often another one than the first, sometimes counted from the back."""
        rank = self.values[name].ndim + more
        if not rank:
            return 0
        axis = int(self.rng.integers(0, rank))
        return axis - rank if self.rng.random() < 0.5 else axis

    def axes(self, name: str) -> list[int]:
        """Several."""
        rank = self.values[name].ndim
        count = int(self.rng.integers(1, max(rank, 1) + 1))
        return [int(i) for i in self.rng.permutation(max(rank, 1))[:count]]

    def partner(self, name: str) -> str:
        """Something to broadcast against: another value, or a constant of part of its shape."""
        if self.rng.random() < 0.4:
            return self.some()
        shape = list(self.values[name].shape)[int(self.rng.integers(0, self.values[name].ndim + 1)) :]
        shape = [1 if self.rng.random() < 0.5 else length for length in shape]
        if self.rng.random() < 0.1:
            shape = [*self.lengths(1), *shape]
        return self.constant(self.rng.normal(size=shape), "f4")

    # ------------------------------------------------------------------ growing

    def _grow(self) -> bool:
        make = _MAKERS[int(self.rng.integers(0, len(_MAKERS)))]
        known = set(self.constants)
        try:
            kind, inputs, attributes, domain = make(self)
            outputs = [f"v{len(self.nodes)}_{i}" for i in range(attributes.pop("outputs", 1))]
            node = helper.make_node(kind, inputs, outputs, f"n{len(self.nodes)}", domain=domain, **attributes)
            results = self._alone(node)
        except Exception:  # noqa: BLE001  (what onnxruntime refuses is left out)
            for name in set(self.constants) - known:
                del self.constants[name]
            return False
        self.nodes.append(node)
        self.values |= dict(zip(outputs, results, strict=True))
        return True

    def _alone(self, node: onnx.NodeProto) -> list[Array]:
        feeds = {name: self.values[name] for name in node.input if name in self.values}
        inputs = [helper.make_tensor_value_info(n, _element(a), a.shape) for n, a in feeds.items()]
        constants = {n: self.constants[n] for n in node.input if n in self.constants}
        model = self._model([node], inputs, node.output, constants)
        results: list[Array] = session(model).run(None, feeds)
        if any(not isinstance(r, np.ndarray) or r.size > 20_000 or not r.size for r in results):
            raise ValueError
        return results

    def _model(self, nodes: Any, inputs: Any, outputs: Any, constants: dict[str, Array]) -> bytes:
        results = [onnx.ValueInfoProto(name=name) for name in outputs]
        tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
        graph = helper.make_graph(nodes, "generated", inputs, results, tensors)
        opsets = [
            helper.make_opsetid("", self.opset),
            helper.make_opsetid(ML, 3),
            helper.make_opsetid("com.microsoft", 1),
        ]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    def model(self) -> bytes:
        """All of it; outputs are the newest values that have a row for each row, or the newest of all."""
        made = [output for node in self.nodes for output in node.output]
        rows = [name for name in made if self.values[name].shape[:1] == (ROWS,)]
        chosen = (rows or made)[-int(self.rng.integers(1, 3)) :]
        nodes = self.nodes if self.rng.random() < 0.1 else self._used(chosen)
        return self._model(nodes, self.given, chosen, self.constants)

    def _used(self, outputs: list[str]) -> list[onnx.NodeProto]:
        """The nodes that the outputs are made from."""
        wanted, used = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                used.append(node)
                inner = [a.g.node for a in node.attribute if a.HasField("g")]
                wanted |= {*node.input, *(name for body in inner for each in body for name in each.input)}
        return used[::-1]


def _element(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


# ------------------------------------------------------------------ operators

_MAKERS: list[Callable[[Growing], Node]] = []


def _maker(make: Callable[[Growing], Node]) -> Callable[[Growing], Node]:
    _MAKERS.append(make)
    return make


@_maker
def _unary(g: Growing) -> Node:
    kinds = "Relu Sigmoid Tanh Neg Abs Exp Sqrt Erf Floor Round Softplus Identity Sign LeakyRelu Elu"
    return str(g.rng.choice(kinds.split())), [g.some()], {}, ""


@_maker
def _binary(g: Growing) -> Node:
    name = g.some()
    pair = [name, g.partner(name)]
    if g.rng.random() < 0.5:
        pair.reverse()
    return str(g.rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Mean", "Sum"])), pair, {}, ""


@_maker
def _compare(g: Growing) -> Node:
    name = g.some()
    return str(g.rng.choice(["Less", "Greater", "Equal"])), [name, g.partner(name)], {}, ""


@_maker
def _where(g: Growing) -> Node:
    condition, name = g.some("b"), g.some()
    return "Where", [condition, name, g.partner(name)], {}, ""


@_maker
def _matmul(g: Growing) -> Node:
    name = g.some(least=1)
    array = g.values[name]
    draw = g.rng.random()
    if draw < 0.5:
        ranks = g.lengths(int(g.rng.integers(0, 2)))
        return "MatMul", [name, g.constant(g.rng.normal(size=(*ranks, array.shape[-1], 3)), "f4")], {}, ""
    if draw < 0.7 and array.ndim > 1:
        return "MatMul", [g.constant(g.rng.normal(size=(2, array.shape[-2])), "f4"), name], {}, ""
    return "MatMul", [name, g.some(least=1)], {}, ""


@_maker
def _gemm(g: Growing) -> Node:
    name = g.some(least=2, most=2)
    swapped = int(g.rng.random() < 0.3)
    inner = g.values[name].shape[0 if swapped else 1]
    other = g.constant(g.rng.normal(size=(3, inner)), "f4")
    bias = g.constant(g.rng.normal(size=g.lengths(1) if g.rng.random() < 0.3 else 3), "f4")
    return "Gemm", [name, other, bias], {"transA": swapped, "transB": 1}, ""


@_maker
def _conv(g: Growing) -> Node:
    name = g.some(least=3, most=4)
    array = g.values[name]
    sides = array.ndim - 2
    weights = g.constant(g.rng.normal(size=(2, array.shape[1], *[2] * sides)), "f4")
    attributes: dict[str, Any] = {"pads": [int(g.rng.integers(0, 2))] * 2 * sides}
    if g.rng.random() < 0.3:
        attributes = {"auto_pad": "SAME_UPPER"}
    return "Conv", [name, weights], attributes | {"strides": [int(g.rng.integers(1, 3))] * sides}, ""


@_maker
def _conv_transpose(g: Growing) -> Node:
    name = g.some(least=3, most=4)
    array = g.values[name]
    sides = array.ndim - 2
    weights = g.constant(g.rng.normal(size=(array.shape[1], 2, *[2] * sides)), "f4")
    return "ConvTranspose", [name, weights], {"strides": [int(g.rng.integers(1, 3))] * sides}, ""


@_maker
def _pool(g: Growing) -> Node:
    name = g.some(least=3, most=4)
    sides = g.values[name].ndim - 2
    if g.rng.random() < 0.3:
        return str(g.rng.choice(["GlobalAveragePool", "GlobalMaxPool"])), [name], {}, ""
    attributes = {
        "kernel_shape": [2] * sides,
        "pads": [int(g.rng.integers(0, 2))] * 2 * sides,
        "strides": [int(g.rng.integers(1, 3))] * sides,
        "ceil_mode": int(g.rng.random() < 0.3 and g.opset >= 10),
    }
    kind = str(g.rng.choice(["MaxPool", "AveragePool"]))
    return kind, [name], attributes | {"outputs": 1 + (kind == "MaxPool" and g.rng.random() < 0.5)}, ""


@_maker
def _reshape(g: Growing) -> Node:
    name = g.some("fi")
    size = g.values[name].size
    target = []
    for _ in range(int(g.rng.integers(0, 4))):
        fits = [n for n in (1, 2, 3, 4, ROWS, 6, 8) if not size % n]
        target.append(int(g.rng.choice(fits)))
        size //= target[-1]
    target.insert(int(g.rng.integers(0, len(target) + 1)), -1)
    if g.rng.random() < 0.3:
        target[0] = 0
    return "Reshape", [name, g.constant(target, "i8")], {}, ""


@_maker
def _reshape_computed(g: Growing) -> Node:
    name, shape = g.some(), g.some("i", 1, 1)
    return "Reshape", [name, shape], {}, ""


@_maker
def _shape(g: Growing) -> Node:
    return "Shape", [g.some()], {}, ""


@_maker
def _pick_of_shape(g: Growing) -> Node:
    name = g.some("i", 1, 1)
    index = int(g.rng.integers(0, len(g.values[name])))
    return "Gather", [name, g.constant([index] if g.rng.random() < 0.7 else index, "i8")], {}, ""


@_maker
def _concat_shape(g: Growing) -> Node:
    parts = [g.some("i", 1, 1), g.constant([int(g.rng.choice([-1, 1, 2]))], "i8")]
    if g.rng.random() < 0.5:
        parts.reverse()
    return "Concat", parts, {"axis": 0}, ""


@_maker
def _arithmetic_of_shapes(g: Growing) -> Node:
    name = g.some("i", 0, 1)
    if g.rng.random() < 0.4:  # no division: onnxruntime dies of one of whole numbers by zero
        return str(g.rng.choice(["Mul", "Add", "Sub", "Equal"])), [name, g.some("i", 0, 1)], {}, ""
    other = g.constant(int(g.rng.choice([1, 2, 3])), "i8")
    return str(g.rng.choice(["Mul", "Add", "Sub", "Div", "Equal"])), [name, other], {}, ""


@_maker
def _of_shape(g: Growing) -> Node:
    shape = g.some("i", 1, 1)
    if g.rng.random() < 0.5:
        return "Expand", [g.some(), shape], {}, ""
    value = numpy_helper.from_array(np.array([2], "f4"))
    return "ConstantOfShape", [shape], {"value": value}, ""


@_maker
def _transpose(g: Growing) -> Node:
    name = g.some("fi", 1)
    return "Transpose", [name], {"perm": [int(i) for i in g.rng.permutation(g.values[name].ndim)]}, ""


@_maker
def _flatten(g: Growing) -> Node:
    name = g.some()
    return "Flatten", [name], {"axis": int(g.rng.integers(0, g.values[name].ndim + 1))}, ""


def _with_axes(g: Growing, kind: str, name: str, axes: list[int], since: int, **attributes: Any) -> Node:
    if g.opset < since:
        return kind, [name], {"axes": axes, **attributes}, ""
    return kind, [name, g.constant(axes, "i8")], attributes, ""


@_maker
def _squeeze(g: Growing) -> Node:
    name = g.some("fi")
    if g.rng.random() < 0.5:
        return _with_axes(g, "Unsqueeze", name, [abs(g.axis(name, 1))], 13)
    ones = [i for i, length in enumerate(g.values[name].shape) if length == 1]
    if not ones or g.rng.random() < 0.2:
        return "Squeeze", [name], {}, ""
    return _with_axes(g, "Squeeze", name, [int(g.rng.choice(ones))], 13)


@_maker
def _expand_or_tile(g: Growing) -> Node:
    name = g.some()
    shape = g.values[name].shape
    if g.rng.random() < 0.5:
        target = [length if g.rng.random() < 0.5 else 1 for length in shape]
        return "Expand", [name, g.constant([*g.lengths(int(g.rng.integers(0, 2))), *target], "i8")], {}, ""
    return "Tile", [name, g.constant(g.rng.integers(1, 3, len(shape)), "i8")], {}, ""


@_maker
def _reduce(g: Growing) -> Node:
    kinds = ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceLogSumExp"]
    kind = str(g.rng.choice(kinds))
    name = g.some()
    keep = int(g.rng.random() < 0.5)
    if g.rng.random() < 0.1:
        return kind, [name], {"keepdims": keep}, ""
    return _with_axes(g, kind, name, g.axes(name), 13 if kind == "ReduceSum" else 18, keepdims=keep)


@_maker
def _along(g: Growing) -> Node:
    name = g.some(least=1)
    kinds = ["Softmax", "LogSoftmax", "Hardmax", "ArgMax", "ArgMin", "LpNormalization"]
    return str(g.rng.choice(kinds)), [name], {"axis": g.axis(name)}, ""


@_maker
def _sorted(g: Growing) -> Node:
    name = g.some(least=1)
    axis = g.axis(name)
    if g.rng.random() < 0.5 and g.opset >= 11:
        return "CumSum", [name, g.constant(axis, "i8")], {"reverse": int(g.rng.random() < 0.5)}, ""
    if g.opset < 10:
        return "TopK", [name], {"axis": axis, "k": 1, "outputs": 2}, ""
    return "TopK", [name, g.constant([1], "i8")], {"axis": axis, "outputs": 2}, ""


@_maker
def _normalize(g: Growing) -> Node:
    name = g.some(least=2)
    shape = g.values[name].shape
    draw = g.rng.random()
    if draw < 0.3:
        axis = g.axis(name)
        scale = g.constant(np.ones(shape[axis:] if g.rng.random() < 0.8 else shape[-1:]), "f4")
        return "LayerNormalization", [name, scale], {"axis": axis}, ""
    channels = [g.constant(np.abs(g.rng.normal(size=shape[1])) + 0.1, "f4") for _ in range(4)]
    if draw < 0.6:
        return "BatchNormalization", [name, *channels], {}, ""
    if draw < 0.8:
        return "InstanceNormalization", [name, *channels[:2]], {}, ""
    return "MeanVarianceNormalization", [name], {"axes": g.axes(name)}, ""


@_maker
def _gather(g: Growing) -> Node:
    name = g.some(least=1)
    if g.rng.random() < 0.5:
        rank = int(g.rng.integers(0, 3))
        indices = g.constant(g.rng.integers(0, 1 + (rank > 0), g.lengths(rank)), "i8")
        return "Gather", [name, indices], {"axis": g.axis(name)}, ""
    table = g.constant(g.rng.normal(size=(3, *g.lengths(int(g.rng.integers(0, 3))))), "f4")
    return "Gather", [table, g.some("i")], {"axis": 0}, ""


@_maker
def _gather_elements(g: Growing) -> Node:
    name = g.some(least=1)
    indices = g.some("i", 1) if g.rng.random() < 0.6 else g.constant(np.zeros(g.values[name].shape), "i8")
    kind = str(g.rng.choice(["GatherElements", "GatherND", "Gather"]))
    attributes: dict[str, Any] = {} if kind == "GatherND" else {"axis": g.axis(name)}
    if kind == "GatherND" and g.opset >= 12 and g.rng.random() < 0.5:
        attributes = {"batch_dims": 1}
    return kind, [name, indices], attributes, ""


@_maker
def _scatter(g: Growing) -> Node:
    name = g.some(least=1)
    shape = g.values[name].shape
    if g.rng.random() < 0.5:
        places = g.constant(np.zeros(shape), "i8")
        return "ScatterElements", [name, places, g.some(least=1)], {"axis": g.axis(name)}, ""
    return "ScatterND", [name, g.constant([[0]], "i8"), g.constant(np.ones((1, *shape[1:])), "f4")], {}, ""


@_maker
def _concat(g: Growing) -> Node:
    name = g.some(least=1)
    other = name if g.rng.random() < 0.4 else g.some(least=1)
    if g.rng.random() < 0.3:
        other = g.constant(g.rng.normal(size=g.values[name].shape), "f4")
    return "Concat", [name, other], {"axis": g.axis(name)}, ""


@_maker
def _split(g: Growing) -> Node:
    name = g.some(least=1)
    axis = g.axis(name)
    count = g.values[name].shape[axis]
    attributes = {"num_outputs": count} if g.opset >= 18 else {}
    return "Split", [name], {"axis": axis, "outputs": count, **attributes}, ""


@_maker
def _slice(g: Growing) -> Node:
    name = g.some("fi", 1)
    axis = g.axis(name)
    start = int(g.rng.choice([0, 0, 1, -1]))
    end = int(g.rng.choice([1, 2, 100, 2**31 - 1, 2**63 - 1]))
    if g.opset < 10:
        return "Slice", [name], {"axes": [axis], "starts": [start], "ends": [end]}, ""
    bounds = [g.constant([n], "i8") for n in (start, end, axis, int(g.rng.choice([1, 1, 2])))]
    if g.rng.random() < 0.2:
        bounds[1] = g.some("i", 1, 1)
    return "Slice", [name, *bounds], {}, ""


@_maker
def _pad(g: Growing) -> Node:
    name = g.some(least=1)
    pads = [int(n) for n in g.rng.choice([0, 0, 1], 2 * g.values[name].ndim)]
    mode = str(g.rng.choice(["constant", "edge"]))
    if g.opset < 11:
        return "Pad", [name], {"pads": pads, "mode": mode}, ""
    return "Pad", [name, g.constant(pads, "i8")], {"mode": mode}, ""


@_maker
def _cast(g: Growing) -> Node:
    return "Cast", [g.some("fib")], {"to": int(g.rng.choice([1, 1, 6, 7, 9]))}, ""


@_maker
def _one_hot(g: Growing) -> Node:
    name = g.some("i")
    return "OneHot", [name, g.constant(3, "i8"), g.constant([0, 1], "f4")], {"axis": g.axis(name, 1)}, ""


@_maker
def _quantize(g: Growing) -> Node:
    draw = g.rng.random()
    if draw < 0.3:
        return "DynamicQuantizeLinear", [g.some()], {"outputs": 3}, ""
    if draw < 0.5:
        return "DequantizeLinear", [g.some("u"), g.constant(0.1, "f4"), g.constant(3, "u1")], {}, ""
    name = g.some(least=1)
    axis = g.axis(name)
    if draw < 0.7 and g.opset >= 13:
        length = g.values[name].shape[axis]
        scales, zeros = g.constant(np.arange(1, length + 1), "f4"), g.constant(np.zeros(length), "u1")
        return "QuantizeLinear", [name, scales, zeros], {"axis": axis}, ""
    return "QuantizeLinear", [name, g.constant(0.5, "f4"), g.constant(100, "u1")], {}, ""


@_maker
def _integer_matmul(g: Growing) -> Node:
    name = g.some("u", 1)
    weights = g.constant(g.rng.integers(-9, 9, (g.values[name].shape[-1], 3)), "i1")
    return "MatMulInteger", [name, weights, g.constant(7, "u1")], {}, ""


@_maker
def _resize(g: Growing) -> Node:
    name = g.some(least=2, most=4)
    rank = g.values[name].ndim
    scales = g.constant([float(g.rng.choice([1, 1, 2])) for _ in range(rank)], "f4")
    if g.opset < 11:
        return ("Upsample" if g.opset < 10 else "Resize"), [name, scales], {"mode": "nearest"}, ""
    return "Resize", [name, "", scales], {"mode": str(g.rng.choice(["nearest", "linear"]))}, ""


@_maker
def _einsum(g: Growing) -> Node:
    name = g.some(least=2, most=3)
    equation = {
        2: ["ab,bc->ac", "ab,ac->bc", "ab,ab->a", "ab->ba", "...b,bc->...c"],
        3: ["abc,cd->abd", "abc,abd->acd", "abc,abc->b", "a...->...a", "abc,cba->ab"],
    }
    chosen = str(g.rng.choice(equation[g.values[name].ndim]))
    if "," not in chosen:
        return "Einsum", [name], {"equation": chosen}, ""
    other = g.some(least=2, most=3)
    if g.rng.random() < 0.6:
        other = g.constant(g.rng.normal(size=(g.values[name].shape[-1], 3)), "f4")
    return "Einsum", [name, other], {"equation": chosen}, ""


@_maker
def _recurrent(g: Growing) -> Node:
    name = g.some(least=3, most=3)
    kind, gates = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][int(g.rng.integers(0, 3))]
    width = g.values[name].shape[2]
    weights = [g.constant(g.rng.normal(size=(1, gates * 2, n)), "f4") for n in (width, 2)]
    return kind, [name, *weights], {"hidden_size": 2, "outputs": int(g.rng.integers(1, 3))}, ""


@_maker
def _scaler(g: Growing) -> Node:
    name = g.some(least=1, most=2)
    draw = g.rng.random()
    if draw < 0.3:
        return "Scaler", [name], {"offset": [0.5], "scale": [2.0]}, ML
    if draw < 0.6:
        return "Normalizer", [name], {"norm": str(g.rng.choice(["MAX", "L1", "L2"]))}, ML
    if draw < 0.8:
        return "Binarizer", [name], {"threshold": 0.1}, ML
    return "ArrayFeatureExtractor", [name, g.constant([0], "i8")], {}, ML


@_maker
def _linear_model(g: Growing) -> Node:
    name = g.some(least=1, most=2)
    width = g.values[name].shape[-1]
    coefficients = [float(n) for n in g.rng.normal(size=2 * width)]
    if g.rng.random() < 0.5:
        return "LinearRegressor", [name], {"coefficients": coefficients, "targets": 2}, ML
    labels = {"classlabels_ints": [0, 1], "intercepts": [0.0, 0.5], "post_transform": "SOFTMAX"}
    return "LinearClassifier", [name], {"coefficients": coefficients, "outputs": 2, **labels}, ML


@_maker
def _tree(g: Growing) -> Node:
    name = g.some(least=1, most=2)
    attributes = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.1, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
        "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1,
    }  # fmt: skip
    return "TreeEnsembleRegressor", [name], attributes, ML


@_maker
def _matrices(g: Growing) -> Node:
    return "Trilu", [g.some(least=2)], {"upper": int(g.rng.random() < 0.5)}, ""


@_maker
def _space(g: Growing) -> Node:
    return (
        str(g.rng.choice(["DepthToSpace", "SpaceToDepth"])),
        [g.some(least=4, most=4)],
        {"blocksize": 2},
        "",
    )


@_maker
def _by_count(g: Growing) -> Node:
    kind = str(g.rng.choice(["Size", "NonZero", "RandomNormalLike", "Range"]))
    if kind == "Range":
        return "Range", [g.constant(0, "i8"), g.some("i", 0, 0), g.constant(1, "i8")], {}, ""
    return kind, [g.some()], {}, ""


@_maker
def _branch(g: Growing) -> Node:
    name, condition = g.some(), g.some("b", 0, 1)

    def side(kind: str) -> onnx.GraphProto:
        inner = helper.make_node(kind, [name], [f"{kind}{len(g.nodes)}"])
        return helper.make_graph([inner], kind, [], [onnx.ValueInfoProto(name=inner.output[0])])

    return "If", [condition], {"then_branch": side("Neg"), "else_branch": side("Exp")}, ""


# What most graphs are made of is drawn more often.
_MAKERS += [
    _binary,
    _binary,
    _unary,
    _reshape,
    _shape,
    _pick_of_shape,
    _concat_shape,
    _reshape_computed,
    _reduce,
]
