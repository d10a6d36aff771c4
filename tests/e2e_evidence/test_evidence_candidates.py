"""Several candidates at once, end to end: harm, the best, a tie, and whose an outcome is."""

from collections import Counter

from harness.command import told
from harness.pilot import piloted
from harness.rows import body
from harness.shoppers import Shoppers
from harness.system import eventually

OUTCOMES = {"paid": {"kind": "binary", "within": "2s"}}
GUARDS = {"errors": {"max": "1%"}}
FAILS = {"model": "digits/9", "weight": 15}  # on every request; see harness.shared
PAYS = {"1": 0.1, "2": 0.5, "3": 0.1}


def candidates(*more, weight=25):
    return [{"model": f"digits/{version}", "weight": weight} for version in (2, 3)] + list(more)


def document(*more, weight=25, **best):
    return {
        "stable": "digits/1",
        "candidates": candidates(*more, weight=weight),
        "outcomes": OUTCOMES,
        "guards": GUARDS,
        "best": {"outcome": "paid", **best},
        "alpha": "5%",
    }


def test_a_harmful_one_is_taken_off_the_others_go_on_and_the_best_is_promoted_by_rule(two):
    with piloted(two, "three", document(FAILS, promote=True)) as pilot:
        eventually(pilot.ready, "all candidates are ready", 60.0)
        with Shoppers(two, "three", PAYS) as shoppers:
            eventually(lambda: not pilot.view["candidates"][2]["on"], "the bad one is off", 60.0)
            going_on = pilot.view
            assert going_on["status"]["phase"] in {"comparing", "promoting", "promoted"}
            pilot.wait_phase("promoted", 90.0)
        assert set(shoppers.statuses) == {200}, "stable answered for the one that failed"
        view = pilot.view
        assert view["serving"]["stable"] == "digits/2"
        bad = view["candidates"][2]
        assert "errors: harmful" in bad["reason"]
        kinds = [row["reason"] for row in reversed(pilot.history) if row["kind"] == "autopilot"]
        off, promoting, promoted = kinds
        assert off.startswith("digits/9 was taken off: errors: harmful")
        assert promoting.startswith("promoting digits/2")
        assert promoted.startswith("digits/2 took over from digits/1: by paid digits/2 is better than each")
        evidence = next(row["evidence"] for row in pilot.history if row["reason"] == off)
        assert evidence, "what it was taken off for is kept"


def test_a_tie_ends_undecided_and_stable_answers_all(two):
    with piloted(two, "alike", {**document(max="6s"), "alpha": "0.1%"}) as pilot:
        eventually(pilot.ready, "all candidates are ready", 60.0)
        with Shoppers(two, "alike", dict.fromkeys(PAYS, 0.3), pause_seconds=0.5):
            pilot.wait_phase("ended", 60.0)
            view = pilot.view
            assert "undecided after 6s" in view["status"]["reason"]
            assert [row["on"] for row in view["candidates"]] == [False, False]
            assert [need["kind"] for need in view["needs"]] == ["test_ended"]
            eventually(lambda: pilot.view["in_force_everywhere"], "all workers know")
            answered = {
                two.client.post(pilot.infer, content=body(n)).json()["model_version"] for n in range(60)
            }
            assert answered == {"1"}
        told_by = told(
            "rollouts", "watch", "alike", "--until-done", environment={"UNDERSTUDY_CONTROL": two.admin_url}
        )
        assert told_by.exit_code == 5
        pilot.act("resume")
        assert pilot.status["phase"] == "comparing"


def test_an_outcome_is_that_of_the_candidate_that_the_receipt_names(two):
    with piloted(two, "whose", {**document(weight=30), "guards": {}}) as pilot:
        eventually(pilot.ready, "all candidates are ready", 60.0)
        given = Counter()
        drawn = {}
        for number in range(200):
            answer = two.client.post(pilot.infer, content=body(number)).raise_for_status()
            target = f"digits/{answer.json()['model_version']}"
            receipt = answer.headers["x-understudy-receipt"]
            given[target] += 1
            drawn.setdefault(target, receipt)
            outcome = {"receipt": receipt, "name": "paid", "value": True}
            two.client.post("/v1/outcomes", json=outcome).raise_for_status()
        assert given.keys() == {"digits/1", "digits/2", "digits/3"}
        for target, number in (("digits/1", None), ("digits/2", 1), ("digits/3", 2)):
            said = two.admin.get(f"/v1/receipts/{drawn[target]}").raise_for_status().json()
            assert (said["drawn"], said["candidate"]) == ("canary" if number else "stable", number)

        def found():
            return {side["target"]: side["units"] for side in pilot.view["best"]["sides"]}

        eventually(lambda: found() == dict(given), f"each outcome is its candidate's: {given}", 30.0)


def test_a_person_says_which_one_is_promoted(two):
    environment = {"UNDERSTUDY_CONTROL": two.admin_url, "COLUMNS": "200"}
    with piloted(two, "asked", document()) as pilot:
        eventually(pilot.ready, "all candidates are ready", 60.0)
        which = told("rollouts", "promote", "asked", environment=environment)
        assert (which.exit_code, "say a target: digits/2 and digits/3" in which.stderr) == (1, True)
        unknown = told("rollouts", "promote", "asked", "--target", "digits/7", environment=environment)
        assert (unknown.exit_code, "is no candidate" in unknown.stderr) == (1, True)
        listed = told("rollouts", "list", environment=environment).stdout
        assert "digits/2, digits/3" in listed
        done = told(
            "rollouts",
            "promote",
            "asked",
            "--target",
            "digits/3",
            "--reason",
            "faster",
            environment=environment,
        )
        assert done.exit_code == 0, done.stderr
        pilot.wait_phase("promoted")
        assert pilot.view["serving"]["stable"] == "digits/3"
        pilot.act("abort")
        assert pilot.view["serving"]["stable"] == "digits/1"
