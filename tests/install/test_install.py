"""Installs from an index that holds a newer release of every package, with old pips and the newest.

`make test-install`; not in `make test`, since it downloads every pinned wheel into build/wheels (by pip's own
configuration; kept there for the next time) and unpacks those of what runs three times.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from ast import literal_eval
from pathlib import Path
from subprocess import PIPE

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from harness.index import NEWER, newer_release, serve
from harness.pins import BUILD, DEVELOPMENT, RUNTIME, entries, here, needed, wanted_to_develop
from harness.system import ROOT

pytestmark = pytest.mark.install

WHEELS = ROOT / "build" / "wheels"
OLDEST, FIRST_OF_3_11_7, NEWEST = "22.3", "23.2", "newest"
PIPS = (OLDEST, FIRST_OF_3_11_7, NEWEST)
LATER_PYTHONS = ("3.12", "3.13", "3.14")
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "build", "docs", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"
)
PYTHON_WITH_PIP = """\
#!/bin/sh
# The Python that `make` is given: as the real one, but its environments have a pip of another version.
"{python}" "$@" || exit
case "$*" in
"-m venv "*)
    for environment; do :; done
    "$environment/bin/python" -m pip install --quiet --no-index "{pip}"
esac
"""


@pytest.fixture(scope="session")
def wheels():
    """Every pinned file that this machine would install."""
    download("--require-hashes", "-r", str(DEVELOPMENT), to=WHEELS)
    return WHEELS


@pytest.fixture(scope="session")
def index(wheels, tmp_path_factory):
    newer = tmp_path_factory.mktemp("newer")
    for name, requirements in needed(wanted_to_develop()).items():
        asked = {extra for requirement in requirements for extra in requirement.extras}
        newer_release(newer, name, {extra: ["what-nobody-has"] for extra in asked})
    with serve(wheels, newer) as url:
        yield url


@pytest.fixture(scope="session")
def pips():
    """Which pip each name stands for, as a wheel."""
    folder = WHEELS / "pip"
    found = {}
    for version in PIPS:
        download("pip" if version == NEWEST else f"pip=={version}", to=folder)
        released = {parse_wheel_filename(file.name)[1]: file for file in folder.glob("pip-*.whl")}
        found[version] = released[max(released) if version == NEWEST else Version(version)]
        print(f"pip {version}: {found[version].name}")
    return found


@pytest.fixture
def environment(index, tmp_path):
    """Of a machine with empty caches and no other index; nothing of the make and pip that run this test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "MAKE", "MFLAGS", "UNDERSTUDY_", "VIRTUAL_ENV", "PYTHONPATH", "COV_"))
    }
    return {**kept, "HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index}


@pytest.fixture(params=PIPS)
def python(request, pips, tmp_path):
    """A Python whose environments have this pip."""
    script = tmp_path / "python"
    real = Path(sys.base_prefix) / "bin" / "python3"
    script.write_text(PYTHON_WITH_PIP.format(python=real, pip=pips[request.param]))
    script.chmod(0o755)
    return script


def test_make_installs_the_pinned_versions_and_what_runs_runs(python, environment, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=NOT_COPIED)
    run(["make", "install", f"PYTHON={python}"], cwd=project, env=environment)
    found = installed(project / ".venv")
    pip = found.pop("pip")
    assert f"pip-{pip}-" in python.read_text()
    assert found.pop("understudy")
    assert found == here(RUNTIME) | here(BUILD)
    assert "rollouts" in run([project / ".venv/bin/understudy", "--help"], cwd=tmp_path, env=environment)
    again = run(["make", "install", f"PYTHON={python}"], cwd=project, env=environment)
    assert "installing" not in again
    assert_the_demo_shows_something(project, environment)


def assert_the_demo_shows_something(project, environment):
    """With what runs alone; tests/alone plays it to its end."""
    with subprocess.Popen(
        [project / ".venv/bin/python", "-u", "demo/demo.py"],
        cwd=project,
        env=environment,
        stdout=PIPE,
        text=True,
    ) as demo:
        said = []
        for line in demo.stdout:
            said.append(line)
            if "digits/1: weight 100%, served 100.0%" in line:
                demo.send_signal(signal.SIGINT)
    assert demo.returncode == 0, "".join(said)
    assert "interrupted; everything was ended\n" in said, "".join(said)


def test_the_list_of_developers_installs_the_pinned_files(python, environment, tmp_path):
    """All but the unpacking: which files would be installed, fetched and their hashes compared."""
    run([python, "-m", "venv", tmp_path / "venv"])
    report = tmp_path / "report.json"
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    nothing_resolved = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", DEVELOPMENT]
    run([*pip, "--quiet", "--report", report, *nothing_resolved], env=environment)
    chosen = {
        canonicalize_name(one["metadata"]["name"]): one["metadata"]["version"]
        for one in json.loads(report.read_text())["install"]
    }
    assert chosen == here(DEVELOPMENT)


def test_an_install_that_resolves_would_have_failed_on_this_index(pips, environment, tmp_path):
    """What was done before, and that the index has what it failed on: so the tests above can fail."""
    run([sys.executable, "-m", "venv", tmp_path / "venv"])
    pip = [tmp_path / "venv/bin/python", "-m", "pip"]
    run([*pip, "install", "--quiet", "--no-index", pips[FIRST_OF_3_11_7]])
    ended = subprocess.run(
        [*pip, "install", "--dry-run", "--quiet", "--require-hashes", "-r", DEVELOPMENT],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "In --require-hashes mode" in ended.stderr
    assert f"-{NEWER}-" in ended.stderr


@pytest.mark.parametrize("version", LATER_PYTHONS)
def test_what_runs_has_wheels_for_later_pythons(version, tmp_path):
    """pip asks this Python about the markers, whatever `--python-version` says; so they are read here."""
    pins = [
        pin
        for pin in entries(RUNTIME)
        if pin.applies(python_version=version, python_full_version=f"{version}.0")
    ]
    chosen = tmp_path / "requirements.txt"
    chosen.write_text(
        "".join(f"{pin.name}=={pin.version} --hash={' --hash='.join(pin.hashes)}\n" for pin in pins)
    )
    to = WHEELS / version
    download("--python-version", version, "--require-hashes", "-r", str(chosen), to=to)
    found = {parse_wheel_filename(file.name)[:2] for file in to.glob("*.whl")}
    assert {(pin.name, Version(pin.version)) for pin in pins} <= found


def installed(venv):
    """Name -> version of everything in an environment."""
    code = (
        "from importlib.metadata import distributions; print([(d.name, d.version) for d in distributions()])"
    )
    found = literal_eval(run([venv / "bin/python", "-I", "-c", code]))
    assert len(found) == len(dict(found)), found
    return {canonicalize_name(name): version for name, version in found}


def download(*what, to):
    """Into a folder, for which the other process of tests may ask at the same time."""
    to.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    with (to / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run([*command, "--dest", str(to), *what])


def run(command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
