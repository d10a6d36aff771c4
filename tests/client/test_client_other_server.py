"""The client against a server of another kind: that of KServe's own Python package."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import understudy_client as us
from harness.system import START_SECONDS, eventually, free_port

pytestmark = pytest.mark.skipif(find_spec("kserve") is None, reason="kserve is not installed")
"""Looked for, not imported: it reads the command line of whoever imports it."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    port, log = free_port(), tmp_path_factory.mktemp("kserve") / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "kserve_server.py"), str(port)],
            stdout=out,
            stderr=out,
        )
    try:
        with us.Client(f"http://127.0.0.1:{port}", timeout=30.0, trust_env=False) as client:

            def ready():
                try:
                    return client.ready("twice")
                except us.UnderstudyError as error:
                    raise OSError from error

            eventually(ready, "it is ready", START_SECONDS)
            yield client
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.parametrize("rows", [1, 500])
@pytest.mark.parametrize("binary", [True, None, False])
def test_its_models_answer(client, rows, binary):
    array = np.arange(rows * 2, dtype=np.float64).reshape(rows, 2)
    answer = client.infer("twice", array, binary=binary, outputs=["y"])
    assert answer["y"].dtype == np.float32
    assert np.array_equal(answer["y"], 2 * array)
    assert (answer.model_name, answer.target, answer.receipt) == ("twice", None, None)


def test_its_errors_are_ours_in_its_words(client):
    with pytest.raises(us.NotFound, match="nothing"):
        client.infer("nothing", [[1.0, 2.0]])
    with pytest.raises(us.InvalidData, match="the model takes"):
        client.infer("twice", [[1.0]])
    answer = client.infer("twice", [[1.0, 2.0]])
    with pytest.raises(us.NoReceipt):
        answer.outcome("conversion", 1)
    with pytest.raises(us.StatusError):
        client.outcomes([us.Outcome("conversion", 1, receipt="r")])
