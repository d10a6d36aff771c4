"""Faults to put a system through: for the tests of tests/faults, and for the table in docs/reliability.md."""

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from harness.hostile import Manner
from harness.incident import Fault
from harness.scenes import Place, Scene, Stage, grows, settled
from harness.system import alive, children

CANARY = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 50}, "timeout": "200ms"}
TRICKLERS = 500


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


# ---------------------------------------------------------------------- documents


def near(_: Place) -> dict[str, object]:
    """A canary in a sandbox."""
    return dict(CANARY)


def far(at: Place) -> dict[str, object]:
    """A canary behind a URL."""
    return {**CANARY, "canary": {**at.far, "weight": 50}}


def all_far(at: Place) -> dict[str, object]:
    """Stable and canary behind one URL, which can be down as a whole; a stall of the machine is no 504."""
    both = {"stable": {**at.far, "model": "digits/1"}, "canary": {**at.far, "weight": 50}}
    return {**CANARY, **both, "timeout": "5s"}


def shadowed(at: Place) -> dict[str, object]:
    """A shadow behind a URL."""
    return {"stable": "digits/1", "shadows": [{**at.far, "sample": 100}], "timeout": "200ms"}


def local(_: Place) -> dict[str, object]:
    """No more than a model in the workers."""
    return {"stable": "digits/1"}


# ---------------------------------------------------------------------- faults


def killed_canary(on: Stage) -> Fault:
    """Row 1."""
    pid = on.sandbox()
    return Fault(
        "the canary's sandbox is killed",
        lambda: os.kill(pid, signal.SIGKILL),
        lambda: not alive(pid) and on.metric("failover_total") > 0,
        on.answers("digits/2"),
    )


def stopped_canary(on: Stage) -> Fault:
    """Row 3."""
    pid = on.sandbox()
    return Fault(
        "the canary's sandbox is stopped",
        lambda: os.kill(pid, signal.SIGSTOP),
        lambda: on.metric("failover_total", reason="ejected") > 0,
        on.answers("digits/2"),
        lambda: os.kill(pid, signal.SIGCONT),
    )


def bad_wire(name: str, **weather: float) -> Callable[[Stage], Fault]:
    """Rows 2, 3, 6 and 10: the network to the canary fails; clients are answered by stable."""

    def fault(on: Stage) -> Fault:
        wire, key = on.place.wire, on.place.far_key
        return Fault(
            name,
            lambda: wire.set(**weather),
            lambda: on.metric("failover_total", target=key) >= 5,
            on.answers("digits/2"),
            wire.set,
        )

    return fault


def sliced(on: Stage) -> Fault:
    """Row 10: slow and in slices of one byte, yet right."""
    wire = on.place.wire
    return Fault(
        "the canary's answers come in slices of one byte",
        lambda: wire.set(slice_bytes=1),
        grows(lambda: on.load.ledger.targets["digits/2"], 50),
        on.answers("digits/2"),
        wire.set,
    )


def misbehaving(manner: Manner) -> Callable[[Stage], Fault]:
    """Row 4."""

    def fault(on: Stage) -> Fault:
        server, key = on.place.server, on.place.far_key

        def behave(how: Manner) -> None:
            server.manner = how

        return Fault(
            f"the canary misbehaves: {manner}",
            lambda: behave(manner),
            lambda: on.metric("failover_total", target=key, reason="ejected") > 0,
            on.answers("digits/2"),
            lambda: behave("well"),
        )

    return fault


def all_down(on: Stage) -> Fault:
    """Row 5."""
    wire = on.place.wire

    def down() -> None:
        wire.set(refuse=True)
        wire.cut()

    return Fault(
        "stable and canary are both down",
        down,
        lambda: on.load.ledger.statuses[503] >= 50,
        grows(lambda: on.load.ledger.statuses[200], 50),
        wire.set,
    )


def bad_shadow(name: str, **weather: float) -> Callable[[Stage], Fault]:
    """Row 7."""

    def fault(on: Stage) -> Fault:
        wire = on.place.wire
        compared = lambda: on.metric("shadow_total", outcome="compared")  # noqa: E731
        missed = lambda: on.metric("shadow_total") - compared()  # noqa: E731
        return Fault(
            name,
            lambda: wire.set(**weather),
            lambda: missed() >= 5,
            grows(compared),
            wire.set,
        )

    return fault


def killed_worker(on: Stage) -> Fault:
    """Row 19."""
    up = on.place.up
    old = up.pids("worker")
    return Fault(
        "one of two workers is killed",
        lambda: os.kill(old[0], signal.SIGKILL),
        lambda: not alive(old[0]),
        lambda: settled(up) and len(up.pids("worker")) == 2,
        killed=64,
    )


def killed_control(on: Stage) -> Fault:
    """Row 20."""
    up = on.place.up
    [pid] = children(up.process.popen.pid, "control")
    return Fault(
        "control is killed",
        lambda: os.kill(pid, signal.SIGKILL),
        lambda: not alive(pid),
        lambda: settled(up) and len(up.pids("worker")) == 2,
    )


def full_disk(on: Stage) -> Fault:
    """Row 20: no process can write a byte more."""
    up = on.place.up
    pids = [*up.pids("worker"), *children(up.process.popen.pid, "control")]

    def limit(size: int) -> None:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def refused() -> bool:
        put = up.admin.put(f"/v1/rollouts/{on.model}", json={"stable": "digits/1", "timeout": "3s"})
        return put.status_code == 503

    def accepted() -> bool:
        put = up.admin.put(f"/v1/rollouts/{on.model}", json={"stable": "digits/1", "timeout": "4s"})
        return put.status_code == 200 and up.all_targets_ready()

    return Fault(
        "the disk is full for control and workers",
        lambda: limit(0),
        refused,
        accepted,
        lambda: limit(resource.RLIM_INFINITY),
    )


def no_files_left(on: Stage) -> Fault:
    """Row 26: connections beyond what the workers may open are held against them."""
    up = on.place.up
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in up.pids("worker")}
    held: list[socket.socket] = []

    def exhaust() -> None:
        for pid, (_, hard) in limits.items():
            used = open_files(pid)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, hard))
        held.extend(socket.create_connection(("127.0.0.1", up.port), 5) for _ in range(100))

    def full() -> bool:
        return all(open_files(pid) >= resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in limits)

    def release() -> None:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        while held:
            held.pop().close()

    return Fault(
        "the workers' file descriptors run out",
        exhaust,
        full,
        grows(lambda: on.load.ledger.statuses[200], 50),
        release,
    )


def tricklers(on: Stage) -> Fault:
    """Row 13: clients that send one byte now and then, half of them of a head, half of a body."""
    port = on.place.up.port
    held: list[socket.socket] = []
    head = f"POST /v2/models/{on.model}/infer HTTP/1.1\r\nhost: x\r\n"

    def come() -> None:
        for number in range(TRICKLERS):
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.sendall((head + ("content-length: 999\r\n\r\n{" if number % 2 else "")).encode())
            connection.setblocking(False)
            held.append(connection)

    def closed() -> bool:
        for connection in list(held):
            with contextlib.suppress(OSError):
                connection.send(b"x")  # a byte more, which must not buy more time
            with contextlib.suppress(BlockingIOError):
                try:
                    gone = connection.recv(1000) == b""
                except ConnectionError:
                    gone = True
                if gone:
                    connection.close()
                    held.remove(connection)
        return not held

    return Fault(
        f"{TRICKLERS} clients trickle heads and bodies",
        come,
        closed,
        grows(lambda: on.load.ledger.statuses[200], 50),
    )


def bad_file(on: Stage) -> Fault:
    """Row 14."""
    up = on.place.up
    good = up.file.read_text()
    return Fault(
        "the rollout file is half written",
        lambda: up.file.write_text("digits:\n  stable: digi") and None,
        lambda: up.admin.get("/readyz").status_code == 503,
        lambda: up.admin.get("/readyz").status_code == 200,
        lambda: up.edit(good),
    )


SCENES = (
    Scene("killed-canary", near, killed_canary),
    Scene("stopped-canary", near, stopped_canary),
    Scene("cut-canary", far, bad_wire("the canary is reset in the middle of its answers", reset_after=250)),
    Scene("closed-canary", far, bad_wire("the canary closes in the middle of its answers", close_after=250)),
    Scene("silent-canary", far, bad_wire("the canary falls silent in its answers", stall_after=250)),
    Scene("late-canary", far, bad_wire("the canary's answers come 500 ms late", latency_seconds=0.5)),
    Scene("sliced-canary", far, sliced),
    Scene("failing-canary", far, misbehaving("500")),
    Scene("garbled-canary", far, misbehaving("garbage")),
    Scene("all-down", all_far, all_down, frozenset({503})),
    Scene("silent-shadow", shadowed, bad_shadow("a shadow falls silent", stall_after=0)),
    Scene("cut-shadow", shadowed, bad_shadow("a shadow's answers are reset", reset_after=250)),
    Scene("slow-shadow", shadowed, bad_shadow("a shadow gives 100 bytes a second", bytes_per_second=100.0)),
    # Connections that came to the killed one wait until its successor has started.
    Scene("killed-worker", near, killed_worker, frozenset({0})),
    Scene("killed-control", near, killed_control),
    Scene("full-disk", local, full_disk),
    Scene("no-files", local, no_files_left, frozenset({0})),
    Scene("tricklers", local, tricklers),
    Scene("bad-file", local, bad_file),
)
