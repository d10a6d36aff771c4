"""With `--require-signature`, a place of MLflow is refused in words, and the others are as they were."""

import socket

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from graphs import linear, put

from serving.errors import InvalidModel, NotFound, Unavailable
from serving.places import Origin, Places
from serving.sources.opening import open_source

WHY = "what comes from MLflow carries no signature, and --require-signature asks for one"


@pytest.fixture
def place():
    """Of an MLflow server that is away: it is not even asked for a version."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"mlflow+http://127.0.0.1:{nobody.getsockname()[1]}"


@pytest.fixture
def signers(tmp_path):
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "team.pub").write_bytes(pem)
    return tmp_path / "team.pub"


def opened(tmp_path, signers, *places):
    kept = {"cache": tmp_path / "cache", "proven": tmp_path / "proven"}
    return open_source(Origin(Places(places), signers=signers, **kept))


def test_its_versions_are_refused_with_the_reason_and_the_remedy(place, signers, tmp_path):
    source = opened(tmp_path, signers, place)
    assert source.discover() == ()
    assert source.problems[0] == f"no version is accepted: {WHY}"
    with pytest.raises(InvalidModel, match=f"^m/1: {WHY}; put it, signed, into a folder or a bucket"):
        source.find("m", "1")
    for asked in (lambda: source.served("m"), lambda: source.configured("m", "1")):
        with pytest.raises(Unavailable):
            asked()


def test_a_folder_before_it_gives_what_it_has_and_is_asked_for_signatures(place, signers, tmp_path):
    put(tmp_path / "models", "m", 1, linear())
    source = opened(tmp_path, signers, str(tmp_path / "models"), place)
    assert [entry.name for entry in source.discover()] == ["m"]
    assert source.problems[0] == f"{place}: no version is accepted: {WHY}"
    with pytest.raises(InvalidModel, match="m/1: it is not signed"):
        source.find("m", "1")


def test_without_the_option_nothing_is_said_of_signatures(place, tmp_path):
    source = opened(tmp_path, None, place)
    source.discover()
    assert not any(WHY in problem for problem in source.problems)
    with pytest.raises((NotFound, Unavailable)):
        source.find("m", "1")
