"""The demo, interrupted by the person at its terminal."""

import os
import pty
import signal
import subprocess
import sys

from harness.system import ROOT

DEMO = [sys.executable, str(ROOT / "demo" / "demo.py"), "--fast"]


def test_an_interrupt_in_a_terminal_ends_everything_cleanly():
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        DEMO, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        os.close(slave)
        shown = b""
        while b"in force in all 2 workers" not in shown:
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        rest = b""
        try:
            while chunk := os.read(master, 65536):
                rest += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
        assert process.wait(30) == 0, rest.decode()
    os.close(master)
    assert b"served" in shown
    assert b"interrupted; everything was ended" in rest
    assert b"Traceback" not in rest
