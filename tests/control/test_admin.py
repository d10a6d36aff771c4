import hashlib
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control.api.reading import AT_ONCE
from harness.control import CANARY, STABLE, STEPS, controlling, is_problem, own_name
from harness.system import MODELS, eventually
from serving.document import MAX_BYTES


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with controlling(tmp_path_factory.mktemp("admin")) as running:
        yield running


@pytest.fixture
def client(control):
    return control.client


@pytest.fixture
def model(request) -> str:
    return own_name(request.node.name)


# ------------------------------------------------------------------ documents
def test_a_document_in_json_and_in_yaml_says_the_same(control, client, model):
    first = control.put(model, CANARY)
    assert first.status_code == 200
    yaml = "stable: digits/1\ncanary:\n  model: digits/2\n  weight: 10\n"
    again = control.put(model, yaml)
    assert again.json()["revision"] == first.json()["revision"]
    assert again.json()["document"]["canary"]["weight"] == 10
    assert client.get(f"/v1/rollouts/{model}").json()["document"] == first.json()["document"]


def test_a_whole_document_replaces_the_one_before(control, model):
    control.put(model, {**CANARY, "sticky": {"header": "x-user-id"}})
    assert "sticky" not in control.put(model, STABLE).json()["document"]


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("stable: digits/1\nstabel: digits/2\n", 2, 9, "unknown key"),
        ("stable: digits/1\nstable: digits/2\n", 2, 1, "duplicate key"),
        ("stable: digits/1\ncanary: {model: digits/2, weight: 101}\n", 2, 35, "0 to 100"),
        ("stable: &a digits/1\n", 1, 9, "anchors"),
        ('{"stable": "digits/1",\n "canary": {"model": "digits/9"}}', 2, 22, "version '9'"),
        ("stable: digits/1\nshadows:\n  - model: iris/1\n", 3, 12, "cannot stand in"),
        ("stable: digits/1\ncompare:\n  nothing: exact\n", 3, 12, "no such output"),
        ("stable: digits/1\nrecord:\n  redact: [pixels, pixel]\n", 3, 20, "input or output 'pixel'; known: "),
        ("stable: digits/1\nexamples:\n  redact: [pixel]\n", 3, 12, "input or output 'pixel'; known: "),
        ("stable: digits/1\nfollow: {alias: a, canary: {weight: 5}}\n", 2, 9, "with --mlflow https://"),
    ],
)
def test_a_refused_document_names_the_place_of_the_fault(control, client, model, text, line, column, says):
    problem = is_problem(control.put(model, text), 400)
    assert says in problem["detail"]
    assert (problem["file"], problem["line"], problem["column"]) == ("document", line, column)
    assert client.get(f"/v1/rollouts/{model}").status_code == 404


def test_a_refused_document_is_counted(control, client, model):
    def rejected() -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if s.name == "understudy_config_rejected_total")

    before = rejected()
    control.put(model, "stable: 7")
    assert rejected() == before + 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_document_that_is_too_large_is_refused(client, model, chunked):
    body = b"#" * (MAX_BYTES + 1)
    content = iter([body[:1000], body[1000:]]) if chunked else body
    is_problem(client.put(f"/v1/rollouts/{model}", content=content), 413)


@pytest.mark.parametrize("name", ["a%20b", "-a", "a" * 129, "a%00"])
def test_a_name_that_is_no_model_name_is_refused(client, name):
    is_problem(client.put(f"/v1/rollouts/{name}", json=STABLE), 422)


@pytest.mark.parametrize(
    "body", [b'{"raeson": "x"}', b"[", b'{"reason": "\\u0000"}', b'{"reason": 7}', b"\xff", b"[" * 9999]
)
def test_an_action_with_a_body_that_is_not_understood_does_nothing(control, client, model, body):
    revision = control.put(model, STEPS).json()["revision"]
    answer = client.post(
        f"/v1/rollouts/{model}/abort", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    is_problem(answer, answer.status_code)
    assert client.get(f"/v1/rollouts/{model}").json()["revision"] == revision


# ------------------------------------------------------------------ revisions
def test_the_etag_is_the_revision_and_a_stale_one_is_refused(control, client, model):
    first = control.put(model, STABLE, 0)
    revision = first.json()["revision"]
    assert first.headers["etag"] == f'"{revision}"'
    assert client.get(f"/v1/rollouts/{model}").headers["etag"] == f'"{revision}"'
    second = control.put(model, CANARY, revision)
    assert second.status_code == 200
    is_problem(control.put(model, STABLE, revision), 412)
    is_problem(control.put(model, STABLE, 0), 412)
    is_problem(control.put(model, STABLE, revision, dryRun="true"), 412)
    assert client.get(f"/v1/rollouts/{model}").json()["document"] == second.json()["document"]


@pytest.mark.parametrize("action", ["promote", "abort", "pause", "resume", "undo"])
def test_every_action_checks_the_revision(control, client, model, action):
    revision = control.put(model, STEPS).json()["revision"]
    stale = client.post(f"/v1/rollouts/{model}/{action}", headers={"if-match": f'"{revision - 1}"'})
    if action == "undo":  # nothing to go back to comes first
        control.put(model, STABLE)
        stale = client.post(f"/v1/rollouts/{model}/{action}", headers={"if-match": f'"{revision}"'})
    is_problem(stale, 412)


def test_deleting_checks_the_revision_and_is_remembered(control, client, model):
    revision = control.put(model, STABLE).json()["revision"]
    url = f"/v1/rollouts/{model}"
    is_problem(client.delete(url, headers={"if-match": '"1000000"'}), 412)
    assert client.delete(url, headers={"if-match": f'W/"{revision}"'}).status_code == 204
    is_problem(client.get(url), 404)
    latest = client.get(f"{url}/history").json()[0]
    assert latest["document"] is None
    assert latest["actor"] == "local"


@pytest.mark.parametrize("value", ["abc", '"-1"', '"1.5"', '""', '"\u0661"', '"9999999999999999"'])
def test_an_if_match_that_is_no_revision_is_refused(control, client, model, value):
    control.put(model, STABLE)
    answer = client.put(f"/v1/rollouts/{model}", json=CANARY, headers={"if-match": value.encode("utf-8")})
    is_problem(answer, 400)


# ------------------------------------------------------------------ dry runs
def test_a_dry_run_says_what_would_change_and_changes_nothing(control, client, model):
    revision = control.put(model, STABLE).json()["revision"]
    proposal = control.put(model, CANARY, dryRun="true").json()
    assert proposal["changed"]
    assert proposal["revision"] == revision
    assert proposal["before"]["shares"] == {"digits/1": 100}
    assert proposal["after"]["shares"] == {"digits/1": 90, "digits/2": 10}
    assert proposal["load"] == ["digits/2"]
    assert "nothing of the canary is compared" in proposal["warnings"][0]
    assert client.get(f"/v1/rollouts/{model}").json()["revision"] == revision


def test_a_dry_run_of_what_is_in_force_changes_nothing(control, model):
    control.put(model, CANARY)
    proposal = control.put(model, CANARY, dryRun="true").json()
    assert not proposal["changed"]
    assert proposal["load"] == []


# ------------------------------------------------------------------ undo and history
def test_undo_goes_back_to_the_document_before_or_to_any_revision(control, client, model):
    first = control.put(model, STABLE).json()
    second = control.put(model, CANARY).json()
    third = control.put(model, {**STABLE, "timeout": "2s"}).json()
    url = f"/v1/rollouts/{model}"
    back = client.post(f"{url}/undo", json={"reason": "too slow"})
    assert back.json()["document"] == second["document"]
    assert back.headers["etag"] == f'"{back.json()["revision"]}"'
    assert (
        client.get(f"{url}/history").json()[0]["reason"] == f"back to revision {second['revision']}: too slow"
    )
    assert (
        client.post(f"{url}/undo", params={"to": first["revision"]}).json()["document"] == first["document"]
    )
    assert (
        client.post(f"{url}/undo", params={"to": third["revision"]}).json()["document"] == third["document"]
    )
    is_problem(client.post(f"{url}/undo", params={"to": 999_999}), 404)


def test_history_names_who_when_and_why_the_latest_first_in_pages(control, client, model):
    revisions = [
        control.put(model, {**STABLE, "timeout": f"{n}s"}, reason=f"try {n}").json() for n in (1, 2, 3)
    ]
    url = f"/v1/rollouts/{model}/history"
    rows = client.get(url).json()
    assert [row["reason"] for row in rows] == ["try 3", "try 2", "try 1"]
    assert [row["revision"] for row in rows] == [view["revision"] for view in reversed(revisions)]
    assert {(row["actor"], row["kind"]) for row in rows} == {("local", "api")}
    page = client.get(url, params={"limit": 1, "before": rows[0]["revision"]}).json()
    assert page == rows[1:2]
    is_problem(client.get("/v1/rollouts/nobody/history"), 404)


def test_the_export_has_all_of_the_audit_log_also_of_a_rollout_that_was_deleted(control, client, model):
    for number in range(AT_ONCE + 1):
        control.put(model, {**STABLE, "timeout": f"{1 + number % 2}s"}, reason=f"try {number}")
    url = f"/v1/rollouts/{model}"
    answer = client.get(f"{url}/export")
    assert answer.headers["content-disposition"] == f'attachment; filename="{model}-audit.json"'
    file = answer.json()
    assert file["revisions"] == client.get(f"{url}/history", params={"limit": 1000}).json()
    assert len(file["revisions"]) == AT_ONCE + 1
    assert file["rollout"]["document"] == file["revisions"][0]["document"]
    assert (file["model"], file["made_by"], file["evidence"]["model"]) == (model, "local", model)
    client.delete(url).raise_for_status()
    file = client.get(f"{url}/export").json()
    assert (file["rollout"], file["evidence"]) == (None, None)
    assert file["revisions"][0]["document"] is None
    page = client.get(f"{url}/export", params={"as": "page"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.count("<section>") == AT_ONCE + 2
    is_problem(client.get("/v1/rollouts/nobody/export"), 404)
    is_problem(client.get(f"{url}/export", params={"as": "pdf"}), 422)


def test_a_person_s_reason_is_kept_for_every_action(control, client, model):
    control.put(model, STEPS)
    for action in ("pause", "resume", "abort", "resume", "promote", "abort"):
        answer = client.post(f"/v1/rollouts/{model}/{action}", json={"reason": f"{action} since I say so"})
        assert answer.status_code == 200, answer.text
        assert f"{action} since I say so" in client.get(f"/v1/rollouts/{model}/history").json()[0]["reason"]


@pytest.mark.parametrize("action", ["promote", "abort", "pause", "resume"])
def test_an_action_that_does_not_apply_is_refused_with_the_reason(control, client, model, action):
    control.put(model, STABLE)
    problem = is_problem(client.post(f"/v1/rollouts/{model}/{action}"), 409)
    assert "does not apply" in problem["detail"]


# ------------------------------------------------------------------ the data plane
def test_status_says_per_node_what_is_applied_and_where_a_target_is_ready(control, client, model):
    view = control.put(model, CANARY).json()
    answer = control.sync(f"{model}/1", ["digits/1"])
    assert answer["snapshot"]["rollouts"][model]["weight"] == 10
    control.sync(f"{model}/2", ["digits/1", "digits/2"], revision=answer["revision"])
    view = client.get(f"/v1/rollouts/{model}").json()
    mine = {
        instance: revision for instance, revision in view["applied"].items() if instance.startswith(model)
    }
    assert mine == {f"{model}/1": 0, f"{model}/2": answer["revision"]}
    [node] = view["nodes"]
    assert (node["node"], node["revision"], node["in_force"]) == ("n1", 0, False)
    canary = next(target for target in view["targets"] if target["role"] == "canary")
    assert (canary["ready"][f"{model}/1"], canary["ready"][f"{model}/2"]) == (False, True)


def test_a_process_is_sent_a_snapshot_at_first_contact_and_then_only_a_newer_one(control, model):
    control.put(model, STABLE)
    revision = control.sync(f"{model}/x")["revision"]
    assert control.sync(f"{model}/y", revision=revision)["snapshot"] is not None

    def nothing_newer():  # other tests' rollouts move, too
        nonlocal revision
        revision, before = control.sync(f"{model}/y", revision=revision)["revision"], revision
        return revision == before and control.sync(f"{model}/y", revision=revision)["snapshot"] is None

    eventually(nothing_newer, "it is in step")
    control.put(model, CANARY)
    assert control.sync(f"{model}/y", revision=revision)["revision"] > revision


def test_a_promotion_waits_for_every_worker_and_the_way_back_needs_no_load(control, client, model):
    control.put(model, {**CANARY, "keepWarm": "10m"})
    revision = control.sync(f"{model}/1", ["digits/1"])["revision"]
    assert client.post(f"/v1/rollouts/{model}/promote").json()["status"]["phase"] == "promoting"

    def phase() -> str:
        nonlocal revision
        for row in client.get("/v1/nodes").json():  # all workers of other tests too, or they hold it up
            if row["kind"] == "worker":
                revision = control.sync(row["instance"], ["digits/1", "digits/2"], revision)["revision"]
        return client.get(f"/v1/rollouts/{model}").json()["status"]["phase"]

    eventually(lambda: phase() == "promoted", "promoted")
    view = client.get(f"/v1/rollouts/{model}").json()
    assert view["serving"]["stable"] == "digits/2"
    assert [t["target"] for t in view["targets"] if t["role"] == "warm"] == ["digits/1"]
    back = client.post(f"/v1/rollouts/{model}/abort").json()
    assert back["serving"] == {
        "stable": "digits/1", "canary": None, "weight": 0, "mirror": 0, "top_up": 0, "waves": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"instance": "x"},
        [],
        "x",
        {"instance": "x", "node": "n", "kind": "worker", "revision": 2**64, "wait": 0},
    ],
)
def test_a_report_that_is_not_understood_is_refused(client, report):
    is_problem(client.post("/v1/sync", json=report), 422)


def test_a_report_of_a_newer_node_is_taken_without_what_is_not_known(client):
    newer = {"ofANewerVersion": [1]}
    role = {"assigned": 0, "requests": 0, "errors": 0, "failures": 0, "latency": {}}
    counts = {"weight": 0.1, "stable": role | newer, "canary": role, "agreement": {}} | newer
    machine = {"cpus": 1, "busy_seconds": 1.0, "memory_bytes": 1, "available_bytes": 1} | newer
    report = {
        "instance": "newer", "node": "n", "kind": "node", "revision": 0, "wait": 0,
        "targets": [{"model": "m", "target": "digits/1", "role": "warm", "ready": True} | newer],
        "counts": [{"model": "m", "stage": 1, "counts": counts} | newer],
        "use": {"answered": [], "compared": [], "processes": [], "machine": machine} | newer,
    } | newer  # fmt: skip
    assert client.post("/v1/sync", json=report).status_code == 200


REPORTS = [
    {"instance": "w/1", "node": "n", "kind": "worker", "revision": 0, "wait": 0},
    {"instance": "w/2", "node": "n", "kind": "worker", "revision": 0, "wait": 0, "base": 5, "wire": 3},
    {
        "instance": "n/s", "node": "n", "kind": "node", "revision": 0, "wait": 0, "wire": 3,
        "processes": [{"instance": "w/3", "node": "n", "kind": "worker", "revision": 0, "wait": 0}, {}],
    },
    {"instance": "w/4"},
    7,
]  # fmt: skip


@pytest.mark.parametrize("content", [*map(json.dumps, REPORTS), '{"wait": NaN}', "{", ""])
def test_an_exchange_has_the_same_answer_by_the_short_way_and_through_the_application(client, content):
    short, long = (
        client.post("/v1/sync", content=content, headers={"content-type": media_type})
        for media_type in ("application/json", "application/json; charset=utf-8")
    )
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    assert short.headers["content-type"] == long.headers["content-type"]


# ------------------------------------------------------------------ the rest
def test_unknown_paths_and_methods_are_problems_too(client):
    is_problem(client.get("/v1/nothing"), 404)
    is_problem(client.request("PATCH", "/v1/rollouts"), 405)


def test_models_names_the_rollouts_that_use_each_version(control, client, model):
    control.put(model, CANARY)
    rows = {f"{row['name']}/{row['version']}": row for row in client.get("/v1/models").json()}
    assert model in rows["digits/2"]["rollouts"]
    assert model not in rows["iris/1"]["rollouts"]
    bytes_of = (MODELS / "digits" / "2" / "model.onnx").read_bytes()
    assert rows["digits/2"]["sha256"] == hashlib.sha256(bytes_of).hexdigest()
    assert rows["diabetes/1"]["sha256"] == ""  # nobody asked for it


def test_a_version_tells_its_bytes_and_what_is_claimed_of_it(client):
    found = client.get("/v1/models/digits/2").raise_for_status().json()
    assert (found["ok"], found["independent"], found["inputs"][0]["name"]) == (True, True, "pixels")
    assert (
        found["sha256"] == hashlib.sha256((MODELS / "digits" / "2" / "model.onnx").read_bytes()).hexdigest()
    )
    claims = {claim["about"]: claim["said_by"] for claim in found["lineage"]["claims"]}
    assert claims == {"producer": "model.onnx", "metadata": "model.onnx"}
    assert {"registered_by", "run", "commit"} <= set(found["lineage"]["unknown"])
    is_problem(client.get("/v1/models/digits/99"), 404)


def test_a_rollout_tells_where_its_models_are_said_to_come_from(control, client, model):
    targets = {row["target"]: row["sha256"] for row in control.put(model, CANARY).json()["targets"]}
    rows = client.get(f"/v1/rollouts/{model}/lineage").raise_for_status().json()
    assert [(row["target"], row["role"]) for row in rows] == [("digits/1", "stable"), ("digits/2", "canary")]
    for row in rows:
        assert (row["sha256"], row["lineage"]["problems"]) == (targets[row["target"]], [])
        assert {claim["about"] for claim in row["lineage"]["claims"]} == {"producer", "metadata"}
    is_problem(client.get("/v1/rollouts/nothing/lineage"), 404)


def test_a_version_that_cannot_be_is_refused(client):
    is_problem(client.get("/v1/models/digits/x"), 422)


def test_every_answer_is_described_and_none_has_an_empty_schema(client):
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            for status, answer in operation["responses"].items():
                for media_type, body in answer.get("content", {}).items():
                    if media_type in ("application/json", "application/problem+json"):
                        assert body.get("schema"), (method, path, status)
    assert "412" in json.dumps(document["paths"]["/v1/rollouts/{model}"]["put"]["responses"])


def test_of_several_candidates_it_is_said_which_one_is_promoted(control, client, model):
    candidates = [{"model": f"digits/{version}", "weight": 10} for version in (2, 3)]
    assert control.put(model, {"stable": "digits/1", "candidates": candidates}).status_code == 200
    url = f"/v1/rollouts/{model}/promote"
    assert "say a target: digits/2 and digits/3" in is_problem(client.post(url), 409)["detail"]
    refused = client.post(url, json={"target": "digits/9"})
    assert "'digits/9' is no candidate" in is_problem(refused, 409)["detail"]
    promoted = client.post(url, json={"target": "digits/3", "reason": "it sells"})
    assert promoted.json()["status"]["phase"] == "promoting"
    taken_off = client.post(f"/v1/rollouts/{model}/abort", json={"reason": "no"})
    assert taken_off.json()["status"]["phase"] == "rolled_back"


def test_a_candidate_that_cannot_be_served_is_named_by_its_place(control, model):
    text = (
        "stable: digits/1\ncandidates:\n  - {model: digits/2, weight: 5}\n  - {model: digits/9, weight: 5}\n"
    )
    problem = is_problem(control.put(model, text), 400)
    assert (problem["line"], "version '9'" in problem["detail"]) == (4, True)
