"""The process of a graph's Python steps, seen from whoever serves it: begun, asked, ended, begun again.

Law: a call has an answer or an error by its deadline, whatever the function does. Which process answers is
nobody's business but this module's: one that ended, took too long or answered with nonsense is killed with
all that it started, and another one takes its place, at once after a long life and with growing pauses after
short ones. Meanwhile the graph is not ready, and says why.

A thread of its own begins the processes and waits for their ends: the kernel ends a process with the thread
that began it (`PR_SET_PDEATHSIG`, prctl(2)), so that thread has to live as long.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput, InvalidModel, ModelFailed, Unavailable
from serving.host.bare import PYTHON, bare_environment
from serving.models.files.python_step import Limits, PythonStep
from serving.models.python_steps.folder import working_folder
from serving.models.python_steps.wire import (
    MOST_ANSWER_BYTES,
    Ended,
    Garbled,
    receive,
    receive_header,
    send,
    tensors_of,
)
from serving.models.runnable import Reason
from serving.wire.tensors import Array, TensorSpec, count_elements, from_bytes, shape_json

START_SECONDS = 60.0
"""To import the modules of all steps."""
LONG_LIFE_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Before a process is begun again after several with short lives, doubling; after the first there is none."""

_MODULE = "serving.models.python_steps.process"
_PATH = re.compile(r"(?:/[^\s/'\"]+)+/")
_MAX_TEXT = 300


class _Life:
    """One process, from its start to its end; made, waited for and buried by the thread that keeps it.

    Args:
        folder: its working folder.

    Attributes:
        connection: to ask it, for who has `asking`; its number is another one's once it is closed.
        why: why it was killed or, once it is `over`, how it ended.
        reason: the kind of that.
        over: set when it has ended.
    """

    def __init__(self, folder: Path) -> None:
        self.connection, theirs = socket.socketpair()
        self.why = ""
        self.reason: Reason = "ended"
        self.asking = threading.Lock()
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._buried = False
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own)
                [*PYTHON, "-B", "-m", _MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=bare_environment(
                    HOME=str(folder), TMPDIR=str(folder), LANG="C.UTF-8", OMP_NUM_THREADS="1"
                ),
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except OSError:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def kill(self, why: str = "", reason: Reason = "ended") -> None:
        """End it, unless it has ended."""
        with self._lock:
            self.why, self.reason = self.why or why, reason
            if not self._buried:
                os.kill(self._process.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Wait for its end, and end what it left behind in its group."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._buried = True
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.why = self.why or f"its process ended ({how})"
        self.over.set()
        with suppress(OSError):  # a copy of the process may have the other end
            self.connection.shutdown(socket.SHUT_RDWR)
        with self.asking:
            self.connection.close()


class Sandbox:
    """Runs the Python steps of one graph; what it is asked is asked one after the other.

    Args:
        steps: name and function of each.
        files: what their process finds in its working folder, by location.
        limits: of a call and of the process.

    Attributes:
        problem: why no call is taken now; empty where one is.
        broke: what a function last did that none may: end its process, take too long, return something else
            than is declared.
        ended, changed: as of `Outside`.

    Raises:
        InvalidModel: a function cannot be had.
    """

    def __init__(
        self, steps: Sequence[tuple[str, PythonStep]], files: Mapping[str, bytes], limits: Limits
    ) -> None:
        self.problem = "its process is being started"
        self.broke = ""
        self.ended: Callable[[Reason], None] = lambda _reason: None
        self.changed: Callable[[bool], None] = lambda _ready: None
        self._steps = tuple(steps)
        self._files = dict(files)
        self._limits = limits
        self._life: _Life | None = None  # that takes calls
        self._newest: _Life | None = None  # that is there, perhaps still importing
        self._state = threading.Condition()
        self._pausing = False
        self._closed = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._numbers = count()
        self._keeper = threading.Thread(target=self._keep, name="python steps", daemon=True)
        self._keeper.start()
        with self._state:
            self._state.wait_for(lambda: self._life is not None or self._pausing)
            why = "" if self._life is not None else self.problem
        if why:
            self.close()
            raise InvalidModel(why)

    def close(self) -> None:
        """End the process, for good; blocks until it has."""
        with self._state:
            self._closed.set()
            life = self._newest
        if life is not None:
            life.kill()
        self._keeper.join()

    # ------------------------------------------------------------------ a call

    def run(self, place: int, arrays: Mapping[str, Array]) -> list[Array]:
        """Call a function.

        Args:
            place: of the step among these steps.
            arrays: by the function's own names.

        Returns:
            What is declared as its outputs, in that order.

        Raises:
            Unavailable: its process is not there.
            ModelFailed: it failed, took too long, or returned something else than is declared.
        """
        name, step = self._steps[place]
        with self._one_at_a_time:
            life = self._taken(name)
            try:
                with life.asking:
                    return self._call(life, place, arrays, time.monotonic() + self._limits.seconds)
            except TimeoutError:
                most = f"{self._limits.seconds:g} s"
                why = f"{step.named} took longer than {most} (sandbox.time in graph.yaml)"
                self._lose(life, f"a call took longer than {most}", "time")
            except Garbled as error:
                why = f"its process sent no answer: {error}"
                self._lose(life, "its process sent no answer", "garbled")
            except Ended:
                self._lose(life, "", "ended")
                life.over.wait(START_SECONDS)
                why = life.why
        self.broke = why
        raise _failed(name, why, why)

    def _taken(self, name: str) -> _Life:
        """The process to ask; while it is being started anew, that is waited for, but no pause is."""
        with self._state:
            self._state.wait_for(
                lambda: self._life is not None or self._pausing or self._closed.is_set(),
                self._limits.seconds,
            )
            if self._life is None:
                raise Unavailable(f"step {name!r}: {self.problem}")
            return self._life

    def _call(self, life: _Life, place: int, arrays: Mapping[str, Array], until: float) -> list[Array]:
        name, step = self._steps[place]
        number = next(self._numbers)
        described, parts = tensors_of(arrays)
        send(life.connection, {"call": number, "step": place, "tensors": described}, parts, until)
        answer = receive_header(life.connection, until)
        if answer.get("call") != number:
            raise Garbled("it is of another call")
        if "error" in answer:
            raise self._raised(name, answer)
        if "misfit" in answer:
            made: list[Array] | str = _text(answer["misfit"])
        else:
            made = _received(answer, step.signature.outputs, life.connection, until)
        if isinstance(made, str):
            self.broke = f"{step.named}: {made}"
            raise _failed(name, self.broke, self.broke)
        return made

    def _raised(self, name: str, answer: Mapping[str, Any]) -> ModelFailed:
        """The log is told where and what, but not its text, which may have what a client sent."""
        kind, place = _text(answer["error"]), _text(answer.get("place", ""))
        if kind == "MemoryError":
            most = f"{self._limits.memory_bytes >> 20} MiB"
            text = why = f"it needs more memory than it may have ({most}; sandbox.memory in graph.yaml)"
            return _failed(name, text, why)
        text = _text(answer.get("text", ""))
        return _failed(name, f"{kind}: {text}" if text else kind, f"{kind} at {place}" if place else kind)

    def _lose(self, life: _Life, why: str, reason: Reason) -> None:
        """Ask it no more; the thread that keeps it does the rest."""
        with self._state:
            if self._life is life:
                self._life, self.problem = None, why or "its process ended"
        life.kill(why, reason)

    # ------------------------------------------------------------------ lives

    def _keep(self) -> None:
        short_lives = 0
        while not self._closed.is_set():
            began = time.monotonic()
            why, reason = self._live()
            if self._closed.is_set():
                break
            short_lives = 0 if time.monotonic() - began > LONG_LIFE_SECONDS else short_lives + 1
            pause = 0.0 if short_lives < 2 else min(FIRST_PAUSE * 2 ** (short_lives - 2), LONGEST_PAUSE)
            self._tell(None, why, pausing=pause > 0 or reason is None)
            if reason is not None:
                self.ended(reason)
            self._closed.wait(pause)
        self._tell(None, "it is being unloaded", pausing=False)

    def _live(self) -> tuple[str, Reason | None]:
        """One life: why it ended; without a reason where it never answered."""
        try:
            with working_folder() as folder:
                life = self._newest = _Life(folder)
                why = self._started(life)
                if why:
                    life.kill(why)
                else:
                    self._tell(life, "", pausing=False)
                    if self._closed.is_set():
                        life.kill()
                life.bury()
                return life.why, None if why else life.reason
        except OSError as error:
            return f"its process cannot be started ({error.strerror})", None

    def _started(self, life: _Life) -> str:
        """Tell it what it is for; why it is of no use, empty if it is."""
        files = [{"name": name, "size": len(data)} for name, data in self._files.items()]
        steps = [
            {
                "module": step.module,
                "function": step.function,
                "inputs": [(spec.name, spec.datatype) for spec in step.signature.inputs],
            }
            for _, step in self._steps
        ]
        job = {"files": files, "memory": self._limits.memory_bytes, "steps": steps}
        until = time.monotonic() + START_SECONDS
        try:
            send(life.connection, job, list(self._files.values()), until)
            answer = receive_header(life.connection, until)
        except TimeoutError:
            return f"its modules were not imported within {START_SECONDS:g} s"
        except (Ended, Garbled):
            return "its process ended while it imported its modules"
        if "error" not in answer:
            return ""
        at = f"{_text(answer.get('place', ''))}: " if answer.get("place") else ""
        return f"{at}{_text(answer['error'])}: {_text(answer.get('text', ''))}"

    def _tell(self, life: _Life | None, problem: str, *, pausing: bool) -> None:
        with self._state:
            self._life, self.problem, self._pausing = life, problem, pausing
            self._state.notify_all()
        if not self._closed.is_set():
            self.changed(life is not None)


def _failed(name: str, text: str, reason: str) -> ModelFailed:
    return ModelFailed(f"step {name!r}: {text}", f"step {name!r}: {reason}")


def _text(told: object) -> str:
    """What a function said, as one short line without paths of this machine."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(told))
    return _PATH.sub("", " ".join(plain.split()))[:_MAX_TEXT]


# ------------------------------------------------------------------ answers


def _tensors(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an answer says of its tensors, as far as it can be received.

    Raises:
        Garbled: it cannot.
    """
    tensors = answer.get("tensors")
    if not isinstance(tensors, list) or not all(map(_is_described, tensors)):
        raise Garbled("it does not say what is in it")
    if sum(tensor["size"] for tensor in tensors) > MOST_ANSWER_BYTES:
        raise Garbled("it is too large")
    return tensors


def _is_described(tensor: object) -> bool:
    return (
        isinstance(tensor, dict)
        and isinstance(tensor.get("name"), str)
        and isinstance(tensor.get("datatype"), str)
        and isinstance(tensor.get("shape"), list)
        and all(type(length) is int and length >= 0 for length in tensor["shape"])
        and type(tensor.get("size")) is int
        and tensor["size"] >= 0
    )


def _received(
    answer: Mapping[str, Any], specs: Sequence[TensorSpec], connection: socket.socket, until: float
) -> list[Array] | str:
    """The arrays of an answer, in the order declared, or what it has otherwise than it is declared.

    Raises:
        Garbled: it is not what its header says.
    """
    tensors = _tensors(answer)
    data = [memoryview(receive(connection, tensor["size"], until)) for tensor in tensors]
    misfit = _misfit(tensors, specs)
    if misfit:
        return misfit
    came = {tensor["name"]: (tensor["shape"], part) for tensor, part in zip(tensors, data, strict=True)}
    try:
        return [_array(spec, *came[spec.name]) for spec in specs]
    except InvalidInput as error:
        raise Garbled(str(error)) from None


def _array(spec: TensorSpec, shape: list[int], data: memoryview) -> Array:
    return from_bytes(data, spec, shape, count_elements(shape, spec))


def _misfit(tensors: Sequence[Mapping[str, Any]], specs: Sequence[TensorSpec]) -> str:
    """What these have otherwise than they are declared; empty if nothing."""
    there, declared = sorted(tensor["name"] for tensor in tensors), sorted(spec.name for spec in specs)
    if there != declared:
        has = ", ".join(map(_quoted, there)) or "nothing"
        return f"it returned {has}, and {', '.join(map(_quoted, declared))} is declared"
    by_name = {tensor["name"]: tensor for tensor in tensors}
    for spec in specs:
        shape, known = by_name[spec.name]["shape"], spec.shape or ()
        fits = len(shape) == len(known) and all(a == b or b < 0 for a, b in zip(shape, known, strict=True))
        datatype = by_name[spec.name]["datatype"]
        if datatype != spec.datatype or not fits:
            made = f"{_text(datatype)} {_text(shape)}"
            return f"output {spec.name!r} is {made}, and {spec.datatype} {shape_json(spec)} is declared"
    return ""


def _quoted(name: str) -> str:
    return repr(name[:60])
