"""The split: the share is right, every request is counted once, and a key never moves back."""

import math
from collections import Counter

import pytest

from harness.pilot import Pilot, piloted
from harness.raw import ask_all, request, tally
from harness.rows import body
from harness.system import eventually

KEYS = 500

CANARY = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 10}}


def sticky(weight: float) -> dict:
    return {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "weight": weight},
        "sticky": {"header": "x-user-id"},
    }


def sigmas(count: int, total: int, share: float) -> float:
    """How many standard deviations of a binomial lie between a count and its expectation."""
    return abs(count - total * share) / math.sqrt(total * share * (1 - share))


def settled(pilot: Pilot) -> Counter[str]:
    """Requests by role in the counts that control holds, over all workers that live."""
    total: Counter[str] = Counter()
    for row in pilot.up.admin.get("/v1/nodes").json():
        for counted in row["counts"]:
            if row["kind"] == "worker" and counted["model"] == pilot.model:
                total.update({role: counted[role]["requests"] for role in ("stable", "canary")})
    return total


@pytest.mark.parametrize("number", [8_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_each_request_is_answered_and_counted_once_and_a_tenth_by_the_canary(two, number):
    with piloted(two, "split", CANARY) as pilot:
        eventually(pilot.ready, "ready")
        requests = (request(pilot.infer, body(turn % 100)) for turn in range(number))
        answers = tally(ask_all(two.port, requests))
        stable, canary = answers[200, "digits/1"], answers[200, "digits/2"]
        assert stable + canary == answers.total() == number
        assert sigmas(canary, number, 0.10) < 4
        for target, count, role in (("digits/1", stable, "stable"), ("digits/2", canary, "canary")):
            assert pilot.metric("requests_total", target=target, role=role, code="200") == count
            assert pilot.metric("request_seconds_count", target=target) == count
        assert pilot.metric("requests_total") == number
        assert pilot.metric("failover_total") == 0
        eventually(lambda: settled(pilot) == {"stable": stable, "canary": canary}, "control holds the same")


def test_a_key_has_one_answer_everywhere_and_never_moves_back_as_the_weight_grows(two):
    before: set[int] = set()
    with piloted(two, "keys", sticky(1)) as pilot:
        for weight in (1, 5, 25, 50):
            pilot.put(sticky(weight))
            eventually(pilot.ready, "the weight is in force")
            # Each key asks twice, on whatever connection, and so in whatever worker, is free.
            keyed = (
                request(pilot.infer, body(0), {"x-user-id": f"user {n % KEYS}"}) for n in range(2 * KEYS)
            )
            seen: dict[int, list[str]] = {}
            for answer in ask_all(two.port, keyed):
                assert answer.status == 200
                seen.setdefault(answer.number % KEYS, []).append(answer.target)
            assert all(first == second for first, second in seen.values())
            canary = {key for key, (target, _) in seen.items() if target == "digits/2"}
            assert before <= canary, "a key went back to stable"
            assert sigmas(len(canary), KEYS, weight / 100) < 5
            before = canary


def test_a_forced_target_is_obeyed_and_left_out_of_the_evidence(two):
    with piloted(two, "forced", CANARY) as pilot:
        eventually(pilot.ready, "ready")
        for name, target in (("canary", "digits/2"), ("stable", "digits/1"), ("digits/2", "digits/2")):
            forced = (request(pilot.infer, body(0), {"x-understudy-target": name}) for _ in range(50))
            assert tally(ask_all(two.port, forced)) == {(200, target): 50}
        unknown = iter([request(pilot.infer, body(0), {"x-understudy-target": "digits/3"})])
        assert tally(ask_all(two.port, unknown)) == {(400, ""): 1}
        drawn = tally(ask_all(two.port, (request(pilot.infer, body(0)) for _ in range(200))))
        expected = Counter({"stable": drawn[200, "digits/1"], "canary": drawn[200, "digits/2"]})
        eventually(lambda: settled(pilot) == expected, "only drawn requests are counted")
