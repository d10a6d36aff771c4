"""`understudy models pull|push|list` where no store answers: folders, refusals, and a store that is away."""

import json
import shutil
import socket
from hashlib import sha256

import pytest

from harness.command import told
from harness.system import MODELS

URL = "s3://models/team"
SECRET = "a-secret-of-tests"


@pytest.fixture
def settings(tmp_path):
    """The environment of a command, with a store at whose door nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield {
            "UNDERSTUDY_MODELS": str(MODELS), "UNDERSTUDY_MODEL_CACHE": str(tmp_path / "cache"),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}", "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "any",
        }  # fmt: skip


@pytest.fixture
def models(settings):
    """Runs `understudy models`; says its exit code, and what it printed, with errors and without."""

    def run(*words):
        done = told("models", *words, environment=settings)
        assert SECRET not in done.output
        return done.exit_code, " ".join(done.output.split()), done.stdout

    return run


def test_pull_copies_into_a_folder_and_overwrites_nothing_unless_it_is_told_to(models, tmp_path):
    target = tmp_path / "copy"
    pull = ("pull", "iris/1", "--to", str(target))
    code, said, _ = models(*pull)
    digest = sha256((MODELS / "iris" / "1" / "model.onnx").read_bytes()).hexdigest()
    assert (code, said.startswith("iris/1 ")) == (0, True)
    assert f"sha256 {digest}" in said
    assert models(*pull)[0] == 0, "the same bytes are no other ones"
    file = target / "iris" / "1" / "model.onnx"
    file.write_bytes(b"others")
    code, said, _ = models(*pull)
    assert code == 1
    assert "iris/1/model.onnx: there with other bytes; overwrite it with --force" in said
    assert file.read_bytes() == b"others"
    assert models(*pull, "--force")[0] == 0
    assert sha256(file.read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in file.parents[1].iterdir() if path.name[0] == ".") == []


def test_pull_without_a_version_takes_those_that_are_served(models):
    code, _, stdout = models("pull", "digits", "--json")
    served = [(row["name"], row["version"]) for row in json.loads(stdout)]
    _, _, listed = models("list", "--json")
    rows = json.loads(listed)["models"]
    assert code == 0
    assert sorted(served) == sorted(
        (r["name"], r["version"]) for r in rows if r["name"] == "digits" and r["served_alone"]
    )


def test_pull_into_a_folder_that_cannot_be_written_says_so(models, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    code, said, _ = models("pull", "iris/1", "--to", str(tmp_path / "file"))
    assert (code, "Traceback" in said) == (1, False)
    assert "Not a directory" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("push", "iris", URL), "push NAME/VERSION to s3://, gs:// or az://"),
        (("push", "iris/1", "elsewhere"), "push NAME/VERSION to s3://, gs:// or az://"),
        (("push", "iris/1", "mlflow+http://host"), "push NAME/VERSION to s3://, gs:// or az://"),
        (("push", "iris/1", f"s3://key:{SECRET}@models"), "no user or password in a URL"),
        (("push", "iris/1", "s3:models"), "a URL has two slashes, s3://models"),
        (("push", "iris/77", URL), "no model 'iris' version '77'"),
        (("push", "iris/1", URL), f"{URL}: the connection is refused"),
        (("pull", "nobody"), "no model 'nobody'"),
        (("pull", "iris/77"), "no model 'iris' version '77'"),
        (("pull", "iris/1", "--models", URL), f"{URL}: the connection is refused"),
        (("check", "--models", URL), f"the repository is empty; left out: {URL}: the connection is refused"),
    ],
)
def test_what_cannot_be_is_refused_in_words(words, why, models):
    code, said, _ = models(*words)
    assert (code, "Traceback" in said) == (1, False)
    assert why in said


ACCOUNT = {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "YS1zZWNyZXQ="}
NOBODY_OF_GOOGLE = {
    "disable_oauth": True,
    **dict.fromkeys(("client_email", "private_key", "private_key_id"), ""),
}
CLOSED = "its door is not https://, and no ..._ALLOW_HTTP=true in the environment lets it be"


@pytest.mark.parametrize(
    ("place", "environment", "why"),
    [
        (URL, {"AWS_ENDPOINT_URL": "store:9000"}, "AWS_ENDPOINT_URL in the environment is no http:// or"),
        (URL, {"AWS_ALLOW_HTTP": "false"}, CLOSED),
        ("az://b", {}, "AZURE_STORAGE_ACCOUNT_NAME is not in the environment"),
        ("az://b", {**ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": SECRET}, "AZURE_STORAGE_ACCOUNT_KEY in the"),
        ("az://b", {**ACCOUNT, "AZURE_ENDPOINT": "http://127.0.0.1:9/a"}, CLOSED),
        ("gs://b", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "the file of Google's credentials"),
        ("gs://b", {"GOOGLE_SERVICE_ACCOUNT_KEY": SECRET}, "Google's credentials in the environment cannot"),
        (
            "gs://b",  # obstore breaks down over it
            {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"gcs_base_url": "nonsense"} | NOBODY_OF_GOOGLE)},
            "its URL, or what the environment says of it, cannot be",
        ),
    ],
)  # fmt: skip
def test_what_the_environment_says_and_cannot_be_is_told(place, environment, why, models, settings):
    settings.update(environment)
    _, said, _ = models("list", "--models", place)
    assert f"{place}: {why}" in said


def test_a_list_says_what_is_away_and_still_lists_the_others(models, settings, tmp_path):
    shutil.copytree(MODELS / "iris" / "1", tmp_path / "folder" / "iris" / "1")
    settings["UNDERSTUDY_MODELS"] = f"{tmp_path / 'folder'}|{URL}"
    code, said, _ = models("list")
    assert (code, "iris" in said) == (0, True)
    away = f"{URL}: the connection is refused; what was fetched before is there"
    assert f"left out: {away}" in said
    assert json.loads(models("list", "--json")[2])["problems"] == [away]
