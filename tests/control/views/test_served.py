"""Who is served, by what the workers say; what they said of an older change says nothing of the canary."""

import pytest

from control.fleet.nodes import Nodes
from control.rollouts.progress import begin, served_by
from control.rollouts.writer import Entry
from control.views.rollout import served
from router.rollout.parser import of_our_own
from router.wire.report import Report, ServedReport, TargetReport

REVISION = 7


def entry() -> Entry:
    rollout = of_our_own("m", {"stable": "m/1", "canary": {"model": "m/2", "weight": 10}}, "test")
    return Entry(rollout, begin(rollout), REVISION, digests={"m/1": "a", "m/2": "b"})


def gap(revision: int, **canary: object) -> str:
    stable = ServedReport(model="m", target="m/1", sha256="a")
    row = TargetReport(model="m", target="m/2", role="canary", **canary)
    nodes = Nodes()
    nodes.hear(
        Report(
            instance="w/1", node="n", kind="worker", revision=revision, wait=0, targets=[row], served=[stable]
        ),
        0.0,
    )
    one = entry()
    return served(one, served_by(one.rollout, one.progress), nodes, 0.0)[1]


@pytest.mark.parametrize(
    ("revision", "canary", "said"),
    [
        (REVISION, {"ready": True}, ""),
        (REVISION, {"ready": False}, "m/2 is ready in no worker: it starts"),
        (REVISION, {"ready": False, "problem": "gone"}, "m/2 is ready in no worker: gone"),
        (REVISION - 1, {"ready": False, "problem": "gone"}, "m/2 is ready in no worker: gone"),
        (REVISION - 1, {"ready": True}, "no worker has said yet that it has the newest change"),
    ],
)
def test_a_canary_that_is_served_is_not_said_to_start(revision, canary, said):
    assert gap(revision, **canary) == said
