"""What control holds of examples: nothing that the document in force forbids, and no more than its bounds."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from control.fleet.examples import MAX_INSTANCES, Gallery
from router.mirror.examples import MAX_VALUES
from router.rollout.values import Examples, Rollout, Target
from router.wire.examples_report import ExamplesReport

SECRET = 123456.5


def report(*numbers, seen=0, model="m", **changes):
    kept = [
        {
            "id": f"s-{number}", "at": 1.5 + number, "model": model, "stage": 1, "target": "m/2",
            "output": "y", "kind": "value", "distance": 1.0 + number, "datatype": "FP32", "shape": [1],
            "reference": [SECRET], "candidate_datatype": "FP32", "candidate_shape": [1],
            "candidate": [SECRET], "cut": False, "redacted": False,
            "request": {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [SECRET]}]},
            **changes,
        }
        for number in numbers
    ]  # fmt: skip
    return ExamplesReport.model_validate({"model": model, "seen": seen, "kept": kept})


def document(**examples) -> Rollout:
    return Rollout("m", Target("m/1"), examples=Examples(**examples))


def gallery(*rollouts) -> Gallery:
    made = Gallery()
    made.follow(rollouts)
    return made


def shown(held: Gallery, **query):
    return held.view("m", **{"output": None, "order": "distance", "limit": 100, **query})


def test_what_is_shown_is_what_was_sent():
    held = gallery(document(inputs=True))
    held.hear("s", report(1, 2, seen=7))
    held.hear("other", report(3, seen=5))
    held.hear("s", report(1, 2, seen=9))  # the answer to the first report was lost
    view = shown(held)
    assert view["seen"] == 14
    assert [example["distance"] for example in view["examples"]] == [4.0, 3.0, 2.0]
    first = view["examples"][0]
    assert first["at"] == "1970-01-01T00:00:04.500+00:00"
    assert (first["verdict"], first["reference"]) == ("different", (SECRET,))
    assert first["request"]["inputs"][0]["data"] == [SECRET]
    assert [each["id"] for each in shown(held, order="recent", limit=1)["examples"]] == ["s-3"]
    assert shown(held, output="z")["examples"] == []
    assert shown(held, output="y", limit=2)["examples"] == view["examples"][:2]


def test_of_one_output_its_own_comparisons_are_counted():
    held = gallery(document())
    held.hear("s", ExamplesReport(model="m", seen=7, outputs={"y": 5, "z": 2}, kept=[]))
    held.hear("of an older version", ExamplesReport(model="m", seen=4, kept=[]))
    assert [shown(held, output=output)["seen"] for output in (None, "y", "z", "none")] == [11, 5, 2, 0]


def test_an_edit_forgets_at_once_what_it_forbids_and_keeps_late_senders_from_bringing_it_back():
    held = gallery(document(inputs=True))
    held.hear("s", report(*range(10)))
    held.follow([document(inputs=False)])
    assert all(example["request"] is None for example in shown(held)["examples"])
    held.follow([document(keep=5, redact=("x", "y"), inputs=True)])
    held.hear("s", report(11))
    assert len(shown(held)["examples"]) == 5
    assert str(SECRET) not in str(shown(held))
    held.follow([document(keep=0)])
    held.hear("s", report(12))
    assert shown(held)["examples"] == []
    held.follow([document()])
    assert shown(held)["examples"] == []
    held.hear("s", report(13, seen=3))
    held.follow([])
    assert shown(held) == {"examples": [], "seen": 0}


def test_nothing_is_kept_for_a_rollout_that_there_is_not():
    held = gallery()
    held.hear("s", report(1, seen=3))
    assert shown(held) == {"examples": [], "seen": 0}
    held.follow([document()])
    assert shown(held)["examples"] == []


def test_a_report_cannot_put_examples_under_another_name():
    held = gallery(document())
    mixed = report(1, seen=1)
    held.hear("s", mixed.model_copy(update={"kept": [replace(mixed.kept[0], model="another")]}))
    assert shown(held)["examples"] == []


def test_processes_that_come_and_go_are_counted_without_a_list_of_all():
    held = gallery(document())
    for number in range(3 * MAX_INSTANCES):
        held.hear(f"s{number}", report(seen=2))
        held.hear("steady", report(seen=number))
    assert shown(held)["seen"] == 2 * 3 * MAX_INSTANCES + 3 * MAX_INSTANCES - 1
    assert len(held._seen["m"]) <= MAX_INSTANCES + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": [0.0] * (MAX_VALUES + 1)},
        {"reference": [{"nested": 1}]},
        {"distance": -1.0},
        {"kind": 7},
        {"request": {"inputs": "x"}},
    ],
)
def test_what_is_no_example_is_refused(changes):
    with pytest.raises(ValidationError):
        report(1, **changes)


def test_a_field_of_a_later_release_is_passed_over():
    assert not hasattr(report(1, more=1).kept[0], "more")
