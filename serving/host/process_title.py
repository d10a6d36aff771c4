"""What `ps` and /proc show of a process that was forked: its own command line and environment (Linux).

Source: PR_SET_MM_MAP of PR_SET_MM(2const), which takes no privilege; kernels without
CONFIG_CHECKPOINT_RESTORE lack it.
"""

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_NO_FILE = 2**32 - 1

_shown: list[ctypes.Array[ctypes.c_char]] = []
"""The kernel reads there, for as long as the process lives."""


class _Map(ctypes.Structure):
    """`struct prctl_mm_map`."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
            "arg_start", "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32), ("exe_fd", ctypes.c_uint32),
    ]  # fmt: skip


def show_as(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Show these from now on; False where the kernel cannot, and nothing has changed."""
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    shown = [_terminated(arguments), _terminated(f"{name}={value}" for name, value in environment.items())]
    # Fields of proc_pid_stat(5), where the state, behind the name, is the third.
    fields = ["", "", "", *Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()]
    start_code, end_code, start_stack = map(int, fields[26:29])
    start_data, end_data, start_brk = map(int, fields[45:48])
    (arg_start, arg_end), (env_start, env_end) = map(_bounds, shown)
    layout = _Map(
        start_code, end_code, start_data, end_data, start_brk, libc.sbrk(0), start_stack,
        arg_start, arg_end, env_start, env_end, 0, 0, _NO_FILE,
    )  # fmt: skip
    size = ctypes.c_ulong(ctypes.sizeof(layout))
    if libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(layout), size, ctypes.c_ulong(0)) != 0:
        return False
    _shown[:] = shown
    return True


def _terminated(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(b"".join(os.fsencode(text) + b"\0" for text in texts))


def _bounds(buffer: ctypes.Array[ctypes.c_char]) -> tuple[int, int]:
    begin = ctypes.addressof(buffer)
    return begin, begin + len(buffer) - 1  # without the byte that ctypes adds
