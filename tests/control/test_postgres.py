"""The tests of the store once more, on a real PostgreSQL server (Debian's package)."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
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
    test_of_processes_that_race_exactly_one_wins_each_revision,
    test_one_control_leads_and_the_other_takes_over_once_it_is_silent,
    test_several_changes_are_made_together_or_not_at_all,
    test_the_migrations_make_the_tables_that_the_queries_use,
    test_threads_share_a_store,
    test_what_was_written_is_there_after_a_restart,
    test_who_resigns_is_followed_at_once,
)

from control.database import StoreError
from control.store import Store

NUMBERS = itertools.count()


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


PROGRAMS = programs()
if PROGRAMS is None:
    pytest.skip("PostgreSQL is not installed (Debian's package postgresql)", allow_module_level=True)


class Server:
    """A server on a Unix socket in a folder of its own; not run as root, which it refuses."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
        self._user = None
        if os.getuid() == 0:
            account = pwd.getpwnam("nobody")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._user = account.pw_uid
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{self.folder}'\nlisten_addresses = ''\nfsync = off\n")
        self.start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        ended = subprocess.run(
            [PROGRAMS / program, *arguments],
            user=self._user, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(NUMBERS)}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.stop()
    shutil.rmtree(running.folder)


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
