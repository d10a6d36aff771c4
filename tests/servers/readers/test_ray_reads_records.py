"""Ray, in an environment of its own, reads the folder of the prediction log."""

import json
import os
import subprocess
from pathlib import Path

from harness.record_files import two_versions
from harness.system import ROOT

PYTHON = ROOT / "build" / "servers" / "readers" / "bin" / "python"
SECONDS = 300.0


def test_ray_reads_versions_with_other_outputs_together(tmp_path):
    two_versions(tmp_path)
    script = Path(__file__).with_name("read_by_ray.py")
    done = subprocess.run(
        [str(PYTHON), str(script), str(tmp_path), "receipt", "hour", "output_label", "output_scores"],
        env={"PATH": os.environ["PATH"], "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert sorted(rows, key=lambda row: row["receipt"]) == [
        {"receipt": "a0", "hour": "13", "output_label": [3], "output_scores": None},
        {"receipt": "b0", "hour": "14", "output_label": None, "output_scores": [0.5, 0.25]},
    ]
