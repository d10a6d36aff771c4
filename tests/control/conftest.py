"""A PostgreSQL server that the tests of one module share; each test has a database of its own."""

import shutil

import pytest

from harness.postgres import Server


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.stop()
    shutil.rmtree(running.folder)
