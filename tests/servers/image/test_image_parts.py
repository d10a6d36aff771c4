"""What is in the image, what its list of parts says, and what its build was given."""

import json
import os
import re
import shutil
import stat
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest
import slim
import weigh
from packaging.utils import canonicalize_name

from harness.pins import RUNTIME, entries, here
from harness.system import ROOT

pytestmark = pytest.mark.slow
PYTHON = ROOT / "build" / "servers" / "image" / "bin" / "python"
PROGRAMS = {"pip", "pip3", "gcc", "cc", "c++", "make", "ld", "as", "git", "curl"}
PACKAGES = {"pip", "setuptools", "wheel", "ensurepip"}
MOST_OFF = 0.1, 2.0
"""By how much a part may weigh otherwise than the page says, as a share and in MiB: Debian brings repairs."""


@pytest.fixture(scope="module")
def packages(image):
    [found] = image.root.glob("opt/understudy/lib/python3*/site-packages")
    return found


@pytest.fixture(scope="module")
def parts(image):
    """The list of parts."""
    return json.loads((image.root / "opt/understudy/sbom.cdx.json").read_text())


def walk(root):
    """Everything in the image that is no mount."""
    for folder, _, names in os.walk(root):
        yield Path(folder)
        yield from (Path(folder, name) for name in names)


def of_kind(parts, kind):
    return {
        part["name"]: part for part in parts["components"] if part.get("purl", "").startswith(f"pkg:{kind}/")
    }


def installed(packages):
    return {
        canonicalize_name(each.metadata["Name"]): each.version for each in distributions(path=[str(packages)])
    }


def test_the_environment_holds_the_list_and_the_package_and_nothing_else(packages):
    found = installed(packages)
    assert found.pop("understudy")
    assert found == here(RUNTIME)


def test_what_only_builds_lends_root_or_was_cached_is_not_in_it(image):
    paths = list(walk(image.root))
    names = {path.name for path in paths}
    assert {"python3", "understudy", "onnxruntime"} <= names
    assert [path for path in paths if path.name in PROGRAMS and path.parent.name in {"bin", "sbin"}] == []
    assert [path for path in paths if path.name in PACKAGES and "python" in str(path.parent)] == []
    assert [path for path in paths if path.suffix in {".whl", ".a", ".deb"}] == []
    lent = stat.S_ISUID | stat.S_ISGID
    assert [p for p in paths if p.is_file() and not p.is_symlink() and p.stat().st_mode & lent] == []
    left = (
        "root/.cache",
        "home/understudy/.cache",
        "src",
        "opt/build",
        "var/lib/apt/lists/*Packages",
        "tmp/*",
    )
    assert [found for pattern in left for found in image.root.glob(pattern)] == []


def test_what_was_taken_out_is_in_no_record_and_all_else_is_there(packages):
    for record in packages.glob("*.dist-info/RECORD"):
        files = [
            line.rpartition(",")[0].rpartition(",")[0].strip('"') for line in record.read_text().splitlines()
        ]
        distribution = record.parent.name.partition("-")[0]
        assert files
        assert [file for file in files if slim.unwanted(distribution, file)] == []
        assert [file for file in files if not (packages / file).exists()] == [], distribution


def test_everything_is_compiled_since_nobody_may_write_it_there_later(packages):
    for name in ("numpy/__init__.py", "onnxruntime/__init__.py", "serving/__init__.py", "router/worker.py"):
        path = packages / name
        assert path.exists()
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), name


def test_the_list_of_parts_is_as_cyclonedx_defines_it(image):
    if not PYTHON.exists():
        pytest.skip("no library of CycloneDX here; `make test-slow` installs it")
    file = image.root / "opt/understudy/sbom.cdx.json"
    script = Path(__file__).with_name("validating.py")
    done = subprocess.run([PYTHON, script, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_list_of_parts_has_every_distribution_with_the_hash_of_its_wheel_and_its_licence(parts):
    python = of_kind(parts, "pypi")
    pins = {pin.name: pin for pin in entries(RUNTIME) if pin.applies()}
    assert {canonicalize_name(name) for name in python} == set(pins)
    for name, part in python.items():
        pin = pins[canonicalize_name(name)]
        assert part["version"] == pin.version
        assert {f"sha256:{one['content']}" for one in part["hashes"]} <= set(pin.hashes)
        assert part["hashes"], name
        assert part["licenses"], name
    itself = parts["metadata"]["component"]
    assert (itself["name"], itself["type"]) == ("understudy", "application")
    [needs] = [each["dependsOn"] for each in parts["dependencies"] if each["ref"] == itself["bom-ref"]]
    assert len(needs) == len(parts["components"])


def test_the_list_of_parts_has_what_debian_brings_and_python(image, parts):
    query = ["dpkg-query", f"--root={image.root}", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    there = {tuple(line.split()[1:]) for line in lines if line.startswith("installed ")}
    assert {(name, part["version"]) for name, part in of_kind(parts, "deb").items()} == there
    assert of_kind(parts, "generic")["python"]["version"].startswith("3.11.")


def test_the_page_says_what_the_parts_weigh(builder, image):
    now = weigh.read(weigh.table(weigh.parts(image.root, builder.FOLDER / "wheels")))
    said = weigh.read(weigh.shown())
    share, least = MOST_OFF
    assert now.keys() == said.keys(), "run `make image`"
    for name, part in said.items():
        assert part.weight == pytest.approx(now[name].weight, rel=share, abs=least), (
            f"{name}: run `make image`"
        )
        assert part.left_out == pytest.approx(now[name].left_out, rel=share, abs=least), (
            f"{name}: run `make image`"
        )


def copied():
    """The files of the checkout that the Dockerfile copies."""
    text = (ROOT / "Dockerfile").read_text()
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *sources]
    return set(
        subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    ) - {""}


def test_a_build_is_given_what_the_dockerfile_copies_and_nothing_that_lies_about(builder, tmp_path):
    for name in copied() | {"Dockerfile", ".dockerignore", "tests/conftest.py", "deploy/compose.yaml"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    lies_about = (
        *(
            ".env",
            ".git/config",
            ".venv/bin/python",
            "build/image/base.tar",
            "deploy/secrets/token",
            "tls.key",
        ),
        *(
            "understudy/.env",
            "serving/http/tls.key",
            "router/ca.pem",
            "serving/__pycache__/errors.cpython-311.pyc",
        ),
        *("control/.mypy_cache/a.json", "models/mine/1/model.onnx", ".understudy/control.db", "state/secret"),
    )
    for name in lies_about:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a secret")
    everything = tmp_path / "everything"
    everything.write_text("FROM scratch\nCOPY . /\n")
    sent = builder.made(tmp_path, "--file", str(everything), name="localhost/context").root
    assert {str(path.relative_to(sent)) for path in walk(sent) if path.is_file()} == copied()
