"""The page about following a registry, done as it is written against a real MLflow server, under traffic.

One story: each test goes on where the one before it ended.
"""

import json
import os
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from harness.fences import Reader, fences, matches
from harness.small_registry import moved_body, post, signed
from harness.system import MODELS, ROOT, START_SECONDS, eventually, free_port
from serving.sources.mlflow.api import Registry

PAGE = ROOT / "docs" / "following.md"
NAME = "scans"
"""In place of the page's `digits`, which other tests register here."""
SECRET = "a-secret-of-your-own"
SECONDS = 120.0
ROWS = [
    json.dumps({"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": row.tolist()}]})
    for row in np.load(MODELS / "digits" / "heldout.npz")["inputs"].astype("f4")
]


class Traffic:
    """Clients that ask for one row after the other, and remember every answer that is none."""

    def __init__(self, url: str, clients: int = 2) -> None:
        self.url = f"{url}/v2/models/{NAME}/infer"
        self.wrong: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=30.0) as client:
            while not self._end.is_set():
                for row in ROWS:
                    answer = client.post(self.url, content=row)
                    if answer.status_code != 200:
                        self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
                    if self._end.is_set():
                        return

    def end(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


class Followed:
    """Whoever follows the page, and what is seen at the doors of the node that it starts."""

    def __init__(self, folder: Path, mlflow, scientist) -> None:
        port, admin = free_port(), free_port()
        self.url, self.admin_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
        self.admin = httpx.Client(base_url=self.admin_url, trust_env=False, timeout=10.0)
        self.registry = Registry(mlflow.url, environ=mlflow.environment)
        self._scientist = scientist
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "UNDERSTUDY_HOST": "127.0.0.1",
            "UNDERSTUDY_PORT": str(port),
            "UNDERSTUDY_ADMIN_PORT": str(admin),
            "UNDERSTUDY_ADMIN_URL": self.admin_url,
            "UNDERSTUDY_DRAIN_SECONDS": "0",
            "UNDERSTUDY_FOLLOW_SECONDS": "600",  # so what is seen was told by a webhook
            "UNDERSTUDY_MLFLOW_WEBHOOK_SECRET": SECRET,
            "COLUMNS": "300",
            **mlflow.environment,
        }
        replace = {
            "digits": NAME,
            "http://127.0.0.1:5000": mlflow.url,
            "localhost:9000": f"127.0.0.1:{admin}",
            "understudy rollouts": f"UNDERSTUDY_CONTROL={self.admin_url} understudy rollouts",
        }
        self.reader = Reader(folder, environment, replace)

    def do(self, block, expected: str = "") -> None:
        """What a block of the page says."""
        if block.language == "yaml":
            (self.reader.folder / block.title).write_text(self.reader.typed(block.text))
        elif block.language == "python":
            self._scientist.do("run", code=self.reader.typed(block.text))
        elif block.title == "another terminal":
            self.reader.start(block.text)
            ready = f"{self.url}/v2/models/{NAME}/ready"
            answers = lambda: httpx.get(ready, trust_env=False).status_code == 200  # noqa: E731
            eventually(answers, f"{block} is ready", START_SECONDS)
        elif block.language == "sh":
            said: list[str] = []

            def shown() -> bool:
                said[:] = [self.reader.run(block.text, SECONDS)]
                return matches(self.reader.typed(expected), said[0])

            try:
                eventually(shown, str(block), SECONDS)
            except AssertionError:
                raise AssertionError(f"{block}:\n{said[0]}") from None

    @property
    def view(self):
        return self.admin.get(f"/v1/rollouts/{NAME}").raise_for_status().json()

    @property
    def begun(self):
        """The revisions by which a rollout of a version was begun, in order."""
        rows = self.admin.get(f"/v1/rollouts/{NAME}/history?limit=1000").raise_for_status().json()
        return [row for row in reversed(rows) if row["actor"] == "follow"]

    @property
    def tried(self) -> list[int]:
        """Of which versions."""
        return [row["document"]["follow"]["version"] for row in self.begun]

    def move(self, version: int) -> None:
        """A person moves the alias."""
        self.registry.set_alias(NAME, "challenger", str(version))

    def tags(self, version: int) -> dict[str, str]:
        """Of a version, once all are there."""
        found = self.registry.version(NAME, str(version)).tags
        return dict(found) if "understudy.at" in found else {}


@pytest.fixture(scope="module")
def followed(mlflow, scientist, tmp_path_factory):
    for version in "1234":
        scientist.do(
            "register", name=NAME, model=str(MODELS / "digits" / version / "model.onnx"), user="ann",
            tags={"mlflow.source.git.commit": "0123abc"},
        )  # fmt: skip
    scientist.do(
        "call", method="set_registered_model_tag", arguments=[NAME, "understudy.config", "versions: all\n"]
    )
    somebody = Followed(tmp_path_factory.mktemp("following"), mlflow, scientist)
    try:
        yield somebody
    finally:
        somebody.admin.close()
        somebody.registry.close()
        codes = somebody.reader.end()
        for log in sorted(somebody.reader.folder.glob("terminal-*.log")):
            print(log.read_text()[-6000:])
    assert list(codes) == [0]


@pytest.fixture(scope="module")
def traffic(followed):
    """From when the node is there."""
    asking = Traffic(followed.url)
    try:
        yield asking
    finally:
        asking.end()
    assert asking.wrong == []


@pytest.fixture(scope="module")
def blocks():
    return {f"{block.title or block.language} {number}": block for number, block in enumerate(fences(PAGE))}


def test_the_page_is_done_until_a_version_is_on_trial(followed, blocks):
    page = list(blocks.values())
    kinds = [block.language for block in page]
    assert kinds == ["yaml", "sh", "python", "python", "sh", "text", "sh", "text"]
    for block in page[:4]:
        followed.do(block)
    followed.do(page[4], page[5].text)
    assert followed.tried == [2]
    told = followed.begun[0]["lineage"][f"{NAME}/2"]
    assert (told["registered_by"], told["commit"]) == ("ann (says MLflow)", "0123abc (says MLflow)")


def test_mlflow_is_killed_meanwhile_and_told_of_the_promotion_when_it_is_back(
    followed, blocks, traffic, mlflow
):
    mlflow.kill()
    eventually(lambda: followed.view["status"]["phase"] == "promoted", "it is proven", SECONDS)
    assert followed.view["serving"]["stable"] == f"{NAME}/2"
    eventually(lambda: "MLflow is not told yet" in followed.view["follow"]["problem"], "that is said")
    mlflow.start()
    tags = eventually(lambda: followed.tags(2), "MLflow is told", SECONDS)
    assert followed.registry.model(NAME).aliases == {"challenger": "2", "champion": "2"}
    assert (tags["understudy.result"], tags["understudy.rollout"]) == ("promoted", NAME)
    [row] = httpx.get(tags["understudy.evidence"], trust_env=False).raise_for_status().json()
    assert row["revision"] < int(tags["understudy.revision"])  # that it was proven comes before
    assert row["evidence"]["verdict"] == "proven"
    page = list(blocks.values())
    followed.do(page[6], page[7].text)
    assert followed.tried == [2]


def test_a_version_that_is_worse_is_taken_off_and_tagged(followed, traffic):
    followed.move(3)
    tags = eventually(lambda: followed.tags(3), "it is taken off, and MLflow is told", SECONDS)
    assert tags["understudy.result"] == "rolled_back"
    assert "agreement" in tags["understudy.reason"]
    [row] = httpx.get(tags["understudy.evidence"], trust_env=False).raise_for_status().json()
    assert row["evidence"]["verdict"] == "harmful"
    assert followed.registry.model(NAME).aliases == {"challenger": "3", "champion": "2"}
    assert followed.view["serving"]["stable"] == f"{NAME}/2"
    assert followed.tried == [2, 3]


def test_a_forged_webhook_is_refused_logged_and_changes_nothing(followed):
    body = moved_body(NAME, "challenger", 4)
    assert post(followed.admin_url, body, signed("guessed", body)).status_code == 401
    metrics = followed.admin.get("/metrics").text
    assert 'understudy_follow_hooks_total{outcome="forged"} 1.0' in metrics
    [log] = followed.reader.folder.glob("terminal-*.log")
    eventually(lambda: "a webhook of MLflow was refused" in log.read_text(), "it is logged")
    assert followed.tried == [2, 3]


def test_of_ten_moves_one_after_the_other_the_newest_alone_is_tried(followed):
    """As quickly as MLflow takes them: it hashes the password for each."""
    for version in (4, 1, 3, 4, 1, 3, 1, 4, 1, 4):
        followed.move(version)
    eventually(lambda: followed.view["serving"]["canary"] == f"{NAME}/4", "the newest is tried", SECONDS)
    body = moved_body(NAME, "challenger", 4)
    assert post(followed.admin_url, body, signed(SECRET, body)).json() == {"asked": [NAME]}
    eventually(lambda: followed.view["follow"]["seen"] == 4, "it is asked again")
    assert followed.tried == [2, 3, 4]
    assert followed.registry.model(NAME).aliases["champion"] == "2"
