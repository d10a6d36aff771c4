"""What every process of ours needs before it does its work: logs, private files, an end with its parent."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from secrets import randbits
from typing import TextIO, cast

import structlog

from serving.host.ending import ending
from serving.telemetry.foreign_logs import take_in
from serving.telemetry.log_sink import log_sink


def set_up_logs(log_format: str, level: str) -> None:
    """Structured logs on standard error, for this process."""
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", log_sink())),
        cache_logger_on_first_use=True,
    )
    take_in()


@cache
def _start() -> str:
    """Of this process; drawn when it is first asked for, which is after a fork."""
    return f"{randbits(32):08x}"


def instance_name(node: str, process: str) -> str:
    """What control knows this start of a process by; it ends in the pid, which the next start may have too.

    Args:
        node: name of the node.
        process: of the process in it.
    """
    return f"{node}/{process}/{_start()}/{os.getpid()}"


def warn_of(problems: Iterable[str]) -> None:
    """Say in the log what was left out of the model repository."""
    for problem in problems:
        structlog.get_logger().warning("left out of the model repository", what=problem)


def private_files() -> None:
    """What this process and its children make from now on, files and sockets, is for this user only."""
    os.umask(0o077)


def told_to_end() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; on the event loop."""
    told = asyncio.Event()

    def tell() -> None:
        told.set()
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    return told


def die_with_parent() -> None:
    """End this process when its supervisor is gone, however that ended (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)


def run_when_idle() -> None:
    """Let every thread of this process run only where nobody else wants to, as do those that it starts later.

    A nice process that is running may keep its core for a slice of some milliseconds when a worker wakes up;
    an idle one is put aside at once (sched(7), SCHED_IDLE). It still gets some 3 ms a second of a core that
    others keep busy. For a process that has started: imports would wait too long on a busy machine.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


@contextmanager
def adopting() -> Iterator[None]:
    """Within the block this process becomes the parent of those below it whose parent ends (Linux).

    Raises:
        OSError: it cannot.
    """
    _set_subreaper(1)
    try:
        yield
    finally:
        _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, ctypes.c_ulong(value)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
