"""Whether a candidate is ready is asked of its own rollout's processes, not of another's with that target."""

import contextlib
import os
import signal
import threading
from pathlib import Path

from harness.system import children, eventually, running

BODY = """
  stable: digits/1
  canary: {model: digits/2, steps: [{setWeight: 50}, {pause: {duration: 100ms}}]}
  keepWarm: 0s
"""


def test_a_candidate_that_never_starts_is_not_said_to_be_ready_nor_promoted(tmp_path):
    with running(tmp_path, "other: {stable: digits/1}") as up:
        ended = threading.Event()

        def kill() -> None:
            """Each sandbox of `dead`, as soon as it is there."""
            while not ended.wait(0.02):
                with contextlib.suppress(OSError):
                    for child in children(up.process.popen.pid, "router.sandbox"):
                        if b"UNDERSTUDY_SANDBOX_MODEL=dead\0" in Path(f"/proc/{child}/environ").read_bytes():
                            os.kill(child, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            up.edit(f"dead:{BODY}well:{BODY}")
            eventually(lambda: up.view("well")["status"]["phase"] == "promoted", "the living one is promoted")
            view = up.view("dead")
            canary = next(target for target in view["targets"] if target["role"] == "canary")
            assert not any(canary["ready"].values())
            assert (view["status"]["phase"], view["status"]["step"]) == ("progressing", 1)
        finally:
            ended.set()
            killer.join()
