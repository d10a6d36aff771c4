"""The application behind the fast path: what it describes, and how it speaks of its own faults."""

import asyncio
import json
import re
from types import SimpleNamespace

import httpx
import pytest

from serving.errors import NotFound, Unavailable
from serving.http.app import create_app
from serving.http.endpoint import Limits
from serving.wire.handler import Single
from serving.wire.message import Reply


def breaks(call):
    raise RuntimeError("secret")


def service(**changes):
    """What an application asks of the router or the inference server, in its smallest form."""

    def metadata(model, version):
        raise NotFound(f"unknown model {model!r}")

    def busy(model, version):
        raise Unavailable("later")

    async def index(*, ready_only):
        return [{"name": str(ready_only)}]

    defaults = {
        "name": "understudy",
        "version": "0",
        "limits": Limits(body_bytes=1024),
        "draining": False,
        "paths": {
            b"/v2/models/m/infer": Single(lambda call: Reply(200, call.body, None, b"x-by: m\r\n")),
            b"/v2/models/broken/infer": Single(breaks),
        },
        "ready": lambda: True,
        "metadata": metadata,
        "config": busy,
        "index": index,
        "statistics": lambda model, _: [{"name": model}],
    }
    return SimpleNamespace(**defaults | changes)


def ask(method, path, *, of=None, **options):
    async def main():
        transport = httpx.ASGITransport(create_app(of or service()), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


def test_an_infer_request_ends_in_the_handler_of_its_path():
    answer = ask("POST", "/v2/models/m/infer", content=b"{}")
    assert (answer.status_code, answer.content, answer.headers["x-by"]) == (200, b"{}", "m")


def test_an_unexpected_fault_is_json_and_keeps_its_words_to_itself(capsys):
    answer = ask("POST", "/v2/models/broken/infer", content=b"{}")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/x", 404),
        ("GET", "/v2/models/x/config", 503),
        ("POST", "/v2/models/x/infer", 404),
        ("GET", "/v2/models/" + "x" * 200, 400),
        ("GET", "/v2/models/x/versions/12345678901", 400),
        ("PUT", "/v2", 405),
        ("GET", "/v3", 404),
    ],
)
def test_every_failure_is_an_error_object(method, path, status):
    answer = ask(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert ("retry-after" in answer.headers) == (status == 503)


def test_the_server_is_not_ready_before_it_can_answer_nor_while_it_drains():
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    for of in (service(ready=lambda: False), service(draining=True)):
        answer = ask("GET", "/v2/health/ready", of=of)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert ask("GET", "/v2/health/live", of=of).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/live", "/v2/models/stats", "/v2/models/x", "/openapi.json"]
)
def test_head_has_the_headers_of_get(path):
    head, got = ask("HEAD", path), ask("GET", path)
    assert head.content == b""
    assert head.status_code == got.status_code
    assert head.headers == got.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v2", "GET, HEAD"),
        ("HEAD", "/v2/models/m/infer", "POST"),
        ("DELETE", "/v2/models/m/ready", "GET, HEAD"),
        ("OPTIONS", "/v2/repository/index", "POST"),
        ("TRACE", "/v2/models/stats", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_says_which_are(method, path, allow):
    answer = ask(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


def test_of_a_model_called_stats_only_the_metadata_without_a_version_are_elsewhere():
    found = service(
        metadata=lambda model, version: {"name": model, "version": version},
        paths={b"/v2/models/stats/infer": Single(lambda call: Reply(200, call.body))},
    )
    assert ask("GET", "/v2/models/stats", of=found).json() == {"model_stats": [{"name": None}]}
    assert ask("GET", "/v2/models/stats/versions/1", of=found).json() == {"name": "stats", "version": "1"}
    assert ask("GET", "/v2/models/stats/stats", of=found).json() == {"model_stats": [{"name": "stats"}]}
    assert ask("POST", "/v2/models/stats/infer", of=found, content=b"{}").status_code == 200


def test_the_statistics_of_all_models_are_not_those_of_a_model_called_stats():
    assert ask("GET", "/v2/models/stats").json() == {"model_stats": [{"name": None}]}
    assert ask("GET", "/v2/models/m/stats").json() == {"model_stats": [{"name": "m"}]}


@pytest.mark.parametrize(("body", "ready"), [(b"", False), (b"{}", False), (b'{"ready": true}', True)])
def test_the_index_may_be_of_the_ready_ones_alone(body, ready):
    assert ask("POST", "/v2/repository/index", content=body).json() == [{"name": str(ready)}]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b"x" * 2000])
def test_a_wrong_question_to_the_repository_is_refused(body):
    answer = ask("POST", "/v2/repository/index", content=body)
    assert answer.status_code == (413 if len(body) > 1024 else 400)
    assert list(answer.json()) == ["error"]


def test_openapi_describes_every_endpoint_of_the_protocol():
    paths = ask("GET", "/openapi.json").json()["paths"]
    for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        assert {"", "/ready", "/config", "/stats", "/infer"} <= {
            path.removeprefix(prefix) for path in paths if path.startswith(prefix)
        }
    assert {"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/repository/index"} <= set(
        paths
    )
    assert json.dumps(paths)


def test_openapi_has_all_that_it_refers_to():
    document = ask("GET", "/openapi.json").json()
    refers = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert "Error" in refers
    assert refers <= document["components"]["schemas"].keys()
