"""Listening sockets: opened, and closed without a client that is reset.

A listening socket that is closed resets who has connected and was not accepted yet, and there is always
somebody between the last `accept` and the `close`. So a socket that is to be closed first turns newcomers
away: the kernel drops their SYN, as a full queue would, and they try again, until the port refuses them. Who
is connected by then, or in the middle of it, is accepted in peace.
"""

import ctypes
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

# <linux/filter.h>: code, jumps if true and if false, operand. A filter of a TCP socket sees the TCP header.
_INSTRUCTION: Final = struct.Struct("HBBI")
_NO_SYN: Final = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of flags
        (0x54, 0, 0, 0x12),  # of which SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # then drop
        (0x06, 0, 0, 0xFFFFFFFF),  # else take all of it
    )
)
_ATTACH_FILTER: Final = 26  # <asm-generic/socket.h>; Python has no names for them
_DETACH_FILTER: Final = 27


def turn_newcomers_away(listener: socket.socket) -> None:
    """Let nobody begin to connect, in all processes that have this socket; without effect but on Linux."""
    if listener.family is socket.AF_UNIX:
        return
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    count = len(_NO_SYN) // _INSTRUCTION.size
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", count, ctypes.addressof(program))
        )


def welcome_newcomers(listener: socket.socket) -> None:
    """Undo `turn_newcomers_away`: a process that ended by itself has left the socket to its successor."""
    with suppress(OSError):  # there was no filter
        listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


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
