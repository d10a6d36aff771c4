"""Scenes in which the autopilot ends a rollout on evidence: twice taken off, once promoted."""

import time

from harness.hostile import hostile
from stage import Stage

ROLLOUT = """\
digits:
  stable: STABLE
  canary:
    TARGET
    mirror: 100
    steps: [{setWeight: 10}, {prove: {max: 60s}},
            {setWeight: 50}, {prove: {max: 60s}}]
  guards: {errors: {max: 5%}, agreement: {output: label, min: 95%}}
  alpha: 5%
  compare: {label: exact, probabilities: {atol: 0.2}}
"""
DEADLINE_SECONDS = 60.0


def a_failing_canary(stage: Stage) -> None:
    """Ready, of the right signature, and 500 for every inference: a server in a thread of this process."""
    stage.screen.scene("Decided by evidence: digits/2 at a server that is ready but answers 500")
    with hostile() as server:
        server.manner = "500"
        _play(stage, "digits/1", f"model: digits/2\n    url: {server.url}", "rolled_back")


def a_good_canary(stage: Stage) -> None:
    """As good as stable, and soon shown to be."""
    stage.screen.scene("Decided by evidence: digits/2 again, at a server that works")
    _play(stage, "digits/1", "model: digits/2", "promoted")


def a_wrong_canary(stage: Stage) -> None:
    """Quick and without errors, but confused: only comparing its answers shows it."""
    stage.screen.scene("Decided by evidence: digits/3, quick and without errors")
    _play(stage, "digits/2", "model: digits/3", "rolled_back")


def _play(stage: Stage, stable: str, target: str, end: str) -> None:
    """Put a rollout into the file, show the evidence until the autopilot ends it, and say why it did."""
    rollout = ROLLOUT.replace("STABLE", stable).replace("TARGET", target)
    failed = stage.traffic.failed
    stage.screen.say(rollout.rstrip())
    began = time.monotonic()
    stage.edit(rollout)
    while (seen := stage.look()).phase != end:
        if time.monotonic() > began + DEADLINE_SECONDS:
            raise AssertionError(f"not {end} within {DEADLINE_SECONDS:g} s: {seen.sentence}")
    took = time.monotonic() - began
    latest = stage.up.admin.get("/v1/rollouts/digits/history").raise_for_status().json()[0]
    stage.screen.say(
        f"{end.replace('_', ' ')} by the {latest['actor']} after {took:.1f} s: {latest['reason']}"
    )
    stage.traffic.begin()
    stage.watch(5)
    stage.screen.say(f"requests that failed meanwhile: {stage.traffic.failed - failed}")
