"""The settings reference: the fields of the settings classes, and the options that set them."""

from enum import Enum
from functools import cache
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup

from control.settings import ControlSettings
from docs.gen.markdown import code, page, table
from serving.settings import INTERNAL, ServingSettings
from understudy.cli import app
from understudy.settings import SupervisorSettings, UpSettings

COMMANDS = {
    "up": UpSettings,
    "node": SupervisorSettings,
    "serve": ServingSettings,
    "control": ControlSettings,
}

_LEAD = """
Each setting is taken from the command line, else from the environment, else from a file of that name in
`/run/secrets`, lower case (`understudy_token`), else it is the default. Secrets have no option: who may
list the processes of a machine reads their command lines. What does not fit is refused at the start with the name of
the option.
"""


@cache
def parameters(command: str) -> dict[str, Any]:
    """The options of a command, by the name of the setting that each one sets."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    renamed = {"name": "node"} if command == "node" else {}
    params = group.commands[command].params
    return {renamed.get(str(param.name), str(param.name)): param for param in params if param.name != "help"}


def fields() -> dict[str, FieldInfo]:
    """Every setting that a person may use."""
    return {name: field for name, field in UpSettings.model_fields.items() if INTERNAL not in field.metadata}


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, Enum):
        value = value.value
    return code(str(value)) or "empty"


def _bounds(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "max_length": "length at most"}
    found = [
        f"{word} {limit:g}" if isinstance(limit, float) else f"{word} {limit}"
        for metadata in field.metadata
        for name, word in words.items()
        if (limit := getattr(metadata, name, None)) is not None
    ]
    return ", ".join(found)


def _option(name: str) -> str:
    for command in COMMANDS:
        if param := parameters(command).get(name):
            return str(next(text for text in param.opts if text.startswith("--")))
    return ""


def _commands(name: str) -> str:
    """The commands that use it: those that have the option; for a secret, those whose settings have it."""
    used = [command for command in COMMANDS if name in parameters(command)]
    return " ".join(used or [command for command, kind in COMMANDS.items() if name in kind.model_fields])


def render() -> str:
    """The page."""
    rows = [
        (
            code(f"UNDERSTUDY_{name.upper()}"),
            code(_option(name)),
            _default(field.default),
            _bounds(field),
            str(field.description),
            _commands(name),
        )
        for name, field in sorted(fields().items())
    ]
    return page(
        "Settings",
        "the settings classes and the command line",
        _LEAD,
        table(["variable", "option", "default", "bounds", "meaning", "commands"], rows),
        "What one model is given (threads, batching, its queue) is set in its own "
        "[config.yaml](model-config.md); what a model name is served by, in the [rollout file](rollout-file.md).",
    )
