"""From the release before to this one and back, process by process, under load and with rollouts under way.

The release before is the commit of which `tests/router/wire/recorded` has exchanges. Its code is taken out of
git and runs with what is installed here:
`python -m pytest -m slow tests/servers/hosts/test_rolling_upgrade.py`.
"""

import os
import subprocess
import sys
from functools import partial

import pytest
from fleet_of_hosts import ENVIRONMENT, ROLES, fleet

from control.store.older import OF_26_NOVEMBER
from harness.postgres import require_postgres
from harness.system import ROOT, START_SECONDS, eventually

require_postgres()
pytestmark = pytest.mark.slow

RELEASE = "519690d"
RATE = 10.0
"""Requests a second: machines start meanwhile, and those of the release before make all their imports."""
UNDER_WAY = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "steps": [{"setWeight": 30}, {"pause": {}}, {"prove": {}}]},
    "guards": {"errors": {"max": 0.05}},
}
FIXED = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 10}}


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    """The code of the release before."""
    known = ["git", "cat-file", "-e", f"{RELEASE}^{{commit}}"]
    if subprocess.run(known, cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"{RELEASE} is not in this clone; `git fetch --unshallow` brings it")
    folder = tmp_path_factory.mktemp("older")
    archived = subprocess.run(["git", "archive", RELEASE], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archived.stdout, check=True)
    return folder


@pytest.fixture(scope="module")
def hosts(network, older, tmp_path_factory):
    """The fleet, of the release before at first."""
    with fleet(network, tmp_path_factory.mktemp("hosts"), tree=older, ready="/readyz") as made:
        yield made


class Evidence:
    """What the guard of a rollout judges: it only grows, and nothing is in it twice."""

    def __init__(self, hosts, model, load):
        self._hosts, self._model, self._load = hosts, model, load
        self._sent_again = hosts.front.sent_again()
        self._least = {"canary": 0, "stable": 0}

    def goes_on(self):
        """Wait until it is more than when this was last asked, of both roles."""
        reached = dict(self._least)
        eventually(lambda: self._more_than(reached), f"evidence on {self._model} goes on", START_SECONDS)

    def _more_than(self, reached):
        found = {role: self._count(role) for role in reached}
        if any(found[role] <= count for role, count in reached.items()):
            return False
        self._least = found
        return True

    def _count(self, role):
        return self._hosts.judged(self._model).rows.get(("", role), 0)

    def is_of_what_clients_saw(self):
        """None counted that no client saw, but for what a balancer sent again."""
        again = self._hosts.front.sent_again() - self._sent_again
        counted = {target: self._count(role) for target, role in ROLES.items()}

        def seen():
            served = self._load.served()
            found = {target: count - served[target] for target, count in counted.items()}
            assert max(found.values()) <= again, (counted, served, again)
            return True

        eventually(seen, "clients have seen what was counted")


def replaced(hosts, control, tree):
    """End a control, start that of another release in its place; who leads afterwards."""
    machine = hosts.controls[control]
    machine.end()
    machine.tree = tree
    machine.start()
    hosts.wait_for_controls()
    return hosts.leader()


def renewed(hosts, node, tree, model):
    """End a node, start that of another release in its place, and wait until it serves."""
    machine = hosts.nodes[node]
    machine.end()
    machine.tree = tree
    machine.start()
    hosts.wait_ready(model)


def takeovers(hosts, model):
    """Who took over from whom, by the audit log, the latest first."""
    return [row["reason"] for row in hosts.history(model) if "took over from" in row["reason"]]


def promoted(hosts, model):
    """Promote a fixed canary, and wait until the balancer's answers are its."""
    hosts.put(model, FIXED)
    hosts.admin.post(f"/v1/rollouts/{model}/promote", json={"reason": "as a test"}).raise_for_status()
    eventually(lambda: takeovers(hosts, model), f"{model} is promoted", START_SECONDS)


def finished(hosts, model):
    """Let the rollout go on to its proof, which takes all that was counted before; it is promoted once."""
    hosts.admin.post(f"/v1/rollouts/{model}/resume", json={"reason": "as a test"}).raise_for_status()
    eventually(lambda: takeovers(hosts, model), f"{model} is proven and promoted", START_SECONDS)


def is_served_by_digits_2(hosts, model):
    """No process has gone back to the stable from before, and the log knows one promotion."""
    assert len(takeovers(hosts, model)) == 1
    with hosts.load(model, RATE) as load:
        load.more(30)
    assert load.served().keys() == {"digits/2"}


def all_well(load):
    """No client saw an error or a wrong answer."""
    assert load.ledger.statuses.keys() == {200}, (load.ledger.statuses, load.ledger.errors)
    assert load.wrong == []


def test_controls_and_then_nodes_become_this_release(hosts):
    hosts.put("up", UNDER_WAY)
    with hosts.load("up", RATE) as load:
        evidence = Evidence(hosts, "up", load)
        evidence.goes_on()
        first = hosts.leader()
        [standby] = hosts.controls.keys() - {first}
        assert replaced(hosts, standby, ROOT) == first  # of the release before, over a newer database
        evidence.goes_on()
        assert replaced(hosts, first, ROOT) == standby
        evidence.goes_on()
        promoted(hosts, "with-old-nodes")
        for name in hosts.nodes:
            renewed(hosts, name, ROOT, "up")
            evidence.goes_on()
            if name == "n1":
                promoted(hosts, "with-both")
        evidence.is_of_what_clients_saw()
        finished(hosts, "up")
    all_well(load)
    for model in ("up", "with-old-nodes", "with-both"):
        is_served_by_digits_2(hosts, model)


def test_controls_and_then_nodes_become_the_release_before_again(hosts, older):
    if any(machine.tree != ROOT for machine in (*hosts.nodes.values(), *hosts.controls.values())):
        pytest.skip("they did not become this release")
    hosts.put("back", UNDER_WAY)
    with hosts.load("back", RATE) as load:
        evidence = Evidence(hosts, "back", load)
        evidence.goes_on()
        for control in hosts.controls.values():
            control.end()
        load.more(20)
        taken_back(hosts)
        first, second = hosts.controls.values()
        first.tree = second.tree = older
        first.start()
        hosts.leader()
        evidence.goes_on()
        promoted(hosts, "with-new-nodes")
        for name in hosts.nodes:
            renewed(hosts, name, older, "back")
            evidence.goes_on()
            if name == "n1":
                promoted(hosts, "with-both-again")
        evidence.is_of_what_clients_saw()
        second.start()  # last: one that took over would not know what processes had counted that are gone
        hosts.wait_for_controls()
        finished(hosts, "back")
    all_well(load)
    for model in ("back", "with-new-nodes", "with-both-again", "up", "with-old-nodes", "with-both"):
        is_served_by_digits_2(hosts, model)


def taken_back(hosts):
    """The command of this release that makes the database one of the release before."""
    host = hosts.hosts["control-a"]
    url = hosts.controls["control-a"].environment["UNDERSTUDY_DATABASE"]
    words = host.enter(sys.executable, "-m", "understudy", "database", "downgrade", OF_26_NOVEMBER.format)
    run = partial(subprocess.run, capture_output=True, text=True, check=False, timeout=START_SECONDS)
    ended = run(words, cwd=ROOT, env={**os.environ, **ENVIRONMENT, "UNDERSTUDY_DATABASE": url})
    assert ended.returncode == 0, ended.stderr
    assert f"start {OF_26_NOVEMBER.released}" in ended.stdout
