"""onnxruntime alone in a loop: what no server for iris can beat. `python loop.py SECONDS` prints figures."""

import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; see serving/models/ort.py

import numpy as np
import onnxruntime


def main(seconds: float) -> None:
    """Run the typical row until the time is over; the fields are those of load.Closed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession("models/iris/1/model.onnx", options)
    feed = {"features": np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)}
    names = ["label", "probabilities"]
    nanoseconds = []
    cpu, began = time.process_time(), time.perf_counter_ns()
    last, end = began, began + int(seconds * 1e9)
    while last < end:
        session.run(names, feed)
        now = time.perf_counter_ns()
        nanoseconds.append(now - last)
        last = now
    cpu, runs = time.process_time() - cpu, len(nanoseconds)
    nanoseconds.sort()
    figures = {
        "requests_per_second": runs / ((last - began) / 1e9),
        "p50_us": nanoseconds[runs // 2] / 1e3,
        "p99_us": nanoseconds[runs * 99 // 100] / 1e3,
        "cpu_us": cpu / runs * 1e6,
        "errors": 0,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(float(sys.argv[1]))
