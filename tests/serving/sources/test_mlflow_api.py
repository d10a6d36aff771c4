"""The client of MLflow's API, against servers that are not as they should be; a real one: tests/servers."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest

from serving.errors import Forbidden, InvalidInput, NotFound
from serving.sources.mlflow import api
from serving.sources.mlflow.api import Registry, proxied
from serving.sources.remote import Away

SECRET = "hunter2"


@contextlib.contextmanager
def asking(reply, seconds=5.0, **environ):
    """A client of a server whose every GET is answered by `reply(handler)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with contextlib.suppress(ConnectionError):
                reply(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        with Registry(f"http://127.0.0.1:{server.server_port}", seconds=seconds, environ=environ) as registry:
            yield registry
    finally:
        server.shutdown()
        server.server_close()


def said(handler, status, body, **headers):
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def json_of(found):
    return lambda handler: said(handler, 200, orjson.dumps(found))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("mlflow+http://host:5000", "http://host:5000"),
        ("mlflow+https://host/prefix/", "https://host/prefix"),
        ("mlflow+http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_the_url_of_a_place_leads_to_a_server(url, server):
    assert Registry(url, environ={}).url == server


@pytest.mark.parametrize(
    "url", ["mlflow+ftp://host", "mlflow+http://", "mlflow+http://host:port", "mlflow+http://h?a=b"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(InvalidInput, match="mlflow\\+http"):
        Registry(url, environ={})


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_USERNAME") as refused:
        Registry(f"mlflow+http://me:{SECRET}@host", environ={})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET}, "Basic bWU6aHVudGVyMg=="),
        ({"MLFLOW_TRACKING_TOKEN": SECRET}, f"Bearer {SECRET}"),
    ],
)
def test_the_environment_says_who_asks(environ, header):
    heard = []

    def reply(handler):
        heard.append(handler.headers["authorization"])
        said(handler, 200, b"{}")

    with asking(reply, **environ) as registry:
        assert list(registry.versions()) == []
    assert heard == [header]


def test_pages_are_read_one_after_the_other():
    def reply(handler):
        second = "page_token=two" in handler.path
        page = {"model_versions": [{"name": "b" if second else "a"}]} | (
            {} if second else {"next_page_token": "two"}
        )
        json_of(page)(handler)

    with asking(reply) as registry:
        assert [version.name for version in registry.versions()] == ["a", "b"]


def test_what_a_version_says_is_read():
    version = {
        "name": "digits", "version": "7", "status": "READY", "source": "models:/m-1", "run_id": "r",
        "creation_timestamp": "1700000000500", "user_id": "ann", "aliases": ["champion"],
        "tags": [{"key": "a", "value": "b"}],
    }  # fmt: skip
    with asking(json_of({"model_version": version})) as registry:
        found = registry.version("digits", "7")
    assert (found.version, found.user, found.created, found.ready) == ("7", "ann", 1_700_000_000.5, True)
    assert (found.aliases, found.tags) == (("champion",), {"a": "b"})


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, b"You are not authenticated", Away, "refuses the credentials"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "not yours"}', Forbidden, "not yours"),
        (403, b"Permission denied", Forbidden, "forbids it to this account$"),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no model"}', NotFound, "no model"),
        (404, b"<html>", Away, "status 404"),
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "bad name"}', InvalidInput, "bad name"),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "secret stack"}', Away, "status 500$"),
        (302, b"", Away, "status 302"),
        (200, b"<html>", Away, "not answer as MLflow does"),
        (200, b"[]", Away, "not answer as MLflow does"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_yes_has_words(status, body, error, words):
    def reply(handler):
        said(handler, status, body, location="http://127.0.0.1:9/")

    with (
        asking(reply, MLFLOW_TRACKING_TOKEN=SECRET) as registry,
        pytest.raises(error, match=words) as refused,
    ):
        registry.model("digits")
    assert SECRET not in str(refused.value)


def test_nobody_there_is_away():
    with asking(None) as registry:
        pass
    with (
        Registry(registry.url, environ={}) as late,
        pytest.raises(Away, match=r"not answer \(ConnectError\)"),
    ):
        late.model("digits")


def test_a_server_that_drips_its_answer_is_left_in_time():
    done = threading.Event()

    def drips(handler):
        handler.send_response(200)
        handler.send_header("content-length", "100000")
        handler.end_headers()
        while not done.wait(0.02):
            handler.wfile.write(b" ")

    with asking(drips, seconds=0.2) as registry:
        with pytest.raises(Away, match=r"did not end its answer within 0\.2 s"):
            registry.model("digits")
        done.set()


def test_an_answer_without_end_is_left(monkeypatch):
    monkeypatch.setattr(api, "MAX_ANSWER_BYTES", 1000)
    with (
        asking(lambda handler: said(handler, 200, b" " * 2000)) as registry,
        pytest.raises(Away, match="1000 bytes"),
    ):
        registry.model("digits")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_stopped_whether_or_not_the_server_knows_ranges(ranges):
    data = bytes(range(100))

    def reply(handler):
        start = int((handler.headers["range"] or "bytes=0-")[6:-1]) if ranges else 0
        said(handler, 206 if ranges and start else 200, data[start:])

    with asking(reply) as registry:
        assert b"".join(registry.read("mlflow-artifacts:/1/model.onnx")) == data
        assert b"".join(registry.read("mlflow-artifacts:/1/model.onnx", 40)) == data[40:]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("mlflow-artifacts:/1/models/m/artifacts", "1/models/m/artifacts"),
        ("mlflow-artifacts://host:5000/1/a", "1/a"),
        ("http://host/api/2.0/mlflow-artifacts/artifacts/1/a", "1/a"),
        ("s3://bucket/1", None),
        ("/mlruns/1", None),
        ("mlflow-artifacts:/1/../2", None),
    ],
)
def test_where_artifacts_are_passed_on(uri, path):
    assert proxied(uri) == path


def test_what_is_not_passed_on_is_said_with_a_remedy():
    with (
        Registry("http://host", environ={}) as registry,
        pytest.raises(InvalidInput, match="--serve-artifacts"),
    ):
        registry.artifacts("s3://bucket/1")
