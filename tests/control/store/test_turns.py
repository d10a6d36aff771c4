"""Writers come in the order in which they asked."""

import threading

import pytest

from control.store.store import Change, Store
from control.store.turns import Turns
from harness.system import eventually


def test_turns_are_given_in_order_and_one_at_a_time():
    turns, order, inside = Turns(), [], []
    asked = [threading.Event() for _ in range(8)]

    def ask(number):
        asked[number].set()
        with turns.turn(10.0):
            inside.append(number)
            assert len(inside) == 1
            order.append(number)
            inside.remove(number)

    threads = []
    with turns.turn(1.0):
        for number in range(8):
            thread = threading.Thread(target=ask, args=(number,))
            thread.start()
            threads.append(thread)
            eventually(lambda number=number: turns.waiting == number + 1, "it waits")
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_who_waits_in_vain_leaves_the_queue():
    turns = Turns()
    with turns.turn(1.0), pytest.raises(TimeoutError), turns.turn(0.0):
        pass
    with pytest.raises(ValueError, match="of the block"), turns.turn(0.0):
        raise ValueError("of the block")
    with turns.turn(0.0):
        pass


def test_a_thread_that_writes_all_the_time_keeps_nobody_out(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/state.db", busy_seconds=0.2)
    store.change(Change("digits", 0, {}, {"stage": 1}, "anna", "api", "because"))
    ended = threading.Event()

    def write():
        while not ended.is_set():
            with store.outcomes.writing() as connection:
                connection.exec_driver_sql(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
                    " SELECT sum(i) FROM n"
                )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            store.tick("digits", 1, {"stage": 1})
    finally:
        ended.set()
        thread.join()
        store.close()
