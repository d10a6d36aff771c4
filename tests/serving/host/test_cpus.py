import os

import pytest

from serving.host.cpus import available_cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write files of procfs and sysfs, then ask; the affinity is that of eight CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def ask(membership, files):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "sys" / "fs" / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return available_cpus(tmp_path / "proc", tmp_path / "sys")

    return ask


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("max 100000\n", 8),
        ("6400000 100000\n", 8),
        ("nonsense\n", 8),
        ("", 8),
    ],
)
def test_the_quota_of_a_container_is_rounded_up(machine, text, cpus):
    assert machine("0::/\n", {"cpu.max": text}) == cpus


def test_the_least_quota_of_all_parents_counts(machine):
    files = {
        "a/cpu.max": "300000 100000",
        "a/b/cpu.max": "max 100000",
        "a/b/c/cpu.max": "500000 100000",
    }
    assert machine("0::/a/b/c\n", files) == 3


def test_version_1_of_cgroups_is_read_at_its_mount(machine):
    files = {
        "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "250000\n",
        "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
    }
    assert machine("3:memory:/docker/x\n2:cpu,cpuacct:/docker/x\n", files) == 3


def test_a_group_named_as_the_host_sees_it_has_its_limit_at_the_mount_point(machine):
    files = {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert machine("2:cpu,cpuacct:/kubepods/pod7/x\n", files) == 4


def test_without_a_quota_the_affinity_counts(machine):
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert machine("2:cpu:/\n", files) == 8


def test_where_nothing_can_be_read_the_affinity_counts(tmp_path):
    assert available_cpus(tmp_path, tmp_path) == len(os.sched_getaffinity(0))


def test_the_real_machine_gives_at_least_one():
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
