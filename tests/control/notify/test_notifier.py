"""A real control tells real receivers what happens: in order, once, signed, and again until they take it."""

import hmac
import json
from base64 import b64decode

import pytest

from harness.control import CANARY, STEPS, Control, controlling
from harness.receivers import certificate, hooking, mailing
from harness.system import eventually
from router.counting.stage_counts import RoleCounts, StageCounts, to_json

SECRET = "s3cret-of-the-hook"
PASSWORD = "pa55word-of-the-mail"
PATH = "/T0/secret-path"

FILE = """
source: test
link: http://127.0.0.1:9
channels:
  hook: {{webhook: {{url: '{hook}/hook', secret: {{env: HOOK_SECRET}}}}}}
  chat: {{slack: {{url: {{env: CHAT_URL}}}}, events: [paused, rolled_back]}}
  iris: {{webhook: {{url: '{hook}/iris'}}, models: [iris], events: [started, step, edited]}}
  mail:
    email:
      host: 127.0.0.1
      port: {port}
      from: understudy@example.org
      to: [oncall@example.org]
      user: understudy
      password: {{file: {password}}}
    events: [rolled_back]
"""


class System:
    """A control and everyone whom it tells."""

    def __init__(self, hook, box, folder, certificate_file) -> None:
        (folder / "password").write_text(PASSWORD + "\n")
        self.file = folder / "notifications.yaml"
        self.file.write_text(FILE.format(hook=hook.url, port=box.port, password=folder / "password"))
        self.hook, self.box = hook, box
        self.environment = {
            "UNDERSTUDY_NOTIFICATIONS": str(self.file),
            "HOOK_SECRET": SECRET,
            "CHAT_URL": hook.url + PATH,
            "SSL_CERT_FILE": str(certificate_file),
        }
        self.control: Control

    def told(self, path="/hook"):
        return [json.loads(posted.body) for posted in self.hook.posted if posted.path == path]

    def events(self, model, path="/hook"):
        return [told["event"] for told in self.told(path) if told["model"] == model]

    def outcomes(self, channel, outcome):
        text = self.control.client.get("/metrics").text
        name = f'understudy_notifications_total{{channel="{channel}",outcome="{outcome}"}}'
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notifier")
    files = certificate(folder)
    with hooking() as hook, mailing(*files, "understudy", PASSWORD) as box:
        made = System(hook, box, folder, files[0])
        with controlling(folder, environment=made.environment) as control:
            made.control = control
            yield made
        assert_no_secret(control.process.log.read_text())


def assert_no_secret(text):
    for secret in (SECRET, PASSWORD, PATH):
        assert secret not in text


def test_everyone_is_told_what_they_want_to_know(system):
    control = system.control
    control.put("digits", STEPS).raise_for_status()
    control.act("digits", "pause", reason="<b>lunch & rest</b>").raise_for_status()
    control.act("digits", "resume").raise_for_status()
    control.act("digits", "abort", reason="it answers\nnonsense").raise_for_status()
    control.put("iris", {"stable": "iris/1"}).raise_for_status()
    eventually(lambda: system.events("iris", "/iris") == ["edited"], "the channel of iris")
    eventually(lambda: "rolled_back" in system.events("digits"), "told of the end")
    assert system.events("digits") == ["started", "paused", "rolled_back"]
    history = {row["revision"]: row for row in control.history("digits")}
    for told in system.told():
        if told["model"] != "digits":
            continue
        row = history[told["revision"]]
        assert told["id"] == f"test/{told['revision']}"
        assert row["reason"] in told["text"]
        assert (told["actor"], told["link"]) == (row["actor"], "http://127.0.0.1:9/#digits")
    for posted in system.hook.posted:
        if posted.path == "/hook":
            signed = (
                f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode()
                + posted.body
            )
            text = posted.headers["webhook-signature"].removeprefix("v1,")
            assert b64decode(text) == hmac.digest(SECRET.encode(), signed, "sha256")
        assert SECRET.encode() not in posted.body
    eventually(lambda: len(system.box.mails) == 1, "the mail")
    [mail] = system.box.mails
    assert mail["subject"] == "[understudy] digits: rolled back"
    assert mail["from"] == "understudy@example.org"
    assert system.box.recipients == [["oncall@example.org"]]
    assert "it answers\r\nnonsense" in mail.get_payload(decode=True).decode()
    eventually(lambda: len([p for p in system.hook.posted if p.path == PATH]) == 2, "the chat")
    chat = [json.loads(posted.body) for posted in system.hook.posted if posted.path == PATH]
    assert chat[0].keys() == {"text"}
    assert "&lt;b&gt;lunch &amp; rest&lt;/b&gt;" in chat[0]["text"]


def test_a_refused_edit_is_told_with_its_place(system):
    document = "stable: digits/1\ncanary: {model: digits/2, weight: 101}"
    assert system.control.put("digits", document).status_code == 400
    [found] = eventually(lambda: [told for told in system.told() if "document:2:35" in told["text"]], "told")
    assert (found["event"], found["model"], found["actor"]) == ("rejected", "digits", "local")
    system.control.file.write_text("digits: {stable: digits/1, canary: digits/none}")
    eventually(lambda: any("rollouts.yaml:1:36" in told["text"] for told in system.told()), "the file's too")
    system.control.file.unlink()


def test_what_cannot_be_told_now_is_told_later_in_order_and_once_also_by_the_next_control(system):
    control, hook = system.control, system.hook
    hook.statuses = [503, 500]
    control.put("later", CANARY).raise_for_status()
    eventually(lambda: system.events("later") == ["started"], "told in the end")
    assert [posted.path for posted in hook.refused[-2:]] == ["/hook", "/hook"]
    assert len({posted.headers["webhook-id"] for posted in hook.refused[-2:]}) == 1
    assert system.outcomes("hook", "retried") == 2
    hook.statuses = [503] * 1000
    before = len(hook.refused)
    for _ in range(3):
        control.act("later", "abort").raise_for_status()
        control.act("later", "resume").raise_for_status()
    eventually(lambda: len(hook.refused) > before, "it was tried")
    assert control.process.end() == 0
    hook.statuses = []
    control.start()
    control.wait_ready()
    eventually(lambda: len(system.events("later")) == 7, "all told")
    control.put("last", CANARY).raise_for_status()
    eventually(lambda: system.events("last") == ["started"], "told of the last")
    assert system.events("later") == ["started", *["rolled_back", "started"] * 3]
    ids = [told["id"] for told in system.told()]
    assert len(set(ids)) == len(ids)
    revisions = [told["revision"] for told in system.told() if told["revision"] is not None]
    assert revisions == sorted(revisions)


def test_a_receiver_that_will_never_take_it_is_not_asked_again(system):
    dropped = system.outcomes("hook", "dropped")
    system.hook.statuses = [410]
    system.control.put("gone", CANARY).raise_for_status()
    system.control.act("gone", "abort").raise_for_status()
    eventually(lambda: system.events("gone") == ["rolled_back"], "the next one is told")
    assert system.outcomes("hook", "dropped") == dropped + 1


def test_a_lost_state_database_makes_nobody_deaf(system):
    system.control.put("found", CANARY).raise_for_status()
    eventually(lambda: system.events("found") == ["started"], "told")
    for path in (system.control.folder / "state").glob("state.db*"):
        path.unlink()
    system.control.act("found", "abort").raise_for_status()
    eventually(lambda: system.events("found") == ["started", "rolled_back"], "told of what came after")
    ids = [told["id"] for told in system.told()]
    assert len(set(ids)) == len(ids)


def test_a_verdict_is_told_with_its_evidence(system):
    control = system.control
    document = {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "steps": [{"setWeight": 50}, {"prove": {}}]},
        "guards": {"errors": {"maxRatio": 1.5}},
    }
    control.put("bad", document).raise_for_status()
    stable = RoleCounts(assigned=1000, requests=1000)
    canary = RoleCounts(assigned=1000, requests=1000, errors=400, failures=400)

    def ended():
        stage = control.view("bad")["status"]["stage"]
        counts = to_json(StageCounts(0.5, stable=stable, canary=canary))
        revision = control.view("bad")["revision"]
        report = {"instance": "w", "node": "n", "kind": "worker", "revision": revision, "wait": 0}
        ready = [{"model": "bad", "target": "digits/2", "role": "canary", "ready": True}]
        rows = [{"model": "bad", "stage": stage, "counts": counts}]
        control.client.post("/v1/sync", json={**report, "targets": ready, "counts": rows}).raise_for_status()
        return "rolled_back" in system.events("bad")

    eventually(ended, "rolled back and told")
    [told] = [told for told in system.told() if (told["model"], told["event"]) == ("bad", "rolled_back")]
    assert (
        "errors: 400 of 1,000 canary requests" in told["text"] or "of 1,000 canary requests" in told["text"]
    )
    assert told["actor"] == "autopilot"
    [guard] = told["evidence"]["guards"]
    assert (guard["guard"], guard["verdict"]) == ("errors", "harmful")
    assert guard["reason"].removeprefix("harmful: ") in told["text"]
    eventually(lambda: "bad: rolled back" in system.box.mails[-1]["subject"], "the mail")
    text = " ".join(system.box.mails[-1].get_payload(decode=True).decode().split())
    assert guard["reason"] in text
