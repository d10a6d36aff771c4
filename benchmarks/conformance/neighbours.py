"""Whether a neighbour's request changes an answer: cases of a variable number of rows, asked all at once."""

import random
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection

import numpy as np
import onnx
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from benchmarks.conformance.asking import ANSWER_SECONDS, serving
from benchmarks.conformance.cases import Case
from benchmarks.conformance.judge import Alone, same

CONNECTIONS = 16
REPEATS = 8
ROWS = 4
"""The most rows of a data set that are also sent one by one."""

ROUNDING = 16.0
"""Units in the last place of an output's largest value that another batch size may make: kernels add up in
another order. Beyond that it is an influence."""


@dataclass(frozen=True, slots=True)
class Company:
    """What came of one case.

    Attributes:
        requests: that were sent.
        runs: that the server made of them; fewer when it joined rows.
        exact: answers that equal onnxruntime's own for the same rows, bit for bit.
        difference: the largest of any other answer, in units in the last place of the largest value of that
            output; infinite where shape, datatype or a value that is no float differ.
        error: of the first request that was refused; empty if none was.
    """

    name: str
    requests: int
    runs: int
    exact: int
    difference: float
    error: str


def influenced(found: Sequence[Company]) -> list[Company]:
    """Those of which an answer was changed by a neighbour, or refused."""
    return [one for one in found if one.error or one.difference > ROUNDING]


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
    with (
        serving(cases) as server,
        triton.InferenceServerClient(server.host, network_timeout=ANSWER_SECONDS) as client,
        ExitStack() as stack,
    ):
        connections = [
            stack.enter_context(closing(HTTPConnection(server.host, timeout=ANSWER_SECONDS)))
            for _ in range(CONNECTIONS)
        ]
        return [
            _ask(client, connections, case, alone)
            for case, alone in zip(cases, results, strict=True)
            if case.name not in server.refusals and any(alone.outputs)
        ]


def _ask(
    client: triton.InferenceServerClient, connections: Sequence[HTTPConnection], case: Case, alone: Alone
) -> Company:
    """Send on all connections before an answer is read from any: the server finds several waiting."""
    pairs = [pair for pair in zip(case.inputs, alone.outputs, strict=True) if pair[1]] * REPEATS
    random.Random(case.name).shuffle(pairs)
    before = _runs(client, case.name)
    exact, difference, error = 0, 0.0, ""
    for start in range(0, len(pairs), len(connections)):
        sent = list(zip(connections, pairs[start : start + len(connections)], strict=False))
        for connection, (feeds, _) in sent:
            _send(connection, case.name, feeds)
        for connection, (_, outputs) in sent:
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                error = error or body.decode()[:200]
                continue
            length = answer.headers["Inference-Header-Content-Length"]
            result = triton.InferenceServerClient.parse_response_body(body, header_length=int(length))
            answers = [(result.as_numpy(name), wanted) for name, wanted in outputs.items()]
            exact += all(same(got, wanted) for got, wanted in answers)
            difference = max(difference, *(_difference(got, wanted) for got, wanted in answers))
    return Company(case.name, len(pairs), _runs(client, case.name) - before, exact, difference, error)


def _send(connection: HTTPConnection, model: str, feeds: dict[str, np.ndarray]) -> None:
    inputs = [
        triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in feeds.items()
    ]
    body, length = triton.InferenceServerClient.generate_request_body(inputs)
    headers = {"Inference-Header-Content-Length": str(length)}
    connection.request("POST", f"/v2/models/{model}/infer", body, headers)


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
    kind = np.finfo(wanted.dtype)
    unit = float(np.max(np.abs(other[finite]), initial=float(kind.tiny)) * float(kind.eps))
    return float(np.max(np.abs(one[finite] - other[finite]), initial=0.0)) / unit
