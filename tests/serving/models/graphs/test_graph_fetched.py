"""A graph in a bucket comes whole, under the digest that it has in a folder."""

import obstore
from graph_folders import put_graph
from obstore.store import MemoryStore

from serving.models.files.repository import Repository, read
from serving.places import Origin, Places
from serving.sources.fetched import Fetched
from serving.sources.objects import ObjectRemote

URL = "s3://bucket/models"


def test_all_models_of_its_steps_are_fetched_with_it(tmp_path):
    put_graph(tmp_path / "models", "fraud", 1)
    bucket = MemoryStore()
    for path in (tmp_path / "models").rglob("*"):
        if path.is_file():
            obstore.put(bucket, path.relative_to(tmp_path / "models").as_posix(), path.read_bytes())
    source = Fetched(ObjectRemote(URL, bucket), Origin(Places((URL,)), tmp_path / "cache", 1 << 30))
    [listed] = source.discover()
    assert (listed.name, listed.version) == ("fraud", "1")
    fetched = read(source.find("fraud", "1"))
    assert fetched.sha256 == read(Repository(tmp_path / "models").find("fraud", "1")).sha256
    assert len(fetched.external) == 3
