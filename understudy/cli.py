"""The command line. Settings: the options here, then `UNDERSTUDY_*`, then the defaults.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from understudy.commands import models, rollouts
from understudy.commands.output import fail

S = TypeVar("S", bound=BaseSettings)

app = typer.Typer(no_args_is_help=True, add_completion=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(models.app, name="models")

Models = Annotated[Path | None, typer.Option(help="Model repository: <name>/<version>/model.onnx")]
StateDir = Annotated[Path | None, typer.Option(help="Where processes keep what must survive them")]
Host = Annotated[str | None, typer.Option(help="Address of the public door")]
Port = Annotated[int | None, typer.Option(help="Port of the public door")]
Rollouts = Annotated[Path | None, typer.Option(help="Rollout file, watched while it serves")]
AdminHost = Annotated[str | None, typer.Option(help="Address of the admin door")]
AdminPort = Annotated[int | None, typer.Option(help="Port of the admin door")]
MetricsHost = Annotated[str | None, typer.Option(help="Address of the node's /metrics")]
MetricsPort = Annotated[int | None, typer.Option(help="Port of the node's /metrics")]
Workers = Annotated[int | None, typer.Option(help="Worker processes on the public port")]
Threads = Annotated[int | None, typer.Option(help="Threads of one model run; 0 follows the CPU limit")]
LogFormat = Annotated[str | None, typer.Option(help="console or json")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error")]


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def up(
    models: Models = None,
    rollouts: Rollouts = None,
    host: Host = None,
    port: Port = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    workers: Workers = None,
    threads: Threads = None,
    state_dir: StateDir = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """One machine: the control plane, workers on the public port, a sandbox for each candidate."""
    _supervise(own_control=True, **_given(**locals()))


@app.command()
def node(
    control: Annotated[str | None, typer.Option(help="URL of the control plane")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this node in reports")] = None,
    models: Models = None,
    host: Host = None,
    port: Port = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    workers: Workers = None,
    threads: Threads = None,
    state_dir: StateDir = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Workers and sandboxes only, following a control plane elsewhere."""
    options = _given(**locals())
    if "name" in options:
        options["node"] = options.pop("name")
    _supervise(own_control=False, **options)


def _supervise(*, own_control: bool, **options: Any) -> None:
    from serving.process import set_up_logs
    from understudy.settings import UpSettings
    from understudy.supervisor import Supervisor, short_run_dir, show_metrics

    settings = _settings(UpSettings, options)
    settings = settings.model_copy(update={"run_dir": short_run_dir(settings.state_dir)})
    if not own_control and not settings.control:
        fail("--control is needed: the URL of the control plane")
    set_up_logs(settings.log_format, settings.log_level)
    if not own_control:
        with _port_in_words(f"metrics port {settings.metrics_port}"):
            show_metrics(settings)
    with _port_in_words(f"port {settings.port}"):
        asyncio.run(Supervisor(settings, own_control=own_control).run())


@app.command()
def serve(
    models: Models = None,
    host: Host = None,
    port: Port = None,
    threads: Threads = None,
    state_dir: StateDir = None,
    allow_load: Annotated[bool | None, typer.Option(help="Let clients load and unload models")] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """The inference server alone (Open Inference Protocol v2)."""
    options = _given(**locals())
    from serving.__main__ import main as serve_main
    from serving.settings import ServingSettings

    settings = _settings(ServingSettings, options)
    with _port_in_words(f"port {settings.port}"):
        serve_main(settings)


@app.command()
def control(
    models: Models = None,
    rollouts: Rollouts = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    state_dir: StateDir = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """The control plane alone."""
    options = _given(**locals())
    from control.__main__ import main as control_main
    from control.settings import ControlSettings

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
        fail(f"--{place.replace('_', '-')}: {problem['msg']}")


@contextmanager
def _port_in_words(port: str) -> Iterator[None]:
    """A port that cannot be had ends the command with a line, not a traceback."""
    try:
        yield
    except OSError as error:
        fail(f"{port}: {error.strerror}")


def main() -> None:
    """Run the command line."""
    sys.exit(app())
