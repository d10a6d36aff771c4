"""Bodies that lie, at the public door: an answer in words, never a fault of ours, and nothing told."""

import gzip
import http.client
from pathlib import Path

import orjson
import pytest

from harness.oip_fuzz import Fuzzer, corpus, fuzz
from harness.resources import held
from harness.rows import body
from harness.secrets_told import told

CORPUS = corpus(Path(__file__).parent / "corpus")
DIGITS = "/v2/models/digits/infer"


@pytest.mark.parametrize("kept", CORPUS, ids=[name for name, _, _ in CORPUS])
def test_what_was_found_hostile_once_is_answered_as_it_should(kept, up):
    _, statuses, sent = kept
    fuzzer = Fuzzer(up.port)
    assert fuzzer.send(sent) in statuses
    fuzzer.close()
    assert not fuzzer.report.wrong


def test_nothing_nearly_right_is_more_than_refused(up):
    report = fuzz(up.port, seconds=0.0, examples=60)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.inputs >= 60
    assert report.statuses[200] > 0
    assert report.statuses[400] > 0, "it does send what is wrong"


@pytest.mark.slow
def test_nothing_nearly_right_is_more_than_refused_for_minutes(up):
    report = fuzz(up.port, seconds=180.0, examples=500, first_seed=1000)
    assert not report.wrong, "\n".join(report.wrong)


def rss(up):
    return max(process.rss_bytes for process in held(up.process.popen.pid) if process.kind == "worker")


def packed():
    return gzip.compress(bytes(64 << 20))


LARGE = {
    "nested a million deep": lambda: (b'{"inputs":' + b"[" * 1_000_000, {}),
    "objects a million deep": lambda: (b'{"a":' * 1_000_000, {}),
    "a number of 100,000 digits": lambda: (
        b'{"inputs":[{"name":"pixels","shape":[1,64],"datatype":"FP32","data":[' + b"9" * 100_000 + b"]}]}",
        {},
    ),
    "a name of 10 MB": lambda: (b'{"inputs":[{"name":"' + b"a" * 10_000_000 + b'"}]}', {}),
    "10 MB of gzip that are 10 GB": lambda: (packed() * 160, {"content-encoding": "gzip"}),
    "gzip in gzip": lambda: (gzip.compress(gzip.compress(body(0))), {"content-encoding": "gzip, gzip"}),
    "no gzip": lambda: (b"\x1f\x8b\x08 not really", {"content-encoding": "gzip"}),
    "a million inputs": lambda: (
        b'{"inputs":[' + b'{"name":"pixels"},' * 999_999 + b'{"name":"pixels"}]}', {}
    ),
    "a shape of a million": lambda: (
        b'{"inputs":[{"name":"pixels","datatype":"FP32","data":[],"shape":[' + b"1," * 999_999 + b"1]}]}", {}
    ),
}  # fmt: skip
"""Made by the process alone that sends them, and not by each that collects them."""


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_large_or_deep_is_refused_in_few_words_and_bounded_memory(kind, up):
    content, headers = LARGE[kind]()
    before = rss(up)
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=60)
    connection.request("POST", DIGITS, content, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status in {400, 413, 501}, text[:300]
    error = orjson.loads(text)["error"]
    assert len(error) < 2000
    assert not told(error)
    assert rss(up) < before + (300 << 20), "of which 64 MB are the largest body allowed"
