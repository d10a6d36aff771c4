"""Whether a candidate can stand in for stable, by what they take and give. Pure."""

from serving.wire.tensors import Signature, TensorSpec, spec_from_json


def signature_of(metadata: object) -> Signature:
    """The signature in a server's OIP metadata.

    Raises:
        KeyError, TypeError, ValueError: it is not OIP metadata.
    """
    if not isinstance(metadata, dict):
        raise TypeError("metadata is no object")
    inputs, outputs = (
        tuple(spec_from_json(tensor) for tensor in metadata[side]) for side in ("inputs", "outputs")
    )
    return Signature(inputs, outputs)


def incompatibility(stable: Signature, candidate: Signature) -> str:
    """Why a candidate cannot stand in for stable; empty when it can.

    It must take every input that stable takes, with the same datatype and a shape that admits stable's; need
    none that stable does not need; and give every output of stable with the same datatype. Of inputs or
    outputs of which one of both says nothing at all, as some servers do, nothing is asked.
    """
    if stable.inputs and candidate.inputs and (reason := _other_inputs(stable, candidate)):
        return reason
    return _other_outputs(stable, candidate) if candidate.outputs else ""


def _other_inputs(stable: Signature, candidate: Signature) -> str:
    theirs = {spec.name: spec for spec in candidate.inputs}
    for spec in stable.inputs:
        other = theirs.pop(spec.name, None)
        if other is None:
            return f"it has no input {spec.name!r}"
        if spec.optional and not other.optional:
            return f"it needs the input {spec.name!r}, which stable can do without"
        if other.datatype != spec.datatype:
            return f"its input {spec.name!r} is {other.datatype}, stable's is {spec.datatype}"
        if not _admits(other, spec):
            return f"its input {spec.name!r} has shape {_shape(other)}, stable's has {_shape(spec)}"
    for further in theirs.values():
        if not further.optional:
            return f"it needs a further input {further.name!r}"
    return ""


def _other_outputs(stable: Signature, candidate: Signature) -> str:
    outputs = {spec.name: spec for spec in candidate.outputs}
    for spec in stable.outputs:
        other = outputs.get(spec.name)
        if other is None:
            return f"it has no output {spec.name!r}"
        if other.datatype != spec.datatype:
            return f"its output {spec.name!r} is {other.datatype}, stable's is {spec.datatype}"
    return ""


def _admits(candidate: TensorSpec, stable: TensorSpec) -> bool:
    """Whether every shape that stable takes is one that the candidate takes."""
    if candidate.shape is None or stable.shape is None:
        return candidate.shape is None
    return len(candidate.shape) == len(stable.shape) and all(
        mine in (-1, theirs) for mine, theirs in zip(candidate.shape, stable.shape, strict=True)
    )


def _shape(spec: TensorSpec) -> str:
    return "any" if spec.shape is None else str(list(spec.shape))
