"""Without a rollout file: the highest version of each model, chosen once and said."""

import shutil

import httpx

from harness.state import state_folder
from harness.system import MODELS, START_SECONDS, Process, eventually, free_port


def started(folder, models):
    port = free_port()
    arguments = [
        "control", "--models", str(models), "--state-dir", state_folder(folder / "state"),
        "--admin-port", str(port),
    ]  # fmt: skip
    process = Process(arguments, folder)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False)
    eventually(lambda: client.get("/readyz").status_code == 200, "control is ready", START_SECONDS)
    return process, client


def stables(client):
    return {view["model"]: view["serving"]["stable"] for view in client.get("/v1/rollouts").json()}


def sentences(client):
    return [view["status"]["sentence"] for view in client.get("/v1/rollouts").json()]


def test_the_highest_version_is_chosen_once_and_what_came_since_is_said_and_not_served(tmp_path):
    models = tmp_path / "models"
    for model in ("digits/1", "iris/1"):
        shutil.copytree(MODELS / model, models / model)
    process, client = started(tmp_path, models)
    eventually(lambda: stables(client) == {"digits": "digits/1", "iris": "iris/1"}, "both are served")
    assert all("without a rollout file: the highest version" in text for text in sentences(client))
    assert "the highest version is stable from now on" in process.log.read_text()
    assert client.delete("/v1/rollouts/iris").status_code == 204
    client.close()
    assert process.end() == 0

    shutil.copytree(MODELS / "digits/2", models / "digits/2")
    shutil.copytree(MODELS / "diabetes", models / "diabetes")
    process, client = started(tmp_path, models)
    eventually(lambda: "diabetes" in stables(client), "a model that is new is served")
    assert stables(client)["digits"] == "digits/1", "another version came, and nothing changes by itself"
    assert all("without a rollout file: the highest version" in text for text in sentences(client))
    client.put("/v1/rollouts/digits", json={"stable": "digits/2"}).raise_for_status()
    [sentence] = [text for text in sentences(client) if "digits" in text]
    assert "without a rollout file" not in sentence, "a person has chosen"
    assert "iris" not in stables(client), "what was deleted does not come back by a restart"
    said = process.log.read_text()
    assert "a higher version is there and not served" in said
    assert "not served: deleted" in said
    client.close()
    assert process.end() == 0
