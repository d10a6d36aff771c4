"""With which code `understudy rollouts aa` ends."""

import pytest

from understudy.commands.aa import _code

REPORT = {"canary": {"requests": 9}, "alarms": 0}
ENDED = {"report": REPORT, "ended_by": "autopilot"}


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (ENDED, 0),
        ({**ENDED, "report": {**REPORT, "alarms": 1}}, 3),
        ({**ENDED, "ended_by": "anna"}, 1),
        ({**ENDED, "ended_by": "anna", "interrupted": True}, 0),
        ({**ENDED, "report": {**REPORT, "canary": {"requests": 0}}}, 1),
        ({**ENDED, "report": None}, 1),
        ({}, 1),
    ],
)
def test_it_ends_well_only_when_it_saw_something_and_nothing_alarmed(seen, code):
    assert _code(seen) == code
