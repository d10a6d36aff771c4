"""onnxruntime alone with one thread: `python batching_alone.py MODEL INPUT BATCHES SECONDS` prints its times.

INPUT is an .npy with the input `x` of one row. The printed JSON has for every batch of the comma-separated
list the median seconds of a run, over as many runs as SECONDS allow; and what the load took and left behind.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import numpy as np
import onnxruntime


def main(model: str, row_file: str, batches: str, seconds: float) -> None:
    """Measure every batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    before, began = resident_bytes(), time.perf_counter()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    load_seconds, load_bytes = time.perf_counter() - began, resident_bytes() - before
    row = np.load(row_file)
    medians = {}
    for batch in map(int, batches.split(",")):
        feed = {"x": np.repeat(row, batch, axis=0)}
        session.run(["y"], feed)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            began = time.perf_counter()
            session.run(["y"], feed)
            times.append(time.perf_counter() - began)
        medians[batch] = sorted(times)[len(times) // 2]
    print(json.dumps({"seconds": medians, "load_seconds": load_seconds, "load_bytes": load_bytes}))


def resident_bytes() -> int:
    """Of this process, just now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    main(*sys.argv[1:4], float(sys.argv[4]))
