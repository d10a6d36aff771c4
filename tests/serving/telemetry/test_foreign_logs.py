"""Logs that are not ours go the same way as ours, and no kind of sink holds anyone up."""

import json
import os
import pty
import subprocess
import sys

from serving.telemetry.log_sink import LogSink

SCRIPT = """
import logging, sys, threading, warnings
from serving.host.process import set_up_logs

set_up_logs("json", "info")
logging.getLogger("library").error("it said %s", "no")
logging.getLogger("library").info("not worth a line")
try:
    raise ValueError("inside")
except ValueError:
    logging.getLogger("library").exception("it failed")
warnings.warn("old", DeprecationWarning)

def fail():
    raise KeyError("lost")

thread = threading.Thread(target=fail, name="helper")
thread.start()
thread.join()

class Bad:
    def __del__(self):
        raise OSError("late")

bad = Bad()
del bad
"""


def test_what_libraries_and_the_interpreter_report_is_a_line_of_ours():
    command = [sys.executable, "-W", "always", "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    said = [
        (line["level"], line["event"].splitlines()[0].rpartition("DeprecationWarning: ")[2]) for line in lines
    ]
    assert said == [
        ("error", "it said no"),
        ("error", "it failed"),
        ("warning", "old"),
        ("error", "a thread ended by an error"),
        ("error", "an error where none can be raised"),
    ]
    assert lines[0]["logger"] == "library"
    assert "ValueError: inside" in lines[1]["exception"]
    assert "KeyError: 'lost'" in lines[3]["exception"]
    assert lines[3]["thread"] == "helper"
    assert "OSError: late" in lines[4]["exception"]
    assert ended.stdout == ""


def test_a_terminal_that_is_held_costs_lines_and_no_time():
    ours, theirs = pty.openpty()
    try:
        sink = LogSink(theirs)
        for _ in range(10_000):
            sink.write("x" * 100 + "\n")
        assert sink.dropped > 0
        assert os.get_blocking(theirs)  # what others share is left as it was
    finally:
        os.close(ours)
        os.close(theirs)
