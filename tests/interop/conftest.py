from types import SimpleNamespace

import pytest
import zoo

from harness.system import running, serving


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    zoo.build(root)
    return root


@pytest.fixture(scope="session", params=["serve", "up"])
def server(request, repository, tmp_path_factory):
    """The models of the zoo behind the inference server alone, and behind a whole node with its router."""
    folder = tmp_path_factory.mktemp(request.param)
    names = sorted(path.name for path in repository.iterdir())
    if request.param == "serve":
        context = serving(folder, models=repository)
    else:
        context = running(
            folder, "".join(f"{name}: {{stable: {name}/1}}\n" for name in names), models=repository
        )
    with context as system:
        yield SimpleNamespace(
            kind=request.param, url=system.url, host=system.url.removeprefix("http://"), names=names
        )
