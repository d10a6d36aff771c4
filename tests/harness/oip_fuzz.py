"""Inference requests that are nearly right, thrown at a running server: a structure-aware fuzzer.

Each begins as a valid request for the digits; then values are replaced by others of their kind or of another,
members are dropped, doubled or renamed, the binary part and its length are made to lie, bytes are flipped.
What must hold: an answer in time, never 5xx (501, the protocol's "not supported", is no fault), and no word
about the machine or the code in an error.
"""

import http.client
import json
import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.rows import digits
from harness.secrets_told import told

SPLICES = 10
"""Cheap variants of each request that was made with care."""
HEADER = "inference-header-content-length"
PATHS = (
    "/v2/models/digits/infer",
    "/v2/models/digits/versions/1/infer",
    "/v2/models/iris/infer",
    "/v2/models/behind/infer",
)
SHAPES = [
    [1, 64],
    [0, 64],
    [2, 64],
    [64],
    [],
    [-1, 64],
    [1, 64, 1],
    [2**63],
    [2**31, 2**33],
    [1.0, 64],
    ["1"],
    None,
]
DATATYPES = [
    "FP32",
    "FP64",
    "FP16",
    "BF16",
    "INT64",
    "INT8",
    "UINT64",
    "BOOL",
    "BYTES",
    "",
    "fp32",
    "\0",
    "X" * 999,
]
NUMBERS = [
    0, -0.0, 1, 1.5, -1, 2**53, 2**64 - 1, 10**30, 1e308, 5e-324, math.nan, -math.inf, "NaN",
    "Infinity", True, None, "1", [], {},
]  # fmt: skip
NAMES = [
    "pixels",
    "label",
    "probabilities",
    "",
    "..",
    "a" * 5000,
    "pixels\0",
    "\u202e",
    "p\u0456xels",
    None,
    3,
]
TEXTS = [
    b'{"inputs": ' + b"[" * 100_000, b"{" * 50_000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"1" * 100_000,
    b'{"inputs": [{"name": "pixels", "shape": [1e999], "datatype": "FP32", "data": []}]}',
    b'{"inputs": [], "inputs": null}', b'{"id": "\\ud800"}', b'{"id": "\xff\xfe"}', b"\xef\xbb\xbf{}", b"NaN",
    b'{"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [NaN, Infinity]}]}', b"",
    b"null", b"[]", b'""', b"{", b"\0" * 1000,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """One request."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class Report:
    """What came of it.

    Attributes:
        inputs: requests sent.
        statuses: HTTP status -> answers; 0 stands for a connection that was closed without one.
        seconds: it took.
        slowest: seconds, of one answer.
        wrong: the first few that broke the law, in words.
    """

    inputs: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """A request with zero to four things wrong in it."""
    path = draw(st.sampled_from(PATHS))
    if draw(st.integers(0, 19)) == 0:
        return Sent(path, (), draw(st.sampled_from(TEXTS)))
    rows = draw(st.integers(1, 3))
    binary = draw(st.booleans())
    document, tail = _valid(rows, binary=binary)
    for _ in range(draw(st.integers(0, 4))):
        document = draw(_worse(document))
    text = json.dumps(document).encode()  # which knows integers of any size, and NaN
    text = draw(_torn(text)) if draw(st.integers(0, 3)) == 0 else text
    headers: tuple[tuple[str, str], ...] = ()
    if binary or draw(st.integers(0, 9)) == 0:
        headers = ((HEADER, draw(_length(len(text), len(text) + len(tail)))),)
    if draw(st.integers(0, 9)) == 0:
        headers += (
            ("x-understudy-target", draw(st.sampled_from(["canary", "stable", "digits/1", "../x", "\xff"]))),
        )
    return Sent(path, headers, text + (draw(_torn(tail)) if tail and draw(st.integers(0, 3)) == 0 else tail))


def _valid(rows: int, *, binary: bool) -> tuple[dict[str, object], bytes]:
    values = digits()[:rows]
    tensor: dict[str, object] = {"name": "pixels", "shape": [rows, 64], "datatype": "FP32"}
    if not binary:
        return {
            "id": "a",
            "inputs": [tensor | {"data": values.ravel().tolist()}],
            "outputs": [{"name": "label"}],
        }, b""
    tail = values.tobytes()
    tensor["parameters"] = {"binary_data_size": len(tail)}
    return {"inputs": [tensor], "parameters": {"binary_data_output": True}}, tail


@st.composite
def _worse(draw: st.DrawFn, document: dict[str, object]) -> dict[str, object]:
    """The document with one thing changed."""
    changed = dict(document)
    inputs = changed.get("inputs")
    if (
        not isinstance(inputs, list)
        or not inputs
        or not isinstance(inputs[0], dict)
        or draw(st.integers(0, 4)) == 0
    ):
        key = draw(st.sampled_from(["inputs", "outputs", "parameters", "id", "model_name", "\0"]))
        changed[key] = draw(_anything())
        return changed
    tensor = dict(inputs[0])
    what = draw(
        st.sampled_from(["name", "shape", "datatype", "data", "parameters", "drop", "twice", "value"])
    )
    if what == "drop":
        tensor.pop(draw(st.sampled_from(sorted(tensor) or ["name"])), None)  # it may be empty already
    elif what == "twice":
        return changed | {"inputs": [tensor] * draw(st.sampled_from([2, 3, 50]))}
    elif what == "value" and isinstance(tensor.get("data"), list) and tensor["data"]:
        values = list(tensor["data"])
        values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from(NUMBERS))
        tensor["data"] = values
    elif what == "parameters":
        sizes = [-1, 0, 1, 255, 257, 2**31, 2**63, 1.5, "256", None, True]
        tensor["parameters"] = {"binary_data_size": draw(st.sampled_from(sizes))}
    else:
        choices = {"name": NAMES, "shape": SHAPES, "datatype": DATATYPES}.get(what)
        tensor[what] = draw(st.sampled_from(choices) if choices else _anything())
    return changed | {"inputs": [tensor, *inputs[1:]]}


def _anything() -> st.SearchStrategy[object]:
    """Some JSON."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "data", "x"]), inner)
        ),
        max_leaves=6,
    )


@st.composite
def _torn(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with a stretch replaced."""
    begin = draw(st.integers(0, len(data)))
    end = draw(st.integers(begin, min(begin + 8, len(data))))
    return data[:begin] + draw(st.binary(max_size=8)) + data[end:]


def _length(text: int, whole: int) -> st.SearchStrategy[str]:
    """Of the JSON, mostly right."""
    lies = [0, 1, text - 1, text + 1, whole, whole + 1, 2**63, -1, "1e3", "0x10", "", "١"]
    return st.just(str(text)) | st.just(str(text)) | st.sampled_from([str(lie) for lie in lies])


def spliced(chance: random.Random, sent: Sent, other: Sent) -> Sent:
    """A request with a stretch of another one's body in the place of one of its own."""
    at, begin = chance.randrange(len(sent.body) + 1), chance.randrange(len(other.body) + 1)
    lost, size = chance.choice((0, 1, 8, 200)), chance.choice((0, 1, 4, 30, 400))
    body = sent.body[:at] + other.body[begin : begin + size] + sent.body[at + lost :]
    return Sent(sent.path, chance.choice((sent, other)).headers, body)


class Fuzzer:
    """Sends what it is given over one connection that is kept for as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self.report = Report()
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, sent: Sent) -> int:
        """Ask, and check the answer; its status."""
        began = time.perf_counter()
        status, text = self._ask(sent)
        took = time.perf_counter() - began
        report = self.report
        report.inputs += 1
        report.statuses[status] += 1
        report.slowest = max(report.slowest, took)
        problem = ""
        if status == 0 or (status >= 500 and status != 501):
            problem = f"status {status}"
        elif status != 200:
            problem = _problem(text, sent)
        if problem and len(report.wrong) < 20:
            report.wrong.append(
                f"{problem}: {sent.path} {sent.headers} {sent.body[:300]!r} -> {text[:300]!r}"
            )
        return status

    def _ask(self, sent: Sent) -> tuple[int, bytes]:
        for _ in range(2):  # a kept connection may be closed by then
            try:
                self._connection.putrequest("POST", sent.path)
                for name, value in sent.headers:
                    self._connection.putheader(name, value.encode("utf-8"))
                self._connection.putheader("content-length", str(len(sent.body)))
                self._connection.endheaders(sent.body)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except TimeoutError:
                self._connection.close()
                return 0, b"no answer in 60 s"
            except (OSError, http.client.HTTPException):
                self._connection.close()
        return 0, b"closed"

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _problem(text: bytes, sent: Sent) -> str:
    try:
        error = orjson.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return "an error without a reason"
    if not isinstance(error, str) or not error or len(error) > 2000:
        return "an error without a reason that can be read"
    found = told(error, sent.body.decode("latin-1") + str(sent.headers))
    return f"tells {found!r}" if found else ""


def fuzz(port: int, seconds: float, examples: int = 500, first_seed: int = 0) -> Report:
    """Send requests for about so many seconds, in rounds of `examples`, each with its seed."""
    fuzzer = Fuzzer(port)
    began = time.monotonic()
    number = first_seed
    while number == first_seed or time.monotonic() - began < seconds:
        _round(fuzzer, number, examples)
        number += 1
    fuzzer.close()
    fuzzer.report.seconds = time.monotonic() - began
    return fuzzer.report


def _round(fuzzer: Fuzzer, number: int, examples: int) -> None:
    """Requests made with care, and `SPLICES` of each with what was sent before."""
    chance = random.Random(number)
    seen = deque([Sent(PATHS[0], (), b"{}")], maxlen=50)

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def send(sent: Sent) -> None:
        fuzzer.send(sent)
        for _ in range(SPLICES):
            fuzzer.send(spliced(chance, sent, chance.choice(seen)))
        seen.append(sent)

    send()


def corpus(folder: Path) -> list[tuple[str, frozenset[int], Sent]]:
    """Requests worth keeping: name, statuses that it may be answered with, the request.

    A file is a line of JSON (`path`, `headers`, `statuses`), then the body as it is.
    """
    found = []
    for file in sorted(folder.glob("*.req")):
        line, _, body = file.read_bytes().partition(b"\n")
        told_ = orjson.loads(line)
        sent = Sent(told_["path"], tuple(tuple(header) for header in told_["headers"]), body)
        found.append((file.stem, frozenset(told_["statuses"]), sent))
    return found
