"""What the processes of the prediction log have in common: they run beside the workers, and yield to them."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from router.settings import NodeSettings
from serving.host.heartbeat import Heart
from serving.host.process import die_with_parent, set_up_logs

Work = Coroutine[Any, Any, None]


def run_beside(work: Callable[[NodeSettings], Work], niceness: int) -> None:
    """Do the work of a process until it ends.

    Args:
        work: given the settings of the node.
        niceness: by how much it yields.
    """
    settings = NodeSettings()
    die_with_parent()
    os.nice(niceness)
    set_up_logs(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(settings))


def beats(settings: NodeSettings) -> list[Work]:
    """What shows the supervisor that this process lives, and has its door open; nothing where none looks."""
    if settings.heartbeat is None:
        return []
    heart = Heart(settings.heartbeat)
    heart.door(is_open=True)
    return [heart.run()]
