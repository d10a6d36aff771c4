"""A PostgreSQL server of a test's own (Debian's package), which can be stopped and made to hang."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

NUMBERS = itertools.count()


FOLDER = "POSTGRES_PROGRAMS"
"""Environment variable: the folder of another version's programs."""


def programs() -> Path | None:
    """The folder of PostgreSQL's programs: the one that is said, or of the newest version there is."""
    if said := os.environ.get(FOLDER):
        return Path(said)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


PROGRAMS = programs()


def newer() -> list[Path]:
    """The folders of programs of other versions, which `make test-servers` has installed."""
    environment = Path(__file__).parents[2] / "build" / "servers" / "postgres"
    return sorted(environment.glob("lib/python*/site-packages/*/pginstall/bin"))


def require_postgres() -> None:
    """Skip a module of tests where it is not installed."""
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)", allow_module_level=True)


class Server:
    """A server on a Unix socket in a folder of its own; not run as root, which it refuses.

    Args:
        programs: the folder of the programs of its version.
        enter: words before each program, which run it elsewhere, as root (`ip netns exec NAME`).
        listen: an address at which it listens too, for everybody.
    """

    def __init__(self, programs: Path | None = PROGRAMS, enter: Sequence[str] = (), listen: str = "") -> None:
        self._programs, self._enter, self._listen = programs or Path(), list(enter), listen
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-"))
        self._user = None
        if os.getuid() == 0:
            account = pwd.getpwnam("nobody")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._user = account.pw_uid
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"unix_socket_directories = '{self.folder}'\nlisten_addresses = '{listen}'\nfsync = off\n"
            )
        if listen:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
        self.start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        words, user = [self._programs / program, *arguments], self._user
        if self._enter and user is not None:
            words, user = [*self._enter, "setpriv", f"--reuid={user}", "--clear-groups", *words], None
        ended = subprocess.run(
            words, user=user, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def start(self) -> None:
        """Start it, or start it again."""
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        """As if its machine had crashed."""
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        """Of a database of it."""
        if self._listen:
            return f"postgresql+psycopg://postgres@{self._listen}/{database}"
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(NUMBERS)}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
            connection.execute(sa.text(f"ALTER DATABASE {name} SET synchronous_commit = 'local'"))
        engine.dispose()
        return self.url(name)

    def processes(self) -> list[int]:
        """The server's own process and those of its connections and of its work beside them."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def hang(self) -> None:
        """Stop all its processes where they are; connections stay."""
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let what hangs go on."""
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def ask(self, text: str, url: str | sa.URL = "") -> list[tuple[object, ...]]:
        """The rows of a statement, from a connection of its own."""
        engine = sa.create_engine(url or self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            answer = connection.exec_driver_sql(text)
            rows = [tuple(row) for row in answer] if answer.returns_rows else []
        engine.dispose()
        return rows

    def hold_changes(self, url: str | sa.URL) -> None:
        """From now on the COMMIT of each change waits, once written, for a standby that there is not."""
        self.ask(_WAITING, url)
        self._stand_by("nobody")

    def let_changes_go(self) -> None:
        """Undo `hold_changes`, and end what waits."""
        self._stand_by("")

    def _stand_by(self, names: str) -> None:
        self.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.ask("SELECT pg_reload_conf()")

    def in_commit(self) -> list[int]:
        """The processes whose COMMIT waits so."""
        rows = self.ask("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return [pid for (pid,) in rows if isinstance(pid, int)]


_WAITING = """
CREATE FUNCTION wait_for_standby() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM set_config('synchronous_commit', 'on', true); RETURN NULL; END $$;
CREATE TRIGGER waits AFTER INSERT ON revisions FOR EACH ROW EXECUTE FUNCTION wait_for_standby();
"""
