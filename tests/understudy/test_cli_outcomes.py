"""`understudy outcomes` against a door that speaks the contract, and is away when the test says so."""

import contextlib
import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from harness.command import told
from harness.record_files import write
from harness.system import free_port
from router.wire.outcomes import MAX_LINES, Told, read_lines
from serving.errors import InvalidInput


@dataclass
class Door:
    """Takes each outcome once; values above 100 are none.

    Attributes:
        url: of its root.
        away: statuses to answer next instead, one each.
        taken: by receipt and name.
        requests: how many outcomes each request had that it took.
        tokens: that came.
    """

    url: str = ""
    away: list[int] = field(default_factory=list)
    taken: dict[tuple[str, str], Told] = field(default_factory=dict)
    requests: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.away:
            return self.away.pop(0), {"error": "the spool is full"}
        try:
            outcomes = read_lines(body)
        except InvalidInput as error:
            return 400, {"detail": str(error)}
        self.requests.append(len(outcomes))
        left: Counter[str] = Counter()
        examples = []
        for line, each in enumerate(outcomes, 1):
            if isinstance(each.value, float) and each.value > 100:
                left["value"] += 1
                examples.append({"line": line, "reason": "value", "words": "it is above 100"})
            elif (each.receipt, each.name) in self.taken:
                left["duplicate"] += 1
            else:
                self.taken[each.receipt, each.name] = each
        return 200, {"accepted": len(outcomes) - left.total(), "left_out": left, "examples": examples}


@contextlib.contextmanager
def opened() -> Iterator[Door]:
    door = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/outcomes"
            door.tokens.add(self.headers.get("authorization", ""))
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-encoding"] == "gzip"
            status, said = door.answer(gzip.decompress(body))
            content = orjson.dumps(said)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    door.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def door():
    with opened() as found:
        yield found


def receipt(number: int) -> str:
    return f"{number:072}"


@pytest.fixture
def labels(tmp_path):
    def write(values):
        path = tmp_path / "labels.csv"
        path.write_text("receipt,value\n" + "".join(f"{receipt(n)},{v}\n" for n, v in enumerate(values)))
        return str(path)

    return write


def outcomes(door: Door, *arguments: str, code: int = 0):
    environment = {"UNDERSTUDY_CONTROL": door.url, "UNDERSTUDY_TOKEN": "t"}
    ended = told("outcomes", *arguments, environment=environment)
    assert ended.exit_code == code, (ended.exit_code, ended.stdout, ended.stderr)
    return ended


def test_a_file_is_told_in_batches_and_once(door, labels):
    path = labels([7] * 12_000)
    said = json.loads(outcomes(door, "import", path, "--name", "label", "--json").stdout)
    assert said == {"told": 12_000, "accepted": 12_000, "left_out": {}, "examples": []}
    assert door.requests == [MAX_LINES, 2_000]
    assert door.taken[receipt(0), "label"] == Told("label", 7.0, receipt(0))
    assert door.tokens == {"Bearer t"}
    again = outcomes(door, "import", path, "--name", "label").stdout
    assert again == "0 of 12,000 taken, left out: 12,000 duplicate\n"


def test_what_is_left_out_is_said_by_reason_and_by_the_exit_code(door, labels):
    path = labels([1, 101, 2, 102])
    ended = outcomes(door, "import", path, "--name", "amount", "--node", door.url + "/", code=3)
    assert ended.stdout == "2 of 4 taken, left out: 2 value\n"
    first, second = ended.stderr.splitlines()
    assert first.endswith("labels.csv:3: value, it is above 100")
    assert "labels.csv:5: " in second


def test_with_a_row_that_is_not_understood_nothing_is_told(door, labels, tmp_path):
    path = labels(["1", "", "2"])
    ended = outcomes(door, "import", path, "--name", "label", code=1)
    assert "labels.csv:3: value: " in ended.stderr
    assert "1 of 3 rows are not understood; none was told" in ended.stderr
    assert not door.requests
    assert "--name" in outcomes(door, "import", path, code=1).stderr
    assert "no-such.csv" in outcomes(door, "import", str(tmp_path / "no-such.csv"), code=1).stderr


def test_a_dry_run_tells_nobody(door, labels):
    ended = outcomes(door, "import", labels([1, 2]), "--name", "label", "--dry-run")
    assert ended.stdout == "2 outcomes, none told\n"
    assert not door.requests


def test_a_door_that_is_full_for_a_moment_is_asked_again(door, labels):
    door.away += [503, 429, 503]
    ended = outcomes(door, "import", labels([1] * 10), "--name", "label")
    assert ended.stdout == "10 of 10 taken\n"


def test_an_import_that_is_cut_short_says_how_far_it_came_and_goes_on_when_run_again(door, labels):
    path = labels([1] * 12_000)
    answer = door.answer

    def full_after_one(body: bytes):
        return answer(body) if not door.requests else (503, {"error": "the spool is full"})

    door.answer = full_after_one
    ended = outcomes(door, "import", path, "--name", "label", code=1)
    assert "the spool is full; 10,000 of 12,000 outcomes were told (10,000 taken)" in ended.stderr
    door.answer = answer
    ended = outcomes(door, "import", path, "--name", "label")
    assert ended.stdout == "2,000 of 12,000 taken, left out: 10,000 duplicate\n"
    assert len(door.taken) == 12_000


def test_a_door_that_refuses_is_not_asked_again(door, labels):
    door.away += [403]
    ended = outcomes(door, "import", labels([1]), "--name", "label", code=1)
    assert "the spool is full; 0 of 1 outcomes were told" in ended.stderr
    assert not door.requests


def test_one_outcome_is_told_by_its_receipt(door):
    ended = outcomes(door, "tell", receipt(1), "conversion", "true", "--time", "2026-01-31T12:00:00Z")
    assert ended.stdout == "1 of 1 taken\n"
    assert door.taken[receipt(1), "conversion"].value is True
    assert "duplicate" in outcomes(door, "tell", receipt(1), "conversion", "1").stdout
    assert (
        "time: expected"
        in outcomes(door, "tell", receipt(1), "conversion", "1", "--time", "noon", code=1).stderr
    )
    assert (
        outcomes(door, "tell", receipt(2), "amount", "500", code=3).stdout
        == "0 of 1 taken, left out: 1 value\n"
    )


def test_ground_truth_of_sagemaker_is_imported(door, tmp_path):
    event = {
        "groundTruthData": {"data": "1", "encoding": "CSV"}, "eventMetadata": {"eventId": receipt(1)},
        "eventVersion": "0",
    }  # fmt: skip
    path = tmp_path / "truth.jsonl"
    path.write_bytes(orjson.dumps(event) + b"\n")
    assert outcomes(door, "import", str(path), "--name", "label").stdout == "1 of 1 taken\n"
    assert door.taken[receipt(1), "label"].value == 1.0


def test_rows_by_request_id_find_their_receipts_in_the_prediction_log(door, tmp_path):
    pytest.importorskip("pyarrow")
    columns = {
        "kind": ["request", "request", "comparison", "request", "request"],
        "receipt": [receipt(1), receipt(2), receipt(9), receipt(3), receipt(4)],
        "request_id": ["a", "b", "b", "twice", "twice"],
        "client_request_id": [None, "B", None, None, None],
    }
    write(tmp_path / "records", "one", columns)
    event = {"groundTruthData": {"data": "1", "encoding": "CSV"}, "eventVersion": "0"}
    lines = [
        orjson.dumps(event | {"eventMetadata": {"eventId": name}})
        for name in ("a", "B", "twice", "nobody", receipt(5))
    ]
    path = tmp_path / "truth.jsonl"
    path.write_bytes(b"\n".join(lines))
    options = "import", str(path), "--name", "label"
    ended = outcomes(door, *options, "--records", str(tmp_path / "records"), code=3)
    assert ended.stdout == "3 of 5 taken, left out: 2 no_record\n"
    assert {place[0] for place in door.taken} == {receipt(1), receipt(2), receipt(5)}
    assert "truth.jsonl:1: request_id: 'a' is no receipt" in outcomes(door, *options, code=1).stderr


def test_a_place_where_nobody_listens_is_named(labels):
    url = f"http://127.0.0.1:{free_port()}"
    ended = told("outcomes", "import", labels([1]), "--name", "label", "--admin", url, environment={})
    assert ended.exit_code == 1
    assert f"{url}: " in ended.stderr
    assert "0 of 1 outcomes were told" in ended.stderr
