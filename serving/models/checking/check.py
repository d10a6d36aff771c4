"""`python -m serving.models.checking.check`: the process in which models are tried; `verify` asks it.

A line of JSON comes in for every model and one goes out; before it comes `TRYING` where something is tried
that could end the process and need not be done, behind it the bytes of a graph that was made into one model.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from serving.errors import InvalidModel, ServingError
from serving.models.checking.graphs import Opened, difference, opened
from serving.models.checking.search import find, unmeasured
from serving.models.checking.verify import TRYING, trial_of
from serving.models.files.config import ModelConfig
from serving.models.files.graph_file import GRAPH_FILE
from serving.models.files.repository import ModelEntry, ModelFiles, read
from serving.models.graphs.stepped import Stepped
from serving.models.session.measured import ASK_FOR_WARMUP, refuse_unproven
from serving.models.session.model_errors import OUT_OF_MEMORY
from serving.models.session.trials import Hints
from serving.wire.tensors import spec_json

MEMORY_BYTES, MEMORY_PER_FILE_BYTE, MEMORY_PER_BYTE_OF_GRAPHS = 128 << 20, 6, 12
"""What a model may need if its configuration does not say: this much, and so much for its size; a graph is
opened step by step, put together, and opened as one."""

_STACK_BYTES = 8 << 20  # of each further thread of onnxruntime
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not look like an answer
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # the process of Python steps gets its files first
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        job = json.loads(line)
        path, root = Path(job["path"]), Path(job["root"])
        config = ModelConfig(**job["config"])
        entry = ModelEntry(job["name"], job["version"], path, config, root, python_steps=job["python_steps"])
        began = partial(answers.write, TRYING)
        answer, fused = check(entry, job["threads"], began if job["try"] else None)
        answers.write(json.dumps(answer | {"fused_bytes": len(fused)}).encode() + b"\n")
        rest = memoryview(fused)
        while rest:  # a pipe takes as much as it has room for
            rest = rest[answers.write(rest) :]


def check(entry: ModelEntry, threads: int, began: Callable[[], Any] | None) -> tuple[dict[str, Any], bytes]:
    """Load and run one model within its limits.

    Args:
        entry: which one.
        threads: of one run, unless its configuration says otherwise.
        began: called before other input than the plain one is tried, and before a graph is made into one
            model; None tries neither.

    Returns:
        `reason` why it is refused, empty if it is not; `sha256` and `identity` of its files; and of one that
        is not refused `run_seconds`, `peak_bytes`, `inputs` and `outputs` as `spec_json` says, `trial`,
        `unmeasured` and `whole` as in `serving.models.checking.search.Found`, `said` as `OnnxModel.said`,
        `form` as of `Runnable`, and `dependence`: why a row may influence another one's result, empty if it
        is proven that none does. Then the one model that a graph was made into, empty where there is none.
    """
    answer: dict[str, Any] = {"sha256": "", "reason": ""}
    fused = b""
    try:
        files = read(entry)
        answer["sha256"], answer["identity"] = files.sha256, files.identity
        each = MEMORY_PER_BYTE_OF_GRAPHS if entry.path.name == GRAPH_FILE else MEMORY_PER_FILE_BYTE
        memory = entry.config.check_memory or MEMORY_BYTES + each * files.size
        assert entry.config.check_time is not None  # `serving.models.checking.verify` has filled it in
        with _limits(memory + (threads - 1) * _STACK_BYTES, entry.config.check_time * threads):
            fused = _tried(entry, files, threads, began, answer)
    except ServingError as error:
        answer["reason"] = str(error)
    except MemoryError:
        answer["reason"] = OUT_OF_MEMORY
    return answer, b"" if answer["reason"] else fused


def _tried(
    entry: ModelEntry,
    files: ModelFiles,
    threads: int,
    began: Callable[[], Any] | None,
    answer: dict[str, Any],
) -> bytes:
    """Try it; the answer grows, and what a graph was made into is returned.

    Raises:
        InvalidModel: it is refused.
    """
    before = _restart_peak()
    on_trial = opened(entry, files, threads, began)
    with closing(on_trial):
        answer |= _warm(on_trial, entry, began)
        _refuse_broken(on_trial, answer)
    if on_trial.steps is not None:
        on_trial = _held(on_trial, *on_trial.steps, answer)
        if on_trial.steps is None:
            answer |= _warm(on_trial, entry, began)
    model = on_trial.model
    answer["said"] = (on_trial.steps[0] if on_trial.steps is not None else model).said
    answer["form"] = on_trial.form
    answer["peak_bytes"] = max(0, _status_bytes("VmHWM") - before)
    for side in ("inputs", "outputs"):
        answer[side] = [spec_json(spec) for spec in getattr(model.signature, side)]
    on_trial.model = on_trial.steps = model = None  # type: ignore[assignment]
    gc.collect()  # a crash in taking it down is to be its own
    answer["dependence"] = on_trial.dependence()
    refuse_unproven(entry.config, answer["dependence"])
    return on_trial.fused


def _refuse_broken(on_trial: Opened, answer: dict[str, Any]) -> None:
    """Of a graph with steps in Python, refuse one whose functions did with all input what none may.

    Raises:
        InvalidModel: it is refused.
    """
    outside = on_trial.model.outside
    if outside is not None and answer["unmeasured"] and outside.broke:
        raise InvalidModel(f"its run with input that was made up failed: {outside.broke}; {ASK_FOR_WARMUP}")


def _held(
    on_trial: Opened, stepped: Stepped, as_steps: Callable[[str], Opened], answer: dict[str, Any]
) -> Opened:
    """A fused graph that answers as its steps do, or else its steps."""
    if answer["unmeasured"]:
        return as_steps(
            "it ran with no input that was made up, so its fused form could not be held against it"
        )
    if answer["trial"] is not None:
        stepped.warm_with(trial_of(answer["trial"]))
    apart = difference(on_trial.model, stepped)
    if apart is None:
        return as_steps("its fused form gives other results")
    if apart:
        on_trial.form = f"fused; its steps one by one differ by rounding, {apart:.0e} at most where tried"
    return on_trial


def _warm(on_trial: Opened, entry: ModelEntry, began: Callable[[], Any] | None) -> dict[str, Any]:
    """What is said of its run: how long it takes, and with what it ran."""
    answer: dict[str, Any] = {"run_seconds": 0.0, "trial": None, "unmeasured": "", "whole": True}
    model, graphs = on_trial.model, on_trial.graphs
    if entry.config.warmup is None:
        found = find(model, partial(_hints, graphs) if began else None, began or (lambda: None))
        answer["whole"] = found.whole
        if found.trial is None:
            answer["unmeasured"] = unmeasured(found)
            return answer
        answer["trial"] = dataclasses.asdict(found.trial)
        model.warm_with(found.trial)
    model.warm(1)
    answer["run_seconds"] = model.measure()
    return answer


def _hints(graphs: Sequence[bytes]) -> Hints:
    from serving.models.checking.graph_hints import hints  # noqa: PLC0415  (slow to import, and needed for few models)

    try:
        found = [hints(graph) for graph in graphs]
    except MemoryError:
        return Hints()
    return Hints(
        tuple(dict.fromkeys(length for one in found for length in one.lengths)),
        tuple(dict.fromkeys(text for one in found for text in one.texts)),
    )


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
