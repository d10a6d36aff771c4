"""Models of a real MLflow server: listed, fetched, served, and served while it is away."""

import json

import httpx
import numpy as np
import pytest

from harness.mlflow_server import PASSWORD, USER
from harness.system import MODELS, eventually, running
from serving.errors import Forbidden, InvalidModel, NotFound, ServingError
from serving.models.files.repository import read
from serving.models.kinds import verify
from serving.places import Origin, Places
from serving.sources.mlflow.api import Registry
from serving.sources.opening import open_source
from serving.sources.remote import Away

CONFIG = 'versions: all\nlabels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]\n'
PIXELS = np.load(MODELS / "digits" / "heldout.npz")["inputs"][:3].astype("f4")
REQUEST = {
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [3, 64], "data": PIXELS.ravel().tolist()}]
}
ROLLOUTS = "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 10}\n"


@pytest.fixture(scope="module")
def registered(mlflow, scientist):
    """Two trained models of one name, a version of another kind, one without files, and an odd name."""
    first = scientist.do(
        "register", name="digits", model=str(MODELS / "digits" / "1" / "model.onnx"), user="ann",
        tags={"mlflow.source.git.commit": "0123abc"}, dataset="s3://data/digits.parquet",
        metadata={"parent": "digits/0"},
    )  # fmt: skip
    scientist.do("register", name="digits", model=str(MODELS / "digits" / "2" / "model.onnx"))
    scientist.do("call", method="set_registered_model_tag", arguments=["digits", "understudy.config", CONFIG])
    scientist.do("register_other", name="other")
    scientist.do("register_empty", name="half")
    scientist.do("register_source", name="away", source="s3://bucket/1")
    scientist.do("register_source", name="an odd name", source="s3://bucket/1")
    return first


@pytest.fixture
def source(mlflow, registered, tmp_path, monkeypatch):
    for name, value in mlflow.environment.items():
        monkeypatch.setenv(name, value)
    found = open_source(Origin(Places.of(mlflow.place), tmp_path / "cache"))
    yield found
    found._remote.registry.close()


def test_versions_with_an_onnx_model_are_found_and_the_rest_is_said(source):
    found = [(entry.name, entry.version) for entry in source.discover() if entry.name != "scans"]
    assert found == [("digits", "1"), ("digits", "2")]
    told = "\n".join(source.problems)
    assert "'an odd name': not a name for a model" in told
    assert "half/1: nothing was logged for it" in told
    assert "away/1: its files are in s3://bucket, which this MLflow does not pass on: log it in an" in told
    assert "1 versions without an ONNX model are left out, other/1 for one" in told


def test_what_is_fetched_is_whole_and_runs(source):
    entry = source.find("digits", "2")
    files = read(entry)
    assert files.external  # MLflow keeps larger tensors beside the graph
    assert entry.config.labels[3] == "3"
    [report] = verify([entry])
    assert (report.ok, report.sha256) == (True, files.sha256)


def test_what_is_known_comes_with_the_model(source, registered):
    entry = source.find("digits", "1")
    told = json.loads((entry.path.parent / "lineage.json").read_bytes())
    claims = {claim["about"]: claim for claim in told["claims"]}
    assert told["said_by"] == "MLflow"
    assert (claims["registered_by"]["value"], claims["commit"]["value"]) == ("ann", "0123abc")
    assert claims["run"]["value"] == registered["run"]
    assert claims["run"]["link"].endswith(f"/runs/{registered['run']}")
    assert claims["data"]["value"].startswith("digits-train ")


def test_what_is_no_model_here_is_not_there(source):
    with pytest.raises(NotFound):
        source.find("other", "1")
    with pytest.raises(NotFound):
        source.find("digits", "9")
    with pytest.raises(ServingError, match="nothing was logged"):
        source.find("half", "1")
    with pytest.raises(InvalidModel, match="s3://bucket"):
        source.find("away", "1")
    assert source.find("digits", "1").version == "1"  # the others are there


def test_wrong_credentials_are_said_without_being_repeated(mlflow, registered):
    wrong = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    with Registry(mlflow.url, environ=wrong) as registry, pytest.raises(Away) as refused:
        registry.model("digits")
    assert "refuses the credentials" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_an_account_that_may_only_read_is_told_so_and_the_server_is_not_away(mlflow, registered):
    account = {"username": "reader", "password": "another password"}
    created = httpx.post(
        f"{mlflow.url}/api/2.0/mlflow/users/create", json=account, auth=(USER, PASSWORD), trust_env=False
    )
    created.raise_for_status()
    names = {
        "MLFLOW_TRACKING_USERNAME": account["username"],
        "MLFLOW_TRACKING_PASSWORD": account["password"],
    }
    with Registry(mlflow.url, environ=names) as registry:
        assert registry.model("digits").name == "digits"
        with pytest.raises(Forbidden, match="forbids it to this account"):
            registry.set_version_tag("digits", "1", "understudy.result", "promoted")


def test_aliases_move_and_versions_are_tagged(mlflow, registered):
    with Registry(mlflow.url, environ=mlflow.environment) as registry:
        for version in ("1", "2"):
            registry.set_alias("digits", "tried", version)
            assert registry.model("digits").aliases["tried"] == version
        registry.set_version_tag("digits", "2", "understudy.verdict", "kept")
        assert registry.version("digits", "2").tags["understudy.verdict"] == "kept"
        with pytest.raises(NotFound):
            registry.set_alias("digits", "tried", "99")


def answers(up):
    return up.client.post("/v2/models/digits/infer", json=REQUEST).raise_for_status().json()


def test_a_node_serves_from_its_registry_and_goes_on_without_it(mlflow, registered, tmp_path):
    how = {"models": mlflow.place, "environment": dict(mlflow.environment)}
    with running(tmp_path, ROLLOUTS, **how) as up:
        first = answers(up)
    mlflow.kill()
    try:
        with running(tmp_path, ROLLOUTS, **how) as up:
            again = eventually(lambda: answers(up), "an answer while MLflow is away")
    finally:
        mlflow.start()
    assert first["outputs"][0]["data"] == again["outputs"][0]["data"]
