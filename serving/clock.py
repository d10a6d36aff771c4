"""The one clock of the data plane: monotonic seconds, the same in every process of a machine (Linux)."""

import time

clock = time.perf_counter
