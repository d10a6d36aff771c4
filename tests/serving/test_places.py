"""Where models come from, as settings and options say it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.places import Origin, Places, beside, folders
from serving.settings import ProcessSettings
from understudy.settings import UpSettings


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models", ("models",)),
        ("/a folder/of models", ("/a folder/of models",)),
        (Path("models"), ("models",)),
        ("s3://bucket/prefix/", ("s3://bucket/prefix",)),
        ("S3://bucket", ("s3://bucket",)),
        (" models | gs://bucket |az://container/a", ("models", "gs://bucket", "az://container/a")),
        ("models|s3://b|models", ("models", "s3://b")),
        (["models", "mlflow+https://host:8443/base"], ("models", "mlflow+https://host:8443/base")),
    ],
)
def test_places_are_taken_as_they_are_written(text, named):
    assert Places.of(text).named == named
    assert Places.of(str(Places.of(text))) == Places.of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "where are the models"),
        (" | ", "where are the models"),
        ("http://host", "http://host: http:// is not known"),
        ("s3:/bucket", "s3:/bucket: a URL has two slashes, s3://bucket"),
        ("s3://", "it names no bucket"),
        ("mlflow+http:///x", "it names no host"),
        ("s3://key:secret@bucket/x", "s3://bucket/x: no user or password in a URL"),
        ("mlflow+https://u:p@host", "mlflow\\+https://host: no user or password"),
        ("az://c/x?sig=secret", r"az://c/x: no \?, # or space"),
        ("s3://bucket:9000/x", "a bucket has no port"),
        ("mlflow+http://host:port", "it is no URL"),
        (7, "a place of models is a text, not int"),
    ],
)
def test_what_can_be_no_place_is_named_without_its_credentials(text, words):
    with pytest.raises(ValueError, match=words) as raised:
        Places.of(text)
    assert "secret" not in str(raised.value)


def test_settings_carry_places_to_the_processes_that_are_started(monkeypatch):
    monkeypatch.setenv("UNDERSTUDY_MODELS", "a|s3://b")
    settings = UpSettings(model_cache_size="500MB", state_dir=Path("state"))
    kept = {"cache": Path("state/model-cache"), "proven": Path("state/signatures")}
    assert settings.origin == Origin(Places(("a", "s3://b")), cache_bytes=500 * 10**6, **kept)
    given = settings.environment()
    assert (given["UNDERSTUDY_MODELS"], given["UNDERSTUDY_MODEL_CACHE_SIZE"]) == ("a|s3://b", "500MB")
    assert ProcessSettings(models=["c", "d"]).models.named == ("c", "d")


def test_a_refused_setting_does_not_show_what_was_given():
    with pytest.raises(ValidationError) as raised:
        ProcessSettings(models="s3://key:secret@bucket")
    assert "secret" not in str(raised.value)


def test_a_file_beside_a_model_is_of_the_first_folder_that_has_it(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "m").mkdir(parents=True)
    (tmp_path / "b" / "m" / "heldout.npz").touch()
    origin = Origin(Places((str(tmp_path / "a"), "s3://bucket", str(tmp_path / "b"))))
    assert folders(origin) == (tmp_path / "a", tmp_path / "b")
    assert beside(origin, "m", "heldout.npz") == tmp_path / "b" / "m" / "heldout.npz"
    assert beside(tmp_path / "a", "m", "heldout.npz") is None
