"""The tests of the store once more, on a real PostgreSQL server (Debian's package)."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_store import (  # noqa: F401  (the same tests, on another database)
    change,
    store,
    test_a_change_is_kept_with_who_when_and_why,
    test_a_deleted_rollout_is_remembered_and_its_stages_never_come_again,
    test_a_stale_edit_is_refused_and_changes_nothing,
    test_a_tick_saves_progress_without_an_audit_row,
    test_a_writer_killed_at_any_point_leaves_one_audit_row_a_revision,
    test_an_empty_store_holds_nothing,
    test_history_comes_in_pages_the_latest_first,
    test_keys_for_receipts_are_kept_until_they_are_replaced,
    test_of_processes_that_race_exactly_one_wins_each_revision,
    test_one_control_leads_and_the_other_takes_over_once_it_is_silent,
    test_several_changes_are_made_together_or_not_at_all,
    test_the_migrations_make_the_tables_that_the_queries_use,
    test_threads_share_a_store,
    test_what_was_written_is_there_after_a_restart,
    test_who_resigns_is_followed_at_once,
)

from control.store.database import StoreError
from control.store.store import Store
from harness.postgres import require_postgres

require_postgres()


@pytest.fixture
def url(server) -> str:
    return server.new_database()


def test_a_server_that_is_down_is_unavailable_and_used_again_when_it_is_back(server, store):  # noqa: F811
    store.change(change())
    server.stop()
    try:
        with pytest.raises(StoreError, match="cannot be reached") as refused:
            store.change(change(expected=1))
        assert refused.value.status == 503
        assert str(server.folder) not in str(refused.value)
    finally:
        server.start()
    assert store.change(change(expected=1)) == (2,)


def test_an_overtaken_control_is_fenced_by_the_database(url):
    old, new = Store(url), Store(url)
    assert old.lead("old", 0.0, 3.0)
    assert new.lead("new", 0.0, 0.0)
    with pytest.raises(Exception, match="another control leads"):
        old.change(change())
    assert new.change(change()) == (1,)
    old.close()
    new.close()


def test_another_kind_of_database_is_refused_by_its_name():
    for url, reason in (("mysql://u:s3cret@h/d", "mysql is not known here"), ("s3cret", "not a URL")):
        with pytest.raises(StoreError, match=f"UNDERSTUDY_DATABASE: {reason}") as refused:
            Store(url)
        assert "s3cret" not in str(refused.value)


def test_controls_that_start_side_by_side_on_an_empty_database_make_its_tables_once(url):
    together = threading.Barrier(3)

    def start(_: int) -> int:
        together.wait(30)
        opened = Store(url, answer_seconds=30.0)
        revision = opened.load().revision
        opened.close()
        return revision

    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(start, range(3))] == [0, 0, 0]
