"""Whoever holds a revision of another history is known, whatever numbers a database has given since."""

from hypothesis import given
from hypothesis import strategies as st

from control.store import given as module
from control.store.given import Given
from router.wire.report import Held

EPOCH = 5


def held(revision: int, made: float, epoch: int = EPOCH) -> Held:
    return Held(epoch=epoch, revision=revision, made=made)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 12))
def test_of_a_backup_only_what_it_knows_is_its_own(common, lost, since):
    """A backup of so many revisions; so many were given after it; so many since it was put back."""
    before = [(number, float(number)) for number in range(1, common + 1)]
    gone = [(number, 100.0 + number) for number in range(common + 1, common + lost + 1)]
    again = [(number, 200.0 + number) for number in range(common + 1, common + since + 1)]
    restored = Given(EPOCH, common, before)
    for revision, made in again:
        restored.add(revision, made)
    assert {restored.standing(held(*each)) for each in [*before, *again]} == {"ours"}
    assert {restored.standing(held(*each)) for each in gone} <= {"foreign"}
    assert all(restored.barred(held(*each)) for each in gone)
    ruled = Given(EPOCH + 1, restored.last, [*before, *again])
    assert {ruled.standing(held(*each)) for each in [*before, *gone, *again]} == {"before"}, (
        "a person said so"
    )


def test_of_a_later_epoch_nothing_is_known_here():
    found = Given(EPOCH, 9, [(9, 9.0)])
    assert found.standing(held(1, 1.0, EPOCH + 1)) == "foreign"
    assert "revision 1 of 1970-01-01 00:00:01 UTC" in found.barred(held(1, 1.0, EPOCH + 1))


def test_who_says_nothing_is_believed():
    found = Given(EPOCH, 9, [(9, 9.0)])
    assert found.standing(Held()) == "ours", "an older node, or one that has nothing"
    assert found.standing(held(9, 0.0)) == "ours", "when it was accepted was lost with a database"
    assert found.standing(held(3, 3.0)) == "ours", "its row was lost"
    assert found.barred(held(10, 0.0)).startswith("it holds revision 10, which")
    assert Given().standing(held(10, 3.0)) == "ours", "before anything was loaded"


def test_so_much_is_remembered(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    found = Given(EPOCH)
    for revision in range(1, 6):
        found.add(revision, float(revision))
    assert [found.made(revision) for revision in range(1, 6)] == [0.0, 0.0, 3.0, 4.0, 5.0]
