"""What a scene plays on: a system that serves, the traffic that it gets, and the screen."""

import time
from dataclasses import dataclass

from harness.system import Up, eventually
from screen import Screen
from watched import Look, Traffic, look

WORKERS = 2
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a scene needs; `pace` is 1, or less to shorten what only waits for the reader."""

    up: Up
    traffic: Traffic
    screen: Screen
    pace: float

    def watch(self, seconds: float) -> None:
        """Show the live figures for a while."""
        until = time.monotonic() + max(1.0, seconds * self.pace)
        while time.monotonic() < until:
            self.look()

    def look(self) -> Look:
        """Show the live figures once, long enough to be seen."""
        seen = look(self.up, self.traffic)
        self.screen.show(seen)
        time.sleep(LOOK_SECONDS)
        return seen

    def edit(self, rollouts: str) -> None:
        """Replace the rollout file, say how long it took until every worker served by it, count anew."""
        before = self.up.view("digits")["revision"]
        began = time.monotonic()
        self.up.edit(rollouts)
        eventually(lambda: self._in_force_after(before), "edit in force")
        took = time.monotonic() - began
        self.traffic.begin()
        self.screen.say(f"in force in all {WORKERS} workers after {took * 1000:.0f} ms, no restart")

    def _in_force_after(self, revision: int) -> bool:
        view = self.up.view("digits")
        return bool(view["revision"] > revision and view["in_force_everywhere"])
