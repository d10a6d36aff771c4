"""Pages are done as they are written: their files saved, their commands run, their outputs seen."""

import os
import re
import sys
from pathlib import Path

import httpx
import pytest

from harness.fences import Reader, fences, matches
from harness.system import MODELS, ROOT, START_SECONDS, eventually, free_port

SECONDS = 90.0


@pytest.fixture
def ports():
    return free_port(), free_port()


@pytest.fixture
def reader(tmp_path, ports):
    port, admin = ports
    (tmp_path / "models").symlink_to(MODELS)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNDERSTUDY_HOST": "127.0.0.1",
        "UNDERSTUDY_PORT": str(port),
        "UNDERSTUDY_ADMIN_PORT": str(admin),
        "UNDERSTUDY_DRAIN_SECONDS": "0",
        "COLUMNS": "300",
    }
    replace = {
        "localhost:8000": f"127.0.0.1:{port}",
        "localhost:9000": f"127.0.0.1:{admin}",
        **{
            f"understudy {group}": f"UNDERSTUDY_CONTROL=http://127.0.0.1:{admin} understudy {group}"
            for group in ("rollouts", "outcomes")
        },
    }
    somebody = Reader(tmp_path, environment, replace)
    try:
        yield somebody
    finally:
        codes = somebody.end()
        for log in sorted(tmp_path.glob("terminal-*.log")):
            print(log.read_text()[-3000:])
    assert codes[-1] == 0  # `understudy up`


def revision(admin: int) -> int:
    """Of the tutorial's rollout; 0 before there is one."""
    found = httpx.get(f"http://127.0.0.1:{admin}/v1/rollouts", trust_env=False).json()
    return max((int(view["revision"]) for view in found), default=0)


def ready(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/v2/models/digits/ready", trust_env=False).status_code == 200


@pytest.mark.parametrize(("page", "least"), [("tutorial.md", 10), ("aa.md", 3), ("outcome-tutorial.md", 7)])
def test_every_command_of_a_page_does_what_the_page_says(reader, ports, page, least):
    port, admin = ports
    blocks, commands = list(fences(ROOT / "docs" / page)), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language in {"yaml", "json"}:
            before = revision(admin) if reader.terminals else 0
            (reader.folder / block.title).write_text(block.text)
            if reader.terminals and block.language == "yaml":
                eventually(lambda before=before: revision(admin) > before, f"{block} is in force")
        elif block.language == "python":
            (reader.folder / block.title).write_text(reader.typed(block.text))
        elif block.title == "another terminal":
            reader.start(block.text)
            commands += 1
            eventually(lambda: ready(port), f"{block} is ready", START_SECONDS)
        elif block.language == "sh":
            expected = after.text if after is not None and after.language == "text" else ""
            said = []

            def seen(block=block, expected=expected, said=said):
                said.append(reader.run(block.text, SECONDS))
                return matches(expected, said[-1])

            commands += 1
            try:
                eventually(seen, f"{block} shows what the page shows")
            except AssertionError:
                print(f"{block}:\n{block.text}\n{said[-1]}")
                raise
    assert commands >= least
    assert undescribed(admin) == set()


def undescribed(admin: int) -> set[str]:
    """Metrics that the admin door gives and the reference does not have."""
    given = httpx.get(f"http://127.0.0.1:{admin}/metrics", trust_env=False).text
    names = set(re.findall(r"^# TYPE (understudy_\w+) ", given, re.MULTILINE))
    assert len(names) > 15
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    return {name for name in names if f"| `{name}` |" not in page}
