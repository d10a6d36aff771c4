"""Why there is no value; what a real Prometheus says is in tests/e2e_evidence/test_evidence_prometheus.py."""

import asyncio
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from control.pilot.prometheus import Prometheus

NOW = 1.7e9


def asked(url):
    async def ask():
        client = Prometheus(url)
        try:
            return await client.value("q", NOW)
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.fixture
def answering():
    """A server that answers everything with one body, as something that is no Prometheus may."""
    body = [b""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body[0])

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()

    def ask(answer):
        body[0] = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return asked(f"http://127.0.0.1:{server.server_port}")

    yield ask
    server.shutdown()
    server.server_close()


def test_none_is_known_and_none_answers():
    assert asked("") == "this control knows no Prometheus (--prometheus)"
    assert "does not answer (ConnectError)" in asked("http://127.0.0.1:1")


def scalar(at, value):
    return {"status": "success", "data": {"resultType": "scalar", "result": [at, value]}}


def test_a_fresh_value_is_one_and_an_old_one_is_not(answering):
    assert answering(scalar(NOW - 299, "3.5")) == 3.5
    assert answering(scalar(NOW - 3600, "3.5")).endswith("is 3,600 s old")


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", {}, {"status": "success"}, scalar("then", "many"), scalar(None, None)]
)
def test_what_is_no_answer_of_prometheus_is_said(answering, answer):
    assert answering(answer).endswith("answers: not as Prometheus does (status 200)")
