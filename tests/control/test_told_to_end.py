"""Control that is told to end at any moment of its start ends in order."""

import os
import signal

import pytest

from harness import warm
from harness.system import free_port

TOLD = """
import os, signal, sys
import control.__main__ as started

serve, startup = started._serve, started.Server.startup

async def told_while_it_starts(self, sockets):
    os.kill(os.getpid(), number)
    await startup(self, sockets)

def told_before_it_listens_to_signals(*arguments):
    os.kill(os.getpid(), number)
    serve(*arguments)

number = int(sys.argv[2])
if sys.argv[1] == "before":
    started._serve = told_before_it_listens_to_signals
else:
    started.Server.startup = told_while_it_starts
started.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_signal_is_heard_however_early_it_comes(tmp_path, when, number):
    environment = {
        "UNDERSTUDY_STATE_DIR": str(tmp_path),
        "UNDERSTUDY_ADMIN_PORT": str(free_port()),
        "UNDERSTUDY_LOG_FORMAT": "console",
    }
    ended = warm.ran("-c", TOLD, when, str(int(number)), env={**os.environ, **environment})
    assert ended.returncode == 0, ended.stderr
