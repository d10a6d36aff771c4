"""People, files and deaths in any order on one system: when it is quiet, what is said is what is served.

Laws, whenever nothing is under way:

- who is said to answer as stable (`served`), who is wanted to (`serving`), and who answers are the same;
- the bytes that answer are those of the digest that is shown: the same digest, the same answer;
- the sentence admits a gap where a candidate that is to be served was refused, and nowhere else;
- what was answered is counted under the target that said it answered.

And all the time: clients see 200, or a connection that ended with the worker that held it.
"""

import contextlib
import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import httpx
import orjson
import pytest

from harness.load import Load
from harness.rows import body, plain
from harness.system import MODELS, Up, children, eventually, running

NAMES = ("left", "right")
JSON = {"content-type": "application/json"}
CONNECTIONS = 16
"""Of the clients of one name: as many requests may end with a worker that is killed."""
SEED = "KILL_LOOP_SEED"
"""In the environment: the seed to repeat."""
PATIENCE_SECONDS = 90.0
"""A machine that is shared may take half a minute to start a process."""
TIMEOUT = "8s"
"""Of a request, less than clients wait: such a machine may also stand still for a second."""


def document(canary: int, weight: int) -> dict:
    target = {"model": f"digits/{canary}", "weight": weight}
    return {"stable": "digits/1", "canary": target, "keepWarm": "0s", "timeout": TIMEOUT}


def refused(target: dict) -> bool:
    """Whether it is a candidate that its sandbox runs without, by what workers say of it."""
    return target["role"] == "canary" and all(
        "404" in target["problems"].get(instance, "")
        for instance, ready in target["ready"].items()
        if not ready
    )


class Loop:
    """One system, what was done to it, and which answers its digests gave."""

    def __init__(self, up: Up, models: Path, seed: int) -> None:
        self.up, self.models, self.chance = up, models, random.Random(seed)
        self.done: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.answers: dict[str, list[float]] = {}

    def one(self) -> None:
        """Do one event, and note it before."""
        events = (
            self.abort, self.resume, self.promote, self.edit, self.edit, self.kill_sandbox,
            self.kill_worker, self.kill_control, self.replace, self.remove, self.restore,
        )  # fmt: skip
        event, name = self.chance.choice(events), self.chance.choice(NAMES)
        self.done.append(f"{event.__name__} {name}")
        self.kinds[event.__name__] += 1
        event(name)

    def abort(self, name: str) -> None:
        self._act(name, "abort")

    def resume(self, name: str) -> None:
        self._act(name, "resume")

    def promote(self, name: str) -> None:
        self._act(name, "promote")

    def _act(self, name: str, action: str) -> None:
        """It is done, or refused because it does not apply now."""
        path = f"/v1/rollouts/{name}/{action}"
        answer = eventually(
            lambda: self.up.admin.post(path, json={"reason": "the loop"}), "control answers", PATIENCE_SECONDS
        )
        assert answer.status_code in {200, 409, 503}, answer.text

    def edit(self, name: str) -> None:
        """It is taken, or refused whole: an edit of files that are gone."""
        wanted = document(self.chance.choice((2, 3)), self.chance.choice((0, 10, 50)))
        answer = eventually(
            lambda: self.up.admin.put(f"/v1/rollouts/{name}", json=wanted),
            "control answers",
            PATIENCE_SECONDS,
        )
        assert answer.status_code in {200, 201, 400, 503}, answer.text

    def kill_sandbox(self, _: str) -> None:
        self._kill("router.sandbox")

    def kill_worker(self, _: str) -> None:
        self._kill("router.worker")

    def kill_control(self, _: str) -> None:
        self._kill("control")

    def _kill(self, module: str) -> None:
        """One of them; nobody where none runs."""
        if found := children(self.up.process.popen.pid, module):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(found), signal.SIGKILL)

    def replace(self, _: str) -> None:
        """Other bytes in the place of a candidate's: those of version 4, or its own again."""
        place = self.models / "digits" / str(self.chance.choice((2, 3)))
        if place.is_dir():
            source = MODELS / "digits" / self.chance.choice((place.name, "4")) / "model.onnx"
            shutil.copyfile(source, place / "new")
            (place / "new").replace(place / "model.onnx")

    def remove(self, _: str) -> None:
        shutil.rmtree(self.models / "digits" / str(self.chance.choice((1, 2, 3))), ignore_errors=True)

    def restore(self, _: str) -> None:
        for version in "123":
            if not (self.models / "digits" / version).is_dir():
                shutil.copytree(MODELS / "digits" / version, self.models / "digits" / version)

    def check(self) -> None:
        """The laws, once it is quiet."""
        for name in NAMES:
            eventually(lambda name=name: self.quiet(name), f"{name} is quiet", PATIENCE_SECONDS)
            eventually(
                lambda name=name: self.true(name), f"what is said of {name} is served", PATIENCE_SECONDS
            )

    def quiet(self, name: str) -> bool:
        """Whether nothing is under way: the change is in force, and every target is loaded or refused.

        A candidate is refused where its files were replaced or removed after they were accepted and before
        its sandbox took them.
        """
        view = self.up.view(name)
        settled = all(
            target["ready"] and (all(target["ready"].values()) or refused(target))
            for target in view["targets"]
        )
        return bool(view["applied"]) and view["in_force_everywhere"] and settled

    def true(self, name: str) -> bool:
        """The laws, each an assertion; false where something happened meanwhile, and it is asked again."""
        before = self.up.view(name)
        serving, status = before["serving"], before["status"]
        if len(before["served"]) != 1:
            return False  # workers that were killed at the same time are missed only now
        [row] = before["served"]
        assert row["target"] == serving["stable"], (row, serving)
        assert row["wanted"], row
        lacking = [target for target in before["targets"] if not all(target["ready"].values())]
        gap = bool(lacking) and serving["weight"] > 0
        assert ("; but " in status["sentence"]) == gap, (status, lacking)
        digests = {(t["role"], t["target"]): t["sha256"] for t in before["targets"]}
        assert row["sha256"] == digests["stable", serving["stable"]], (row, digests)
        assert all(target["role"] == "canary" for target in lacking), lacking
        for role in ("stable", "canary") if serving["canary"] and not lacking else ("stable",):
            self._answers(name, role, serving[role], digests[role, serving[role]])
        return self.up.view(name)["revision"] == before["revision"]

    def _answers(self, name: str, role: str, target: str, digest: str) -> None:
        """Who is said to answer does, with the bytes that are shown, and is counted."""
        counted = self.counted(name, target)
        answer = self.up.client.post(
            f"/v2/models/{name}/infer", content=body(7), headers={**JSON, "x-understudy-target": role}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-understudy-target"] == target, f"{role} of {name}"
        [found] = [out["data"] for out in answer.json()["outputs"] if out["name"] == "probabilities"]
        assert self.answers.setdefault(digest, found) == found, f"{target} does not answer as {digest} did"
        eventually(lambda: self.counted(name, target) > counted, f"{target} of {name} is counted")

    def counted(self, name: str, target: str) -> float:
        return self.up.metric("understudy_requests_total", model=name, target=target, code="200")


def survive(folder: Path, events: int, seed: int) -> None:
    """So many events, one to four at a time, and the laws after each time."""
    print(f"seed {seed}")
    for version in "123":
        shutil.copytree(MODELS / "digits" / version, folder / "models" / "digits" / version)
    rollouts = orjson.dumps({name: document(2, 10) for name in NAMES}).decode()
    with (
        running(folder, rollouts, models=folder / "models", options=("--workers", "2")) as up,
        contextlib.ExitStack() as loads,
    ):
        loop = Loop(up, folder / "models", seed)
        clients = [
            loads.enter_context(
                Load(f"{up.url}/v2/models/{name}/infer", 10, plain, CONNECTIONS, timeout=PATIENCE_SECONDS)
            )
            for name in NAMES
        ]
        try:
            while len(loop.done) < events:
                for _ in range(min(loop.chance.randint(1, 4), events - len(loop.done))):
                    loop.one()
                loop.check()
                for load in clients:
                    assert set(load.ledger.statuses) <= {0, 200}, load.ledger.errors
        except (AssertionError, httpx.HTTPError):
            print(f"seed {seed}, after {len(loop.done)} events:", *loop.done[-30:], sep="\n  ")
            for path in (*(f"/v1/rollouts/{name}" for name in NAMES), "/v1/nodes"):
                print(up.admin.get(path).text)
            raise
        for load in clients:
            assert load.stop().statuses[0] <= CONNECTIONS * loop.kinds["kill_worker"], load.ledger.errors
        assert len(set(map(tuple, loop.answers.values()))) == len(loop.answers), "a digest is one model's"


def test_after_random_events_what_is_said_is_what_is_served(tmp_path):
    """The same seed each time, so that it takes about as long each time."""
    survive(tmp_path, 20, int(os.environ.get(SEED) or 20))


@pytest.mark.slow
def test_after_many_random_events_what_is_said_is_what_is_served(tmp_path):
    survive(tmp_path, 1000, int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6)))
