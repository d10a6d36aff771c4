"""One set of operators for several models, in which each of their operators is what it was. Pure.

Law: an operator is the same in two versions of a set where ONNX has one definition of it for both. Where it
has another, only operators in `WIDENED` are taken for the same, and only as far as their definitions show
that the newer one takes all that the older one took: the same attributes with the same defaults, further ones
that may be left out, further datatypes. No converter guesses; a graph of others is run step by step.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import onnx

WIDENED = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Ceil", "Clip", "Concat", "Constant", "Div", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "Greater",
    "GreaterOrEqual", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min",
    "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Reshape", "Round", "Shape", "Sigmoid", "Sign",
    "Size", "Slice", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Where", "Xor",
})  # fmt: skip
"""Of ONNX's own set: plain arithmetic, comparison and layout."""


class Incompatible(Exception):
    """Why there is no such set, in words."""


def common(models: Mapping[str, onnx.ModelProto]) -> dict[str, int]:
    """For each domain the highest version that one of these models imports.

    Args:
        models: by the name of their step.

    Raises:
        Incompatible: an operator of one is another operator there.
    """
    highest: dict[str, int] = {"": 1}
    for model in models.values():
        for item in model.opset_import:
            domain = _domain(item.domain)
            highest[domain] = max(highest.get(domain, 0), item.version)
    for name, model in models.items():
        own = {_domain(item.domain): item.version for item in model.opset_import}
        older = {domain for domain, number in own.items() if number < highest[domain]}
        if not older:
            continue
        if model.functions:
            raise Incompatible(
                f"step {name!r} has functions of its own and is of an older opset than another"
            )
        for domain, operator in _operators(model.graph):
            if domain in older and not _same(operator, domain, own[domain], highest[domain]):
                raise Incompatible(
                    f"step {name!r} is of opset {own[domain]} of {domain or 'ai.onnx'}, another step of"
                    f" {highest[domain]}, and {operator} is not the same in both: export them with one opset"
                )
    return highest


def _operators(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield _domain(node.domain), node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _operators(attribute.g)
            for body in attribute.graphs:
                yield from _operators(body)


def _same(operator: str, domain: str, one: int, other: int) -> bool:
    defined = partial(onnx.defs.get_schema, operator, domain=domain)
    try:
        older, newer = defined(max_inclusive_version=one), defined(max_inclusive_version=other)
    except onnx.defs.SchemaError:
        return False
    if older.since_version == newer.since_version:
        return True
    return not domain and operator in WIDENED and _takes_all(older, newer)


def _takes_all(older: Any, newer: Any) -> bool:
    """Whether what fits the older definition fits the newer one, and nothing in it has another default."""
    kept = all(
        name in newer.attributes
        and newer.attributes[name].type == attribute.type
        and newer.attributes[name].default_value == attribute.default_value
        for name, attribute in older.attributes.items()
    )
    added = [attribute for name, attribute in newer.attributes.items() if name not in older.attributes]
    optional = type(older).FormalParameterOption.Optional
    inputs = all(
        a.option == b.option and set(a.types) <= set(b.types)
        for a, b in zip(older.inputs, newer.inputs, strict=False)
    )
    return (
        kept
        and not any(attribute.required for attribute in added)
        and inputs
        and len(older.inputs) <= len(newer.inputs)
        and all(one.option == optional for one in newer.inputs[len(older.inputs) :])
        and len(older.outputs) == len(newer.outputs)
    )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
