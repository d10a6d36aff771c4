import contextlib
from types import SimpleNamespace

import pytest
import zoo

from harness.system import running, serving


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    zoo.build(root)
    return root


@pytest.fixture(scope="module", params=["serve", "up"])
def server(request, shared_systems, repository, tmp_path_factory):
    """The models of the zoo behind the inference server alone, and behind a whole node with its router."""
    return shared_systems.get(
        request.param, ["interop"], started(request.param, repository, tmp_path_factory)
    )


@contextlib.contextmanager
def started(kind, repository, folders):
    folder = folders.mktemp(kind)
    names = sorted(path.name for path in repository.iterdir())
    if kind == "serve":
        context = serving(folder, models=repository)
    else:
        context = running(
            folder, "".join(f"{name}: {{stable: {name}/1}}\n" for name in names), models=repository
        )
    with context as system:
        yield SimpleNamespace(kind=kind, url=system.url, host=system.url.removeprefix("http://"), names=names)
