"""`python -m serving.models.python_steps.process FD`: the process that runs the functions of one graph.

It is told its files and limits, writes the files into its working folder, gives up what it needs no more, and
only then imports anything of them. Then it answers calls, one after the other, until whoever serves is gone.

Law: whatever a function does, what leaves this process is one answer for each call, made by the process that
was asked: of a function that forks, the copy ends where it would answer.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from serving.models.python_steps.wire import (
    MOST_ANSWER_BYTES,
    Ended,
    receive,
    receive_header,
    send,
    tensors_of,
)
from serving.wire.tensors import DATATYPES, Array, TensorSpec, from_bytes

Function = Callable[[dict[str, Array]], Mapping[str, Array]]

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_KNOWN = frozenset(DATATYPES.values())
_HOME = f"{Path.cwd()}{os.sep}"


class Misfit(Exception):
    """What a function returned is nothing that can be sent."""


def main() -> None:
    """Answer until the other side is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _die_with_parent()
    with suppress(Ended):
        job = receive_header(connection)
        _write(job["files"], connection)
        _confine(job["memory"])
        sys.path.insert(0, _HOME)
        try:
            functions = [_function(step["module"], step["function"]) for step in job["steps"]]
        except BaseException as error:  # noqa: BLE001  (foreign code may raise anything)
            send(connection, _fault(error))
            return
        send(connection, {})
        _answer(connection, functions, job["steps"])


def _die_with_parent() -> None:
    """However the one that serves ends, this process does; and it never gets more rights than it has."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with suppress(OSError):  # where memory runs short, it goes before whoever serves
        Path("/proc/self/oom_score_adj").write_text("1000")


def _write(files: Sequence[Mapping[str, Any]], connection: socket.socket) -> None:
    """Put the files into the working folder, which is the current one."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    for file in files:
        path = Path(file["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(receive(connection, file["size"]))


def _confine(memory_bytes: int) -> None:
    """From here on it writes no file, and takes so much memory more."""
    status = Path("/proc/self/status").read_text()
    used = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
    _lower(resource.RLIMIT_DATA, used + memory_bytes)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))  # calls are timed, and the process lives on


def _lower(kind: int, limit: int) -> None:
    """Set a limit for good, unless there is a lower one."""
    _, most = resource.getrlimit(kind)
    lowest = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (lowest, lowest))


def _function(module: str, function: str) -> Function:
    found = getattr(import_module(module), function, None)
    if not callable(found):
        raise AttributeError(f"module {module!r} has no function {function!r}")  # noqa: TRY004  (as Python does)
    return found  # type: ignore[no-any-return]


def _answer(
    connection: socket.socket, functions: Sequence[Function], steps: Sequence[Mapping[str, Any]]
) -> None:
    own = os.getpid()
    specs = [{name: TensorSpec(name, datatype, None) for name, datatype in step["inputs"]} for step in steps]
    while True:
        call = receive_header(connection)
        place = call["step"]
        arrays = {given["name"]: _array(given, specs[place], connection) for given in call["tensors"]}
        answer, parts = _called(functions[place], arrays)
        if os.getpid() != own:
            os._exit(0)
        send(connection, {"call": call["call"], **answer}, parts)
        del arrays, answer, parts  # while it waits, it keeps nobody's data


def _array(given: Mapping[str, Any], specs: Mapping[str, TensorSpec], connection: socket.socket) -> Array:
    data = memoryview(receive(connection, given["size"]))
    shape = given["shape"]
    return from_bytes(data, specs[given["name"]], shape, int(np.prod(shape, dtype=np.int64)))


def _called(function: Function, arrays: dict[str, Array]) -> tuple[dict[str, Any], Sequence[Any]]:
    """The header of the answer to a call, and its parts."""
    try:
        described, parts = tensors_of(_checked(function(arrays)))
    except Misfit as error:
        return {"misfit": str(error)}, ()
    except BaseException as error:  # noqa: BLE001  (foreign code may raise anything, SystemExit too)
        return _fault(error), ()
    size = sum(part.nbytes for part in parts)
    if size > MOST_ANSWER_BYTES:
        return {"misfit": f"it returned {size} bytes, and {MOST_ANSWER_BYTES} are the most"}, ()
    return {"tensors": described}, parts


def _checked(returned: object) -> dict[str, Array]:
    """Arrays that can be sent; whether they are what was declared is for the other side to say."""
    if not isinstance(returned, Mapping):
        raise Misfit(f"it returned {_kind(returned)}, and a mapping of named numpy arrays is asked for")
    return {str(name): _sendable(str(name), value) for name, value in returned.items()}


def _sendable(name: str, value: object) -> Array:
    if not isinstance(value, np.ndarray):
        raise Misfit(f"output {name!r} is {_kind(value)}, and a numpy array is asked for")
    array = np.asarray(value)
    if array.dtype.kind == "U":
        array = array.astype(np.object_)
    if array.dtype not in _KNOWN:
        raise Misfit(f"output {name!r} is of numpy's {array.dtype}, for which there is no datatype")
    if array.dtype.hasobject and not all(isinstance(text, str) for text in array.ravel().tolist()):
        raise Misfit(f"output {name!r} has objects that are no text")
    return array


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _fault(error: BaseException) -> dict[str, Any]:
    """What is told of an exception: its text, and where in the files of the graph it was raised."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  (foreign code again)
        text = ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_HOME)]
    place = f"{own[-1].filename.removeprefix(_HOME)}:{own[-1].lineno}" if own else ""
    return {"error": type(error).__name__, "text": text[:10_000], "place": place}


if __name__ == "__main__":
    main()
