"""Shadows: what differs is counted exactly, and a shadow that hangs or dies touches nobody."""

import os
import signal
from collections import Counter

import numpy as np
import orjson
import pytest

from harness.load import Load
from harness.pilot import piloted
from harness.raw import ask_all, request, tally
from harness.rows import body, digits, outputs_of
from harness.system import eventually

ATOL = 0.02
ROWS = 200
COMPARED = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 0, "mirror": 100},
    "shadows": [{"model": "digits/3", "sample": 100}],
    "compare": {"label": "exact", "probabilities": {"atol": ATOL}},
}
SHADOWED = {"stable": "digits/1", "shadows": [{"model": "digits/3", "sample": 100}]}


def shadowed(pilot, target="digits/3"):
    """Mirrored requests of a shadow by outcome."""
    return counted(pilot, "understudy_shadow_total", target, lambda labels: labels["outcome"])


def compared(pilot, target):
    """Comparisons by output and verdict."""
    key = lambda labels: (labels["output"], labels["verdict"])  # noqa: E731
    return counted(pilot, "understudy_comparison_total", target, key)


def counted(pilot, name, target, key):
    """What was counted of a target, by these of the labels."""
    found = Counter()
    for sample in pilot.up.samples(name):
        if (sample.labels["model"], sample.labels["target"]) == (pilot.model, target):
            found[key(sample.labels)] += int(sample.value)
    return found


def distance(pilot, target):
    """The sum of the distances of all probabilities."""
    return pilot.metric("comparison_distance_sum", target=target, output="probabilities")


def expected(target):
    """What the models themselves say of the first rows, held against digits/1."""
    reference, candidate = outputs_of("digits/1"), outputs_of(target)
    labels = reference["label"][:ROWS] != candidate["label"][:ROWS]
    distances = np.abs(
        reference["probabilities"][:ROWS].astype("f8") - candidate["probabilities"][:ROWS].astype("f8")
    ).max(axis=1)
    assert not (np.abs(distances - ATOL) < 1e-6).any(), "a row on the edge says nothing"
    counts = {"label": int(labels.sum()), "probabilities": int((distances > ATOL).sum())}
    pairs = [((output, "different"), count) for output, count in counts.items()]
    pairs += [((output, "same"), ROWS - count) for output, count in counts.items()]
    return Counter(dict(pairs)), float(distances.sum())


def in_json(path, number):
    return request(path, body(number))


def binary(rows):
    """Headers and body that ask for some rows."""
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape)}
    tensor["parameters"] = {"binary_data_size": rows.nbytes}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return {"inference-header-content-length": str(len(head))}, head + rows.tobytes()


def in_binary(path, number):
    headers, content = binary(digits()[number][None])
    return request(path, content, headers)


def warmed_up(pilot, targets):
    """Requests sent until each of the targets had compared one; all are dealt with."""
    sent = 0
    while not all(shadowed(pilot, target)["compared"] for target in targets):
        one = iter([in_json(pilot.infer, 0)])
        assert tally(ask_all(pilot.up.port, one, connections=1)) == {(200, "digits/1"): 1}
        sent += 1
    for target in targets:
        eventually(lambda: shadowed(pilot, target).total() == sent, "all dealt with")  # noqa: B023
    return sent


def test_differences_of_shadow_and_mirrored_canary_are_those_of_the_models(node):
    targets = ("digits/2", "digits/3")
    with piloted(node, "compared", COMPARED) as pilot:
        sent = warmed_up(pilot, targets)
        for asking in (in_json, in_binary):
            before = {
                target: (shadowed(pilot, target), compared(pilot, target), distance(pilot, target))
                for target in targets
            }
            asked = (asking(pilot.infer, number) for number in range(ROWS))
            assert tally(ask_all(node.port, asked, connections=2)) == {(200, "digits/1"): ROWS}
            sent += ROWS
            for target in targets:
                eventually(lambda: shadowed(pilot, target).total() == sent, "all dealt with")  # noqa: B023
                outcomes, verdicts, distances = before[target]
                assert shadowed(pilot, target) - outcomes == {"compared": ROWS}
                counts, summed = expected(target)
                assert counts["label", "different"] > 0
                assert compared(pilot, target) - verdicts == counts
                assert distance(pilot, target) - distances == pytest.approx(summed, rel=1e-4)


def test_a_stopped_shadow_fails_no_request_and_what_it_missed_is_counted_exactly(node):
    many = binary(digits()[:800])  # few fill its buffer
    with (
        piloted(node, "stopped", SHADOWED) as pilot,
        Load(node.url + pilot.infer, 20, lambda _: many) as load,
    ):
        eventually(lambda: shadowed(pilot)["compared"] > 5, "it compares")
        (pid,) = pilot.sandboxes("digits/3")
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: shadowed(pilot)["dropped"] > 20, "its buffer is full")
        finally:
            os.kill(pid, signal.SIGCONT)
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        assert ledger.targets == {"digits/1": ledger.sent}
        eventually(lambda: shadowed(pilot).total() == ledger.sent, "every mirrored request has one outcome")
        assert shadowed(pilot)["dropped"] > 20


def test_a_shadow_killed_again_and_again_fails_no_request_and_what_is_lost_is_counted(node):
    with piloted(node, "killed-shadow", SHADOWED) as pilot, pilot.load(40) as load:
        for _ in range(2):
            before = shadowed(pilot)["compared"]
            eventually(lambda: shadowed(pilot)["compared"] > before + 20, "it compares")  # noqa: B023
            (pid,) = eventually(lambda: pilot.sandboxes("digits/3"), "it reports")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: pilot.sandboxes("digits/3") not in ([], [pid]), "another one")  # noqa: B023
        before = shadowed(pilot)["compared"]
        eventually(lambda: shadowed(pilot)["compared"] > before + 20, "it compares again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        # What a dead sandbox had compared without saying so yet is counted as dropped too.
        eventually(lambda: shadowed(pilot).total() >= ledger.sent, "nothing is missing")
        assert shadowed(pilot)["dropped"] > 0
