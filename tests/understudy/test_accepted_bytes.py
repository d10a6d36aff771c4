"""Bytes of models are forgotten when no snapshot has named them for long, and never before."""

from understudy.supervision.accepted_bytes import FORGET_SECONDS, AcceptedBytes


def test_before_a_snapshot_nothing_is_forgotten():
    accepted = AcceptedBytes()
    assert accepted.forgettable(["a"], 0.0) == []
    assert accepted.forgettable(["a"], 10 * FORGET_SECONDS) == []


def test_what_no_snapshot_names_is_forgotten_after_a_while():
    accepted = AcceptedBytes()
    accepted.follow(["a"])
    assert accepted.forgettable(["a", "b"], 0.0) == []
    assert accepted.forgettable(["a", "b"], FORGET_SECONDS - 1.0) == []
    assert accepted.forgettable(["a", "b"], FORGET_SECONDS) == ["b"]


def test_the_while_begins_with_the_first_snapshot_that_does_not_name_it():
    accepted = AcceptedBytes()
    accepted.follow(["a"])
    accepted.forgettable(["a"], 0.0)
    accepted.follow([])
    assert accepted.forgettable(["a"], FORGET_SECONDS) == []
    assert accepted.forgettable(["a"], 2 * FORGET_SECONDS) == ["a"]


def test_what_is_named_again_by_an_undo_stays_and_its_while_begins_anew():
    accepted = AcceptedBytes()
    accepted.follow([])
    accepted.forgettable(["a"], 0.0)
    accepted.follow(["a"])
    assert accepted.forgettable(["a"], FORGET_SECONDS) == []
    accepted.follow([])
    assert accepted.forgettable(["a"], FORGET_SECONDS + 1.0) == []
    assert accepted.forgettable(["a"], 2 * FORGET_SECONDS + 1.0) == ["a"]
