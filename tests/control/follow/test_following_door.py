"""A real control follows a registry: by webhook, through its restart, and back to the registry."""

import time

import pytest

from harness.control import controlling, is_problem
from harness.small_registry import moved_body, post, signed, small_registry
from harness.system import eventually

SECRET = "one two"
DOCUMENT = {
    "stable": "digits/1",
    "follow": {
        "alias": "challenger",
        "promote": "champion",
        "canary": {"steps": [{"setWeight": 5}, {"pause": {}}]},
    },
}


@pytest.fixture(scope="module")
def registry():
    with small_registry() as small:
        small.move("digits", "challenger", 1)
        small.move("digits", "champion", 1)
        yield small


@pytest.fixture(scope="module")
def control(registry, tmp_path_factory):
    environment = {
        "UNDERSTUDY_MLFLOW_WEBHOOK_SECRET": SECRET,
        "UNDERSTUDY_MLFLOW": registry.url,
        "UNDERSTUDY_TOKEN": "t0ken",
        "UNDERSTUDY_FOLLOW_SECONDS": "600",
        "UNDERSTUDY_ADMIN_URL": "https://u.example.org/",
    }
    folder = tmp_path_factory.mktemp("following")
    with controlling(folder, environment=environment) as running:
        running.client.headers["authorization"] = "Bearer t0ken"
        yield running


def hook(control, version, secret="one", **how):
    body = moved_body("digits", "challenger", version)
    return post(control.url, body, signed(secret, body, **how))


def changes(control):
    return [row for row in control.history("digits") if row["actor"] == "follow"]


def test_a_move_that_a_webhook_tells_of_begins_one_rollout_and_promotion_moves_the_other_alias(
    control, registry
):
    assert control.put("digits", DOCUMENT).status_code == 200
    for version in (2, 3, 2, 3, 4, 2, 3, 4, 3, 2):
        registry.move("digits", "challenger", version)
        assert hook(control, version).json() == {"asked": ["digits"]}
    view = eventually(
        lambda: (found := control.view("digits"))["serving"]["canary"] and found, "a rollout begins", 20
    )
    assert (view["serving"]["canary"], view["document"]["follow"]["version"]) == ("digits/2", 2)
    assert (view["follow"]["seen"], view["follow"]["problem"]) == (2, "")
    [row] = changes(control)
    assert row["reason"] == "challenger of digits is at version 2"
    control.act("digits", "promote")
    eventually(
        lambda: (
            control.sync("w", ("digits/1", "digits/2"), revision=control.view("digits")["revision"])
            and control.view("digits")["status"]["phase"] == "promoted"
        ),
        "it is promoted",
        20,
    )
    eventually(lambda: "understudy.at" in registry.versions["digits", "2"], "MLflow is told", 20)
    assert registry.aliases["digits"]["champion"] == "2"
    tags = registry.versions["digits", "2"]
    assert tags["understudy.result"] == "promoted"
    assert tags["understudy.evidence"].startswith("https://u.example.org/v1/rollouts/digits/history?limit=1")


def test_what_is_forged_late_or_replayed_is_refused_in_words_and_changes_nothing(control):
    asked = hook(control, 2, id_="once")
    assert asked.status_code == 200
    assert "taken already" in is_problem(hook(control, 2, id_="once"), 409)["detail"]
    assert "not of a secret" in is_problem(hook(control, 2, secret="three"), 401)["detail"]
    assert "minutes ago" in is_problem(hook(control, 2, at=time.time() - 400), 401)["detail"]
    text = control.client.get("/metrics").text
    for outcome in ("forged", "late", "replayed"):
        assert f'understudy_follow_hooks_total{{outcome="{outcome}"}} 1.0' in text


def test_the_signature_opens_that_path_alone(control):
    body = moved_body("digits", "challenger", 2)
    headers = signed("one", body)
    client = control.client
    answer = client.post("/v1/rollouts/digits/abort", content=body, headers={**headers, "authorization": ""})
    is_problem(answer, 401)
    is_problem(client.get("/v1/hooks/mlflow", headers={"authorization": ""}), 401)


def test_a_registry_that_is_slow_over_one_model_holds_up_no_other(control, registry):
    follow = {"alias": "challenger", "canary": {"weight": 5}}
    registry.held = {f"slow-{number}" for number in range(3)}
    for name in sorted(registry.held):
        document = {"stable": "digits/1", "follow": {**follow, "model": name}}
        assert control.put(name, document).status_code == 200
    eventually(lambda: registry.holding == 3, "MLflow is asked about all of them")
    assert control.put("quick", {"stable": "digits/1", "follow": {**follow, "model": "digits"}}).is_success
    eventually(lambda: control.view("quick")["serving"]["canary"] == "digits/2", "the other one begins", 20)
    assert control.view("slow-0")["follow"]["seen"] is None
    registry.go_on()
    said = "MLflow knows no alias challenger of slow-0"
    eventually(lambda: said in control.view("slow-0")["follow"]["problem"], "the slow answer counts, too")
    for name in ("quick", *(f"slow-{number}" for number in range(3))):
        assert control.client.delete(f"/v1/rollouts/{name}").is_success


def test_a_version_that_is_not_there_changes_nothing_and_is_said(control, registry):
    before = len(changes(control))
    registry.move("digits", "challenger", 9)
    hook(control, 9)
    problem = eventually(lambda: control.view("digits")["follow"]["problem"], "it is said", 20)
    assert "version 9 of digits is not tried" in problem
    eventually(
        lambda: any(
            need["kind"] == "not_followed" and "version 9 of digits is not tried" in need["sentence"]
            for need in control.client.get("/v1/needs").json()
        ),
        "it needs a person",
        20,
    )
    assert len(changes(control)) == before


def test_after_a_restart_of_control_and_an_absence_of_the_registry_nothing_is_tried_twice(control, registry):
    before = len(changes(control))
    registry.away = True
    registry.move("digits", "challenger", 2)
    control.process.end()
    control.start()
    control.wait_ready()
    eventually(lambda: "does not" in control.view("digits")["follow"]["problem"]
               or "status 503" in control.view("digits")["follow"]["problem"], "it is said", 20)  # fmt: skip
    registry.away = False
    hook(control, 2)
    eventually(lambda: control.view("digits")["follow"]["seen"] == 2, "it is asked", 20)
    assert len(changes(control)) == before
    registry.move("digits", "challenger", 3)
    hook(control, 3)
    view = eventually(
        lambda: (found := control.view("digits"))["serving"]["canary"] and found, "the next begins", 20
    )
    assert (view["serving"]["stable"], view["serving"]["canary"]) == ("digits/2", "digits/3")
    assert view["document"]["follow"]["began"] == "digits/1"
