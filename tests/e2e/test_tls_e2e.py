"""TLS that the callee's sidecar ends, on real processes: other people's clients, and what they get."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from e2e_calls import Client
from e2e_mesh import Mesh, Replica, service
from e2e_processes import SIDECAR, eventually

pytestmark = pytest.mark.e2e
NAME = "shop.test"


class Files:
    """An authority, and the certificate that sidecars are given."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.certificate = directory / "cert.pem"
        self.key = directory / "key.pem"
        self.write()

    def write(self, name: str = NAME) -> None:
        made = self.authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        self.key.write_bytes(made.private_key_pem.bytes())
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))

    def flags(self, *more: str) -> list[str]:
        return ["--tls-certificate", str(self.certificate), "--tls-key", str(self.key), *more]

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shop(mesh: Mesh, files: Files) -> Replica:
    mesh.apply(service("shop", "HTTP1"))
    return mesh.replicas("shop", 1, kind="http1", protocol="http1", sidecar_flags=files.flags())[0]


@pytest.fixture(scope="module")
def stock(mesh: Mesh, files: Files) -> Replica:
    mesh.apply(service("stock", "TCP"))
    return mesh.replicas("stock", 1, kind="tcp", protocol="tcp", sidecar_flags=files.flags())[0]


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def read_all(sock: socket.socket) -> bytes:
    heard = b""
    while data := sock.recv(1 << 16):
        heard += data
    return heard


@contextlib.contextmanager
def dial(replica: Replica, context: ssl.SSLContext, name: str = NAME) -> Iterator[ssl.SSLSocket]:
    with (socket.create_connection(split(replica.sidecar.inbound), 10) as sock,
          context.wrap_socket(sock, server_hostname=name) as tls):
        yield tls


def test_http_requests_inside(shop: Replica, files: Files) -> None:
    with dial(shop, files.context()) as tls:
        assert tls.version() == "TLSv1.3"
        client = http.client.HTTPConnection("shop")
        client.sock = tls
        for size in (0, 1, 20_000, 3_000_000):
            body = os.urandom(size)
            client.request("PUT", "/echo", body)
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, body)


def test_an_answer_that_nobody_reads_holds_nobody_up(shop: Replica, files: Files) -> None:
    with dial(shop, files.context()) as slow, dial(shop, files.context()) as other:
        slow.sendall(b"GET /chunks/30000 HTTP/1.1\r\nHost: shop\r\n\r\n")
        client = http.client.HTTPConnection("shop")
        client.sock = other
        for _ in range(5):
            client.request("GET", "/whoami")
            assert client.getresponse().read() == b"shop-0"
        heard, tail = 0, b""
        while not tail.endswith(b"30000\r\n\r\n"):  # the trailer field
            data = slow.recv(65_536)
            assert data
            heard, tail = heard + len(data), (tail + data)[-20:]
        assert heard > 30_000_000


def test_opaque_bytes_inside_and_half_close(stock: Replica, files: Files) -> None:
    payload = os.urandom(5_000_000)
    with socket.create_connection(split(stock.sidecar.inbound), 10) as sock:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = files.context().wrap_bio(incoming, outgoing, server_hostname=NAME)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65_536))
        tls.write(b'{"do": "swap", "reply": 3000000}\n')
        tls.write(payload)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()  # close_notify: our half is closed
        sock.sendall(outgoing.read())
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        while data := sock.recv(1 << 20):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while part := tls.read(1 << 16):
                    heard += part
    line, _, rest = heard.partition(b"\n")
    report = json.loads(line)
    assert (report["bytes"], report["sha256"]) == (len(payload), hashlib.sha256(payload).hexdigest())
    assert len(rest) == 3_000_000


def test_what_was_cut_off_is_not_taken_for_a_whole(stock: Replica, files: Files) -> None:
    with socket.create_connection(split(stock.sidecar.inbound), 10) as sock:
        tls = files.context().wrap_socket(sock, server_hostname=NAME)
        tls.sendall(b'{"do": "swap", "reply": 10}\nhalf of it')
        raw = socket.socket(fileno=tls.detach())
        raw.settimeout(10)
        raw.shutdown(socket.SHUT_WR)  # FIN without close_notify, as anybody in between could send it
        with raw, pytest.raises(ConnectionResetError):
            read_all(raw)
    eventually(lambda: stock.sidecar.statistics()["inbound"]["tcp"] == 0, "the connection has ended")


def test_a_stock_grpc_client(mesh: Mesh, files: Files) -> None:
    mesh.apply(service("echo"))
    echo = mesh.replicas("echo", 1, sidecar_flags=files.flags())[0]
    credentials = grpc.ssl_channel_credentials(files.authority.cert_pem.bytes())
    name = ("grpc.ssl_target_name_override", NAME)
    with Client(echo.sidecar.inbound, name, credentials=credentials) as client:
        for size in (0, 1, 100_000, 4_000_000):
            body = os.urandom(size)
            assert client.call("Echo", body) == body
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda n: client.call("Echo", b"%d" % n), range(500))) == {b"%d" % n
                                                                                           for n in range(500)}
    # Sidecars and others who speak no TLS are served at the same port.
    with Client(echo.sidecar.inbound) as client:
        assert client.call("Echo", b"plain") == b"plain"
    web = mesh.sidecar("web", "web-0", outbound=["echo"])
    mesh.wait_seen(web, "echo")
    with Client(web.outbound("echo")) as client:
        assert client.call("Echo", b"through two sidecars") == b"through two sidecars"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_agrees_on_what_to_speak(shop: Replica, files: Files, tmp_path: Path, flag: str, version: str) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(files.authority.cert_pem.bytes())
    host, port = split(shop.sidecar.inbound)
    said = subprocess.run(
        ["curl", "-sS", flag, "--cacert", str(authority), "--resolve", f"{NAME}:{port}:{host}",
         "-w", "\n%{http_version} %{http_code}", f"https://{NAME}:{port}/whoami", f"https://{NAME}:{port}/whoami"],
        capture_output=True, text=True, timeout=20, check=False)
    assert said.stdout == f"shop-0\n{version} 200" * 2, said.stderr


def test_one_process_goes_and_the_next_takes_over_without_a_failed_handshake(mesh: Mesh, files: Files) -> None:
    mesh.apply(service("cart", "HTTP1"))
    cart = mesh.replicas("cart", 1, kind="http1", protocol="http1", sidecar_flags=files.flags())[0]
    failures: list[BaseException] = []
    done = 0
    stop = False

    def load() -> None:
        nonlocal done
        while not stop:
            try:
                with dial(cart, files.context()) as tls:
                    client = http.client.HTTPConnection("cart")
                    client.sock = tls
                    for _ in range(3):
                        client.request("GET", "/whoami")
                        assert client.getresponse().read() == b"cart-0"
                        done += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failures.append(error)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(load) for _ in range(2)]
        eventually(lambda: done > 20, "requests flow")
        successor = cart.sidecar.successor()
        mesh.processes.append(successor)
        cart.sidecar.wait_end()
        before = done
        eventually(lambda: done > before + 20, "requests flow through the next process")
        stop = True
        for job in jobs:
            job.result(20)
    assert failures == []
    cart.sidecar = successor


def test_a_new_certificate_is_used_without_a_restart(mesh: Mesh, tmp_path: Path) -> None:
    files = Files(tmp_path)
    mesh.apply(service("fresh", "HTTP1"))
    fresh = mesh.replicas("fresh", 1, kind="http1", protocol="http1", sidecar_flags=files.flags())[0]
    with dial(fresh, files.context()):
        pass
    files.write("other.test")

    def renewed() -> bool:
        try:
            with dial(fresh, files.context(), "other.test"):
                return True
        except ssl.SSLCertVerificationError:
            return False

    eventually(renewed, "the new certificate is shown", 20)


def test_tls_can_be_required(mesh: Mesh, files: Files) -> None:
    mesh.apply(service("vault", "HTTP1"))
    vault = mesh.replicas("vault", 1, kind="http1", protocol="http1",
                          sidecar_flags=files.flags("--tls-required"))[0]
    with dial(vault, files.context()) as tls:
        tls.sendall(b"GET /whoami HTTP/1.1\r\nHost: vault\r\n\r\n")
        assert tls.recv(15) == b"HTTP/1.1 200 OK"
    with socket.create_connection(split(vault.sidecar.inbound), 10) as sock:
        sock.sendall(b"GET /whoami HTTP/1.1\r\nHost: vault\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert vault.sidecar.statistics()["inbound"]["inspector"]["without_tls"] == 1


def test_nonsense_and_handshakes_that_stop_leave_nothing(shop: Replica, files: Files) -> None:
    address = split(shop.sidecar.inbound)
    before = shop.sidecar.statistics()["inbound"]["inspector"]["tls_handshakes_failed"]
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        files.context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname=NAME).do_handshake()
    greeting = hello.read()
    for octets in (greeting[:40], greeting, greeting + b"nonsense" * 10, b"\x16\x03\x01\xff\xff" + bytes(100),
                   bytes([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0])):
        with socket.create_connection(address, 10) as sock:
            sock.sendall(octets)
    eventually(lambda: shop.sidecar.statistics()["inbound"]["inspector"]["tls_handshakes_failed"] == before + 5,
               "all of them are given up")
    eventually(lambda: shop.sidecar.statistics()["inbound"]["inspector"]["inspecting"] == 0, "none is held")
    with dial(shop, files.context()) as tls:
        tls.sendall(b"GET /whoami HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert tls.recv(15) == b"HTTP/1.1 200 OK"


def test_a_certificate_that_is_none_stops_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate\n")
    said = subprocess.run([*SIDECAR, "--service", "cart", "--app", "1", "--tls-certificate", str(wrong), "--tls-key",
                           str(wrong)], capture_output=True, text=True, timeout=30, check=False)
    assert said.returncode == 2
    assert said.stderr == (f"mesh sidecar: --tls-certificate {wrong}, --tls-key {wrong}: no certificate and key in "
                           "PEM\n")
