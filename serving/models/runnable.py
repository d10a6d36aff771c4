"""What the runtime asks of a model in memory, whatever it is made of. Pure.

Law: `run` gives the same answer whichever thread calls it; and where `prepare` said that rows may be joined,
each row gets what it gets alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from serving.wire.tensors import Array, Signature

INLINE_SECONDS = 100e-6
"""A model that runs shorter than this costs less on the event loop than the way to a thread and back."""


Reason = Literal["ended", "time", "garbled"]
"""Why a process of Python steps ends: by itself or a signal, for a call that took too long, or for an answer
that is none."""


class Outputs(list[Array]):
    """What a run of several steps gives.

    Attributes:
        seconds: that each step took, in their order; 0 for one that did not run.
    """

    __slots__ = ("seconds",)

    def __init__(self, outputs: Iterable[Array], seconds: Sequence[float]) -> None:
        super().__init__(outputs)
        self.seconds = seconds


class Outside(Protocol):
    """What of a model runs in another process.

    Attributes:
        problem: why it takes no call now; empty where it does.
        ended, changed: called by a thread of its own when a process has ended, with the reason, and when it
            takes calls or does not any more.
    """

    problem: str
    ended: Callable[[Reason], None]
    changed: Callable[[bool], None]

    def close(self) -> None:
        """End it, for good; blocks until it has."""


class Runnable(Protocol):
    """A loaded model; `run` may be called by several threads at once.

    Attributes:
        signature: what it takes and gives.
        identity: a digest of all that it was made of; other files, another identity.
        labels: names of the classes, in the order of its outputs; empty where none are known.
        measured: whether there is input that it can be warmed with; without it is neither warmed nor joined.
        run_seconds: of one run at batch 1, the median; 0 until it is warm.
        rows_per_second: by rows of a batch, what the search for the best one measured; empty without one.
        dependence: why a row may influence another one's result, in words; empty where rows are independent.
        form: how a model made of models is run, in words; empty for one model.
        steps: what it runs one after the other, where those are several.
        outside: what of it runs in another process, for which no event loop may wait; None where all is here.
    """

    signature: Signature
    identity: str
    labels: tuple[str, ...]
    measured: bool
    run_seconds: float
    rows_per_second: dict[int, float]
    dependence: str
    form: str
    steps: tuple[str, ...]

    @property
    def outside(self) -> Outside | None:
        """As said above."""

    def run(self, feeds: Mapping[str, Array], output_names: Sequence[str]) -> list[Array]:
        """Run once.

        Args:
            feeds: an array for every input that is needed, of its datatype and shape; BYTES as `str`.
            output_names: which outputs, at least one.

        Returns:
            The outputs, in the order of their names; `Outputs` where it has steps.

        Raises:
            InvalidInput: the model cannot take these values or shapes.
            ModelFailed: it failed otherwise.
        """

    def warm_alone(self) -> None:
        """Warm it with one row, and set `run_seconds`; nothing where it cannot be measured.

        Raises:
            InvalidModel: it cannot run.
        """

    def prepare(self, dependence: str) -> int:
        """Warm it for every batch that it will be given; sets `dependence`, `run_seconds`, `rows_per_second`.

        Args:
            dependence: what verification says of it.

        Returns:
            The most rows to run together; 1 never joins requests.

        Raises:
            InvalidModel: it cannot run, or not in the batches that its configuration asks for.
        """
