"""Whether this process is told to end: its end waits for its threads, which then wait for nobody else."""

import threading

ending = threading.Event()
"""Set once, by the first signal; never cleared."""
