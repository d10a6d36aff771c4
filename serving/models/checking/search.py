"""Finding input that a model runs with: plain input first, then what `trials` thinks of."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import InvalidModel
from serving.models.graphs.stepped import Stepped
from serving.models.session.measured import ASK_FOR_WARMUP
from serving.models.session.model_errors import OUT_OF_MEMORY
from serving.models.session.onnx_model import OnnxModel
from serving.models.session.trials import Hints, trials
from serving.models.session.warmup import Trial, plain, trial_bytes

SEARCH_SECONDS = 3.0
"""Most models end a trial at their first operator that minds; those that do not are large."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search.

    Attributes:
        trial: the first that ran; None when none did.
        reason: what the plain one failed with; empty if it ran.
        whole: whether everything was tried that there is; time was up otherwise.
    """

    trial: Trial | None
    reason: str = ""
    whole: bool = True


def find(model: OnnxModel | Stepped, hints: Callable[[], Hints] | None, began: Callable[[], None]) -> Found:
    """Search; the plain trial is run without a limit in time, as it is no guess.

    Args:
        model: just loaded.
        hints: asked once plain input did not run; None tries nothing else then.
        began: called before what is not plain is tried.

    Raises:
        InvalidModel: plain input, than which there is none smaller, needs more memory than it may have.
    """
    first = plain(model.signature)
    reason = model.try_with(first, None)
    if not reason:
        return Found(first)
    if reason == OUT_OF_MEMORY:
        raise InvalidModel(f"{OUT_OF_MEMORY} (check.memory in config.yaml)")
    broken = model.outside is not None and model.outside.broke
    if hints is None or broken:
        return Found(None, reason)
    began()
    until = time.monotonic() + SEARCH_SECONDS
    limit = float("inf")
    for trial in trials(model.signature, model.dims, hints()):
        size = trial_bytes(model.signature, trial)
        left = until - time.monotonic()
        if left <= 0:
            return Found(None, reason, whole=False)
        if trial == first or size >= limit:
            continue
        failure = model.try_with(trial, left)
        if not failure:
            return Found(trial, reason)
        if failure == OUT_OF_MEMORY:
            limit = size
    return Found(None, reason)


def unmeasured(found: Found) -> str:
    """What people are told of a model that ran with nothing."""
    return f"it ran with no input that was made up ({found.reason}), so it is never joined; {ASK_FOR_WARMUP}"
