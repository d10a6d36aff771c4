"""Hosts that are cut off from each other, slow, or gone: clients are served, and nobody decides blindly.

Three nodes, two controls, PostgreSQL and two balancers, each on a host of its own, under a steady load of
which every answer is held against what its model says. What clients saw is what control counts once the
network is mended: to the request, but for what a balancer sent again since no answer came, which was counted
where it was first worked on, too, and what a host that dies had not told.
"""

import time

import pytest
from fleet_of_hosts import fleet

from harness.postgres import require_postgres
from harness.system import START_SECONDS, eventually

require_postgres()
pytestmark = pytest.mark.slow  # until they have passed often enough to hold up others

MODEL, TIMED = "digits", "timed"
ALL = {"n1", "n2", "n3"}
GUARDED = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "steps": [{"setWeight": 30}, {"pause": {}}]},
    "guards": {"errors": {"maxRatio": 2, "max": 0.05}},
}
BY_TIME = {
    "stable": "digits/1",
    "canary": {
        "model": "digits/2",
        "steps": [{"setWeight": 5}, {"pause": {"duration": "2m"}}, {"setWeight": 10}],
    },
}


@pytest.fixture(scope="module")
def hosts(network, tmp_path_factory):
    with fleet(network, tmp_path_factory.mktemp("hosts")) as made:
        made.put(MODEL, GUARDED)
        yield made


def unseen(hosts, model=MODEL):
    """The nodes that a rollout's view says are out of sight, and for how long."""
    return {row["node"]: row["seconds"] for row in hosts.view(model)["out_of_sight"]}


def again(hosts):
    """Wait until control and the balancer have all nodes again."""
    eventually(lambda: hosts.in_sight() == ALL, "control hears of all nodes", START_SECONDS)
    eventually(lambda: not unseen(hosts), "none is out of sight", START_SECONDS)


def test_nodes_that_are_cut_off_from_control_serve_on_and_no_time_passes_without_them(hosts):
    """One both ways, one whose packets do not arrive, one to which nothing comes."""
    hosts.put(TIMED, BY_TIME)
    eventually(lambda: hosts.view(TIMED)["status"]["step"] == 2, "it waits for time")
    machines, control = hosts.hosts, hosts.service.host.address
    with hosts.steady(MODEL) as load:
        machines["n1"].part_from(control)
        machines["n2"].drop("out", control)
        machines["n3"].drop("in", hosts.network.here)
        eventually(lambda: unseen(hosts).keys() == ALL, "all are out of sight")
        waited = hosts.view(TIMED)["status"]["waited_seconds"]
        reached = max(unseen(hosts).values()) + 3
        eventually(lambda: min(unseen(hosts).values()) >= reached, "more time passes")
        status = hosts.view(TIMED)["status"]
        assert (status["step"], status["waited_seconds"]) == (2, waited)
        hosts.admin.delete(f"/v1/rollouts/{TIMED}").raise_for_status()
        load.more(40)
        assert hosts.front.up() == ALL
        assert hosts.client.get(f"/v2/models/{TIMED}/ready").status_code == 200  # by the last snapshot
        hosts.heal()
        again(hosts)
    eventually(
        lambda: hosts.client.get(f"/v2/models/{TIMED}/ready").status_code == 404,
        "they have the newest snapshot",
    )


def test_nodes_whose_cable_is_pulled_or_whom_the_balancer_does_not_reach_cost_no_client_an_answer(hosts):
    with hosts.steady(MODEL) as load:
        hosts.hosts["n1"].unplug()
        hosts.hosts["n2"].part_from(hosts.front.host.address)
        eventually(lambda: hosts.front.up() == {"n3"}, "the balancer has one node")
        eventually(lambda: unseen(hosts).keys() == {"n1"}, "control misses the one that is cut off from it")
        load.more(20)
        hosts.heal()
        again(hosts)


def test_lost_packets_and_a_slow_way_to_control_cost_no_answer_and_no_count(hosts):
    with hosts.steady(MODEL) as load:
        hosts.hosts["n1"].lose(0.2)
        hosts.hosts["n2"].lose(0.05)
        hosts.wire.set(latency_seconds=0.3)
        before = hosts.judged(MODEL)
        load.more(100)
        eventually(lambda: hosts.judged(MODEL).since(before)["canary"] > 0, "evidence goes on")
        hosts.heal()
        again(hosts)


def test_a_control_that_is_cut_off_from_its_database_gives_way_to_the_other(hosts):
    first, most = hosts.leader(), 0

    def second_leads():
        nonlocal most
        leaders = hosts.leaders()
        most = max(most, len(leaders))
        return leaders and leaders != {first}

    with hosts.steady(MODEL) as load:
        hosts.hosts[first].part_from(hosts.hosts["db"].address)
        eventually(second_leads, "the other leads", START_SECONDS)
        assert most == 1
        again(hosts)
        before = hosts.judged(MODEL)
        eventually(lambda: hosts.judged(MODEL).since(before)["canary"] > 0, "evidence goes on")
        hosts.heal()
        load.more(40)
    assert hosts.leader() != first


def test_a_host_that_dies_with_its_node_is_missed_and_taken_up_again(hosts):
    """What it had not told is lost, at most a report's worth, and what it had told is in the evidence."""
    with hosts.steady(MODEL, count=hosts.judged) as load:
        [heard] = [
            row["heard_seconds_ago"]
            for row in hosts.admin.get("/v1/nodes").json()
            if (row["node"], row["kind"]) == ("n2", "worker")
        ]
        told = time.monotonic() - heard - 2.0
        hosts.hosts["n2"].unplug()
        hosts.nodes["n2"].die()
        died = time.monotonic()
        eventually(lambda: unseen(hosts).keys() == {"n2"}, "control misses it")
        load.untold = sum(told <= sent <= died for sent, *_ in load.ledger.rows)
        hosts.heal()
        hosts.nodes["n2"].start()
        again(hosts)


def test_when_the_control_that_leads_dies_the_other_takes_over_with_all_counts(hosts):
    first = hosts.leader()
    with hosts.steady(MODEL) as load:
        hosts.hosts[first].unplug()
        hosts.controls[first].die()
        hosts.leader(first)
        again(hosts)
        before = hosts.judged(MODEL)
        eventually(lambda: hosts.judged(MODEL).since(before)["canary"] > 0, "evidence goes on")
        hosts.heal()
        hosts.controls[first].start()
        hosts.wait_for_controls()
        load.more(20)
    assert hosts.leader() != first


def test_without_any_control_nodes_serve_and_count_and_tell_it_when_there_is_one(hosts):
    with hosts.steady(MODEL) as load:
        for control in hosts.controls.values():
            control.host.unplug()
            control.die()
        load.more(60)
        assert hosts.front.up() == ALL
        hosts.heal()
        for control in hosts.controls.values():
            control.start()
        hosts.wait_for_controls()
        hosts.leader()
        again(hosts)
