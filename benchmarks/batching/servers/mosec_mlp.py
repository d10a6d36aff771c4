"""mosec: one worker process; a row of float32 as plain bytes comes in, one goes out.

MLP_BATCH is the largest batch, MLP_WAIT_MS how long mosec may wait for it to fill.
"""

import os

import mlp
import numpy as np
from mosec import Server, Worker


class Mlp(Worker):
    """The model, a batch at a time."""

    def deserialize(self, data: bytes) -> np.ndarray:
        """One row, without a copy."""
        return np.frombuffer(data, np.float32)

    def serialize(self, data: np.ndarray) -> bytes:
        """One row."""
        return data.tobytes()

    def forward(self, data: list) -> list:
        """Rows of several requests, run as one."""
        return list(mlp.run(np.stack(data)))


if __name__ == "__main__":
    batch, wait_ms = int(os.environ["MLP_BATCH"]), int(os.environ["MLP_WAIT_MS"])
    server = Server()
    server.append_worker(Mlp, num=1, max_batch_size=batch, max_wait_time=wait_ms)
    server.run()
