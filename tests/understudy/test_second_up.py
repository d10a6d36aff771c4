"""A second `understudy up` takes nothing from the first, and follows no control that it was not told to."""

from harness.command import understudy
from harness.system import free_port, running

ROLLOUT = "digits: {stable: digits/1}"
BODY = {"inputs": [{"name": "pixels", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}


def up(folder, port):
    doors = ["--port", str(port), "--admin-port", str(free_port()), "--host", "127.0.0.1"]
    return understudy("up", "--state-dir", folder / "state", *doors, cwd=folder)


def test_a_second_up_is_refused_and_the_first_goes_on(tmp_path):
    elsewhere = f"http://127.0.0.1:{free_port()}"  # as exported for `understudy rollouts`
    with running(tmp_path, ROLLOUT, environment={"UNDERSTUDY_CONTROL": elsewhere}) as first:
        assert "UNDERSTUDY_CONTROL is for node" in first.process.log.read_text()
        assert first.client.post("/v2/models/digits/infer", json=BODY).status_code == 200
        before = first.metric("understudy_requests_total", code="200")
        assert before >= 1
        second = up(tmp_path, free_port())
        assert second.returncode == 1
        assert "is in use by another understudy" in second.stderr
        other = tmp_path / "other"
        other.mkdir()
        taken = up(other, first.port)
        assert taken.returncode == 1
        assert f"port {first.port}" in taken.stderr
        assert first.metric("understudy_requests_total", code="200") == before
