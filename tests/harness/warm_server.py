"""`python -m harness.warm_server SOCKET`: a process that has imported the product, and forks programs.

What is forked from it is a process as any other, with arguments, folder, environment, standard streams,
signals and an exit code of its own. It has only made its imports, most of the CPU time of a command.
`harness.warm` is its client.

Law: it has one thread, since a fork copies no other, and begins nothing that a program would find begun.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import socket
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from serving.host.entry import imported, served

SERVED = (
    *("understudy.processes.node", "understudy.processes.control", "understudy.processes.serve"),
    *("understudy.supervision.supervisor", "control.__main__"),
    *("serving.__main__", "router.worker", "router.sandbox"),
)
"""Of processes that talk to nobody, which import nothing that prints in colours."""
TYPED = ("understudy.cli", "rich.console")
"""Of commands that people type."""
LONGEST_BYTES = 1 << 17
"""Of a request; Linux takes no longer argument of a program either."""
INPUT = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for.

    Args:
        arguments: of `python`: `-m` and a module or `-c` and a text, and what follows.
        folder: where it runs.
        environment: all of it.
        session: whether it leads a session of its own.
        streams: descriptors of standard input, output and errors.
    """

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    session: bool
    streams: list[int]

    @classmethod
    def received(cls, client: socket.socket) -> "Wanted":
        """The request of a client."""
        text, streams, _, _ = socket.recv_fds(client, LONGEST_BYTES, 3)
        return cls(**json.loads(text), streams=streams)


def forked(listener: socket.socket) -> Wanted:
    """Fork for each client until standard input ends. Returns in what is forked: what it is to be.

    A client is told the process id and, when the process has ended, its status as `os.wait4` has it and its
    CPU seconds.
    """
    running: dict[int, tuple[int, socket.socket]] = {}  # descriptor of a process -> its id and its client
    while True:
        for ready in select.select([INPUT, listener, *running], [], [])[0]:
            if ready == INPUT:
                sys.exit()
            elif ready in running:
                pid, client = running.pop(ready)
                os.close(ready)
                _, status, usage = os.wait4(pid, 0)
                tell(client, f"{status} {usage.ru_utime + usage.ru_stime}")
                client.close()
            else:
                client = listener.accept()[0]
                wanted = Wanted.received(client)
                if not (pid := os.fork()):
                    close(listener, client, running)
                    return wanted
                for stream in wanted.streams:
                    os.close(stream)
                tell(client, str(pid))
                running[os.pidfd_open(pid)] = pid, client


def close(
    listener: socket.socket, client: socket.socket, running: dict[int, tuple[int, socket.socket]]
) -> None:
    """Of a process that is forked: what only this one needs."""
    listener.close()
    client.close()
    for process, (_, other) in running.items():
        os.close(process)
        other.close()


def tell(client: socket.socket, text: str) -> None:
    """A client, should it still be there."""
    with contextlib.suppress(OSError):
        client.send(text.encode())


def become(wanted: Wanted) -> None:
    """Take the place that the program is to have: its streams, folder, environment and search path."""
    if wanted.session:
        os.setsid()
    os.chdir(wanted.folder)
    os.environ.clear()
    os.environ.update(wanted.environment)
    for number, stream in enumerate(wanted.streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    sys.path[:0] = [wanted.folder, *filter(None, wanted.environment.get("PYTHONPATH", "").split(os.pathsep))]
    gc.enable()


def run(arguments: list[str]) -> None:
    """Run a program as the interpreter does; what it raises ends the process as it does there."""
    how, program, *rest = arguments
    if how == "-m":
        if program == "understudy" and rest[:1] in (["up"], ["node"]):
            import_module("harness.warm_preloader").fork_preloader()
        sys.argv = [program, *rest]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [how, *rest]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), vars(main))


def run_and_leave(arguments: list[str]) -> NoReturn:
    """Run a program and end as the interpreter does, but without freeing all that was imported.

    That takes 80 ms of CPU time, as much as many a command. What ends by an error, or with a message, ends as
    usual; so does every program under `pytest --cold`.
    """
    code = 0
    try:
        run(arguments)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
    except OSError:
        sys.exit(code)  # which says so
    os._exit(code & 0xFF)


def main(path: str) -> None:
    """Listen at a path of the file system, and say so with a line."""
    for module in SERVED:
        served(module)
    for module in TYPED:
        imported(module)
    gc.disable()
    gc.freeze()
    [thread] = Path("/proc/self/task").iterdir()
    assert int(thread.name) == os.getpid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(32)
    print("listening", flush=True)
    wanted = forked(listener)
    become(wanted)
    run_and_leave(wanted.arguments)


if __name__ == "__main__":
    main(sys.argv[1])
