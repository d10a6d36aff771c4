"""A recorded request once more, by the same bytes of the model.

Law: what is loaded has the digest that the row names, or nothing is run; and it is run as a worker runs it,
by itself. An answer that was computed alone comes again bit for bit on the same kind of processor. One that
shared a run with other requests may differ from that by rounding (docs/decisions/0022), as another number of
rows may take another order of adding up; so may one of which the log does not say that it ran alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from router.pinned import PinnedRepository
from serving.errors import Conflict, InvalidModel, NotFound, ServingError
from serving.models.files.repository import ModelEntry, read
from serving.models.files.source import Source
from serving.models.kinds import load, verify
from serving.models.runnable import Runnable
from serving.models.session.warmup import needed
from serving.wire.bf16 import BF16, widened
from serving.wire.codec import codecs
from serving.wire.message import OIP_HTTP
from serving.wire.tensors import Array
from understudy.records.rows import Recorded

ROUNDING: Final = 1e-5
"""Of the largest number of a row: how much a shared run changed answers at most, but for models that magnify
rounding themselves (docs/benchmarks/independence.md)."""

Verdict = Literal["equal", "rounding", "different"]


@dataclass(frozen=True, slots=True)
class Output:
    """What became of one output.

    Attributes:
        verdict: `equal` bit for bit, within `rounding` where the run may have been shared, or `different`.
        distance: the largest difference, relative to the largest number of its row; 0 where they are equal,
            1 where they cannot be measured.
    """

    name: str
    verdict: Verdict
    distance: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found.

    Attributes:
        target: the model, `name/version`.
        digest: SHA-256 of the bytes that ran.
        shared: whether other requests were in the run that was recorded; None where nobody knows.
        outputs: each that was recorded; none of a request that failed.
        failed: why it fails again; empty of one that is answered.
    """

    target: str
    digest: str
    shared: bool | None
    outputs: tuple[Output, ...]
    failed: str = ""

    @property
    def verdict(self) -> Verdict:
        """Of all outputs the one that agrees least."""
        if not self.outputs:
            return "equal" if self.failed else "different"
        order: tuple[Verdict, ...] = ("equal", "rounding", "different")
        return max((output.verdict for output in self.outputs), key=order.index)


def replay(recorded: Recorded, models: Source, state: Path, threads: int) -> Replay:
    """Run a request again, and hold what comes against what was answered.

    Args:
        recorded: its row.
        models: where the bytes may be.
        state: state folder of a node, which keeps accepted bytes by their digest; they are looked for first.
        threads: of a run, unless the model's configuration says otherwise.

    Raises:
        Conflict: it cannot be run again, and why.
        NotFound, InvalidModel: its bytes are not to be had.
        ServingError: the model could not be loaded.
    """
    _refuse_what_cannot_be_run_again(recorded.values)
    target, digest, shared = (recorded.values[name] for name in ("target", "digest", "shared_run"))
    entry = _bytes_of(target, digest, models, state / "models")
    model = _loaded(entry, threads, state / "verified" if state.is_dir() else None)
    feeds = _feeds(recorded, target, model)
    names = list(recorded.outputs) or [spec.name for spec in model.signature.outputs]
    try:
        outputs = model.run(feeds, names)
    except ServingError as error:
        if not recorded.outputs:
            return Replay(target, digest, shared, (), failed=str(error))
        raise
    again = dict(zip(names, outputs, strict=True))
    found = (held(name, array, again[name], shared=shared) for name, array in recorded.outputs.items())
    return Replay(target, digest, shared, tuple(found))


def _refuse_what_cannot_be_run_again(values: Mapping[str, Any]) -> None:
    if not values["digest"]:
        raise Conflict(
            f"{values['target']}: no digest was recorded, as of a target behind a URL: ask it itself"
        )
    error = values["error"] or ""
    if values["status_code"] >= 400 and not error.startswith("failed: "):
        raise Conflict(
            f"it ended with status {values['status_code']} ({error or 'without a reason'}), which was not the"
            " model's doing: there is nothing to hold a replay against"
        )
    if values["logging_error"]:
        raise Conflict(f"the log could not keep all of it ({values['logging_error']})")


def _bytes_of(target: str, digest: str, models: Source, kept: Path) -> ModelEntry:
    """The version with these bytes: as a node kept it, else from the source of models."""
    name, _, version = target.partition("/")
    try:
        return PinnedRepository(models, kept, digest).find(name, version)
    except NotFound:
        pass
    try:
        entry = models.find(name, version)
    except NotFound:
        raise NotFound(
            f"{target} with SHA-256 {digest[:12]} is neither kept by a node (--state-dir) nor a model of"
            " --models"
        ) from None
    found = read(entry).sha256
    if found != digest:
        raise InvalidModel(
            f"{target}: it answered with the bytes of SHA-256 {digest[:12]}; --models has {found[:12]}, and"
            " no node keeps the others any more (--state-dir)"
        )
    return replace(entry, config=replace(entry.config, sha256={version: digest}))


def _loaded(entry: ModelEntry, threads: int, verified: Path | None) -> Runnable:
    [report] = verify([entry], threads, verified)
    if not report.ok:
        raise InvalidModel(f"{entry.name}/{entry.version}: {report.reason}")
    return load(entry, threads, report)


def _feeds(recorded: Recorded, target: str, model: Runnable) -> Mapping[str, Array]:
    """The inputs as they came."""
    raw = recorded.values["input_raw"]
    if raw is not None:
        name, _, version = target.partition("/")
        return codecs(name, version, model.signature)[OIP_HTTP].decode(raw, 0).inputs
    missing = [spec.name for spec in needed(model.signature) if spec.name not in recorded.inputs]
    if missing:
        raise Conflict(
            f"its input {missing[0]!r} is not in the log: the rollout redacts it, or has"
            " `record: {inputs: false}`"
        )
    return recorded.inputs


def held(name: str, recorded: Array, again: Array, *, shared: bool | None = None) -> Output:
    """Compare an output with what it was.

    Args:
        name: of the output.
        recorded: as it was answered.
        again: as it is now.
        shared: as of `Replay`; one that ran alone is to be equal bit for bit.
    """
    if recorded.dtype != again.dtype or recorded.shape != again.shape:
        return Output(name, "different", 1.0)
    if recorded.dtype == BF16:
        recorded, again = widened(recorded), widened(again)
    if recorded.dtype.kind != "f":
        same = np.array_equal(recorded, again)
        return Output(name, "equal" if same else "different", 0.0 if same else 1.0)
    if _same_bits(recorded, again):
        return Output(name, "equal", 0.0)
    distance = _distance(recorded.astype(np.float64), again.astype(np.float64))
    rounds = shared is not False and distance <= ROUNDING
    return Output(name, "rounding" if rounds else "different", distance)


def _same_bits(one: Array, other: Array) -> bool:
    """But for which NaN it is, which JSON does not tell."""
    same = np.array_equal(one, other, equal_nan=True)
    return same and bool((np.signbit(one) == np.signbit(other))[~np.isnan(one)].all())


def _distance(recorded: Array, again: Array) -> float:
    """The largest difference, relative to the largest number of its row: along all axes but the first."""
    finite = np.isfinite(recorded) & np.isfinite(again)
    if not ((recorded == again) | (np.isnan(recorded) & np.isnan(again)) | finite).all():
        return 1.0
    rows = recorded.shape[0] if recorded.ndim else 1
    before, after = (np.where(finite, side, 0).reshape(rows, -1) for side in (recorded, again))
    largest = np.abs(before).max(axis=1)
    apart = np.abs(after - before).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(apart == 0, 0.0, apart / largest)
    return float(min(relative.max(), 1.0))
