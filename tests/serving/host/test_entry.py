import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc
import sys

WHILE_IMPORTED = gc.isenabled()

def main():
    cycle = []
    cycle.append(cycle)
    del cycle
    print(WHILE_IMPORTED, gc.isenabled(), gc.get_freeze_count() > 1000, gc.collect() > 0, *sys.argv)
    sys.exit(3)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.host.entry", *arguments],
        env={"PYTHONPATH": f"{folder}:{Path(__file__).parents[3]}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program_of_a_test.py").write_text(PROGRAM)
    return tmp_path


def test_nothing_is_collected_while_a_module_is_imported_and_what_comes_later_is(program: Path) -> None:
    ended = run(program, "program_of_a_test", "an argument")
    assert ended.stdout.split() == ["False", "True", "True", "True", "program_of_a_test", "an", "argument"]


def test_it_exits_as_its_module_does(program: Path) -> None:
    assert run(program, "program_of_a_test").returncode == 3


def test_a_package_means_its_main_as_for_python(program: Path) -> None:
    package = program / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (program / "program_of_a_test.py").rename(package / "__main__.py")
    assert run(program, "package_of_a_test", "an argument").stdout.split()[-1] == "argument"


def test_a_module_that_is_not_there_is_an_error_in_words(program: Path) -> None:
    ended = run(program, "program_that_is_not_there")
    assert (ended.returncode, "No module named 'program_that_is_not_there'" in ended.stderr) == (1, True)


def test_it_imports_nothing_that_prints_for_people_and_what_wants_it_later_has_it(program: Path) -> None:
    (program / "program_of_a_test.py").write_text(
        "import sys, httpx, structlog\n"
        "def main():\n"
        "    print('rich' in sys.modules, 'pygments' in sys.modules)\n"
        "    import rich.console, pygments\n"
        "    print(rich.console.Console.__name__)\n"
    )
    assert run(program, "program_of_a_test").stdout.split() == ["False", "False", "Console"]
