"""Both doors with everything on: TLS, API keys, rate limits, tokens; two workers, a canary in a sandbox."""

import contextlib
import os
import socket
import ssl
import time
import warnings
from pathlib import Path

import httpx
import pytest

from harness.certificates import Authority
from harness.command import understudy
from harness.machine import tree
from harness.rows import body
from harness.system import MODELS, START_SECONDS, Process, Up, eventually, free_port
from serving.admission.api_keys import line_of, new_key

ROLLOUTS = "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 10}\n"
DIGITS_BODY = body(0)
INFER = "/v2/models/digits/infer"
TOKEN, VIEWER = "operator-5ecret-token", "viewer-5ecret-token"
RATE, BURST = 0.5, 25
SECONDS = 30.0
"""Of patience: a connection begins with a handshake, and takes seconds on a machine that others use."""


class Guarded(Up):
    """`understudy up` behind certificates and keys."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.cert, self.key, self.keys_file = folder / "tls.crt", folder / "tls.key", folder / "keys"
        self.number = self.renew()
        self.strangers = 0
        self.keys = {name: new_key() for name in ("app", "greedy", "other", "leaver")}
        self.write_keys(self.keys)
        options = (
            "--workers", "2", "--api-keys", str(self.keys_file),
            "--rate-limit", str(RATE), "--rate-burst", str(BURST),
            "--tls-cert", str(self.cert), "--tls-key", str(self.key),
            "--admin-tls-cert", str(self.cert), "--admin-tls-key", str(self.key),
        )  # fmt: skip
        secrets = {"UNDERSTUDY_TOKEN": TOKEN, "UNDERSTUDY_VIEWER_TOKEN": VIEWER}
        super().__init__(
            folder, ROLLOUTS, options=options, environment=secrets | {"UNDERSTUDY_DRAIN_SECONDS": "0"}
        )
        self.client.close()
        self.admin.close()
        self.url, self.admin_url = (url.replace("http:", "https:") for url in (self.url, self.admin_url))
        self.trust = ssl.create_default_context(cafile=self.authority.ca)
        self.client = self.as_client("app")
        self.admin = httpx.Client(
            base_url=self.admin_url,
            verify=self.trust,
            timeout=SECONDS,
            trust_env=False,
            headers={"authorization": f"Bearer {TOKEN}"},
        )

    def as_client(self, name: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.keys[name]}"}
        return httpx.Client(
            base_url=self.url, verify=self.trust, timeout=SECONDS, trust_env=False, headers=headers
        )

    def as_stranger(self) -> httpx.Client:
        """Without a key, from an address of its own, so that wrong ones are not counted against others."""
        self.strangers += 1
        transport = httpx.HTTPTransport(verify=self.trust, local_address=f"127.0.1.{self.strangers}")
        return httpx.Client(base_url=self.url, transport=transport, timeout=SECONDS)

    def renew(self) -> int:
        certificate, key, number = self.authority.issue()
        self.cert.write_bytes(certificate)
        self.key.write_bytes(key)
        return number

    def write_keys(self, keys) -> None:
        self.replace_keys("".join(line_of(name, key) + "\n" for name, key in keys.items()))

    def replace_keys(self, text: str) -> None:
        temporary = self.keys_file.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.keys_file)

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        return self.trust.wrap_socket(plain, server_hostname="localhost")

    def shown(self) -> int:
        """The number of the certificate that a new connection gets."""
        with self.connect() as connection:
            return int(connection.getpeercert()["serialNumber"], 16)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    up = Guarded(tmp_path_factory.mktemp("doors"))
    try:
        ready = lambda: up.client.get("/v2/health/ready").status_code == 200  # noqa: E731
        eventually(ready, "server ready", START_SECONDS)
        yield up.wait_ready()
    except BaseException:
        print(up.process.log.read_text()[-6000:])
        raise
    finally:
        code = up.end()
    assert code == 0, up.process.log.read_text()[-4000:]


def test_with_a_key_everything_answers_and_the_canary_has_its_share(up):
    assert up.client.post(INFER, content=DIGITS_BODY).status_code == 200
    canary = up.client.post(INFER, content=DIGITS_BODY, headers={"x-understudy-target": "canary"})
    assert (canary.status_code, canary.headers["x-understudy-target"]) == (200, "digits/2")
    with httpx.Client(base_url=up.url, verify=up.trust, trust_env=False) as other:
        answer = other.get("/v2/models/digits", headers={"x-api-key": up.keys["app"]})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", INFER),
        ("POST", "/v2/models/digits/versions/1/infer"),
        ("POST", "/v2/models/digits/infer/"),
        ("GET", "/v2"),
        ("GET", "/v2/models/digits"),
        ("GET", "/v2/models/digits/ready"),
        ("GET", "/v2/models/digits/stats"),
        ("GET", "/v2/models/nothing"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/digits/load"),
        ("POST", "/v1/outcomes"),
        ("GET", "/openapi.json"),
        ("GET", "/v2/health/ready/"),
    ],
)
def test_without_a_key_every_path_but_health_is_closed(up, method, path):
    with up.as_stranger() as nobody:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": ""}):
            answer = nobody.request(
                method, path, headers=headers, content=DIGITS_BODY if method == "POST" else None
            )
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json() == {"error": "a valid API key is needed"}
        assert nobody.get("/v2/health/live").status_code == 200
        assert nobody.get("/v2/health/ready").status_code == 200


def test_who_is_refused_before_the_body_may_ask_again_on_the_same_connection(up):
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(DIGITS_BODY)}\r\n"
    with up.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(head.encode() + b"\r\n" + DIGITS_BODY[:10])
        assert status(answers) == 401  # at once, with the rest of the body to come
        good = head + f"authorization: Bearer {up.keys['app']}\r\n\r\n"
        connection.sendall(DIGITS_BODY[10:] + good.encode() + DIGITS_BODY)
        assert status(answers) == 200
        connection.sendall((head + "\r\n").encode() + DIGITS_BODY + good.encode() + DIGITS_BODY)  # pipelined
        assert [status(answers), status(answers)] == [401, 200]


def test_who_waits_to_be_told_to_go_on_is_refused_and_let_go(up):
    with up.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n".encode()
        )
        assert status(answers) == 401
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert answers.read() == b""


def status(answers) -> int:
    """Read one whole answer."""
    line = answers.readline()
    length = 0
    while (header := answers.readline().strip().lower()) != b"":
        if header.startswith(b"content-length:"):
            length = int(header.partition(b":")[2])
    answers.read(length)
    return int(line.split()[1])


def test_a_client_has_one_bucket_over_all_workers(up):
    """Each connection goes to a worker of the kernel's choice: of 35 or more both have some."""
    statuses, began = [], time.monotonic()
    while statuses.count(429) < 10:
        with up.as_client("greedy") as client:
            answer = client.post(INFER, content=DIGITS_BODY)
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json() == {"error": "too many requests"}
    assert set(statuses) == {200, 429}
    assert BURST <= statuses.count(200) <= BURST + RATE * (time.monotonic() - began)
    with up.as_client("other") as other:
        assert other.post(INFER, content=DIGITS_BODY).status_code == 200
    assert up.metric("understudy_rejected_total", door="public", reason="rate") >= statuses.count(429)


def test_a_key_that_was_taken_out_of_the_file_is_refused_and_a_bad_file_changes_nothing(up):
    with up.as_client("leaver") as leaver, up.as_client("other") as other:
        assert leaver.get("/v2").status_code == 200
        up.replace_keys("leaver not-a-hash\n")
        eventually(
            lambda: up.metric("understudy_file_refused", what="api keys") == 1, "the bad file is refused"
        )
        assert other.get("/v2").status_code == 200
        up.write_keys({name: key for name, key in up.keys.items() if name != "leaver"})
        eventually(lambda: leaver.get("/v2").status_code == 401, "the key is taken back")
        eventually(lambda: up.metric("understudy_file_refused", what="api keys") == 0, "the file is fine")


def test_new_connections_get_a_renewed_certificate_and_open_ones_live_on(up):
    assert up.shown() == up.number
    with up.connect() as connection, connection.makefile("rb") as answers:
        alive = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.sendall(alive)
        assert status(answers) == 200
        up.number = up.renew()
        eventually(lambda: all(up.shown() == up.number for _ in range(6)), "both workers show the new one")
        connection.sendall(alive)
        assert status(answers) == 200
    eventually(
        lambda: up.metric("understudy_file_reloads_total", what="public certificate", outcome="loaded") >= 2,
        "each worker counts it",
    )
    up.key.write_bytes(up.authority.issue()[1])
    eventually(lambda: up.metric("understudy_file_refused", what="public certificate") == 1, "it is refused")
    assert up.shown() == up.number
    up.number = up.renew()
    eventually(lambda: all(up.shown() == up.number for _ in range(6)), "the next good one is taken")


def test_plain_http_and_old_tls_get_nothing(up):
    for port in (up.port, up.admin_port):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"HTTP" not in plain.recv(1000)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(plain)


def test_what_is_no_request_is_refused_in_words_behind_tls_too(up):
    with up.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(b"this is\x00no request\r\n\r\n")
        assert status(answers) == 400
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert answers.read() == b""


def test_a_node_elsewhere_follows_control_by_https_if_it_trusts_its_certificate(up, tmp_path):
    port = free_port()
    arguments = [
        "node", "--control", up.admin_url.replace("127.0.0.1", "localhost"),
        "--control-ca", str(up.authority.ca),
        "--models", str(MODELS), "--host", "127.0.0.1", "--port", str(port), "--metrics-port", "0",
        "--state-dir", str(tmp_path / "node"), "--name", "elsewhere",
    ]  # fmt: skip
    node = Process(arguments, tmp_path, {"UNDERSTUDY_TOKEN": TOKEN, "UNDERSTUDY_DRAIN_SECONDS": "0"})
    try:
        url = f"http://127.0.0.1:{port}{INFER}"
        eventually(
            lambda: httpx.post(url, content=DIGITS_BODY, trust_env=False).status_code == 200, "it serves"
        )
        assert any(row["node"] == "elsewhere" for row in up.admin.get("/v1/nodes").json())
    finally:
        assert node.end() == 0, node.log.read_text()[-4000:]


def test_the_admin_door_asks_for_its_token_and_the_command_line_checks_its_certificate(up):
    with httpx.Client(base_url=up.admin_url, verify=up.trust, trust_env=False) as nobody:
        assert nobody.get("/v1/rollouts").status_code == 401
    arguments = ["list", "--json", "--admin", up.admin_url.replace("127.0.0.1", "localhost")]
    environment = {**os.environ, "UNDERSTUDY_TOKEN": TOKEN, "COLUMNS": "200"}
    trusted = understudy("rollouts", "--ca", up.authority.ca, *arguments, env=environment)
    assert trusted.returncode == 0, trusted.stderr
    assert '"digits"' in trusted.stdout
    doubted = understudy("rollouts", *arguments, env=environment)
    assert doubted.returncode == 1
    assert "certificate" in doubted.stderr.lower()


def test_nothing_secret_is_in_a_log_a_file_or_a_place_where_it_is_not_needed(up):
    up.client.post(INFER, content=b"{", headers={"x-api-key": up.keys["other"]})
    log = up.process.log.read_text()
    secrets = [TOKEN, VIEWER, *up.keys.values()]
    assert not [secret for secret in secrets if secret in log]
    state = up.folder / "state"
    for path in state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    for pid in tree(up.process.popen.pid)[1:]:
        module = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert (VIEWER in environment) == ("control" in module), module
        assert not [key for key in up.keys.values() if key in environment]
