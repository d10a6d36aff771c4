"""After a run of pytest that failed: what failed, once more and with nothing beside it.

What passes then is flaky, and named in build/flaky.txt. Nothing is excused by that: CI ends red either way.
"""

import json
import subprocess
import sys
from pathlib import Path

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
FLAKY = Path("build/flaky.txt")


def failed() -> set[str]:
    """The tests that failed when they last ran, as pytest keeps them."""
    return set(json.loads(LAST_FAILED.read_text())) if LAST_FAILED.exists() else set()


def main() -> None:
    """Run it, for the information."""
    first = failed()
    if not first:
        print("no test failed, the run itself did: see above")
        return
    subprocess.run([sys.executable, "-m", "pytest", "--last-failed", *sys.argv[1:]], check=False)
    flaky = sorted(first - failed())
    FLAKY.parent.mkdir(exist_ok=True)
    FLAKY.write_text("".join(f"{test}\n" for test in flaky))
    print(
        f"failed twice, so broken: {len(first) - len(flaky)}; passed alone, so flaky: {len(flaky)} ({FLAKY})"
    )
    print("".join(f"FLAKY {test}\n" for test in flaky), end="")


if __name__ == "__main__":
    main()
