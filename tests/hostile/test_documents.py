"""Rollout documents that are none, at the admin door and in the file: refused in words."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.resources import held
from harness.search import examples
from harness.secrets_told import told
from harness.system import eventually

PATH = "/v1/rollouts/digits"
GOOD = "stable: digits/1\ncanary: {model: digits/2, weight: 10}\ncompare: {label: exact}\n"
HOSTILE = {
    "an alias": "stable: &a digits/1\ncanary: {model: *a, weight: 1}\n",
    "a bomb of aliases": "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12)
    ),
    "a merge": "stable: digits/1\n<<: {timeout: 1s}\n",
    "a Python object": "stable: !!python/object/apply:os.system ['id']\n",
    "a tag": "stable: !mine digits/1\n",
    "two documents": "stable: digits/1\n---\nstable: digits/2\n",
    "lists 20,000 deep": "stable: " + "[" * 20_000 + "]" * 20_000,
    "maps 5,000 deep": "{a: " * 5_000 + "1" + "}" * 5_000,
    "indented 3,000 deep": "\n".join(" " * n + "a:" for n in range(3_000)),
    "a key twice": GOOD + "stable: digits/2\n",
    "a key twice in JSON": '{"stable": "digits/1", "stable": "digits/2"}',
    "100,000 keys": "".join(f"k{n}: 1\n" for n in range(100_000)),
    "a number of 100,000 digits": "stable: digits/1\ntimeout: " + "9" * 100_000 + "\n",
    "infinite": "stable: digits/1\nalpha: .inf\n",
    "no number": "stable: digits/1\nalpha: .nan\n",
    "1e999": "stable: digits/1\ncanary: {model: digits/2, weight: 1e999}\n",
    "a number in base 60": "stable: digits/1\ntimeout: 1:30:00\n",
    "NUL": "stable: digits/1\0\n",
    "a lone surrogate": b'{"stable": "\\ud800/1"}',
    "not UTF-8": b"stable: \xff\xfe/1\n",
    "UTF-16": "stable: digits/1\n".encode("utf-16"),
    "a path": "stable: ../../etc/passwd/1\n",
    "an absolute path": "stable: /etc/passwd/1\n",
    "an encoded path": "stable: '%2e%2e/1'\n",
    "a look-alike": "stable: dіgits/1\n",
    "a version that is none": "stable: digits/../1\n",
    "a file as URL": "stable: {model: digits/1, url: 'file:///etc/passwd'}\n",
    "a URL with a password": "stable: {model: digits/1, url: 'http://u:secret@h:1'}\n",
    "a URL with a line end": 'stable: {model: digits/1, url: "http://h:1/\\r\\nX: y"}\n',
    "a directive": "%YAML 9.9\n%TAG ! tag:x,2000:\n---\nstable: digits/1\n",
    "an endless anchor": "&a [*a]\n",
    "tabs": "stable:\tdigits/1\n\tcanary: {}\n",
    "empty": "",
    "a list": "[]",
    "text": "stable",
    "1 MB of text": "stable: " + "d" * 1_000_000,
    "3 MB of blanks": " " * 3_000_000,
}


def control_rss(up):
    return next(process.rss_bytes for process in held(up.process.popen.pid) if process.kind == "control")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_document_that_is_none_is_refused_in_words(kind, up):
    content = HOSTILE[kind]
    revision, memory = up.view("digits")["revision"], control_rss(up)
    for media in ("application/yaml", "application/json"):
        put = up.admin.put(PATH, content=content, headers={"content-type": media}, timeout=60)
        assert 400 <= put.status_code < 500, put.text[:500]
        detail = put.json()["detail"]
        assert 0 < len(detail) < 2000, detail[:500]
        assert not told(put.text, content if isinstance(content, str) else "")
        assert "secret" not in put.text
    assert up.view("digits")["revision"] == revision
    assert control_rss(up) < memory + (200 << 20)


@pytest.mark.parametrize(
    "kind", ["a bomb of aliases", "lists 20,000 deep", "100,000 keys", "not UTF-8", "3 MB of blanks"]
)
def test_a_file_that_is_none_is_refused_and_the_last_good_one_serves(kind, up):
    good, content = up.file.read_bytes(), HOSTILE[kind]
    new = up.file.with_suffix(".new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(up.file)
    try:
        refusal = eventually(lambda: (r := up.admin.get("/readyz")).status_code == 503 and r, "refused")
        assert refusal.json()["detail"].startswith("rollouts.yaml")
        assert not told(refusal.text)
        assert up.client.get("/v2/health/ready").status_code == 200
    finally:
        new.write_bytes(good)
        new.replace(up.file)
        eventually(lambda: up.admin.get("/readyz").status_code == 200, "accepted again")


VALUES = [
    "-1",
    "1e400",
    "nan",
    "null",
    "[]",
    "{}",
    "~",
    "'",
    '"',
    "*a",
    "&a",
    "!!binary",
    "digits/2",
    "99%",
    "1s",
    "\t",
]


@given(st.data())
@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck), database=None)
def test_no_changed_document_does_more_than_be_refused(up, data):
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(begin + 6, len(text))))
        new = data.draw(st.sampled_from(VALUES) | st.text(max_size=5))
        text = text[:begin] + new + text[end:]
    content = text.encode("utf-8", "surrogatepass")
    put = up.admin.put(PATH, params={"dryRun": "true"}, content=content)
    assert put.status_code == 200 or 400 <= put.status_code < 500, (content, put.text)
    assert not told(put.text, text)
