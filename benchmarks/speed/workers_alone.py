"""onnxruntime alone, one thread, on what `benchmarks.speed.workers` sends.

`python -m benchmarks.speed.workers_alone SECONDS` prints its runs for each second of CPU. Several at once
show what the machine's cores take from one another.
"""

import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import numpy as np
import onnxruntime

from benchmarks.speed.workers import PIXELS, ROWS


def main(seconds: float) -> None:
    """Run what the workers run until the time is over."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession("models/digits/4/model.onnx", options)
    feed = {"pixels": np.array(PIXELS, np.float32).reshape(ROWS, 64)}
    session.run(None, feed)
    runs, cpu, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        session.run(None, feed)
        runs += 1
    print(runs / (time.process_time() - cpu))


if __name__ == "__main__":
    main(float(sys.argv[1]))
