"""`understudy bench`: how much a server takes, before its users find out."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from serving.errors import InvalidInput, ServingError
from serving.places import Origin, beside
from serving.sources.opening import open_source
from understudy.arguments import duration, fraction, header
from understudy.bench import requests
from understudy.bench.advice import advice
from understudy.bench.load import GeneratorFailed, Load
from understudy.bench.manifests import Autoscaler, Fleet, manifests_of, plan, planned_rate
from understudy.bench.plot import need_matplotlib
from understudy.bench.runs import Bench
from understudy.bench.server import OwnServer, Server
from understudy.bench.show import Show
from understudy.bench.steps import Objective, Step
from understudy.output import Json, fail
from understudy.places import Models, origin_of


class Mode(StrEnum):
    """What is asked of the server."""

    ramp = "ramp"
    spike = "spike"
    soak = "soak"


_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _fleet(text: str) -> Fleet:
    try:
        return Fleet.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Url = Annotated[str, typer.Argument(help="A server that runs; left out: start one on this machine")]
Model = Annotated[str, typer.Option(help="Public name of the model to ask")]
ModeOption = Annotated[Mode, typer.Option("--mode", help="ramp: find the knee; spike: a burst; soak: steady")]
P95 = Annotated[float, typer.Option("--p95", parser=duration, help="Latency to keep")]
Errors = Annotated[float, typer.Option("--errors", parser=fraction, help="Share of errors to keep")]
Rate = Annotated[
    float, typer.Option(min=1, help="Requests/s: where a ramp begins; the steady rate otherwise")
]
Highest = Annotated[float, typer.Option(min=1, help="ramp: never more than this, requests/s")]
Length = Annotated[float, typer.Option("--step", parser=duration, help="Length of a step, and of a burst")]
Times = Annotated[float, typer.Option(min=1.1, max=1000, help="spike: the burst is so many times the rate")]
Lasting = Annotated[float, typer.Option("--for", parser=duration, help="soak: how long")]
Data = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Requests in OIP JSON, one a line")
]
Rollouts = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Rollout file of that server")
]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Workers of that server; more than 1 needs --rollouts")
]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="Threads of one model run; 0: one for each CPU a worker has")
]
Connections = Annotated[int, typer.Option(min=1, max=20_000, help="Most connections open at once")]
Generators = Annotated[int, typer.Option(min=1, max=64, help="Processes that send")]
Timeout = Annotated[float, typer.Option(parser=duration, help="When an answer is given up")]
Header = Annotated[
    list[Any] | None, typer.Option("--header", parser=header, help="Sent along: 'name: value'")
]
P99 = Annotated[
    float | None,
    typer.Option("--p99", parser=duration, help="Latency that 99% keep, too; none: no such limit"),
]
Manifests = Annotated[
    Autoscaler | None, typer.Option("--manifests", help="ramp: print what scales nodes by these figures")
]
FleetOption = Annotated[
    Any, typer.Option("--fleet", parser=_fleet, metavar="LOW..HIGH", help="Requests/s of all nodes together")
]
Metrics = Annotated[str, typer.Option(help="URL of the metrics of that one node, for --manifests")]
Write = Annotated[Path | None, typer.Option(help="Write the manifests here instead")]
Namespace = Annotated[str, typer.Option(help="Namespace in the manifests")]
Kept = Annotated[bool, typer.Option("--stateful", help="The nodes are a StatefulSet (node.state.size)")]
Plot = Annotated[Path | None, typer.Option(help="Write a picture (PNG) here; needs the extra `bench`")]


def bench(
    url: Url = "",
    model: Model = "",
    mode: ModeOption = Mode.ramp,
    p95: P95 = "20ms",  # type: ignore[assignment]  # typer parses defaults too
    p99: P99 = None,
    errors: Errors = "0.1%",  # type: ignore[assignment]
    rate: Rate = 100.0,
    highest: Highest = 100_000.0,
    step: Length = "5s",  # type: ignore[assignment]
    times: Times = 5.0,
    lasting: Lasting = "10m",  # type: ignore[assignment]
    data: Data = None,
    models: Models = None,
    rollouts: Rollouts = None,
    workers: Workers = 1,
    threads: Threads = 0,
    connections: Connections = 256,
    generators: Generators = 1,
    timeout: Timeout = "5s",  # type: ignore[assignment]
    headers: Header = None,
    plot: Plot = None,
    manifests: Manifests = None,
    fleet: FleetOption = None,
    metrics: Metrics = "",
    write: Write = None,
    namespace: Namespace = "default",
    stateful: Kept = False,
    json: Json = False,
) -> None:
    """Load a server at constant rates (open loop), and find the highest that keeps --p95 and --errors.

    Without a URL it starts a server of its own on this machine and shows what that uses. Load only what is
    yours.
    """
    objective = Objective(p95, errors, p99)
    own = not url
    origin = origin_of(models)
    try:
        with ExitStack() as stack:
            if plot is not None:
                need_matplotlib()
            kind = "StatefulSet" if stateful else "Deployment"
            scaling = _scaling(manifests, fleet, write, kind, namespace)
            _check_scaling(scaling, mode, own=own, metrics=metrics, json=json)
            if own:
                started = OwnServer(origin, rollouts, _options(rollouts, workers, threads))
                stack.callback(started.end)
            server = started if own else Server(url.rstrip("/"), metrics=metrics)
            name = model or _only_model(origin)
            metadata = requests.metadata_of(server.url, name, headers or [])
            load = Load(
                f"{server.url}/v2/models/{name}/infer",
                headers or [],
                _bodies(data, beside(origin, name, "heldout.npz"), metadata),
                generators=generators,
                connections=connections,
                timeout_seconds=timeout,
            )
            stack.callback(load.end)
            note = stack.enter_context(_progress(quiet=json))
            run, show = Bench(server, load, objective, note), Show(name, plot, json)
            if mode is Mode.ramp:
                cpus = len(os.sched_getaffinity(0))
                steps, knee = run.ramp(rate, step, highest)
                said = advice(steps, knee, objective, workers=workers if own else None, cpus=cpus)
                show.ramp(steps, knee, objective, said)
                if scaling is not None:
                    _show_manifests(run, show, steps, knee, step, scaling)
            elif mode is Mode.spike:
                show.spike(*run.spike(rate, times, step))
            else:
                show.soak(*run.soak(rate, lasting))
    except (ServingError, GeneratorFailed) as error:
        fail(str(error))


@dataclass(frozen=True, slots=True)
class _Scaling:
    """What manifests are asked for."""

    scaler: Autoscaler
    fleet: Fleet
    kind: str
    namespace: str
    file: Path | None


def _scaling(
    scaler: Autoscaler | None, fleet: Fleet | None, file: Path | None, kind: str, namespace: str
) -> _Scaling | None:
    """What is asked for, if anything."""
    if scaler is None:
        if fleet is not None or file is not None:
            raise InvalidInput("--fleet and --write need --manifests beside them")
        return None
    if fleet is None:
        raise InvalidInput("--manifests needs --fleet LOW..HIGH, requests/s of all nodes together")
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidInput(f"--namespace {namespace!r} is no name: lower case letters, digits and dashes")
    return _Scaling(scaler, fleet, kind, namespace, file)


def _check_scaling(scaling: _Scaling | None, mode: Mode, *, own: bool, metrics: str, json: bool) -> None:
    """Refuse before anything is loaded what no manifests could come of."""
    if bool(metrics) and (own or scaling is None):
        raise InvalidInput("--metrics is for --manifests with the URL of a server")
    if scaling is None:
        return
    if mode is not Mode.ramp:
        raise InvalidInput("--manifests needs --mode ramp, which finds what one node takes")
    if not own and not metrics:
        raise InvalidInput("--manifests with a URL needs --metrics, the URL of the metrics of that one node")
    if json and scaling.file is None:
        raise InvalidInput("--json with --manifests needs --write: they are no JSON")


def _show_manifests(
    run: Bench, show: Show, steps: Sequence[Step], knee: Step | None, length: float, scaling: _Scaling
) -> None:
    """Hold the rate to plan for, and say what scales nodes by it."""
    best, rate = planned_rate(knee)
    found = plan(show.title, steps, best, run.held(rate, length), run.objective, scaling.fleet)
    show.manifests(manifests_of(scaling.scaler, found, scaling.kind, scaling.namespace), scaling.file)


def _options(rollouts: Path | None, workers: int, threads: int) -> list[str]:
    if workers > 1 and rollouts is None:
        raise InvalidInput("--workers needs --rollouts: `understudy serve` is one process")
    several = ["--workers", str(workers)] if rollouts is not None else []
    return [*several, "--threads", str(threads)]


def _only_model(models: Origin) -> str:
    names = sorted({entry.name for entry in open_source(models).discover()})
    if len(names) == 1:
        return names[0]
    raise InvalidInput(f"--model is needed: one of {', '.join(names)}")


def _bodies(data: Path | None, held_out: Path | None, metadata: dict[str, Any]) -> list[bytes]:
    if data is not None:
        return requests.from_file(data)
    if held_out is not None:
        return requests.from_heldout(held_out, metadata)
    return requests.made_up(metadata, np.random.default_rng(0))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done; on standard error, so that figures can be piped."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda text: progress.update(task, description=text)
