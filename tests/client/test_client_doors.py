"""A door with TLS, API keys and a rate limit, as a client meets it."""

import ssl

import pytest

import understudy_client as us
from harness.certificates import Authority
from harness.rows import digits
from harness.state import state_folder
from harness.system import MODELS, START_SECONDS, Process, eventually, free_port
from serving.admission.api_keys import line_of, new_key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def keys():
    return {"app": new_key(), "greedy": new_key()}


@pytest.fixture(scope="module")
def url(tmp_path_factory, authority, keys):
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    certificate, key, _ = authority.issue()
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    (folder / "keys").write_text("".join(line_of(name, key) + "\n" for name, key in keys.items()))
    process = Process(
        [
            "serve", "--models", str(MODELS), "--host", "127.0.0.1", "--port", str(port),
            "--state-dir", state_folder(folder / "state"), "--api-keys", str(folder / "keys"),
            "--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key"),
            "--rate-limit", "0.01", "--rate-burst", "20",
        ],
        folder,
    )  # fmt: skip
    url = f"https://127.0.0.1:{port}"
    try:
        with us.Client(url, api_key=keys["app"], verify=authority.ca, trust_env=False) as client:

            def ready():
                try:
                    return client.ready()
                except us.ConnectionFailed as error:
                    raise OSError from error

            eventually(ready, "the server is ready", START_SECONDS)
        yield url
    finally:
        code = process.end()
    assert code == 0, process.log.read_text()[-3000:]


def test_a_key_and_a_trusted_authority_open_the_door(url, authority, keys):
    for verify in (authority.ca, str(authority.ca), ssl.create_default_context(cafile=authority.ca), False):
        with us.Client(url, api_key=keys["app"], verify=verify, trust_env=False) as client:
            assert client.infer("digits", digits()[:1])["label"].shape == (1,)


def test_without_a_key_or_trust_nothing_is_answered(url, authority):
    for key in (None, "another"):
        client = us.Client(url, api_key=key, verify=authority.ca, trust_env=False)
        with client, pytest.raises(us.Unauthenticated, match="key"):
            client.infer("digits", digits()[:1])
    with us.Client(url, trust_env=False) as client, pytest.raises(us.ConnectionFailed, match="CERTIFICATE"):
        client.ready()


def test_who_asks_too_often_is_told_when_to_come_again(url, authority, keys):
    options = {"verify": authority.ca, "trust_env": False, "timeout": 10.0}
    with us.Client(url, api_key=keys["greedy"], **options) as client:
        for _ in range(19):  # and the question what the model takes
            client.infer("digits", digits()[:1])
        with pytest.raises(us.TooManyRequests) as refused:
            client.infer("digits", digits()[:1])
    assert refused.value.retry_after > 10  # longer than this call may take, so it is told at once


def test_serve_alone_takes_no_outcomes(url, authority, keys):
    with us.Client(url, api_key=keys["app"], verify=authority.ca, trust_env=False) as client:
        answer = client.infer("digits", digits()[:1])
        assert answer.target is None
        with pytest.raises(us.NoReceipt):
            answer.outcome("conversion", 1)
        with pytest.raises(us.NotFound):
            client.outcomes([us.Outcome("conversion", 1, receipt="r")])
