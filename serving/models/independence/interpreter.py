"""Follows values through a graph, its subgraphs and functions. Pure.

Its time is bounded by the number of nodes: what a loop carries is settled after a few rounds or given up, and
after `MOST_STEPS` nothing is followed any more.
"""

import itertools
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import numpy_helper

from serving.models.independence.dims import ROWS, Dim
from serving.models.independence.operator import MATH, MICROSOFT, ML, Operator, Rules, positive_axis
from serving.models.independence.rules import (
    attention,
    classical,
    contraction,
    elementwise,
    layout,
    reduction,
    selection,
)
from serving.models.independence.values import (
    MOST_ELEMENTS,
    Shape,
    Spoils,
    Spoilt,
    State,
    Value,
    constant,
    scalar,
    vector,
)

MOST_STEPS = 300_000
MOST_DEPTH = 24
ROUNDS = 6

RULES: Rules = {
    **elementwise.RULES,
    **contraction.RULES,
    **layout.RULES,
    **selection.RULES,
    **reduction.RULES,
    **classical.RULES,
    **attention.RULES,
}

_RANDOM = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
}  # fmt: skip

_SELECTS = "gives as many results as the values of all rows say"
_REASONS = {
    "DynamicQuantizeLinear": "takes its range over the whole batch",
    "DynamicQuantizeMatMul": "takes its range over the whole batch",
    "DynamicQuantizeLSTM": "takes its range over the whole batch",
    "NonZero": _SELECTS,
    "Compress": _SELECTS,
    "Unique": _SELECTS,
    "NonMaxSuppression": _SELECTS,
    "StringNormalizer": _SELECTS,
    "ZipMap": "gives a sequence of maps, which are not joined",
}

Scope = MutableMapping[str, State]


class TooLarge(Exception):
    """The graph has more steps than are followed."""


class Interpreter:
    """One model's graph.

    Args:
        model: parsed.

    Attributes:
        spoilt: the first operator that a rule does not vouch for, also where no output is made from it: the
            number of rows may decide whether it fails.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opsets = _opsets(model.opset_import)
        self._functions = {(_domain(f.domain), f.name, f.overload): f for f in model.functions}
        self._symbols = itertools.count()
        self._steps = 0
        self.spoilt: Spoilt | None = None
        self._newest = {
            MATH: onnx.defs.onnx_opset_version(),
            ML: onnx.defs.onnx_ml_opset_version() if hasattr(onnx.defs, "onnx_ml_opset_version") else 5,
            MICROSOFT: 1,
        }

    def outputs(self, graph: onnx.GraphProto, inputs: Mapping[str, State]) -> list[State]:
        """What becomes of a graph's outputs, given its inputs.

        Raises:
            TooLarge: it has too many steps.
        """
        scope: Scope = {**constants(graph), **inputs}
        return self._run(graph, scope, self._opsets, {}, 0)

    # ------------------------------------------------------------------ one graph

    def _run(
        self,
        graph: onnx.GraphProto,
        scope: Scope,
        opsets: Mapping[str, int],
        attributes: Mapping[str, onnx.AttributeProto],
        depth: int,
    ) -> list[State]:
        for node in graph.node:
            self._step(node, scope, opsets, attributes, depth)
        return [_found(scope, output.name) for output in graph.output]

    def _step(
        self,
        node: onnx.NodeProto,
        scope: Scope,
        opsets: Mapping[str, int],
        given: Mapping[str, onnx.AttributeProto],
        depth: int,
    ) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS or depth > MOST_DEPTH:
            raise TooLarge
        states = [_found(scope, name) if name else None for name in node.input]
        results: Sequence[State]
        attributes = _attributes(node, given)
        context = _Context(node, scope, opsets, attributes, given, depth)
        named: dict[int, str] = {}
        try:
            results, named = self._results(context, states)
        except Spoils as spoils:
            results = self._spoilt(node, str(spoils))
        except (LookupError, TypeError, ValueError, AssertionError, ArithmeticError):
            # An operator whose attributes or inputs are not as the standard has them.
            results = self._spoilt(node, "is used in a way that is not followed")
        for place, name in enumerate(node.output):
            if not name:
                continue
            if place in named:
                scope[name] = Spoilt(_blamed(node, named[place]))
            elif place < len(results):
                scope[name] = results[place]
            else:
                scope[name] = Spoilt(_blamed(node, "has an output that is not followed"))

    def _spoilt(self, node: onnx.NodeProto, what: str) -> list[State]:
        found = Spoilt(_blamed(node, what))
        self.spoilt = self.spoilt or found
        return [found] * len(node.output)

    def _results(
        self, context: "_Context", states: list[State | None]
    ) -> tuple[Sequence[State], dict[int, str]]:
        node = context.node
        domain = _domain(node.domain)
        function = self._functions.get((domain, node.op_type, node.overload))
        if function is not None:
            if (domain, node.op_type) in RULES or domain == MATH:
                raise Spoils("is both an operator and a function of the model")
            return self._call(function, context, states), {}
        if domain == MATH and node.op_type in {"If", "Loop", "Scan"}:
            return getattr(self, f"_{node.op_type.lower()}")(context, states), {}
        for state in states:
            if isinstance(state, Spoilt):
                return [state] * len(node.output), {}
        values = [state for state in states if not isinstance(state, Spoilt)]
        opset = context.opsets.get(domain)
        if opset is None or opset > self._newest.get(domain, 0):
            raise Spoils("is not known")
        if domain == MATH and node.op_type == "Constant":
            return [_constant(context.attributes)], {}
        op = Operator(node, values, opset, context.attributes, self._symbols)
        rule = RULES.get((domain, node.op_type))
        if rule is None:
            return self._without_rule(op, domain), {}
        result = rule(op)
        asked = {place: reason for place, reason in op.spoilt_outputs.items() if place < op.outputs}
        if all(value is None or value.uniform for value in values):
            asked = {}
        return [result] if isinstance(result, Value) else result, asked

    def _without_rule(self, op: Operator, domain: str) -> list[State]:
        if op.type in _RANDOM:
            raise Spoils("draws at random")
        uniform = all(value is None or value.uniform for value in op.inputs)
        if uniform and domain in {MATH, ML} and onnx.defs.has(op.type, domain):
            return [Value()] * op.outputs
        raise Spoils(_REASONS.get(op.type, "is not followed"))

    # ------------------------------------------------------------------ functions and branches

    def _call(
        self, function: onnx.FunctionProto, context: "_Context", states: list[State | None]
    ) -> list[State]:
        scope: Scope = {}
        for place, name in enumerate(function.input):
            state = states[place] if place < len(states) else None
            if state is not None:
                scope[name] = state
        attributes = {proto.name: proto for proto in function.attribute_proto} | dict(context.attributes)
        opsets = _opsets(function.opset_import)
        for node in function.node:
            self._step(_without_absent(node, function, scope), scope, opsets, attributes, context.depth + 1)
        return [_found(scope, name) for name in function.output]

    def _if(self, context: "_Context", states: list[State | None]) -> list[State]:
        condition = states[0]
        if isinstance(condition, Spoilt):
            return [condition] * len(context.node.output)
        if condition is None or not condition.uniform:
            raise Spoils("chooses its branch by the rows")
        sides = [context.body("then_branch"), context.body("else_branch")]
        if condition.elements is not None and len(condition.elements) == 1:
            [element] = condition.elements
            if isinstance(element, Dim) and element.known:
                sides = [sides[0 if element.factor else 1]]
        results = [self._branch(side, context, {}) for side in sides]
        if len(results) == 1:
            return results[0]
        return [self._either(*pair) for pair in zip(*results, strict=True)]

    def _branch(
        self, graph: onnx.GraphProto, context: "_Context", inputs: Mapping[str, State]
    ) -> list[State]:
        own: dict[str, State] = {**constants(graph), **inputs}
        scope: Scope = ChainMap(own, context.scope)
        return self._run(graph, scope, context.opsets, context.given, context.depth + 1)

    def _either(self, one: State, other: State) -> State:
        """What holds of both."""
        return self._merged(one, other, set())

    def _merged(self, one: State, other: State, settled: set[Dim]) -> State:
        """What holds of both; lengths that differ become new symbols, but for those that are such already."""
        if isinstance(one, Spoilt) or isinstance(other, Spoilt):
            return one if isinstance(one, Spoilt) else other
        if one.axis != other.axis or (one.elements != other.elements and (one.counts or other.counts)):
            raise Spoils("has results of which only some have rows")
        elements = one.elements if one.elements == other.elements else None
        if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
            if one.axis is not None:
                raise Spoils("has results of different ranks")
            return Value()
        if one.axis is not None and one.shape[one.axis] != other.shape[one.axis]:
            raise Spoils("has results of different numbers of rows")
        shape = []
        for a, b in zip(one.shape, other.shape, strict=True):
            if a == b or a in settled:
                shape.append(a)
            else:
                new = Dim(1, (f"?{next(self._symbols)}",))
                settled.add(new)
                shape.append(new)
        return Value(tuple(shape), one.axis, elements)

    # ------------------------------------------------------------------ loops

    def _loop(self, context: "_Context", states: list[State | None]) -> list[State]:
        trips, goes_on, *initial = states
        for state in (trips, goes_on):
            if isinstance(state, Spoilt):
                return [state] * len(context.node.output)
            if state is not None and not state.uniform:
                raise Spoils("runs as often as the rows say")
        body = context.body("body")
        names = [value.name for value in body.input]
        start: dict[str, State] = {names[0]: scalar(None), names[1]: Value(())}
        carried, last = self._settle(body, context, start, names[2:], initial)
        condition, *results = last
        if isinstance(condition, Spoilt) or not condition.uniform:
            raise Spoils("ends by what is in the rows")
        scanned = results[len(carried) :]
        if scanned and not (_surely_positive(trips) and (goes_on is None or _surely_positive(goes_on))):
            raise Spoils("may not run at all")
        return [*carried, *(self._stacked(state, 0) for state in scanned)]

    def _scan(self, context: "_Context", states: list[State | None]) -> list[State]:
        if context.opsets.get(MATH, 0) < 9:
            raise Spoils("is of an operator version that is not followed")
        body = context.body("body")
        op = Operator(context.node, [], 9, context.attributes, self._symbols)
        scans = int(op.attribute("num_scan_inputs"))
        initial, sequences = states[: len(states) - scans], states[len(states) - scans :]
        names = [value.name for value in body.input]
        axes = op.attribute("scan_input_axes", [0] * scans)
        start: dict[str, State] = {
            name: self._sliced(state, axis)
            for name, state, axis in zip(names[len(initial) :], sequences, axes, strict=True)
        }
        carried, last = self._settle(body, context, start, names[: len(initial)], initial)
        scanned = last[len(carried) :]
        places = op.attribute("scan_output_axes", [0] * len(scanned))
        return [*carried, *(self._stacked(state, at) for state, at in zip(scanned, places, strict=True))]

    def _settle(
        self,
        body: onnx.GraphProto,
        context: "_Context",
        start: dict[str, State],
        names: Sequence[str],
        initial: Sequence[State | None],
    ) -> tuple[list[State], list[State]]:
        """What holds of the carried values before and after every round, and a round's results.

        The carried results of a loop's body stand behind its condition, those of a scan's at the front.
        """
        skip = 1 if context.node.op_type == "Loop" else 0
        entry: list[State] = [Value() if state is None else state for state in initial]
        settled: set[Dim] = set()
        for _ in range(ROUNDS):
            results = self._branch(body, context, start | dict(zip(names, entry, strict=True)))
            after = results[skip : skip + len(entry)]
            merged = [self._merged(one, other, settled) for one, other in zip(entry, after, strict=True)]
            if merged == entry:
                return [self._renewed(state) for state in entry], results
            entry = merged
        raise Spoils("carries values that do not settle")

    def _renewed(self, state: State, front: Shape = (), at: int = 0) -> State:
        """A value as it leaves a loop: lengths that may change from round to round are new ones then."""
        if isinstance(state, Spoilt) or state.shape is None:
            return state
        shape = tuple(dim if _outlasts(dim) else Dim(1, (f"?{next(self._symbols)}",)) for dim in state.shape)
        axis = state.axis
        if axis is not None:
            if not _outlasts(state.shape[axis]):
                raise Spoils("may not keep whole rows together")
            if front and axis >= at:
                axis += 1
        kept = None if front else state.elements
        return Value((*shape[:at], *front, *shape[at:]), axis, kept)

    def _stacked(self, state: State, at: int) -> State:
        if isinstance(state, Spoilt):
            return state
        if state.counts:
            raise Spoils("calculates with the number of rows")
        if state.shape is None:
            return Value()
        at = positive_axis(at, len(state.shape) + 1)
        return self._renewed(state, (Dim(1, (f"?{next(self._symbols)}",)),), at)

    def _sliced(self, state: State | None, axis: int) -> State:
        if state is None or isinstance(state, Spoilt):
            return Spoilt("a scan lacks an input") if state is None else state
        if state.counts or state.shape is None:
            raise Spoils("runs over what is not followed")
        axis = positive_axis(axis, len(state.shape))
        if state.axis == axis:
            raise Spoils("runs over the rows")
        if not state.shape[axis].positive:
            raise Spoils("may not run at all")
        shape = state.shape[:axis] + state.shape[axis + 1 :]
        return Value(shape, None if state.axis is None else state.axis - (axis < state.axis))


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a node stands.

    Attributes:
        given: what the function was called with that the node is part of.
    """

    node: onnx.NodeProto
    scope: Scope
    opsets: Mapping[str, int]
    attributes: Mapping[str, onnx.AttributeProto]
    given: Mapping[str, onnx.AttributeProto]
    depth: int

    def body(self, name: str) -> onnx.GraphProto:
        """A subgraph."""
        return self.attributes[name].g


def _outlasts(dim: Dim) -> bool:
    """Whether it is the same number in and after every round: known, or made of the inputs' lengths."""
    return all(symbol == ROWS or symbol[0] == "+" for symbol in dim.symbols)


def _surely_positive(state: State | None) -> bool:
    if not isinstance(state, Value) or state.elements is None or len(state.elements) != 1:
        return False
    [element] = state.elements
    return isinstance(element, Dim) and element.positive


def _found(scope: Mapping[str, State], name: str) -> State:
    return scope.get(name) or Spoilt(f"{name!r} is read before it is made")


def _blamed(node: onnx.NodeProto, what: str) -> str:
    name = node.name or next((output for output in node.output if output), "")
    return f"{node.op_type} {name!r} {what}"


def _domain(domain: str) -> str:
    return MATH if domain == "ai.onnx" else domain


def _opsets(imports: Any) -> dict[str, int]:
    return {_domain(item.domain): item.version for item in imports}


def _attributes(
    node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]
) -> dict[str, onnx.AttributeProto]:
    found = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            found[attribute.name] = attribute
        elif attribute.ref_attr_name in given:
            found[attribute.name] = given[attribute.ref_attr_name]
    return found


def _without_absent(
    node: onnx.NodeProto, function: onnx.FunctionProto, scope: Mapping[str, State]
) -> onnx.NodeProto:
    """The node of a function with no name for an input that the caller left out."""
    absent = {name for name in function.input if name not in scope}
    if absent.isdisjoint(node.input):
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for place, name in enumerate(copy.input):
        if name in absent:
            copy.input[place] = ""
    return copy


def constants(graph: onnx.GraphProto) -> dict[str, State]:
    """The values of a graph's initializers; contents of the small ones only."""
    found: dict[str, State] = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = Value(tuple(Dim(length) for length in sparse.dims))
    return found


def _tensor(tensor: onnx.TensorProto) -> Value:
    shape = tuple(Dim(length) for length in tensor.dims)
    size = 1
    for length in tensor.dims:
        size *= length
    if size > MOST_ELEMENTS or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return Value(shape)
    if tensor.data_type == onnx.TensorProto.STRING:
        return Value(shape)
    return constant(numpy_helper.to_array(tensor))


def _constant(attributes: Mapping[str, onnx.AttributeProto]) -> Value:
    [(name, attribute)] = attributes.items()
    if name == "value":
        return _tensor(attribute.t)
    value = onnx.helper.get_attribute_value(attribute)
    if name == "value_int":
        return scalar(Dim(value))
    if name == "value_float":
        return scalar(float(value))
    if name == "value_ints":
        return vector([Dim(item) for item in value])
    if name == "value_floats":
        return vector([float(item) for item in value])
    if name == "value_string":
        return Value(())
    if name == "value_strings":
        return Value((Dim(len(value)),))
    return Value(tuple(Dim(length) for length in attribute.sparse_tensor.dims))
