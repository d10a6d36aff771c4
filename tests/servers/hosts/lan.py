"""Hosts of a network that this machine plays: namespaces, each with a cable to one switch, which can be cut.

Needs root and the programs `ip`, `iptables` and `setpriv`. Loss is made by iptables, since kernels of small
machines often lack netem; latency is made by `harness.wire`.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Literal

from harness.system import eventually

Way = Literal["out", "in"]
"""Which packets of a host: those that it sends, or those that it is sent."""

_SUBNETS = "198.18"
"""Set aside for tests of networks (RFC 2544)."""


class CommandFailed(Exception):
    """A program of the network said no; its words."""


def command(*words: str) -> str:
    """Run a program; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """One machine of the network.

    Args:
        lan: where it is.
        name: of it.
        number: of its port at the switch and of its address.
    """

    def __init__(self, lan: "Lan", name: str, number: int) -> None:
        self._lan, self.name = lan, name
        self.namespace, self._port = lan.namespace(name), f"port{number}"
        self.address = lan.address(number)
        self.up = True
        command("ip", "netns", "add", self.namespace)
        self._ip("link", "add", "eth0", "type", "veth", "peer", "name", self._port, "netns", lan.switch)
        self._ip("address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("link", "set", device, "up")
        lan.plug(self._port)

    def enter(self, *words: str) -> list[str]:
        """The words of a program that is to run there."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def _ip(self, *words: str) -> None:
        command("ip", "-n", self.namespace, *words)

    def _rule(self, *words: str) -> None:
        command(*self.enter("iptables", "-w", "10", "-A", *words, "-j", "DROP"))

    def unplug(self) -> None:
        """Pull its cable."""
        self._lan.port(self._port, "down")
        self.up = False

    def drop(self, way: Way, address: str) -> None:
        """Let no packet through between it and another host, one way; the other way is left as it is."""
        chain, side = ("OUTPUT", "-d") if way == "out" else ("INPUT", "-s")
        self._rule(chain, side, address)

    def part_from(self, address: str) -> None:
        """Let no packet through between it and another host."""
        self.drop("out", address)
        self.drop("in", address)

    def lose(self, share: float) -> None:
        """Let this share of its packets be lost, each way by itself."""
        for chain, device in (("OUTPUT", "-o"), ("INPUT", "-i")):
            chance = ("-m", "statistic", "--mode", "random", "--probability", f"{share:g}")
            self._rule(chain, device, "eth0", *chance)

    def heal(self) -> None:
        """Plug its cable in, and let all packets through."""
        command(*self.enter("iptables", "-w", "10", "-F"))
        if not self.up:
            self._lan.port(self._port, "up")
            self.up = True

    def pids(self) -> list[int]:
        """Its processes."""
        return [int(pid) for pid in command("ip", "netns", "pids", self.namespace).split()]

    def kill(self) -> None:
        """End all its processes at once, as when its power fails; nobody is told."""

        def ended() -> bool:
            for pid in (pids := self.pids()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        eventually(ended, f"{self.name} is dead")

    def remove(self) -> None:
        """Take it out of the network."""
        self.kill()
        command("ip", "netns", "delete", self.namespace)


class Lan:
    """A switch in a namespace of its own. The processes of a test have one leg in it, `here`."""

    def __init__(self) -> None:
        self.switch = self.namespace("switch")
        self.hosts: dict[str, Host] = {}
        self._subnet = _free_subnet()
        self._leg = f"us{os.getpid()}"
        self.here = self.address(1)
        command("ip", "netns", "add", self.switch)
        self._ip("link", "add", "bridge0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self._ip("link", "set", "bridge0", "up")
        command("ip", "link", "add", self._leg, "type", "veth", "peer", "name", "port1", "netns", self.switch)
        command("ip", "address", "add", f"{self.here}/24", "dev", self._leg)
        command("ip", "link", "set", self._leg, "up")
        self.plug("port1")

    def _ip(self, *words: str) -> None:
        command("ip", "-n", self.switch, *words)

    def namespace(self, name: str) -> str:
        """What a namespace is called."""
        return f"understudy-{os.getpid()}-{name}"

    def address(self, number: int) -> str:
        """Of a host."""
        return f"{self._subnet}.{number}"

    def plug(self, port: str) -> None:
        """Make a port one of the switch."""
        self._ip("link", "set", port, "master", "bridge0")
        self.port(port, "up")

    def port(self, port: str, state: Literal["up", "down"]) -> None:
        """Switch a port on or off."""
        self._ip("link", "set", port, state)

    def host(self, name: str) -> Host:
        """A new machine."""
        made = self.hosts[name] = Host(self, name, len(self.hosts) + 2)
        return made

    def remove(self) -> None:
        """Take all of it away, and end what runs in it."""
        for host in self.hosts.values():
            host.remove()
        command("ip", "link", "delete", self._leg)  # it would go with the namespace, but later
        command("ip", "netns", "delete", self.switch)


def _free_subnet() -> str:
    """One of which this machine knows no address."""
    known = {
        address["local"]
        for device in json.loads(command("ip", "-json", "address"))
        for address in device["addr_info"]
    }
    free = [number for number in range(1, 255) if f"{_SUBNETS}.{number}.1" not in known]
    return f"{_SUBNETS}.{random.SystemRandom().choice(free)}"


def missing(programs: Sequence[str] = ("ip", "iptables", "setpriv", "haproxy")) -> str:
    """Why there can be no such network here, in words; empty where there can."""
    if os.getuid() != 0:
        return "network namespaces need root"
    for program in programs:
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian's packages iproute2, iptables, util-linux, haproxy)"
    try:
        with lan() as network:
            network.host("a").lose(0.5)
    except CommandFailed as error:
        return f"network namespaces, bridges or iptables' statistic match are not to be had here: {error}"
    return ""


@contextlib.contextmanager
def lan() -> Iterator[Lan]:
    """A network without hosts, taken away afterwards."""
    network = Lan()
    try:
        yield network
    finally:
        network.remove()
