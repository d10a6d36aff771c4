"""Whether a candidate can stand in for stable, by what they take and give. Pure."""

from serving.tensors import Signature, TensorSpec


def signature_of(metadata: object) -> Signature:
    """The signature in a server's OIP metadata.

    Raises:
        KeyError, TypeError, ValueError: it is not OIP metadata.
    """
    if not isinstance(metadata, dict):
        raise TypeError("metadata is no object")
    inputs, outputs = (
        tuple(
            TensorSpec(str(tensor["name"]), str(tensor["datatype"]), tuple(int(d) for d in tensor["shape"]))
            for tensor in metadata[side]
        )
        for side in ("inputs", "outputs")
    )
    return Signature(inputs, outputs)


def incompatibility(stable: Signature, candidate: Signature) -> str:
    """Why a candidate cannot stand in for stable; empty when it can.

    It must take every input that stable takes and need no other, with the same datatype and a shape that
    admits stable's; and it must give every output of stable with the same datatype.
    """
    theirs = {spec.name: spec for spec in candidate.inputs}
    for spec in stable.inputs:
        other = theirs.pop(spec.name, None)
        if other is None:
            return f"it has no input {spec.name!r}"
        if other.datatype != spec.datatype:
            return f"its input {spec.name!r} is {other.datatype}, stable's is {spec.datatype}"
        if len(other.shape) != len(spec.shape) or any(
            a not in (-1, b) for a, b in zip(other.shape, spec.shape, strict=True)
        ):
            return f"its input {spec.name!r} has shape {list(other.shape)}, stable's has {list(spec.shape)}"
    if theirs:
        return f"it needs a further input {next(iter(theirs))!r}"
    outputs = {spec.name: spec for spec in candidate.outputs}
    for spec in stable.outputs:
        other = outputs.get(spec.name)
        if other is None:
            return f"it has no output {spec.name!r}"
        if other.datatype != spec.datatype:
            return f"its output {spec.name!r} is {other.datatype}, stable's is {spec.datatype}"
    return ""
