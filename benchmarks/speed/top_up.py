"""`python -m benchmarks.speed.top_up`: what a top-up costs the node, and the clients who ask meanwhile.

Each round starts a node on one core that records every answer of digits/1 until there is enough to run, and
then gives it the candidate digits/2, in turns without a top-up and with `topUp: 200/s`. Clients ask 300 times
a second meanwhile, from the other core, whatever the answers do. Measured: their latency, and the processor
time of each kind of process over the same seconds.
"""

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.tools.bench import DOCS, LOAD_CORE, ROOT, cpu_seconds, machine
from benchmarks.tools.ours import Ours, children, ours

PAGE, RAW = DOCS / "top-up.md", DOCS / "top-up.json"
TOP_UP_RATE, LIVE_RATE, RECORD_RATE = 200, 300.0, 800.0
SPARE_SECONDS = 6.0
"""For which there are recorded requests beyond those of the measurement: it begins when the top-up runs."""
PATIENCE_SECONDS = 60.0
BEFORE = "digits: {stable: digits/1, record: {}}\n"
AFTER = (
    "digits: {{stable: digits/1, canary: {{model: digits/2, weight: 0{top_up}}}, record: {{}},"
    " guards: {{agreement: {{output: label, min: 90%, mode: observe}}}}}}\n"
)
VARIANTS = {"without": "", "with": f", topUp: {TOP_UP_RATE}/s"}
KINDS = {
    "router.worker": "worker",
    "router.sandbox": "sandbox of the candidate",
    "router.record.top_up": "top-up",
    "router.record.log_writer": "log writer",
    "control": "control",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One round.

    Attributes:
        p50_us, p99_us: latency of live requests.
        recorded_per_second: requests of the log that the candidate ran.
        cpu_ms: by kind of process, milliseconds of processor time a second.
    """

    p50_us: float
    p99_us: float
    recorded_per_second: float
    cpu_ms: dict[str, float]


def main() -> None:
    """Measure in turns, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.top_up", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    samples: dict[str, list[Sample]] = {name: [] for name in VARIANTS}
    for _ in range(asked.rounds):
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                samples[name].append(_round(Path(folder), name, asked.seconds))
            print(name, samples[name][-1], flush=True)
    found = {
        "samples": {name: [asdict(each) for each in some] for name, some in samples.items()},
        "seconds": asked.seconds,
        "date": f"{dt.datetime.now(dt.UTC):%d %B %Y}",
        "machine": machine(),
        "load": load,
    }
    RAW.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))
    print(PAGE.read_text())


def _round(folder: Path, variant: str, seconds: float) -> Sample:
    """Record, give it the candidate, and measure."""
    options = ("--records", str(folder / "log"), "--records-roll-seconds", "1")
    with ours(folder / "node", BEFORE, models=ROOT / "models", options=options) as system:
        recording = TOP_UP_RATE * (seconds + SPARE_SECONDS) / RECORD_RATE
        _send(system, RECORD_RATE, recording)
        _until(lambda: system.metric("understudy_records_pending", model="digits") == 0, "all is written")
        edited = folder / "node" / "rollouts.new"
        edited.write_text(AFTER.format(top_up=VARIANTS[variant]))
        edited.replace(folder / "node" / "rollouts.yaml")
        _until(lambda: bool(system.ready("sandbox")), "the candidate is ready")
        if variant == "with":
            _until(lambda: _topped_up(system) > 0, "a recorded request was run")
        before, counted, began = _cpu_ms(system), _topped_up(system), time.monotonic()
        sent = _send(system, LIVE_RATE, seconds)
        took = time.monotonic() - began
        cpu = {kind: (after - before[kind]) / took for kind, after in _cpu_ms(system).items()}
        return Sample(sent["p50_us"], sent["p99_us"], (_topped_up(system) - counted) / took, cpu)


def _send(system: Ours, rate: float, seconds: float) -> dict[str, float]:
    """Ask for so long; every request has to be answered with 200."""
    pixels = np.random.default_rng(7).integers(0, 17, (1, 64)).astype(float).ravel().tolist()
    tensor = {"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": pixels}
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.tools.open_loop"]
    done = subprocess.run(
        [*command, str(system.port), "/v2/models/digits/infer", f"{rate:g}", f"{seconds:g}"],
        input=json.dumps({"inputs": [tensor]}).encode(), capture_output=True, cwd=ROOT, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    if found["failed"]:
        sys.exit(f"failed requests: {found}")
    return found


def _topped_up(system: Ours) -> float:
    return system.metric("understudy_top_up_total", model="digits", outcome="compared")


def _modules(system: Ours) -> dict[int, str]:
    """What each process of the node runs."""
    found = {system.supervisor: "supervisor"}
    for pid in children(system.supervisor):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        found[pid] = next((word for word in words if word in KINDS), "others")
    return found


def _cpu_ms(system: Ours) -> Counter[str]:
    """Processor time so far, milliseconds by kind of process."""
    found: Counter[str] = Counter()
    for pid, module in _modules(system).items():
        found[KINDS.get(module, module)] += round(cpu_seconds(pid) * 1000)
    return found


def _until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"not within {PATIENCE_SECONDS:g} s: {what}")
        time.sleep(0.1)


def page(found: Mapping[str, Any]) -> str:
    """The page of some figures."""
    samples: dict[str, list[dict[str, Any]]] = found["samples"]
    kinds = sorted({kind for each in samples["with"] for kind in each["cpu_ms"]})
    rows = [
        _row("p50 of live requests, us", samples, lambda each: each["p50_us"]),
        _row("p99 of live requests, us", samples, lambda each: each["p99_us"]),
        _row("recorded requests/s that were run", samples, lambda each: each["recorded_per_second"]),
        *[
            _row(f"CPU of {kind}, ms/s", samples, lambda each, k=kind: each["cpu_ms"].get(k, 0))
            for kind in kinds
        ],
        _row("CPU of all, ms/s", samples, lambda each: sum(each["cpu_ms"].values())),
    ]
    cost = _median(samples["with"], _all) - _median(samples["without"], _all)
    rate = _median(samples["with"], lambda each: each["recorded_per_second"])
    about = (__doc__ or "").partition("\n\n")[2].strip()
    table = "\n".join(rows)
    return f"""# What a top-up costs

{about}

| | without | with `topUp: {TOP_UP_RATE}/s` |
|---|---|---|
{table}

Medians of {len(samples["with"])} rounds of {found["seconds"]:g} s, and the rounds behind them. The medians of
all processes differ by {cost:.0f} ms/s: {cost / rate * 1000:,.0f} us a recorded request.

{found["date"]}, {found["machine"]}; load of the machine when it began: {found["load"]:.1f}.
Command: `python -m benchmarks.speed.top_up`.
"""


def _all(sample: Mapping[str, Any]) -> float:
    return float(sum(sample["cpu_ms"].values()))


def _median(samples: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], float]) -> float:
    return median(map(read, samples))


def _row(
    title: str,
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    read: Callable[[Mapping[str, Any]], float],
) -> str:
    cells = [
        f"{_median(each, read):,.0f} ({', '.join(f'{read(one):,.0f}' for one in each)})"
        for each in (samples["without"], samples["with"])
    ]
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
