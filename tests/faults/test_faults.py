"""Every fault of the table, under constant load, with three ledgers held against each other."""

from dataclasses import replace

import pytest

from harness.scene_list import SCENES
from harness.scenes import play

QUICK = {"cut-canary", "all-down", "cut-shadow"}
"""Played beside other tests, too, with less load and without a claim on time."""


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(scene, id=scene.name, marks=() if scene.name in QUICK else pytest.mark.slow)
        for scene in SCENES
    ],
)
def test_a_fault_costs_clients_no_more_than_the_table_allows_and_all_ledgers_agree(scene, at):
    quick = scene.name in QUICK
    incident = play(replace(scene, rate=40.0) if quick else scene, at, calm=40 if quick else 100)
    assert set(incident.errors) <= scene.allowed, incident
    assert not incident.problems, incident
