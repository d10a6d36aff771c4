"""The file of notifications is read strictly, and shows no secret in anything that it may be printed as."""

import hmac
from base64 import b64decode, b64encode

import pytest

from control.notify.file import parse
from control.notify.messages import (
    EVENTS,
    TOLD_BY_DEFAULT,
    Channel,
    Email,
    Notice,
    Slack,
    Webhook,
    sentence,
)
from control.notify.ways import payload, signature
from harness.command import understudy
from serving.document import DocumentError

SECRET = "s3cret-of-ours"
ENVIRONMENT = {
    "SECRET": SECRET,
    "STANDARD": "whsec_" + b64encode(b"key").decode(),
    "BROKEN": "whsec_?",
    "HOOK": "https://hooks.example.org/T/" + SECRET,
    "NO_URL": "ftp://" + SECRET,
}

WHOLE = """
source: production
link: https://understudy.example.org/
channels:
  hook: {webhook: {url: 'https://example.org/hook', secret: {env: SECRET}}}
  standard: {webhook: {url: {env: HOOK}, secret: {env: STANDARD}}}
  chat: {slack: {url: {file: FILE}}, events: [rolled_back, promoted], models: [digits]}
  mail:
    email:
      host: smtp.example.org
      port: 465
      security: tls
      from: understudy@example.org
      to: [oncall@example.org, other@example.org]
      user: understudy
      password: {env: SECRET}
"""


def read(text):
    return parse(text, "n.yaml", ENVIRONMENT)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "url"
    path.write_text(ENVIRONMENT["HOOK"] + "\n")
    return read(WHOLE.replace("FILE", str(path)))


def test_a_whole_file_means_what_it_says(whole):
    assert (whole.source, whole.link) == ("production", "https://understudy.example.org")
    assert whole.channels == (
        Channel("hook", Webhook("https://example.org/hook", SECRET.encode())),
        Channel("standard", Webhook(ENVIRONMENT["HOOK"], b"key")),
        Channel("chat", Slack(ENVIRONMENT["HOOK"]), ("rolled_back", "promoted"), ("digits",)),
        Channel(
            "mail",
            Email(
                "smtp.example.org", "understudy@example.org", ("oncall@example.org", "other@example.org"),
                465, "tls", "understudy", SECRET,
            ),
        ),
    )  # fmt: skip


def test_no_secret_is_in_any_representation(whole):
    for text in (repr(whole), str(whole)):
        assert SECRET not in text
        assert "example.org/hook" not in text


MAIL = "host: h, from: a@b, to: [a@b]"
REFUSED = [
    ("¦", "the document is empty"),
    ("¦[]", "expected a mapping"),
    ("¦source: x", "'channels' is missing"),
    ("channels: ¦{}", "1 to 32 channels"),
    ("channels: {c: {slack: {url: {env: HOOK}}}}\nmore: ¦1", "unknown key"),
    ("channels: {c: {slack: {url: {env: HOOK}}}}\nlink: ¦javascript:alert(1)", "expected a URL"),
    ("channels: {c: ¦{}}", "one of webhook, slack and email"),
    ("channels: {'<c>': ¦{slack: {url: {env: HOOK}}}}", "a name has"),
    ("channels: {c: ¦{slack: {url: {env: HOOK}}, webhook: {url: 'http://a'}}}", "one of webhook"),
    ("channels: {c: {slack: {url: ¦'https://hooks.example.org/T'}}}", "a secret does not belong"),
    ("channels: {c: {slack: {url: ¦{env: NO_URL}}}}", "is no URL"),
    ("channels: {c: {slack: {url: {env: ¦NOT_THERE}}}}", "'NOT_THERE' is not set"),
    ("channels: {c: {slack: {url: {file: ¦/nowhere/at/all}}}}", "No such file"),
    ("channels: {c: {slack: {url: {file: ¦/dev/null}}}}", "1 to 65536 bytes"),
    ("channels: {c: {slack: {url: ¦{env: HOOK, file: x}}}}", "expected {env: NAME} or {file: path}"),
    ("channels: {c: {webhook: {url: ¦'https://user:pw@example.org'}}}", "without user"),
    ("channels: {c: {webhook: {url: ¦example.org}}}", "http:// or https://"),
    ("channels: {c: {webhook: {url: 'http://a', secret: ¦plain}}}", "a secret does not belong"),
    ("channels: {c: {webhook: {url: 'http://a', secret: ¦{env: BROKEN}}}}", "base64"),
    ("channels: {c: {slack: {url: {env: HOOK}}, events: [¦exploded]}}", "expected one of started"),
    ("channels: {c: {slack: {url: {env: HOOK}}, events: [step, ¦step]}}", "named already"),
    ("channels: {c: {slack: {url: {env: HOOK}}, events: ¦[]}}", "at least one"),
    ("channels: {c: {email: {host: h, from: ¦'a b@c', to: [a@b]}}}", "an address"),
    ("channels: {c: {email: {host: h, from: a@b, to: ¦[]}}}", "1 to 100 addresses"),
    ('channels: {c: {email: {host: h, from: a@b, to: [¦"a@b\\nBcc: x@y"]}}}', "an address"),
    ("channels: {c: {email: {host: ¦'h/x', from: a@b, to: [a@b]}}}", "host"),
    ("channels: {c: {email: {host: h, port: ¦0, from: a@b, to: [a@b]}}}", "1 to 65535"),
    ("channels: {c: {email: ¦{host: h, from: a@b, to: [a@b], user: u}}}", "come together"),
    (
        f"channels: {{c: {{email: {{{MAIL}, user: u, security: ¦none, password: {{env: SECRET}}}}}}}}",
        "not encrypted",
    ),
]


@pytest.mark.parametrize(("text", "part"), REFUSED)
def test_what_is_not_understood_is_refused_where_it_stands_and_without_a_secret(text, part):
    before, after = text.split("¦")
    with pytest.raises(DocumentError) as caught:
        read(before + after)
    assert part in caught.value.message
    assert SECRET not in str(caught.value)
    lines = before.split("\n")
    assert str(caught.value).startswith(f"n.yaml:{len(lines)}:{len(lines[-1]) + 1}: ")


def notice(event="promoted", model="digits") -> Notice:
    return Notice(
        id="production/12", event=event, model=model, at=1.5, text="t", actor="autopilot", revision=12,
        evidence={"guards": []}, link="http://here/#digits",
    )  # fmt: skip


def test_a_channel_wants_its_events_of_its_models_and_every_refused_edit():
    everything = Channel("c", Slack("u"))
    assert {event for event in EVENTS if everything.wants(notice(event))} == set(TOLD_BY_DEFAULT)
    some = Channel("c", Slack("u"), ("promoted", "rejected"), ("iris",))
    assert some.wants(notice(model="iris"))
    assert not some.wants(notice(model="digits"))
    assert not some.wants(notice("step", "iris"))
    assert some.wants(notice("rejected", ""))
    assert not some.wants(notice("rejected", "digits"))


def test_a_webhook_gets_what_happened_and_the_evidence():
    assert payload(notice()) == {
        "id": "production/12", "event": "promoted", "model": "digits", "revision": 12,
        "at": "1970-01-01T00:00:01.500+00:00", "actor": "autopilot", "text": "t", "evidence": {"guards": []},
        "link": "http://here/#digits",
    }  # fmt: skip


def test_the_signature_is_that_of_standard_webhooks():
    headers = signature(b"key", "id", 1700000000.9, b"{}")
    version, _, text = headers["webhook-signature"].partition(",")
    assert (headers["webhook-id"], headers["webhook-timestamp"], version) == ("id", "1700000000", "v1")
    assert b64decode(text) == hmac.digest(b"key", b"id.1700000000.{}", "sha256")
    # The example of the specification's reference libraries.
    secret = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert "webhook-signature" not in signature(None, "id", 1.0, b"")


def test_every_event_has_a_sentence():
    for event in EVENTS:
        text = sentence(event, "digits", "because", "autopilot")
        assert "because" in text
        assert event == "rejected" or text.startswith("digits ")


@pytest.mark.parametrize("command", ["up", "control"])
def test_a_command_with_a_file_that_is_refused_ends_with_the_place(command, tmp_path):
    file = tmp_path / "n.yaml"
    file.write_text("channels:\n  c: {telegram: {}}\n")
    arguments = [command, "--notifications", str(file), "--state-dir", str(tmp_path), "--admin-port", "0"]
    ended = understudy(*arguments, cwd=tmp_path)
    assert ended.returncode == 1
    assert "error: n.yaml:2:17: channels.c.telegram: unknown key" in ended.stderr
