"""The commands that run processes: `up`, `node`, `serve`, `control`.

Settings: the options here, then `UNDERSTUDY_*`, then the defaults. What a command runs is imported when it
runs, and nothing here imports what only the other commands need: a start does not wait for it.
"""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from control.settings import ControlSettings
from serving.settings import ServingSettings
from understudy.options import command
from understudy.output import fail
from understudy.settings import SupervisorSettings, UpSettings

S = TypeVar("S", bound=BaseSettings)

app = typer.Typer(
    no_args_is_help=True,
    help="Serve ONNX models, and change them safely while they serve.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage.",
    pretty_exceptions_enable=False,
)

NODES_OWN = ("control", "control_ca", "node", "metrics_host", "metrics_port")
"""What only a node apart from its control plane can be told."""


@command(app, UpSettings, leave_out=(*NODES_OWN, "allow_load"))
def up(options: dict[str, Any]) -> None:
    """One machine: the control plane, workers on the public port, a sandbox for each candidate."""
    _supervise(own_control=True, **options)


@command(app, SupervisorSettings, leave_out=("allow_load",), renamed={"node": "name"})
def node(options: dict[str, Any]) -> None:
    """Workers and sandboxes only, following a control plane elsewhere."""
    _supervise(own_control=False, **options)


def _supervise(*, own_control: bool, **options: Any) -> None:
    import structlog

    from control.api.security import problem_of_door
    from serving.admission.door_files import problem_of_files
    from serving.errors import ServingError
    from serving.host.process import private_files, set_up_logs
    from serving.models.files.repository import Repository, warn
    from understudy.supervisor import Supervisor, short_run_dir, show_metrics

    settings = _settings(UpSettings, options)
    if not own_control and not settings.control:
        fail("--control is needed: the URL of the control plane")
    elsewhere = settings.control if own_control else ""
    if own_control:  # it may be set for `understudy rollouts`, and that one must not get this node's counts
        settings = settings.model_copy(update={"control": ""})
    problem = problem_of_files(settings.tls_cert, settings.tls_key, settings.api_keys, settings.canary_keys)
    if problem or (own_control and (problem := problem_of_door(settings))):
        fail(problem)
    if own_control and settings.notifications is not None:
        _check_notifications(settings.notifications)
    set_up_logs(settings.log_format, settings.log_level)
    private_files()
    if elsewhere:
        log = structlog.get_logger()
        log.warning("up follows its own control plane; UNDERSTUDY_CONTROL is for node and rollouts")
    repository = Repository(settings.models)
    repository.discover()
    warn(repository)
    if not own_control:
        with _port_in_words(f"metrics port {settings.metrics_port}"):
            show_metrics(settings)
    settings = settings.placed(short_run_dir(settings.state_dir))
    try:
        with _port_in_words(f"port {settings.port}"):
            asyncio.run(Supervisor(settings, own_control=own_control).run())
    except ServingError as error:
        fail(str(error))
    finally:
        if settings.state_dir.absolute() not in settings.run_dir.parents:
            shutil.rmtree(settings.run_dir, ignore_errors=True)


def _check_notifications(path: Path) -> None:
    """A file that is refused ends the command, not the control that it starts, again and again."""
    from control.notify.file import read
    from serving.errors import InvalidInput

    try:
        read(path)
    except InvalidInput as error:
        fail(str(error))


@command(app, ServingSettings)
def serve(options: dict[str, Any]) -> None:
    """The inference server alone (Open Inference Protocol v2)."""
    from serving.__main__ import main as serve_main

    settings = _settings(ServingSettings, options)
    with _port_in_words(f"port {settings.port}"):
        serve_main(settings)


@command(app, ControlSettings)
def control(options: dict[str, Any]) -> None:
    """The control plane alone."""
    from control.__main__ import main as control_main

    settings = _settings(ControlSettings, options)
    with _port_in_words(f"admin port {settings.admin_port}"):
        control_main(settings)


def _settings(kind: type[S], options: Mapping[str, Any]) -> S:
    """The settings of a command; a wrong one ends it and is named as its option."""
    try:
        return kind(**options)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        where = f"--{place.replace('_', '-')}: " if place else ""
        fail(where + problem["msg"].removeprefix("Value error, "))


@contextmanager
def _port_in_words(port: str) -> Iterator[None]:
    """A port that cannot be had ends the command with a line, not a traceback."""
    try:
        yield
    except OSError as error:
        fail(f"{port}: {error.strerror}")
