"""`python -m serving.models.checking.check`: the process in which models are tried; `verify` asks it.

A line of JSON comes in for every model and one goes out, after `SEARCHING` where plain input did not run.
`RLIMIT_DATA` bounds private writable memory, mapped memory included (setrlimit(2), since Linux 4.7), which
is what onnxruntime allocates; `RLIMIT_AS` would count libraries and reserved address space, too.
"""

import ctypes
import dataclasses
import gc
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.models.checking.search import find, unmeasured
from serving.models.checking.verify import SEARCHING
from serving.models.files.config import ModelConfig
from serving.models.files.graph_bytes import unfolded
from serving.models.files.repository import ModelEntry, read
from serving.models.independence.proof import prove
from serving.models.session.model_errors import OUT_OF_MEMORY
from serving.models.session.onnx_model import OnnxModel, refuse_unproven
from serving.models.session.trials import Hints
from serving.wire.tensors import spec_json

MEMORY_BYTES, MEMORY_PER_FILE_BYTE = 128 << 20, 6
"""What a model may need if its configuration does not say: this much, and so much for its size."""

_STACK_BYTES = 8 << 20  # of each further thread of onnxruntime
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not look like an answer
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        job = json.loads(line)
        path, root = Path(job["path"]), Path(job["root"])
        entry = ModelEntry(job["name"], job["version"], path, ModelConfig(**job["config"]), root)
        began = partial(answers.write, SEARCHING)
        answer = check(entry, job["threads"], began if job["search"] else None)
        answers.write(json.dumps(answer).encode() + b"\n")


def check(entry: ModelEntry, threads: int, began: Callable[[], Any] | None) -> dict[str, Any]:
    """Load and run one model within its limits.

    Args:
        entry: which one.
        threads: of one run, unless its configuration says otherwise.
        began: called before other input than the plain one is tried; None tries none.

    Returns:
        `reason` why it is refused, empty if it is not; `sha256` and `identity` of its files; and of one that
        is not refused `run_seconds`, `peak_bytes`, `inputs` and `outputs` as `spec_json` says, `trial`,
        `unmeasured` and `whole` as in `serving.models.checking.search.Found`, `said` as `OnnxModel.said`,
        and `dependence`: why a row may
        influence another one's result, empty if it is proven that none does.
    """
    answer: dict[str, Any] = {"sha256": "", "reason": ""}
    try:
        files = read(entry)
        graph, _ = unfolded(files.content)
        answer["sha256"], answer["identity"] = files.sha256, files.identity
        memory = entry.config.check_memory or MEMORY_BYTES + MEMORY_PER_FILE_BYTE * files.size
        assert entry.config.check_time is not None  # `serving.models.checking.verify` has filled it in
        with _limits(memory + (threads - 1) * _STACK_BYTES, entry.config.check_time * threads):
            before = _restart_peak()
            model = OnnxModel(entry, files, threads)
            answer |= _warm(model, entry, graph, began)
            answer["said"] = model.said
            answer["peak_bytes"] = max(0, _status_bytes("VmHWM") - before)
            for side in ("inputs", "outputs"):
                specs = getattr(model.signature, side)
                answer[side] = [spec_json(spec) for spec in specs]
            del model  # a crash in taking it down is to be its own
            gc.collect()
            answer["dependence"] = prove(graph).reason
            refuse_unproven(entry.config, answer["dependence"])
    except ServingError as error:
        answer["reason"] = str(error)
    except MemoryError:
        answer["reason"] = OUT_OF_MEMORY
    return answer


def _warm(
    model: OnnxModel, entry: ModelEntry, graph: bytes, began: Callable[[], Any] | None
) -> dict[str, Any]:
    """What is said of its run: how long it takes, and with what it ran."""
    answer: dict[str, Any] = {"run_seconds": 0.0, "trial": None, "unmeasured": "", "whole": True}
    if entry.config.warmup is None:
        found = find(model, partial(_hints, graph) if began else None, began or (lambda: None))
        answer["whole"] = found.whole
        if found.trial is None:
            answer["unmeasured"] = unmeasured(found)
            return answer
        answer["trial"] = dataclasses.asdict(found.trial)
        model.warm_with(found.trial)
    model.warm(1)
    answer["run_seconds"] = model.measure()
    return answer


def _hints(graph: bytes) -> Hints:
    from serving.models.checking.graph_hints import hints  # noqa: PLC0415  (slow to import, and needed for few models)

    try:
        return hints(graph)
    except MemoryError:
        return Hints()


@contextmanager
def _limits(memory_bytes: int, cpu_seconds: float) -> Iterator[None]:
    """Bound what is used from here on; what the process uses already is not counted."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        resource.RLIMIT_DATA: _status_bytes("VmData") + memory_bytes,
        resource.RLIMIT_CPU: math.ceil(usage.ru_utime + usage.ru_stime + cpu_seconds) + 1,
    }
    hard = {kind: resource.getrlimit(kind)[1] for kind in limits}
    for kind, limit in limits.items():
        most = hard[kind]
        resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    try:
        yield
    finally:
        for kind, most in hard.items():
            resource.setrlimit(kind, (most, most))


def _restart_peak() -> int:
    """Make the peak begin at what is resident now, in bytes; without that it counts from the start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status, which the kernel gives in KiB (proc_pid_status(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()
