"""Whether a candidate is ready is asked of its own rollout's processes, not of another's with that target."""

import contextlib
import os
import signal
import threading
from pathlib import Path

from harness.pilot import piloted
from harness.system import children

STEPS = [{"setWeight": 50}, {"pause": {"duration": "100ms"}}]
DOCUMENT = {"stable": "digits/1", "canary": {"model": "digits/2", "steps": STEPS}, "keepWarm": "0s"}


def test_a_candidate_that_never_starts_is_not_said_to_be_ready_nor_promoted(node):
    ended = threading.Event()
    mine = b"UNDERSTUDY_SANDBOX_MODEL=never-starts\0"

    def kill() -> None:
        """Each sandbox of it, as soon as it is there."""
        while not ended.wait(0.02):
            with contextlib.suppress(OSError):
                for child in children(node.process.popen.pid, "router.sandbox"):
                    if mine in Path(f"/proc/{child}/environ").read_bytes():
                        os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with piloted(node, "never-starts", DOCUMENT) as dead, piloted(node, "starts", DOCUMENT) as well:
            well.wait_phase("promoted")
            canary = next(target for target in dead.view["targets"] if target["role"] == "canary")
            assert not any(canary["ready"].values())
            assert (dead.status["phase"], dead.status["step"]) == ("progressing", 1)
    finally:
        ended.set()
        killer.join()
