"""`understudy up` and `understudy node`: the supervisor, with a control plane of its own or without."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from serving.host.entry import served
from understudy.options import command
from understudy.output import fail
from understudy.processes import app, port_in_words, settings_of
from understudy.settings import SupervisorSettings, UpSettings

NODES_OWN = ("control", "control_ca", "node", "metrics_host", "metrics_port")
"""What only a node apart from its control plane can be told."""


@command(app, UpSettings, leave_out=(*NODES_OWN, "allow_load", "tell_compute_time"))
def up(options: dict[str, Any]) -> None:
    """One machine: the control plane, workers on the public port, a sandbox for each candidate."""
    _supervise(own_control=True, **options)


@command(app, SupervisorSettings, leave_out=("allow_load", "tell_compute_time"), renamed={"node": "name"})
def node(options: dict[str, Any]) -> None:
    """Workers and sandboxes only, following a control plane elsewhere."""
    _supervise(own_control=False, **options)


def _supervise(*, own_control: bool, **options: Any) -> None:
    served("understudy.supervision.supervisor")
    import structlog

    from serving.errors import ServingError
    from serving.host.process import private_files, set_up_logs, warn_of
    from serving.sources.opening import open_source
    from understudy.supervision.node_report import show_metrics
    from understudy.supervision.supervisor import Supervisor, short_run_dir

    settings = settings_of(UpSettings, options)
    elsewhere = settings.control if own_control else ""
    if own_control:  # it may be set for `understudy rollouts`, and that one must not get this node's counts
        settings = settings.model_copy(update={"control": ""})
    _check(settings, own_control=own_control)
    set_up_logs(settings.log_format, settings.log_level)
    private_files()
    if elsewhere:
        log = structlog.get_logger()
        log.warning("up follows its own control plane; UNDERSTUDY_CONTROL is for node and rollouts")
    try:
        source = open_source(settings.origin)
    except ServingError as error:
        fail(f"--models: {error}")
    source.discover()
    warn_of(source.problems)
    if not own_control:
        with port_in_words(f"metrics port {settings.metrics_port}"):
            show_metrics(settings)
    settings = settings.placed(short_run_dir(settings.state_dir))
    try:
        with port_in_words(f"port {settings.port}"):
            asyncio.run(Supervisor(settings, own_control=own_control).run())
    except ServingError as error:
        fail(str(error))
    finally:
        if settings.state_dir.absolute() not in settings.run_dir.parents:
            shutil.rmtree(settings.run_dir, ignore_errors=True)


def _check(settings: UpSettings, *, own_control: bool) -> None:
    """End the command where its processes could not do what they are told."""
    from control.api.security import problem_of_door
    from serving.admission.door_files import problem_of_files

    if settings.records:
        _check_records(settings.records)
    if settings.grpc_workers:
        _check_grpc()
    if not own_control and not settings.control:
        fail("--control is needed: the URL of the control plane")
    problem = problem_of_files(settings.tls_cert, settings.tls_key, settings.api_keys, settings.canary_keys)
    if problem or (own_control and (problem := problem_of_door(settings))):
        fail(problem)
    if own_control and settings.notifications is not None:
        _check_notifications(settings.notifications)


def _check_records(place: str) -> None:
    """What the log writer needs is there before anything is started, and not missed with each start of it."""
    from importlib.util import find_spec

    wanted = ("pyarrow", "obstore") if "://" in place else ("pyarrow",)
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        fail(f"--records needs {' and '.join(missing)}: pip install 'understudy[records]'")


def _check_grpc() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("grpc", "grpc_health", "grpc_reflection") if find_spec(name) is None]
    if missing:
        fail(f"--grpc-workers needs {' and '.join(missing)}: pip install 'understudy[grpc]'")


def _check_notifications(path: Path) -> None:
    """A file that is refused ends the command, not the control that it starts, again and again."""
    from control.notify.file import read
    from serving.errors import InvalidInput

    try:
        read(path)
    except InvalidInput as error:
        fail(str(error))
