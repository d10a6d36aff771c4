"""A PostgreSQL that hangs: nothing waits for it longer than it may, and what it did unseen is read again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_store import change

from control.store.store import InDoubt, Store, StoreError
from harness.control import CANARY, STABLE, controlling, is_problem
from harness.postgres import require_postgres
from harness.system import eventually

require_postgres()

ENDLESS = "&options=-c%20statement_timeout%3D0"
"""In a URL: the server ends nothing, so that it must be cut off."""


@pytest.fixture
def store(server):
    url = server.new_database()
    Store(url, answer_seconds=120.0).close()  # its tables take longer on a busy machine
    opened = Store(url, answer_seconds=2.0)
    yield opened
    server.go_on()
    opened.close()


def test_a_call_ends_in_time_and_the_next_ones_are_refused_at_once_until_it_answers(server, store):
    store.change(change())
    server.hang()
    with pytest.raises(StoreError, match="does not answer within 2 s"):
        store.change(change(expected=1))
    assert not store.in_doubt  # it never came to a COMMIT
    with pytest.raises(StoreError, match="does not answer"):
        store.load()
    assert "does not answer" in store.problem
    server.go_on()
    eventually(lambda: _answers(store), "the store is used again")
    assert store.problem == ""
    assert store.load().revision == 1
    assert store.change(change(expected=1)) == (2,)


def _answers(store: Store) -> bool:
    try:
        store.check()
    except StoreError:
        return False
    return True


def test_a_lock_that_is_held_by_another_is_waited_for_only_so_long(server, store):
    store.change(change())
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._database.begin(writes=True) as connection:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql("SELECT * FROM leader FOR UPDATE")
            held.set()
            done.wait(30)

    with ThreadPoolExecutor() as pool:
        holding = pool.submit(hold)
        assert held.wait(10)
        with pytest.raises(StoreError, match="does not answer within 2 s"):
            store.change(change(expected=1))
        done.set()
        holding.result()
    assert not store.in_doubt


def test_a_writer_that_rests_in_a_transaction_is_ended_by_the_server(server, store):
    def rest() -> None:
        with store._database.begin(writes=True) as connection:
            connection.exec_driver_sql("SELECT * FROM leader FOR UPDATE")
            eventually(
                lambda: ("idle in transaction",) not in server.ask("SELECT state FROM pg_stat_activity"),
                "the server has ended it",
            )

    with pytest.raises(StoreError):
        rest()
    eventually(lambda: _answers(store), "the store is used again")
    assert store.change(change()) == (1,)


def test_a_change_cut_off_in_its_commit_is_in_doubt_until_it_has_ended(server):
    store = Store(server.new_database() + ENDLESS, answer_seconds=2.0)
    server.hold_changes(store._database._url)
    try:
        with ThreadPoolExecutor() as pool:
            changing = pool.submit(store.change, change())
            eventually(server.in_commit, "it commits")
            with pytest.raises(InDoubt):
                changing.result()
        assert store.in_doubt
        with pytest.raises(StoreError, match="does not answer"):
            store.settle()
        assert store.in_doubt
    finally:
        server.let_changes_go()
    eventually(lambda: _settled(store), "it has ended")
    assert store.load().revision == 1
    store.close()


def _settled(store: Store) -> bool:
    try:
        store.settle()
    except StoreError:
        return False
    return not store.in_doubt


@pytest.mark.slow
def test_control_says_that_the_store_does_not_answer_and_heals_by_itself(server, tmp_path):
    environment = {"UNDERSTUDY_DATABASE": server.new_database(), "UNDERSTUDY_DATABASE_SECONDS": "2"}
    with controlling(tmp_path, environment=environment) as control:
        control.put("digits", STABLE).raise_for_status()
        server.hang()
        try:
            problem = is_problem(control.put("digits", CANARY, 1), 503)
            assert "does not answer within 2 s" in problem["detail"]
            assert "does not answer" in is_problem(control.client.get("/readyz"), 503)["detail"]
            [need] = [row for row in control.client.get("/v1/needs").json() if row["model"] is None]
            assert (need["kind"], need["title"]) == ("store_silent", "The store does not answer")
            assert control.view("digits")["revision"] == 1  # what is in force is known, and is shown
        finally:
            server.go_on()
        eventually(lambda: "cannot be read" in control.client.get("/readyz").text, "control heals")
        assert [row["revision"] for row in control.history("digits")] == [1]
        control.put("digits", CANARY, 1).raise_for_status()


@pytest.mark.slow
def test_control_says_nothing_of_a_change_in_doubt_before_it_has_read_what_became_of_it(server, tmp_path):
    url = server.new_database() + ENDLESS
    environment = {"UNDERSTUDY_DATABASE": url, "UNDERSTUDY_DATABASE_SECONDS": "2"}
    with controlling(tmp_path, environment=environment) as control:
        control.put("digits", STABLE).raise_for_status()
        document = {**STABLE, "timeout": "9s"}
        try:
            with ThreadPoolExecutor() as pool:
                server.hold_changes(url)
                putting = pool.submit(control.put, "digits", document, 1)
                eventually(server.in_commit, "it commits")
                assert "in doubt" in is_problem(putting.result(), 503)["detail"]
            assert "in doubt" in is_problem(control.client.get("/v1/rollouts/digits"), 503)["detail"]
            assert "in doubt" in is_problem(control.put("digits", CANARY, 1), 503)["detail"]
            assert "in doubt" in is_problem(control.client.get("/readyz"), 503)["detail"]
        finally:
            server.let_changes_go()
        eventually(lambda: control.client.get("/v1/rollouts/digits").status_code == 200, "control heals")
        assert control.view("digits")["document"]["timeout"] == "9s"
        assert [row["revision"] for row in control.history("digits")] == [2, 1]
        assert control.put("digits", CANARY, 1).status_code == 412
        control.put("digits", CANARY, 2).raise_for_status()
