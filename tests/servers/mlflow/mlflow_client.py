"""What data scientists do with MLflow, by its own client: a line of JSON in for each thing, one out.

It runs in the environment of the server (`harness.mlflow_server.MlflowClient`); importing MLflow takes long.
"""

import json
import os
import sys

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient


def register(
    name, model, *, user="ann", tags=None, params=None, metadata=None, dataset="", external=True, alias=""
):
    """Log the ONNX model of a file in a run, and register it: its version, its run, where it was logged."""
    graph = onnx.load(model)
    for key, value in (metadata or {}).items():
        graph.metadata_props.add(key=key, value=value)
    with mlflow.start_run(tags={"mlflow.user": user, **(tags or {})}) as run:
        mlflow.log_params(params or {})
        if dataset:
            data = mlflow.data.from_numpy(np.zeros((3, 2), "f4"), source=dataset, name="digits-train")
            mlflow.log_input(data, context="training")
        logged = mlflow.onnx.log_model(
            graph, name="model", registered_model_name=name, save_as_external_data=external,
            pip_requirements=["onnxruntime"], await_registration_for=120,
        )  # fmt: skip
    version = str(logged.registered_model_version)
    if alias:
        MlflowClient().set_registered_model_alias(name, alias, version)
    return {"version": version, "run": run.info.run_id, "uri": logged.model_uri}


def register_other(name):
    """Register a version that is no ONNX model: a function of Python."""

    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, model_input: list[float]) -> list[float]:
            return model_input

    with mlflow.start_run():
        logged = mlflow.pyfunc.log_model(
            name="model", python_model=Model(), registered_model_name=name, pip_requirements=[]
        )
    return {"version": str(logged.registered_model_version)}


def register_empty(name):
    """Register a model of which nothing has been uploaded yet."""
    begun = MlflowClient().create_logged_model("0")
    return register_source(name, f"models:/{begun.model_id}", begun.model_id)


def register_source(name, source, model_id=None):
    """Register a version whose artifacts are said to be somewhere, whether or not they are."""
    client = MlflowClient()
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException:
        client.get_registered_model(name)
    return {"version": str(client.create_model_version(name, source, model_id=model_id).version)}


def call(method, arguments):
    """Any call of MLflow's client that gives nothing back."""
    getattr(MlflowClient(), method)(*arguments)


def run(code):
    """Do what a page says, in a program of its own."""
    exec(code, {})


def main():
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what MLflow prints is no answer
    for line in sys.stdin:
        what, arguments = json.loads(line)
        answers.write(json.dumps(globals()[what](**arguments)) + "\n")


if __name__ == "__main__":
    main()
