"""A target at a URL asks its server as the document says: names, credentials, certificates, times."""

import asyncio
import contextlib
import ssl

import orjson
import pytest

from harness.certificates import Authority
from harness.foreign import Foreign
from harness.system import DEADLINE_SECONDS
from router.hop.client import Address
from router.metrics import EJECTIONS
from router.rollout.values import Bearer, ClientTls, Ejection, Health, Server
from router.targets.access import Access
from router.targets.targets import RemoteTarget
from serving.clock import clock
from serving.errors import BadGateway, DeadlineExceeded, ServingError, Unsupported
from serving.telemetry.cells import Metrics
from serving.wire.message import Call

BODY = (
    b'{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,64],"parameters":{"binary_data_size":256}}]}'
)
BINARY = Call({b"inference-header-content-length": b"%d" % len(BODY)}, BODY + bytes(256), 0.0, 30.0)
NAMED = Server(name="digits-prod", version="v7")
TOKEN = "s3cret-of-nobody"


@pytest.fixture
def metrics(tmp_path):
    found = Metrics(tmp_path / "metrics", "worker")
    yield found
    found.close()


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "files"
    found.mkdir()
    return found


async def becomes(condition):
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  (the probe's own turns are what counts)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def target(foreign, server, metrics, folder=None, scheme="http"):
    """A target at it."""
    key, url = "digits/2", f"{scheme}://localhost:{foreign.port}"
    access = Access(key, server, folder, metrics)
    ejections = metrics.counter(EJECTIONS, key)
    found = RemoteTarget(
        key, key, Address.of_url(url), ejections, trusted=False, server=server, access=access
    )
    try:
        yield found
    finally:
        await found.close()


def run(foreign, server, metrics, what, folder=None):
    """Do something with a target of a server that listens."""

    async def main():
        async with foreign.running(), target(foreign, server, metrics, folder) as found:
            await what(found)

    asyncio.run(main())


async def asks(found, call=BINARY):
    return await found.one(Call(call.headers, call.body, clock(), call.timeout_seconds))


def test_the_names_are_those_that_the_server_has(metrics):
    foreign = Foreign()

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found)

    run(foreign, NAMED, metrics, what)
    base = "/v2/models/digits-prod/versions/v7"
    assert {each.path for each in foreign.asked} == {"/v2", base, f"{base}/ready", f"{base}/infer"}


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "501 Not Implemented"])
def test_a_server_without_versions_is_asked_without_one(status, metrics):
    foreign = Foreign(statuses={"/versions/2/ready": status})

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found)

    run(foreign, Server(), metrics, what)
    assert foreign.inferences[0].path == "/v2/models/digits/infer"


def test_a_version_of_none_is_never_asked_for(metrics):
    foreign = Foreign()

    async def what(found):
        await becomes(lambda: not found.problem)

    run(foreign, Server(version="none"), metrics, what)
    assert foreign.asked[0].path == "/v2/models/digits/ready"


def test_headers_and_token_go_with_each_question_and_a_new_token_is_taken(metrics, folder):
    foreign = Foreign()
    (folder / "token").write_text(f"{TOKEN}\n")
    server = Server(headers=(("x-tenant", "fraud"),), bearer=Bearer(file="token"), health=Health(0.1))

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found)
        assert {each.headers["authorization"] for each in foreign.asked} == {f"Bearer {TOKEN}"}
        (folder / "token").write_text("another")
        await becomes(lambda: foreign.asked[-1].headers["authorization"] == "Bearer another")
        (folder / "token").unlink()
        before = len(foreign.asked)
        await becomes(lambda: len(foreign.asked) > before + 3)
        await asks(found)
        assert foreign.asked[-1].headers["authorization"] == "Bearer another"

    run(foreign, server, metrics, what, folder)
    assert {each.headers["x-tenant"] for each in foreign.asked} == {"fraud"}


def test_a_token_may_be_a_variable(metrics, monkeypatch):
    foreign = Foreign()
    monkeypatch.setenv("UNDERSTUDY_TARGET_A", TOKEN)

    async def what(found):
        await becomes(lambda: not found.problem)

    run(foreign, Server(bearer=Bearer(env="UNDERSTUDY_TARGET_A")), metrics, what)
    assert foreign.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("server", "content", "problem"),
    [
        (Server(bearer=Bearer(file="gone")), None, "the file gone of --target-files: No such file"),
        (
            Server(bearer=Bearer(file="it")),
            f"{TOKEN} {TOKEN}",
            "the file it of --target-files holds no token",
        ),
        (Server(bearer=Bearer(file="it")), f"{TOKEN}\r\nx: y", "holds no token"),
        (Server(bearer=Bearer(env="UNDERSTUDY_TARGET_GONE")), None, "UNDERSTUDY_TARGET_GONE is not set"),
        (Server(tls=ClientTls(ca="gone")), None, "gone holds no certificates: no such file"),
        (Server(tls=ClientTls(ca="it")), TOKEN, "it holds no certificates"),
        (
            Server(tls=ClientTls(certificate="it", key="it")),
            TOKEN,
            "it and it are no certificate with its key",
        ),
    ],
)
def test_what_cannot_be_shown_is_said_without_its_content(server, content, problem, metrics, folder):
    if content is not None:
        (folder / "it").write_text(content)
    foreign = Foreign()

    async def what(found):
        await found.probed.wait()
        assert problem in found.problem
        assert TOKEN not in found.problem

    run(foreign, server, metrics, what, folder)
    assert not foreign.asked


def test_a_node_without_a_folder_says_so(metrics):
    async def what(found):
        await found.probed.wait()
        assert found.problem == "it asks for the file token, and this node has no --target-files"

    run(Foreign(), Server(bearer=Bearer(file="token")), metrics, what)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_refused_credentials_are_no_fault_of_the_client_and_eject(status, metrics):
    foreign = Foreign(statuses={"/infer": status})

    async def what(found):
        await becomes(lambda: not found.problem)
        for _ in range(2):
            with pytest.raises(BadGateway, match="refuses what it is shown"):
                await asks(found)
        assert found.refusal(clock()) == "ejected"

    run(foreign, Server(eject=Ejection(2)), metrics, what)


def test_binary_tensors_become_json_where_the_server_does_not_name_them(metrics):
    foreign = Foreign()

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found)
        with pytest.raises(Unsupported, match="takes no binary tensors"):
            await asks(found, Call({b"inference-header-content-length": b"0"}, bytes(256), 0.0, 30.0))

    run(foreign, Server(), metrics, what)
    [asked] = foreign.inferences
    assert asked.headers["content-type"] == "application/json"
    assert orjson.loads(asked.body)["inputs"][0]["data"] == [0.0] * 64


def test_binary_tensors_go_as_they_came_where_the_server_names_them(metrics):
    foreign = Foreign(extensions=["binary_tensor_data"])

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found)

    run(foreign, Server(), metrics, what)
    [asked] = foreign.inferences
    assert asked.headers["content-type"] == "application/octet-stream"
    assert asked.body == BINARY.body


def test_json_is_called_json_whatever_the_client_called_it(metrics):
    foreign = Foreign()
    form = Call({b"content-type": b"application/x-www-form-urlencoded"}, b"{}", 0.0, 30.0)

    async def what(found):
        await becomes(lambda: not found.problem)
        await asks(found, form)

    run(foreign, Server(), metrics, what)
    assert foreign.inferences[0].headers["content-type"] == "application/json"


def test_a_server_that_says_nothing_of_its_model_is_not_held_to_it(metrics):
    foreign = Foreign(metadata={"name": "digits", "versions": None, "inputs": [], "outputs": []})

    async def what(found):
        await becomes(lambda: not found.problem)
        assert (await asks(found)).status == 200

    run(foreign, Server(), metrics, what)


def test_its_time_is_the_shorter_of_both(metrics):
    async def what(found):
        await becomes(lambda: not found.problem)
        with pytest.raises(DeadlineExceeded):
            await asks(found)

    run(Foreign(silent=True), Server(timeout_seconds=0.05), metrics, what)


def test_it_is_ready_until_it_failed_as_often_as_is_said(metrics):
    foreign = Foreign()

    async def what(found):
        await becomes(lambda: not found.problem)
        asked = len(foreign.asked)
        foreign.statuses = {"/ready": "503 Service Unavailable"}
        await becomes(lambda: found.problem)
        assert len(foreign.asked) >= asked + 3
        foreign.statuses = {}
        await becomes(lambda: not found.problem)

    run(foreign, Server(health=Health(0.1, failures=3)), metrics, what)


def test_what_it_takes_is_asked_anew_when_it_comes_back(metrics):
    foreign = Foreign()

    async def what(found):
        await becomes(lambda: not found.problem)
        foreign.statuses = {"/ready": "503 Service Unavailable"}
        await becomes(lambda: found.problem)
        foreign.metadata = {**foreign.metadata, "inputs": [{"name": "x", "datatype": "FP64", "shape": [1]}]}
        foreign.statuses = {}
        await becomes(lambda: not found.problem)
        assert found.signature.inputs[0].datatype == "FP64"

    run(foreign, Server(health=Health(0.1)), metrics, what)


def test_certificates_are_those_of_the_document(metrics, folder):
    authority, other = Authority(folder), folder / "other"
    other.mkdir()
    Authority(other)
    (folder / "strangers.pem").write_bytes((other / "ca.pem").read_bytes())
    certificate, key, _ = authority.issue()
    (folder / "us.pem").write_bytes(certificate)
    (folder / "us.key").write_bytes(key)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    theirs.load_cert_chain(folder / "us.pem", folder / "us.key")
    theirs.verify_mode = ssl.CERT_REQUIRED
    foreign = Foreign()
    ours = ClientTls(ca="ca.pem", certificate="us.pem", key="us.key")

    async def problem_with(tls):
        async with target(foreign, Server(tls=tls), metrics, folder, "https") as found:
            await found.probed.wait()
            return found.problem

    async def main():
        async with foreign.running(theirs):
            async with target(foreign, Server(tls=ours), metrics, folder, "https") as found:
                await becomes(lambda: not found.problem)
                assert (await asks(found)).status == 200
            assert "CERTIFICATE_VERIFY_FAILED" in await problem_with(ClientTls())
            assert "CERTIFICATE_VERIFY_FAILED" in await problem_with(ClientTls(ca="strangers.pem"))
            named = ClientTls("ca.pem", "us.pem", "us.key", "triton.internal")
            assert "CERTIFICATE_VERIFY_FAILED" in await problem_with(named)
            assert await problem_with(ClientTls(ca="ca.pem")), "without a certificate of ours"

    asyncio.run(main())


def test_a_server_that_is_not_there_is_not_ready(metrics):
    async def main():
        foreign = Foreign()
        async with foreign.running():
            pass
        async with target(foreign, Server(), metrics) as found:
            await found.probed.wait()
            assert "no connection" in found.problem
            with pytest.raises(ServingError):
                await asks(found)

    asyncio.run(main())
