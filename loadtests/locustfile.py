"""Real held-out rows with their labels, sent with sticky ids; README.md says how.

Each user sends about `PER_USER` requests a second, at random times. The report and the limits come after
Locust's own tables; a limit that is broken makes the exit code 1.
"""

# Locust's event hooks and shapes are not annotated:
# mypy: disable-error-code="untyped-decorator, no-untyped-call"

import json
import random
import sys
import time
from argparse import Namespace
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from locust import FastHttpUser, LoadTestShape, events, poisson, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner

from tally import PATTERNS, Limit, Tally, ratio, seconds, table, users_at

MODELS = Path(__file__).parents[1] / "models"
PER_USER = 10
PEOPLE = 100_000
"""Distinct sticky ids: enough for the split to come out as the weight says."""


class Run:
    """What the users of this process share.

    Args:
        options: of the command line.
        host: URL of the public door.
    """

    def __init__(self, options: Namespace, host: str) -> None:
        self.options = options
        self.path = f"/v2/models/{options.model}/infer"
        answer = httpx.get(f"{host}/v2/models/{options.model}", timeout=10.0, trust_env=False)
        specification = answer.raise_for_status().json()["inputs"][0]
        with np.load(options.rows or MODELS / options.model / "heldout.npz") as rows:
            pairs = [
                (_body(specification, row), label)
                for row, label in zip(rows["inputs"], rows["labels"].tolist(), strict=True)
            ]
        self.rows = cycle(pairs)
        self.begin()

    def begin(self) -> None:
        """Forget what was counted."""
        self.tally = Tally()
        self.began = time.perf_counter()

    def finish(self) -> dict[str, Any]:
        """The report, with every limit that was asked for."""
        options = self.options
        limits = [
            Limit("p95", "p95_seconds", options.sla_p95),
            Limit("p99", "p99_seconds", options.sla_p99),
            Limit("errors", "errors", options.sla_errors),
            Limit("accuracy", "accuracy", options.sla_accuracy, floor=True),
        ]
        elapsed = time.perf_counter() - self.began
        report = {
            "model": options.model,
            "pattern": options.pattern,
            "run_seconds": elapsed,
            **self.tally.report(),
        }
        report["sla"] = [limit.judge(report) for limit in limits if limit.value is not None]
        return report


RUN: Run


def _body(specification: dict[str, Any], row: Any) -> str:
    tensor = {
        "name": specification["name"],
        "datatype": specification["datatype"],
        "shape": [1, *row.shape],
        "data": row.ravel().tolist(),
    }
    return orjson.dumps({"inputs": [tensor]}).decode()


def label_of(content: bytes) -> int | None:
    """The answered class; None of a model without the output `label`."""
    for output in orjson.loads(content)["outputs"]:
        if output["name"] == "label":
            return int(output["data"][0])
    return None


class Client(FastHttpUser):
    """One connection, on which many people's requests arrive."""

    host = "http://127.0.0.1:8000"
    wait_time = poisson(PER_USER)
    connection_timeout = network_timeout = 10.0

    @task
    def infer(self) -> None:
        """Ask for one row, and hold the answer against its label."""
        body, label = next(RUN.rows)
        headers = {"content-type": "application/json", "x-user-id": str(random.randrange(PEOPLE))}
        began = time.perf_counter()
        answer = self.client.post(RUN.path, data=body, headers=headers)
        duration = time.perf_counter() - began
        target = str(answer.headers.get("x-understudy-target", "")) if answer.headers else ""
        if answer.status_code != 200:
            RUN.tally.failed(target)
            return
        answered = label_of(answer.content)
        RUN.tally.answered(target, duration, right=None if answered is None else answered == label)


class Pattern(LoadTestShape):
    """The number of users over the run, by `--pattern`; `--users` is the ordinary number."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Users now, and how many to start or stop a second; None ends the run."""
        options = RUN.options
        elapsed = self.get_run_time() / options.run_time
        if elapsed >= 1:
            return None
        return users_at(options.pattern, options.num_users, elapsed), 100.0


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Our options, and defaults that let a run end without losing the answers under way."""
    group = parser.add_argument_group("Understudy")
    group.add_argument("--model", default="digits", help="public model name")
    group.add_argument("--pattern", choices=PATTERNS, default="soak", help="load over time; a spike is 10x")
    group.add_argument(
        "--rows", type=Path, help="an .npz with `inputs` and `labels`; default: the bundled ones"
    )
    group.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    group.add_argument("--sla-p95", type=seconds, metavar="TIME", help="at most, such as 25ms")
    group.add_argument("--sla-p99", type=seconds, metavar="TIME", help="at most, such as 50ms")
    group.add_argument("--sla-errors", type=ratio, metavar="PERCENT", help="at most, such as 0.1%%")
    group.add_argument("--sla-accuracy", type=ratio, metavar="PERCENT", help="at least, such as 95%%")
    parser.set_defaults(num_users=10, run_time="20s", stop_timeout=10.0)


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Read the rows and the model's signature; end at once when that cannot be."""
    global RUN  # noqa: PLW0603  (Locust makes the users; this is how they share)
    if not isinstance(environment.runner, LocalRunner):
        sys.exit("error: one Locust process only; the report is not gathered from others")
    assert environment.parsed_options is not None
    host = (environment.host or Client.host).rstrip("/")
    try:
        RUN = Run(environment.parsed_options, host)
    except (OSError, KeyError, httpx.HTTPError) as error:
        sys.exit(f"error: {environment.parsed_options.model} at {host}: {error}")


@events.test_start.add_listener
def begin(**_: Any) -> None:
    """Count anew."""
    RUN.begin()


@events.quitting.add_listener
def finish(environment: Environment, **_: Any) -> None:
    """Judge the run, and print the report after Locust's own."""
    report = RUN.finish()
    kept = [limit["kept"] for limit in report["sla"]]
    if not all(kept):
        environment.process_exit_code = 1
    elif RUN.options.sla_errors is not None and environment.runner and not environment.runner.exceptions:
        environment.process_exit_code = 0  # Locust's own rule: any failed request is an error
    if RUN.options.report:
        RUN.options.report.write_text(json.dumps(report, indent=2) + "\n")
    events.quit.add_listener(lambda **_: print(table(report), flush=True))
