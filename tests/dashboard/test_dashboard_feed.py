import asyncio
from collections import Counter

import pytest

from control.dashboard.feed import MAX_LISTENERS, MAX_QUEUED_EVENTS, Feed
from serving.errors import Unavailable

CHANGE = {"model": "digits", "revision": 7}


class Digests:
    """Says what it was asked, and how often."""

    def __init__(self) -> None:
        self.asked = Counter()

    def __call__(self, topic: str) -> bytes | None:
        self.asked[topic] += 1
        return None if topic == "rollout:gone" else b'{"number":%d}' % self.asked[topic]


def take(stream, count: int) -> list[bytes]:
    """The next events behind the greeting."""

    async def read() -> list[bytes]:
        async with asyncio.timeout(60):
            found = [await anext(stream) for _ in range(count + 1)]
        await stream.aclose()
        return found[1:]

    return asyncio.run(read())


def test_a_digest_is_made_once_for_fifty_pages_and_not_at_all_for_none():
    digests = Digests()
    feed = Feed(digests)
    feed.digest()
    assert not digests.asked
    streams = [feed.listen(["overview"]) for _ in range(50)]
    made = digests.asked["overview"]
    feed.digest()
    assert digests.asked == {"overview": made + 1}
    assert take(streams[0], 2)[1] == take(streams[49], 2)[1]


def test_a_page_is_told_at_once_and_only_of_its_topics():
    feed = Feed(Digests())
    one, other = feed.listen(["rollout:digits"]), feed.listen(["load"])
    feed.digest()
    assert take(one, 2) == [b'event: rollout\ndata: {"number":%d}\n\n' % n for n in (1, 2)]
    assert take(other, 1) == [b'event: load\ndata: {"number":1}\n\n']


def test_changes_reach_everyone_and_what_is_gone_is_passed_over():
    feed = Feed(Digests())
    plain, watching = feed.listen(), feed.listen(["rollout:gone"])
    feed.digest()
    feed.announce("edited", CHANGE)
    told = [b'id: 7\nevent: edited\ndata: {"model":"digits","revision":7}\n\n']
    assert take(plain, 1) == told
    assert take(watching, 1) == told


def test_a_slow_page_misses_digests_before_changes():
    feed = Feed(Digests())
    slow = feed.listen(["overview"])
    for _ in range(3 * MAX_QUEUED_EVENTS):
        feed.digest()
    feed.announce("edited", CHANGE)
    events = take(slow, MAX_QUEUED_EVENTS // 2 + 1)
    assert events[-1].startswith(b"id: 7")
    assert all(event.startswith(b"event: overview") for event in events[:-1])


def test_there_is_a_bound_on_pages_and_one_that_leaves_makes_room():
    feed = Feed(Digests())
    streams = [feed.listen() for _ in range(MAX_LISTENERS)]
    with pytest.raises(Unavailable):
        feed.listen()

    async def leave() -> None:
        await anext(streams[0])
        await streams[0].aclose()

    asyncio.run(leave())
    feed.listen()
