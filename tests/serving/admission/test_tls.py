"""Certificates from files: which pairs are taken, and when they are read again."""

import ssl

import pytest

from harness.certificates import Authority
from serving.admission.tls import Certificate, load
from serving.errors import InvalidInput
from serving.telemetry.cells import Metrics, read


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def files(tmp_path, authority):
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write(cert, key, authority)
    return cert, key


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path / "metrics", "test")
    yield metrics
    metrics.close()


def write(cert, key, authority):
    """A new pair; its number."""
    cert_pem, key_pem, number = authority.issue()
    cert.write_bytes(cert_pem)
    key.write_bytes(key_pem)
    return number


def shown(context, authority):
    """The number of the certificate that a client gets, by a handshake in memory."""
    client = ssl.create_default_context(cafile=authority.ca)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    outer = context.wrap_bio(to_server, to_client, server_side=True)
    done = set()
    for side in [inner, outer] * 5:
        if side in done:
            continue
        try:
            side.do_handshake()
            done.add(side)
        except ssl.SSLWantReadError:
            pass
    assert inner in done
    return int(inner.getpeercert()["serialNumber"], 16)


def metric(folder, family, *labels):
    return read(folder)[family].series[labels][0]


def looks(certificate, times=3):
    for _ in range(times):
        certificate.look()


def test_new_connections_get_the_new_certificate_and_a_bad_pair_changes_nothing(
    tmp_path, files, authority, metrics
):
    cert, key = files
    folder = tmp_path / "metrics"
    certificate = Certificate("public", cert, key, metrics)
    context = certificate.context()
    first = shown(context, authority)
    looks(certificate)
    assert shown(context, authority) == first
    second = write(cert, key, authority)
    looks(certificate)
    assert shown(context, authority) == second != first
    assert metric(folder, "understudy_file_reloads", "public certificate", "loaded") == 1.0

    key.write_bytes(authority.issue()[1])  # another one's key
    looks(certificate)
    assert shown(context, authority) == second
    assert metric(folder, "understudy_file_refused", "public certificate") == 1.0
    assert metric(folder, "understudy_file_reloads", "public certificate", "refused") == 1.0
    third = write(cert, key, authority)
    looks(certificate)
    assert shown(context, authority) == third
    assert metric(folder, "understudy_file_refused", "public certificate") == 0.0


def test_the_swap_of_a_configmaps_data_link_is_one_renewal(tmp_path, authority, metrics):
    numbers = []
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        numbers.append(write(tmp_path / name / "tls.crt", tmp_path / name / "tls.key", authority))
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    certificate = Certificate("public", tmp_path / "tls.crt", tmp_path / "tls.key", metrics)
    assert shown(certificate.context(), authority) == numbers[0]
    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")
    looks(certificate)
    assert shown(certificate.context(), authority) == numbers[1]
    assert metric(tmp_path / "metrics", "understudy_file_reloads", "public certificate", "refused") == 0.0


def test_two_files_that_change_one_after_the_other_are_read_once_they_rest(
    tmp_path, files, authority, metrics
):
    cert, key = files
    certificate = Certificate("public", cert, key, metrics)
    cert_pem, key_pem, number = authority.issue()
    cert.write_bytes(cert_pem)
    certificate.look()
    key.write_bytes(key_pem)
    looks(certificate)
    assert shown(certificate.context(), authority) == number
    assert metric(tmp_path / "metrics", "understudy_file_reloads", "public certificate", "refused") == 0.0


def test_nothing_older_than_tls_1_2_is_spoken(files):
    context = load(*files).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_what_is_no_pair_is_refused_without_a_path_or_a_question(tmp_path, files, authority):
    cert, key = files
    other = tmp_path / "other.key"
    other.write_bytes(authority.issue()[1])
    encrypted_cert, encrypted_key = tmp_path / "e.crt", tmp_path / "e.key"
    pem, key_pem, _ = authority.issue(password=b"secret")
    encrypted_cert.write_bytes(pem)
    encrypted_key.write_bytes(key_pem)
    garbage = tmp_path / "garbage"
    garbage.write_text("nothing")
    for pair, reason in (
        ((cert, other), "key values mismatch"),
        ((encrypted_cert, encrypted_key), "encrypted"),
        ((garbage, key), "no certificate"),
        ((cert, garbage), "no certificate"),
        ((tmp_path / "missing", key), "No such file"),
        ((cert, tmp_path / "missing"), "No such file"),
    ):
        with pytest.raises(InvalidInput, match=reason) as refused:
            load(*pair)
        assert str(tmp_path) not in str(refused.value)
