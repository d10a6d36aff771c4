"""What every process of ours needs before it does its work: logs, sockets, an end with its parent."""

import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO, cast

import structlog

from serving.telemetry.foreign_logs import take_in
from serving.telemetry.log_sink import log_sink


def set_up_logs(log_format: str, level: str) -> None:
    """Structured logs on standard error, for this process."""
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
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


def warn_of(problems: Iterable[str]) -> None:
    """Say in the log what was left out of the model repository."""
    for problem in problems:
        structlog.get_logger().warning("left out of the model repository", what=problem)


def private_files() -> None:
    """What this process and its children make from now on, files and sockets, is for this user only."""
    os.umask(0o077)


def die_with_parent() -> None:
    """End this process when its supervisor is gone, however that ended (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: an address or name; IPv6 when it contains a colon.
        port: 0 takes a free one.
        shared: allow several listeners on the port, among which the kernel spreads connections.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may use; takes the place of one that is there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1024)
    return listener
