"""A PostgreSQL server that the tests of one module share; each test has a database of its own."""

import shutil

import pytest

from control.rollouts.catalogue import Catalogue
from control.store.store import Store
from harness.postgres import PROGRAMS, Server
from harness.system import MODELS
from serving.telemetry.cells import Metrics


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.stop()
    shutil.rmtree(running.folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    """Of a new database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    return str(request.getfixturevalue("server").new_database())


@pytest.fixture(scope="module")
def parts(tmp_path_factory, verified):
    """What the controls of a module share: a folder with a database that has its tables, models, metrics."""
    folder = tmp_path_factory.mktemp("parts")
    metrics = Metrics(folder / "metrics", "control")
    Store(f"sqlite:///{folder}/new.db").close()  # copied for each example: a migration takes its time
    yield folder, Catalogue(MODELS, verified), metrics
    metrics.close()
