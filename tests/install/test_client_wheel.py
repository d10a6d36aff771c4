"""The client as a wheel: of its own files alone, installed where nothing else of ours is."""

import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes

import pytest

from harness.system import ROOT

PACKAGE = ROOT / "client" / "understudy_client"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
USE = """
import sys
sys.path.insert(0, {place!r})
import understudy_client
from understudy_client import AsyncClient, Client
assert understudy_client.__file__.startswith({place!r}), understudy_client.__file__
foreign = {{"serving", "router", "control", "understudy", "pandas", "orjson"}} & sys.modules.keys()
assert not foreign, foreign
print(Client("http://localhost:8000"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    unbuilt = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT / "client", folder / "client", ignore=unbuilt)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run([*PIP, *build, "--wheel-dir", str(folder), str(folder / "client")])
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_has_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {file for file in PACKAGE.rglob("*") if file.suffix == ".py" or file.name == "py.typed"}
    assert names == {str(file.relative_to(PACKAGE.parent)) for file in ours}


def test_the_wheel_asks_for_httpx_and_numpy_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [place] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = message_from_bytes(archive.read(place))
    assert metadata["Name"] == "understudy-client"
    needed = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert sorted(each.partition(">")[0] for each in needed) == ["httpx", "numpy"]
    assert metadata.get_all("Provides-Extra") == ["pandas"]


def test_the_installed_wheel_works_where_nothing_else_of_ours_is(wheel, tmp_path):
    run([*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel)])
    said = run([sys.executable, "-I", "-c", USE.format(place=str(tmp_path))])
    assert said.strip() == "Client('http://localhost:8000')"


def run(command):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
