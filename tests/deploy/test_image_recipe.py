"""All that makes the image agrees; tests/servers/image builds it and runs it (`make test-slow`)."""

import csv
import importlib
import re
import sys

import pytest

from harness.pins import RUNTIME, entries
from harness.system import ROOT

sys.path.insert(0, str(ROOT / "deploy" / "image"))

import slim
import weigh

build = importlib.import_module("build")  # a folder of that name may be there, too

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()
OTHER_ROWS = re.compile(r"the base: .*|\d+ others|the environment's own files|understudy|\*\*in all\*\*")
ROUNDED = 0.05


def copied():
    """What the Dockerfile copies out of a checkout."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1]}


def test_the_dockerfile_pins_its_base_and_takes_another():
    assert re.search(r"^ARG BASE=[^\s@]+:3\.11-slim-bookworm@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}", "lean"}


def test_a_build_is_given_what_the_dockerfile_copies_without_what_lies_about_in_it():
    first, *rest = [line for line in IGNORED.splitlines() if line and not line.startswith("#")]
    assert first == "*"
    given = {line.removeprefix("!") for line in rest if line.startswith("!")}
    assert given == copied()
    assert all((ROOT / name).exists() for name in given)
    again = rest[len(given) :]  # the last pattern that fits decides
    assert set(again) == {"**/__pycache__", "**/*.egg-info", "**/.*", "**/*.key", "**/*.pem"}


def test_what_is_fetched_for_a_build_is_what_its_steps_install():
    assert set(re.findall(r"-r (\S+\.txt)", DOCKERFILE)) == set(build.LISTS)
    assert set(build.LISTS) <= copied() | {"deploy/image/requirements.txt"}
    assert "target=/etc/pip.conf" in DOCKERFILE
    assert "pip.conf" not in re.sub(r"^#.*$|--mount=\S+", "", DOCKERFILE, flags=re.MULTILINE)


def test_what_lists_the_parts_is_what_the_list_is_checked_with():
    def pins(folder):
        return {(pin.name, pin.version, pin.hashes) for pin in entries(ROOT / folder / "requirements.txt")}

    assert pins("deploy/image") <= pins("tests/servers/image")


def test_the_weights_that_the_page_shows_add_up_and_are_of_what_is_installed():
    rows = weigh.read(weigh.shown())
    total = rows["**in all**"]
    parts = [row for name, row in rows.items() if row is not total]
    slack = ROUNDED * len(rows)
    assert sum(row.weight for row in parts) == pytest.approx(total.weight, abs=slack)
    assert sum(row.left_out for row in parts) == pytest.approx(total.left_out, abs=slack)
    named = {weigh.plain(name) for name in rows if not OTHER_ROWS.fullmatch(name)}
    installed = {pin.name for pin in entries(RUNTIME) if pin.applies(python_full_version="3.11.2")}
    assert named <= installed
    [others] = [int(name.split()[0]) for name in rows if name.endswith(" others")]
    assert len(named) + others == len(installed), "run `make image`"
    assert f" {total.left_out:.0f} MiB of tests" in (ROOT / "CHANGELOG.md").read_text(), "run `make image`"


def test_files_that_are_taken_out_leave_the_record_and_all_others_stay(tmp_path):
    files = {
        "pyarrow/__init__.py": True,
        "pyarrow/lib.pyx": False,
        "pyarrow/include/arrow/api.h": False,
        "pyarrow/tests/test_a.py": False,
        "pyarrow/libarrow_flight.so.2600": False,
        "pyarrow/libarrow_substrait.so.2600": True,
        "pyarrow/a,b.py": True,
        "pyarrow/testsuite.py": True,
    }
    info = tmp_path / "pyarrow-26.0.0.dist-info"
    info.mkdir()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    with (info / "RECORD").open("w", newline="") as record:
        csv.writer(record).writerows([[name, "sha256=x", "5"] for name in files])
    assert slim.slim(tmp_path) == 5 * list(files.values()).count(False)
    assert {name for name in files if (tmp_path / name).exists()} == {name for name in files if files[name]}
    with (info / "RECORD").open(newline="") as record:
        assert [row[0] for row in csv.reader(record)] == [name for name in files if files[name]]
    assert not (tmp_path / "pyarrow" / "include").exists()
