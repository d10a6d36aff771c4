"""The image, run with a read-only root, without capabilities, as the user that it names."""

import contextlib
from pathlib import Path

import container
import httpx
import pytest

from harness.raw import connect, request
from harness.rows import DIGITS, body
from harness.system import START_SECONDS, eventually

pytestmark = pytest.mark.slow
IMPORTED = """
import importlib, pkgutil
import grpc, obstore, onnx, psycopg, pyarrow.compute, pyarrow.dataset, pyarrow.parquet, scipy.special
import control, router, serving, understudy
for package in (control, router, serving, understudy):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)
"""
WRITABLE = {"/state", "/proc", "/dev", "/dev/shm"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("container")


@contextlib.contextmanager
def running(image, folder, *arguments, **options):
    """A container that is ready, killed afterwards where it was not ended."""
    one = container.Container(image.root, image.config, folder, arguments, **options)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{one.port}", timeout=30.0, trust_env=False) as client:
            eventually(lambda: client.get("/v2/health/ready").status_code == 200, "ready", START_SECONDS)
            yield one, client
    except BaseException:
        print(one.log.read_text()[-6000:])
        raise
    finally:
        one.kill()


@pytest.fixture(scope="module")
def up(image, folder):
    """`docker run IMAGE`, with no arguments."""
    with running(image, folder) as both:
        yield both


def statuses(pids):
    """What the kernel says of processes, as name and value."""
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        yield {name: value.split() for name, value in (line.split(":", 1) for line in lines)}


def test_it_answers_with_the_bundled_models_after_nothing_but_its_start(up):
    _, client = up
    answer = client.post(DIGITS, content=body(0)).raise_for_status().json()
    assert answer["model_name"] == "digits"
    assert answer["outputs"]


def test_none_of_its_processes_has_a_capability_or_another_user_or_may_get_one(up):
    one, _ = up
    found = list(statuses(one.processes()))
    assert len(found) > 2  # supervisor, control, a worker
    for status in found:
        assert {
            status[name][0].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        } == {""}
        assert set(status["Uid"]) | set(status["Gid"]) == {str(one.user)} != {"0"}
        assert status["NoNewPrivs"] == ["1"]


def test_nothing_but_its_state_is_writable(up):
    one, _ = up
    mounts = [line.split() for line in Path(f"/proc/{one.first()}/mountinfo").read_text().splitlines()]
    places = {
        fields[4]: fields[5].split(",")
        for fields in mounts
        if not fields[4].startswith("/dev/") or fields[4] == "/dev/shm"
    }
    assert "ro" in places["/"]
    assert {place for place, options in places.items() if "rw" in options} <= WRITABLE
    for place in ("/opt/understudy/x", "/tmp/x", "/home/understudy/x", "/models/x"):
        assert one.run("touch", place).returncode != 0, place
    assert one.run("touch", "/state/x").returncode == 0


def test_its_health_command_tells_a_living_server_from_one_that_is_not_there(up):
    one, _ = up
    kind, *command = one.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = one.run(*command)
    assert done.returncode == 0, done.stderr
    assert one.run("env", "UNDERSTUDY_PORT=1", *command).returncode != 0


def test_commands_run_beside_it_and_what_was_taken_out_is_missed_by_nobody(up):
    one, _ = up
    listed = one.run("understudy", "models", "list", "--models", "/models")
    assert listed.returncode == 0, listed.stderr
    assert "digits" in listed.stdout
    assert "No module named pip" in one.run("python", "-m", "pip", "--version").stderr
    done = one.run("python", "-c", IMPORTED)
    assert done.returncode == 0, done.stderr


def test_a_request_that_is_under_way_at_sigterm_is_answered_and_the_end_is_clean(image, tmp_path):
    with running(image, tmp_path) as (one, client):
        whole = request(DIGITS, body(0))
        with connect(one.port, START_SECONDS) as connection:
            connection.sendall(whole[:-10])
            client.get("/v2/health/live").raise_for_status()
            one.stop()
            eventually(lambda: turns_away(one.port), "it drains")
            connection.sendall(whole[-10:])
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert one.end() == 0, one.log.read_text()[-4000:]


def turns_away(port):
    """Whether somebody who comes now is told to go elsewhere, or is refused already."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False).status_code == 503
    except httpx.ConnectError:
        return True
