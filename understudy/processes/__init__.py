"""The commands that run processes: `up` and `node`, `serve`, `control`.

Settings: the options here, then `UNDERSTUDY_*`, then the defaults. What a command runs is imported when it
runs, and its module imports nothing that only the other commands need: a start does not wait for it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from understudy.output import fail, fault_of_settings

S = TypeVar("S", bound=BaseSettings)

app = typer.Typer(
    no_args_is_help=True,
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage.",
    pretty_exceptions_enable=False,
)


@app.callback(help="Serve ONNX models, and change them safely while they serve.")
def _group() -> None:
    """A group also while only one command has registered itself."""


def settings_of(kind: type[S], options: Mapping[str, Any]) -> S:
    """The settings of a command; a wrong one ends it and is named as its option."""
    try:
        return kind(**options)
    except ValidationError as error:
        place, words = fault_of_settings(error)
        fail((f"--{'.'.join(place).replace('_', '-')}: " if place else "") + words)


@contextmanager
def port_in_words(port: str) -> Iterator[None]:
    """A port that cannot be had ends the command with a line, not a traceback."""
    try:
        yield
    except OSError as error:
        fail(f"{port}: {error.strerror}")
