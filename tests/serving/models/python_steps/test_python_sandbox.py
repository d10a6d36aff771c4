"""Functions of every kind in their process: what they make, and what comes of those that do what none may."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from harness.system import eventually
from serving.errors import InvalidModel, ModelFailed, Unavailable
from serving.models.files.python_step import Limits, PythonStep
from serving.models.python_steps import folder as folders
from serving.models.python_steps.folder import PREFIX, working_folder
from serving.models.python_steps.sandbox import Sandbox
from serving.models.python_steps.wire import MOST_ANSWER_BYTES
from serving.wire.tensors import Signature, TensorSpec

SOURCE = b"""
import ctypes, os, sys, time
import numpy as np
from words import WORDS

print("noise of an import")

def double(given):
    print("noise of a call"); sys.stderr.write("more of it")
    return {"y": given["x"] * 2, "text": np.array(WORDS[:len(given["x"])])}

def text(given):
    return {"y": given["x"], "text": np.array(["" if t is None else t for t in given["texts"]], object)}

def raised(given):
    raise ValueError(f"{__file__}: no\\n\\x07 such {given['x'].tolist()}")

def told(given):
    raise KeyError(" ".join([os.getcwd(), *sorted(os.environ), *sorted(os.listdir("."))]))

def exits(given):
    sys.exit(3)

def writes(given):
    with open("more", "w") as file:
        file.write("x")

def fills(given):
    return {"y": np.ones(1 << 28, "f4")}

def other_datatype(given):
    return {"y": given["x"].astype("f8"), "text": np.array([])}

def other_shape(given):
    return {"y": given["x"][:, None], "text": np.array([""])}

def other_name(given):
    return {"z": given["x"], "text": np.array([""])}

def a_list(given):
    return [given["x"]]

def no_array(given):
    return {"y": 1.0, "text": np.array([""])}

def objects(given):
    return {"y": given["x"], "text": np.array([{}], object)}

def complex_numbers(given):
    return {"y": given["x"].astype(complex), "text": np.array([""])}

def large(given):
    return {"y": np.zeros(1 << 25, "f4"), "text": np.array([""])}

def forks(given):
    if os.fork() == 0:
        given["x"] = given["x"] + 1000
    return {"y": given["x"], "text": np.array(["a"])}

def leaves_a_child(given):
    if (child := os.fork()) == 0:
        time.sleep(1000)
    raise ValueError(child)

def ends(given):
    os._exit(3)

def crashes(given):
    ctypes.string_at(0)

def hangs(given):
    while True:
        pass

def garbles(given):
    os.write(int(sys.argv[1]), b"\\xff" * 64)
    time.sleep(1000)
"""
FILES = {"features.py": SOURCE, "words.py": b'WORDS = ["a", "b\xc3\xa9", "c"]\n'}
X, TEXT = TensorSpec("x", "FP32", (-1,)), TensorSpec("text", "BYTES", (-1,))
SIGNATURE = Signature((X, TensorSpec("texts", "BYTES", (-1,))), (TensorSpec("y", "FP32", (-1,)), TEXT))
NAMES = [line[4 : line.index("(")] for line in SOURCE.decode().splitlines() if line.startswith("def ")]
GIVEN = {"x": np.arange(3, dtype="f4")}


def steps(*names, module="features"):
    return [(name, PythonStep(module, name, SIGNATURE, {}, independent=False)) for name in names]


class Asked:
    """A sandbox with all functions, called by their names."""

    def __init__(self, seconds=60.0):
        self.ends, self.changes = [], []
        self.sandbox = Sandbox(steps(*NAMES), FILES, Limits(seconds, 256 << 20))
        self.sandbox.ended, self.sandbox.changed = self.ends.append, self.changes.append

    def call(self, name, given=GIVEN):
        return self.sandbox.run(NAMES.index(name), given)

    def fault(self, name):
        with pytest.raises(ModelFailed) as failed:
            self.call(name)
        return str(failed.value)

    def answers(self):
        try:
            return self.call("double")[0].tolist() == [0, 2, 4]
        except Unavailable as error:
            assert self.sandbox.problem in str(error) or not self.sandbox.problem  # noqa: PT017
            return False


@pytest.fixture(scope="module")
def asked():
    asked = Asked()
    yield asked
    asked.sandbox.close()


def test_a_function_takes_and_makes_named_arrays_text_too(asked):
    y, text = asked.call("double")
    assert (y.tolist(), text.tolist(), y.dtype) == ([0, 2, 4], ["a", "bé", "c"], np.dtype("f4"))
    given = {"x": np.zeros((0,), "f4"), "texts": np.array(["é", "", "\0"], object)}
    y, text = asked.call("text", given)
    assert (y.shape, text.tolist()) == ((0,), ["é", "", "\0"])


def test_an_exception_is_told_in_a_line_without_paths_and_logged_without_what_a_client_sent(asked):
    with pytest.raises(ModelFailed) as failed:
        asked.call("raised")
    assert str(failed.value) == "step 'raised': ValueError: features.py: no such [0.0, 1.0, 2.0]"
    line = SOURCE[: SOURCE.index(b"raise ValueError")].count(b"\n") + 1
    assert failed.value.reason == f"step 'raised': ValueError at features.py:{line}"


def test_it_knows_nothing_of_ours_and_sees_its_own_files_only(asked, monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_TOKEN", "secret")
    told = asked.fault("told").replace("'", " ").split()
    assert [word for word in told if word.isupper() and "_" in word] == [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    ]
    assert told[-2:] == ["features.py", "words.py"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exits", "SystemExit: 3"),
        ("writes", "OSError: [Errno 27] File too large"),
        ("fills", "it needs more memory than it may have (256 MiB; sandbox.memory in graph.yaml)"),
        ("other_datatype", "features:other_datatype: output 'y' is FP64 [3], and FP32 [-1] is declared"),
        ("other_shape", "features:other_shape: output 'y' is FP32 [3, 1], and FP32 [-1] is declared"),
        ("other_name", "features:other_name: it returned 'text', 'z', and 'text', 'y' is declared"),
        ("a_list", "features:a_list: it returned a list, and a mapping of named numpy arrays is asked for"),
        ("no_array", "features:no_array: output 'y' is a float, and a numpy array is asked for"),
        ("objects", "features:objects: output 'text' has objects that are no text"),
        (
            "complex_numbers",
            "features:complex_numbers: output 'y' is of numpy's complex128, for which there is no datatype",
        ),
        ("large", f"features:large: it returned {(1 << 27) + 4} bytes, and {MOST_ANSWER_BYTES} are the most"),
    ],
)
def test_what_a_function_may_not_is_an_error_of_its_step_and_the_next_call_is_answered(asked, name, said):
    assert asked.fault(name) == f"step {name!r}: {said}"
    assert asked.answers()
    assert asked.sandbox.problem == ""


def test_of_a_function_that_forks_one_answers(asked):
    for _ in range(3):
        assert asked.call("forks")[0].tolist() == [0, 1, 2]
        assert asked.answers()
    assert asked.ends == []


def test_a_process_that_ends_is_another_one_soon_and_what_it_started_ends_with_it():
    asked = Asked()
    try:
        child = int(asked.fault("leaves_a_child").rpartition(" ")[2])
        assert asked.fault("ends") == "step 'ends': its process ended (exit code 3)"
        eventually(asked.answers, "another one answers")
        eventually(lambda: not running(child), "the child that it left is gone")
        assert asked.fault("crashes") == "step 'crashes': its process ended (SIGSEGV)"
        eventually(asked.answers, "another one answers")
        assert asked.fault("garbles") == (
            "step 'garbles': its process sent no answer: a header of 4294967295 bytes"
        )
        eventually(asked.answers, "another one answers")
        assert asked.ends == ["ended", "ended", "garbled"]
        assert asked.changes == [False, True] * 3
        assert asked.sandbox.problem == ""
    finally:
        asked.sandbox.close()
    with pytest.raises(Unavailable, match="it is being unloaded"):
        asked.call("double")


def running(pid):
    """Whether a process is there, and not only its name for whoever should wait for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_call_has_an_end_and_other_calls_are_answered_after_it():
    asked = Asked(seconds=1.0)
    try:
        eventually(asked.answers, "it answers in time")
        assert asked.fault("hangs") == (
            "step 'hangs': features:hangs took longer than 1 s (sandbox.time in graph.yaml)"
        )
        assert asked.ends in ([], ["time"])
        eventually(asked.answers, "another one answers")
        assert asked.ends[0] == "time"
    finally:
        asked.sandbox.close()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"features.py": b"import numpy\n\nimport pandas_of_ours\n"},
         "features.py:3: ModuleNotFoundError: No module named 'pandas_of_ours'"),
        ({"features.py": b"x = 1\n"}, "AttributeError: module 'features' has no function 'double'"),
        ({"features.py": b"import os\nos._exit(0)\n"}, "its process ended while it imported its modules"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_refused_with_its_line(files, said):
    with pytest.raises(InvalidModel) as refused:
        Sandbox(steps("double"), files, Limits())
    assert str(refused.value) == said


def test_a_folder_goes_with_its_owner_and_what_a_killed_one_left_is_swept(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left, fresh = tmp_path / f"{PREFIX}left", tmp_path / f"{PREFIX}fresh"
    for folder in (left, fresh):
        (folder / "data").mkdir(parents=True)
    long_ago = time.time() - 2 * folders.SETTLED_SECONDS
    os.utime(left, (long_ago, long_ago))
    with working_folder() as own:
        os.utime(own, (long_ago, long_ago))
        with working_folder() as another:
            assert sorted(tmp_path.iterdir()) == sorted([fresh, own, another])
    assert list(tmp_path.iterdir()) == [fresh]
