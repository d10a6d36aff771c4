"""Whether a neighbour's request changes an answer: cases with a variable number of rows, asked all at once."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.conformance.asking import ANSWER_SECONDS, serving
from benchmarks.conformance.cases import Case
from benchmarks.conformance.judge import Alone, same

CONNECTIONS = 16
REPEATS = 8
ROWS = 4
"""The most rows of a data set that are also sent one by one."""


@dataclass(frozen=True, slots=True)
class Company:
    """What came of one case.

    Attributes:
        requests: that were sent.
        runs: that the server made of them; fewer when it joined rows.
        exact: answers that equal onnxruntime's own for the same rows, bit for bit.
        difference: the largest of any other answer, relative to the largest value of that output; 0 where
            there is none, infinite where shape, datatype or a value that is no float differ.
        error: of the first request that was refused; empty if none was.
    """

    name: str
    requests: int
    runs: int
    exact: int
    difference: float
    error: str


def with_rows(case: Case) -> Case | None:
    """The case with a variable first dimension, its data sets being several choices of rows.

    None where its inputs and outputs have no first dimension of one length in common, at least 2.
    """
    if case.foreign or len(case.inputs) != 1:
        return None
    feeds, model = case.inputs[0], onnx.load_from_string(case.model)
    lengths = {array.shape[:1] for array in (*feeds.values(), *case.expected[0])}
    infos = [*model.graph.input, *model.graph.output]
    if len(lengths) != 1 or len(feeds) != len(model.graph.input) or not feeds:
        return None
    (length,) = lengths.pop() or (0,)
    if length < 2 or not all(info.type.tensor_type.shape.dim for info in infos):
        return None
    for info in infos:
        info.type.tensor_type.shape.dim[0].dim_param = "rows"
    del model.graph.value_info[:]
    parts = [slice(0, length), slice(0, 2), *(slice(row, row + 1) for row in range(min(length, ROWS)))]
    inputs = tuple({name: array[part] for name, array in feeds.items()} for part in parts)
    return replace(case, model=model.SerializeToString(), inputs=inputs, expected=())


def ask_at_once(cases: Sequence[Case], results: Sequence[Alone]) -> list[Company]:
    """Serve the cases, send each choice of rows several times over many connections, and compare.

    Args:
        cases: of `with_rows`.
        results: what onnxruntime makes of them; choices of rows that it refuses are not sent.
    """
    found = []
    with (
        serving(cases) as server,
        triton.InferenceServerClient(
            server.host, concurrency=CONNECTIONS, network_timeout=ANSWER_SECONDS
        ) as client,
    ):
        for case, alone in zip(cases, results, strict=True):
            if case.name not in server.refusals and any(alone.outputs):
                found.append(_ask(client, case, alone))
    return found


def _ask(client: triton.InferenceServerClient, case: Case, alone: Alone) -> Company:
    pairs = [pair for pair in zip(case.inputs, alone.outputs, strict=True) if pair[1]] * REPEATS
    random.Random(case.name).shuffle(pairs)
    before = _runs(client, case.name)
    sent = [(_send(client, case.name, feeds), outputs) for feeds, outputs in pairs]
    exact, difference, error = 0, 0.0, ""
    for request, outputs in sent:
        try:
            result = request.get_result()
        except InferenceServerException as refusal:
            error = error or refusal.message()[:200]
            continue
        answers = [(result.as_numpy(name), wanted) for name, wanted in outputs.items()]
        exact += all(same(got, wanted) for got, wanted in answers)
        difference = max(difference, *(_difference(got, wanted) for got, wanted in answers))
    return Company(case.name, len(sent), _runs(client, case.name) - before, exact, difference, error)


def _send(
    client: triton.InferenceServerClient, model: str, feeds: dict[str, np.ndarray]
) -> triton.InferAsyncRequest:
    inputs = [
        triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in feeds.items()
    ]
    return client.async_infer(model, inputs)


def _runs(client: triton.InferenceServerClient, model: str) -> int:
    [statistics] = client.get_inference_statistics(model)["model_stats"]
    return int(statistics["execution_count"])


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    if same(got, wanted):
        return 0.0
    if (got.dtype, got.shape) != (wanted.dtype, wanted.shape) or wanted.dtype.kind != "f":
        return np.inf
    one, other = got.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return np.inf
    scale = np.max(np.abs(other[finite]), initial=np.finfo(np.float32).tiny)
    return float(np.max(np.abs(one[finite] - other[finite]), initial=0.0) / scale)
