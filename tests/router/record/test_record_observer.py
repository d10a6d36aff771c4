"""Of a comparison that is drawn there is one row: what the candidate answered, and how it differs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.mirror.frame import Frame, unpacked
from router.mirror.mirrored import Mirrored
from router.record.account import kind_of
from router.record.accounts import Accounts, OwnAccounts
from router.record.files.rows import row_of
from router.record.observer import ComparisonRecorder, body_of
from router.record.sink import Outlet, draw_of
from router.rollout.compare import compare
from router.rollout.parser import parse_one
from router.rollout.snapshot import Candidate
from router.rollout.values import Target
from serving.wire.protocol import decode_response

REFERENCE = {"y": np.int64([1]), "p": np.float32([0.5, 0.5])}
OTHER = {"y": np.int64([2]), "p": np.float32([0.5, 0.5])}
FRAME = Frame("m", 3, 9, b"", None, b"", None, id=b"r-1", receipt=b"token", arrived=7.0, target="m/1")


class Channel:
    """Takes everything."""

    def __init__(self):
        self.frames = []

    def refusal(self):
        return ""

    def write(self, frame):
        self.frames.append(unpacked(memoryview(frame), 0)[0])


class Told:
    """A recording whose frames are kept."""

    def __init__(self, folder):
        self.channel = Channel()
        self._accounts = OwnAccounts(folder, "here.sandbox-1.1")

    def outlet(self, model, record):
        return Outlet(model, record, self.channel, self._accounts)


def published(folder, outputs, document="record: {}", *, live=True, **frame):
    told = Told(folder)
    recorder = ComparisonRecorder(Candidate("m", Target("m/2"), live=live, sha256="ab"), told)
    rollout = parse_one("m", f"{{stable: m/1, canary: m/2, compare: {{y: exact}}, {document}}}", "f")
    comparisons = () if outputs is None else compare(REFERENCE, outputs, rollout.compare)
    asked = replace(FRAME, **frame)
    recorder.publish(Mirrored(asked, rollout, REFERENCE, outputs, comparisons, lambda: None, 0.0, 0.0))
    return [row_of(frame, 0.0) for frame in told.channel.frames]


def test_a_row_says_what_the_candidate_answered_and_how_it_differs(tmp_path):
    [row] = published(tmp_path, OTHER)
    expected = {
        "kind": "comparison", "receipt": "token", "request_id": "r-1", "role": "canary", "target": "m/2",
        "version": "2", "digest": "ab", "stage": 3, "agreed": False, "error": None, "duration_us": None,
        "status_code": None, "drawn": None, "propensity": None, "sampling_fraction": 1.0,
        "differences": [{"output": "y", "kind": "value", "distance": 1.0}],
    }  # fmt: skip
    assert {name: row.values[name] for name in expected} == expected
    assert row.tensors["output_y"].tolist() == [2]
    assert Accounts(tmp_path).by_model("comparison")["m"].requests == 1
    assert Accounts(tmp_path).by_model() == {}


def test_a_shadow_that_agrees_and_a_canary_that_failed_are_rows_too(tmp_path):
    [same] = published(tmp_path, REFERENCE, live=False)
    assert (same.values["role"], same.values["agreed"], same.values["differences"]) == ("shadow", True, [])
    [failed] = published(tmp_path / "failed", None)
    assert (failed.values["agreed"], failed.tensors) == (None, {})
    assert "failed" in failed.values["error"]


def test_what_is_kept_back_is_in_no_frame(tmp_path):
    [row] = published(tmp_path, OTHER, "record: {redact: [y]}")
    assert row.tensors.keys() == {"output_p"}
    assert row.values["differences"] == [{"output": "y", "kind": "value", "distance": None}]


def test_a_rollout_without_records_has_no_rows(tmp_path):
    assert published(tmp_path, OTHER, "alpha: 1%") == []


@given(st.integers(0, 2**64 - 1), st.floats(0, 1e6))
def test_a_comparison_is_drawn_as_its_request_is(key, arrived):
    record = parse_one("m", "{stable: m/1, record: {sample: 30%}}", "f").record
    assert draw_of("m", record).takes(key, arrived) == draw_of("m", record).takes(key, arrived)


def test_outputs_of_every_kind_travel():
    outputs = {"t": np.array(["a", "é"], object), "f": np.float16([[0.5]]), "b": np.array([True])}
    found = decode_response(*body_of(outputs, frozenset({"b"}))).outputs
    assert found.keys() == {"t", "f"}
    assert found["t"].tolist() == ["a", "é"]
    assert found["f"].tolist() == [[0.5]]


@pytest.mark.parametrize(("instance", "kind"), [("a.worker-0.1", "request"), ("a.sandbox-x.1", "comparison")])
def test_processes_say_what_they_count(instance, kind):
    assert kind_of(instance) == kind
