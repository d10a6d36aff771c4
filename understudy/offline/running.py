"""Base and candidate, run on the same rows by the way of every server: verify, load, `Runnable.run`.

Law: whatever a model does to a row is data: an answer, a refusal, a failure. Each is verified in a process of
its own with limits, which also tells what memory it takes; what is run here has passed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.mirror.mirrored import Tensors
from serving.errors import InvalidInput, InvalidModel, ModelFailed, ServingError
from serving.models.kinds import load, verify
from serving.models.runnable import Runnable
from serving.places import Origin
from serving.sources.opening import open_source
from serving.wire.tensors import Array


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded model.

    Args:
        key: `name/version`.
        model: warm, as far as there is input to warm it with.
        sha256: of its files.
        peak_bytes: resident memory that loading it and running it once took, at most, in a process of its
            own.
        dependence: why a row may influence another one's result, in words; empty if it is proven that none
            does.
    """

    key: str
    model: Runnable
    sha256: str
    peak_bytes: int
    dependence: str = ""

    @property
    def output_names(self) -> tuple[str, ...]:
        """All outputs, in the model's order."""
        return tuple(spec.name for spec in self.model.signature.outputs)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model made of a row.

    Args:
        outputs: None where it gave none.
        error: why, in words.
        refused: it said that the request is wrong, and did not fail.
    """

    outputs: Tensors | None
    error: str = ""
    refused: bool = False


def open_model(models: Path | Origin, key: str, threads: int) -> Opened:
    """Verify, load and warm a model; blocks.

    Args:
        models: where they come from.
        key: `name/version`.
        threads: of one run, unless its configuration says otherwise.

    Raises:
        ServingError: it is not there, or refused; says which.
    """
    name, slash, version = key.partition("/")
    if not slash:
        raise InvalidInput(f"{key!r}: expected a model and its version, e.g. digits/2")
    entry = open_source(models).find(name, version)
    [report] = verify([entry], threads)  # alone in its process: what another one left there tells nothing
    if not report.ok:
        raise InvalidModel(f"{key} is refused: {report.reason}")
    model = load(entry, threads, report)
    model.warm_alone()
    return Opened(key, model, report.sha256, report.peak_bytes, report.dependence)


def run(opened: Opened, feeds: Mapping[str, Array]) -> Answer:
    """Run a model on a row."""
    names = opened.output_names
    try:
        return Answer(dict(zip(names, opened.model.run(feeds, names), strict=True)))
    except ServingError as error:
        why = error.reason if isinstance(error, ModelFailed) else str(error)
        return Answer(None, why, refused=error.status < 500)


def run_both(
    base: Opened, candidate: Opened, rows: Sequence[Mapping[str, Array]], note: Callable[[], None]
) -> Iterator[tuple[Answer, Answer]]:
    """Run base and candidate on each row, in order; `note` is called after each."""
    for feeds in rows:
        yield run(base, feeds), run(candidate, feeds)
        note()
