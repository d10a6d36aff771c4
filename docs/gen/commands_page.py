"""The command reference: the tree of commands behind `understudy`."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from docs.gen.markdown import code, page, table
from understudy.cli import app


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its whole name."""
    yield from _below("understudy", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for word, child in command.commands.items():
        yield from _below(f"{name} {word}", child)


def _section(name: str, command: Any) -> str:
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    usage = " ".join([name, *(_argument(param) for param in arguments), "[options]"])
    rows = [
        (code(_names(param)), _default(param), param.help or "")
        for param in command.params
        if isinstance(param, TyperOption) and param.name not in {"help", "install_completion"}
    ]
    options = table(["option", "default", "meaning"], rows) if rows else ""
    return "\n\n".join([f"## {name}", f"`{usage}`", (command.help or "").strip(), options])


def _argument(param: TyperArgument) -> str:
    name = str(param.name).upper()
    return name if param.required else f"[{name}]"


def _names(param: TyperOption) -> str:
    return ", ".join(sorted(param.opts, key=len))


def _default(param: TyperOption) -> str:
    default = param.default
    if default is None or default in {"", False} or callable(default):
        return ""
    return code(str(getattr(default, "value", default)))


def render() -> str:
    """The page."""
    lead = (
        "Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `understudy rollouts` also has 3, rolled back "
        "(`watch --until-done`), 4, stale revision, 5, a person is asked or a test ended undecided, and 6, time is up (both `watch`); `understudy test`, `gate` and, with a canary, `score` have 3, harmful, and 5, undecided; `understudy outcomes` has 3, some were left out. Options of `up`, `node`, `serve` and `control` whose default "
        "is empty here have it in [settings](settings.md)."
    )
    return page("Commands", "the command line", lead, *(_section(*found) for found in commands()))
