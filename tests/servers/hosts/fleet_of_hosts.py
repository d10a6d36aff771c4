"""A fleet on hosts of its own: nodes, control twice over PostgreSQL, and a HAProxy in front of either.

Processes are those that users start. What clients ask goes through one balancer, over HTTP; what nodes tell
control goes through another, which passes connections on as a Service of Kubernetes does.
"""

import contextlib
import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from lan import Host, Lan
from verified_load import VerifiedLoad

from harness.postgres import Server
from harness.state import state_folder
from harness.system import DEADLINE_SECONDS, MODELS, ROOT, START_SECONDS, eventually
from harness.warm import python
from harness.wire import Wire

TOKEN = "a-token-of-tests"
PORT, CONTROL_PORT = 8000, 9000
ENVIRONMENT = {
    "UNDERSTUDY_TOKEN": TOKEN,
    "UNDERSTUDY_DRAIN_SECONDS": "2",  # longer than a balancer takes to see it
    "UNDERSTUDY_MAX_WAIT_SECONDS": "0",  # a machine that stalls for a second is not what is tested
    "UNDERSTUDY_RECEIVE_SECONDS": "5",
    "UNDERSTUDY_DATABASE_SECONDS": "20",  # on a busy machine a control that starts would give up
}
RATE = 40.0
ROLES = {"digits/1": "stable", "digits/2": "canary"}
NODES = f"""
global
    stats socket {{socket}} mode 600
defaults
    mode http
    timeout client 60s
    timeout connect 1s
    timeout server 5s
frontend clients
    bind :{PORT}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /v2/health/ready
    option redispatch 1
    option http-buffer-request
    retries 3
    retry-on conn-failure empty-response response-timeout
    default-server check inter 500ms fall 2 rise 1
"""
CONTROLS = f"""
global
    stats socket {{socket}} mode 600
defaults
    mode tcp
    timeout client 60s
    timeout connect 1s
    timeout server 60s
frontend nodes
    bind :{CONTROL_PORT}
    default_backend controls
backend controls
    option httpchk GET {{ready}}
    default-server check inter 500ms fall 1 rise 1
"""


ENTER = """
import ctypes, os, runpy, sys
descriptor = os.open(f"/run/netns/{sys.argv[1]}", os.O_RDONLY)
assert ctypes.CDLL(None).setns(descriptor, 0x40000000) == 0  # CLONE_NEWNET
os.close(descriptor)
sys.argv[:2] = ["understudy"]
if sys.argv[1] == "node":
    from harness.warm_preloader import fork_preloader
    fork_preloader()
runpy.run_module("understudy", run_name="__main__")
"""
"""Of a program forked by `harness.warm`, which cannot be started by `ip netns exec`."""


@dataclass(slots=True)
class Machine:
    """A process on a host, which can be started again.

    Args:
        host: where it runs.
        arguments: of `understudy`.
        folder: its state and log.
        environment: further variables.
        tree: of whose code it is.
    """

    host: Host
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    tree: Path = ROOT
    process: Any = field(default=None, init=False)

    def start(self) -> None:
        """Start it, or start it again."""
        self.folder.mkdir(exist_ok=True)
        if not (state := self.folder / "state").exists() and self.tree == ROOT:
            state_folder(state, control=False)
        words = [*self.arguments, "--state-dir", str(state)]
        environment = {**os.environ, **ENVIRONMENT, **self.environment}
        if self.tree != ROOT:
            environment["PYTHONPATH"] = str(self.tree)
        with self.log.open("ab") as log:
            told = {"cwd": self.folder, "stdout": log, "stderr": subprocess.STDOUT, "env": environment}
            if self.tree == ROOT:
                self.process = python("-c", ENTER, self.host.namespace, *words, **told)
            else:
                command = [sys.executable, "-m", "understudy", *words]
                self.process = subprocess.Popen(self.host.enter(*command), **told)

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "log"

    def end(self) -> None:
        """SIGTERM; it must end well."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(2 * DEADLINE_SECONDS)
        assert code == 0, self.log.read_text()[-4000:]

    def die(self) -> None:
        """All its host's processes are killed."""
        self.host.kill()
        if self.process is not None:
            self.process.wait(DEADLINE_SECONDS)


class Balancer:
    """A HAProxy on a host of its own."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        config: str,
        servers: Iterable[tuple[str, Host, int]],
        ready: str = "",
    ) -> None:
        self.host, self._socket = host, folder / f"{host.name}.sock"
        rows = [f"    server {name} {at.address}:{port}" for name, at, port in servers]
        file = folder / f"{host.name}.cfg"
        file.write_text("\n".join([config.format(socket=self._socket, ready=ready), *rows, ""]))
        self._process = subprocess.Popen(
            host.enter("haproxy", "-db", "-f", str(file)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rows(self) -> dict[str, dict[str, str]]:
        """What it says of each server."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(10)
            asked.connect(str(self._socket))
            asked.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["svname"] not in {"FRONTEND", "BACKEND"}}

    def up(self) -> set[str]:
        """The servers that it sends anybody to."""
        return {name for name, row in self.rows().items() if row["status"].startswith("UP")}

    def sent_again(self) -> int:
        """Requests that it has sent once more, since no answer came."""
        return sum(int(row["wretr"]) for row in self.rows().values())

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


@dataclass(slots=True)
class Sum:
    """Who counted what of one rollout, by process and role, as control tells it."""

    rows: dict[tuple[str, str], int]

    def since(self, before: "Sum") -> Counter[str]:
        """By role, what has come since."""
        found: Counter[str] = Counter()
        for (instance, role), count in self.rows.items():
            found[role] += count - before.rows.get((instance, role), 0)
        return found


class Fleet:
    """Three nodes, two controls, and what is between them.

    Args:
        network: of the hosts.
        folder: state and logs.
        tree: of whose code the controls and nodes are at first.
        ready: the path at which a control says that it leads.
    """

    def __init__(self, network: Lan, folder: Path, tree: Path = ROOT, ready: str = "/readyz/lead") -> None:
        self.network, self.folder, self._ready = network, folder, ready
        (folder / "rollouts.yaml").write_text("iris: {stable: iris/1}")
        names = ("db", "control-a", "control-b", "controls", "front", "n1", "n2", "n3")
        hosts = {name: network.host(name) for name in names}
        self.hosts = hosts
        self.database = Server(enter=hosts["db"].enter(), listen=hosts["db"].address)
        url = self.database.new_database()
        make_tables(url, tree)
        self.controls = {
            name: Machine(hosts[name], self._control(), folder / name, {"UNDERSTUDY_DATABASE": url}, tree)
            for name in ("control-a", "control-b")
        }
        for control in self.controls.values():
            control.start()
        at_control = [(name, hosts[name], CONTROL_PORT) for name in self.controls]
        self._clients = {name: _client(hosts[name]) for name in self.controls}
        self.wait_for_controls()
        self.service = Balancer(hosts["controls"], folder, CONTROLS, at_control, ready)
        self.wire = Wire(CONTROL_PORT, hosts["controls"].address, network.here)
        through = {"n3": self.wire.url}
        direct = f"http://{hosts['controls'].address}:{CONTROL_PORT}"
        self.nodes = {
            name: Machine(hosts[name], _node(name, through.get(name, direct)), folder / name, {}, tree)
            for name in ("n1", "n2", "n3")
        }
        for node in self.nodes.values():
            node.start()
        self.front = Balancer(
            hosts["front"], folder, NODES, [(name, hosts[name], PORT) for name in self.nodes]
        )
        self.url = f"http://{hosts['front'].address}:{PORT}"
        self.client = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)

    def _control(self) -> list[str]:
        return [
            "control", "--models", str(MODELS), "--rollouts", str(self.folder / "rollouts.yaml"),
            "--admin-host", "0.0.0.0", "--admin-port", str(CONTROL_PORT),
        ]  # fmt: skip

    # ------------------------------------------------------------------ control
    def wait_for_controls(self) -> None:
        """Until both are there, whoever of them leads."""
        for name, client in self._clients.items():
            there = partial(client.get, "/healthz", timeout=2.0)
            eventually(there, f"{name} is there", START_SECONDS)

    def leaders(self) -> set[str]:
        """The controls that say that they lead."""
        found = set()
        for name, client in self._clients.items():
            with contextlib.suppress(httpx.HTTPError):
                if client.get(self._ready, timeout=2.0).status_code == 200:
                    found.add(name)
        return found

    def leader(self, *others: str) -> str:
        """The one that leads, once there is one that is none of these."""
        found = eventually(lambda: self.leaders() - set(others), "a control leads", START_SECONDS)
        [name] = found
        return str(name)

    @property
    def admin(self) -> httpx.Client:
        """The admin door of the control that leads."""
        return self._clients[self.leader()]

    def view(self, model: str) -> dict[str, Any]:
        """A rollout as the leader shows it."""
        return dict(self.admin.get(f"/v1/rollouts/{model}").raise_for_status().json())

    def history(self, model: str) -> list[dict[str, Any]]:
        """Its audit rows, the latest first."""
        params = {"limit": 1000}
        answer = self.admin.get(f"/v1/rollouts/{model}/history", params=params)
        return list(answer.raise_for_status().json())

    def put(self, model: str, document: Mapping[str, Any]) -> None:
        """Put a document, and wait until all nodes have it and every target of it."""
        answer = self.admin.put(f"/v1/rollouts/{model}", json=document)
        assert answer.status_code < 300, answer.text
        self.wait_ready(model)

    def wait_ready(self, model: str, nodes: int = 3) -> None:
        """Until all nodes have what is in force, and every target of it, and both balancers know them."""

        def ready() -> bool:
            view = self.view(model)
            targets = [target["ready"].values() for target in view["targets"]]
            there = len(view["nodes"]) == nodes and view["in_force_everywhere"]
            return bool(there and all(found and all(found) for found in targets))

        eventually(ready, f"{nodes} nodes serve {model}", START_SECONDS)
        eventually(lambda: len(self.front.up()) == nodes, "the balancer knows the nodes", START_SECONDS)

    def in_sight(self) -> set[str]:
        """The nodes that control has heard of lately."""
        rows = self.admin.get("/v1/nodes").raise_for_status().json()
        return {row["node"] for row in rows if row["kind"] == "worker"}

    def counted(self, model: str) -> Sum:
        """What each worker told control of a rollout's present stage."""
        stage = self.view(model)["status"]["stage"]
        rows = self.admin.get("/v1/nodes").raise_for_status().json()
        return Sum(
            {
                (row["instance"], role): counts[role]["requests"]
                for row in rows
                if row["kind"] == "worker"
                for counts in row["counts"]
                if (counts["model"], counts["stage"]) == (model, stage)
                for role in ("stable", "canary")
            }
        )

    def judged(self, model: str) -> Sum:
        """What the guard on errors judges: all processes together, those that died too."""
        answer = self.admin.get(f"/v1/rollouts/{model}/evidence").raise_for_status().json()
        judgement = answer["judgement"] or {"guards": []}  # none, of a control that has just taken over
        reasons = [row["reason"] for row in judgement["guards"] if row["guard"] == "errors"]
        if not reasons or reasons[0].endswith("no canary request was counted yet"):
            return Sum({})
        [reason] = reasons
        found = re.search(r"of ([\d,]+) canary requests failed against \d+ of ([\d,]+) at stable", reason)
        assert found is not None, reason
        canary, stable = (int(number.replace(",", "")) for number in found.groups())
        return Sum({("", "canary"): canary, ("", "stable"): stable})

    # ------------------------------------------------------------------ load
    def load(self, model: str, rate: float = RATE) -> VerifiedLoad:
        """Steady, through the balancer."""
        return VerifiedLoad(self.url, model, rate)

    @contextlib.contextmanager
    def steady(self, model: str, count: Callable[[str], Sum] | None = None) -> Iterator[VerifiedLoad]:
        """Have a load while the block breaks the network; what clients saw is then what was counted.

        Args:
            model: the rollout; nothing may happen to it meanwhile.
            count: what is counted of it; what living workers say, unless told otherwise.
        """
        count = count or self.counted
        rows, before, sent = len(self.history(model)), count(model), self.front.sent_again()
        with self.load(model) as load:
            load.more(20)
            try:
                yield load
            finally:
                self.heal()
            load.more(20)
        assert load.ledger.statuses.keys() == {200}, load.ledger.errors
        assert load.wrong == []
        self.wait_ready(model)

        def agree() -> bool:
            again = self.front.sent_again() - sent
            counted, seen = count(model).since(before), load.served()
            for target, role in ROLES.items():
                found = counted[role] - seen[target]
                assert -load.untold <= found <= again, (counted, seen, load.untold, again)
            return True

        eventually(agree, f"{model}: counted is what clients saw")
        assert len(self.history(model)) == rows

    def heal(self) -> None:
        """Mend the network."""
        self.wire.set()
        for host in self.hosts.values():
            host.heal()

    def end(self) -> None:
        """End all of it in order, as well as it can be; whoever is not asked to end well is killed."""
        for client in [self.client, *self._clients.values()]:
            client.close()
        for host in self.hosts.values():
            host.kill()
        self.front.end()
        self.service.end()
        self.wire.end()
        for machine in [*self.nodes.values(), *self.controls.values()]:
            if machine.process is not None:
                machine.process.wait()
        shutil.rmtree(self.database.folder)


def make_tables(url: str, tree: Path) -> None:
    """Make the tables of a database by the code of a tree, however long that takes here."""
    program = "import sys; from control.store.store import Store; Store(sys.argv[1], answer_seconds=100.0)"
    environment = dict(os.environ) if tree == ROOT else {**os.environ, "PYTHONPATH": str(tree)}
    assert python("-c", program, url, cwd=tree, env=environment).wait(START_SECONDS) == 0


def _node(name: str, control: str) -> list[str]:
    return [
        "node", "--control", control, "--models", str(MODELS), "--host", "0.0.0.0", "--port", str(PORT),
        "--metrics-port", "0", "--name", name, "--workers", "1",
    ]  # fmt: skip


def _client(host: Host) -> httpx.Client:
    headers = {"authorization": f"Bearer {TOKEN}"}
    url = f"http://{host.address}:{CONTROL_PORT}"
    return httpx.Client(base_url=url, headers=headers, timeout=60.0, trust_env=False)


@contextlib.contextmanager
def fleet(network: Lan, folder: Path, **options: Any) -> Iterator[Fleet]:
    """A fleet that has started, ended afterwards; its logs are shown when anything fails."""
    made = Fleet(network, folder, **options)
    try:
        yield made
    except BaseException:
        for machine in [*made.controls.values(), *made.nodes.values()]:
            print(f"--- {machine.folder.name}\n{machine.log.read_text()[-3000:]}")
        raise
    finally:
        made.end()
