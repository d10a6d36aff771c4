"""mosec: one worker process, orjson both ways; IRIS_BATCH is the largest batch, 1 for none."""

import os

import iris
import orjson
from mosec import Server, Worker

BATCH = int(os.environ.get("IRIS_BATCH", "1"))
LEAST_WAIT_MS = 1


class Iris(Worker):
    """The model, a request at a time."""

    def deserialize(self, data: bytes) -> dict:
        """JSON by orjson."""
        return orjson.loads(data)

    def serialize(self, data: dict) -> bytes:
        """JSON by orjson."""
        return orjson.dumps(data)

    def forward(self, data: dict) -> dict:
        """One request."""
        return iris.answer(data["features"])


class BatchedIris(Iris):
    """The model, a batch at a time."""

    def forward(self, data: list) -> list:
        """Requests of one row each, run as one."""
        answers = iris.answer([one["features"] for one in data])
        return [
            {"label": [label], "probabilities": [row]}
            for label, row in zip(answers["label"], answers["probabilities"], strict=True)
        ]


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        BatchedIris if BATCH > 1 else Iris, num=1, max_batch_size=BATCH, max_wait_time=LEAST_WAIT_MS
    )
    server.run()
