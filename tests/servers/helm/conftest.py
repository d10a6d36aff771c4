"""The chart, rendered by Helm's library in the environment of this folder."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.system import ROOT

PYTHON = ROOT / "build" / "servers" / "helm" / "bin" / "python"
CHART = ROOT / "deploy" / "helm"
SECONDS = 300.0


@pytest.fixture(scope="session")
def helm():
    """A function: values by a name -> what Helm makes of each; with versions of Kubernetes also checked."""

    def of(values, versions=(), manifests=None):
        asked = {"chart": str(CHART), "name": "understudy", "namespace": "ml", "versions": list(versions)}
        done = subprocess.run(
            [str(PYTHON), str(Path(__file__).with_name("rendering.py"))],
            input=json.dumps({**asked, "values": values, "manifests": manifests or {}}),
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return of
