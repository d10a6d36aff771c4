"""The chart's values and their schema say the same as each other, as the examples, and as the product."""

import json
import re

import jsonschema_rs
import pytest
import typer
import yaml
from pydantic import SecretStr

from control.settings import ControlSettings
from harness.fences import fences
from harness.system import ROOT
from serving.settings import INTERNAL
from understudy.cli import app
from understudy.settings import SupervisorSettings, UpSettings

CHART = ROOT / "deploy" / "helm"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())}
KINDS = {"control": ControlSettings, "node": SupervisorSettings}
FIXED = {
    "host", "port", "admin_port", "admin_socket", "metrics_port", "state_dir", "models", "model_cache",
    "node", "token", "notifications", "require_signature", "tokens", "api_keys", "canary_keys",
    "allow_load", "tell_compute_time", "grpc_port",
}  # fmt: skip
"""What a pod cannot choose, what has a value of its own, and what only `understudy serve` has."""


def objects(schema, path=""):
    """Every object of which the schema names the values."""
    if "properties" in schema and not schema.get("examples"):
        yield path, schema
        for name, child in schema["properties"].items():
            yield from objects(child, f"{path}.{name}")


OBJECTS = dict(objects(SCHEMA))


@pytest.mark.parametrize("path", OBJECTS)
def test_an_object_takes_no_value_that_it_does_not_describe(path):
    assert OBJECTS[path]["additionalProperties"] is False
    assert all(child["description"] for child in OBJECTS[path]["properties"].values())


def defaults(values, schema):
    """Paths of the values that have a default, as deep as the schema names them."""
    for name, value in values.items():
        child = schema["properties"].get(name, {})
        yield name, ()
        if "properties" in child and isinstance(value, dict):
            yield from ((f"{name}.{deeper}", rest) for deeper, rest in defaults(value, child))


def test_every_value_has_a_default_and_every_default_is_described():
    given = {path for path, _ in defaults(VALUES, SCHEMA)}
    described = {
        f"{path}.{name}".lstrip(".") for path, found in OBJECTS.items() for name in found["properties"]
    }
    files = {f"{part}.files.{option}" for part in KINDS for option in options_of_files(part)}
    assert given == described - files


@pytest.mark.parametrize("path", sorted((CHART / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_has_no_value_that_is_not_described(path):
    closed = jsonschema_rs.Draft202012Validator(SCHEMA)
    assert [error.message for error in closed.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "block", [b for b in fences(ROOT / "docs/kubernetes.md") if b.title == "values.yaml"], ids=str
)
def test_the_values_of_the_page_are_described(block):
    found = jsonschema_rs.Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(block.text))
    assert [error.message for error in found] == []


def options_of_files(part):
    return SCHEMA["properties"][part]["properties"]["files"]["properties"]


def said_by_templates(part):
    """Names of settings that the templates give to a command themselves."""
    text = TEMPLATES[f"{part}.yaml"] + TEMPLATES["_helpers.tpl"]
    options = re.findall(r"^ *- --([a-z-]+)$", text, re.MULTILINE)
    variables = re.findall(r"name: UNDERSTUDY_(\w+)", text)
    return {name.replace("-", "_") for name in options} | {name.lower() for name in variables}


@pytest.mark.parametrize("part", KINDS)
def test_the_settings_of_a_part_are_those_of_its_command_that_the_chart_leaves_open(part):
    fields = KINDS[part].model_fields
    theirs = {
        f"UNDERSTUDY_{name.upper()}"
        for name, field in fields.items()
        if INTERNAL not in field.metadata
        and field.annotation is not SecretStr
        and name not in FIXED | said_by_templates(part)
    }
    named = SCHEMA["properties"][part]["properties"]["settings"]["propertyNames"]["enum"]
    assert named == sorted(theirs)


@pytest.mark.parametrize("part", KINDS)
def test_every_option_of_a_template_exists(part):
    command = typer.main.get_command(app).commands[part]
    known = {option for param in command.params for option in param.opts}
    said = {f"--{name.replace('_', '-')}" for name in said_by_templates(part)}
    variables = {"--node"}  # UNDERSTUDY_NODE, whose option is --name
    assert said - variables <= known
    assert {f"--{option}" for option in options_of_files(part)} <= known


def test_every_secret_that_a_template_mounts_is_a_setting():
    secrets = set(re.findall(r'"understudy_(\w+)"', TEMPLATES["control.yaml"]))
    fields = UpSettings.model_fields
    assert secrets == {name for name, field in fields.items() if field.annotation is SecretStr}


def test_the_chart_has_the_version_of_the_project_and_names_no_host_of_images():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == project[1]
    assert VALUES["image"]["repository"] == ""
