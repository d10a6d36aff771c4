"""A kind of model of the tests' own: a chain of two real models, through the runtime, batching and HTTP."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from graphs import linear, put, unary

from harness.door import opened
from serving.errors import InvalidModel
from serving.models import kinds
from serving.models.checking.verify import Report
from serving.models.files import repository
from serving.models.files.repository import Repository, read
from serving.models.kinds import KINDS, load, verify
from serving.service import InferenceServer
from serving.settings import ServingSettings
from serving.telemetry.cells import Metrics
from serving.wire.tensors import Signature

FILE = "chain.txt"


class Chain:
    """The first output of one model is the first input of the next."""

    def __init__(self, links, identity):
        self.links = links
        self.signature = Signature(links[0].signature.inputs, links[1].signature.outputs)
        self.identity = identity
        self.labels = links[1].labels
        self.measured = all(link.measured for link in links)
        self.run_seconds = 0.0
        self.rows_per_second = {}
        self.dependence = ""
        self.form = "a chain"
        self.steps = ()
        self.outside = None
        self.batches = []

    def run(self, feeds, output_names):
        first, second = self.links
        self.batches.append(len(next(iter(feeds.values()))))
        [between] = first.run(feeds, [first.signature.outputs[0].name])
        return second.run({second.signature.inputs[0].name: between}, output_names)

    def warm_alone(self):
        for link in self.links:
            link.warm_alone()
        self.run_seconds = sum(link.run_seconds for link in self.links)

    def prepare(self, dependence):
        self.dependence = dependence
        rows = min(link.prepare(dependence) for link in self.links)
        self.run_seconds = sum(link.run_seconds for link in self.links)
        return rows


class Chains:
    """`chain.txt`: two models of the repository, a line each."""

    def members(self, entry):
        names = read(entry).content.decode().split()
        return [Repository(entry.root).find(*name.split("/")) for name in names]

    def verify(self, entries, threads, cache):
        return [self.report(entry, verify(self.members(entry), threads, cache)) for entry in entries]

    def report(self, entry, links):
        wrong = [f"{link.name}/{link.version}: {link.reason}" for link in links if not link.ok]
        if wrong:
            return Report(entry.name, entry.version, ok=False, reason=wrong[0])
        dependence = next((link.dependence for link in links if link.dependence), "")
        signature = Signature(links[0].signature.inputs, links[1].signature.outputs)
        sha256 = read(entry).sha256
        return replace(links[0], name=entry.name, version=entry.version, signature=signature,
                       sha256=sha256, dependence=dependence)  # fmt: skip

    def load(self, entry, threads, report):
        files = read(entry)
        if files.sha256 != report.sha256:
            raise InvalidModel("its files changed while it was checked")
        members = self.members(entry)
        return Chain(
            [load(*one) for one in zip(members, [threads] * 2, verify(members), strict=True)], files.identity
        )


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A repository of two models and a chain of them, and this kind known as a further one."""
    monkeypatch.setattr(repository, "DEFINITIONS", (*repository.DEFINITIONS, FILE))
    monkeypatch.setitem(KINDS, FILE, Chains())
    root = tmp_path / "models"
    put(root, "first", 1, linear())
    put(root, "second", 1, unary("Neg", ("rows", 3)))
    folder = root / "chain" / "1"
    folder.mkdir(parents=True)
    (folder / FILE).write_text("first/1\nsecond/1\n")
    return root


def expected(rows):
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    return -(np.asarray(rows, "f4") @ weights)


async def ask(client, rows):
    item = {"name": "x", "shape": list(np.shape(rows)), "datatype": "FP32"}
    body = json.dumps({"inputs": [{**item, "data": np.ravel(rows).tolist()}]}).encode()
    head = b"POST /v2/models/chain/infer HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(body)
    await client.send(head + body)
    status, _, answer = await client.answer()
    assert status == 200, answer
    [output] = json.loads(answer)["outputs"]
    return np.reshape(output["data"], output["shape"])


@pytest.mark.parametrize("execution", ["inline", "pooled"])
def test_a_kind_of_ones_own_is_verified_loaded_batched_and_answers_over_http(models, tmp_path, execution):
    (models / "chain" / "config.yaml").write_text(f"execution: {execution}\n")
    metrics = Metrics(tmp_path / "metrics", "test")
    settings = ServingSettings(models=models, state_dir=tmp_path / "state")

    async def main():
        server = InferenceServer(settings, metrics, tmp_path / "metrics")
        await server.start()
        served = server.runtime.get("chain", "1")
        assert served.execution == execution
        batches = served._model.batches
        try:
            async with opened() as door:
                door.paths = server.paths
                clients = [await door.connect() for _ in range(8)]
                rows = [[[float(number), 1.0, 2.0, 3.0]] for number in range(8)]
                for client, row in zip(clients, rows, strict=True):
                    np.testing.assert_allclose(await ask(client, row), expected(row), rtol=1e-5)
                batches.clear()
                for _ in range(200):  # until some have met in one turn
                    answers = np.concatenate(await asyncio.gather(*map(ask, clients, rows)))
                    np.testing.assert_allclose(answers, expected(np.concatenate(rows)), rtol=1e-5)
                    if max(batches) > 1:
                        break
                assert max(batches) > 1, "requests were never joined"
        finally:
            await server.stop()

    asyncio.run(main())
    metrics._index.close()
    assert {entry.name for entry in Repository(models).discover()} == {"chain", "first", "second"}


def test_reports_of_several_kinds_come_in_the_order_in_which_they_were_asked(models):
    put(models, "second", 2, b"junk")
    (models / "chain" / "2").mkdir()
    (models / "chain" / "2" / FILE).write_text("first/1\nsecond/2\n")
    found = Repository(models)
    asked = [("second", "1"), ("chain", "1"), ("first", "1"), ("chain", "2"), ("second", "2")]
    reports = verify([found.find(*key) for key in asked])
    assert [(report.name, report.version) for report in reports] == asked
    assert [report.ok for report in reports] == [True, True, True, False, False]
    assert "second/2: it is no ONNX file" in reports[3].reason


def test_every_file_that_makes_a_version_has_its_kind():
    assert tuple(kinds.KINDS) == repository.DEFINITIONS
