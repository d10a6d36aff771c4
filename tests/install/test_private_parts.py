"""What we lean on that its authors did not promise; pyproject.toml bounds the packages, and this says why.

A table that no longer fits the code fails, and so does a part that a new version no longer has. Then look at
what the new version does instead, and move the bound and the table together.
"""

import ast
import asyncio
import inspect
import re
import textwrap

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from control.__main__ import Door, Server
from harness.system import MODELS, ROOT
from serving.http import connection
from serving.http.listening import ListeningServer
from serving.http.server import DrainingServer
from serving.models.ort import onnxruntime

LEANED_ON = {
    ListeningServer: "config lifespan server_state servers shutdown startup",
    DrainingServer: "force_exit handle_exit should_exit startup",
    Server: "force_exit handle_exit should_exit startup",
}
"""Our class -> what it uses or replaces of uvicorn's class that it extends, asyncio's own names apart."""

PRIVATE_OF_OTHERS = {
    "router/hop/driven.py": ["_asyncio_future_blocking"],  # of Python: how a future says that it is awaited
    "serving/models/session/onnx_model.py": ["_sess"],  # of onnxruntime: a run without its checks
    "serving/models/session/ort_values.py": ["_sess"],  # of onnxruntime: BF16, which has no array
}
PACKAGES = ("serving", "router", "control", "understudy")


@pytest.fixture(scope="module")
def of_uvicorn():
    """Every attribute of uvicorn's server, those among them that only an instance has."""
    config = uvicorn.Config(FastAPI())

    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    server.servers = []
    return {uvicorn.Server: set(dir(server))}


@pytest.mark.parametrize("ours", LEANED_ON, ids=lambda ours: ours.__name__)
def test_the_table_names_what_is_used_of_uvicorn_and_uvicorn_has_it(ours, of_uvicorn):
    (base,) = (theirs for theirs in of_uvicorn if issubclass(ours, theirs))
    theirs = of_uvicorn[base] - set(dir(asyncio.Protocol))
    mentioned = names_of_self(ours)
    assert sorted(mentioned & theirs) == sorted(LEANED_ON[ours].split())
    own = {
        name
        for cls in ours.__mro__
        if cls.__module__.split(".")[0] in PACKAGES
        for name in names_defined(cls)
    }
    assert mentioned - theirs - own - set(dir(asyncio.Protocol)) == set(), "neither ours nor uvicorn's"


CYCLE = {
    "body", "default_headers", "disconnected", "keep_alive", "message_event", "more_body",
    "response_complete", "response_started",
}  # fmt: skip
"""What `serving.http.connection` reads and sets of uvicorn's cycle, which no documentation promises."""


def test_uvicorns_cycle_is_made_and_told_as_we_do_it():
    made = inspect.signature(RequestResponseCycle).parameters
    assert set(made) == {
        "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers",
        "message_event", "expect_100_continue", "keep_alive", "on_response",
    }  # fmt: skip
    set_there = set(re.findall(r"\bself\.(\w+) = ", inspect.getsource(RequestResponseCycle.__init__)))
    assert set_there >= CYCLE
    used = re.findall(r"\b(?:cycle|exchange|refused)\.(\w+)", inspect.getsource(connection))
    assert set(used) - {"fields", "handler", "echo"} == CYCLE


def test_uvicorns_own_server_makes_our_connection():
    made = []

    class Counted(connection.protocol_of(Door())):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.append(self)

    async def main():
        config = uvicorn.Config(FastAPI(), http=Counted, ws="none", lifespan="off", log_config=None, port=0)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /openapi.json HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await server.shutdown()
        return answer

    assert asyncio.run(main()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(made) == 1


def test_a_session_has_the_run_that_checks_nothing():
    session = onnxruntime.InferenceSession(MODELS / "iris" / "1" / "model.onnx")
    (features,) = session.get_inputs()
    feeds = {features.name: np.zeros((1, 4), np.float32)}
    names = [output.name for output in session.get_outputs()]
    unchecked, checked = session._sess.run(names, feeds, None), session.run(names, feeds)
    assert [output.tolist() for output in unchecked] == [output.tolist() for output in checked]


def test_the_native_module_has_values_that_hold_bf16():
    native = onnxruntime.capi.onnxruntime_pybind11_state
    assert hasattr(native.InferenceSession, "run_with_ort_values")
    assert {"cpu", "default_memory"} <= set(dir(native.OrtDevice))
    made = {"ortvalue_from_numpy", "ortvalue_from_numpy_with_onnx_type"}
    read = {"data_ptr", "element_type", "numpy", "shape", "tensor_size_in_bytes"}
    assert made | read <= set(dir(native.OrtValue))


def test_no_other_private_part_is_used():
    """Ruff refuses each one that is not excused by name, so the excuses are all there are."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for line in file.read_text().splitlines():
                if "noqa: SLF001" in line:
                    found.setdefault(str(file.relative_to(ROOT)), []).extend(
                        re.findall(r"(?<!self)\.(_\w+)", line)
                    )
    assert found == PRIVATE_OF_OTHERS


def tree(cls):
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def names_of_self(cls):
    """What a class defines, what it mentions of `self`, and what it calls of `super()`."""
    found = {
        node.name for node in ast.walk(tree(cls)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    for node in ast.walk(tree(cls)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"self", "super()"}:
            found.add(node.attr)
    return {name for name in found if not name.startswith("__")}


def names_defined(cls):
    """What a class defines, annotates, or sets on `self`."""
    found = set(vars(cls)) | set(vars(cls).get("__annotations__", {}))
    for node in ast.walk(tree(cls)):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        ):
            found.add(node.attr)
    return found
