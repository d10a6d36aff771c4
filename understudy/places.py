"""Where the commands find models: the option `--models`, and the settings that go with it."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.places import Origin, folders
from understudy.output import fail, fault_of_settings

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models",
        metavar="PLACE",
        help="Where models are: a folder, s3://, gs://, az:// or mlflow+https://; may be given several times"
        " (else UNDERSTUDY_MODELS, with | between several; else `models`)",
    ),
]


PythonSteps = Annotated[
    bool,
    typer.Option(
        "--python-steps",
        help="Run steps of graphs that are Python, in a process of their own (else UNDERSTUDY_PYTHON_STEPS)",
    ),
]


def origin_of(models: list[str] | None, *, python_steps: bool = False) -> Origin:
    """What a command is told, and what the environment says of the cache; a wrong place ends the command."""
    import structlog
    from pydantic import ValidationError

    from serving.settings import ProcessSettings

    if not structlog.is_configured():  # what is printed is for whoever reads it, often a program
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
            cache_logger_on_first_use=False,
        )
    try:
        given: dict[str, Any] = {"models": models} if models else {}
        given |= {"python_steps": True} if python_steps else {}
        return ProcessSettings(**given).origin
    except ValidationError as error:
        place, words = fault_of_settings(error)
        fail(f"--{place[0].replace('_', '-')}: {words}")


def folder_of(models: list[str] | None) -> Path:
    """The one folder that a command writes models into; another place, or several, end the command."""
    origin = origin_of(models)
    if len(origin.places.named) == 1 and (found := folders(origin)):
        return found[0]
    return fail(f"new versions are written into one folder: name it by --models; got {origin.places}")
