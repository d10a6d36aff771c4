"""A database that hangs is not waited for again and again."""

from control.store.breaker import PAUSE_SECONDS, Breaker


def test_of_calls_to_what_hangs_one_at_a_time_tries():
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    assert breaker.allows()
    assert breaker.allows()
    breaker.failed("down")
    assert breaker.allows()  # what is down may be up again by now
    breaker.hung("silent")
    assert not breaker.allows()
    now[0] = PAUSE_SECONDS
    assert breaker.allows()
    assert not breaker.allows()
    breaker.hung("silent")
    now[0] = 2 * PAUSE_SECONDS
    assert breaker.allows()
    breaker.answered()
    assert breaker.allows()
    assert breaker.allows()
    assert breaker.problem == ""
