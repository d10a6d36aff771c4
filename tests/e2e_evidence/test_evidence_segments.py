"""A canary that harms one segment is taken off for it, by its name, where all traffic together looks well."""

import contextlib
import itertools
import random
import re

import pytest

from harness.command import rollouts
from harness.picky import picky
from harness.pilot import piloted
from harness.raw import ask_all, request
from harness.rows import body_of, digits
from harness.system import eventually

COUNTRIES = ["de", "fr", "it", "es", "pt", "at", "ch", "be", "nl", "dk", "se", "no"]
BATCH = 300


def requests(path):
    """One in ten fails whoever is asked; of those from Germany, half of the others at the canary.

    Those that fail are far apart, and in each country alike: five in a row would eject their target.
    """
    chance = random.Random(5)
    for number in itertools.count():
        turn, place = divmod(number, len(COUNTRIES))
        country = COUNTRIES[place]
        broken = (number + turn) % 10 == 0
        manner = "broken" if broken else "odd" if chance.random() < 0.5 else "plain"
        body = body_of(digits()[:1], id=f"{manner} {country}")
        yield request(path, body, {"x-country": country, "x-user": str(number)})


def stable_fails(asked):
    return asked["id"].startswith("broken")


def canary_fails(asked):
    return stable_fails(asked) or asked["id"] == "odd de"


@pytest.mark.parametrize("sticky", [{}, {"sticky": {"header": "x-user"}}], ids=["drawn", "sticky"])
def test_a_canary_that_fails_in_one_country_is_taken_off_by_the_guard_of_segments(two, sticky):
    with picky(stable_fails) as stable, picky(canary_fails) as canary:
        document = {
            "stable": {"model": "digits/1", "url": stable},
            "canary": {"model": "digits/2", "url": canary, "steps": [{"setWeight": 50}, {"pause": {}}]},
            "segments": {"header": "X-Country", "max": 12},
            "guards": {"errors": {"maxRatio": 1.5}, "segments": {"guard": "errors"}},
            "alpha": "5%",
            **sticky,
        }
        with piloted(two, f"one-country-{len(sticky)}", document) as pilot:
            eventually(pilot.ready, "ready")
            asked = requests(pilot.infer)
            seen = []
            for _ in range(60):
                for answer in ask_all(two.port, itertools.islice(asked, BATCH), 8):
                    assert answer.status in {200, 502}
                seen += [pilot.view["segments"]]
                if pilot.status["phase"] == "rolled_back":
                    break
            status = pilot.wait_phase("rolled_back")
            assert "segments: harmful: errors in segment x-country=de:" in status["reason"]
            row = next(row for row in pilot.history if row["kind"] == "autopilot")
            guards = {guard["guard"]: guard for guard in row["evidence"]["guards"]}
            assert guards["errors"]["verdict"] != "harmful", "all traffic together looks well"
            assert guards["errors"]["log_harm"] < guards["errors"]["log_line"]
            worst, *others = guards["segments"]["segments"]
            assert (worst["value"], worst["named"]) == ("de", True)
            assert worst["canary"] > worst["stable"]
            assert not any(other["named"] for other in others)
            assert {other["value"] for other in others} <= set(COUNTRIES)
            shown = [view for view in seen if view is not None and view["rows"]]
            assert all(view["header"] == "x-country" for view in shown)
            assert shown, "the view tells of segments while the canary is judged"


def test_the_worst_segments_are_shown(two):
    with picky(stable_fails) as stable, picky(stable_fails) as canary, contextlib.ExitStack() as stack:
        document = {
            "stable": {"model": "digits/1", "url": stable},
            "canary": {"model": "digits/2", "url": canary, "weight": 50},
            "segments": {"header": "x-country"},
            "guards": {
                "errors": {"maxRatio": 1.5, "mode": "observe"},
                "segments": {"guard": "errors", "mode": "observe"},
            },
        }
        pilot = stack.enter_context(piloted(two, "shown-segments", document))
        eventually(pilot.ready, "ready")
        for _ in ask_all(two.port, itertools.islice(requests(pilot.infer), BATCH), 8):
            pass
        rows = eventually(lambda: (pilot.view["segments"] or {}).get("rows"), "segments with errors")
        said = rollouts(two, "show", pilot.model)
        assert re.search("x-country +canary errors +stable errors", said)
        assert any(re.search(rf"^ *{row['value']} +\d+ +\d+ ", said, re.MULTILINE) for row in rows)
        assert {row["value"] for row in rows} <= set(COUNTRIES)
