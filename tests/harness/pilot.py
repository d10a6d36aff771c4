"""Rollouts of one test each on a shared `understudy up`, and what its autopilot says of them."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.load import Load
from harness.rows import plain
from harness.system import Up, eventually

ENDS = {"promoted", "rolled_back"}


class Pilot:
    """One public name and its rollout.

    Args:
        up: where it is served.
        model: the public name.
    """

    def __init__(self, up: Up, model: str) -> None:
        self.up, self.model = up, model
        self._path = f"/v1/rollouts/{model}"

    def put(self, document: Mapping[str, Any]) -> int:
        """Put a document; the rollout's revision."""
        return int(self.up.admin.put(self._path, json=document).raise_for_status().json()["revision"])

    def act(self, action: str) -> None:
        """What a person does."""
        self.up.admin.post(f"{self._path}/{action}", json={"reason": "the test"}).raise_for_status()

    @property
    def infer(self) -> str:
        """The path to ask it by."""
        return f"/v2/models/{self.model}/infer"

    @property
    def view(self) -> dict[str, Any]:
        """The rollout as the admin API shows it."""
        return self.up.view(self.model)

    def metric(self, name: str, **labels: str) -> float:
        """Of this public name, e.g. `requests_total`."""
        return self.up.metric(f"understudy_{name}", model=self.model, **labels)

    def sandboxes(self, target: str = "digits/2") -> list[int]:
        """The living processes of a candidate of it, as they report to control."""
        mine = f"UNDERSTUDY_SANDBOX_MODEL={self.model}"
        found = []
        for pid in self.up.pids("sandbox", target):
            with contextlib.suppress(OSError):  # it has just ended
                if mine in Path(f"/proc/{pid}/environ").read_text().split("\0"):
                    found.append(pid)
        return found

    @property
    def status(self) -> dict[str, Any]:
        """Phase, sentence, step and so on."""
        return dict(self.up.view(self.model)["status"])

    def ready(self) -> bool:
        """Whether it is in force, and each of its targets ready wherever it is used."""
        view = self.view
        return bool(view["in_force_everywhere"]) and all(
            target["ready"] and all(target["ready"].values()) for target in view["targets"]
        )

    @property
    def judgement(self) -> dict[str, Any]:
        """What the guards say now; empty while there is nothing to judge."""
        answer = self.up.admin.get(f"{self._path}/evidence").raise_for_status().json()
        return dict(answer["judgement"] or {})

    def guard(self, name: str) -> dict[str, Any]:
        """One guard's verdict; empty before the first look."""
        return next((dict(g) for g in self.judgement.get("guards", ()) if g["guard"] == name), {})

    @property
    def counted(self) -> int:
        """Canary requests that the errors guard rests on."""
        found = re.search(r"of ([\d,]+) canary requests", self.guard("errors").get("reason", ""))
        return int(found[1].replace(",", "")) if found else 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """Audit rows, the latest first."""
        return list(self.up.admin.get(f"{self._path}/history").raise_for_status().json())

    def load(self, rate: float, connections: int = 64) -> Load:
        """Digits at a constant rate."""
        return Load(self.up.url + self.infer, rate, plain, connections)

    def wait_phase(self, phase: str, seconds: float = 40.0) -> dict[str, Any]:
        """Until it is in this phase; the status then. Another end than that is a failure at once."""

        def there() -> bool:
            self_status = self.status
            if self_status["phase"] in ENDS - {phase}:
                raise RuntimeError(f"{self.model}: {self_status['sentence']}")
            return bool(self_status["phase"] == phase)

        eventually(there, f"{self.model} is {phase}", seconds)
        return self.status

    def wait_step(self, step: int) -> None:
        """Until this step (from 1) is under way."""
        eventually(lambda: self.status["step"] == step, f"{self.model} at step {step}")

    def look(self, times: int = 3) -> None:
        """Wait until the autopilot has looked at it so many times in a step that counts time."""
        began = self.status["waited_seconds"]
        eventually(lambda: self.status["waited_seconds"] >= began + times - 0.5, f"{times} looks")


@contextlib.contextmanager
def piloted(up: Up, model: str, document: Mapping[str, Any]) -> Iterator[Pilot]:
    """A rollout under a name of its own, known to every worker, deleted afterwards."""
    pilot = Pilot(up, model)
    pilot.put(document)
    try:
        # Until a worker has the new name, it rightly answers 404.
        eventually(lambda: pilot.view["in_force_everywhere"], f"{model} in force")
        yield pilot
    except BaseException:
        print(pilot.status, pilot.judgement)  # pytest shows it
        raise
    finally:
        up.admin.delete(f"/v1/rollouts/{model}").raise_for_status()


def rollout(
    canary: str | Mapping[str, str],
    guards: Mapping[str, Any],
    *steps: Any,
    mirror: float = 0,
    weight: float = 10,
) -> dict[str, Any]:
    """A document: the weight, then the steps (one `prove` when none are given)."""
    target = {"model": canary} if isinstance(canary, str) else dict(canary)
    taken = [{"setWeight": weight}, *(steps or [{"prove": {}}])]
    return {
        "stable": "digits/1",
        "canary": {**target, "steps": taken, "mirror": mirror},
        "compare": {"label": "exact", "probabilities": {"atol": 0.5}},
        "guards": dict(guards),
        "alpha": "5%",
    }
