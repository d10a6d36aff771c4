"""Nodes go and come behind a load balancer while clients ask: nobody sees an error, every count arrives."""

import re
import signal
from collections import Counter
from contextlib import ExitStack

import pytest

from harness.balancer import balancing
from harness.control import Node, controlling
from harness.keeping import Keeping
from harness.rows import DIGITS, body
from harness.system import START_SECONDS, eventually

CANARY = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 50},
    "guards": {"errors": {"maxRatio": 3, "mode": "observe"}},
}
DRAIN = {"UNDERSTUDY_DRAIN_SECONDS": "3"}
LATE = 5
"""Connections that an endpoint gets though it says that it is not ready, as Kubernetes tells of that late."""
COUNTED = re.compile(r"0 of ([0-9,]+) canary requests failed against 0 of ([0-9,]+) at stable")


def ready(node):
    return node.client.get("/v2/health/ready").status_code == 200


def counted(control):
    """What control holds, by target."""
    evidence = control.client.get("/v1/rollouts/digits/evidence").raise_for_status().json()
    [guard] = evidence["judgement"]["guards"]
    found = COUNTED.search(guard["reason"])
    canary, stable = (int(group.replace(",", "")) for group in found.groups()) if found else (0, 0)
    return Counter({"digits/1": stable, "digits/2": canary})


class Fleet:
    """Nodes behind a balancer."""

    def __init__(self, folder, control, balancer, stack):
        self.folder, self.control, self.balancer, self.stack = folder, control, balancer, stack
        self.nodes, self.made = [], 0

    def up(self):
        """One more; it gets connections once it is ready, and its canary too, or stable answers for that."""
        self.made += 1
        name = f"n{self.made}"
        folder = self.folder / name
        folder.mkdir()
        node = Node(folder, self.control, environment={**DRAIN, "UNDERSTUDY_NODE": name})
        self.stack.callback(node.client.close)
        self.stack.callback(node.process.end)
        eventually(lambda: ready(node) and self.serves(name), "the node is ready", START_SECONDS)
        self.nodes.append(node)
        self.balancer.add(node.port)

    def serves(self, name):
        """Whether all targets are ready in the workers of a node."""
        rows = [target["ready"] for target in self.control.view("digits")["targets"]]
        mine = [
            [is_ready for worker, is_ready in row.items() if worker.startswith(f"{name}/")] for row in rows
        ]
        return len(rows) == 2 and all(found and all(found) for found in mine)

    def down(self):
        """The oldest is told to end, and gets connections until that is known."""
        node = self.nodes.pop(0)
        node.process.popen.send_signal(signal.SIGTERM)
        eventually(lambda: not ready(node), "not ready at once, and answering")
        given = self.balancer.given[node.port]
        eventually(lambda: self.balancer.given[node.port] >= given + LATE, "connections though it ends")
        self.balancer.remove(node.port)
        assert node.process.end() == 0, node.process.log.read_text()[-4000:]

    def end(self):
        """All are told to end, and answer to the last."""
        for node in self.nodes:
            node.process.popen.send_signal(signal.SIGTERM)
        for node in self.nodes:
            assert node.process.end() == 0, node.process.log.read_text()[-4000:]


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_no_client_sees_an_error_and_control_counts_what_clients_saw(tmp_path, rounds):
    with ExitStack() as stack:
        control = stack.enter_context(controlling(tmp_path))
        control.put("digits", CANARY).raise_for_status()
        balancer = stack.enter_context(balancing())
        fleet = Fleet(tmp_path, control, balancer, stack)
        fleet.up()
        fleet.up()
        rows = [body(number) for number in range(50)]
        with Keeping(balancer.port, DIGITS, rows, pause_seconds=0.1) as clients:
            for _ in range(rounds):
                asked = clients.answers.total()
                eventually(lambda: clients.answers.total() > asked + 50, "load is on")  # noqa: B023
                closed = clients.told_to_close
                fleet.down()
                assert clients.told_to_close > closed, "connections are closed with an answer"
                fleet.up()
            assert clients.errors == []
            assert balancer.refused == 0
            fleet.end()
        assert {status for status, _ in clients.answers} == {200}
        eventually(lambda: counted(control) == clients.by_target, "control has what clients saw")
