"""What was answered for is on disk until it is sent: together, whole, whoever ends."""

import asyncio
import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.outcomes.sender import BATCH_BYTES
from router.outcomes.spool import ROLL_BYTES, Spool, SpoolFull, used_bytes
from router.outcomes.spool_file import SpoolFile
from router.wire.outcomes import MAX_LINE_BYTES, MAX_LINES, Told, written
from serving.errors import TooLarge
from serving.telemetry.cells import Metrics

MIB = 1 << 20
HOLDER = """
import sys, time
from pathlib import Path
from router.outcomes.spool_file import SpoolFile
file = SpoolFile.create(Path(sys.argv[1]))
file.append(b"one\\ntwo\\n", 2)
with open(sys.argv[1], "ab") as beside:
    beside.write(b"torn")
print("written", flush=True)
time.sleep(600)
"""


@contextlib.asynccontextmanager
async def spooling(folder, most=16 * MIB, process="worker-0"):
    metrics = Metrics(folder / "metrics", process)
    spool = Spool(folder / "outcomes", process, most, metrics)
    try:
        yield spool
    finally:
        await spool.close()
        metrics.close()


@contextlib.contextmanager
def no_room():
    """No file of this process may grow."""
    before = resource.prlimit(0, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(0, resource.RLIMIT_FSIZE, before)


def waiting(spool):
    return spool._gauge._cells[spool._gauge._at]


async def sent(spool):
    """All that is to be sent, in order, as the sender takes it."""
    found = []
    await spool.take_over()
    while (file := await spool.next_file()) is not None:
        at = 0
        while lines := await spool.batch(file, at, BATCH_BYTES):
            found += lines.splitlines()
            at += len(lines)
        await spool.remove(file)
    return found


def files(folder):
    return sorted((folder / "outcomes").glob("*"))


def test_nothing_is_made_before_something_is_taken(tmp_path):
    async def idle():
        async with spooling(tmp_path) as spool:
            await spool.take_over()
            return await spool.next_file()

    assert asyncio.run(idle()) is None
    assert not (tmp_path / "outcomes").exists()


def test_what_was_taken_is_on_disk_for_this_user_alone_and_goes_when_it_is_sent(tmp_path):
    async def go():
        async with spooling(tmp_path) as spool:
            await spool.add(b"a\nb\n", 2)
            [path] = files(tmp_path)
            assert path.read_bytes() == b"a\nb\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert spool.filled.is_set()
            assert waiting(spool) == 2
            assert await sent(spool) == [b"a", b"b"]
            assert files(tmp_path) == []
            assert not spool.filled.is_set()

    asyncio.run(go())


def test_requests_that_wait_for_the_disk_share_its_turns_and_keep_their_order(tmp_path):
    async def go():
        async with spooling(tmp_path) as spool:
            await asyncio.gather(*(spool.add(b"%d\n" % number, 1) for number in range(500)))
            assert await sent(spool) == [b"%d" % number for number in range(500)]

    asyncio.run(go())


def test_while_a_file_is_sent_another_one_is_written(tmp_path):
    async def go():
        async with spooling(tmp_path) as spool:
            await spool.add(b"first\n", 1)
            first = await spool.next_file()
            await spool.add(b"second\n", 1)
            assert [first.path, *files(tmp_path)] == [files(tmp_path)[0], *files(tmp_path)]
            assert (await spool.next_file()).path == files(tmp_path)[1]

    asyncio.run(go())


def test_a_file_is_not_written_to_for_ever(tmp_path):
    async def go():
        async with spooling(tmp_path, most=10 * ROLL_BYTES) as spool:
            for _ in range(3):
                await spool.add(b"x" * (ROLL_BYTES // 2 - 1) + b"\n", 1)
            assert [path.stat().st_size for path in files(tmp_path)] == [ROLL_BYTES, ROLL_BYTES // 2]

    asyncio.run(go())


def test_a_full_spool_takes_nothing_of_a_request_until_there_is_room(tmp_path):
    async def go():
        large, small = (b"x" * 99 + b"\n") * (MIB // 100), b"y" * 49 + b"\n"
        async with spooling(tmp_path, most=MIB) as spool:
            await spool.add(large, MIB // 100)
            found = await asyncio.gather(
                *(spool.add(lines, 1) for lines in (small, small, b"z\n")), return_exceptions=True
            )
            assert [type(each) for each in found] == [type(None), SpoolFull, type(None)]
            assert "full" in str(found[1])
            assert found[1].retry_after_seconds > 1
            assert await sent(spool) == [*large.splitlines(), small[:-1], b"z"]
            await spool.add(small, 1)

    asyncio.run(go())


def test_what_never_fits_is_refused_for_good(tmp_path):
    async def go():
        async with spooling(tmp_path, most=MIB) as spool:
            with pytest.raises(TooLarge):
                await spool.add(b"x" * MIB + b"\n", 1)

    asyncio.run(go())


def test_a_disk_that_does_not_write_takes_nothing_and_what_was_there_stays(tmp_path):
    async def go():
        async with spooling(tmp_path) as spool:
            await spool.add(b"before\n", 1)
            for _ in range(2):
                with no_room(), pytest.raises(SpoolFull, match="outcomes cannot be written: File too large"):
                    await spool.add(b"during\n", 1)
            await spool.add(b"after\n", 1)
            assert waiting(spool) == 2
            assert await sent(spool) == [b"before", b"after"]

    asyncio.run(go())


def test_a_folder_that_cannot_be_made_takes_nothing(tmp_path):
    async def go():
        (tmp_path / "outcomes").write_text("a file is in its place")
        async with spooling(tmp_path) as spool:
            with pytest.raises(SpoolFull, match="outcomes cannot be written"):
                await spool.add(b"a\n", 1)

    asyncio.run(go())


def test_a_failed_write_leaves_the_lines_before_it(tmp_path):
    file = SpoolFile.create(tmp_path / "a.lines")
    file.append(b"whole\n", 1)
    limit = resource.prlimit(0, resource.RLIMIT_FSIZE, (9, resource.RLIM_INFINITY))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(b"in part\n", 1)
    finally:
        resource.prlimit(0, resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "a.lines").read_bytes() == b"whole\n"
    assert (file.size, file.lines) == (6, 1)
    file.close()


def test_a_process_that_lives_keeps_its_file_and_one_that_was_killed_leaves_its_whole_lines(tmp_path):
    (tmp_path / "outcomes").mkdir()
    path = tmp_path / "outcomes" / "worker-1-1-1.lines"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"written\n"

        async def look():
            async with spooling(tmp_path) as spool:
                return await sent(spool)

        assert asyncio.run(look()) == []
        assert path.read_bytes() == b"one\ntwo\ntorn"
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert asyncio.run(look()) == [b"one", b"two"]
        assert not path.exists()


def test_only_one_takes_over_what_was_left(tmp_path):
    (tmp_path / "outcomes").mkdir()
    for number in range(20):
        (tmp_path / "outcomes" / f"worker-0-9-{number}.lines").write_bytes(b"%d\n" % number)

    async def go():
        async with spooling(tmp_path) as one, spooling(tmp_path, process="worker-1") as other:
            found = await asyncio.gather(sent(one), sent(other))
            return [line for lines in found for line in lines]

    assert sorted(map(int, asyncio.run(go()))) == list(range(20))
    assert files(tmp_path) == []


def test_an_empty_file_and_one_line_torn_are_cleared_away(tmp_path):
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "worker-0-9-1.lines").write_bytes(b"")
    (tmp_path / "outcomes" / "worker-0-9-2.lines").write_bytes(b'{"receipt"')

    async def go():
        async with spooling(tmp_path) as spool:
            return await sent(spool)

    assert asyncio.run(go()) == []
    assert files(tmp_path) == []


def test_the_next_process_of_the_same_id_writes_elsewhere(tmp_path):
    async def go():
        async with spooling(tmp_path) as spool:
            await spool.add(b"a\n", 1)
        async with spooling(tmp_path) as spool:
            await spool.add(b"b\n", 1)
            assert len(files(tmp_path)) == 2

    asyncio.run(go())


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), min_size=1), st.data())
def test_of_a_file_that_is_cut_anywhere_the_whole_lines_are_found(tmp_path_factory, lines, data):
    text = b"".join(line + b"\n" for line in lines)
    cut = data.draw(st.integers(0, len(text)))
    path = tmp_path_factory.mktemp("cut") / "a.lines"
    path.write_bytes(text[:cut])
    whole = text[: text[:cut].rfind(b"\n") + 1]
    file = SpoolFile.adopt(path)
    assert (file is None) == (not whole)
    if file is None:
        assert not path.exists()
        return
    assert (file.size, file.lines) == (len(whole), whole.count(b"\n"))
    at, found = 0, b""
    while part := file.batch(at, 11):
        found, at = found + part, at + len(part)
    assert found == whole
    file.close()


def test_a_batch_never_has_more_lines_than_a_request_may_and_holds_the_longest():
    shortest = written([Told("n", True, "r")], 1.0)
    assert BATCH_BYTES // len(shortest) < 2 * MAX_LINES
    real = written([Told("n", True, "", "m", "k", 1.0)], 1_800_000_000.0)
    assert BATCH_BYTES // len(real) < MAX_LINES
    assert 2 * MAX_LINE_BYTES < BATCH_BYTES


def test_the_use_of_a_folder_is_that_of_all_its_files(tmp_path):
    assert used_bytes(tmp_path / "none") == 0
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    assert used_bytes(tmp_path) == 8
