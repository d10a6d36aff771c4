"""Rollouts that come to an end by evidence alone: taken off, or promoted."""

import os
import re
import signal

import pytest

from harness.hostile import hostile
from harness.load import Load
from harness.pilot import piloted, rollout
from harness.rows import DIGITS, plain
from harness.system import eventually

ERRORS = {"errors": {"maxRatio": 1.5, "max": "5%"}}
AGREEMENT = {"errors": {"max": "5%"}, "agreement": {"output": "label", "min": "95%"}}
MOST = {"errors": {"max": "20%"}, "agreement": {"output": "label", "min": "85%"}}
"""What a good model proves with a fifth of the requests."""


@pytest.fixture
def up(node):
    return node


def autopilot_rows(pilot):
    return [row for row in pilot.history if row["kind"] == "autopilot"]


def test_a_dead_canary_is_taken_off_within_few_requests_that_no_client_sees(up):
    with hostile() as server:
        server.manner = "500"
        canary = {"model": "digits/2", "url": server.url}
        with piloted(up, "dead", rollout(canary, ERRORS, weight=20)) as pilot:
            with pilot.load(50) as load:
                status = pilot.wait_phase("rolled_back")
            assert load.ledger.statuses.keys() == {200}, load.ledger.errors
            assert load.ledger.targets.keys() == {"digits/1"}
            assert server.asked <= 6, "five failures eject it, one tries again"
            assert "harmful" in status["reason"]
            assert "canary requests failed" in status["sentence"]
            [latest, *_] = autopilot_rows(pilot)
            [guard] = latest["evidence"]["guards"]
            assert latest["evidence"]["verdict"] == guard["verdict"] == "harmful"
            assert guard["log_harm"] >= guard["log_line"]


def test_a_candidate_that_was_taken_off_stays_off_until_its_document_changes_or_a_person_resumes(up):
    with hostile() as server:
        server.manner = "500"
        document = rollout({"model": "digits/2", "url": server.url}, ERRORS, weight=20)
        with piloted(up, "again", document) as pilot, pilot.load(50) as load:
            pilot.wait_phase("rolled_back")
            revision, asked, sent = len(pilot.history), server.asked, load.ledger.sent
            pilot.put(document)
            eventually(lambda: load.ledger.sent >= sent + 150, "three seconds of traffic")
            assert pilot.status["phase"] == "rolled_back"
            assert (len(pilot.history), server.asked) == (revision, asked)

            pilot.act("resume")
            assert pilot.status["phase"] == "progressing"
            pilot.wait_phase("rolled_back")

            server.manner = "well"
            pilot.put({**document, "alpha": "1%"})
            assert pilot.status["phase"] == "progressing"
            eventually(lambda: pilot.counted >= 5, "the canary answers again")
        assert load.ledger.statuses.keys() == {200}, load.ledger.errors


def test_a_sandbox_that_keeps_dying_costs_the_canary_its_rollout_and_no_client_an_answer(up):
    with piloted(up, "dying", rollout("digits/2", {"errors": {"maxRatio": 1.5}}, weight=20)) as pilot:
        with pilot.load(50) as load:
            eventually(lambda: pilot.counted >= 3, "the canary answers")

            def dies_until_it_is_taken_off():
                for pid in pilot.sandboxes():
                    os.kill(pid, signal.SIGKILL)
                return pilot.status["phase"] == "rolled_back"

            eventually(dies_until_it_is_taken_off, "taken off")
        assert "errors: harmful" in pilot.status["reason"]
        assert load.ledger.statuses.keys() == {200}, load.ledger.errors


def test_a_model_that_answers_otherwise_is_taken_off_on_agreement(up):
    with piloted(up, "differs", rollout("digits/3", AGREEMENT, mirror=100)) as pilot:
        with pilot.load(50) as load:
            status = pilot.wait_phase("rolled_back")
        assert "agreement:label: harmful" in status["reason"]
        assert "comparisons of label differed" in status["reason"]
        assert load.ledger.statuses.keys() == {200}


@pytest.mark.parametrize("manner", ["500", "unknown output"])
def test_a_candidate_that_fails_what_is_mirrored_to_it_is_taken_off_on_agreement(up, manner):
    """E1: no client's request goes to it, and no answer of it could be compared."""
    with hostile() as server:
        server.manner = manner
        canary = {"model": "digits/2", "url": server.url}
        guards = {"agreement": {"output": "label", "min": "95%"}}
        name = f"fails-{manner[:2]}"
        with piloted(up, name, rollout(canary, guards, mirror=100, weight=0)) as pilot:
            with pilot.load(50) as load:
                status = pilot.wait_phase("rolled_back")
            assert "agreement:label: harmful" in status["reason"]
            assert load.ledger.statuses.keys() == {200}
        assert up.metric("understudy_comparison_total", model=name, output="label") >= 2
        assert up.metric("understudy_comparison_total", model=name, verdict="same") == 0


def test_of_equal_bodies_the_first_counts_where_the_guard_says_so(up):
    agreement = [{"output": "label", "min": "95%", "per": "body"}, {"output": "probabilities", "min": "1%"}]
    document = rollout("digits/2", {"agreement": agreement}, {"pause": {}}, mirror=100, weight=0)
    url = f"{up.url}/v2/models/bodies/infer"
    with piloted(up, "bodies", document) as pilot, Load(url, 50, lambda n: plain(n % 100)):
        wanted = f"of {len({plain(n)[1] for n in range(100)})} comparisons of label"
        eventually(
            lambda: wanted in pilot.guard("agreement:label").get("reason", ""), "each body counted once"
        )
        other = "repeat an earlier body"
        eventually(lambda: other in pilot.guard("agreement:probabilities")["reason"], "a tenth repeats")
        assert wanted in pilot.guard("agreement:label")["reason"]


def test_a_good_model_is_promoted_through_two_steps_of_proof(up):
    steps = [{"prove": {"max": "2m"}}, {"setWeight": 50}, {"prove": {"max": "2m"}}]
    with piloted(up, "good", rollout("digits/2", MOST, *steps, mirror=100, weight=20)) as pilot:
        with pilot.load(50) as load:
            pilot.wait_phase("promoted", 120)
            served = up.client.post(DIGITS.replace("digits", "good"), content=load._request(0)[1])
        assert served.headers["x-understudy-target"] == "digits/2"
        assert load.ledger.statuses.keys() == {200}
        proofs = [row for row in autopilot_rows(pilot) if "proven" in row["reason"]]
        assert len(proofs) >= 2
        assert all(row["evidence"]["verdict"] == "proven" for row in proofs[-2:])


def test_with_sticky_users_a_dead_canary_is_taken_off_by_the_keys_that_erred(up):
    with hostile() as server:
        server.manner = "500"
        document = rollout({"model": "digits/2", "url": server.url}, ERRORS, weight=20)
        with piloted(up, "users", {**document, "sticky": {"header": "x-user-id"}}) as pilot:
            url = f"{up.url}/v2/models/users/infer"
            with Load(url, 50, lambda n: ({"x-user-id": f"user {n % 400}"}, plain(n)[1])):
                status = pilot.wait_phase("rolled_back")
        failed, of = re.search(r"(\d+) of (\d+) canary requests failed", status["reason"]).groups()
        assert 0 < int(failed) <= int(of)


def test_sticky_users_are_evidence_only_in_the_stage_that_draws_them(up):
    said = "no user is drawn anew in this stage: 10% were drawn to the canary before"
    document = {**rollout("digits/2", ERRORS), "sticky": {"header": "x-user-id"}}
    with piloted(up, "drawn", document) as pilot:
        url = f"{up.url}/v2/models/drawn/infer"
        with Load(url, 50, lambda n: ({"x-user-id": f"user {n % 400}"}, plain(n)[1])):
            eventually(lambda: pilot.counted > 0, "users of the first stage count")
            pilot.put({**document, "timeout": "2s"})
            eventually(lambda: said in pilot.guard("errors").get("doubt", ""), "an edit draws nobody anew")
            wanted = "are of users who were drawn in an earlier stage"
            eventually(lambda: wanted in pilot.guard("errors")["reason"], "they are served as before")
            pilot.act("abort")
            pilot.act("resume")
            eventually(lambda: pilot.counted > 0 and not pilot.guard("errors")["doubt"], "users drawn anew")


def test_a_canary_that_hangs_longer_than_its_clients_wait_is_counted_and_ejected(up):
    """E2: its clients leave after 0.4 s, and the rollout's timeout is 10 s."""
    with hostile() as server:
        server.manner = "hang"
        document = rollout({"model": "digits/2", "url": server.url}, ERRORS, weight=50)
        with piloted(up, "hangs", {**document, "timeout": "10s"}) as pilot:
            url = f"{up.url}/v2/models/hangs/infer"
            with Load(url, 30, plain, timeout=0.4) as load:
                eventually(lambda: "ejected" in str(up.view("hangs")["targets"]), "it is ejected")
                answered = load.ledger.statuses[200]
                eventually(lambda: load.ledger.statuses[200] > answered + 30, "stable answers")
                wanted = "canary requests went away unanswered"
                eventually(lambda: wanted in pilot.guard("errors").get("reason", ""), "it is counted")
            assert pilot.judgement["hold"] is None
            assert pilot.status["phase"] == "progressing"


def test_while_a_person_holds_a_rollout_no_step_is_taken_but_harm_still_ends_it(up):
    with hostile() as server:
        canary = {"model": "digits/2", "url": server.url}
        steps = ({"pause": {"duration": "5s"}}, {"setWeight": 100}, {"pause": {}})
        document = rollout(canary, {"errors": {"maxRatio": 1.5}}, *steps)
        with piloted(up, "held", document) as pilot, pilot.load(30) as load:
            pilot.wait_step(2)
            pilot.act("pause")
            sent = load.ledger.sent
            eventually(lambda: load.ledger.sent >= sent + 210, "longer than the step would have lasted")
            assert (pilot.status["phase"], pilot.status["step"]) == ("paused", 2)
            server.manner = "500"
            pilot.wait_phase("rolled_back")


def test_a_guard_that_only_observes_never_acts(up):
    with hostile() as server:
        server.manner = "500"
        canary = {"model": "digits/2", "url": server.url}
        guards = {"errors": {"max": "5%", "mode": "observe"}}
        with (
            piloted(up, "observed", rollout(canary, guards, {"pause": {"duration": "1h"}})) as pilot,
            pilot.load(40) as load,
        ):
            eventually(lambda: pilot.guard("errors").get("verdict") == "harmful", "harmful")
            sent = load.ledger.sent
            eventually(lambda: load.ledger.sent >= sent + 120, "three seconds of traffic")
            assert pilot.status["phase"] == "progressing"
            assert pilot.judgement["verdict"] == "undecided"
            assert "no guard that can prove anything is enforced" in pilot.judgement["reason"]


def test_no_timed_step_ends_while_the_canary_is_ejected(up):
    with hostile() as server:
        server.manner = "500"
        canary = {"model": "digits/2", "url": server.url}
        steps = ({"pause": {"duration": "2s"}}, {"setWeight": 100}, {"pause": {}})
        with piloted(up, "ejected", rollout(canary, {}, *steps, weight=50)) as pilot:
            pilot.wait_step(2)  # an ejection before would hold it at the first
            with pilot.load(40) as load:
                eventually(lambda: "ejected" in str(up.view("ejected")["targets"]), "the ejection is shown")
                sent = load.ledger.sent
                eventually(lambda: load.ledger.sent >= sent + 160, "twice the pause of traffic")
                assert pilot.status["step"] == 2
                assert up.view("ejected")["serving"]["weight"] == 50
        assert load.ledger.statuses.keys() == {200}, load.ledger.errors
