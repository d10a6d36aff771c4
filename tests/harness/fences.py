"""The fenced blocks of Markdown pages, and a reader who does what a page says."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.system import eventually
from harness.warm import path_of_commands

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block: where it is, its language and title ("" for none), its text without indentation."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """All fenced blocks of a page, in order."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        body = textwrap.dedent(found["text"])
        yield Fence(page, line, found["language"], found["title"] or "", body)


def matches(expected: str, output: str) -> bool:
    """Whether every expected line, in order, is a line of the output; `...` stands for anything."""
    lines = iter(output.splitlines())
    for line in expected.splitlines():
        pattern = ".*".join(map(re.escape, line.split("...")))
        if not any(re.fullmatch(pattern, said.rstrip()) for said in lines):
            return False
    return True


@dataclass(slots=True)
class Reader:
    """Somebody at several terminals in one folder, who follows a page.

    Args:
        folder: where commands run and files are saved.
        environment: of every command.
        replace: text of a command -> what is typed instead (the ports of this test).
    """

    folder: Path
    environment: Mapping[str, str]
    replace: Mapping[str, str]
    terminals: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def typed(self, command: str) -> str:
        """The command as this reader types it."""
        for text, other in self.replace.items():
            command = command.replace(text, other)
        return command

    def run(self, command: str, seconds: float) -> str:
        """Run it to its end; its output and errors."""
        environment = {**os.environ, **self.environment}
        environment["PATH"] = path_of_commands(environment["PATH"])
        ended = subprocess.run(
            ["bash", "-c", self.typed(command)],
            cwd=self.folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return ended.stdout

    def start(self, command: str) -> None:
        """Run it in a terminal of its own, whose output goes to a file."""
        with (self.folder / f"terminal-{len(self.terminals)}.log").open("wb") as log:
            self.terminals.append(
                subprocess.Popen(
                    ["bash", "-c", "exec " + self.typed(command).strip()],
                    cwd=self.folder,
                    env={**os.environ, **self.environment},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def end(self) -> Sequence[int]:
        """Ctrl-C in every terminal, the last one opened first; their exit codes, in that order."""
        codes = []
        for terminal in reversed(self.terminals):
            if terminal.poll() is None:
                os.killpg(terminal.pid, signal.SIGINT)
            try:
                codes.append(terminal.wait(30))
            except subprocess.TimeoutExpired:
                os.killpg(terminal.pid, signal.SIGKILL)
                codes.append(terminal.wait())
        self.terminals.clear()
        return codes


def beside(node, folder: Path) -> Reader:
    """Somebody in a folder who uses this node where the page has one with the usual ports."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNDERSTUDY_CONTROL": node.admin_url,
        "COLUMNS": "300",
    }
    return Reader(folder, environment, {"http://localhost:8000": node.url})


def follow(page: Path, reader: Reader, seconds: float, in_force: Callable[[], object]) -> int:
    """Do all that a page says, as it is written; how many commands that were.

    What `show` shows is asked for until it is what the page has, since control looks once a second.

    Args:
        page: whose files are written and whose commands are run, each with the output that follows it, and
            none with a traceback.
        reader: who does it.
        seconds: for each command.
        in_force: after `apply`, whether what was applied is.
    """
    blocks, commands = list(fences(page)), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.title:
            (reader.folder / block.title).write_text(reader.typed(block.text))
        elif block.language == "sh":
            commands += 1
            expected = after.text if after is not None and after.language == "text" else ""

            def does(block: Fence = block, expected: str = expected) -> bool:
                said = reader.run(block.text, seconds)
                assert matches(expected, said), f"{block}:\n{block.text}\n{said}"
                assert "Traceback" not in said, f"{block}:\n{block.text}\n{said}"
                return True

            if "show" in block.text:
                eventually(does, f"{block} shows what the page shows")
            else:
                does()
            if "apply" in block.text:
                eventually(in_force, "what was applied is in force", 60.0)
    return commands
