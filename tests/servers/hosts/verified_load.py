"""Constant load of which every answer is held against what the model that gave it says."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from harness.load import Load
from harness.rows import outputs_of, plain
from harness.system import eventually


class VerifiedLoad(Load):
    """Digits, one a request.

    Attributes:
        answers: target and status -> answers.
        wrong: the first few answers that are not what that target says.
        untold: answers of a host that died which it may not have told control; a scene says how many.
    """

    def __init__(self, url: str, model: str, rate: float) -> None:
        super().__init__(f"{url}/v2/models/{model}/infer", rate, plain, timeout=30.0)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.untold = 0

    def answered(self, number: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
        target = headers.get("x-understudy-target", "")
        self.answers[target, status] += 1
        if status == 200 and (problem := _problem(number, target, body)) and len(self.wrong) < 20:
            self.wrong.append(f"request {number}: {problem}")

    def more(self, number: int) -> None:
        """Wait for so many further answers."""
        reached = self.ledger.sent + number
        eventually(lambda: self.ledger.sent >= reached, f"{number} more answers")

    def served(self) -> Counter[str]:
        """Good answers by target."""
        found: Counter[str] = Counter()
        for (target, status), count in self.answers.items():
            if status == 200:
                found[target] += count
        return found


def _problem(number: int, target: str, body: bytes) -> str:
    """What is wrong with an answer; empty where nothing is."""
    given: dict[str, Any] = {each["name"]: each["data"] for each in orjson.loads(body)["outputs"]}
    expected = outputs_of(target)
    for name, rows in expected.items():
        if name not in given or not np.allclose(given[name], rows[number % len(rows)].ravel(), atol=1e-4):
            return f"{target} gives {given.get(name)} as {name}, not {rows[number % len(rows)]}"
    return ""
