"""What a node tells of itself: its load to control with each exchange, and all metrics at `/metrics`."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from itertools import islice
from pathlib import Path
from typing import get_args

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from router.record.account import Kind
from router.record.accounts import Accounts, accounts_folder
from router.record.metrics import RecordsCollector
from router.wire.node_use import MAX_ROWS, MachineUse, NodeUse, ProcessUse, Recorded
from router.wire.report import Exchange
from serving.host.process import instance_name
from serving.host.usage import machine_load, process_load
from serving.telemetry import cells
from understudy.settings import UpSettings
from understudy.supervision.child import Child
from understudy.supervision.node_traffic import served

UNRECORDED = "it asks for records, and this node keeps none: start it with --records"


def report(
    settings: UpSettings, children: Iterable[tuple[str, Child]], recorded: Iterable[str] = ()
) -> Exchange:
    """For control.

    Args:
        settings: of the node.
        children: its processes, each with its kind.
        recorded: public names of the rollouts that ask for records.
    """
    return Exchange(
        instance=instance_name(settings.node, "supervisor"),
        node=settings.node,
        kind="node",
        revision=0,  # it and the rest of the exchange is for `Sync` to say
        wait=0,
        use=_use(settings, children),
        problems={} if settings.records else dict.fromkeys(recorded, UNRECORDED),
    )


def _use(settings: UpSettings, children: Iterable[tuple[str, Child]]) -> NodeUse | None:
    """What this node answered and uses; None when it cannot be read: no chart is worth an exchange."""
    try:
        answered, compared = served(settings.state_dir / "metrics")
        return NodeUse(
            answered=answered,
            compared=compared,
            processes=_processes(children),
            machine=MachineUse(**asdict(machine_load())),
            records=_records(settings.state_dir) if settings.records else None,
        )
    except (OSError, ValueError, KeyError) as error:
        structlog.get_logger().warning("the load of this node cannot be told", reason=str(error))
        return None


_accounts = cache(Accounts)
"""Those of a folder, of which the closed ones are read again only when they change."""


def _records(state_dir: Path) -> list[Recorded]:
    """What became of all that was to be recorded here."""
    accounts = _accounts(accounts_folder(state_dir))
    return [
        Recorded(
            model=model,
            kind=kind,
            requests=account.requests,
            outcomes={name: max(0, count) for name, count in account.outcomes().items()},
        )
        for kind in get_args(Kind)
        for model, account in islice(accounts.by_model(kind).items(), MAX_ROWS // 2)
    ]


def _processes(children: Iterable[tuple[str, Child]]) -> list[ProcessUse]:
    """What the processes of this node use; those that just ended are left out."""
    pids = [("supervisor", "supervisor", os.getpid())]
    pids += [(kind, child.name, child.pid) for kind, child in children if child.pid is not None]
    return [
        ProcessUse(kind=kind, name=name, pid=pid, **asdict(load))
        for kind, name, pid in pids
        if (load := process_load(pid)) is not None
    ]


def show_metrics(settings: UpSettings) -> None:
    """Answer `/metrics` for all processes of a node, from a thread; where control runs too, it does.

    Raises:
        OSError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(cells.FolderCollector(settings.state_dir / "metrics"))
    registry.register(RecordsCollector(settings.state_dir))
    server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    url = f"http://{settings.metrics_host}:{server.server_port}/metrics"
    structlog.get_logger().info("metrics of this node", url=url)
