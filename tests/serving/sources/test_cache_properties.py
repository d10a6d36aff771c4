"""Whatever happens while a version comes, it is there as the store had it at one time, or it is not there."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from harness.search import examples
from serving.errors import InvalidModel, Unavailable
from serving.places import Origin, Places
from serving.sources import absence, cache
from serving.sources.download import download
from serving.sources.fetched import Fetched
from serving.sources.objects import ObjectRemote
from serving.sources.remote import Away, RemoteFile

URL = "s3://bucket"
FILES = ("m/1/model.onnx", "m/1/weights.bin")
PIECE = 7


class Killed(BaseException):
    """The process is."""


class Scripted(ObjectRemote):
    """A store that does with each piece of a file what a script says, then what is right."""

    def __init__(self, script):
        super().__init__(URL, MemoryStore())
        self.script = list(script)
        self.states = []
        self.bytes_read = 0
        self.put(0, 0)
        self.put(1, 0)

    def put(self, which, generation):
        content = f"{which}:{generation};".encode() * (8 + generation)
        obstore.put(self._asking, FILES[which], content)
        self.states.append({path: bytes(obstore.get(self._asking, path).bytes()) for path in self.paths()})

    def paths(self):
        return [meta["path"] for batch in obstore.list(self._asking) for meta in batch]

    def read(self, file, start=0) -> Iterator[bytes]:
        content = b"".join(super().read(file, start))
        for at in range(0, len(content), PIECE):
            match self.script.pop(0) if self.script else "go":
                case "cut":
                    raise Away("cut")
                case "kill":
                    raise Killed
                case (which, generation):
                    self.put(which, generation)
            self.bytes_read += PIECE
            yield content[at : at + PIECE]


CHANGE = st.tuples(st.sampled_from([0, 1]), st.integers(1, 5))
BETWEEN = st.lists(st.lists(CHANGE, max_size=2), min_size=1, max_size=4)
SCRIPT = st.lists(st.one_of(st.just("go"), st.just("cut"), st.just("kill"), CHANGE), max_size=40)


@given(
    script=SCRIPT, between=st.lists(st.lists(CHANGE, max_size=2), min_size=1, max_size=4), tight=st.booleans()
)
@settings(deadline=None)
def test_what_is_found_is_one_state_of_the_store(script, between, tight):
    remote = Scripted(script)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(absence, "REMEMBERED_SECONDS", 0.0)
        patch.setattr(cache, "HELD_SECONDS", 0.0)
        origin = Origin(Places((URL,)), Path(folder), 150 if tight else 10**9)
        for changes in between:
            for change in changes:
                remote.put(*change)
            source = Fetched(remote, origin, sleep=lambda _: None)  # another process
            try:
                entry = source.find("m", "1")
            except (Unavailable, InvalidModel, Killed):
                continue
            found = {path: (entry.root / path).read_bytes() for path in FILES}
            assert found in remote.states
        for root in Path(folder).glob("*/m@1/[!.]*/"):
            assert {path: (root / path).read_bytes() for path in FILES} in remote.states


@given(first=st.sampled_from([0, 1]), at=st.integers(0, 40), known=st.booleans())
@settings(deadline=None, max_examples=examples(30))
def test_of_a_version_that_is_overwritten_file_by_file_nobody_meets_both(first, at, known):
    """The second file is put amid our download, or while the listing has to rest."""
    remote = Scripted([])
    with tempfile.TemporaryDirectory() as folder:
        origin = Origin(Places((URL,)), Path(folder))
        if known:
            Fetched(remote, origin, sleep=lambda _: None).find("m", "1")
        remote.put(first, 1)
        remote.script = [*["go"] * at, (1 - first, 1)]

        def sleep(seconds):
            if seconds > 0 and remote.script:
                remote.script.clear()
                remote.put(1 - first, 1)

        entry = Fetched(remote, origin, sleep=sleep).find("m", "1")
        assert {path: (entry.root / path).read_bytes() for path in FILES} == remote.states[-1]
        assert all(b":1;" in (entry.root / path).read_bytes() for path in FILES)


@given(cuts=st.lists(st.integers(0, 12), max_size=30))
@settings(deadline=None)
def test_a_download_that_is_cut_is_whole_or_goes_on_and_takes_each_piece_about_once(cuts):
    script = [word for cut in cuts for word in (*["go"] * cut, "cut")]
    remote = Scripted(script)
    [file, _] = remote.files("m", "1")
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part"
        for _ in range(len(script) + 2):
            try:
                download(remote, file, part, sleep=lambda _: None)
                break
            except Away:
                continue
        assert part.read_bytes() == remote.states[-1][file.path]
        assert remote.bytes_read <= file.size + PIECE


def test_two_at_once_download_once(tmp_path):
    remote = Scripted([])
    barrier = threading.Barrier(2)
    found = []

    def process():
        source = Fetched(remote, Origin(Places((URL,)), tmp_path), sleep=lambda _: None)
        barrier.wait()
        found.append(source.find("m", "1").path)

    threads = [threading.Thread(target=process) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    total = sum(map(len, remote.states[-1].values()))
    assert remote.bytes_read < total + 2 * PIECE


def test_bytes_that_are_never_the_same_are_refused_and_those_that_always_are_taken(tmp_path):
    class Falsifying:
        url, problems = URL, ()
        numbers = iter(range(100))
        same = False

        def read(self, _file, _start=0):
            yield b"same" if self.same else b"%04d" % next(self.numbers)

    remote = Falsifying()
    file = RemoteFile("m/1/model.onnx", 4, "tag", "m", md5="0" * 32)
    with pytest.raises(Away, match="other bytes each time"):
        download(remote, file, tmp_path / "part")
    remote.same = True
    download(remote, file, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"same"
