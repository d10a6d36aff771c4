"""The metric families of a process that runs models, and what the statistics extension makes of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.telemetry.cells import Counter, Family, Metrics, read

SECONDS_BUCKETS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

REQUESTS = Family(
    "understudy_requests",
    "counter",
    "Inference requests answered, by who answered and with which HTTP status.",
    ("model", "target", "role", "code"),
)
REQUEST_SECONDS = Family(
    "understudy_request_seconds",
    "histogram",
    "From the last byte of a request to the first of its answer.",
    ("model", "target", "role"),
    SECONDS_BUCKETS,
)
INFERENCE_SECONDS = Family(
    "understudy_inference_seconds",
    "histogram",
    "The model's own run time for a request (the whole batch it was in).",
    ("target",),
    SECONDS_BUCKETS,
)
STEP_SECONDS = Family(
    "understudy_step_seconds",
    "histogram",
    "One step of a graph that is run step by step, for each run; none of a graph that is one session.",
    ("target", "step"),
    SECONDS_BUCKETS,
)
STEP_PROCESS_ENDS = Family(
    "understudy_step_process_ends",
    "counter",
    "Ends of the process of a graph's steps in Python: `ended` by itself or a signal, `time`, `garbled` for"
    " an answer that was none. It is started again.",
    ("target", "reason"),
)
INFERENCE_FAILURES = Family(
    "understudy_inference_failures", "counter", "Requests that a loaded model could not answer.", ("target",)
)
FAILURE_SECONDS = Family(
    "understudy_inference_failure_seconds", "counter", "Time spent on requests that failed.", ("target",)
)
CODEC_SECONDS = Family(
    "understudy_codec_seconds",
    "counter",
    "Time spent decoding inputs and encoding outputs.",
    ("target", "phase"),
)
QUEUE_SECONDS = Family(
    "understudy_queue_seconds",
    "histogram",
    "Time a request waited for the model's thread, or for others to be run with (not where it runs at once).",
    ("target",),
    SECONDS_BUCKETS,
)
BATCH_SIZE = Family(
    "understudy_batch_size",
    "histogram",
    "Rows of each batch that was run (pooled models, and inline ones when requests share a run).",
    ("target",),
    (1, 2, 4, 8, 16, 32, 64, 128, 256),
)
MODEL_READY = Family(
    "understudy_model_ready", "gauge", "1 where the target is loaded and warm.", ("target",), merge="min"
)
MODEL_LOAD_SECONDS = Family(
    "understudy_model_load_seconds",
    "gauge",
    "The last load: verification, session, warm-up.",
    ("target",),
    merge="max",
)


class AnswerSeries:
    """The bound series of what one target answers in one role.

    Attributes:
        seconds: how long its answers took.
        ok: counts good ones.
    """

    def __init__(self, metrics: Metrics, model: str, target: str, role: str) -> None:
        self._metrics = metrics
        self._labels = (model, target, role)
        self._codes: dict[int, Counter] = {}
        self.seconds = metrics.histogram(REQUEST_SECONDS, *self._labels)
        self.ok = self.code(200)

    def code(self, status: int) -> Counter:
        """Counts answers with this status."""
        counter = self._codes.get(status)
        if counter is None:
            counter = self._codes[status] = self._metrics.counter(REQUESTS, *self._labels, str(status))
        return counter


class TargetMetrics:
    """The bound series of one loaded model."""

    def __init__(self, metrics: Metrics, target: str) -> None:
        self.inference = metrics.histogram(INFERENCE_SECONDS, target)
        self.failures = metrics.counter(INFERENCE_FAILURES, target)
        self.failure_seconds = metrics.counter(FAILURE_SECONDS, target)
        self.decode = metrics.counter(CODEC_SECONDS, target, "decode")
        self.encode = metrics.counter(CODEC_SECONDS, target, "encode")
        self.ready = metrics.gauge(MODEL_READY, target)
        self.load_seconds = metrics.gauge(MODEL_LOAD_SECONDS, target)
        self.queue = metrics.histogram(QUEUE_SECONDS, target)
        self.batch = metrics.histogram(BATCH_SIZE, target)


def statistics(folder: Path, target: str) -> dict[str, Any]:
    """What the statistics extension says of one target, over all processes that share the folder.

    Returns:
        A `model_stats` entry without name and version; durations in nanoseconds.
        Source: Triton's docs/protocol/extension_statistics.md.
    """
    totals = read(folder)

    def cells(family: Family, *labels: str) -> list[float]:
        known = totals.get(family.name)
        found = known.series.get(labels) if known is not None else None
        return found if found is not None else [0.0] * (len(family.buckets) + 2)

    inference, queue, batch = (
        cells(family, target) for family in (INFERENCE_SECONDS, QUEUE_SECONDS, BATCH_SIZE)
    )
    served = sum(inference[:-1])
    executions = served - sum(queue[:-1]) + sum(batch[:-1])
    seconds = {
        "queue": queue[-1],
        "compute_input": cells(CODEC_SECONDS, target, "decode")[0],
        "compute_infer": inference[-1],
        "compute_output": cells(CODEC_SECONDS, target, "encode")[0],
    }
    return {
        "inference_count": int(served),
        "execution_count": int(executions),
        "inference_stats": {
            "success": _duration(served, sum(seconds.values())),
            "fail": _duration(cells(INFERENCE_FAILURES, target)[0], cells(FAILURE_SECONDS, target)[0]),
            **{phase: _duration(served, value) for phase, value in seconds.items()},
        },
        "batch_stats": [],
    }


def _duration(count: float, seconds: float) -> Mapping[str, int]:
    return {"count": int(count), "ns": round(seconds * 1e9)}
