"""Standard error as a place for log lines that nobody ever waits for.

Law: writing a line takes no longer than a system call. A line that standard error cannot take just now (the
pipe's reader sleeps, the disk is full) is dropped and counted, and the next one that gets through is
preceded by how many were.
"""

import os
import socket
import stat
import sys
from contextlib import suppress
from functools import cache

from serving.telemetry.cells import Counter, Family, Metrics

LOG_LINES_DROPPED = Family(
    "understudy_log_lines_dropped", "counter", "Log lines that standard error could not take."
)


class LogSink:
    """Where structlog writes; one for a process.

    Args:
        fd: of standard error.

    Attributes:
        dropped: lines so far.
    """

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._counter: Counter | None = None
        self._told = 0
        self._fd = fd
        self._own = False
        self._socket: socket.socket | None = None
        with suppress(OSError):
            mode = os.fstat(fd).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = socket.socket(fileno=os.dup(fd))
            elif stat.S_ISFIFO(mode) or os.isatty(fd):  # a terminal may be held too, by Ctrl-S
                # A description of our own: O_NONBLOCK on the one given would be everyone's who shares it.
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
                self._fd = os.open(f"/proc/self/fd/{fd}", flags)
                self._own = True

    def count_in(self, metrics: Metrics) -> None:
        """Show the drops from now on as `understudy_log_lines_dropped_total`."""
        self._counter = metrics.counter(LOG_LINES_DROPPED)

    def write(self, text: str) -> int:
        """Write one line, or drop it."""
        line = text.encode("utf-8", "backslashreplace")
        if self.dropped > self._told:
            told, note = self.dropped, f"{self.dropped - self._told} log lines were dropped here\n"
            if not self._put(note.encode()):
                self._drop()
                return len(text)
            self._told = told
        if not self._put(line):
            self._drop()
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Let go of what was opened here; standard error itself stays."""
        if self._socket is not None:
            self._socket.close()
        elif self._own:
            os.close(self._fd)

    def _put(self, line: bytes) -> bool:
        try:
            if self._socket is not None:
                return self._socket.send(line, socket.MSG_DONTWAIT) == len(line)
            return os.write(self._fd, line) == len(line)
        except OSError:
            return False

    def _drop(self) -> None:
        self.dropped += 1
        if self._counter is not None:
            self._counter.add()


@cache
def log_sink() -> LogSink:
    """This process's."""
    return LogSink(sys.__stderr__.fileno() if sys.__stderr__ is not None else -1)
