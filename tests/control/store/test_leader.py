import asyncio
import itertools

import pytest

from control.rollouts.writer import Door
from control.store.leader import LEASE_SECONDS, STUCK_SECONDS, Leader
from control.store.store import Change, Fenced, Store
from harness.system import eventually


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


def store_at(url: str) -> Store:
    return Store(url, busy_seconds=5.0)


def first_change() -> Change:
    return Change("digits", 0, {"stable": "digits/1"}, {"stage": 1}, "anna", "api", "because")


def test_of_two_controls_one_leads_and_the_other_takes_over_when_it_ends(tmp_path, url):
    async def story() -> None:
        first, second = (Leader(store_at(url), tmp_path / "control.lock") for _ in range(2))
        await first.take()
        waiting = asyncio.create_task(second.take())
        await asyncio.sleep(0)
        assert not second.leads
        await first.resign()
        async with asyncio.timeout(60):
            await waiting
        assert second.leads
        assert not first.leads

    asyncio.run(story())


def test_a_control_that_was_overtaken_writes_nothing_more(tmp_path, url):
    async def story() -> None:
        old_store, new_store = store_at(url), store_at(url)
        old, new = Leader(old_store, tmp_path / "a.lock"), Leader(new_store, tmp_path / "b.lock")
        await old.take()
        await new.take()
        with pytest.raises(Fenced):
            old_store.change(first_change())
        assert new_store.change(first_change()) == (1,)

    asyncio.run(story())


def test_a_shared_database_is_led_by_whoever_keeps_the_lease(url):
    first, second = store_at(url), store_at(url)
    assert first.lead("a", 0.0, LEASE_SECONDS)
    assert not second.lead("b", 100.0, LEASE_SECONDS)
    assert first.lead("a", 1.0, LEASE_SECONDS)
    assert not second.lead("b", 100.0 + LEASE_SECONDS, LEASE_SECONDS)  # it was renewed meanwhile
    assert second.lead("b", 100.0 + 2 * LEASE_SECONDS, LEASE_SECONDS)
    assert not first.lead("a", 2.0, LEASE_SECONDS)


def test_who_regains_the_lead_takes_up_what_the_other_changed_before_anything_else(url, monkeypatch):
    monkeypatch.setattr("control.store.leader.RENEW_SECONDS", 0.01)

    async def story() -> None:
        ours, theirs = store_at(url), store_at(url)
        leader = Leader(ours, None)
        await leader.take()
        led_when_regained = asyncio.get_running_loop().create_future()

        async def take_up() -> None:
            led_when_regained.set_result(leader.leads)

        keeping = asyncio.create_task(leader.keep(take_up))
        async with asyncio.timeout(60):
            assert theirs.lead("them", 0.0, lease_seconds=0.0)
            while leader.leads:  # noqa: ASYNC110  (it has no event for this)
                await asyncio.sleep(0.001)
            theirs.resign()
            assert not await led_when_regained
            while not leader.leads:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        keeping.cancel()

    asyncio.run(story())


def test_a_door_takes_up_what_is_stored_and_forgets_what_is_not(url):
    async def story() -> None:
        store = store_at(url)
        door = Door(store, catalogue=None)
        await door.open()
        assert (door.entries, door.snapshot.revision) == ({}, 0)
        rival = store_at(url)
        progress = {
            "phase": "idle", "stable": {"model": "digits/1", "url": None}, "candidate": None, "weight": 0.0,
            "step": 0, "waited_seconds": 0.0, "cause": None, "reason": "", "stage": 1, "evidence_stage": 1,
            "resumes": 0, "warm": [], "ticked_at": None,
        }  # fmt: skip
        rival.change(Change("digits", 0, {"stable": "digits/1"}, progress, "anna", "api", ""))
        await door.open()
        assert list(door.snapshot.rollouts) == ["digits"]
        rival.change(Change("digits", 1, None, progress, "anna", "api", ""))
        await door.open()
        assert (door.entries, door.snapshot.revision) == ({}, 2)

    asyncio.run(story())


def test_whose_lease_ran_out_does_not_say_that_it_leads_and_takes_nothing_up_if_nobody_else_led(
    url, monkeypatch
):
    """Cut off from the database it cannot know whether another leads; back, its memory is what is stored."""
    monkeypatch.setattr("control.store.leader.RENEW_SECONDS", 0.001)

    async def story() -> None:
        now, taken_up = 0.0, []
        leader = Leader(store_at(url), None, lambda: now)
        await leader.take()
        now = LEASE_SECONDS - 0.1
        assert leader.leads
        now = LEASE_SECONDS
        assert not leader.leads

        async def take_up() -> None:
            taken_up.append(now)

        keeping = asyncio.create_task(leader.keep(take_up))
        async with asyncio.timeout(30):
            while not leader.leads:  # noqa: ASYNC110  (it has no event for this)
                await asyncio.sleep(0.001)
        keeping.cancel()
        assert taken_up == []

    asyncio.run(story())


def test_who_was_away_while_another_led_and_resigned_takes_up_what_is_stored(url, monkeypatch):
    """It never hears that another led: the lead is free again when it asks for it."""
    monkeypatch.setattr("control.store.leader.RENEW_SECONDS", 0.001)

    async def story() -> None:
        leader, theirs = Leader(store_at(url), None), store_at(url)
        await leader.take()
        assert theirs.lead("them", 0.0, lease_seconds=0.0)
        theirs.change(first_change())
        theirs.resign()
        led_when_regained = asyncio.get_running_loop().create_future()

        async def take_up() -> None:
            led_when_regained.set_result(leader.leads)

        keeping = asyncio.create_task(leader.keep(take_up))
        async with asyncio.timeout(30):
            assert not await led_when_regained
            while not leader.leads:  # noqa: ASYNC110  (as above)
                await asyncio.sleep(0.001)
        keeping.cancel()

    asyncio.run(story())


def test_the_lease_is_renewed_while_the_event_loop_is_busy_and_not_while_it_stands_still(url, monkeypatch):
    monkeypatch.setattr("control.store.leader.RENEW_SECONDS", 0.001)

    async def story() -> None:
        now = 0.0
        store = store_at(url)
        leader = Leader(store, None, lambda: now)
        await leader.take()

        async def nothing() -> None:
            pass

        keeping = asyncio.create_task(leader.keep(nothing))
        await asyncio.sleep(0)  # it has begun; one long turn of the loop from here on
        now = STUCK_SECONDS
        eventually(lambda: leader.leads, "the lease is renewed")
        now = 2 * STUCK_SECONDS + 0.1
        theirs, theirs_now = store_at(url), itertools.count(step=LEASE_SECONDS)
        eventually(lambda: theirs.lead("them", next(theirs_now), LEASE_SECONDS), "another leads")
        assert not leader.leads
        theirs.resign()
        async with asyncio.timeout(30):
            while not leader.leads:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        keeping.cancel()

    asyncio.run(story())
