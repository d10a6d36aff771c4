"""How much of what is independent is proven, and whether anything is proven that is not."""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.independence.generated import Growing
from benchmarks.independence.trial import ROWS, Array, Feeds, compare, scaled, session
from serving.models.independence.proof import prove

TRIALS = 3
CHUNK = 500
"""Graphs of one process: onnxruntime ends one now and then."""


@dataclass(slots=True)
class Survey:
    """What came of many graphs.

    Attributes:
        independent: in no trial did a row have another result together than alone.
        proven: of those, the ones that are proven.
        dependent: some row had.
        untold: could not be run on several rows.
        lost: onnxruntime ended the process that tried them.
        wrong: proven, and not so; a bit that changes with the content of other rows is enough.
        rounding: exponents of ten of the largest difference of a proven graph, relative to the row's largest
            number; None where all bits were equal.
        operators: of proven graphs.
        reasons: why independent ones are not proven, by operator and words.
    """

    independent: int = 0
    proven: int = 0
    dependent: int = 0
    untold: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)
    rounding: Counter[int | None] = field(default_factory=Counter)
    largest: float = 0.0
    operators: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "Survey") -> None:
        """Add what came of others."""
        self.independent += other.independent
        self.proven += other.proven
        self.dependent += other.dependent
        self.untold += other.untold
        self.wrong += other.wrong
        self.largest = max(self.largest, other.largest)
        for mine, its in (
            (self.operators, other.operators), (self.reasons, other.reasons), (self.rounding, other.rounding),
        ):  # fmt: skip
            mine.update(its)  # type: ignore[arg-type]

    def add(self, name: str, model: bytes, feeds: Mapping[str, Array], rng: np.random.Generator) -> None:
        """Prove one graph and try it."""
        verdict = prove(model)
        try:
            alone = session(model)
        except Exception:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
            return
        told = differs = influenced = False
        worst = 0.0
        for trial in range(TRIALS):
            outcome = compare(lambda given: alone.run(None, given), _rows(feeds, trial, rng))
            told |= outcome.told
            differs |= outcome.differs
            influenced |= outcome.influenced
            worst = max(worst, outcome.rounding)
        if verdict.independent and influenced:
            self.wrong.append(name)
        if not told:
            self.untold += 1
        elif differs:
            self.dependent += 1
            if verdict.independent and not influenced:
                self.wrong.append(name)
        else:
            self.independent += 1
            if verdict.independent:
                self.proven += 1
                self.largest = max(self.largest, worst)
                self.rounding[int(np.floor(np.log10(worst))) if worst else None] += 1
                self.operators.update({node.op_type for node in onnx.load_from_string(model).graph.node})
            else:
                kind, _, words = verdict.reason.partition(" '")
                self.reasons[f"{kind} {words.partition(chr(39) + ' ')[2]}"] += 1


def _rows(feeds: Mapping[str, Array], trial: int, rng: np.random.Generator) -> Feeds:
    """So many rows made of those given: in another order at first, then with other numbers, too."""
    drawn: Feeds = {}
    for name, array in feeds.items():
        rows = array[rng.permutation(ROWS) if len(array) == ROWS else rng.integers(0, len(array), ROWS)]
        if trial and rows.dtype.kind == "f":
            rows = scaled(rng, (rows + rng.normal(size=rows.shape) * 0.1).astype(rows.dtype))
        elif trial > 1 and rows.dtype.kind in "iu" and rows.size:
            rows = rng.integers(int(array.min()), int(array.max()) + 1, rows.shape).astype(rows.dtype)
        drawn[name] = rows
    return drawn


def generated(first: int, last: int) -> Survey:
    """The graphs of these seeds."""
    survey = Survey()
    for seed in range(first, last):
        graph = Growing(seed)
        if graph.nodes:
            survey.add(f"seed {seed}", graph.model(), graph.feeds, graph.rng)
    return survey


def many(count: int) -> Survey:
    """That many graphs, in processes of their own: one that onnxruntime ends takes its graphs with it."""
    survey = Survey()
    for first in range(0, count, CHUNK):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            try:
                survey.merge(process.submit(generated, first, min(first + CHUNK, count)).result())
            except BrokenProcessPool:
                survey.lost += CHUNK
    return survey


# ------------------------------------------------------------------ the onnx project's test models


def onnx_tests() -> Survey:
    """Each with one input, and with all inputs of one length, given rows; the others become constants."""
    from benchmarks.conformance.cases import all_cases  # noqa: PLC0415  (making them takes 15 s)

    survey, rng = Survey(), np.random.default_rng(0)
    for case in all_cases():
        if case.inputs:
            for name, model, feeds in _with_rows(case.name, case.model, case.inputs[0]):
                survey.add(name, model, feeds, rng)
    return survey


def _with_rows(
    name: str, model: bytes, given: Mapping[str, Array]
) -> Iterator[tuple[str, bytes, dict[str, Array]]]:
    proto = onnx.ModelProto.FromString(model)
    arrays = {v.name: np.asarray(given[v.name]) for v in proto.graph.input if v.name in given}
    tall = [name for name, array in arrays.items() if array.ndim and len(array)]
    groups: dict[tuple[str, ...], None] = {(one,): None for one in tall}
    for one in tall:
        groups[tuple(other for other in tall if len(arrays[other]) == len(arrays[one]))] = None
    for group in groups:
        try:
            changed = _changed(proto, group, arrays)
        except (TypeError, ValueError, NotImplementedError):  # no constant can be made of an input
            continue
        yield f"{name} {' '.join(group)}", changed, {one: arrays[one] for one in group}


def _changed(proto: onnx.ModelProto, group: tuple[str, ...], arrays: Mapping[str, Array]) -> bytes:
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    named = int(hashlib.sha256(repr(group).encode()).hexdigest(), 16) % 2
    inputs: list[Any] = []
    for value in graph.input:
        if value.name in group:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for place, length in enumerate(arrays[value.name].shape):
                if not place or named:
                    shape.dim.add().dim_param = f"{value.name}{place}" if place else "rows"
                else:
                    shape.dim.add().dim_value = length
            inputs.append(value)
        elif value.name in arrays:
            graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del graph.input[:], graph.value_info[:]
    graph.input.extend(kept)
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return model.SerializeToString()
