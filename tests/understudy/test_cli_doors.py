"""Options of the doors: each mistake ends the command with a line that names it, before anything starts."""

import hashlib
import os
import re

import pytest
from typer.testing import CliRunner

from harness import command
from harness.certificates import Authority
from harness.system import MODELS
from serving.admission.api_keys import parse
from serving.host.cpus import available_cpus
from understudy.cli import app
from understudy.settings import UpSettings


def understudy(*arguments, **environment):
    return command.understudy(*arguments, env={**os.environ, "COLUMNS": "200", **environment})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    authority = Authority(folder)
    for name in ("a", "b"):
        cert, key, _ = authority.issue()
        (folder / f"{name}.crt").write_bytes(cert)
        (folder / f"{name}.key").write_bytes(key)
    (folder / "keys").write_text("mobile not-a-hash\n")
    return folder


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--tls-cert", "{}/a.crt"), "--tls-cert needs --tls-key"),
        (("--tls-cert", "{}/a.crt", "--tls-key", "{}/b.key"), "key values mismatch"),
        (("--admin-tls-cert", "{}/a.crt", "--admin-tls-key", "{}/none"), "none: No such file"),
        (("--api-keys", "{}/keys"), "keys:1: expected a name and the SHA-256"),
        (("--api-keys", "{}/none"), "none: No such file"),
        (("--rate-burst", "5"), "--rate-burst needs --rate-limit"),
        (("--rate-header", "x-client"), "--rate-header needs --rate-limit"),
        (("--rate-limit", "5", "--rate-header", "no header"), "--rate-header: "),
        (("--rate-limit", "-1"), "--rate-limit: "),
        (("--max-connections", "0"), "--max-connections: "),
        (("--watchdog-seconds", "-1"), "--watchdog-seconds: "),
        (("--admin-host", "0.0.0.0"), "needs a token"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_started(files, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.setattr("understudy.processes.node.asyncio.run", lambda *_: pytest.fail("it started"))
    given = [argument.format(files) for argument in arguments]
    options = ["--models", str(MODELS), "--state-dir", str(tmp_path / "state")]
    ended = CliRunner().invoke(app, ["up", *options, *given])
    assert ended.exit_code == 1, ended.output
    assert reason in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_a_new_key_is_shown_once_and_its_line_goes_into_the_file():
    made = understudy("keys", "new", "mobile")
    assert made.returncode == 0
    [key] = re.findall(r"key of mobile: (\S+)\n", made.stderr)
    assert key not in made.stdout
    assert made.stdout == f"mobile {hashlib.sha256(key.encode()).hexdigest()}\n"
    assert parse(made.stdout, "keys").name_of({b"x-api-key": key.encode()}) == "mobile"
    refused = understudy("keys", "new", "not a name")
    assert refused.returncode == 1
    assert refused.stdout == ""


def test_secrets_reach_only_the_processes_that_need_them_and_no_text(monkeypatch, tmp_path):
    secrets = {"token": "operator-t", "viewer_token": "viewer-t", "database": "postgresql://u:p4ss@h/d"}
    for name, secret in secrets.items():
        monkeypatch.setenv(f"UNDERSTUDY_{name.upper()}", secret)
    settings = UpSettings()
    assert not [secret for secret in secrets.values() if secret in f"{settings!r} {settings}"]
    control, worker = settings.environment(), settings.environment(data_plane=True)
    assert {name: control[f"UNDERSTUDY_{name.upper()}"] for name in secrets} == secrets
    assert (worker["UNDERSTUDY_TOKEN"], worker["UNDERSTUDY_VIEWER_TOKEN"], worker["UNDERSTUDY_DATABASE"]) == (
        "operator-t", "", "",
    )  # fmt: skip


def test_with_tls_on_the_admin_door_a_node_reaches_its_own_control_by_a_socket(tmp_path):
    plain = UpSettings(rate_limit=1.0).placed(tmp_path)
    assert plain.control_url == "http://127.0.0.1:9000"
    assert plain.buckets == tmp_path / "buckets"
    tls = UpSettings(admin_tls_cert="a", admin_tls_key="b").placed(tmp_path)
    assert tls.control_url == f"unix:{tmp_path}/control.sock"
    assert tls.environment()["UNDERSTUDY_ADMIN_SOCKET"] == f"{tmp_path}/control.sock"
    elsewhere = UpSettings(admin_tls_cert="a", admin_tls_key="b", control="https://c:9000").placed(tmp_path)
    assert elsewhere.control_url == "https://c:9000"


def test_workers_share_the_cpus_among_the_threads_of_their_models():
    cpus = available_cpus()
    for workers, threads, expected in ((1, 0, cpus), (cpus, 0, 1), (cpus + 1, 0, 1), (cpus, 3, 3)):
        settings = UpSettings(workers=workers, threads=threads)
        assert settings.environment()["UNDERSTUDY_THREADS"] == str(expected)
