"""Metrics are as many as there are models, whatever else grows: nodes, processes, clients."""

from collections import Counter

from docs.gen.metrics_page import families
from harness.control import CANARY, controlling
from harness.system import eventually
from router.counting.stage_counts import StageCounts, to_json

BOUNDED = {
    "model", "target", "role", "output", "step", "guard", "outcome",  # as documents and models name them
    "channel", "code", "door", "reason", "what", "kind", "phase", "direction", "process", "verdict",
    "resource", "result",
    "feature",  # of profiles, 20 of a target
}  # fmt: skip
"""Labels whose values documents, models, files or this program name, and nobody who asks."""


def test_no_label_has_values_that_grow_with_nodes_or_are_chosen_by_clients():
    labels = {label for known in families().values() for family in known for label in family.labels}
    assert labels <= BOUNDED


def report(number, kind, stage, candidate=None):
    instance = f"n{number}/{kind}/{number}"
    said = {"instance": instance, "node": f"n{number}", "kind": kind, "revision": 1, "wait": 0.0}
    if candidate is not None:
        return {**said, "candidate": candidate, "live": True}
    targets = [
        {"model": "digits", "target": target, "role": role, "ready": True}
        for target, role in (("digits/1", "stable"), ("digits/2", "canary"))
    ]
    counts = [{"model": "digits", "stage": stage, "counts": to_json(StageCounts(0.1))}]
    return {**said, "targets": targets, "counts": counts}


LOOKED_AT = {"understudy_rollout_phase", "understudy_nodes_refusing"}


def names(control):
    return {line.partition("{")[0] for line in series(control)}


def series(control):
    """Each line of the metrics without its value."""
    lines = control.client.get("/metrics").raise_for_status().text.splitlines()
    return Counter(line.rpartition(" ")[0] for line in lines if not line.startswith("#"))


def test_three_hundred_nodes_have_as_many_series_at_control_as_three(tmp_path):
    with controlling(tmp_path) as control:
        stage = control.put("digits", CANARY).raise_for_status().json()["status"]["stage"]
        seen = []
        for nodes in (range(3), range(3, 300)):
            for number in nodes:
                for said in (report(number, "worker", stage), report(number, "sandbox", stage, "digits/2")):
                    control.client.post("/v1/sync", json=said).raise_for_status()
            if not seen:
                eventually(lambda: names(control) >= LOOKED_AT, "the autopilot has looked, and at the nodes")
                seen.append(series(control))
        assert len(control.client.get("/v1/nodes").raise_for_status().json()) > 6
        eventually(lambda: series(control) == seen[0], "the same series as of three nodes")
