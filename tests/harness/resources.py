"""What the processes of a system hold: memory, files, sockets, threads, seen from outside through /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Held:
    """One process.

    Attributes:
        kind: `supervisor`, `control`, `worker`, or `sandbox <candidate>`.
        rss_bytes: resident memory.
        pss_bytes: the same, with shared pages divided among those that share them.
        files: open file descriptors, sockets included.
    """

    pid: int
    kind: str
    rss_bytes: int
    pss_bytes: int
    files: int
    sockets: int
    threads: int
    children: int


KINDS = {"control": "control", "router.worker": "worker", "router.sandbox": "sandbox"}


def tree(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def held(supervisor: int) -> list[Held]:
    """Every process of a system; one that ends meanwhile is left out."""
    found = []
    for pid in tree(supervisor):
        try:
            found.append(_held(pid, "supervisor" if pid == supervisor else _kind(pid)))
        except (OSError, ValueError, StopIteration):
            continue
    return found


def _kind(pid: int) -> str:
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    kind = next((KINDS[argument] for argument in arguments if argument in KINDS), "other")
    if kind != "sandbox":
        return kind
    environment = dict(
        entry.partition("=")[::2] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
    )
    url = environment.get("UNDERSTUDY_SANDBOX_URL")
    return f"sandbox {environment['UNDERSTUDY_SANDBOX_TARGET']}{' by url' if url else ''}"


def _held(pid: int, kind: str) -> Held:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except OSError:
            continue  # closed meanwhile
    status = Path(f"/proc/{pid}/status").read_text()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Held(
        pid,
        kind,
        _kilobytes(status, "VmRSS") * 1024,
        _kilobytes(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss") * 1024,
        len(links),
        sum(link.startswith("socket:") for link in links),
        _kilobytes(status, "Threads"),
        len(children),
    )


def _kilobytes(text: str, field: str) -> int:
    """The number behind a field of a /proc file."""
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{field}:"))


def folder_size(folder: Path) -> tuple[int, int]:
    """Files in a folder, and the bytes that they take on the disk."""
    files = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += (Path(parent) / name).lstat().st_blocks * 512
            except OSError:
                continue  # removed meanwhile
            files += 1
    return files, size
