"""A rate limit for each client, held by all processes of a node together: token buckets in shared memory.

Law: in any stretch of t seconds a client is let in at most `burst + rate * t` times. A bucket is one number,
the time at which it will be full again: a request moves it on by 1/rate and is refused where it would lie
more than burst/rate ahead. That is the token bucket in the form of the generic cell rate algorithm (ITU-T
I.371), which needs no refilling. Processes lock the set that they look at: one that was put aside between its
look and its write would otherwise undo what the others let in meanwhile.

Memory is bounded: a client has its place in one of `SETS` sets of `WAYS` buckets; where a set is full the
bucket that is nearest to full gives way, which forgets least. So whoever sends under many names cannot
clear the bucket of one that is used up.
"""

import fcntl
import mmap
import os
import secrets
from hashlib import blake2b
from pathlib import Path

from serving.clock import clock

SETS = 8192
WAYS = 8
_HEADER = 8
"""Words before the buckets; the first four are the key of the hash, equal in all processes."""
_WORDS = _HEADER + 2 * SETS * WAYS
_BYTES = 8 * _WORDS


class Rates:
    """The buckets of all clients.

    Args:
        rate: requests a second that a client may send in the long run.
        burst: requests that it may send at once; at least 1.
        path: the file that `create` made, shared with other processes; None keeps them in this process.
    """

    __slots__ = ("_file", "_ids", "_interval", "_key", "_memory", "_until", "_window")

    def __init__(self, rate: float, burst: int, path: Path | None = None) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"a rate above 0 and a burst of at least 1 are needed, not {rate} and {burst}")
        self._interval = 1.0 / rate
        self._window = burst / rate
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CLOEXEC)  # while we live
        if self._file is None:
            self._memory = mmap.mmap(-1, _BYTES)
            self._memory[:32] = secrets.token_bytes(32)
        else:
            self._memory = mmap.mmap(self._file, _BYTES)
        self._key = bytes(self._memory[:32])
        words = memoryview(self._memory)
        self._ids = words.cast("Q")
        self._until = words.cast("d")

    def take(self, client: bytes, *, look: bool = False) -> float:
        """Let a request in, or say when to come back.

        Args:
            client: what tells clients apart.
            look: only say whether it would be let in.

        Returns:
            0 when it is let in, else after how many seconds it would be.
        """
        digest = int.from_bytes(blake2b(client, digest_size=8, key=self._key).digest(), "little") or 1
        file = self._file
        if file is not None:  # the kernel frees what a process that dies has locked
            fcntl.lockf(file, fcntl.LOCK_EX, 1, digest % SETS)
        try:
            now = clock()
            at = self._find(digest, now)
            full_at = max(self._until[at], now) + self._interval
            wait = full_at - now - self._window
            if wait > 1e-9:
                return wait
            if not look:
                self._until[at] = full_at
            return 0.0
        finally:
            if file is not None:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, digest % SETS)

    def _find(self, digest: int, now: float) -> int:
        """The word of the client's bucket; a full one where it has none yet."""
        first = _HEADER + 2 * WAYS * (digest % SETS)
        ids, until = self._ids, self._until
        fullest = first + 1
        for at in range(first, first + 2 * WAYS, 2):
            if ids[at] == digest:
                return at + 1
            if until[at + 1] < until[fullest]:
                fullest = at + 1
        until[fullest] = now
        ids[fullest - 1] = digest
        return fullest


def create(path: Path) -> None:
    """Make the shared file, with all buckets full; before the processes that share it start."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _BYTES)
        os.write(descriptor, secrets.token_bytes(32))
    finally:
        os.close(descriptor)
