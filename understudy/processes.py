"""The commands that run processes: `up`, `node`, `serve`, `control`.

Settings: the options here, then `UNDERSTUDY_*`, then the defaults. What a command runs is imported when it
runs, and nothing here imports what only the other commands need: a start does not wait for it.
"""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from understudy.output import fail

S = TypeVar("S", bound=BaseSettings)

app = typer.Typer(
    no_args_is_help=True,
    help="Serve ONNX models, and change them safely while they serve.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage.",
    pretty_exceptions_enable=False,
)

Models = Annotated[Path | None, typer.Option(help="Model repository: <name>/<version>/model.onnx")]
StateDir = Annotated[Path | None, typer.Option(help="Where processes keep what must survive them")]
Host = Annotated[str | None, typer.Option(help="Address of the public door")]
Port = Annotated[int | None, typer.Option(help="Port of the public door")]
Rollouts = Annotated[Path | None, typer.Option(help="Rollout file, watched while it serves")]
Strict = Annotated[
    bool | None,
    typer.Option("--rollouts-strict", help="One rollout at fault refuses the whole rollout file"),
]
Tell = Annotated[
    Path | None, typer.Option("--notifications", help="File that says who is told of what happens")
]
AdminHost = Annotated[str | None, typer.Option(help="Address of the admin door")]
AdminPort = Annotated[int | None, typer.Option(help="Port of the admin door")]
MetricsHost = Annotated[str | None, typer.Option(help="Address of the node's /metrics")]
MetricsPort = Annotated[int | None, typer.Option(help="Port of the node's /metrics")]
Workers = Annotated[int | None, typer.Option(help="Worker processes on the public port")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of one model run; 0: one for each CPU a worker has")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate of the public door, PEM; followed on disk")]
TlsKey = Annotated[Path | None, typer.Option(help="Private key of that certificate, PEM")]
AdminTlsCert = Annotated[
    Path | None, typer.Option(help="Certificate of the admin door, PEM; followed on disk")
]
AdminTlsKey = Annotated[Path | None, typer.Option(help="Private key of that certificate, PEM")]
ControlCa = Annotated[Path | None, typer.Option(help="CA certificates to check the control plane's by, PEM")]
ApiKeys = Annotated[
    Path | None, typer.Option(help="File of API keys (`understudy keys new`); followed on disk")
]
CanaryNaming = Annotated[
    str | None, typer.Option(help="Who may name the canary in a request: anyone, keys or nobody")
]
CanaryKeys = Annotated[
    Path | None, typer.Option(help="File of the keys that may (`understudy keys new`); followed on disk")
]
RateLimit = Annotated[float | None, typer.Option(help="Requests a second of one client; 0: any")]
RateBurst = Annotated[int | None, typer.Option(help="Requests it may send at once; 0: a second's worth")]
RateHeader = Annotated[str | None, typer.Option(help="Header that names the client, set by a proxy in front")]
MaxConnections = Annotated[int | None, typer.Option(help="Connections that one process holds")]
MaxPerClient = Annotated[
    int | None, typer.Option("--max-connections-per-client", help="Of them, of one address; 0: any")
]
MaxWait = Annotated[
    float | None,
    typer.Option("--max-wait-seconds", help="A request not reached in time gets 503; 0: never"),
]
Adaptive = Annotated[
    bool | None,
    typer.Option("--adaptive-concurrency", help="Limit requests in flight by how their latency grows"),
]
Watchdog = Annotated[
    float | None,
    typer.Option("--watchdog-seconds", help="A process that hangs so long is replaced; 0: never"),
]
RequestLogSample = Annotated[float | None, typer.Option(help="Share of inference requests to log, 0 to 1")]
LogFormat = Annotated[str | None, typer.Option(help="console or json")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error")]


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def up(
    models: Models = None,
    rollouts: Rollouts = None,
    rollouts_strict: Strict = None,
    notifications: Tell = None,
    host: Host = None,
    port: Port = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    workers: Workers = None,
    threads: Threads = None,
    state_dir: StateDir = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    api_keys: ApiKeys = None,
    canary_naming: CanaryNaming = None,
    canary_keys: CanaryKeys = None,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    rate_header: RateHeader = None,
    max_connections: MaxConnections = None,
    max_connections_per_client: MaxPerClient = None,
    max_wait_seconds: MaxWait = None,
    adaptive_concurrency: Adaptive = None,
    admin_tls_cert: AdminTlsCert = None,
    admin_tls_key: AdminTlsKey = None,
    watchdog_seconds: Watchdog = None,
    request_log_sample: RequestLogSample = None,
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
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    api_keys: ApiKeys = None,
    canary_naming: CanaryNaming = None,
    canary_keys: CanaryKeys = None,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    rate_header: RateHeader = None,
    max_connections: MaxConnections = None,
    max_connections_per_client: MaxPerClient = None,
    max_wait_seconds: MaxWait = None,
    adaptive_concurrency: Adaptive = None,
    control_ca: ControlCa = None,
    watchdog_seconds: Watchdog = None,
    request_log_sample: RequestLogSample = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Workers and sandboxes only, following a control plane elsewhere."""
    options = _given(**locals())
    if "name" in options:
        options["node"] = options.pop("name")
    _supervise(own_control=False, **options)


def _supervise(*, own_control: bool, **options: Any) -> None:
    import structlog

    from control.api.security import problem_of_door
    from serving.admission.door_files import problem_of_files
    from serving.errors import ServingError
    from serving.host.process import private_files, set_up_logs
    from serving.models.files.repository import Repository, warn
    from understudy.settings import UpSettings
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


@app.command()
def serve(
    models: Models = None,
    host: Host = None,
    port: Port = None,
    threads: Threads = None,
    state_dir: StateDir = None,
    allow_load: Annotated[bool | None, typer.Option(help="Let clients load and unload models")] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    api_keys: ApiKeys = None,
    rate_limit: RateLimit = None,
    rate_burst: RateBurst = None,
    rate_header: RateHeader = None,
    max_connections: MaxConnections = None,
    max_connections_per_client: MaxPerClient = None,
    max_wait_seconds: MaxWait = None,
    adaptive_concurrency: Adaptive = None,
    request_log_sample: RequestLogSample = None,
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
    rollouts_strict: Strict = None,
    notifications: Tell = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    state_dir: StateDir = None,
    admin_tls_cert: AdminTlsCert = None,
    admin_tls_key: AdminTlsKey = None,
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
        where = f"--{place.replace('_', '-')}: " if place else ""
        fail(where + problem["msg"].removeprefix("Value error, "))


@contextmanager
def _port_in_words(port: str) -> Iterator[None]:
    """A port that cannot be had ends the command with a line, not a traceback."""
    try:
        yield
    except OSError as error:
        fail(f"{port}: {error.strerror}")
