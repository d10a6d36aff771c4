"""How many CPUs this process may use: those of its cgroup and its affinity, not those of the machine.

Sources: the kernel's admin-guide/cgroup-v2 (`cpu.max`) and scheduler/sched-bwc (`cpu.cfs_quota_us`).
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_cpus(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> int:
    """Whole CPUs, at least 1: the least of the affinity and of every quota above it, rounded up.

    Args:
        proc: where procfs is mounted.
        sys: where sysfs, and with it the cgroup file system, is mounted.
    """
    quotas = [math.ceil(quota) for quota in _quotas(proc / "self" / "cgroup", sys / "fs" / "cgroup")]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def _quotas(membership: Path, mount: Path) -> Iterator[float]:
    """CPUs allowed by each cgroup that this process is in; parents limit their children."""
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        hierarchy = mount / controllers
        if controllers and not hierarchy.is_dir():
            hierarchy = mount / "cpu"
        # Without a cgroup namespace the group is named as the host sees it and is not found here; its
        # limit then stands at the mount point, which is the last of the parents.
        group_path = PurePosixPath(group.lstrip("/"))
        for parent in (group_path, *group_path.parents):
            quota = _unlimited_is_none(hierarchy / parent)
            if quota is not None:
                yield quota


def _unlimited_is_none(folder: Path) -> float | None:
    texts = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    try:
        quota, period = (int(text) for text in texts)
    except ValueError:  # absent, or `max`
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
