"""The lists are complete, exact and name no place; whoever installs them resolves nothing."""

import ast
import re
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from harness.pins import (
    BUILD,
    DEVELOPMENT,
    PROJECT,
    RUNTIME,
    entries,
    group,
    here,
    needed,
    wanted_to_develop,
    wanted_to_run,
)
from harness.system import ROOT

EXTRAS = PROJECT["project"]["optional-dependencies"]
ASKED_FOR = [*EXTRAS["bench"], *EXTRAS["records"], *EXTRAS["query"], *EXTRAS["signing"]]
"""Imported only by commands that say which extra they need."""
NOTHING_RESOLVED = {"--no-deps", "--require-hashes", "--only-binary :all:"}


@pytest.mark.parametrize(
    "file",
    [RUNTIME, BUILD, DEVELOPMENT, ROOT / "deploy" / "image" / "requirements.txt"],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_every_entry_is_a_version_with_hashes_and_the_list_names_no_index(file):
    pins = entries(file)  # fails on options, URLs and ranges
    assert pins
    for pin in pins:
        assert pin.hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in pin.hashes), pin.name
    assert "://" not in file.read_text()


@pytest.mark.parametrize(
    ("file", "roots"),
    [(RUNTIME, wanted_to_run()), (BUILD, [*group("build")]), (DEVELOPMENT, wanted_to_develop())],
    ids=["runtime", "build", "development"],
)
def test_a_list_holds_what_is_needed_with_all_extras_and_nothing_else(file, roots):
    """`pip check` passes over what extras need; this does not, and finds what is left over."""
    listed, wanted = here(file), needed(roots)
    assert sorted(listed) == sorted(wanted), "run `make pins`"
    for name, requirements in wanted.items():
        for requirement in requirements:
            assert requirement.specifier.contains(listed[name], prereleases=True), requirement


def test_what_runs_is_the_same_for_developers():
    def files(file):
        return {(pin.name, pin.version, pin.hashes) for pin in entries(file)}

    assert files(RUNTIME) | files(BUILD) <= files(DEVELOPMENT)


def test_what_runs_and_the_demo_import_nothing_that_is_not_installed_for_them():
    folders = "serving", "router", "control", "understudy", "demo"
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    files.append(ROOT / "tests" / "harness" / "system.py")  # which the demo uses
    owners = packages_distributions()
    listed = set(here(RUNTIME)) | {canonicalize_name(Requirement(one).name) for one in ASKED_FOR}
    for file in files:
        for module in imported(file) & set(owners):
            owned = {canonicalize_name(owner) for owner in owners[module]}
            assert owned & listed or owned == {"understudy"}, f"{file}: {module}"


def imported(file):
    """The first part of the name of every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_what_builds_the_package_is_not_among_what_runs():
    assert {pin.name for pin in entries(BUILD)} == {"setuptools"}
    assert not {"setuptools", "wheel", "pip"} & {pin.name for pin in entries(RUNTIME)}


def test_what_is_leaned_on_privately_is_bounded_to_a_minor_version():
    """The parts themselves are in test_private_parts.py."""
    for name in ("uvicorn", "httptools", "onnxruntime"):
        (requirement,) = needed(wanted_to_run())[name][:1]
        major, minor, *_ = here(RUNTIME)[name].split(".")
        assert requirement.specifier == SpecifierSet(f">={major}.{minor},<{major}.{int(minor) + 1}"), name


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", ".ci/run", "docs/install.md"])
def test_no_command_resolves_anything(name):
    text = (ROOT / name).read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if re.search(r"\bpip\b.* install |\$\(LIST\)", line)]
    assert commands or name == ".ci/run"
    for command in commands:
        said = command.replace("$(LIST)", _variable(text, "LIST")) if "$(LIST)" in command else command
        flags = NOTHING_RESOLVED if re.search(r"-r (requirements|\$<)", said) else {"--no-deps", "--no-index"}
        assert not {flag for flag in flags if flag not in said} or said.startswith("`pip install .`"), command


def _variable(text, name):
    found = re.search(rf"^{name} := (.*)$", text, re.MULTILINE)
    assert found
    return found[1]
