"""One ONNX graph made of the models of a graph, so that one session runs. Pure.

Law: nothing of a model is changed but names. Every name in it gets a prefix of its step, except that what a
step reads and makes is called as the graph calls it; that renaming is one to one, so what it applies to means
what it did, in subgraphs too. Models of different operator sets are put together only where each operator in
them is the same one in both sets; no converter guesses.

Why not `onnx.compose`: docs/decisions/0086-graphs-are-whole-folders.md.
"""

from collections.abc import Callable, Mapping

import onnx

from serving.models.files.graph_file import Graph, Step
from serving.models.graphs.opsets import Incompatible, common
from serving.wire.tensors import Signature, TensorSpec

MOST_BYTES = (1 << 31) - 1  # what protobuf can hold
ROWS = "rows"

Rename = Callable[[str], str]


class Unfusable(Exception):
    """Why a graph is to be run step by step, in words."""


def fused(graph: Graph, models: Mapping[str, bytes], signature: Signature) -> bytes:
    """Make one model of a graph; its external data lies relative to the graph's folder.

    Args:
        graph: whose models fit together.
        models: each ONNX file by its folder (`Step.folder`), ZipMaps unfolded.
        signature: of the graph.

    Raises:
        Unfusable: it cannot be done.
    """
    if not graph.fuse:
        raise Unfusable("graph.yaml says `fuse: false`")
    if graph.functions:
        raise Unfusable(f"step {graph.functions[0][0].name!r} is Python, which no ONNX graph can hold")
    if graph.conditional is not None:
        raise Unfusable(f"step {graph.conditional.name!r} runs on a condition")
    try:
        loaded = {step.name: onnx.ModelProto.FromString(models[step.folder]) for step in graph.steps}
        whole = _merged(graph, loaded, signature)
        return bytes(whole.SerializeToString())
    except Incompatible as error:
        raise Unfusable(str(error)) from None
    except MemoryError:
        raise Unfusable("there was no memory to make one of its models") from None
    except Exception as error:  # noqa: BLE001  (what cannot be put together is run step by step)
        too_large = sum(map(len, models.values())) > MOST_BYTES
        why = "larger than 2 GiB" if too_large else type(error).__name__
        raise Unfusable(f"its models could not be put together ({why})") from None


def _merged(graph: Graph, models: Mapping[str, onnx.ModelProto], signature: Signature) -> onnx.ModelProto:
    opsets = common(models)
    whole = onnx.ModelProto(
        ir_version=max(model.ir_version for model in models.values()), producer_name="understudy"
    )
    whole.graph.name = "graph"
    for domain, number in sorted(opsets.items()):
        whole.opset_import.add(domain=domain, version=number)
    names = {*graph.inputs, *(tensor for step in graph.steps for tensor in step.makes)}
    described: dict[str, onnx.ValueInfoProto] = {}
    for step in graph.steps:
        _Part(step, models[step.name], names).add_to(whole, described)
    for side, specs in ((whole.graph.input, signature.inputs), (whole.graph.output, signature.outputs)):
        side.extend(_with_lengths(described[spec.name], spec) for spec in specs)
    return whole


class _Part:
    """One step's model on its way into the whole.

    Args:
        step: of the graph.
        model: which is taken apart.
        taken: names of the graph's tensors, which no other name may be.
    """

    def __init__(self, step: Step, model: onnx.ModelProto, taken: set[str]) -> None:
        self._step, self._model = step, model
        prefix = f"{step.name}/"
        while any(name.startswith(prefix) for name in taken):
            prefix = f"_{prefix}"
        self._prefix = prefix
        self._functions = {(function.domain, function.name) for function in model.functions}
        graph = model.graph
        self._named = {own: str(node.value) for own, node in step.inputs.items()}
        fixed = {*self._named, *(value.name for value in graph.input), *(t.name for t in graph.initializer)}
        self._passed = {own: str(node.value) for own, node in step.outputs.items() if own in fixed}
        self._named |= {own: str(node.value) for own, node in step.outputs.items() if own not in self._passed}
        self._rows = _rows_of(step, graph)

    def add_to(self, whole: onnx.ModelProto, described: dict[str, onnx.ValueInfoProto]) -> None:
        """Put all of it into the whole; what it reads and makes is described as its model does."""
        graph = self._model.graph
        for value in graph.input:
            if value.name in self._step.inputs:
                described.setdefault(self._name(value.name), self._value(value))
        for value in graph.output:
            if value.name in self._step.outputs:
                described[str(self._step.outputs[value.name].value)] = self._value(value)
        given = set(self._step.inputs)  # weights that the graph gives are no weights any more
        whole.graph.initializer.extend(
            self._tensor(tensor) for tensor in graph.initializer if tensor.name not in given
        )
        for sparse in graph.sparse_initializer:
            self._tensor(sparse.values)
            whole.graph.sparse_initializer.append(sparse)
        whole.graph.node.extend(self._node(node, self._name) for node in graph.node)
        whole.graph.value_info.extend(self._value(value) for value in graph.value_info)
        for own, tensor in self._passed.items():
            identity = whole.graph.node.add(op_type="Identity", name=f"{self._prefix}{tensor}")
            identity.input.append(self._name(own))
            identity.output.append(tensor)
        for function in self._model.functions:
            for node in function.node:
                self._node(node, lambda name: name)
            function.name = self._prefix + function.name
            whole.functions.append(function)

    def _name(self, name: str) -> str:
        return self._named.get(name, self._prefix + name) if name else ""

    def _node(self, node: onnx.NodeProto, rename: Rename) -> onnx.NodeProto:
        """Itself, renamed; in the functions of a model only what it calls is."""
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        node.name = self._prefix + node.name if node.name else ""
        if (node.domain, node.op_type) in self._functions:
            node.op_type = self._prefix + node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                self._subgraph(attribute.g, rename)
            for body in attribute.graphs:
                self._subgraph(body, rename)
            for tensor in (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors:
                self._place(tensor)
        return node

    def _subgraph(self, body: onnx.GraphProto, rename: Rename) -> None:
        for value in (*body.input, *body.output, *body.value_info):
            value.name = rename(value.name)
            self._dims(value)
        for tensor in body.initializer:
            tensor.name = rename(tensor.name)
            self._place(tensor)
        for sparse in body.sparse_initializer:
            sparse.values.name = rename(sparse.values.name)
            self._place(sparse.values)
        for node in body.node:
            self._node(node, rename)

    def _tensor(self, tensor: onnx.TensorProto) -> onnx.TensorProto:
        tensor.name = self._name(tensor.name)
        self._place(tensor)
        return tensor

    def _place(self, tensor: onnx.TensorProto) -> None:
        """External data is found from the graph's folder."""
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"{self._step.folder}/{entry.value}"

    def _value(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = self._name(value.name)
        self._dims(copy)
        if self._rows is not None and value.name in self._step.inputs and _has_free_rows(copy):
            copy.type.tensor_type.shape.dim[0].dim_param = ROWS
        return copy

    def _dims(self, value: onnx.ValueInfoProto) -> None:
        """Names of lengths are a model's own, but for that of rows, which is the same in all."""
        for dim in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
            if dim.dim_param:
                dim.dim_param = ROWS if dim.dim_param == self._rows else self._prefix + dim.dim_param


def _rows_of(step: Step, graph: onnx.GraphProto) -> str | None:
    """What a model calls its number of rows, empty for nothing; None where its inputs do not agree."""
    names = {
        value.type.tensor_type.shape.dim[0].dim_param
        for value in graph.input
        if value.name in step.inputs and _has_free_rows(value)
    }
    return names.pop() if len(names) == 1 else None


def _has_free_rows(value: onnx.ValueInfoProto) -> bool:
    if not value.type.HasField("tensor_type"):
        return False
    dims = value.type.tensor_type.shape.dim
    return len(dims) > 0 and not dims[0].HasField("dim_value")


def _with_lengths(value: onnx.ValueInfoProto, spec: TensorSpec) -> onnx.ValueInfoProto:
    """Named as the graph does, with the lengths that some reader of it asks for."""
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = spec.name
    for dim, length in zip(copy.type.tensor_type.shape.dim, spec.shape or (), strict=False):
        if length >= 0 and not dim.HasField("dim_value"):
            dim.dim_value = length
    return copy
