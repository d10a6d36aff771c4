"""Whether the models of a graph fit together, and what the graph takes and gives. Pure.

Law: what is passed here has the datatype and the rank that its reader asks for, and no length that can never
be right. A length that varies where it is made and is fixed where it is read is for the run to find out.
"""

from collections.abc import Iterator, Mapping

from serving.document import DocumentError, Node, all_of
from serving.models.files.graph_file import Graph, Step
from serving.wire.tensors import Signature, TensorSpec, shape_json

_Shape = tuple[int, ...] | None


def wired(graph: Graph, signatures: Mapping[str, Signature]) -> Signature:
    """The signature of a graph: its outer inputs and outputs, in the order of its document.

    Args:
        graph: sound by itself.
        signatures: of each model, by its folder (`Step.folder`); functions declare their own.

    Raises:
        DocumentError: with every place where models do not fit.
    """
    known: dict[str, TensorSpec] = {}
    faults: list[DocumentError] = []
    for step in graph.steps:
        signature = signatures[step.folder] if step.python is None else step.python.signature
        faults += _read(step, signature, known, graph.inputs)
        faults += _made(step, signature, known)
    if faults:
        raise all_of(faults)
    return Signature(
        tuple(known[name] for name in graph.inputs), tuple(known[name] for name in graph.outputs)
    )


def _read(
    step: Step, signature: Signature, known: dict[str, TensorSpec], outer: Mapping[str, Node]
) -> Iterator[DocumentError]:
    """What does not fit of what a step reads; outer inputs become known by it."""
    for own, node in step.inputs.items():
        spec, tensor = signature.input_by_name.get(own), str(node.value)
        if spec is None:
            yield node.fault(_no_such(step, "input", own, signature.input_by_name))
            continue
        before = known.get(tensor)
        if before is None:
            if tensor in outer:
                known[tensor] = TensorSpec(tensor, spec.datatype, spec.shape)
            continue  # else made by a step with a fault of its own
        why = _unfit(before, spec)
        if why:
            yield node.fault(f"{tensor!r} is {described(before)}, and input {own!r} of {step.runs} {why}")
        elif tensor in outer:
            known[tensor] = TensorSpec(tensor, before.datatype, _narrowed(before.shape, spec.shape))
    lacking = [spec.name for spec in signature.inputs if not spec.optional and spec.name not in step.inputs]
    if lacking:
        yield step.node.fault(
            f"step {step.name!r}: its input_map has nothing for {', '.join(map(repr, lacking))},"
            f" which {step.runs} needs"
        )
    if step.when is not None:
        yield from _decides(step.when.tensor, step.when.node, known, outer)


def _decides(
    tensor: str, node: Node, known: dict[str, TensorSpec], outer: Mapping[str, Node]
) -> Iterator[DocumentError]:
    """A condition is one truth value; an outer input that nothing else reads becomes one by that."""
    spec = known.get(tensor)
    if spec is None:
        if tensor in outer:
            known[tensor] = TensorSpec(tensor, "BOOL", (1,))
        return
    if spec.datatype != "BOOL" or any(length not in {1, -1} for length in spec.shape or ()):
        yield node.fault(f"{tensor!r} is {described(spec)}, and a condition is one value of BOOL")


def _made(step: Step, signature: Signature, known: dict[str, TensorSpec]) -> Iterator[DocumentError]:
    for own, node in step.outputs.items():
        spec, tensor = signature.output_by_name.get(own), str(node.value)
        if spec is None:
            yield node.fault(_no_such(step, "output", own, signature.output_by_name))
            continue
        before = known.get(tensor)
        if before is not None and before.datatype != spec.datatype:
            yield node.fault(
                f"{tensor!r} is {described(before)} when another step makes it, and {described(spec)} here"
            )
            continue
        shape = spec.shape if before is None else _widened(before.shape, spec.shape)
        known[tensor] = TensorSpec(tensor, spec.datatype, shape)


def _no_such(step: Step, side: str, own: str, there: Mapping[str, TensorSpec]) -> str:
    has = ", ".join(map(repr, there)) or "none"
    return f"{step.runs} has no {side} {own!r}; its {side}s are {has}"


def described(spec: TensorSpec) -> str:
    """Datatype and shape, as people read them."""
    return f"{spec.datatype} of any rank" if spec.shape is None else f"{spec.datatype} {shape_json(spec)}"


def _unfit(there: TensorSpec, wanted: TensorSpec) -> str:
    """Why a tensor cannot be an input; empty if it can."""
    same_rank = there.shape is None or wanted.shape is None or len(there.shape) == len(wanted.shape)
    fits = same_rank and all(
        one == other or -1 in {one, other}
        for one, other in zip(there.shape or (), wanted.shape or (), strict=False)
    )
    if there.datatype == wanted.datatype and fits:
        return ""
    return f"takes {described(wanted)}"


def _narrowed(one: _Shape, other: _Shape) -> _Shape:
    """What fits both, where something does."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(b if a == -1 else a for a, b in zip(one, other, strict=True))


def _widened(one: _Shape, other: _Shape) -> _Shape:
    """What either may be."""
    if one is None or other is None or len(one) != len(other):
        return None
    return tuple(a if a == b else -1 for a, b in zip(one, other, strict=True))
