"""People who approve at a real control, and a webhook that is asked by it; one control for all."""

import hashlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.people.file import RESERVED, People, line_of, new_token, parse
from control.people.links import Claims, Forged, read, sign
from control.pilot.hooks import MAX_REASON, reason_in
from harness.control import controlling, is_problem, own_name
from harness.receivers import certificate, hooking, mailing
from harness.system import eventually, free_port
from serving.document import DocumentError

ROLES = {
    "ann": ["risk"],
    "ben": ["risk", "viewer"],
    "cat": ["operator", "risk"],
    "dan": ["legal"],
    "vic": ["viewer"],
}
TOKENS = {name: f"{name}-{new_token()}" for name in ROLES}
MAIL = """
link: http://127.0.0.1:{port}
channels:
  mail:
    email:
      {{host: 127.0.0.1, port: {mail}, from: u@example.org, to: [all@example.org], user: understudy,
       password: {{env: MAIL_PASSWORD}}}}
"""


def approved_by(by, *more, **step):
    steps = [{"approve": {"by": by, "from": ["risk"], **step}}, *more, {"pause": {}}]
    return {"stable": "digits/1", "canary": {"model": "digits/2", "steps": steps}}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("approvals")
    file = folder / "tokens.yaml"
    lines = [line_of(name, TOKENS[name], roles, f"{name}@example.org") for name, roles in ROLES.items()]
    file.write_text("".join(lines))
    notifications = folder / "notifications.yaml"
    certificate_file, key_file = certificate(folder)
    settings = {
        "UNDERSTUDY_TOKEN": "shared",
        "UNDERSTUDY_TOKENS": str(file),
        "UNDERSTUDY_HOOK_SECRET": "hook-secret",
        "UNDERSTUDY_NOTIFICATIONS": str(notifications),
        "MAIL_PASSWORD": "secret",
        "SSL_CERT_FILE": str(certificate_file),
    }
    with ExitStack() as stack:
        box = stack.enter_context(mailing(certificate_file, key_file, "understudy", "secret"))
        port = free_port()
        notifications.write_text(MAIL.format(port=port, mail=box.port))
        control = stack.enter_context(controlling(folder, environment=settings, port=port))
        control.client.headers["authorization"] = "Bearer shared"
        eventually(lambda: control.client.get("/v1/rollouts").status_code == 200, "it leads")
        yield SimpleNamespace(control=control, file=file, box=box)


def as_(desk, name, path, **body):
    headers = {"authorization": f"Bearer {TOKENS.get(name, name)}"}
    return httpx.post(f"{desk.control.url}/v1/rollouts/{path}", headers=headers, json=body, trust_env=False)


def put(desk, model, document, by="cat"):
    headers = {"authorization": f"Bearer {TOKENS.get(by, by)}"}
    url = f"{desk.control.url}/v1/rollouts/{model}"
    httpx.put(url, headers=headers, json=document, trust_env=False).raise_for_status()
    return settled(desk, model)


def settled(desk, model):
    """What is to be approved, once the guards of this stage were looked at."""
    return desk.control.view(model)["waiting_for"]["approval"]


def test_two_people_approve_and_the_log_says_who_by_which_role_and_of_what(desk, request):
    model = own_name(request.node.name)
    wanted = put(desk, model, approved_by(2))
    assert (wanted["missing"], wanted["from"], wanted["not_by"]) == (2, ["risk"], ["cat"])
    assert wanted["evidence"]["targets"].keys() == {"digits/1", "digits/2"}
    view = as_(desk, "ann", f"{model}/approve", seen=wanted["seen"], reason="looks fine").json()
    given = view["waiting_for"]["approval"]["given"]
    assert [(each["person"], each["role"]) for each in given] == [("ann", "risk")]
    assert next(need["kind"] for need in view["needs"]) == "approval_wanted"
    view = as_(desk, "ben", f"{model}/approve", seen=wanted["seen"]).json()
    assert (view["status"]["step"], view["waiting_for"]) == (2, None)
    last, first, *_ = desk.control.history(model)
    assert (first["actor"], last["actor"]) == ("ann", "ben")
    assert "looks fine" in first["reason"]
    assert "approved by ann (risk) and ben (risk)" in last["reason"]
    assert first["evidence"]["approval"]["seen"] == wanted["seen"]
    assert first["evidence"]["approval"]["targets"] == wanted["evidence"]["targets"]


def test_who_may_not_is_refused_in_words_and_kept(desk, request):
    model = own_name(request.node.name)
    seen = put(desk, model, approved_by(1))["seen"]
    cases = [
        ("cat", seen, 403, f"cat made this revision of '{model}'"),
        ("dan", seen, 403, "this needs the role risk; dan has legal"),
        ("shared", seen, 403, "this needs the role risk; operator has operator"),
        ("ann", "0" * 64, 409, "look again"),
    ]
    for name, shown, status, why in cases:
        assert why in is_problem(as_(desk, name, f"{model}/approve", seen=shown), status)["detail"]
    assert "may read, but not change" in as_(desk, "vic", f"{model}/approve", seen=seen).json()["detail"]
    assert "read and approve, but not" in as_(desk, "ann", f"{model}/promote").json()["detail"]
    kept = desk.control.client.get(f"/v1/rollouts/{model}/refusals").json()
    assert next(row["person"] for row in kept if row["model"]) == "ann"
    assert len(kept) >= len(cases)
    assert settled(desk, model)["given"] == []


def refused(desk, model):
    """Who was refused, and why, the latest first."""
    rows = desk.control.client.get(f"/v1/rollouts/{model}/refusals").raise_for_status().json()
    return [(row["person"], row["reason"]) for row in rows if row["model"] == model]


def test_an_edit_between_looking_and_approving_is_refused_and_kept(desk, request):
    model = own_name(request.node.name)
    seen = put(desk, model, approved_by(1))["seen"]
    put(desk, model, {**approved_by(1), "timeout": "2s"}, by="shared")
    why = is_problem(as_(desk, "ann", f"{model}/approve", seen=seen), 409)["detail"]
    assert "look again" in why
    assert refused(desk, model) == [("ann", why)]


def test_everyone_at_the_same_time_counts_exactly_once(desk, request):
    model = own_name(request.node.name)
    seen = put(desk, model, approved_by(3), by="shared")["seen"]
    with ThreadPoolExecutor(9) as pool:
        asked = ["ann", "ben", "cat"] * 3
        answers = list(pool.map(lambda name: as_(desk, name, f"{model}/approve", seen=seen), asked))
    taken = [name for name, answer in zip(asked, answers, strict=True) if answer.is_success]
    assert sorted(taken) == ["ann", "ben", "cat"]
    assert {answer.status_code for answer in answers} == {200, 409}
    assert desk.control.view(model)["status"]["step"] == 2
    counted = [row["actor"] for row in desk.control.history(model) if "approval" in (row["evidence"] or {})]
    assert sorted(counted) == ["ann", "ben", "cat"]
    kept = refused(desk, model)
    assert sorted(name for name, _ in kept) == sorted(["ann", "ben", "cat"] * 2)
    known = ("approved of this already", "is wanted now", "approve does not apply")
    assert all(any(words in why for words in known) for _, why in kept)


def test_a_rejection_pauses_it_with_the_reason(desk, request):
    model = own_name(request.node.name)
    put(desk, model, approved_by(1))
    view = as_(desk, "ann", f"{model}/reject", reason="too early").json()
    assert view["status"]["reason"] == "rejected by ann (risk): too early"
    assert view["waiting_for"] is None


def test_a_hook_is_asked_again_under_one_id_signed_until_it_answers(desk, request):
    model = own_name(request.node.name)
    with hooking() as hook:
        hook.statuses = [503, 429, 422]
        run = {"run": {"url": f"{hook.url}/gate", "timeout": "1m"}}
        steps = [run, {"pause": {}}]
        document = {"stable": "digits/1", "canary": {"model": "digits/2", "steps": steps}}
        desk.control.put(model, document).raise_for_status()
        status = lambda: desk.control.view(model)["status"]  # noqa: E731
        eventually(lambda: status()["cause"] == "hook", "the hook halts it")
        assert "the hook halted it: it answered with status 422" in status()["reason"]
        assert len({each.headers["webhook-id"] for each in hook.refused}) == 1
        assert hook.refused[0].headers["webhook-signature"].startswith("v1,")
        desk.control.act(model, "resume").raise_for_status()
        eventually(lambda: status()["step"] == 2, "the hook lets it go on")
        assert hook.posted[0].headers["webhook-id"] != hook.refused[0].headers["webhook-id"]
        assert desk.control.history(model)[0]["actor"] == "hook"


def gated(desk, model, url, **run):
    steps = [{"run": {"url": f"{url}/gate", "timeout": "1m", **run}}, {"pause": {}}]
    desk.control.put(
        model, {"stable": "digits/1", "canary": {"model": "digits/2", "steps": steps}}
    ).raise_for_status()
    return lambda: desk.control.view(model)["status"]


def test_a_hook_that_never_answers_halts_it_in_time_and_its_late_answer_is_nobodys(desk, request):
    model = own_name(request.node.name)
    with hooking() as hook:
        hook.statuses = [0]
        status = gated(desk, model, hook.url, timeout="1s")
        eventually(lambda: status()["cause"] == "hook", "it waits no longer")
        assert "the hook did not let it go on within 1 s" in status()["reason"]
        desk.control.act(model, "resume").raise_for_status()
        eventually(lambda: status()["step"] == 2, "the next attempt is answered")
    never, *_ = hook.refused
    assert [each.headers["webhook-id"] for each in hook.posted] == [f"{model}/{status()['stage']}-1-1"]
    assert never.headers["webhook-id"] == f"{model}/{status()['stage']}-1-0"
    assert [row["actor"] for row in desk.control.history(model)].count("hook") == 1, "one answer counted"


@pytest.mark.parametrize(("status", "halts"), [(204, False), (302, True), (403, True)])
def test_what_a_hook_answers_is_yes_or_no(desk, request, status, halts):
    model = own_name(request.node.name)
    with hooking() as hook:
        hook.statuses = [status]
        now = gated(desk, model, hook.url)
        if halts:
            eventually(lambda: now()["cause"] == "hook", "the hook halts it")
            assert f"the hook halted it: it answered with status {status}" in now()["reason"]
        else:
            eventually(lambda: now()["step"] == 2, "the hook lets it go on")
        assert len(hook.refused) == 1, "asked once; where it is sent elsewhere it does not go"


def test_a_hook_that_is_not_there_yet_or_in_conflict_is_asked_again(desk, request):
    model = own_name(request.node.name)
    port = free_port()
    now = gated(desk, model, f"http://127.0.0.1:{port}")
    log = desk.control.process.log
    eventually(lambda: f"model={model}" in log.read_text() and "ConnectError" in log.read_text(), "asked")
    assert now()["step"] == 1
    with hooking(port) as hook:
        hook.statuses = [409]
        eventually(lambda: now()["step"] == 2, "the hook lets it go on")
        told, counted = hook.refused[0], hook.posted[0]
        assert told.headers["webhook-id"] == counted.headers["webhook-id"]
        assert told.body == counted.body, "under one id it is told one thing"


def test_a_killed_control_keeps_approvals_and_asks_a_hook_again_under_its_id(desk, request):
    model = own_name(request.node.name)
    with hooking() as hook:
        hook.statuses = [503] * 1000
        document = approved_by(2, {"run": {"url": hook.url, "timeout": "5m"}})
        seen = put(desk, model, document)["seen"]
        as_(desk, "ann", f"{model}/approve", seen=seen).raise_for_status()
        restart(desk)
        given = settled(desk, model)["given"]
        assert [each["person"] for each in given] == ["ann"]
        as_(desk, "ben", f"{model}/approve", seen=settled(desk, model)["seen"]).raise_for_status()
        eventually(lambda: hook.refused, "the hook is asked")
        before = hook.refused[-1].headers["webhook-id"]
        restart(desk)
        hook.statuses.clear()
        eventually(lambda: hook.posted, "the hook is asked again")
        assert hook.posted[0].headers["webhook-id"] == before


def restart(desk):
    os.killpg(desk.control.process.popen.pid, signal.SIGKILL)
    desk.control.process.popen.wait()
    desk.control.start()
    eventually(lambda: open_again(desk.control), "control leads again")


def open_again(control):
    try:
        return control.client.get("/v1/rollouts").status_code == 200
    except httpx.HTTPError:
        return False


def test_the_file_is_followed_and_one_that_is_broken_changes_nothing(desk, request):
    model = own_name(request.node.name)
    put(desk, model, approved_by(1))
    good, newcomer = desk.file.read_text(), new_token()
    TOKENS["eve"] = newcomer
    desk.file.write_text(good + line_of("eve", newcomer, ["legal"]))
    asked = lambda: as_(desk, "eve", f"{model}/approve", seen="0" * 64).status_code  # noqa: E731
    eventually(lambda: asked() == 403, "the newcomer is known")
    desk.file.write_text("eve: {roles: [risk]}\n")
    log = desk.control.process.log
    eventually(lambda: "changed file refused" in log.read_text(), "the broken file is told of")
    assert asked() == 403
    assert newcomer not in log.read_text()


# ------------------------------------------------------------------ links
def test_a_link_in_a_mail_approves_once_and_only_for_whom_it_was_made(desk, request):
    model = own_name(request.node.name)
    put(desk, model, approved_by(2))
    link = link_for(desk, model, "ann@example.org")
    shown = httpx.get(link, trust_env=False)
    assert shown.status_code == 200
    assert "script" not in shown.headers["content-security-policy"]
    assert f"ann, your approval is wanted. {model}: step 1 of 2" in shown.text
    assert settled(desk, model)["given"] == []  # looking approves of nothing
    seen = settled(desk, model)["seen"]
    assert "ann approved" in said(link, 200, say="approve", seen=seen)
    put(desk, model, {**approved_by(2), "keepWarm": "1s"}, by="shared")  # which drops the approval
    assert "this link was used before" in said(link, 409, say="approve", seen=settled(desk, model)["seen"])
    assert settled(desk, model)["given"] == []
    row = next(row for row in desk.control.history(model) if row["actor"] == "ann")
    assert (row["kind"], row["evidence"]["approval"]["seen"]) == ("link", seen)
    refused = desk.control.client.get(f"/v1/rollouts/{model}/refusals").json()
    assert refused[0]["reason"] == "by a link: this link was used before; each can be used once"
    assert link.rpartition("/")[2] not in desk.control.process.log.read_text()


def test_links_that_do_not_fit_are_refused_in_words(desk, request):
    model = own_name(request.node.name)
    put(desk, model, approved_by(1))
    link, seen = link_for(desk, model, "ann@example.org"), settled(desk, model)["seen"]
    forged = link[:-2] + ("A" if link[-2] != "A" else "B") + link[-1]
    assert "not made here" in said(forged, 403, say="approve", seen=seen)
    strangers = desk.control.client.get(f"/v1/rollouts/{model}/refusals").json()
    assert (strangers[0]["model"], strangers[0]["person"]) == ("", ""), "nobody known asked"
    assert "look again" in said(link, 409, say="approve", seen="0" * 64)
    assert "what the form of this page sends" in said(link, 400, say="perhaps", seen=seen)
    changed = {**approved_by(1), "keepWarm": "2s"}
    put(desk, model, changed, by="shared")
    assert "Something has changed since" in httpx.get(link, trust_env=False).text
    as_(desk, "ben", f"{model}/approve", seen=settled(desk, model)["seen"]).raise_for_status()
    assert "does not wait for what this link was made for" in said(link, 409, say="approve", seen=seen)
    assert ["by a link" in why for _, why in refused(desk, model)] == [True] * 3


def test_the_link_of_a_person_who_became_an_author_is_refused(desk, request):
    model = own_name(request.node.name)
    put(desk, model, approved_by(1), by="shared")
    link = link_for(desk, model, "cat@example.org")
    seen = put(desk, model, {**approved_by(1), "keepWarm": "1s"}, by="cat")["seen"]
    assert f"cat made this revision of &#x27;{model}&#x27;" in said(link, 403, say="approve", seen=seen)
    assert refused(desk, model)[0][1].startswith("by a link: cat made this revision")
    assert settled(desk, model)["given"] == []


def test_a_link_whose_time_is_over_is_gone_and_says_so(desk, request):
    model = own_name(request.node.name)
    seen = put(desk, model, approved_by(1, expires="3s"))["seen"]
    link = link_for(desk, model, "ann@example.org")
    eventually(lambda: desk.control.view(model)["status"]["cause"] == "expired", "its time is over")
    eventually(lambda: httpx.get(link, trust_env=False).status_code == 410, "the link knows it, too")
    assert "this link has expired; sign in on the page" in said(link, 410, say="approve", seen=seen)
    why = "by a link: this link has expired; sign in on the page with your own token"
    assert refused(desk, model)[0] == ("ann", why)
    desk.control.act(model, "resume").raise_for_status()  # it is asked for anew, by new links
    assert "has expired" in said(link, 410, say="approve", seen=settled(desk, model)["seen"])
    status = desk.control.view(model)["status"]
    assert (status["step"], settled(desk, model)["given"]) == (1, [])


def said(link, status, **form):
    answer = httpx.post(link, data=form, trust_env=False)
    assert answer.status_code == status, answer.text
    return answer.text


def link_for(desk, model, address):
    """The link in the mail to someone about a rollout."""

    def found():
        for mail, to in zip(desk.box.mails, desk.box.recipients, strict=True):
            text = mail.get_payload(decode=True).decode()
            if to == [address] and f"{model} " in text and "/v1/approvals/" in text:
                return text.split()[-1]
        return None

    eventually(found, "the mail is there")
    return found()


CLAIMS = Claims("digits", 7, 3, 1, "seen", "ann", 2e9, "nonce")
KEY = b"k" * 32


@given(st.data())
def test_no_altered_link_is_ours(data):
    token = sign(KEY, CLAIMS)
    assert read(KEY, token) == CLAIMS
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != token[place]))
    for forged in (token[:place] + other + token[place + 1 :], token[:place], token + other):
        with pytest.raises(Forged):
            read(KEY, forged)
    with pytest.raises(Forged):
        read(b"x" * 32, token)


@given(st.text(max_size=300))
def test_no_text_is_a_link(text):
    with pytest.raises(Forged):
        read(KEY, text)


# ------------------------------------------------------------------ the file of people
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "expected 1 to 1000 people"),
        ("ann: {roles: [risk]}", "sha256"),
        ("ann: {sha256: 'secret-token', roles: [risk]}", "expected the SHA-256 of a token"),
        (f"ann: {{sha256: '{'a' * 64}', roles: []}}", "expected 1 to 16 roles"),
        (f"ann: {{sha256: '{'a' * 64}', roles: [Risk]}}", "expected a role"),
        (f"operator: {{sha256: '{'a' * 64}', roles: [risk]}}", "a name that the audit log has for others"),
        (f"ann: &x {{sha256: '{'a' * 64}', roles: [risk]}}", "anchor"),
        (
            f"ann: {{sha256: '{'a' * 64}', roles: [risk]}}\nben: {{sha256: '{'a' * 64}', roles: [risk]}}",
            "has the token of ann",
        ),
    ],
)
def test_a_file_of_people_that_is_not_understood_is_refused_in_words(text, why):
    with pytest.raises(DocumentError, match=why) as refused:
        parse(text, "tokens.yaml")
    assert "secret-token" not in str(refused.value)


@given(st.binary(max_size=64), st.sampled_from(sorted(TOKENS)))
def test_nothing_but_a_token_itself_is_taken_for_it(given_, name):
    people = parse("".join(line_of(each, TOKENS[each], roles) for each, roles in ROLES.items()), "t")
    token = TOKENS[name].encode()
    if name in ROLES:
        assert people.by_token(token).name == name
    tries = {
        given_,
        token[:-1],
        token + b" ",
        token.swapcase(),
        hashlib.sha256(token).digest(),
        given_ + token,
    }
    for each in tries - {token}:
        assert people.by_token(each) is None
    assert People().by_token(token) is None
    assert name not in RESERVED


@given(st.binary(max_size=3000))
def test_what_a_hook_says_is_one_short_line(body):
    said = reason_in(body)
    assert len(said) <= MAX_REASON
    assert said.isprintable()
