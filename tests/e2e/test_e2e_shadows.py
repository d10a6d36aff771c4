"""Shadows: what differs is counted exactly, and a shadow that hangs or dies touches nobody."""

import os
import signal
from collections import Counter

import numpy as np
import orjson
import pytest

from harness.load import Load
from harness.raw import ask_all, request, tally
from harness.rows import DIGITS, body, body_of, digits, outputs_of
from harness.system import eventually, running

ATOL = 0.02
ROWS = 500
COMPARED = f"""
digits:
  stable: digits/1
  canary: {{model: digits/2, weight: 0, mirror: 100}}
  shadows:
    - {{model: digits/3, sample: 100}}
  compare:
    label: exact
    probabilities: {{atol: {ATOL}}}
"""
SHADOWED = """
digits:
  stable: digits/1
  shadows:
    - {model: digits/3, sample: 100}
"""


def shadowed(up, target="digits/3"):
    """Mirrored requests of a shadow by outcome."""
    outcomes = Counter()
    for sample in up.samples("understudy_shadow_total"):
        if sample.labels["target"] == target:
            outcomes[sample.labels["outcome"]] += int(sample.value)
    return outcomes


def compared(up, target):
    """Comparisons by output and verdict."""
    return Counter(
        {
            (sample.labels["output"], sample.labels["verdict"]): int(sample.value)
            for sample in up.samples("understudy_comparison_total")
            if sample.labels["target"] == target
        }
    )


def distance(up, target):
    """The sum of the distances of all probabilities."""
    labels = {"target": target, "output": "probabilities"}
    return up.metric("understudy_comparison_distance_sum", **labels)


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


def in_json(number):
    return request(DIGITS, body(number))


def in_binary(number):
    row = digits()[number].tobytes()
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 64]}
    tensor["parameters"] = {"binary_data_size": len(row)}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return request(DIGITS, head + row, {"inference-header-content-length": str(len(head))})


def warmed_up(up, targets):
    """Requests sent until each of the targets had compared one; all are dealt with."""
    sent = 0
    while not all(shadowed(up, target)["compared"] for target in targets):
        assert tally(ask_all(up.port, iter([in_json(0)]), connections=1)) == {(200, "digits/1"): 1}
        sent += 1
    for target in targets:
        eventually(lambda: shadowed(up, target).total() == sent, "all dealt with")  # noqa: B023
    return sent


def test_differences_of_shadow_and_mirrored_canary_are_those_of_the_models(tmp_path):
    targets = ("digits/2", "digits/3")
    with running(tmp_path, COMPARED) as up:
        sent = warmed_up(up, targets)
        for asking in (in_json, in_binary):
            before = {
                target: (shadowed(up, target), compared(up, target), distance(up, target))
                for target in targets
            }
            answers = tally(ask_all(up.port, map(asking, range(ROWS)), connections=2))
            assert answers == {(200, "digits/1"): ROWS}
            sent += ROWS
            for target in targets:
                eventually(lambda: shadowed(up, target).total() == sent, "all dealt with")  # noqa: B023
                outcomes, verdicts, distances = before[target]
                assert shadowed(up, target) - outcomes == {"compared": ROWS}
                counts, summed = expected(target)
                assert counts["label", "different"] > 0
                assert compared(up, target) - verdicts == counts
                assert distance(up, target) - distances == pytest.approx(summed, rel=1e-4)


def test_a_stopped_shadow_fails_no_request_and_what_it_missed_is_counted_exactly(tmp_path):
    many = body_of(digits()[:200])
    with running(tmp_path, SHADOWED) as up, Load(up.url + DIGITS, 60, lambda _: ({}, many)) as load:
        eventually(lambda: shadowed(up)["compared"] > 20, "it compares")
        (pid,) = up.pids("sandbox", "digits/3")
        os.kill(pid, signal.SIGSTOP)
        try:
            eventually(lambda: shadowed(up)["dropped"] > 20, "its buffer is full")
        finally:
            os.kill(pid, signal.SIGCONT)
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        assert ledger.targets == {"digits/1": ledger.sent}
        eventually(lambda: shadowed(up).total() == ledger.sent, "every mirrored request has one outcome")
        assert shadowed(up)["dropped"] > 20


def test_a_shadow_killed_again_and_again_fails_no_request_and_what_is_lost_is_counted(tmp_path):
    with running(tmp_path, SHADOWED) as up, Load(up.url + DIGITS, 150, lambda n: ({}, body(n))) as load:
        for _ in range(3):
            before = shadowed(up)["compared"]
            eventually(lambda: shadowed(up)["compared"] > before + 20, "it compares")  # noqa: B023
            (pid,) = eventually(lambda: up.pids("sandbox", "digits/3"), "it reports")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: up.pids("sandbox", "digits/3") not in ([], [pid]), "another one")  # noqa: B023
        before = shadowed(up)["compared"]
        eventually(lambda: shadowed(up)["compared"] > before + 20, "it compares again")
        ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        # What a dead sandbox had compared without saying so yet is counted as dropped too.
        eventually(lambda: shadowed(up).total() >= ledger.sent, "nothing is missing")
        assert shadowed(up)["dropped"] > 0
