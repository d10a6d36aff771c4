"""One model in memory: an onnxruntime session, what it takes and gives, how long it runs.

Law: once constructed, a model never touches the disk again; neither external data nor libraries of custom
operators are loaded from it.
"""

import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from threading import Timer
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidModel, ModelFailed, ServingError
from serving.models.files.config import CPU, UNPROVEN, ModelConfig
from serving.models.files.graph_bytes import unfolded, unranked
from serving.models.files.lineage import MOST_CHARACTERS
from serving.models.files.repository import ModelEntry, ModelFiles, read
from serving.models.ort import onnxruntime
from serving.models.runnable import INLINE_SECONDS
from serving.models.session.model_errors import OUT_OF_MEMORY, failed, refused, unequal_lengths
from serving.models.session.ort_values import ValueRunner
from serving.models.session.trials import Dims
from serving.models.session.warmup import (
    TELLING_ROWS,
    Trial,
    blanks,
    needed,
    read_npz,
    repeat_rows,
    telling_rows,
)
from serving.wire.tensors import Signature, TensorSpec

Array = npt.NDArray[np.generic]

INLINE_ROWS = 64
"""The most that share a run on the event loop, unless the configuration says otherwise."""

AUTO_ROWS = (1, 2, 4, 8, 16, 32, 64)
AUTO_SHARE = 0.95  # the smallest batch is chosen that gives this share of the most rows per second
AUTO_BATCH_SECONDS = 0.1  # no request waits longer than this for a batch that `auto` chose
MEASURE_RUNS, MEASURE_SECONDS = 15, 0.2
SEARCH_ROUNDS, SEARCH_SECONDS = 15, 0.8

ASK_FOR_WARMUP = "name an .npz of input as `warmup` in config.yaml"

_NOWHERE = "/dev/null"  # a file, so that no folder of that name will ever exist
_QUIET = 4  # fatal errors only: faults are raised, and reported by who catches them

_LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}


MOST_SAID = 32
"""Entries of a model's metadata that are looked at."""


class OnnxModel:
    """A loaded `model.onnx`, which is a `Runnable`; its last ZipMaps are unfolded.

    Args:
        entry: its configuration.
        files: what was read from disk.
        threads: of one run, unless the configuration says otherwise.
        trial: what it is warmed with where its configuration names no .npz; None for the plain one.
        measured: whether there is input that it can be warmed with; without it is neither warmed nor joined.

    Attributes:
        dims: of every input that it needs, in their order.
        batchable: whether requests can be joined along dimension 0 of every input and output.
        dependence: why a row may influence another one's result, in words; empty if it is proven or stated
            that none does, and no trial disproved it.
        run_seconds: of one run at batch 1, the median; 0 until `prepare`.
        rows_per_second: by rows of a batch, what the search for the best one measured; empty without one.
        said: what its file says of itself, by name: `producer`, and its metadata.

    Raises:
        InvalidModel: it is corrupt or of a kind that cannot be served.
    """

    __slots__ = (
        "_clock", "_config", "_has_run", "_run", "_session_run", "_trial", "_warmup", "batchable",
        "dependence", "dims", "identity", "labels", "measured",
        "rows_per_second", "run_seconds", "said", "sha256", "signature",
    )  # fmt: skip

    def __init__(
        self,
        entry: ModelEntry,
        files: ModelFiles,
        threads: int,
        trial: Trial | None = None,
        *,
        measured: bool = True,
    ) -> None:
        config = entry.config
        threads = config.threads or threads
        graph, labels = unfolded(files.content)
        session = _opened(graph, _options(files, threads, config), config.providers)
        self.labels = config.labels or labels
        self.said = _said(session)
        self.sha256 = files.sha256
        self.identity = files.identity
        self.run_seconds = 0.0
        self.rows_per_second: dict[int, float] = {}
        self.dependence = UNPROVEN
        inputs, outputs = session.get_inputs(), session.get_outputs()
        scalars = any(not node.shape for node in (*inputs, *outputs))
        any_rank = unranked(graph) if scalars else frozenset()
        self.signature = Signature(
            _specs("input", inputs, any_rank) + _optional(session.get_overridable_initializers()),
            _specs("output", outputs, any_rank),
        )
        self.dims = tuple(None if node.name in any_rank else _dims(node) for node in inputs)
        self.batchable = measured and _is_batchable(inputs, outputs)
        self.measured = measured
        self._trial: Trial | None = None
        # The wrapper's own run() checks what serving.wire.protocol has checked, for 0.6 us.
        self._session_run = _runner(session, self.signature)
        self._run = self._first_run
        self._has_run = False
        self._config = config
        # What a single thread on a CPU takes can be told apart from what others on a busy machine take.
        alone = threads == 1 and config.providers == (CPU,)
        self._clock = time.thread_time if alone else time.perf_counter
        self._warmup = {} if files.warmup is None else read_npz(files.warmup, self.signature)
        if trial is not None:
            self.warm_with(trial)

    @classmethod
    def load(
        cls,
        entry: ModelEntry,
        threads: int,
        sha256: str | None = None,
        trial: Trial | None = None,
        *,
        measured: bool = True,
    ) -> "OnnxModel":
        """Read a model and make it ready to run.

        Args:
            entry: what to load.
            threads: of one run, unless the configuration says otherwise.
            sha256: what was verified; files that have changed since are refused.
            trial: what verification found to warm it with; None for plain input.
            measured: whether it found any.

        Raises:
            InvalidModel: it cannot be read, has changed, is corrupt, or of a kind that cannot be served.
        """
        files = read(entry)
        if sha256 not in {None, files.sha256}:
            raise InvalidModel("its files changed while it was checked; load it again")
        return cls(entry, files, threads, trial, measured=measured)

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str]) -> list[Array]:
        """Run once.

        Args:
            feeds: an array (a `dict` of them) for every input, of its datatype and shape; BYTES as `str`.
            output_names: which outputs, at least one.

        Returns:
            The outputs, in the order of their names.

        Raises:
            InvalidInput: the model cannot take these values or shapes.
            ModelFailed: it failed otherwise.
        """
        try:
            return self._run(output_names, feeds, None)
        except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
            shapes = {name: array.shape for name, array in feeds.items()}
            known = zip(self.signature.input_by_name, self.dims, strict=False)
            dims = {name: shape for name, shape in known if shape is not None}
            raise failed(error, has_run=self._has_run, unequal=unequal_lengths(dims, shapes)) from None

    def _first_run(
        self, output_names: Sequence[str], feeds: Mapping[str, Array], options: None
    ) -> list[Array]:
        """As the session's own run, which takes its place once it went well."""
        outputs: list[Array] = self._session_run(output_names, feeds, options)
        self._has_run = True
        self._run = self._session_run
        return outputs

    def warm_with(self, trial: Trial) -> None:
        """Use this input from now on; one that has no single rows shows that there are none to be joined."""
        self._trial = trial
        rows = zip(needed(self.signature), trial.shapes, strict=True)
        self.batchable &= all(shape[:1] == (1,) for spec, shape in rows if (spec.shape or ())[:1] == (-1,))

    def try_with(self, trial: Trial, seconds: float | None) -> str:
        """Run once with this input, for so long at most: a run is stopped between two operators.

        Returns:
            Why it did not run; empty if it did.
        """
        options = onnxruntime.RunOptions()
        stop = Timer(seconds or 0, setattr, (options, "terminate", True))
        stop.daemon = True
        if seconds is not None:
            stop.start()
        names = [spec.name for spec in self.signature.outputs]
        try:
            self._run(names, blanks(self.signature, 1, trial), options)
        except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
            return str(failed(error, has_run=True))  # told of this input
        finally:
            stop.cancel()
        return ""

    def prepare(self, dependence: str = UNPROVEN) -> int:
        """Warm and measure; sets `dependence`, `run_seconds` and, where it is searched, `rows_per_second`.

        Args:
            dependence: what the check says of its graph (`serving.models.checking.verify.Report`).

        Returns:
            The most rows to run together, warm at every power of two up to there unless the model runs on
            the event loop; 1 never joins requests, and is what becomes of a model without input to warm with.

        Raises:
            InvalidModel: it cannot run, or not in the batches that its configuration asks for.
        """
        most = self._config.batching
        self.dependence = "" if self._config.independent else dependence
        if not self.measured:
            if most not in {"auto", 1}:
                raise InvalidModel(f"batching: {most} rows cannot be tried without input; {ASK_FOR_WARMUP}")
            return 1
        self.warm_alone()
        if most == "auto":
            return self._best_rows()
        if most > 1 and not self.batchable:
            raise InvalidModel("batching: its inputs and outputs share no variable first dimension")
        refuse_unproven(self._config, dependence)
        for rows in [*(1 << power for power in range(1, (most - 1).bit_length())), most]:
            self.warm(rows)
        return 1 if most > 1 and self._is_disproved() else most

    def warm_alone(self) -> None:
        """As `Runnable`."""
        if self.measured:
            self.warm(1)
            self.run_seconds = self.measure()

    def warm(self, rows: int) -> None:
        """Run once with this many rows; where the model does not batch, with one.

        Raises:
            InvalidModel: that run failed, or its outputs do not have a row for every row that went in.
        """
        outputs = self._run_warm(self._feeds(rows))
        if self.batchable and any(output.shape[:1] != (rows,) for output in outputs):
            if rows > 1 and self._config.batching != "auto":
                raise InvalidModel(f"batching: {rows} rows do not come out as {rows} rows")
            self.batchable = False

    def measure(self) -> float:
        """Seconds that a run at batch 1 takes, the median of several."""
        times: list[float] = []
        while len(times) < MEASURE_RUNS and sum(times) < MEASURE_SECONDS:
            times.append(self._time(1))
        return statistics.median(times)

    def _time(self, rows: int) -> float:
        """Seconds of one run of this many rows."""
        feeds = self._feeds(rows)
        began = self._clock()
        self._run_warm(feeds)
        return self._clock() - began

    def _best_rows(self) -> int:
        if self.dependence or not self.batchable or self._is_disproved():
            return 1
        execution = self._config.execution
        short = self.run_seconds < INLINE_SECONDS and execution == "auto"
        if short or execution == "inline":
            return INLINE_ROWS
        try:
            return self._search()
        except InvalidModel as error:  # nobody asked for batches
            self.dependence = f"several rows were tried, and {error}"
            return 1

    def _search(self) -> int:
        """The best batch: every size is run in turn, several times, and its shortest run counts.

        Whatever else the machine does makes runs longer, never shorter, and rarely all of one size.
        """
        shortest: dict[int, float] = {}
        for rows in AUTO_ROWS:
            self.warm(rows)
            seconds = min(self._time(rows) for _ in range(3))
            if shortest and seconds > AUTO_BATCH_SECONDS:
                break
            shortest[rows] = seconds
        until = time.perf_counter() + SEARCH_SECONDS
        for rows in (*shortest,) * SEARCH_ROUNDS:
            if time.perf_counter() > until:
                break
            shortest[rows] = min(shortest[rows], self._time(rows))
        self.rows_per_second = {rows: rows / seconds for rows, seconds in shortest.items()}
        enough = AUTO_SHARE * max(self.rows_per_second.values())
        return min(rows for rows, rate in self.rows_per_second.items() if rate >= enough)

    def _is_disproved(self) -> bool:
        """Whether different rows give together something else than alone, beyond rounding.

        A second line of defence: of what the user states, and of the proof. A model that cannot run on rows
        that differ tells nothing of them.
        """
        feeds = telling_rows(self.signature, self._warmup, self._trial)
        if feeds is None:
            return False
        if not self._agrees(feeds):
            self.dependence = "a trial gave other results for rows run together than for each alone"
        return bool(self.dependence)

    def _agrees(self, feeds: dict[str, Array]) -> bool:
        names = [spec.name for spec in self.signature.outputs]
        try:
            together = self.run(feeds, names)
            for row in range(TELLING_ROWS):
                alone = self.run({name: array[row : row + 1] for name, array in feeds.items()}, names)
                for joined, single in zip(together, alone, strict=True):
                    if joined.shape[:1] != (TELLING_ROWS,) or not _same(joined[row : row + 1], single):
                        return False
        except ServingError:
            pass
        return True

    def _run_warm(self, feeds: dict[str, Array]) -> list[Array]:
        try:
            return self.run(feeds, [spec.name for spec in self.signature.outputs])
        except ServingError as error:
            if str(error) == OUT_OF_MEMORY:
                raise InvalidModel(f"{OUT_OF_MEMORY} (check.memory in config.yaml)") from None
            why = error.reason if isinstance(error, ModelFailed) else error
            raise InvalidModel(f"its warm-up run failed: {why}; {ASK_FOR_WARMUP}") from None

    def _feeds(self, rows: int) -> dict[str, Array]:
        if not self._warmup:
            return blanks(self.signature, rows if self.batchable else 1, self._trial)
        return repeat_rows(self._warmup, rows) if self.batchable else self._warmup


def refuse_unproven(config: ModelConfig, dependence: str) -> None:
    """See to it that rows are not asked to be joined where one may change another one's answer.

    Args:
        config: of the model.
        dependence: why that may be so; empty if it is proven that it is not.

    Raises:
        InvalidModel: they are.
    """
    if config.batching != "auto" and config.batching > 1 and dependence and not config.independent:
        raise InvalidModel(
            f"batching: rows that run together may change each other's answers: {dependence}; leave `max`"
            " out, or state `independent: true` beside it if you know that they do not"
        )


def _options(files: ModelFiles, threads: int, config: ModelConfig) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[config.optimization]
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # The arena keeps the memory of the largest request for ever, and memory patterns one plan for every
    # shape seen, which clients choose. Leaving both out costs nothing that could be measured.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning else "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # onnxruntime maps external files instead of reading them, so that overwriting one changes a model in
    # use, and looks for those of subgraphs in the current folder. Hence all come from memory (it copies
    # them), and the folder that it would look in for more cannot exist.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    if files.external:
        names, contents = list(files.external), list(files.external.values())
        options.add_external_initializers_from_files_in_memory(
            names, contents, [len(data) for data in contents]
        )
    return options


def _opened(graph: bytes, options: Any, providers: Sequence[str]) -> Any:
    """A session; what onnxruntime cannot open is refused."""
    onnxruntime.set_default_logger_severity(_QUIET)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        raise refused(error, graph) from None


def _said(session: Any) -> dict[str, str]:
    """What a model's file says of itself; what cannot be read as text is left out."""
    try:
        meta = session.get_modelmeta()
        said = {"producer": meta.producer_name, **meta.custom_metadata_map}
    except ValueError:
        return {}
    few = list(said.items())[:MOST_SAID]
    return {name[:100]: value[:MOST_CHARACTERS] for name, value in few if name and value}


def _runner(session: Any, signature: Signature) -> Any:
    """What runs a session: its names of outputs, its input by name, options."""
    kinds = {spec.datatype for spec in (*signature.inputs, *signature.outputs)}
    if "BF16" not in kinds:
        return session._sess.run  # noqa: SLF001
    if any(spec.datatype == "BYTES" for spec in signature.inputs):
        raise InvalidModel("it takes text and has BF16 too, which onnxruntime's Python interface cannot run")
    return ValueRunner(session)


def _specs(side: str, nodes: Sequence[Any], any_rank: Collection[str]) -> tuple[TensorSpec, ...]:
    if side == "output" and not nodes:
        raise InvalidModel("it has no outputs")
    return tuple(
        TensorSpec(node.name, _datatype(side, node), None if node.name in any_rank else _shape(node))
        for node in nodes
    )


def _optional(initializers: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """Weights that requests may replace; those of BF16 and of what the protocol lacks are the model's own."""
    return tuple(
        TensorSpec(node.name, _DATATYPES[_element(node)], _shape(node), optional=True)
        for node in initializers
        if _DATATYPES.get(_element(node), "BF16") != "BF16"
    )


def _element(node: Any) -> str:
    return str(node.type).removeprefix("tensor(").removesuffix(")")


def _datatype(side: str, node: Any) -> str:
    if not node.type.startswith("tensor("):
        raise InvalidModel(f"{side} {node.name!r} is of type {node.type}, and the protocol has tensors only")
    datatype = _DATATYPES.get(_element(node))
    if datatype is None:
        raise InvalidModel(f"{side} {node.name!r} is of datatype {_element(node)}, which the protocol lacks")
    return datatype


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(length if isinstance(length, int) and length >= 0 else -1 for length in node.shape)


def _dims(node: Any) -> Dims:
    """As `_shape`, with the names that tell which variable dimensions are equal."""
    return tuple(
        (length if length >= 0 else None) if isinstance(length, int) else None if length == "?" else length
        for length in node.shape
    )


def _is_batchable(inputs: Sequence[Any], outputs: Sequence[Any]) -> bool:
    """Inputs whose first dimensions have different names are not rows of the same thing."""
    if not all(_shape(node)[:1] == (-1,) for node in (*inputs, *outputs)):
        return False
    return len({node.shape[0] for node in inputs}) == 1


def _same(joined: Array, single: Array) -> bool:
    if joined.shape != single.shape:
        return False
    if joined.dtype.kind == "f":
        return np.allclose(joined, single, rtol=1e-3, atol=1e-4, equal_nan=True)
    return np.array_equal(joined, single)
