"""Certificate and key as files: what is wrong with them is said, and what is new is read."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from mesh.errors import InvalidConfig
from mesh.model import Protocol
from mesh.sidecar.certificates import Certificates, make_context


def write(directory: Path, name: str = "cart.test") -> tuple[str, str]:
    made = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(name, key_type=trustme.KeyType.ECDSA)
    certificate, key = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    key.write_bytes(made.private_key_pem.bytes())
    return str(certificate), str(key)


@pytest.mark.parametrize(("protocol", "agreed"), [
    (Protocol.GRPC, "h2"), (Protocol.HTTP2, "h2"), (Protocol.HTTP1, "h2"), (Protocol.AUTO, "h2"), (Protocol.TCP, None)])
def test_tls_1_3_and_what_the_app_can_be_asked_in(tmp_path: Path, protocol: Protocol, agreed: str | None) -> None:
    context = make_context(*write(tmp_path), protocol)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname = False
    caller.verify_mode = ssl.CERT_NONE
    caller.set_alpn_protocols(["http/1.1", "h2"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = caller.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    for end in (*ends, ends[0]):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ends[0].selected_alpn_protocol() == agreed


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    certificate, key = write(tmp_path)
    with pytest.raises(InvalidConfig, match=r"^--tls-certificate /nowhere: No such file or directory$"):
        make_context("/nowhere", key, Protocol.TCP)
    with pytest.raises(InvalidConfig, match=r"^--tls-key /nowhere: No such file or directory$"):
        make_context(certificate, "/nowhere", Protocol.TCP)


def test_files_that_go_while_they_are_read_leave_the_old_certificate(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    certificate, key = write(tmp_path)
    files = Certificates(certificate, key, Protocol.TCP, lambda: now)
    first = files.context()
    os.utime(key, (1, 1))

    def gone(self: ssl.SSLContext, *args: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_cert_chain", gone)
        now = 5.0
        assert files.context() is first
        with pytest.raises(InvalidConfig, match=r"--tls-key .*key.pem: No such file or directory$"):
            make_context(certificate, key, Protocol.TCP)
    now = 10.0
    assert files.context() is not first


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    certificate, key = write(tmp_path)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other")
    with pytest.raises(InvalidConfig, match="the key is not that of the certificate"):
        make_context(certificate, other[1], Protocol.TCP)
    with pytest.raises(InvalidConfig, match="no certificate and key in PEM"):
        make_context(key, certificate, Protocol.TCP)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(InvalidConfig, match="no certificate and key in PEM"):
        make_context(str(empty), key, Protocol.TCP)
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    encrypted = serialization.BestAvailableEncryption(b"secret")
    Path(key).write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                encrypted))
    with pytest.raises(InvalidConfig, match="the key is encrypted"):
        make_context(certificate, key, Protocol.TCP)


def test_files_that_have_changed_are_read_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    files = Certificates(*write(tmp_path), Protocol.TCP, lambda: now)
    first = files.context()
    (tmp_path / "new").mkdir()
    new = write(tmp_path / "new")
    for path in new:
        os.replace(path, tmp_path / Path(path).name)  # another file by the same name, as a rotated secret is
    assert files.context() is first  # looked at every five seconds
    now = 5.0
    second = files.context()
    assert second is not first
    assert "has been read anew" in caplog.text
    now = 10.0
    assert files.context() is second


def test_the_old_certificate_stays_while_the_new_one_is_half_there(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    files = Certificates(*write(tmp_path), Protocol.TCP, lambda: now)
    first = files.context()
    (tmp_path / "new").mkdir()
    certificate, key = write(tmp_path / "new")
    os.replace(certificate, tmp_path / "cert.pem")
    now = 5.0
    assert files.context() is first
    assert "the certificate of before stays in use" in caplog.text
    now = 10.0
    (tmp_path / "key.pem").unlink()
    assert files.context() is first
    os.replace(key, tmp_path / "key.pem")
    now = 15.0
    assert files.context() is not first
