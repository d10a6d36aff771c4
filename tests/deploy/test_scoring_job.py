"""The job that scores every night: admitted where little is allowed, and its command does what it says."""

import yaml
from typer.testing import CliRunner

from harness.pod_security import beyond, violations
from harness.score_files import digits, rows_of, write
from harness.system import MODELS, ROOT
from understudy.cli import app

CRON = yaml.safe_load((ROOT / "deploy" / "scoring" / "cronjob.yaml").read_text())
JOB = CRON["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]


def test_its_pod_is_admitted():
    assert violations(POD) == []
    assert beyond(POD) == []


def test_its_command_scores_and_its_exit_codes_are_those_that_end_the_job(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "rows.parquet", digits(500))
    [container] = POD["containers"]
    arguments = [each.replace("/data", str(tmp_path)) for each in container["args"]]
    assert [each["name"] for each in container["env"]] == ["UNDERSTUDY_MODELS"]
    done = CliRunner().invoke(app, arguments, env={"UNDERSTUDY_MODELS": str(MODELS)})
    assert done.exit_code == 5, (done.stdout, done.stderr)  # of 25 rows nothing is proven
    assert len(rows_of(tmp_path / "out")) == 500
    codes = JOB["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert (codes["containerName"], codes["values"]) == (container["name"], [3, 5])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/models", "/data", "/tmp"} == mounts
