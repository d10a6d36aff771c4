"""The test models that the onnx package ships (`onnx.backend.test`), each with its data sets.

The models of single operators are made by the package's own code when its modules are imported; those of the
other kinds lie in files.
"""

import importlib
import pkgutil
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import case as onnx_cases

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

PROTOCOL_TYPES = frozenset({
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float",
    "double", "string", "bfloat16",
})  # fmt: skip
"""Datatypes of tensors, as ONNX calls them, that the Open Inference Protocol has."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test model.

    Attributes:
        name: unique over all kinds, and a name that a model may have.
        operators: of its main graph, with their domain unless it is ONNX's own.
        foreign: types of its inputs and outputs that the protocol has no datatype for.
        inputs: one mapping of name to array for every data set; none where `foreign` is not empty.
        expected: one list of outputs for every data set, in the model's order.
        rtol, atol: how far a right output may be from the expected one.
    """

    name: str
    kind: str
    model: bytes
    operators: frozenset[str]
    foreign: tuple[str, ...]
    inputs: tuple[dict[str, np.ndarray], ...]
    expected: tuple[list[np.ndarray], ...]
    rtol: float
    atol: float


def all_cases() -> list[Case]:
    """Every case of every kind, by kind and name; making them takes about 15 s."""
    return [*node_cases(), *stored_cases()]


def node_cases(without: Collection[str] = ()) -> list[Case]:
    """The models of single operators and of their expansions into functions.

    Args:
        without: modules of `onnx.backend.test.case.node` that are not asked. Three of pools compute
            their expected outputs for seconds.
    """
    from onnx.backend.test.case import node  # noqa: PLC0415  (the package of the next line)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflows and divisions by zero are what some of them test
        for module in pkgutil.walk_packages(node.__path__, f"{node.__name__}."):
            if module.name.rpartition(".")[2] not in without:
                importlib.import_module(module.name)
    found = node._NodeTestCases  # noqa: SLF001  (its own function for that imports all modules)
    made = [_case(one.name, "node", one.model, one.data_sets, one.rtol, one.atol) for one in found]
    return sorted(made, key=lambda case: case.name)


def stored_cases() -> list[Case]:
    """The models that lie in files."""
    data = Path(onnx_cases.__path__[0]).parent / "data"
    found = []
    for kind in KINDS[1:]:
        for folder in sorted((data / kind).iterdir()):
            if (folder / "model.onnx").is_file():
                model = onnx.load(folder / "model.onnx")
                found.append(_case(folder.name, kind, model, _stored_sets(folder, model), 1e-3, 1e-7))
    return found


def _stored_sets(folder: Path, model: onnx.ModelProto) -> list[tuple[list[Any], list[Any]]]:
    sets = []
    for data_set in sorted(folder.glob("test_data_set_*")):
        sides = []
        for side, infos in (("input", model.graph.input), ("output", model.graph.output)):
            count = len(list(data_set.glob(f"{side}_*.pb")))
            pairs = zip(infos, range(count), strict=False)
            sides.append([_stored(data_set / f"{side}_{index}.pb", info) for info, index in pairs])
        sets.append((sides[0], sides[1]))
    return sets


def _stored(path: Path, info: onnx.ValueInfoProto) -> Any:
    if info.type.WhichOneof("value") != "tensor_type":
        return None  # no case with such a type is sent
    return onnx.load_tensor(path)


def _case(
    name: str,
    kind: str,
    model: onnx.ModelProto,
    data_sets: Sequence[tuple[Sequence[Any], Sequence[Any]]],
    rtol: float,
    atol: float,
) -> Case:
    graph = model.graph
    foreign = _foreign([*graph.input, *graph.output])
    inputs: list[dict[str, np.ndarray]] = []
    expected: list[list[np.ndarray]] = []
    for given, wanted in data_sets if not foreign else ():
        inputs.append(dict(zip(_names(graph, len(given)), map(_array, given), strict=True)))
        expected.append([_array(value) for value in wanted])
    operators = frozenset(f"{node.domain}.{node.op_type}".removeprefix(".") for node in graph.node)
    content = model.SerializeToString()
    return Case(name, kind, content, operators, foreign, tuple(inputs), tuple(expected), rtol, atol)


def _names(graph: onnx.GraphProto, count: int) -> list[str]:
    """Which inputs a data set of so many arrays gives: all, or those that have no initializer."""
    names = [info.name for info in graph.input]
    if count == len(names):
        return names
    initialized = {tensor.name for tensor in graph.initializer}
    return [name for name in names if name not in initialized]


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _foreign(infos: Sequence[onnx.ValueInfoProto]) -> tuple[str, ...]:
    found = set()
    for info in infos:
        kind = info.type.WhichOneof("value").removesuffix("_type")
        if kind == "tensor":
            kind = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
        if kind not in PROTOCOL_TYPES:
            found.add(kind)
    return tuple(sorted(found))
