"""What is sent again, and when: the rules without a network."""

import pytest

from understudy_client import (
    ConnectionFailed,
    ConnectionLost,
    InvalidAnswer,
    InvalidRequest,
    ModelFailed,
    TimedOut,
    TooManyRequests,
    Unavailable,
)
from understudy_client.retrying import Attempts

BUSY = Unavailable("busy", 503, retry_after=2.0)


def pauses(error, *, repeatable=False, most=2, deadline=1000.0):
    attempts = Attempts(most, repeatable, deadline)
    return [attempts.pause(error, 0.0) for _ in range(4)]


@pytest.mark.parametrize(
    "error",
    [
        TimedOut("t"),
        InvalidAnswer("a"),
        ModelFailed("m", 500),
        InvalidRequest("i", 400),
        Unavailable("u", 503),
    ],
)
@pytest.mark.parametrize("repeatable", [True, False])
def test_what_may_have_been_worked_on_or_will_fail_again_is_not_sent_again(error, repeatable):
    assert pauses(error, repeatable=repeatable) == [None] * 4


def test_without_a_connection_it_is_tried_again_after_longer_and_longer():
    first, second, *none = pauses(ConnectionFailed("c"))
    assert none == [None, None]
    assert 0.05 <= first <= 0.1 <= second <= 0.2


@pytest.mark.parametrize("error", [BUSY, TooManyRequests("rate", 429, retry_after=2.0)])
def test_who_is_busy_is_asked_when_it_says(error):
    first, second, *none = pauses(error)
    assert none == [None, None]
    assert 2.0 < first <= 2.1
    assert 2.0 < second <= 2.1


def test_a_lost_answer_is_asked_for_again_only_where_that_counts_once():
    assert pauses(ConnectionLost("l"), repeatable=False) == [None] * 4
    assert pauses(ConnectionLost("l"), repeatable=True)[0] is not None


def test_nobody_waits_beyond_the_time_of_the_call():
    assert pauses(BUSY, deadline=1.9) == [None] * 4
    assert pauses(BUSY, most=0) == [None] * 4


def test_no_pause_is_longer_than_five_seconds():
    attempts = Attempts(50, repeatable=False, deadline=1e9)
    assert max(attempts.pause(ConnectionFailed("c"), 0.0) for _ in range(50)) <= 5.0
