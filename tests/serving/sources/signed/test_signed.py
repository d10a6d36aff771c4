"""Only what somebody trusted has signed is found, by signatures that model-signing's own command makes."""

import asyncio
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from graphs import linear, put

from control.rollouts.catalogue import Catalogue, Unservable
from router.rollout.parser import parse_one
from serving.errors import InvalidInput, InvalidModel
from serving.models.files.repository import Repository, read
from serving.places import Origin, Places
from serving.sources.opening import open_source

PEM = serialization.Encoding.PEM


def key(folder, name):
    """A private key of a team, and its public half."""
    private = ec.generate_private_key(ec.SECP256R1())
    path = folder / f"{name}.key"
    plain = serialization.NoEncryption()
    path.write_bytes(private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain))
    public = private.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return path


def sign(version, private):
    """As a pipeline does, by the command that the library brings."""
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(version)]
    options = ["--private_key", str(private), "--signature", str(version / "model.sig")]
    subprocess.run([*command, *options], check=True, capture_output=True)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A model with external data, signed by `team`; another team's key beside it."""
    folder = tmp_path_factory.mktemp("signed")
    put(folder / "models", "m", 1, linear())
    (folder / "models" / "m" / "1" / "weights.bin").write_bytes(b"weights")
    for name in ("team", "others"):
        key(folder, name)
    sign(folder / "models" / "m" / "1", folder / "team.key")
    return folder


@pytest.fixture
def place(signed, tmp_path):
    shutil.copytree(signed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def origin(place, signers="team.pub"):
    models = Places((str(place / "models"),))
    return Origin(models, signers=place / signers, proven=place / "proven")


def source(place, signers="team.pub"):
    return open_source(origin(place, signers))


def test_what_is_signed_is_found_and_pinned_to_the_bytes_that_were_signed(place):
    entry = source(place).find("m", "1")
    files = read(entry)
    assert entry.config.sha256 == {"1": files.sha256}
    assert files.sha256 == read(Repository(place / "models").find("m", "1")).sha256
    (place / "models" / "m" / "1" / "model.onnx").write_bytes(linear(seed=1))
    with pytest.raises(InvalidModel, match="SHA-256"):
        read(entry)


def test_what_was_proven_is_remembered_for_the_same_files_and_keys_alone(place):
    source(place).find("m", "1")
    [before] = (place / "proven").iterdir()
    source(place).find("m", "1")
    assert [*(place / "proven").iterdir()] == [before]
    with pytest.raises(InvalidModel, match="signed by none of those that are trusted"):
        source(place, "others.pub").find("m", "1")


def changed(version):
    (version / "weights.bin").write_bytes(b"w3ights")


def added(version):
    (version / "more.bin").write_bytes(b"more")


def removed(version):
    (version / "weights.bin").unlink()


@pytest.mark.parametrize("harm", [changed, added, removed])
def test_other_files_than_those_that_were_signed_are_refused(place, harm):
    harm(place / "models" / "m" / "1")
    with pytest.raises(
        InvalidModel, match=r"m/1: its signature is refused: the key .* has signed other files"
    ):
        source(place).find("m", "1")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"mediaType": 1}'])
def test_a_signature_that_is_none_is_refused(place, content):
    (place / "models" / "m" / "1" / "model.sig").write_bytes(content)
    with pytest.raises(InvalidModel, match="signed by none of those that are trusted"):
        source(place).find("m", "1")


def test_a_model_without_a_signature_is_refused(place):
    (place / "models" / "m" / "1" / "model.sig").unlink()
    with pytest.raises(InvalidModel, match="m/1: it is not signed"):
        source(place).find("m", "1")


def test_one_of_several_keys_is_enough_and_a_key_that_is_taken_out_counts_no_more(place):
    both = place / "both.pub"
    both.write_bytes((place / "others.pub").read_bytes() + (place / "team.pub").read_bytes())
    models = source(place, "both.pub")
    models.find("m", "1")
    both.write_bytes((place / "others.pub").read_bytes())
    with pytest.raises(InvalidModel, match="signed by none"):
        models.find("m", "1")


def test_a_link_that_leads_outside_is_not_followed(place):
    (place / "models" / "m" / "1" / "weights.bin").unlink()
    (place / "models" / "m" / "1" / "weights.bin").symlink_to(place / "team.key")
    with pytest.raises(InvalidModel, match="leads outside the repository"):
        source(place).find("m", "1")


def certificate(subject, private, issuer, signer, *extensions):
    """A certificate of a key, signed by another one."""
    now = datetime.now(UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    made = x509.CertificateBuilder(names[1], names[0], private.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    for extension in extensions:
        made = made.add_extension(extension, critical=True)
    return made.sign(signer, hashes.SHA256()).public_bytes(PEM)


def use(*, authority):
    """What a key is for: to sign certificates, or models."""
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = dict.fromkeys([*names, "encipher_only", "decipher_only"], False)
    return x509.KeyUsage(not authority, key_cert_sign=authority, crl_sign=authority, **others)


def test_a_certificate_of_an_authority_that_is_trusted_vouches_for_who_signed(place):
    keys = {}
    for name in ("root", "leaf", "stranger"):
        keys[name] = load_pem_private_key(key(place, name).read_bytes(), None)
    authority = x509.BasicConstraints(ca=True, path_length=None), use(authority=True)
    for name in ("root", "stranger"):
        (place / f"{name}.pem").write_bytes(certificate(name, keys[name], name, keys[name], *authority))
    leaf = certificate("leaf", keys["leaf"], "root", keys["root"], use(authority=False))
    (place / "leaf.pem").write_bytes(leaf)
    version = place / "models" / "m" / "1"
    (version / "model.sig").unlink()
    files = {"private_key": "leaf.key", "signing_certificate": "leaf.pem", "certificate_chain": "root.pem"}
    options = [text for name, file in files.items() for text in (f"--{name}", str(place / file))]
    command = [sys.executable, "-m", "model_signing", "sign", "certificate", str(version), *options]
    subprocess.run([*command, "--signature", str(version / "model.sig")], check=True, capture_output=True)
    source(place, "root.pem").find("m", "1")
    with pytest.raises(InvalidModel, match="signed by none"):
        source(place, "stranger.pem").find("m", "1")


def test_control_accepts_what_is_signed_and_says_of_the_rest_where_and_why(place):
    put(place / "models", "m", 2, linear())
    catalogue = Catalogue(origin(place), place / "verified")
    [digest] = asyncio.run(catalogue.check(parse_one("m", "stable: m/1", "document"))).values()
    told = catalogue.claimed({"m/1": digest})["m/1"]["signature"]
    assert re.fullmatch(r"of the key [0-9a-f]{16} \(says Understudy, which verified it\)", told)
    again = Catalogue(origin(place), place / "verified")  # who signed it is remembered with what was proven
    asyncio.run(again.check(parse_one("m", "stable: m/1", "document")))
    assert again.claimed({"m/1": digest})["m/1"]["signature"] == told
    assert again.claimed({"m/1": "0" * 64}) == {}
    assert digest == read(source(place).find("m", "1")).sha256
    canary = parse_one("m", "{stable: m/1, canary: {model: m/2, weight: 1}}", "document")
    with pytest.raises(
        Unservable, match=r"^m.canary: m/2: it is not signed \(model.sig is not in its folder\)"
    ):
        asyncio.run(catalogue.check(canary))


@pytest.mark.parametrize(
    "content", ["", "nothing", "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"]
)
def test_a_file_of_nobody_is_refused_at_once(place, content):
    (place / "nobody.pem").write_text(content)
    with pytest.raises(InvalidInput, match=r"--require-signature .*nobody.pem: no PEM block"):
        source(place, "nobody.pem")
    with pytest.raises(InvalidInput, match="No such file"):
        source(place, "absent.pem")
