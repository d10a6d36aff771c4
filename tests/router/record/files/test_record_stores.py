"""Every store keeps files whole; what is too old is found in each."""

from datetime import UTC, datetime

import numpy as np
import obstore
import pyarrow.parquet as pq
import pytest
from obstore.store import MemoryStore

from router.record.files.bucket import BucketStore
from router.record.files.footers import Footer, footer_of
from router.record.files.partitions import Part
from router.record.files.retention import Retention
from router.record.files.rows import Row
from router.record.files.stores import FolderStore, open_store
from router.record.log_writer import encoded
from router.settings import NodeSettings, seconds_of

FOLDER = "model=m/date=2026-11-{day:02}/hour={hour:02}"


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return FolderStore(tmp_path / "log") if request.param == "folder" else BucketStore(MemoryStore())


def test_a_file_is_there_once_it_was_put_and_gone_once_it_was_deleted(store):
    name = f"{FOLDER.format(day=27, hour=13)}/a.parquet"
    assert (store.exists(name), list(store.names())) == (False, [])
    for _ in range(2):  # it is not known whether the first try did it
        store.put(name, b"data")
    assert (store.exists(name), list(store.names())) == (True, [name])
    for _ in range(2):
        store.delete(name)
    assert (store.exists(name), list(store.names())) == (False, [])


def put(store, day, hour):
    at = datetime(2026, 11, day, hour, 30, tzinfo=UTC)
    part = Part("m", FOLDER.format(day=day, hour=hour), 0.0)
    part.columns.add(Row("m", "w.1", at, {"request_time": at}, {"input_x": np.zeros(2)}, 1))
    store.put(part.name, encoded(part, Footer("m", "here", {"w.1": 1}, {})))
    return part.name


def test_what_is_too_old_is_what_ended_before_all_that_is_kept(store):
    old = [put(store, 1, 23), put(store, 2, 11)]
    put(store, 2, 12)
    store.put("model=m/date=2026-11-01/hour=00/notes.txt", b"somebody else's")
    store.put("model=m/date=2026-11-01/hour=00/half.parquet", b"not whole")
    now = datetime(2026, 11, 3, 12, 0, tzinfo=UTC).timestamp()
    found = list(Retention(store, seconds_of("24h")).expired(now))
    assert found == [(name, {("w.1", "m"): 1}) for name in sorted(old)]
    assert list(Retention(store, seconds_of("3d")).expired(now)) == []


def test_of_what_was_merged_the_rows_expire_once_and_before_the_merged_file(store):
    small = [put(store, 1, 23) for _ in range(2)]
    folder = FOLDER.format(day=1, hour=23)
    part = Part("m", folder, 0.0)
    part.columns.add(Row("m", "w.1", datetime(2026, 11, 1, 23, tzinfo=UTC), {}, {}, 1))
    names = tuple(name.rpartition("/")[2] for name in small)
    merged = f"{folder}/0.parquet"
    store.put(merged, encoded(part, Footer("m", "here", {"w.1": 2}, {}, replaces=names)))
    now = datetime(2026, 11, 3, 12, 0, tzinfo=UTC).timestamp()
    found = list(Retention(store, seconds_of("24h")).expired(now))
    assert found == [*((name, {}) for name in sorted(small)), (merged, {("w.1", "m"): 2})]


def test_a_bucket_that_cannot_be_is_said_at_once(tmp_path, monkeypatch):
    assert isinstance(open_store(str(tmp_path)), FolderStore)
    with pytest.raises(OSError, match="s3://: its URL, or what the environment says of it, cannot be"):
        open_store("s3://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "store:9000")  # obstore would break down over it
    with pytest.raises(OSError, match="AWS_ENDPOINT_URL in the environment is no http"):
        open_store("s3://bucket/log")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"records": "ftp://host/x"}, "ftp:// is not known"),
        ({"records": "s3://b/x", "records_keep": "30d"}, "lifecycle rules"),
        ({"records": "log", "records_keep": "30"}, "pattern"),
        ({"records_keep": "30d"}, "needs --records"),
        ({"records_roll_seconds": 5.0}, "needs --records"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(settings, says):
    with pytest.raises(ValueError, match=says):
        NodeSettings(**settings)
    assert NodeSettings(records="s3://bucket/log", records_roll_seconds=5.0).records == "s3://bucket/log"


def test_names_are_those_below_a_folder_and_no_others(store):
    names = [put(store, 1, 22), put(store, 1, 23), put(store, 2, 0)]
    store.put("notes.parquet", b"somebody else's")
    assert list(store.names()) == sorted(names)
    assert list(store.names("model=m")) == sorted(names)
    assert list(store.names(FOLDER.format(day=1, hour=23))) == [names[1]]
    assert list(store.names("model=n")) == []


class Counted:
    """A reader that says how much was read by it."""

    def __init__(self, reader):
        self._reader = reader
        self.bytes = 0

    def read(self, size):
        self.bytes += size
        return self._reader.read(size)

    def seek(self, offset, whence):
        return self._reader.seek(offset, whence)

    def tell(self):
        return self._reader.tell()


def test_a_footer_of_a_file_in_a_bucket_is_read_without_the_file(monkeypatch):
    bucket = BucketStore(MemoryStore())
    at = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)
    part = Part("m", FOLDER.format(day=1, hour=23), 0.0)
    noise = np.random.default_rng(1).random(1 << 20)  # 8 MB that zstd makes no smaller
    part.columns.add(Row("m", "w.1", at, {"request_time": at}, {"input_x": noise}, 1))
    data = encoded(part, Footer("m", "here", {"w.1": 1}, {}))
    bucket.put(part.name, data)
    counted = []
    opened = obstore.open_reader

    def open_reader(*given):
        counted.append(Counted(opened(*given)))
        return counted[-1]

    monkeypatch.setattr(obstore, "open_reader", open_reader)
    assert footer_of(bucket.open(part.name)).rows == {"w.1": 1}
    assert counted[0].bytes < len(data) / 10
    assert pq.read_table(bucket.open(part.name)).num_rows == 1
    with pytest.raises(FileNotFoundError):
        bucket.open(f"{part.folder}/gone.parquet")
