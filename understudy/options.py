"""Command-line options from a settings class: a setting is written once, with type, bounds and meaning."""

from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from serving.places import Places
from serving.settings import INTERNAL

Run = Callable[[dict[str, Any]], None]


def command(
    app: typer.Typer,
    settings: type[BaseSettings],
    *,
    leave_out: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Callable[[Run], Run]:
    """Register a command whose options are the fields of `settings`.

    The command gets those that were given, by the names of their fields; the rest is up to the settings.
    Secrets are no options, since every process of a machine can read the command lines of the others, and
    neither is what the supervisor gives to its children.

    Args:
        app: where the command goes, under the name of the function.
        settings: the class that checks what is given.
        leave_out: fields that mean nothing to this command.
        renamed: option by field, where it is not the field's name.
    """
    fields = {name: field for name, field in settings.model_fields.items() if _is_option(field)}
    unknown = set(leave_out) - set(fields)
    assert not unknown, f"{settings.__name__} has no options {unknown}"
    options = {
        (renamed or {}).get(name, name): (name, field)
        for name, field in fields.items()
        if name not in leave_out
    }

    def register(run: Run) -> Run:
        def called(**given: Any) -> None:
            run({options[option][0]: value for option, value in given.items() if value not in (None, [])})

        parameters = [_parameter(option, field) for option, (_, field) in options.items()]
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(run.__name__, help=run.__doc__)(called)
        return run

    return register


def _is_option(field: FieldInfo) -> bool:
    return field.annotation is not SecretStr and INTERNAL not in field.metadata


def _parameter(option: str, field: FieldInfo) -> Parameter:
    kind, metavar = _kind(field.annotation)
    declared = typer.Option(help=field.description, metavar=metavar, show_default=_default(field))
    annotation = Annotated[kind | None, declared]  # type: ignore[valid-type]
    return Parameter(option, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(annotation: Any) -> tuple[Any, str | None]:
    """What typer reads; the settings check which words are allowed, also in the environment."""
    if annotation is Places:
        return list[str], "PLACE"
    if get_origin(annotation) is Literal:
        return str, f"[{'|'.join(get_args(annotation))}]"
    (kind,) = [part for part in get_args(annotation) if part is not NoneType] or [annotation]
    assert kind in {str, int, float, bool, Path}, kind
    return kind, None


def _default(field: FieldInfo) -> bool | str:
    return False if field.default in {None, ""} else str(field.default).lower()
