import os

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.security import is_loopback, refusal_to_start
from harness.command import understudy
from harness.control import CANARY, STABLE, Control, controlling, is_problem
from harness.system import MODELS, eventually
from serving.admission.guesses import TRIES_AT_ONCE

OPERATOR = {"authorization": "Bearer operators-secret"}
VIEWER = {"authorization": "Bearer viewers-secret"}


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with controlling(tmp_path_factory.mktemp("local")) as running:
        running.put("digits", STABLE)
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    tokens = {"UNDERSTUDY_TOKEN": "operators-secret", "UNDERSTUDY_VIEWER_TOKEN": "viewers-secret"}
    with controlling(tmp_path_factory.mktemp("tokens"), environment=tokens) as running:
        eventually(lambda: running.client.get("/v1/rollouts", headers=OPERATOR).status_code == 200, "open")
        running.client.put("/v1/rollouts/digits", json=STABLE, headers=OPERATOR).raise_for_status()
        yield running


def ask(control: Control, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    return control.client.request(method, path, headers=headers)


# ------------------------------------------------------------------ without tokens
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.evil.example", "10.0.0.1"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/rollouts"), ("POST", "/v1/rollouts/digits/abort")])
def test_a_name_rebound_to_the_loopback_is_refused(control, host, method, path):
    answer = ask(control, method, path, {"host": f"{host}:{control.port}"})
    is_problem(answer, 421)


@pytest.mark.parametrize("host", ["", ":9000", "a b", "127.0.0.1, evil.example"])
def test_a_host_that_is_none_is_not_valid(control, host):
    assert ask(control, "GET", "/v1/rollouts", {"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "LOCALHOST"])
def test_every_name_of_the_loopback_is_taken(control, host):
    assert ask(control, "GET", "/v1/rollouts", {"host": f"{host}:{control.port}"}).status_code == 200
    assert ask(control, "GET", "/v1/rollouts", {"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://127.0.0.1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ""),
        ("DELETE", ""),
        *[("POST", f"/{a}") for a in ("promote", "abort", "pause", "resume", "undo")],
    ],
)
def test_a_page_of_another_origin_cannot_change_anything(control, origin, method, path):
    before = control.view("digits")
    answer = ask(control, method, f"/v1/rollouts/digits{path}", {"origin": origin})
    is_problem(answer, 403)
    assert control.view("digits")["revision"] == before["revision"]


def test_the_door_s_own_origin_may_change_and_another_one_reads_without_leave_to_share(control):
    own = {"origin": control.url, "content-type": "application/json"}
    assert control.client.put("/v1/rollouts/own", json=STABLE, headers=own).status_code == 200
    read = ask(control, "GET", "/v1/rollouts", {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in read.headers


def test_health_is_told_to_anyone(control, guarded):
    for running in (control, guarded):
        for path in ("/healthz", "/readyz/lead"):
            assert ask(running, "GET", path, {"host": "evil.example"}).status_code == 200


# ------------------------------------------------------------------ with tokens
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer operators-secre"},
        {"authorization": "operators-secret"},
        {"authorization": "Basic operators-secret"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/rollouts"), ("POST", "/v1/sync"), ("GET", "/metrics")]
)
def test_without_a_valid_token_nothing_is_answered(guarded, headers, method, path):
    answer = ask(guarded, method, path, headers)
    is_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_viewer_reads_and_changes_nothing(guarded):
    for path in (
        "/v1/rollouts",
        "/v1/rollouts/digits",
        "/v1/rollouts/digits/history",
        "/v1/nodes",
        "/metrics",
    ):
        assert ask(guarded, "GET", path, VIEWER).status_code == 200
    before = ask(guarded, "GET", "/v1/rollouts/digits", VIEWER).json()
    for action in ("promote", "abort", "pause", "resume", "undo"):
        is_problem(ask(guarded, "POST", f"/v1/rollouts/digits/{action}", VIEWER), 403)
    is_problem(guarded.client.put("/v1/rollouts/digits", json=CANARY, headers=VIEWER), 403)
    is_problem(ask(guarded, "DELETE", "/v1/rollouts/digits", VIEWER), 403)
    assert ask(guarded, "GET", "/v1/rollouts/digits", VIEWER).json()["revision"] == before["revision"]


def test_an_operator_changes_and_the_audit_log_names_the_token(guarded):
    guarded.client.put("/v1/rollouts/digits", json=CANARY, headers=OPERATOR).raise_for_status()
    [latest, *_] = ask(guarded, "GET", "/v1/rollouts/digits/history", VIEWER).json()
    assert latest["actor"] == "operator"


def test_with_a_token_the_door_may_be_reached_by_any_name(guarded):
    answer = ask(guarded, "GET", "/v1/rollouts", {**OPERATOR, "host": "understudy.example"})
    assert answer.status_code == 200


# ------------------------------------------------------------------ starting
@pytest.mark.parametrize(
    ("host", "tokens", "says"),
    [
        ("0.0.0.0", {}, "needs a token"),
        ("::", {"UNDERSTUDY_VIEWER_TOKEN": "v"}, "needs a token"),
        ("127.0.0.1", {"UNDERSTUDY_VIEWER_TOKEN": "v"}, "needs an operator's"),
    ],
)
def test_a_door_that_would_be_open_to_others_does_not_open(tmp_path, host, tokens, says):
    arguments = ["control", "--models", str(MODELS), "--state-dir", str(tmp_path), "--admin-host", host]
    ended = understudy(*arguments, "--admin-port", "0", env={**os.environ, **tokens})
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_token_opens_the_door_to_others():
    assert refusal_to_start("0.0.0.0", "secret", "") == ""
    assert refusal_to_start("127.0.0.1", "", "") == ""


@given(st.text())
def test_no_name_counts_as_loopback_but_localhost(name):
    if is_loopback(name):
        assert name == "localhost" or name.startswith("127.") or ":" in name


def test_who_guesses_tokens_is_the_same_client_whatever_its_headers_say(tmp_path):
    with controlling(tmp_path, environment={"UNDERSTUDY_TOKEN": "operators-secret"}) as running:
        statuses = [
            running.client.get(
                "/v1/rollouts",
                headers={"authorization": "Bearer wrong", "x-forwarded-for": f"192.0.2.{number}"},
            ).status_code
            for number in range(TRIES_AT_ONCE + 5)
        ]
    assert statuses[:TRIES_AT_ONCE] == [401] * TRIES_AT_ONCE
    assert 429 in statuses
