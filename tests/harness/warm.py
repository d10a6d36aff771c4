"""Programs of ours without their imports: forked from a process that has made them (`harness.warm_server`).

Each is a real process with streams, signals and an exit code of its own. Not so where the start is the point:
tests of an entry point or of what is imported start a new interpreter, and under `pytest --cold` all do.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]

_COMMAND = """#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({path!r})
    arguments = ["-m", "understudy", *sys.argv[1:]]
    wanted = dict(arguments=arguments, folder=os.getcwd(), environment=dict(os.environ), session=False)
    socket.send_fds(server, [json.dumps(wanted).encode()], [0, 1, 2])
    server.recv(100)
    status, seconds = server.recv(100).split()
with open({path!r} + ".seconds", "ab") as ended:
    ended.write(seconds + b"\\n")
sys.exit(os.waitstatus_to_exitcode(int(status)))
"""
"""A client of the server in a shell; as `Program`, and with few imports."""

_ended_seconds = 0.0
_server: "Server | None" = None


class Program:
    """A running `python ARGUMENTS`; what it has of `subprocess.Popen` is as there, and text.

    Args:
        server: that it is forked from.
        arguments: `-m` and a module or `-c` and a text, and what follows.
        cwd, env, stdin, stdout, stderr, start_new_session: as of `subprocess.Popen`.
    """

    def __init__(
        self,
        server: "Server",
        arguments: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
    ) -> None:
        wanted = {
            "arguments": [*map(str, arguments)],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "session": start_new_session,
        }
        self.returncode: int | None = None
        self._server = server.connection()
        with contextlib.ExitStack() as passed:
            self.stdin, read = _stream(stdin, 0, passed)
            self.stdout, written = _stream(stdout, 1, passed)
            self.stderr, told = _stream(written if stderr == subprocess.STDOUT else stderr, 2, passed)
            socket.send_fds(self._server, [json.dumps(wanted).encode()], [read, written, told])
        self.pid = int(self._server.recv(100))

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """For its end, so many seconds at the most; its exit code, the negative of a signal's number."""
        global _ended_seconds  # noqa: PLW0603  (a sum over all)
        if self.returncode is None:
            self._server.settimeout(timeout)
            try:
                status, seconds = self._server.recv(100).split()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None
            self._server.close()
            self.returncode = os.waitstatus_to_exitcode(int(status))
            _ended_seconds += float(seconds)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """With SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close its streams and wait for its end."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def python(*arguments: str | Path, **options: Any) -> "Program | subprocess.Popen[str]":
    """Start `python ARGUMENTS`: without its imports within `without_imports`, else as a new interpreter.

    So does one that is to find other modules than this process: it may exchange some that are imported early.
    """
    path = (options.get("env") or os.environ).get("PYTHONPATH")
    if _server is not None and path == os.environ.get("PYTHONPATH"):
        return Program(_server, arguments, **options)
    return subprocess.Popen([sys.executable, *arguments], text=True, **options)


def ran(*arguments: str | Path, timeout: float = 60.0, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run `python ARGUMENTS` to its end, whatever comes of it, and keep what it says."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with python(*arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options) as program:
            try:
                code = program.wait(timeout)
            except BaseException:
                program.kill()
                raise
        for said in (out, err):
            said.seek(0)
        return subprocess.CompletedProcess([*map(str, arguments)], code, out.read(), err.read())


def path_of_commands(path: str) -> str:
    """A search path on which a shell finds an `understudy` that forks, too, within `without_imports`."""
    return path if _server is None else f"{_server.commands()}{os.pathsep}{path}"


def ended_seconds() -> float:
    """CPU seconds of all programs that have been waited for, and of the processes that those waited for."""
    return _ended_seconds + (0.0 if _server is None else _server.seconds_of_commands())


@contextlib.contextmanager
def without_imports(folder: Path) -> Iterator[None]:
    """Within the block `python` forks, from a process that starts when it is needed."""
    global _server, _ended_seconds  # one for all that this process of tests starts
    with Server(folder / "socket") as _server:
        yield
    _server, _ended_seconds = None, 0.0  # all of them are among those of the server, which was waited for


class Server:
    """The process from which programs are forked; it starts when the first is wanted.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None

    def connection(self) -> socket.socket:
        """For one program."""
        self._start()
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(self._path))
        return client

    def commands(self) -> Path:
        """A folder with the commands that people type, as they are forked; they need the server."""
        folder = self._path.with_suffix(".commands")
        if not folder.exists():
            self._start()
            folder.mkdir()
            (folder / "understudy").write_text(_COMMAND.format(python=sys.executable, path=str(self._path)))
            (folder / "understudy").chmod(0o700)
        return folder

    def seconds_of_commands(self) -> float:
        """CPU seconds of those that have ended."""
        told = self._path.with_suffix(".seconds")
        return sum(map(float, told.read_text().split())) if told.exists() else 0.0

    def _start(self) -> None:
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.warm_server", self._path],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The end of its input is its end."""
        if self._process is not None:
            self._process.communicate()


def _stream(wanted: Any, number: int, passed: contextlib.ExitStack) -> tuple[IO[str] | None, int]:
    """This process's end of a standard stream, if it has one, and the descriptor that the program gets.

    Args:
        wanted: as of `subprocess.Popen`.
        number: of the stream.
        passed: closes what only the program needs.
    """
    if wanted is None:
        return None, number
    if wanted == subprocess.PIPE:
        read, written = os.pipe()
        ours, theirs = (read, written) if number else (written, read)
        passed.callback(os.close, theirs)
        return os.fdopen(ours, "r" if number else "w"), theirs
    if wanted == subprocess.DEVNULL:
        theirs = os.open(os.devnull, os.O_RDWR)
        passed.callback(os.close, theirs)
        return None, theirs
    return None, wanted if isinstance(wanted, int) else wanted.fileno()
