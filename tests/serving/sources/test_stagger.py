"""A fleet that asks for one large model at once, on a clock of its own."""

from serving.sources.stagger import LARGE_BYTES, delay

NODES, STAGGER_SECONDS, DOWNLOAD_SECONDS = 300, 300.0, 20.0


def most_at_once(begins, seconds):
    """How many downloads are under way at most, each of which takes so long."""
    changes = sorted([(begin, 1) for begin in begins] + [(begin + seconds, -1) for begin in begins])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def begins(stagger, what="m/1"):
    return [delay(f"node-{number}", what, 1 << 30, stagger) for number in range(NODES)]


def test_of_300_nodes_about_as_many_download_at_once_as_is_documented():
    assert most_at_once(begins(0.0), DOWNLOAD_SECONDS) == NODES
    even = NODES * DOWNLOAD_SECONDS / STAGGER_SECONDS
    peaks = [most_at_once(begins(STAGGER_SECONDS, f"m/{n}"), DOWNLOAD_SECONDS) for n in range(20)]
    assert even == 20
    assert even < max(peaks) <= 2 * even
    assert max(begins(STAGGER_SECONDS)) < STAGGER_SECONDS


def test_who_waits_how_long_is_another_for_another_model_and_nobody_waits_for_a_small_one():
    assert begins(STAGGER_SECONDS) == begins(STAGGER_SECONDS)
    assert begins(STAGGER_SECONDS) != begins(STAGGER_SECONDS, "m/2")
    assert delay("node", "m/1", LARGE_BYTES - 1, STAGGER_SECONDS) == 0
