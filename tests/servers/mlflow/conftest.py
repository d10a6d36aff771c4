"""One MLflow server and one of its clients for all tests."""

import pytest

from harness.mlflow_server import MlflowClient, mlflow_server


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory):
    """The server."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def scientist(mlflow, tmp_path_factory):
    """Who registers models there."""
    client = MlflowClient(mlflow, tmp_path_factory.mktemp("scientist"))
    yield client
    client.end()
