"""The laws of batches, for any coming and going of requests."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.models.batches import Batches, join_key, rows_of


@dataclass(eq=False)
class Job:
    key: str
    rows: int
    queued: float


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), st.integers(0, 7)),
        st.tuples(st.just("remove"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(steps=STEPS, max_rows=st.integers(1, 8))
def test_batches_keep_their_laws(steps, max_rows):
    batches, waiting = Batches(max_rows), []
    for number, (step, what, rows) in enumerate([*steps, *[("take", 0, 0)] * 60]):
        if step == "add":
            waiting.append(Job(what, rows, number))
            batches.add(waiting[-1])
        elif step == "remove" and waiting:
            batches.remove(waiting.pop(what % len(waiting)))
        elif step == "take":
            full = batches.full
            batch = batches.take()
            total = sum(job.rows for job in batch)
            assert bool(batch) == bool(waiting)
            if batch:
                oldest = waiting[0]
                line = [job for job in waiting if job.key == oldest.key]
                assert batch == line[: len(batch)]  # the oldest first, one key, in order, none left out
                assert total <= max_rows or batch == [oldest]
                rest = line[len(batch) :]
                assert not rest or total + rest[0].rows > max_rows  # as many as fit
                assert full == (sum(job.rows for job in line) >= max_rows)
            waiting = [job for job in waiting if job not in batch]
        assert len(batches) == len(waiting)
        assert sorted(batches, key=lambda job: job.queued) == waiting
    assert not waiting
    assert not batches.full


def test_a_shape_that_keeps_coming_does_not_starve_another():
    batches = Batches(4)
    for number in range(6):
        batches.add(Job("flood", 1, number))
    rare = Job("rare", 1, 6)
    batches.add(rare)
    taken = 0
    for number in range(7, 100):
        batches.add(Job("flood", 1, number))
        taken += 1
        if rare in batches.take():
            break
    assert taken == 3  # two batches of those that came before it


def test_what_cannot_be_joined_has_a_key_equal_to_no_other():
    row, none, empty = np.zeros((1, 4)), np.zeros((0, 4)), np.zeros((1, 0))
    assert join_key({"x": row}, 1) == join_key({"x": np.ones((3, 4))}, 1)
    assert join_key({"x": row, "z": row}, 2) == join_key({"z": row, "x": row}, 2)
    for feeds, inputs in (
        ({"x": none}, 1),
        ({"x": empty}, 1),
        ({"x": row, "z": none}, 2),
        ({"x": row, "z": np.zeros((2, 4))}, 2),
        ({"x": row, "optional": row}, 1),
        ({"x": row, "optional": np.zeros(())}, 1),
    ):
        assert join_key(feeds, inputs) != join_key(feeds, inputs)


def test_rows_are_counted_along_the_first_dimension_of_the_first_input():
    assert [rows_of(feeds) for feeds in ({"x": np.zeros((3, 2))}, {"s": np.zeros(())}, {})] == [3, 1, 1]
