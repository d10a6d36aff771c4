"""How a model in memory is warmed, measured and tried in batches, whatever it is made of."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Timer
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidModel, ModelFailed, ServingError
from serving.models.files.config import CPU, UNPROVEN, ModelConfig
from serving.models.ort import onnxruntime
from serving.models.runnable import INLINE_SECONDS
from serving.models.session.model_errors import OUT_OF_MEMORY
from serving.models.session.warmup import (
    TELLING_ROWS,
    Trial,
    blanks,
    needed,
    read_npz,
    repeat_rows,
    telling_rows,
)
from serving.wire.tensors import Signature

Array = npt.NDArray[np.generic]

INLINE_ROWS = 64
"""The most that share a run on the event loop, unless the configuration says otherwise."""

AUTO_ROWS = (1, 2, 4, 8, 16, 32, 64)
AUTO_SHARE = 0.95  # the smallest batch is chosen that gives this share of the most rows per second
AUTO_BATCH_SECONDS = 0.1  # no request waits longer than this for a batch that `auto` chose
MEASURE_RUNS, MEASURE_SECONDS = 15, 0.2
SEARCH_ROUNDS, SEARCH_SECONDS = 15, 0.8

ASK_FOR_WARMUP = "name an .npz of input as `warmup` in config.yaml"


class Measured:
    """What is common to runnables: one has a signature, `_run` and `_fault`, and here is the rest.

    Args:
        signature: what it takes and gives.
        config: of the model.
        threads: of one run, unless the configuration says otherwise.
        warmup: the content of the .npz that the configuration names.
        batchable: whether its inputs and outputs have rows, as far as their shapes tell.
        trial: what it is warmed with where its configuration names no .npz; None for the plain one.
        measured: whether there is input that it can be warmed with; without it is neither warmed nor joined.

    Attributes:
        batchable: whether requests can be joined along dimension 0 of every input and output.
        dependence: why a row may influence another one's result, in words; empty if it is proven or stated
            that none does, and no trial disproved it.
        run_seconds: of one run at batch 1, the median; 0 until `prepare`.
        rows_per_second: by rows of a batch, what the search for the best one measured; empty without one.

    Raises:
        InvalidModel: the warm-up is not of its inputs.
    """

    __slots__ = (
        "_clock", "_config", "_run", "_trial", "_warmup", "batchable", "dependence", "measured",
        "rows_per_second", "run_seconds", "signature",
    )  # fmt: skip

    _run: Callable[[Sequence[str], Mapping[str, Array], Any], list[Array]]

    def __init__(
        self,
        signature: Signature,
        config: ModelConfig,
        threads: int,
        warmup: bytes | None,
        trial: Trial | None,
        *,
        batchable: bool,
        measured: bool,
    ) -> None:
        self.signature = signature
        self.run_seconds = 0.0
        self.rows_per_second: dict[int, float] = {}
        self.dependence = UNPROVEN
        self.batchable = measured and batchable
        self.measured = measured
        self._config = config
        self._trial: Trial | None = None
        # What a single thread on a CPU takes can be told apart from what others on a busy machine take.
        alone = (config.threads or threads) == 1 and config.providers == (CPU,)
        self._clock = time.thread_time if alone else time.perf_counter
        self._warmup = {} if warmup is None else read_npz(warmup, signature)
        if trial is not None:
            self.warm_with(trial)

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
            raise self._fault(error, feeds, tried=False) from None

    def _fault(self, error: Exception, feeds: Mapping[str, Array], *, tried: bool) -> ServingError:
        """Why a run failed, in words.

        Args:
            error: what `_run` raised.
            feeds: with which it did; none where that is of no interest.
            tried: whether that was input of our own.
        """
        raise NotImplementedError

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
            return str(self._fault(error, {}, tried=True))
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

    def tried_with(self) -> list[dict[str, Array]]:
        """Input to hold it against another form of it: what it is warmed with, and rows that differ."""
        telling = telling_rows(self.signature, self._warmup, self._trial) if self.batchable else None
        return [self._feeds(1), *([] if telling is None else [telling])]

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


def _same(joined: Array, single: Array) -> bool:
    if joined.shape != single.shape:
        return False
    if joined.dtype.kind == "f":
        return np.allclose(joined, single, rtol=1e-3, atol=1e-4, equal_nan=True)
    return np.array_equal(joined, single)
