"""Requests that a worker reads in one turn of its event loop share a run: each gets its own answer."""

import http.client
import json
import shutil
import socket
from collections import Counter

import numpy as np
import pytest

from harness.raw import request
from harness.rows import DIGITS, body, digits, outputs_of
from harness.system import MODELS, eventually, running, stopped

COUNT = 24
LENGTH = 700
ROLLOUTS = "digits: {{stable: digits/1, canary: {{model: digits/2, weight: {weight}}}}}\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turn")
    models = folder / "models"
    (models / "digits").mkdir(parents=True)
    for version in ("1", "2"):
        shutil.copytree(MODELS / "digits" / version, models / "digits" / version)
    (models / "digits" / "config.yaml").write_text("versions: all\nexecution: inline\n")
    logged = ("--request-log-sample", "0.0001")  # which keeps no request from sharing a run
    with running(folder, ROLLOUTS.format(weight=0), models=models, options=logged) as started:
        yield started


def padded(number):
    """The request for a digit, as long as that of any other, so that all have one head."""
    return body(number).ljust(LENGTH)


def in_one_turn(up, bodies, *, half_closed=False):
    """Have all these requests lie in the worker's sockets when it reads the first of them.

    Returns:
        Status, headers and JSON of each answer.
    """
    [pid] = up.pids("worker")
    wire = [request(DIGITS, text) for text in bodies]
    lines = [socket.create_connection(("127.0.0.1", up.port), 30) for _ in bodies]
    try:
        for _ in range(2):  # then the head is known
            for line in lines:
                line.sendall(request(DIGITS, padded(0)))
                assert answer(line)[0] == 200
        with stopped(pid):
            for line, data in zip(lines, wire, strict=True):
                line.sendall(data)
                if half_closed:
                    line.shutdown(socket.SHUT_WR)
        answers = [answer(line) for line in lines]
        if half_closed:
            assert [line.recv(1) for line in lines] == [b""] * len(lines)
        return answers
    finally:
        for line in lines:
            line.close()


def answer(line):
    response = http.client.HTTPResponse(line, method="POST")
    response.begin()
    return response.status, response.headers, json.loads(response.read())


def joined(up):
    """Runs that requests shared, and their rows."""
    names = ("understudy_batch_size_count", "understudy_batch_size_sum")
    return np.array([up.metric(name, target="digits/1") for name in names])


def assert_right(got, number, target):
    outputs = {output["name"]: output["data"] for output in got["outputs"]}
    row = number % len(digits())
    for name, rows in outputs_of(target).items():
        np.testing.assert_allclose(np.ravel(outputs[name]), np.ravel(rows[row]), rtol=1e-4, atol=1e-6)


def test_all_but_the_first_share_one_run_and_each_gets_its_own_answer(up):
    before = joined(up), up.metric("understudy_requests_total", target="digits/1", code="200")
    answers = in_one_turn(up, [padded(number) for number in range(COUNT)])
    for number, (status, headers, got) in enumerate(answers):
        assert status == 200
        assert headers["x-understudy-target"] == "digits/1"
        assert_right(got, number, "digits/1")
    assert (joined(up) - before[0]).tolist() == [1, COUNT - 1]
    counted = up.metric("understudy_requests_total", target="digits/1", code="200") - before[1]
    assert counted == 3 * COUNT


def test_a_wrong_request_among_them_is_refused_by_itself(up):
    bodies = [padded(number) for number in range(COUNT)]
    wrong = {3: b"{".ljust(LENGTH), 7: body(7).replace(b"pixels", b"voxels").ljust(LENGTH)}
    for number, text in wrong.items():
        bodies[number] = text
    for number, (status, _, got) in enumerate(in_one_turn(up, bodies)):
        assert status == (400 if number in wrong else 200)
        if number in wrong:
            assert "not valid JSON" in got["error"] or "voxels" in got["error"]
        else:
            assert_right(got, number, "digits/1")


def test_clients_that_send_no_more_are_answered_all_the_same(up):
    answers = in_one_turn(up, [padded(number) for number in range(COUNT)], half_closed=True)
    assert [status for status, _, _ in answers] == [200] * COUNT


def test_the_canary_gets_its_share_of_them_and_every_count_is_right(up):
    up.edit(ROLLOUTS.format(weight=50))
    eventually(lambda: up.view("digits")["serving"]["weight"] == 50, "the edit is seen")
    eventually(up.all_targets_ready, "the canary is ready")

    def counts():
        return {
            target: up.metric("understudy_requests_total", target=target, code="200")
            for target in ("digits/1", "digits/2")
        }

    before = counts()
    runs = joined(up)
    seen = Counter()
    for _ in range(4):
        answers = in_one_turn(up, [padded(number) for number in range(COUNT)])
        for number, (status, headers, got) in enumerate(answers):
            assert status == 200
            target = headers["x-understudy-target"]
            assert_right(got, number, target)
            seen[target] += 1
    assert sorted(seen) == ["digits/1", "digits/2"]
    assert sum((joined(up) - runs)[1:]) > 0
    after = counts()
    warmed = 2 * 4 * COUNT  # drawn like the others
    assert sum(after.values()) - sum(before.values()) == warmed + sum(seen.values())
    for target, number in seen.items():
        assert number <= after[target] - before[target] <= number + warmed
