"""What processes and the machine they run on use, as the kernel tells it (Linux; proc(5))."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessLoad:
    """One process.

    Args:
        cpu_seconds: user and system time since it began.
        memory_bytes: resident now, shared pages included.
    """

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MachineLoad:
    """A whole machine.

    Args:
        cpus: how many it has, whoever may use them.
        busy_seconds: summed over its CPUs since it started; waiting for a disk is not busy.
        memory_bytes: all there is.
        available_bytes: what could be used without swapping.
    """

    cpus: int
    busy_seconds: float
    memory_bytes: int
    available_bytes: int


def thread_busy_seconds(proc: Path = Path("/proc")) -> float:
    """For how long the calling thread had something to do: it ran, or waited for a CPU.

    Source: the kernel's scheduler/sched-stats. A kernel without it says how long the thread ran.
    """
    try:
        ran, waited, _slices = (proc / "thread-self" / "schedstat").read_bytes().split()
        return (int(ran) + int(waited)) / 1e9
    except (OSError, ValueError):
        return time.thread_time()


def quota_load(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[float, float] | None:
    """What the container used of CPU, and may: core seconds until now, cores; None where nothing limits it.

    Args:
        cgroup: of the container, as it sees it. Source: the kernel's admin-guide/cgroup-v2.
    """
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        stat = dict(line.split() for line in (cgroup / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(stat["usage_usec"]) / 1e6, int(quota) / int(period)
    except (OSError, ValueError, KeyError):  # no container, or `max`
        return None


def process_load(pid: int, proc: Path = Path("/proc")) -> ProcessLoad | None:
    """Of a process; None when it is gone."""
    try:
        fields = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        # Behind the name the state is field 3 of proc(5); 14 and 15 are the times, 24 the resident pages.
        values = fields.split()
        ticks, pages = int(values[11]) + int(values[12]), int(values[21])
    except (OSError, IndexError):
        return None
    return ProcessLoad(ticks / _TICKS, pages * _PAGE_BYTES)


def machine_load(proc: Path = Path("/proc")) -> MachineLoad:
    """Of this machine.

    Raises:
        OSError: there is no procfs.
    """
    total, *per_cpu = [
        line.split()
        for line in (proc / "stat").read_text(encoding="utf-8").splitlines()
        if line.startswith("cpu")
    ]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in total[1:9])
    memory = {}
    for line in (proc / "meminfo").read_text(encoding="utf-8").splitlines():
        name, _, amount = line.partition(":")
        memory[name] = int(amount.split()[0]) * 1024
    return MachineLoad(
        len(per_cpu),
        (user + nice + system + irq + softirq + steal) / _TICKS,
        memory["MemTotal"],
        memory["MemAvailable"],
    )
