"""A log that nobody reads stops no request: its lines are dropped and counted."""

import fcntl
import os

from harness.control import own_name
from harness.load import Load
from harness.rows import DIGITS, plain
from harness.system import Up, eventually
from serving.telemetry.log_sink import LogSink


def test_a_log_whose_reader_sleeps_costs_lines_and_no_request(tmp_path):
    pipe = tmp_path / "up.log"  # where the harness sends what the processes write
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    up = Up(
        tmp_path,
        "digits: {stable: digits/1}",
        options=("--log-level", "debug"),
        environment={"UNDERSTUDY_DRAIN_SECONDS": "0"},
    )
    try:
        up.wait_ready()
        with Load(up.url + DIGITS, 30, plain) as load:
            edits = 0

            def dropped():
                nonlocal edits
                edits += 1
                document = {"stable": "digits/1", "timeout": f"{1 + edits}s"}
                up.admin.put("/v1/rollouts/digits", json=document).raise_for_status()
                return up.metric("understudy_log_lines_dropped_total") >= 10

            eventually(dropped, "lines are dropped and counted")
            eventually(up.all_targets_ready, "the last edit is in force")
            ledger = load.stop()
        assert set(ledger.statuses) == {200}, ledger.errors
        os.set_blocking(reader, False)
        while os.read(reader, 1 << 16):  # the reader is back
            if b"lines were dropped" in _after_an_edit(up, reader):
                break
    finally:
        code = up.end()
        os.close(reader)
    assert code == 0


def _after_an_edit(up, reader):
    """What is logged once there is room."""
    up.admin.put(f"/v1/rollouts/{own_name('more')}", json={"stable": "digits/1"}).raise_for_status()
    up.admin.delete(f"/v1/rollouts/{own_name('more')}").raise_for_status()
    found = bytearray()

    def told():
        try:
            found.extend(os.read(reader, 1 << 16))
        except BlockingIOError:
            return False
        return b"lines were dropped" in found

    eventually(told, "the log says how many lines are missing")
    return bytes(found)


def test_a_line_is_written_whole_or_counted(tmp_path):
    ours, theirs = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 4096)
    sink = LogSink(theirs)
    written = 0
    while not sink.dropped:
        sink.write(f"line {written}\n")
        written += 1
    assert os.get_blocking(theirs), "the descriptor that is shared is as it was"
    text = os.read(ours, 1 << 16).decode()
    assert text.splitlines() == [f"line {number}" for number in range(written - 1)]
    sink.write("dropped no more\n")
    assert os.read(ours, 1 << 16) == b"1 log lines were dropped here\ndropped no more\n"
    os.close(ours)
    sink.write("nobody reads\n")
    assert sink.dropped == 2
    sink.close()
    os.close(theirs)


def test_a_closed_standard_error_is_no_place_and_no_error():
    sink = LogSink(-1)
    sink.write("into the void\n")
    assert sink.dropped == 1
