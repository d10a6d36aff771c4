"""The templates for CI systems: YAML that only calls commands which exist, with options which exist."""

import re
import shlex

import pytest
import typer
import yaml

from harness.system import ROOT
from understudy.cli import app

CI = ROOT / "deploy" / "ci"
CALLS = ("pip install", "understudy gate", "cat gate.md")


def scripts(name):
    """What a template runs, line by line."""
    document = yaml.safe_load((CI / name).read_text())
    if name == "github.yml":
        steps = document["jobs"]["gate"]["steps"]
        return [step["run"] for step in steps if "run" in step]
    return document["rollouts:gate"]["script"]


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_template_only_calls_the_gate_with_options_that_exist(name):
    known = {option for param in typer.main.get_command(app).commands["gate"].params for option in param.opts}
    lines = scripts(name)
    [gate] = [line for line in lines if line.startswith("understudy gate")]
    assert {word for word in shlex.split(gate) if word.startswith("--")} <= known
    assert all(line.startswith(CALLS) for line in lines)


@pytest.mark.parametrize("name", ["github.yml", "gitlab.yml"])
def test_a_template_names_no_host_and_puts_nothing_of_a_change_into_a_command(name):
    text = (CI / name).read_text()
    assert not re.search(r"https?://|\b[\w-]+\.(?:com|org|io|net)\b", text)
    assert not any("${{" in line for line in scripts(name))


def test_the_templates_keep_what_the_gate_writes():
    gitlab = yaml.safe_load((CI / "gitlab.yml").read_text())["rollouts:gate"]
    assert gitlab["artifacts"]["reports"] == {"junit": "gate.xml"}
    assert yaml.safe_load((CI / "github.yml").read_text())["permissions"] == {"contents": "read"}
