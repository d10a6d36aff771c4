"""Records in a real object store (SeaweedFS): listed, read, queried and compacted by its S3 door."""

from datetime import timedelta

import obstore
import pytest
from obstore.store import from_url

from harness.object_store import object_store
from harness.record_files import HOUR, two_versions, write
from router.record.files.stores import open_store
from serving.errors import NotFound, ServingError
from understudy.records.compacting import compact
from understudy.records.place import Folder, Wanted, open_place
from understudy.records.querying import queried


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The URL of a bucket with three files of records."""
    with object_store(tmp_path / "store") as server:
        server.bucket("logs")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        two_versions(tmp_path / "records")
        write(tmp_path / "records", "z", {"receipt": ["a1"]})
        store = from_url("s3://logs/records")
        for file in Folder(tmp_path / "records").files():
            obstore.put(store, file.name, tmp_path / "records" / file.name)
        yield "s3://logs/records"


def test_records_in_a_bucket_are_read_and_compacted(bucket):
    def receipts():
        sql = "SELECT receipt, hour, output_scores FROM records ORDER BY 1"
        with queried(open_place(bucket), Wanted(), sql) as result:
            return list(result.rows())

    place = open_place(bucket)
    assert len(place.files()) == 3
    before = receipts()
    assert before == [("a0", 13, None), ("a1", 13, None), ("b0", 14, [0.5, 0.25])]
    first = place.files()[0]
    [done] = compact(place, Wanted(), HOUR + timedelta(days=1))
    assert (done.files, done.rows, len(place.files())) == (2, 2, 2)
    assert receipts() == before
    with pytest.raises(NotFound, match="it is gone"):
        place.open(first)


def test_the_log_writer_s_store_keeps_files_whole_and_says_when_it_is_away(tmp_path, monkeypatch):
    name = "model=m/date=2026-11-27/hour=13/a.parquet"
    with object_store(tmp_path) as server:
        server.bucket("logs")
        for setting, value in server.environment.items():
            monkeypatch.setenv(setting, value)
        store = open_store("s3://logs/written")
        assert not store.exists(name)
        for _ in range(2):  # as after an answer that was lost
            store.put(name, b"data")
        assert (store.exists(name), list(store.names()), store.open(name).read()) == (True, [name], b"data")
        for _ in range(2):
            store.delete(name)
        assert not store.exists(name)
    with pytest.raises(OSError, match=r"a\.parquet"):
        store.put(name, b"data")
    with pytest.raises(OSError, match=r"a\.parquet"):
        store.exists(name)


def test_a_bucket_that_is_not_there_is_an_error_in_words(bucket):
    with pytest.raises(ServingError):
        open_place("s3://nobody/records").files()
