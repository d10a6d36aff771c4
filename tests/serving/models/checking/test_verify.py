import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import (
    FLOAT,
    INT64,
    STRING,
    constant_bomb,
    endless_loop,
    external,
    external_tensor,
    graph,
    linear,
    node,
    put,
    unary,
    value,
)

from serving.models.checking.verify import verify
from serving.models.files.repository import Repository
from serving.wire.tensors import TensorSpec


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "models")


def children():
    """Process ids of the checking processes that this one has."""
    listing = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [
        int(pid)
        for pid in listing
        if b"serving.models.checking.check" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_good_model_is_described(repository):
    put(repository.root, "m", 1, linear())
    [report] = verify(repository.discover())
    assert (report.name, report.version, report.ok, report.reason) == ("m", "1", True, "")
    assert report.signature.inputs == (TensorSpec("x", "FP32", (-1, 4)),)
    assert report.signature.outputs == (TensorSpec("y", "FP32", (-1, 3)),)
    assert 0 < report.run_seconds < 1
    assert 0 <= report.peak_bytes < 256 << 20
    assert len(report.sha256) == 64
    assert children() == []


def test_nothing_to_check_starts_nothing():
    assert verify([]) == []


def expanding(factor):
    """Multiplies the input's shape, so that no optimizer can see the size coming."""
    return graph(
        [
            node("Shape", ["x"], ["one"]),
            node("Mul", ["one", "factor"], ["size"]),
            node("Expand", ["x", "size"], ["big"]),
            node("ReduceMax", ["big"], ["y"], keepdims=0),
        ],
        [value("x", FLOAT, ["rows", 1])],
        [value("y", FLOAT, [])],
        [("factor", np.array(factor))],
    )


def test_bombs_and_damaged_files_are_refused_and_the_others_still_checked(repository):
    put(repository.root, "a-good", 1, linear())
    put(repository.root, "b-constant", 1, constant_bomb(287_000_000 // 4))
    put(repository.root, "c-constant", 1, constant_bomb(1 << 44))
    put(repository.root, "d-expanding", 1, expanding([1 << 14, 1 << 13]))
    put(repository.root, "e-expanding", 1, expanding([1 << 22, 1 << 22]))
    put(repository.root, "f-loop", 1, endless_loop(), "check: {time: 1s}")
    put(repository.root, "g-truncated", 1, linear()[:-30])
    put(repository.root, "h-input", 1, unary(shape=(1 << 20, 1 << 20)))
    put(repository.root, "i-loop", 1, endless_loop(), "check: {time: 1s}")
    put(repository.root, "j-digest", 1, linear(), f"sha256: {{1: '{'0' * 64}'}}")
    put(repository.root, "k-good", 1, linear())
    reports = verify(repository.discover())
    assert [report.name for report in reports if report.ok] == ["a-good", "k-good"]
    reasons = {report.name[0]: report.reason for report in reports}
    for name in "bcdeh":
        assert reasons[name].startswith("it needs more memory than it may have")
    for name in "fi":
        assert reasons[name] == "it did not load and run within 1 s (check.time in config.yaml)"
    assert reasons["g"] == "it is no ONNX file, or a damaged one"
    assert "SHA-256" in reasons["j"]
    assert not any(str(repository.root) in reason for reason in reasons.values())
    assert children() == []


def test_the_memory_limit_can_be_set(repository):
    put(repository.root, "more", 1, constant_bomb(50_000_000), "check: {memory: 400MiB}")
    put(repository.root, "less", 1, constant_bomb(5_000_000), "check: {memory: 10MiB}")
    less, more = verify(repository.discover())
    assert (less.ok, more.ok) == (False, True)
    assert 200_000_000 <= more.peak_bytes <= 400 << 20


def test_the_limit_grows_with_the_files(repository):
    folder = put(repository.root, "m", 1, external("w.bin"))
    (folder / "w.bin").write_bytes(bytes(16) + bytes(64 << 20))
    put(repository.root, "n", 1, linear(4096, 4096))
    assert [report.reason for report in verify(repository.discover(), threads=2)] == ["", ""]


@pytest.mark.slow
def test_the_limits_fit_models_of_100_megabytes_to_a_gigabyte(repository):
    """Without a word in their configuration; what they took is told, and is a few times their size."""
    within = linear(4096, 6400)  # 105 MB in the graph
    put(repository.root, "within", 1, within)
    sizes = {"within": len(within)}
    for name, megabytes in (("apart", 105), ("huge", 1000)):
        elements = megabytes * 250_000
        folder = put(repository.root, name, 1, gathering("w.bin", elements))
        np.full(elements, 0.5, "f4").tofile(folder / "w.bin")
        sizes[name] = 4 * elements
    reports = verify(repository.discover())
    assert {report.name: report.reason for report in reports} == dict.fromkeys(sizes, "")
    for report in reports:
        assert sizes[report.name] <= report.peak_bytes <= 4 * sizes[report.name]


def gathering(location, elements):
    """x rows of 4 + the first 4 of so many numbers in a file."""
    return graph(
        [node("Gather", ["w", "first"], ["some"]), node("Add", ["x", "some"], ["y"])],
        [value("x", FLOAT, ["rows", 4])],
        [value("y", FLOAT, ["rows", 4])],
        [external_tensor(location, length=elements), ("first", np.arange(4))],
    )


def test_a_crash_is_the_fault_of_the_model_that_was_checked(repository):
    """The child is killed while it is busy, as a segmentation fault would."""
    put(repository.root, "a", 1, endless_loop(), "check: {time: 60s}")
    put(repository.root, "b", 1, linear())
    owner = threading.get_native_id()

    def kill_when_busy():
        while True:
            listing = Path(f"/proc/self/task/{owner}/children").read_text().split()
            for pid in listing:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                name = Path(f"/proc/{pid}/cmdline").read_bytes()
                if (
                    b"serving.models.checking.check" in name and int(fields[11]) > 100
                ):  # ticks of CPU: beyond its start
                    os.kill(int(pid), signal.SIGSEGV)
                    return

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    crashed, good = verify(repository.discover())
    killer.join()
    assert crashed.reason == "it crashed the process that checked it (SIGSEGV)"
    assert good.ok


def test_a_check_ends_with_the_process_that_asked_for_it(repository, tmp_path):
    put(repository.root, "m", 1, endless_loop(), "check: {time: 600s}")
    code = (
        "import sys; from pathlib import Path; from serving.models.files.repository import Repository;"
        "from serving.models.checking.verify import verify; verify(Repository(Path(sys.argv[1])).discover())"
    )
    asking = subprocess.Popen([sys.executable, "-c", code, str(repository.root)])
    deadline = time.monotonic() + 30
    listing = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
    while not (found := listing.read_text().split()):
        assert time.monotonic() < deadline
    child = Path(f"/proc/{found[0]}")
    while int(child.joinpath("stat").read_text().rpartition(")")[2].split()[11]) < 80:
        assert time.monotonic() < deadline
    asking.kill()
    asking.wait()
    while child.exists() and child.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline


def test_the_child_sees_little_of_the_environment(repository, tmp_path, monkeypatch):
    """Its environment is read from the kernel, while it is busy."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    put(repository.root, "m", 1, endless_loop(), "check: {time: 1s}")
    seen = {}
    owner = threading.get_native_id()

    def look():
        while not seen:
            for pid in Path(f"/proc/self/task/{owner}/children").read_text().split():
                if b"serving.models.checking.check" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    seen["environment"] = Path(f"/proc/{pid}/environ").read_bytes()

    watcher = threading.Thread(target=look)
    watcher.start()
    verify(repository.discover())
    watcher.join()
    names = {item.partition(b"=")[0] for item in seen["environment"].split(b"\0") if item}
    assert names <= {b"PYTHONPATH", b"OPENBLAS_NUM_THREADS", b"LD_LIBRARY_PATH", b"LOCPATH"}


def test_a_relative_root_is_understood_by_the_child(repository, monkeypatch):
    put(repository.root, "m", 1, linear())
    monkeypatch.chdir(repository.root.parent)
    assert verify(Repository(Path("models")).discover())[0].ok


def test_a_locale_that_is_missing_is_named_with_its_remedy(repository, monkeypatch, tmp_path):
    lower = node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="en_US.UTF-8")
    put(repository.root, "m", 1, graph([lower], [value("x", STRING, [2])], [value("y", STRING, [2])]))
    monkeypatch.setenv("LOCPATH", str(tmp_path))  # where the C library looks, and finds none
    [report] = verify(repository.discover())
    assert not report.ok
    assert "the locale en_US.UTF-8, which this machine lacks: install it (Debian" in report.reason


# ------------------------------------------------------------------ what passed before


def test_a_pass_is_remembered_for_the_same_files_and_limits(repository, tmp_path):
    cache = tmp_path / "state" / "verified"
    put(repository.root, "m", 1, linear())
    put(repository.root, "copy", 7, linear())
    first = verify(repository.discover(), cache=cache)
    [file] = cache.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "run_seconds": 77}))
    again = verify(repository.discover(), cache=cache)
    assert all(report.run_seconds == 77 for report in again)  # it was not run anew
    assert [(report.name, report.version) for report in again] == [("copy", "7"), ("m", "1")]
    assert again[0].signature == first[0].signature
    for config in ("check: {memory: 200MiB}", "check: {time: 9s}", "threads: 1", "optimization: basic"):
        put(repository.root, "m", 1, linear(), config)
        assert verify([repository.find("m", "1")], cache=cache)[0].run_seconds < 77
    put(repository.root, "m", 1, linear(seed=2))
    assert verify([repository.find("m", "1")], cache=cache)[0].run_seconds < 77


def test_a_refusal_is_not_remembered(repository, tmp_path):
    put(repository.root, "m", 1, b"nonsense")
    assert not verify(repository.discover(), cache=tmp_path / "cache")[0].ok
    assert not (tmp_path / "cache").exists()


# ------------------------------------------------------------------ warm-up


def reshaped(length, elements="x"):
    """x, cut into rows of `length`."""
    return graph(
        [node("Reshape", [elements, "shape"], ["y"])],
        [value("x", FLOAT, ["n"])],
        [value("y", FLOAT, ["m", length])],
        [("shape", np.array([-1, length]))],
    )


def sized_by_input():
    """A Resize whose sizes are an input: 0 is none."""
    return graph(
        [node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest")],
        [value("x", FLOAT, [1, 1, 2, 2]), value("sizes", INT64, [4])],
        [value("y", FLOAT, ["a", "b", "c", "d"])],
    )


def never():
    """Runs with nothing at all."""
    return graph(
        [node("Reshape", ["x", "shape"], ["y"])],
        [value("x", FLOAT, [1, 4])],
        [value("y", FLOAT, [3])],
        [("shape", np.array([3]))],
    )


def bomb_unless_one(operator):
    """Fails with one element; with more it takes far more memory or time than it may have."""
    if operator == "loop":
        model = onnx.load_from_string(endless_loop())
        model.graph.node.insert(0, node("Reshape", ["x", "two"], ["x2"]))
        model.graph.node[1].input[2] = "x2"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 1]), "two"))
        return model.SerializeToString()
    return graph(
        [
            node("Reshape", ["x", "shape"], ["pairs"]),
            node("Tile", ["pairs", "times"], ["big"]),
            node("ReduceMax", ["big"], ["y"], keepdims=0),
        ],
        [value("x", FLOAT, ["n"])],
        [value("y", FLOAT, [])],
        [("shape", np.array([-1, 2])), ("times", np.array([1 << 13, 1 << 14]))],
    )


def test_lengths_and_values_are_found_that_ordinary_models_run_with(repository):
    put(repository.root, "a-reshaped", 1, reshaped(576))
    put(repository.root, "b-sizes", 1, sized_by_input())
    put(repository.root, "c-plain", 1, linear())
    put(repository.root, "d-ramp", 1, unary("Transpose", (1, 2), perm=[1, 0]))
    reports = verify(repository.discover())
    assert [(report.reason, report.unmeasured) for report in reports] == [("", "")] * 4
    assert reports[0].trial.shapes == ((576,),)
    assert reports[1].trial.fills[1] == (1,)
    assert reports[2].trial.shapes == ((1, 4),)
    assert all(report.run_seconds > 0 for report in reports)


def test_a_model_that_runs_with_nothing_that_is_made_up_is_not_refused_but_not_measured(repository):
    put(repository.root, "m", 1, never())
    [report] = verify(repository.discover())
    assert report.ok
    assert (report.trial, report.run_seconds) == (None, 0)
    assert "name an .npz of input as `warmup` in config.yaml" in report.unmeasured


@pytest.mark.parametrize("operator", ["memory", "loop"])
def test_what_is_only_guessed_does_not_refuse_a_model(repository, operator):
    put(repository.root, "m", 1, bomb_unless_one(operator), "check: {time: 20s}")
    [report] = verify(repository.discover())
    assert (report.ok, report.reason) == (True, "")
    assert report.unmeasured


def test_what_is_named_as_warmup_and_does_not_run_refuses_a_model(repository):
    folder = put(repository.root, "m", 1, reshaped(3), "warmup: rows.npz")
    np.savez(folder.parent / "rows.npz", x=np.zeros(4, "f4"))
    [report] = verify(repository.discover())
    assert not report.ok
    assert "warm-up run failed" in report.reason


def test_what_was_found_is_remembered_with_the_pass(repository, tmp_path):
    put(repository.root, "m", 1, reshaped(576))
    put(repository.root, "n", 1, never())
    first = verify(repository.discover(), cache=tmp_path / "cache")
    again = verify(repository.discover(), cache=tmp_path / "cache")
    assert again == first
    assert again[0].trial.shapes == ((576,),)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"reason": ""}', '{"reason": "", "inputs": 3}', "\xff"]
)
def test_a_corrupt_memory_is_ignored_and_replaced(repository, tmp_path, content):
    put(repository.root, "m", 1, linear())
    cache = tmp_path / "cache"
    verify(repository.discover(), cache=cache)
    [file] = cache.iterdir()
    file.write_bytes(content.encode("latin-1"))
    assert verify(repository.discover(), cache=cache)[0].ok
    assert json.loads(file.read_text())["inputs"]
    assert [file] == list(cache.iterdir())


def test_a_memory_that_cannot_be_written_does_no_harm(repository, tmp_path):
    put(repository.root, "m", 1, linear())
    (tmp_path / "cache").write_text("a file")
    assert verify(repository.discover(), cache=tmp_path / "cache")[0].ok


def test_a_report_says_whether_rows_are_independent_and_remembers_it(repository, tmp_path):
    put(tmp_path / "models", "free", 1, linear())
    put(tmp_path / "models", "bound", 1, unary("Softmax", axis=0), "batching: {max: 1}")
    expected = {"free": "", "bound": "Softmax 'y' takes all rows together"}
    for _ in range(2):
        reports = verify(repository.discover(), cache=tmp_path / "cache")
        assert {report.name: report.dependence for report in reports} == expected


def test_rows_that_may_influence_each_other_are_not_joined_because_the_configuration_asks_for_it(
    repository, tmp_path
):
    put(tmp_path / "models", "asked", 1, unary("Softmax", axis=0), "batching: {max: 8}")
    put(tmp_path / "models", "stated", 1, unary("Softmax", axis=0), "batching: {max: 8, independent: true}")
    asked, stated = verify(repository.discover())
    assert not asked.ok
    assert "Softmax 'y' takes all rows together" in asked.reason
    assert "`independent: true`" in asked.reason
    assert stated.ok
    assert stated.dependence == "Softmax 'y' takes all rows together"
