from dataclasses import replace
from typing import get_args

import pytest

from control.rollouts.events import Abort, Pause, Promote, Resume
from control.rollouts.progress import IllegalTransition, advance, begin, possible
from control.rollouts.state import AATest, Phase
from router.rollout.parser import parse_one

DOCUMENT = b"{stable: digits/1, canary: {model: digits/2, steps: [{setWeight: 5}, {pause: {}}]}}"
TEST = b"{stable: digits/1, candidates: [{model: digits/2, weight: 5}, {model: digits/3, weight: 5}]}"
EVENTS = {"pause": Pause("x"), "resume": Resume(), "promote": Promote("x", "digits/2"), "abort": Abort("x")}


@pytest.mark.parametrize("phase", get_args(Phase))
def test_what_is_offered_is_what_the_table_allows(phase):
    rollout = parse_one("digits", TEST if phase in {"comparing", "ended"} else DOCUMENT, "test")
    aa = AATest(1, 100.0, 60.0, None, "anna") if phase == "aa" else None
    progress = replace(begin(rollout), phase=phase, aa=aa)
    allowed = []
    for name, event in EVENTS.items():
        try:
            advance(rollout, progress, event)
        except IllegalTransition:
            continue
        allowed.append(name)
    assert possible(rollout, progress) == allowed


def test_without_a_canary_there_is_nothing_to_do():
    rollout = parse_one("digits", b"{stable: digits/1}", "test")
    assert possible(rollout, begin(rollout)) == []
    for event in EVENTS.values():
        with pytest.raises(IllegalTransition):
            advance(rollout, begin(rollout), event)
