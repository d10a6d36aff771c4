"""What a registry says of versions that it cannot give; those that it gives are in tests/servers/mlflow."""

import pytest

from harness.small_registry import small_registry
from serving.errors import InvalidModel
from serving.places import Origin, Places
from serving.sources.fetched import Fetched
from serving.sources.mlflow.api import Registry
from serving.sources.mlflow.remote import LATELY_SECONDS, MlflowRemote
from serving.sources.remote import Away, Changed


@pytest.fixture(scope="module")
def registry():
    with small_registry() as small:
        for version in (1, 2, 3):
            small.move("digits", "challenger", version)
        yield small


@pytest.fixture
def source(registry, tmp_path):
    place = f"mlflow+{registry.url}"
    with Registry(registry.url, environ={}) as client:
        yield Fetched(MlflowRemote(place, client), Origin(Places.of(place), tmp_path / "cache"))


@pytest.mark.parametrize(
    ("uri", "where"),
    [
        ("s3://key:secret@team-models/1/m", "in s3://team-models, which"),
        ("/home/ann/mlruns/1", "in a folder of some machine, which"),
        ("file:///home/ann/mlruns/1", "in a folder of some machine, which"),
    ],
)
def test_files_that_the_server_does_not_pass_on_are_refused_with_where_and_a_remedy(
    source, registry, uri, where
):
    registry.artifacts["digits", "2"] = uri
    with pytest.raises(InvalidModel) as refused:
        source.find("digits", "2")
    words = str(refused.value)
    assert words.startswith("digits/2: its files are ")
    assert where in words
    assert "--serve-artifacts; what was logged before stays where it is" in words
    assert "understudy models push" in words
    assert "secret" not in words


def test_a_version_that_cannot_be_had_does_not_make_the_store_away_for_others(source, registry):
    registry.artifacts["digits", "2"] = "s3://team-models/1"
    with pytest.raises(InvalidModel):
        source.find("digits", "2")
    for version in "13":  # of each the server is asked, and says that nothing is there
        asked = len(registry.calls)
        with pytest.raises(Changed, match=f"digits/{version}: nothing was logged for it"):
            source.find("digits", version)
        assert len(registry.calls) > asked
    registry.away = True
    with pytest.raises(Away, match="status 503"):
        source.find("digits", "1")
    registry.away = False
    asked = len(registry.calls)
    with pytest.raises(Away, match="status 503"):  # remembered: nobody asks
        source.find("digits", "1")
    assert len(registry.calls) == asked


def test_what_is_said_of_a_version_holds_for_a_while_so_that_one_document_asks_once(registry, tmp_path):
    now = 0.0
    registry.artifacts["digits", "3"] = "mlflow-artifacts:/3"
    registry.files = {"3/MLmodel": b"flavors: {onnx: {data: model.onnx}}", "3/model.onnx": b"bytes"}
    place = f"mlflow+{registry.url}"
    with Registry(registry.url, environ={}) as client:
        remote = MlflowRemote(place, client, clock=lambda: now)
        source = Fetched(remote, Origin(Places.of(place), tmp_path / "cache"))
        entry = source.find("digits", "3")
        assert entry.path.read_bytes() == b"bytes"
        asked = len(registry.calls)
        registry.tags["digits"] = {"understudy.config": "versions: all"}
        now += LATELY_SECONDS
        assert source.find("digits", "3") == entry
        assert len(registry.calls) == asked
        now += 0.1
        assert source.find("digits", "3").config.versions == "all"
        again = registry.calls[asked:]
        assert not any("artifacts" in call for call in again), "what was logged is asked for once"
