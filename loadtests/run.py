"""What `make load` runs: a server on free ports with the bundled models, a short load test, a clean end.

python loadtests/run.py [options of Locust and of locustfile.py]

The exit code is Locust's; 1 when the server did not end cleanly.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Folders of tests have the names of packages, so the packages' own place is looked at too.
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT))

from harness.system import Up  # noqa: E402  (the tests know how to start a system)

LIMITS = ["--sla-errors", "0.1%", "--sla-accuracy", "95%"]
"""Those that hold on every machine; `--sla-p95` and the like are for the caller to add."""

INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Run the load test against a server of its own; later options override earlier ones."""
    with tempfile.TemporaryDirectory(prefix="understudy-load-") as folder:
        up = Up(Path(folder), (ROOT / "rollouts.yaml").read_text())
        try:
            print("starting the server ...", flush=True)
            up.wait_ready()
            code = locust(up.url, arguments)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except AssertionError as error:
            print(f"error: {error}\n{up.process.log.read_text()[-4000:]}", file=sys.stderr)
            code = 1
        ended = up.end()
    if not ended or code == INTERRUPTED:  # it may have been told to end before it had begun
        return code
    print(f"error: the server ended with {ended}", file=sys.stderr)
    return code or 1


def locust(url: str, arguments: list[str]) -> int:
    """One headless run; Ctrl-C reaches Locust too, which then ends with its report."""
    file = str(ROOT / "loadtests" / "locustfile.py")
    command = [
        sys.executable, "-m", "locust", "-f", file, "--headless", "--only-summary", "--loglevel", "WARNING",
        "--host", url,
    ]  # fmt: skip
    with subprocess.Popen([*command, *LIMITS, *arguments]) as process:
        with contextlib.suppress(KeyboardInterrupt):
            return process.wait()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
