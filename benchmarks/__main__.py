"""`python -m benchmarks [PART ...]`: figures into docs/benchmarks; all parts when none is named."""

import subprocess
import sys

PARTS = (
    "hotpath",
    "payloads",
    "start",
    "peers",
    "batching",
    "large",
    "proxies",
    "shadow",
    "workers",
    "edits",
    "stalls",
    "detection",
    "policies",
    "pages",
    "profile",
)


def main() -> None:
    """Run the parts one after the other: nothing else should run beside them."""
    chosen = sys.argv[1:] or PARTS
    for part in chosen:
        if part not in PARTS:
            sys.exit(f"unknown part {part!r}; known: {', '.join(PARTS)}")
    for part in chosen:
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)


if __name__ == "__main__":
    main()
