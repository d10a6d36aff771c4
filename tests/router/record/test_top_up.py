"""What a candidate is topped up with: nothing twice, of other bytes, or since the evidence began."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.record_files import HOUR, write, write_rows
from harness.search import examples
from router.mirror.frame import unpacked
from router.record.eligible import (
    COLUMNS,
    Mark,
    Picked,
    Wanted,
    encoded,
    microseconds,
    next_after,
    reason,
    unfit,
)
from router.record.files.rows import Row
from router.record.files.stores import FolderStore
from router.record.past import Past
from router.record.top_up import Marks, together
from serving.wire.bf16 import rounded
from serving.wire.codec import WIRES

WANTED = Wanted("digits", 5, "d1", sticky=False)
GOOD = {
    "kind": "request", "role": "stable", "drawn": None, "forced": False, "refused": False, "stage": 4,
    "digest": "d1", "status_code": 200, "whole": True, "sticky_key_hash": None,
}  # fmt: skip
NUMBER = iter(range(10**9))


def recorded(seconds=0.0, tensors=None, **values):
    """A row of the log, and by default one that may be run."""
    at = HOUR + timedelta(seconds=seconds)
    number = float(next(NUMBER))
    given = {"input_x": np.float32([[number]]), "output_y": np.int64([3])} if tensors is None else tensors
    return Row("digits", "local.worker-0.1", at, {**GOOD, "request_time": at, **values}, given, 100)


def all_of(past, mark, most=2):
    """Everything that is to be run, in its order, and the mark after it."""
    found = []
    while True:
        mark, taken = past.take(mark, most)
        if not taken:
            return mark, found
        found += taken


def values(past, row, *, timed=False):
    """The inputs and outputs of a frame, and the frame."""
    data = past.frame(row, 7, "digits/1", timed=timed)
    frame, _ = unpacked(memoryview(data), 0)
    _, inputs = WIRES[frame.wire].decode_request(frame.request, frame.request_json)
    outputs = (
        {} if timed else WIRES[frame.wire].decode_response(frame.reference, frame.reference_json).outputs
    )
    return inputs, outputs, frame


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"kind": "comparison"}, "drawn"),
        ({"role": "canary"}, "drawn"),
        ({"drawn": "canary"}, "drawn"),
        ({"status_code": 503}, "good answer"),
        ({"refused": True}, "good answer"),
        ({"forced": True}, "named their target"),
        ({"stage": 5}, "since the evidence began"),
        ({"stage": None}, "since the evidence began"),
        ({"digest": "d2"}, "other bytes"),
        ({"digest": None}, "other bytes"),
        ({"whole": False}, "redacted"),
        ({"whole": None}, "redacted"),
    ],
)
def test_what_is_left_out_says_why(changed, why):
    assert unfit(GOOD, WANTED) == unfit({**GOOD, "drawn": "stable"}, WANTED) == ""
    assert why in unfit({**GOOD, **changed}, WANTED)


def test_stable_without_known_bytes_is_never_topped_up():
    assert unfit({**GOOD, "digest": ""}, WANTED._replace(digest=""))


def test_where_users_count_a_request_without_one_is_none():
    sticky = WANTED._replace(sticky=True)
    assert "key" in unfit(GOOD, sticky)
    assert unfit({**GOOD, "sticky_key_hash": "00ff"}, sticky) == ""


@settings(max_examples=examples(100))
@given(data=st.data())
def test_no_row_is_taken_twice_however_often_the_process_starts_anew(data):
    times = data.draw(st.lists(st.integers(0, 30), max_size=40))
    picked = [Picked(at, "f", 0, index) for index, at in enumerate(times)]
    mark, seen = Mark(5, None), []
    while True:
        came = data.draw(st.lists(st.integers(0, 30), max_size=3))
        late = [Picked(at, f"late {len(seen)}", 0, index) for index, at in enumerate(came)]
        left = [*picked, *late] if data.draw(st.booleans()) else [each for each in picked if each not in seen]
        mark, taken = next_after(mark, left, data.draw(st.integers(1, 5)))
        if not taken:
            break
        seen += taken
    assert len({(each.file, each.index, each.at) for each in seen}) == len(seen)
    assert [each.at for each in seen] == sorted((each.at for each in seen), reverse=True)


def test_hours_come_from_the_newest_and_each_row_once(tmp_path):
    write_rows(tmp_path, "a", [recorded(0), recorded(20), recorded(30, digest="d2")])
    write_rows(tmp_path, "b", [recorded(10), recorded(40, stage=5)])
    write_rows(tmp_path, "c", [recorded(3600), recorded(3610, whole=False)])
    past = Past(FolderStore(tmp_path), "local", WANTED)
    mark, found = all_of(past, Mark(5, None))
    seconds = [each.at / 1e6 - HOUR.timestamp() for each in found]
    assert seconds == [3600, 20, 10, 0]
    assert past.unfit == {
        "answered by other bytes than stable has now": 1,
        "recorded since the evidence began": 1,
        "redacted, or with inputs or outputs left out": 1,
    }
    write_rows(tmp_path, "late", [recorded(25)])
    assert all_of(Past(FolderStore(tmp_path), "local", WANTED), mark)[1] == []
    middle = Mark(5, microseconds(HOUR + timedelta(seconds=20)))
    assert len(all_of(Past(FolderStore(tmp_path), "local", WANTED), middle)[1]) == 2


def test_files_of_other_nodes_and_older_releases_are_left_alone(tmp_path):
    write_rows(tmp_path, "a", [recorded()])
    write(tmp_path, "old", {"kind": ["request"], "request_time": [HOUR]})
    assert all_of(Past(FolderStore(tmp_path), "elsewhere", WANTED), Mark(5, None))[1] == []
    past = Past(FolderStore(tmp_path), "local", WANTED)
    assert len(all_of(past, Mark(5, None))[1]) == 1
    assert past.unfit == {"of an older release": 1}


def test_a_row_comes_back_as_the_request_and_the_answer_that_it_was(tmp_path):
    given = {
        "input_x": np.float32([[1.5, -0.0, np.nan]]),
        "input_half": np.float16([0.1]),
        "input_brain": rounded(np.float32([1.5])),
        "input_text": np.array(["é", ""], object),
        "output_y": np.int64([[3], [4]]),
    }
    write_rows(tmp_path, "a", [recorded(tensors=given, sticky_key_hash="00000000000000ff")])
    past = Past(FolderStore(tmp_path), "local", WANTED._replace(sticky=True))
    _, [row] = past.take(Mark(5, None), 1)
    inputs, outputs, frame = values(past, row)
    for name, array in given.items():
        side, _, tensor = name.partition("_")
        found = (inputs if side == "input" else outputs)[tensor]
        assert found.dtype == array.dtype
        assert found.tolist() == array.tolist() or np.array_equal(found, array, equal_nan=True)
    assert (frame.model, frame.stage, frame.key, frame.role, frame.recorded) == (
        "digits",
        7,
        255,
        "stable",
        True,
    )
    _, _, timed = values(past, row, timed=True)
    assert (timed.timed, timed.reference) == (True, b"")
    unsticky = Past(FolderStore(tmp_path), "local", WANTED)
    assert values(unsticky, row)[2].key == 0


def test_a_body_without_json_comes_back_too(tmp_path):
    write_rows(tmp_path, "a", [recorded(tensors={"output_y": np.int64([3])}, input_raw=b"\0\1")])
    past = Past(FolderStore(tmp_path), "local", WANTED)
    _, [row] = past.take(Mark(5, None), 1)
    frame, _ = unpacked(memoryview(past.frame(row, 7, "digits/1", timed=False)), 0)
    assert (frame.request, frame.request_json) == (b"\0\1", 0)


def test_marks_outlive_the_process_and_end_with_the_evidence(tmp_path):
    marks = Marks(tmp_path, "here")
    assert marks.read("digits", 5) == Mark(5, None)
    marks.write("digits", Mark(5, 1000))
    assert Marks(tmp_path, "here").read("digits", 5) == Mark(5, 1000)
    assert marks.read("digits", 4) == Mark(5, 1000)  # control began anew: rather none than twice
    assert marks.read("digits", 6) == Mark(6, None)
    assert Marks(tmp_path, "there").read("digits", 5) == Mark(5, None)
    next(tmp_path.rglob("digits.json")).write_text("{")
    with pytest.raises(ValueError, match="unexpected"):
        marks.read("digits", 5)


def test_why_nothing_is_run_is_said_by_number():
    assert "no further requests" in reason(Counter())
    said = reason(Counter({"forced": 1, "redacted": 1200}))
    assert said.endswith("1,200 redacted, 1 forced")


def test_times_are_exact_and_little_is_marked_at_a_time():
    at = datetime(2026, 11, 27, 23, 59, 59, 123457, UTC)
    assert microseconds(at) == 1795823999123457
    assert [together(rate) for rate in (0.1, 20.0, 500.0)] == [1, 20, 100]
    assert set(COLUMNS) == {*GOOD, "request_time"}
    assert encoded("inputs", {}) == (b'{"inputs":[]}', 13)
