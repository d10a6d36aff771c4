"""`python -m benchmarks.evidence.aa`: is a copy of stable ever taken off? Real processes, every guard on.

One `understudy up` with one worker and one with four; on each several public names side by side, each with
closed-loop clients of its own (`aa_load`) and a canary that is the same ONNX file under another version. The
clients leave nothing of two cores unused, so queues, preemption and cold caches are what they are. A run
lasts `--seconds` from when the canary is ready, whether it is proven before or not, since a copy that is
proven may still be taken off; it ends sooner only when it is. Beside the copies some canaries take 1.5 times
as long (`aa_models`); those runs end when there is a verdict.

Each run is added to docs/benchmarks/aa.json when it ends; `--resume` leaves out what is there already.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from benchmarks.evidence.aa_cells import ALPHA, PLACEMENTS, WORKERS, Job, jobs
from benchmarks.evidence.aa_models import COPY, SLOWER, STABLE, build
from benchmarks.evidence.aa_report import RAW, write
from benchmarks.tools.bench import ROOT, free_port, machine

READY_SECONDS = 300.0
LOOK_SECONDS = 6.0
MIRROR = 20
GUARDS = {
    "errors": {"maxRatio": 1.5, "max": "1%"},
    "latency": {"maxRatio": 1.25, "clients": {"mode": "observe"}},  # it judges the place, which is no copy
    "agreement": {"output": "label", "min": "98%"},
}
TYPICAL = re.compile(r"[\d,]+ of [\d,]+ pairs(?=;)")
COUNTED = {
    "understudy_requests_total": "code",
    "understudy_failover_total": "reason",
    "understudy_comparison_total": "verdict",
    "understudy_pairs_total": "outcome",
    "understudy_shadow_total": "outcome",
}
"""Of /metrics, and the label by which a family is told."""


class Record:
    """The raw figures, on disk after each run.

    Args:
        path: of the JSON file.
        resumed: whether to begin with what is there.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self._path = path
        self.found: dict[str, Any] = {"sessions": [], "runs": []}
        if resumed and path.exists():
            self.found |= orjson.loads(path.read_bytes())
        self.done = {tuple(run["key"]) for run in self.found["runs"]}

    def add(self, run: Mapping[str, Any]) -> None:
        """One run more."""
        self.found["runs"].append(run)
        self.done.add(tuple(run["key"]))
        self.save()

    def save(self) -> None:
        """Replace the file at once, so that one that is cut short leaves the last one."""
        beside = self._path.with_suffix(".new")
        beside.write_bytes(orjson.dumps(self.found, option=orjson.OPT_INDENT_2) + b"\n")
        beside.replace(self._path)


class Load:
    """The process with the clients of all names."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}

    def start(self, name: str, connections: int, pause_seconds: float) -> None:
        """Clients of a name ask from now on."""
        self._tell({"start": name, "connections": connections, "pause": pause_seconds})

    async def stop(self, name: str) -> dict[str, Any]:
        """They go; what they saw."""
        answer = self._asked[name] = asyncio.get_running_loop().create_future()
        self._tell({"stop": name})
        return await answer

    def _tell(self, what: Mapping[str, Any]) -> None:
        self._in.write(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))

    async def listen(self) -> None:
        """Give the answers to who asked, until the process ends."""
        while line := await self._out.readline():
            answer = orjson.loads(line)
            self._asked.pop(answer.pop("name")).set_result(answer)
        raise RuntimeError("the clients' process ended")


@dataclass(slots=True)
class Seen:
    """What a run showed while it lasted, by guard: the greatest e-values, and when all were proven first."""

    most_harm: dict[str, float]
    most_safe: dict[str, float]
    proven_seconds: float | None = None
    judgement: Mapping[str, Any] | None = None
    pairs: str = ""
    """In how many of how many pairs the canary took longer, when that was last told."""

    def look(self, judgement: Mapping[str, Any] | None, seconds: float) -> None:
        """Take in what control says now."""
        if judgement is None:
            return
        self.judgement = judgement
        for guard in judgement["guards"]:
            if told := TYPICAL.search(guard["reason"]):
                self.pairs = told[0]
            for most, key in ((self.most_harm, "log_harm"), (self.most_safe, "log_safe")):
                if guard[key] is not None:
                    most[guard["guard"]] = max(most.get(guard["guard"], guard[key]), guard[key])
        if judgement["verdict"] == "proven" and self.proven_seconds is None:
            self.proven_seconds = round(seconds, 1)


class Bench:
    """A running node.

    Args:
        admin: client of its admin door.
        load: the clients.
        record: where runs go.
        options: of the command.
    """

    def __init__(
        self, admin: httpx.AsyncClient, load: Load, record: Record, options: argparse.Namespace
    ) -> None:
        self._admin, self._load, self._record = admin, load, record
        self._seconds, self._timeout = options.seconds, options.timeout
        self._numbers = iter(range(10**6))

    async def lane(self, waiting: "asyncio.Queue[Job]") -> None:
        """Run after run, each under a public name of its own, while there are any."""
        while not waiting.empty():
            job = waiting.get_nowait()
            name = f"run{next(self._numbers)}"
            try:
                run = await self._one(name, job)
            except (httpx.HTTPError, TimeoutError) as error:
                print(f"{job.key} once more later: {type(error).__name__}: {error}", flush=True)
                waiting.put_nowait(job)
                continue
            self._record.add(run)
            print(len(self._record.done), run["key"], run["verdict"], run["reason"][:200], flush=True)

    async def _one(self, name: str, job: Job) -> dict[str, Any]:
        cell = job.cell
        placement = next(each for each in PLACEMENTS if each.name == cell.placement)
        stable = f"{placement.model}/{STABLE}"
        canary = f"{placement.model}/{SLOWER if cell.slower else COPY}"
        (
            await self._admin.put(
                f"/v1/rollouts/{name}", json=_document(stable, canary, cell.weight, self._timeout)
            )
        ).raise_for_status()
        async with self._deleted(name):
            await self.until(lambda: self._canary_ready(name), READY_SECONDS)
            self._load.start(name, cell.connections, placement.pause_seconds)
            began, seen = time.monotonic(), Seen({}, {})
            with contextlib.suppress(TimeoutError):
                await self.until(lambda: self._ended(name, seen, began, job), self._seconds)
            seconds = time.monotonic() - began
            view = (await self._admin.get(f"/v1/rollouts/{name}")).json()
            clients = await self._load.stop(name)
            await asyncio.sleep(1.5)  # what was under way is counted too
            counts = counted((await self._admin.get("/metrics")).text, name)
        return _run(job, view["status"], seen, seconds, {**clients, "counts": counts})

    @contextlib.asynccontextmanager
    async def _deleted(self, name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._admin.delete(f"/v1/rollouts/{name}")

    async def _canary_ready(self, name: str) -> bool:
        view = (await self._admin.get(f"/v1/rollouts/{name}")).json()
        ready = [all(each["ready"].values()) and bool(each["ready"]) for each in view["targets"]]
        return view["in_force_everywhere"] and len(ready) > 1 and all(ready)

    async def _ended(self, name: str, seen: Seen, began: float, job: Job) -> bool:
        judgement = (await self._admin.get(f"/v1/rollouts/{name}/evidence")).json()["judgement"]
        seen.look(judgement, time.monotonic() - began)
        over = judgement is None and seen.judgement is not None  # it was taken off
        return over or (job.cell.slower and seen.proven_seconds is not None)

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait for a condition; no answer counts as not yet.

        Raises:
            TimeoutError: it did not come true in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if await condition():
                    return
            await asyncio.sleep(min(LOOK_SECONDS, max(deadline - time.monotonic(), 0.0)))
        raise TimeoutError(f"not within {seconds:g} s")


def _document(stable: str, canary: str, weight: float, timeout: str) -> dict[str, Any]:
    steps = [
        {"setWeight": weight},
        {"prove": {}},
        {"pause": {}},
    ]  # proven it waits, and is watched further on
    return {
        "stable": stable,
        "canary": {"model": canary, "steps": steps, "mirror": MIRROR},
        "guards": GUARDS,
        "alpha": ALPHA,
        "compare": {"label": "exact"},
        "keepWarm": "0s",
        "timeout": timeout,
    }


def _run(
    job: Job, status: Mapping[str, Any], seen: Seen, seconds: float, more: Mapping[str, Any]
) -> dict[str, Any]:
    judgement = seen.judgement or {"reason": "never judged", "guards": []}
    harmful = status["phase"] == "rolled_back"
    proven = seen.proven_seconds is not None
    return {
        "key": job.key,
        **asdict(job.cell),
        "verdict": "harmful" if harmful else "proven" if proven else "undecided",
        "reason": status["reason"] if harmful else judgement["reason"],
        "seconds": round(seconds, 1),
        "proven_seconds": seen.proven_seconds,
        "guards": [
            {
                **guard,
                "most_log_harm": seen.most_harm.get(guard["guard"]),
                "most_log_safe": seen.most_safe.get(guard["guard"]),
            }
            for guard in judgement["guards"]
        ],
        "pairs_slower": seen.pairs,
        "load_1_min": round(os.getloadavg()[0], 1),
        "at": round(time.time()),
        **more,
    }


def counted(metrics: str, name: str) -> dict[str, dict[str, int]]:
    """Of a public name, what /metrics counted: by family and, within it, by role and one label more."""
    found: defaultdict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in metrics.splitlines():
        family, _, rest = line.partition("{")
        if family not in COUNTED or f'model="{name}"' not in rest:
            continue
        labels, _, value = rest.partition("} ")
        by = dict(each.split("=", 1) for each in labels.split(","))
        which = [by[key].strip('"') for key in ("role", COUNTED[family]) if key in by]
        found[family.removeprefix("understudy_").removesuffix("_total")][" ".join(which)] += int(float(value))
    return {family: dict(values) for family, values in found.items()}


@contextlib.contextmanager
def started(workers: int, models: Path) -> Iterator[tuple[int, int]]:
    """A node without a rollout, ended afterwards: its public port and its admin port."""
    port, admin_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        (Path(folder) / "none.yaml").write_text("{}\n")
        command = [
            *(sys.executable, "-m", "understudy", "up", "--host", "127.0.0.1", "--port", str(port)),
            *("--admin-port", str(admin_port), "--state-dir", folder, "--threads", "1"),
            *("--workers", str(workers), "--rollouts", f"{folder}/none.yaml", "--models", str(models)),
        ]
        environment = {**os.environ, "UNDERSTUDY_DRAIN_SECONDS": "0"}
        node = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            yield port, admin_port
        except BaseException:
            print((Path(folder) / "log").read_text()[-6000:], file=sys.stderr)
            raise
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(60)


async def measure(
    workers: int, waiting: list[Job], models: Path, record: Record, options: argparse.Namespace
) -> None:
    """All runs at so many workers."""
    queue: asyncio.Queue[Job] = asyncio.Queue()
    for job in waiting:
        queue.put_nowait(job)
    with started(workers, models) as (port, admin_port):
        clients = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.evidence.aa_load", str(port), str(models / "heldout.npz")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a busy machine is shared by sessions: each has its part
        )
        load = Load(clients)
        listening = asyncio.create_task(load.listen())
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{admin_port}",
            timeout=120.0,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=1.0),  # shorter than the server's
        ) as admin:
            bench = Bench(admin, load, record, options)
            await bench.until(lambda: _leads(admin), READY_SECONDS)
            lanes = asyncio.gather(*(bench.lane(queue) for _ in range(options.lanes)))
            await asyncio.wait([lanes, listening], return_when=asyncio.FIRST_COMPLETED)
            lanes.cancel() if listening.done() else listening.cancel()
            await asyncio.gather(lanes, return_exceptions=listening.done())
        clients.terminate()
        await clients.wait()


async def _leads(admin: httpx.AsyncClient) -> bool:
    return (await admin.get("/readyz")).is_success


def run_all(options: argparse.Namespace, record: Record) -> None:
    """Every run that is left, at both nodes."""
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        timed = build(models, ROOT / "models" / "digits" / "1" / "model.onnx")
        session: dict[str, Any] = {
            "began": round(began),
            "load_at_start": os.getloadavg(),
            "machine": machine(),
            "lanes": options.lanes,
            "run_seconds": options.seconds,
            "timeout": options.timeout,
            "rounds": options.rounds,
            "models": {name: asdict(each) for name, each in timed.items()},
        }
        record.found["sessions"].append(session)
        try:
            asyncio.run(_both(models, record, options))
        finally:
            session |= {"load_at_end": os.getloadavg(), "seconds": round(time.time() - began)}
            record.save()


async def _both(models: Path, record: Record, options: argparse.Namespace) -> None:
    async with asyncio.TaskGroup() as nodes:
        for workers in WORKERS:
            waiting = [job for job in jobs(workers, options.rounds) if job.key not in record.done]
            if options.only:
                waiting = waiting[: options.only]
            if waiting:
                nodes.create_task(measure(workers, waiting, models, record, options))


def main() -> None:
    """Measure, then write docs/benchmarks/aa.md and its raw figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence.aa", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each of the 72 cells")
    parser.add_argument("--lanes", type=int, default=12, help="public names side by side on each node")
    parser.add_argument("--seconds", type=float, default=180.0, help="of a run")
    parser.add_argument("--timeout", default="10s", help="of a request, as in the rollout file")
    parser.add_argument("--resume", action="store_true", help="leave out the runs that are in the file")
    parser.add_argument(
        "--only", type=int, default=0, help="so many runs at each number of workers, to try it"
    )
    parser.add_argument("--raw", type=Path, default=RAW, help="the file of raw figures")
    parser.add_argument("--note", default=None, help="what the page should say about the machine")
    parser.add_argument("--report", action="store_true", help="only write the page from the raw figures")
    options = parser.parse_args()
    record = Record(options.raw, resumed=options.resume or options.report)
    if options.note is not None:
        record.found["note"] = options.note
        record.save()
    if not options.report:
        run_all(options, record)
    write(options.raw)


if __name__ == "__main__":
    main()
