"""Users of an A/B/n test: they ask, and pay for what one model says more often than for another."""

import random
import threading
from collections.abc import Mapping
from typing import Self

import httpx

from harness.rows import body
from harness.system import Up

A_TURN = 50


class Shoppers:
    """Asks in turns, each as fast as it is answered, and after each tells who paid.

    Args:
        up: where.
        model: the public name.
        pays: by version that answered, which share of its answers is paid for.
        outcome: the name to tell it by.
        seed: of who pays.
        pause_seconds: between two turns.

    Attributes:
        statuses: of all answers so far.
        told: outcomes that were taken so far.
    """

    def __init__(
        self,
        up: Up,
        model: str,
        pays: Mapping[str, float],
        outcome: str = "paid",
        seed: int = 1,
        pause_seconds: float = 0.0,
    ) -> None:
        self._pause = pause_seconds
        self._up, self._model, self._pays, self._outcome = up, model, pays, outcome
        self._chance = random.Random(seed)
        self.statuses: list[int] = []
        self.told = 0
        self._ended, self._faults = threading.Event(), list[Exception]()
        self._thread = threading.Thread(target=self._run)

    def turn(self, client: httpx.Client, requests: int = A_TURN) -> None:
        """So many requests, and what became of them."""
        paid = []
        for _ in range(requests):
            answer = client.post(
                f"/v2/models/{self._model}/infer", content=body(self._chance.randrange(10**6))
            )
            self.statuses.append(answer.status_code)
            receipt = answer.headers.get("x-understudy-receipt")
            if answer.is_success and receipt:
                share = self._pays.get(answer.json().get("model_version", ""), 0.0)
                if self._chance.random() < share:
                    paid.append({"receipt": receipt, "name": self._outcome, "value": True})
        if paid:
            taken = client.post("/v1/outcomes", json=paid).raise_for_status().json()
            self.told += taken["accepted"]

    def _run(self) -> None:
        try:
            with httpx.Client(base_url=self._up.url, timeout=30, trust_env=False) as client:
                self.turn(client)
                while not self._ended.wait(self._pause):
                    self.turn(client)
        except Exception as error:  # noqa: BLE001  (told below, in the test's own thread)
            self._faults.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        assert not self._faults, self._faults
