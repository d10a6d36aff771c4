"""Signs of life: silence counts only while somebody was awake to hear it."""

import pytest

from serving.host.heartbeat import MOST_PER_LOOK, SILENT_LOOKS, Heart, Neighbour, Watch


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path / "beat")


@pytest.fixture
def heart(watch, tmp_path):
    return Heart(tmp_path / "beat")


def test_a_beating_heart_is_never_silent(watch, heart):
    for second in range(100):
        heart.beat()
        assert watch.look(float(second)) == 0.0


def test_silence_is_counted_from_look_to_look(watch, heart):
    heart.beat()
    assert [watch.look(now) for now in (10.0, 11.0, 12.0, 12.5)] == [0.0, 1.0, 2.0, 2.5]
    heart.beat()
    assert watch.look(13.0) == 0.0


def test_a_process_that_is_still_starting_is_not_silent(watch, heart):
    assert [watch.look(float(now)) for now in range(100)] == [0.0] * 100


def test_a_watcher_that_slept_with_everyone_else_hears_no_long_silence(watch, heart):
    heart.beat()
    watch.look(10.0)
    assert watch.look(100_000.0) == MOST_PER_LOOK
    heart.beat()
    assert watch.look(100_001.0) == 0.0


def test_the_successor_begins_anew(watch, heart, tmp_path):
    heart.beat()
    watch.look(1.0)
    watch.look(2.0)
    watch.begin()
    assert watch.silent_seconds == 0.0
    assert [watch.look(now) for now in (3.0, 4.0, 5.0)] == [0.0, 0.0, 0.0]
    Heart(tmp_path / "beat").beat()
    assert [watch.look(now) for now in (6.0, 7.0)] == [0.0, 1.0]


def test_the_file_is_private(watch, tmp_path):
    assert (tmp_path / "beat").stat().st_mode & 0o777 == 0o600


def test_a_neighbour_is_away_from_its_end_until_its_successor_opens(watch, heart, tmp_path):
    neighbour = Neighbour(tmp_path / "beat")
    assert not neighbour.is_away()  # it starts for the first time: nobody waits at its door yet
    heart.door(is_open=True)
    heart.beat()
    assert not neighbour.is_away()
    watch.ended()
    assert neighbour.is_away()
    watch.begin()
    heart.beat()
    assert neighbour.is_away()  # it loads its models
    heart.door(is_open=True)
    assert not neighbour.is_away()
    heart.door(is_open=False)
    assert neighbour.is_away()


def test_a_neighbour_that_stands_still_is_away_until_it_moves(watch, heart, tmp_path):
    neighbour = Neighbour(tmp_path / "beat")
    heart.door(is_open=True)
    heart.beat()
    assert [neighbour.is_away() for _ in range(SILENT_LOOKS + 1)] == [False] * SILENT_LOOKS + [True]
    heart.beat()
    assert not neighbour.is_away()


def test_a_neighbour_that_was_never_started_is_not_away(tmp_path):
    assert not Neighbour(tmp_path / "none").is_away()
