"""A file is what it was or what it shall be, to whoever looks, whenever; and nothing is left beside it."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.host.whole_files import write_whole


@pytest.mark.parametrize("lasting", [False, True])
def test_a_file_takes_the_place_of_another_and_is_of_its_mode(tmp_path, lasting) -> None:
    path = tmp_path / "keys.json"
    write_whole(path, b"old", lasting=lasting)
    write_whole(path, b"new", lasting=lasting, mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_write_at_once_one_is_the_last_and_readers_meet_whole_files(tmp_path) -> None:
    path, contents = tmp_path / "state", [bytes([letter]) * (1 << 20) for letter in b"abcd"]
    write_whole(path, contents[0])
    with ThreadPoolExecutor(5) as threads:
        writing = [threads.submit(write_whole, path, contents[at % 4]) for at in range(100)]
        while not all(each.done() for each in writing):
            assert path.read_bytes() in contents
        assert not any(each.exception() for each in writing)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_take_its_place_leaves_nothing_behind(tmp_path) -> None:
    there = tmp_path / "folder"
    there.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(there, b"new")
    assert list(tmp_path.iterdir()) == [there]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "file", b"new")
