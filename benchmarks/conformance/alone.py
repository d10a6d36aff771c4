"""What onnxruntime itself makes of a case, in a process with limits: some models crash it or never end."""

import ctypes
import multiprocessing
import resource
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.conformance.cases import Case
from benchmarks.conformance.judge import Alone, same

MEMORY_BYTES = 2 << 30
SECONDS = 60.0


class Onnxruntime:
    """A process that runs cases, started anew when one of them ends it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, case: Case) -> Alone:
        """Load a case and run its data sets; only load it where its types cannot be sent anyway."""
        try:
            self._pipe.send((case.model, case.inputs))
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
            reason = f"it did not end within {SECONDS:g} s"
        except (EOFError, BrokenPipeError):
            self._process.join()
            reason = f"it crashed its process (exit code {self._process.exitcode})"
        self.end()
        self._start()
        return Alone(refusal=reason)

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _answer(pipe: Connection) -> None:
    import onnxruntime  # noqa: PLC0415  (in this process only)

    onnxruntime.set_default_logger_severity(4)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    while True:
        try:
            model, inputs = pipe.recv()
        except EOFError:
            return
        pipe.send(_run(onnxruntime, model, inputs))


def _run(onnxruntime: Any, model: bytes, inputs: Sequence[dict[str, np.ndarray]]) -> Alone:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    try:
        sessions = [onnxruntime.InferenceSession(model, options, providers=providers) for _ in range(2)]
    except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        return Alone(refusal=str(error).partition("\n")[0])
    failures: list[str] = []
    outputs: list[dict[str, np.ndarray]] = []
    random = False
    for feeds in inputs:
        try:
            first, second = (_once(onnxruntime, session, feeds) for session in sessions)
        except Exception as error:  # noqa: BLE001
            failures.append(str(error).partition("\n")[0])
            outputs.append({})
        else:
            failures.append("")
            outputs.append(first)
            random |= not all(same(first[name], second[name]) for name in first)
    return Alone("", tuple(failures), tuple(outputs), random)


def _once(onnxruntime: Any, session: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    nodes = session.get_outputs()
    names = [node.name for node in nodes]
    if not any("bfloat16" in node.type for node in (*session.get_inputs(), *nodes)):
        return dict(zip(names, session.run(names, feeds), strict=True))
    values = {name: _value(onnxruntime, array) for name, array in feeds.items()}
    return dict(zip(names, map(_array, session.run_with_ort_values(names, values)), strict=True))


def _value(onnxruntime: Any, array: np.ndarray) -> Any:
    """Numpy has no bfloat16, and onnxruntime takes that of ml_dtypes as its bits only."""
    if array.dtype.name != "bfloat16":
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, 16)


def _array(value: Any) -> np.ndarray:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    import ml_dtypes  # noqa: PLC0415  (for these few only)

    shape = tuple(value.shape())
    size = int(np.prod(shape)) * 2
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(data, ml_dtypes.bfloat16).reshape(shape)
