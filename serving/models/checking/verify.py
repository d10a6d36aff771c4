"""Every model is first loaded and run in another process (`check`) with limited memory and time.

A model is a program: a graph of 150 bytes can ask for any amount of memory, or loop for ever. Law: whatever
it does happens in that process, and a model that exceeds its limits, crashes it or hangs is refused by
name while the others are still checked. One process checks all of them, one after the other, because
most of the cost is starting it; only a model that kills it costs another start.
"""

import dataclasses
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.host.bare import PYTHON, bare_environment
from serving.host.whole_files import write_whole
from serving.models.files.config import UNPROVEN
from serving.models.files.graph_file import GRAPH_FILE
from serving.models.files.repository import ModelEntry, read
from serving.models.session.warmup import Trial
from serving.wire.tensors import Signature, spec_from_json

TRYING = b'{"trying": true}\n'
"""The line in which the process says that from now on it does what need not be done: it tries input that the
model may not take, or makes one model of a graph."""

START_SECONDS = 60.0
CHECK_SECONDS, CHECK_SECONDS_PER_BYTE = 30.0, 60 / (1 << 30)
"""What a check may take if the configuration does not say: this long, and so much longer for the size of its
files, which are to be read and hashed, and come from slow disks and busy machines."""

MOST_FUSED, FUSED_SUFFIX = 32, ".onnx"
"""So many fused graphs are remembered; they are as large as their models."""

_CACHE_FORMAT = 8  # raise it with whatever a check looks at, the rules of independence too


@dataclass(frozen=True, slots=True)
class Report:
    """What came of checking one model.

    Attributes:
        reason: why it is refused; empty if it is not.
        signature: None when refused.
        sha256: of its files as they were checked; empty when they could not be read.
        run_seconds: of one run at batch 1, the median; 0 where it is not measured.
        peak_bytes: resident memory that loading and running it took, at most.
        trial: input that it runs with; None where its configuration names an .npz, or none was found.
        unmeasured: why it was not run, and the remedy; empty if it was. Such a model is served by itself.
        dependence: why a row may influence another one's result, in words; empty if it is proven from the
            graph that none does.
        said: what its file says of itself, by name: `producer`, and its metadata. Claims, all of them.
        form: of a graph, whether it is run as one session or step by step, and why; empty for one model.
        fused: the one model that a graph was made into; empty where it runs step by step, or is one model.
    """

    name: str
    version: str
    ok: bool
    reason: str = ""
    signature: Signature | None = None
    sha256: str = ""
    run_seconds: float = 0.0
    peak_bytes: int = 0
    trial: Trial | None = None
    unmeasured: str = ""
    dependence: str = UNPROVEN
    said: Mapping[str, str] = field(default_factory=dict)
    form: str = ""
    fused: bytes = field(default=b"", repr=False)


def verify(entries: Sequence[ModelEntry], threads: int = 1, cache: Path | None = None) -> list[Report]:
    """Check models; blocks for as long as that takes.

    Args:
        entries: which ones.
        threads: of one run, unless a configuration says otherwise.
        cache: a folder that remembers which files passed under which limits; it is made if need be, and
            what is wrong with it is ignored.

    Returns:
        A report for every entry, in their order.

    Raises:
        ServingError: the process that checks could not be started.
    """
    reports = []
    child: _Child | None = None
    try:
        for entry in entries:
            answer = _recall(cache, entry, threads) if cache is not None else None
            if answer is None:
                if child is None or not child.is_alive():
                    child = _Child()
                answer = child.ask(entry, threads)
                if answer.get("trying"):  # what was tried last ended it, and not the model by itself
                    child = _Child()
                    answer = child.ask(entry, threads, trying=False)
                if cache is not None and not answer["reason"] and answer["whole"]:
                    _remember(cache, entry, threads, answer)
            reports.append(_report(entry, answer))
    finally:
        if child is not None:
            child.kill()
    return reports


class _Child:
    """The process that checks, in a session of its own so that it is killed with all it may have started."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (our own)
            [*PYTHON, "-m", "serving.host.entry", "serving.models.checking.check"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env=bare_environment(),
            start_new_session=True,
        )
        self._received = bytearray()
        try:
            started = self._line(START_SECONDS)
        except BaseException:
            self.kill()
            raise
        if started is None:
            self.kill()
            raise ServingError("the process that checks models did not start")

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, entry: ModelEntry, threads: int, *, trying: bool = True) -> dict[str, Any]:
        """What `check` says of a model, or a refusal if it killed or hung the process.

        With `trying` in it, that happened while something was tried that need not be done. Bytes that follow
        the answer are in it as `fused`.
        """
        seconds = _check_seconds(entry)
        job = {
            "name": entry.name,
            "version": entry.version,
            "path": str(entry.path.absolute()),
            "root": str(entry.root.absolute()),
            "config": {**dataclasses.asdict(entry.config), "check_time": seconds},
            "python_steps": entry.python_steps,
            "threads": threads,
            "try": trying,
        }
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # no answer will come, and that says it
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
        until = time.monotonic() + seconds
        line, tried = self._line(seconds), False
        while line is not None and line + b"\n" == TRYING:
            line, tried = self._line(until - time.monotonic()), True
        if line is not None:
            answer: dict[str, Any] = json.loads(line)
            fused = self._exactly(answer.pop("fused_bytes"), until - time.monotonic())
            if fused is not None:
                return answer | {"fused": fused}
        hung = self._process.poll() is None
        self.kill()
        code = self._process.returncode
        if hung or code == -signal.SIGXCPU:
            reason = f"it did not load and run within {seconds:.4g} s (check.time in config.yaml)"
        else:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            reason = f"it crashed the process that checked it ({how})"
        return {"reason": reason, "sha256": "", "trying": tried}

    def kill(self) -> None:
        """End it and everything that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _line(self, timeout_seconds: float) -> bytes | None:
        """The next line it writes; None when time is up or it ended (it is waited for then)."""
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._received:
            if not self._receive(deadline):
                return None
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        return line

    def _exactly(self, size: int, timeout_seconds: float) -> bytes | None:
        """As `_line`, so many bytes."""
        deadline = time.monotonic() + timeout_seconds
        while len(self._received) < size:
            if not self._receive(deadline):
                return None
        found = bytes(self._received[:size])
        del self._received[:size]
        return found

    def _receive(self, deadline: float) -> bool:
        """Read what it wrote; whether there was something in time, and it has not ended."""
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return False
        data = os.read(output.fileno(), 1 << 16)
        if not data:
            self._process.wait()
        self._received += data
        return bool(data)


def _check_seconds(entry: ModelEntry) -> float:
    if entry.config.check_time is not None:
        return entry.config.check_time
    size = 0
    with suppress(OSError):  # the check says what is wrong with it
        size = sum(path.stat().st_size for path in entry.path.parent.rglob("*") if path.is_file())
    return CHECK_SECONDS + CHECK_SECONDS_PER_BYTE * size


def _report(entry: ModelEntry, answer: dict[str, Any]) -> Report:
    if answer["reason"]:
        return Report(entry.name, entry.version, ok=False, reason=answer["reason"], sha256=answer["sha256"])
    inputs, outputs = (
        tuple(spec_from_json(described) for described in answer[side]) for side in ("inputs", "outputs")
    )
    return Report(
        entry.name,
        entry.version,
        ok=True,
        signature=Signature(inputs, outputs),
        sha256=answer["sha256"],
        run_seconds=answer["run_seconds"],
        peak_bytes=answer["peak_bytes"],
        trial=None if answer["trial"] is None else trial_of(answer["trial"]),
        unmeasured=answer["unmeasured"],
        dependence=answer["dependence"],
        said={str(name): str(value) for name, value in answer["said"].items()},
        form=str(answer["form"]),
        fused=answer["fused"],
    )


def trial_of(answer: Mapping[str, Any]) -> Trial:
    """The inverse of `dataclasses.asdict`, through JSON too."""
    return Trial(*(tuple(tuple(item) for item in answer[side]) for side in ("shapes", "fills")))


# ------------------------------------------------------------------ what passed before


def _recall(folder: Path, entry: ModelEntry, threads: int) -> dict[str, Any] | None:
    """The answer that the same files got under the same limits, if it can be read and is whole."""
    try:
        place = _place(folder, entry, threads, read(entry).identity)
        answer = json.loads(place.read_bytes())
        digest = answer.pop("fused_sha256")
        answer["fused"] = place.with_suffix(FUSED_SUFFIX).read_bytes() if digest else b""
        if digest and hashlib.sha256(answer["fused"]).hexdigest() != digest:
            return None
        _report(entry, answer)
    except (OSError, ServingError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return answer  # type: ignore[no-any-return]


def _remember(folder: Path, entry: ModelEntry, threads: int, answer: dict[str, Any]) -> None:
    """Passes only: a refusal may have been due to a busy machine."""
    kept = {key: value for key, value in answer.items() if key != "fused"}
    fused: bytes = answer["fused"]
    kept["fused_sha256"] = hashlib.sha256(fused).hexdigest() if fused else ""
    with suppress(OSError):  # without the file, it is checked again
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = _place(folder, entry, threads, answer["identity"])
        if fused:
            write_whole(place.with_suffix(FUSED_SUFFIX), fused, mode=0o600)
            _forget_fused(folder)
        write_whole(place, json.dumps(kept).encode(), mode=0o600)


def _forget_fused(folder: Path) -> None:
    """Keep only the newest: one that is gone is made again."""
    newest_first = sorted(
        folder.glob(f"*{FUSED_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in newest_first[MOST_FUSED:]:
        path.unlink(missing_ok=True)


@cache
def _installed() -> str:
    """All that a step in Python could import, by name and version."""
    packages = sorted(f"{found.name}=={found.version}" for found in distributions())
    return hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()


def _place(folder: Path, entry: ModelEntry, threads: int, identity: str) -> Path:
    """A file name of everything that could change the answer; `answer[identity]` is of what was checked."""
    config = entry.config
    circumstances = [
        _CACHE_FORMAT,
        version("onnxruntime"),
        identity,
        threads,
        config.threads,
        config.providers,
        config.optimization,
        config.check_memory,
        config.check_time,
        entry.python_steps,
        _installed() if entry.python_steps and entry.path.name == GRAPH_FILE else "",
    ]
    return folder / f"{hashlib.sha256(json.dumps(circumstances).encode()).hexdigest()}.json"
