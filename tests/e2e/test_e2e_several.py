"""Several candidates on a real node: each has its share and counts once; what fails costs nobody anything."""

import contextlib
import os
import signal
from collections import Counter

from harness.pilot import Pilot, piloted
from harness.raw import ask_all, request, tally
from harness.rows import body
from harness.system import eventually

WEIGHTS = {"digits/2": 10, "digits/3": 30, "digits/4": 20}
STABLE = "digits/1"
REQUESTS = 2_000
DOCUMENT = {
    "stable": STABLE,
    "candidates": [{"model": model, "weight": weight} for model, weight in WEIGHTS.items()],
    "record": {"sample": "0%"},
}


def ask(pilot: Pilot, number: int) -> Counter:
    """Answers by status and target."""
    return tally(ask_all(pilot.up.port, (request(pilot.infer, body(n % 100)) for n in range(number))))


def counted(pilot: Pilot) -> dict[str, tuple[int, int]]:
    """By candidate, requests of stable and of it in the counts that control holds."""
    found: Counter[tuple[str, str]] = Counter()
    for row in pilot.up.admin.get("/v1/nodes").json():
        for counts in row["counts"]:
            if row["kind"] == "worker" and counts["model"] == pilot.model and counts.get("candidate"):
                for role in ("stable", "canary"):
                    found[counts["candidate"], role] += counts[role]["requests"]
    return {key: (found[key, "stable"], found[key, "canary"]) for key in WEIGHTS}


def test_each_candidate_has_its_share_and_each_request_is_counted_once(two):
    with piloted(two, "several", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        eventually(lambda: len(ask(pilot, 200)) == 4, "all four answer")
        eventually(lambda: sum(canary for _, canary in counted(pilot).values()), "control has heard")
        before = pilot.metric("requests_total")
        answers = ask(pilot, REQUESTS)
        assert {status for status, _ in answers} == {200}
        for model, weight in {**WEIGHTS, STABLE: 40}.items():
            expected = REQUESTS * weight / 100
            assert abs(answers[200, model] - expected) < 5 * expected**0.5
        assert pilot.metric("requests_total") == before + REQUESTS
        assert pilot.metric("failover_total") == 0
        stable = int(pilot.metric("requests_total", target=STABLE))

        def adds_up() -> bool:
            """Every candidate beside all of stable: nobody was away since the test began."""
            told = {key: int(pilot.metric("requests_total", target=key)) for key in WEIGHTS}
            return counted(pilot) == {key: (stable, requests) for key, requests in told.items()}

        eventually(adds_up, "control holds the same")


def test_a_candidate_is_named_by_its_model_or_version_and_canary_names_none(two):
    with piloted(two, "named", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        for model in (STABLE, *WEIGHTS):
            by_header = two.client.post(pilot.infer, content=body(1), headers={"x-understudy-target": model})
            path = f"/v2/models/named/versions/{model[-1]}/infer"
            by_path = two.client.post(path, content=body(1))
            for answer in (by_header, by_path):
                assert (answer.status_code, answer.headers["x-understudy-target"]) == (200, model)
        refused = two.client.post(pilot.infer, content=body(1), headers={"x-understudy-target": "canary"})
        assert refused.status_code == 400
        assert "'named' has several candidates; known: stable, digits/1, digits/2" in refused.text
        assert two.client.get("/v2/models/named").json()["versions"] == ["1", "2", "3", "4"]


def test_one_that_hangs_costs_nobody_an_answer_and_the_others_are_judged_on(two):
    with piloted(two, "hangs", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        eventually(lambda: len(ask(pilot, 200)) == 4, "all four answer")
        [pid] = pilot.sandboxes("digits/3")
        os.kill(pid, signal.SIGSTOP)  # it hangs: its requests time out, and stable answers
        try:
            answers = ask(pilot, 300)
            assert {status for status, _ in answers} == {200}
            assert answers[200, "digits/3"] == 0
            eventually(lambda: pilot.metric("failover_total", target="digits/3") > 0, "stable answered")
            before = counted(pilot)

            def the_others_go_on() -> bool:
                """Stable's requests count beside them, and not beside the one that could get none."""
                assert {status for status, _ in ask(pilot, 100)} == {200}
                now = counted(pilot)
                grown = all(now[key][1] > before[key][1] for key in ("digits/2", "digits/4"))
                return grown and now["digits/2"][0] == now["digits/4"][0] > now["digits/3"][0]

            eventually(the_others_go_on, "the evidence of the others grows")
        finally:
            with contextlib.suppress(ProcessLookupError):  # its supervisor may have ended it for that
                os.kill(pid, signal.SIGCONT)
        eventually(lambda: len(ask(pilot, 200)) == 4, "all four answer again")


def test_each_candidate_is_compared_and_timed_beside_stable(two):
    document = {
        "stable": STABLE,
        "candidates": [{"model": model, "weight": 20, "mirror": 100} for model in ("digits/2", "digits/3")],
        "compare": {"label": "exact"},
        "guards": {"agreement": {"output": "label", "min": "50%"}, "latency": {"maxRatio": 3}},
    }
    with piloted(two, "compared", document) as pilot:
        eventually(pilot.ready, "ready")

        def judged() -> bool:
            assert {status for status, _ in ask(pilot, 100)} == {200}
            reasons = [
                " ".join(guard["reason"] for guard in (each["judgement"] or {"guards": ()})["guards"])
                for each in pilot.view["candidates"]
            ]
            return all("comparisons" in reason and "pairs" in reason for reason in reasons)

        eventually(judged, "comparisons and pairs of both")
