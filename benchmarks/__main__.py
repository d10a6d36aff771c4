"""`python -m benchmarks [PART ...]`: figures into docs/benchmarks; all parts when none is named."""

import subprocess
import sys

PARTS = {
    "hotpath": "benchmarks.speed.hotpath",
    "payloads": "benchmarks.speed.payloads",
    "start": "benchmarks.speed.start",
    "peers": "benchmarks.peers",
    "batching": "benchmarks.batching",
    "large": "benchmarks.batching.large",
    "proxies": "benchmarks.proxies",
    "shadow": "benchmarks.speed.shadow",
    "workers": "benchmarks.speed.workers",
    "trees": "benchmarks.speed.trees",
    "edits": "benchmarks.speed.edits",
    "graphs": "benchmarks.speed.graphs",
    "stalls": "benchmarks.speed.stalls",
    "detection": "benchmarks.evidence.detection",
    "aa": "benchmarks.evidence.aa",
    "policies": "benchmarks.policies",
    "outcomes": "benchmarks.outcomes",
    "outcomes-load": "benchmarks.robustness.outcomes_load",
    "pages": "benchmarks.speed.pages",
    "profile": "benchmarks.speed.profile",
    "fleet": "benchmarks.fleet",
    "score": "benchmarks.score",
}


def main() -> None:
    """Run the parts one after the other: nothing else should run beside them."""
    chosen = sys.argv[1:] or [*PARTS]
    for part in chosen:
        if part not in PARTS:
            sys.exit(f"unknown part {part!r}; known: {', '.join(PARTS)}")
    for part in chosen:
        subprocess.run([sys.executable, "-m", PARTS[part]], check=True)


if __name__ == "__main__":
    main()
