"""`python -m benchmarks.speed.shadow`: what clients notice of a slow shadow, into docs/benchmarks/shadow.md.

One worker and everything else of `understudy up` on core 0, so that the shadow's sandbox and the worker
compete for the same core; the sender, an open loop, has core 1. Stable is digits/1 and the shadow digits/4,
whose runs take more than ten times as long; all of stable's requests are mirrored, and compared as far as
there is CPU left.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import orjson

from benchmarks.tools.bench import DOCS, LOAD_CORE, ROOT, SERVER_CORE, machine
from benchmarks.tools.ours import Ours, ours

ROUNDS = 7
SECONDS = 4.0
PEAK_RATES = (4_000, 8_000, 12_000, 16_000, 20_000, 24_000, 28_000, 32_000)
PEAK_P99_US = 20_000.0
PATH = "/v2/models/digits/infer"
GOAL = 1.2
WITHOUT, WITH = "no shadow", "100% shadow"
ROLLOUTS = {
    WITHOUT: "digits: {stable: digits/1}\n",
    WITH: "digits: {stable: digits/1, shadows: [{model: digits/4, sample: 100}]}\n",
}
BODY = orjson.dumps(
    {
        "inputs": [
            {
                "name": "pixels",
                "shape": [1, 64],
                "datatype": "FP32",
                "data": [float(i % 17) for i in range(64)],
            }
        ]
    }
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the sender.

    Attributes:
        p50_us, p99_us, p999_us: latency, from when a request was due.
        compared, dropped: of the mirrored requests, a second.
        sandbox_share: of one core, 0 to 1.
    """

    p50_us: float
    p99_us: float
    p999_us: float
    compared: float
    dropped: float
    sandbox_share: float


def main() -> None:
    """Measure and write."""
    samples: dict[str, list[Sample]] = {name: [] for name in ROLLOUTS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        systems = {
            name: stack.enter_context(
                ours(
                    Path(folder) / str(index),
                    text,
                    models=ROOT / "models",
                    cores=SERVER_CORE,
                    sandboxes=int(name == WITH),
                )
            )
            for index, (name, text) in enumerate(ROLLOUTS.items())
        }
        peak = _peak(systems[WITHOUT])
        for _ in range(ROUNDS):
            for name, system in systems.items():
                samples[name].append(_measure(system, peak / 2))
                _settle(system)
                print(name, samples[name][-1], flush=True)
    if not all(sample.compared > 0 for sample in samples[WITH]):
        sys.exit("the shadow compared nothing")
    _write(peak, samples)


def _peak(system: Ours) -> int:
    """The highest rate of the ladder that the worker keeps up with."""
    kept = 0
    for rate in PEAK_RATES:
        found = send(system.port, rate, 2.0)
        if found["p99_us"] > PEAK_P99_US:
            break
        kept = rate
        print("keeps", rate, found, flush=True)
    if kept == 0:
        sys.exit(f"{PEAK_RATES[0]} requests/s are too many for this machine")
    return kept


def send(port: int, rate: float, seconds: float) -> dict[str, float]:
    """Run the sender on its core; every request has to be answered with 200."""
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "benchmarks.tools.open_loop"]
    done = subprocess.run(
        [*command, str(port), PATH, str(rate), str(seconds)],
        input=BODY, capture_output=True, cwd=ROOT, check=True, timeout=seconds + 60,
    )  # fmt: skip
    found = dict(json.loads(done.stdout))
    if found["failed"]:
        sys.exit(f"failed requests: {found}")
    return found


def _measure(system: Ours, rate: float) -> Sample:
    counts = {outcome: -_shadowed(system, outcome) for outcome in ("compared", "dropped")}
    cpu = system.cpu_seconds()["sandbox"]
    found = send(system.port, rate, SECONDS)
    cpu = system.cpu_seconds()["sandbox"] - cpu
    counts = {outcome: count + _shadowed(system, outcome) for outcome, count in counts.items()}
    latencies = (found["p50_us"], found["p99_us"], found["p99.9_us"])
    return Sample(*latencies, counts["compared"] / SECONDS, counts["dropped"] / SECONDS, cpu / SECONDS)


def _settle(system: Ours) -> None:
    """Wait until the sandbox has worked off what is queued.

    The two systems are two sessions, to which the kernel gives equal shares of the core (sched(7),
    autogroups), however little the processes within one ask for.
    """
    for _ in range(100):
        before = _shadowed(system, "compared")
        time.sleep(0.3)
        if _shadowed(system, "compared") == before:
            return
    sys.exit("the shadow's backlog does not end")


def _shadowed(system: Ours, outcome: str) -> float:
    return system.metric("understudy_shadow_total", outcome=outcome)


def _write(peak: int, samples: dict[str, list[Sample]]) -> None:
    raw = {name: [asdict(sample) for sample in found] for name, found in samples.items()}
    (DOCS / "shadow.json").write_text(json.dumps({"peak": peak, "samples": raw}, indent=1) + "\n")
    middle = {
        name: Sample(*(median(column) for column in zip(*(asdict(s).values() for s in found), strict=True)))
        for name, found in samples.items()
    }
    ratios = [
        with_.p99_us / without.p99_us for without, with_ in zip(samples[WITHOUT], samples[WITH], strict=True)
    ]
    page = [
        "# A slow shadow, as stable's clients see it", "",
        "`make bench PARTS=shadow` wrote this page and `shadow.json` (the raw figures).",
        str(__doc__).split("\n\n", 1)[1].strip(), "",
        f"{ROUNDS} rounds of {SECONDS:g} s in turn, medians; a constant {peak / 2:,.0f} requests/s, half of",
        f"the highest rate of a ladder that the worker kept up with ({peak:,}/s, p99 below",
        f"{PEAK_P99_US / 1e3:g} ms).",
        f"{datetime.now(UTC):%Y-%m-%d}. Machine: {machine()}.", "",
        "| | p50 | p99 | p99.9 | compared | dropped | the sandbox's share of the core |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {s.p50_us:,.0f} us | {s.p99_us:,.0f} us | {s.p999_us:,.0f} us | {s.compared:,.0f}/s "
            f"| {s.dropped:,.0f}/s | {s.sandbox_share:.0%} |"
            for name, s in middle.items()
        ), "",
        f"p99 with the shadow against without, round by round: median {median(ratios):.2f}x, from",
        f"{min(ratios):.2f}x to {max(ratios):.2f}x; the goal is {GOAL}x.", "",
    ]  # fmt: skip
    (DOCS / "shadow.md").write_text("\n".join(page))
    print("\n".join(page))


if __name__ == "__main__":
    main()
