"""What all tests share."""

import gc
import os
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from harness.cpu_seconds import CpuSeconds
from harness.kept import Kept
from harness.state import sharing_checks
from harness.warm import without_imports

if TYPE_CHECKING:
    from harness.system import Up

# Containers often set it; then every process of tests would compile all tests anew, and all that it starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import onnxruntime; see serving/models/ort.py

# By default structlog paints each traceback with rich, for up to 0.1 s; our processes do without, too.
structlog.get_config()["processors"][-1].exception_formatter = structlog.dev.plain_traceback

# A shared machine may stall for longer than any deadline; what is tested is never how fast it is. Each run
# searches anew, on CI too, where the log has to be enough to repeat what failed: many short searches find
# what a long one does.
settings.register_profile("dev", deadline=None, max_examples=40)
settings.register_profile("ci", settings.get_profile("dev"), print_blob=True)
settings.register_profile("quick", settings.get_profile("dev"), max_examples=10)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

TESTS = Path(__file__).parent
PURE = "Pure "
"""The contract of import-linter whose name begins so lists what `make test-quick` tests."""

FIRST = ("e2e_control", "e2e_evidence", "e2e", "docs", "client", "understudy", "loadtests", "dashboard")
LAST = ("control", "serving", "router")
"""Folders of long files, and of short tests: what takes long begins first, or processes idle at the end."""
SHARED = ("two", "node")
"""Fixtures of nodes that files of tests share. These files begin first of all, in this order, so that each
node ends early: one that idles beside other tests costs them a sixtieth of a core."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pure", action="store_true", help="only the tests of the pure rooms")
    parser.addoption("--cold", action="store_true", help="start each program as a new interpreter")
    parser.addoption("--cpu", metavar="FILE", type=Path, help="CPU seconds of each test, as lines of JSON")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("pure"):
        config.stash[_PURE] = pure()
    if file := config.getoption("cpu"):
        config.pluginmanager.register(CpuSeconds(file.absolute(), first=not hasattr(config, "workerinput")))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if _PURE not in config.stash or collection_path.is_dir():
        return None
    place = collection_path.relative_to(TESTS)
    mirrored = [*place.parent.parts, place.stem.removeprefix("test_")]
    names = {".".join(mirrored[:length]) for length in range(1, len(mirrored) + 1)}
    return None if names & config.stash[_PURE] else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: the garbage collector looks at none of it, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    users = config.stash[_USERS] = {name: using(name, items) for name in SHARED}
    items.sort(key=lambda item: turn(place(item), users))


def place(item: pytest.Item) -> Path:
    """Its file, from the folder of all tests."""
    return item.path.relative_to(TESTS)


def using(fixture: str, items: Iterable[pytest.Item]) -> frozenset[str]:
    """The files in which a test has a fixture of this name."""
    return frozenset(str(place(item)) for item in items if fixture in getattr(item, "fixturenames", ()))


def turn(file: Path, users: Mapping[str, Collection[str]]) -> tuple[int, int]:
    """Where the tests of a file stand in the run: those of shared nodes first, of both in between."""
    two, node = (str(file) in users[name] for name in SHARED)
    folder = file.parts[0]
    by_folder = FIRST.index(folder) if folder in FIRST else len(FIRST) + (folder in LAST)
    return (0 if two and not node else 1 if two else 2 if node else 3), by_folder


@pytest.fixture(scope="session", autouse=True)
def verified(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Path]:
    """A memory of the models that passed their check, which all systems of this run share.

    Processes of tests that run side by side have folders of their own in one; it is written to as that of a
    node is, by any number of processes.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(pytestconfig, "workerinput") else own) / "verified"
    folder.mkdir(mode=0o700, exist_ok=True)
    with sharing_checks(folder):
        yield folder


@pytest.fixture(scope="session", autouse=True)
def forking(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs that tests start have made their imports, unless it is to be as users start them."""
    if request.config.getoption("cold"):
        yield
    else:
        with without_imports(tmp_path_factory.mktemp("warm")):
            yield


@pytest.fixture(scope="session", autouse=True)
def shared_systems(verified: Path, forking: None, request: pytest.FixtureRequest) -> Iterator[Kept]:
    """Systems of more than one file of tests."""
    kept = request.config.stash[_KEPT] = Kept()
    yield kept
    kept.go_on(Path())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the systems that only tests of other files share."""
    if _KEPT in item.config.stash:
        item.config.stash[_KEPT].go_on(place(item))


@pytest.fixture(scope="module")
def node(shared_systems: Kept, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> "Up":
    """A node with one worker for all tests of this process that leave it as it was."""
    from harness.shared import shared  # pure tests go without

    return shared_systems.get("node", pytestconfig.stash[_USERS]["node"], shared(tmp_path_factory, workers=1))


@pytest.fixture(scope="module")
def two(shared_systems: Kept, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> "Up":
    """The same with two workers."""
    from harness.shared import shared

    return shared_systems.get("two", pytestconfig.stash[_USERS]["two"], shared(tmp_path_factory, workers=2))


def pure() -> frozenset[str]:
    """The modules and packages that know no event loop, web framework or metrics client."""
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    [contract] = [contract for contract in contracts if contract["name"].startswith(PURE)]
    return frozenset(contract["source_modules"])


_KEPT = pytest.StashKey[Kept]()
_PURE = pytest.StashKey[frozenset[str]]()
_USERS = pytest.StashKey[Mapping[str, frozenset[str]]]()
