"""Where records lie, on a disk and in an object store (obstore's, over a folder)."""

from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from harness.record_files import HOUR, write
from serving.errors import NotFound, ServingError
from understudy.records.place import Bucket, Folder, RecordFile, Wanted, open_place


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    return open_place(str(tmp_path) if request.param == "folder" else f"file://{tmp_path}")


def test_files_are_listed_the_oldest_first_and_strangers_left_out(place, tmp_path):
    write(tmp_path, "b", {"x": [1]}, hour=HOUR + timedelta(hours=1))
    path = write(tmp_path, "a", {"x": [1]})
    write(tmp_path, "_half", {"x": [1]})
    (tmp_path / "readme.parquet").write_bytes(b"no record")
    path.with_suffix(".new").write_bytes(b"half")
    first, second = place.files()
    assert first.name == "model=digits/date=2026-10-05/hour=13/a.parquet"
    assert (first.model, first.hour, first.bytes) == ("digits", HOUR, path.stat().st_size)
    assert first.partition == "model=digits/date=2026-10-05/hour=13"
    assert second.hour == HOUR + timedelta(hours=1)


def test_a_file_is_read_where_it_lies_and_brought_here(place, tmp_path):
    write(tmp_path, "a", {"x": [1, 2, 3]})
    [file] = place.files()
    with place.open(file) as source:
        assert pq.read_table(source).to_pydict() == {"x": [1, 2, 3]}
    (tmp_path / "here").mkdir()
    [path] = place.local([file], tmp_path / "here")
    assert pq.read_metadata(path).num_rows == 3


def test_what_is_gone_is_said_in_words(place, tmp_path):
    path = write(tmp_path, "a", {"x": [1]})
    [file] = place.files()
    path.unlink()
    place.remove(file)  # none that is gone already
    with pytest.raises(NotFound, match=r"hour=13/a\.parquet: it is gone"), place.open(file) as source:
        source.read()


def test_a_file_is_put_whole_and_removed(place, tmp_path):
    write(tmp_path, "a", {"x": [1]})
    [file] = place.files()
    written = tmp_path / "beside"
    written.write_bytes((tmp_path / file.name).read_bytes())
    place.put(f"{file.partition}/c.parquet", written)
    assert not written.exists()
    assert [each.name.rpartition("/")[2] for each in place.files()] == ["a.parquet", "c.parquet"]
    place.remove(file)
    assert len(place.files()) == 1


def test_no_folder_and_no_such_url_are_errors_in_words(tmp_path, monkeypatch):
    with pytest.raises(NotFound, match="no folder of records is there"):
        open_place(str(tmp_path / "nowhere")).files()
    with pytest.raises(ServingError, match="ftp://host/x"):
        open_place("ftp://host/x")
    assert isinstance(open_place("records"), Folder)
    assert isinstance(open_place("s3://bucket/records"), Bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "store:9000")  # obstore would break down over it
    with pytest.raises(ServingError, match="AWS_ENDPOINT_URL in the environment is no http"):
        open_place("s3://bucket/records")


def test_a_period_takes_whole_hours():
    file = RecordFile(HOUR, "digits", "model=digits/date=2026-10-05/hour=13/a.parquet", 1)
    assert file in Wanted()
    assert file in Wanted("digits", since=HOUR + timedelta(minutes=59))
    assert file not in Wanted("digits", since=HOUR + timedelta(minutes=60))
    assert file not in Wanted("iris")
    assert file in Wanted(until=HOUR + timedelta(minutes=1))
    assert file not in Wanted(until=HOUR)
