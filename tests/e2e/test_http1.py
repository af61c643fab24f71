"""HTTP/1.1 apps and HTTP/1.1 callers, with and without sidecars between them, on real processes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import endpoint_pb2


class Shop:
    """Two instances of `shop` behind sidecars, and the sidecar of `web`, which calls them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        mesh.apply(service("shop", "HTTP1"))
        self.replicas = mesh.replicas("shop", 2, kind="http1", protocol="http1")
        self.web = mesh.sidecar("web", "web-0", outbound=["shop"], shared=True)
        mesh.wait_seen(self.web, "shop")
        self.address = split(self.web.outbound("shop"))

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=10)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> tuple[int, bytes]:
        with closing(self.client()) as client:
            client.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
            answer = client.getresponse()
            return answer.status, answer.read()


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def raw(address: tuple[str, int], octets: bytes) -> bytes:
    """All that comes back for these octets, to the end of the connection."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(octets)
        answer = b""
        while data := sock.recv(65_536):
            answer += data
        return answer


@pytest.fixture(scope="module")
def shop(make_mesh: Callable[[], Mesh]) -> Iterator[Shop]:
    return Shop(make_mesh())


def test_every_request_of_a_connection_is_balanced(shop: Shop) -> None:
    with closing(shop.client()) as client:
        seen: Counter[bytes] = Counter()
        for _ in range(60):
            client.request("GET", "/whoami")
            seen[client.getresponse().read()] += 1
        assert set(seen) == {b"shop-0", b"shop-1"}


def test_what_the_app_sees_is_what_the_caller_sent(shop: Shop) -> None:
    with closing(shop.client()) as client:
        client.request("PUT", "/echo?a=1&b=%20", b"hello", {
            "Host": "shop.example:81", "X-Thing": "a, b", "Cookie": "a=1; b=2", "Connection": "x-hop",
            "X-Hop": "secret", "TE": "trailers"})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello")
        seen = json.loads(answer.getheader("x-request") or "")
        fields = {name.lower(): value for name, value in seen["fields"]}
        assert (seen["method"], seen["target"]) == ("PUT", "/echo?a=1&b=%20")
        assert fields["host"] == "shop.example:81"
        assert (fields["x-thing"], fields["cookie"], fields["content-length"]) == ("a, b", "a=1; b=2", "5")
        assert "x-hop" not in fields
        assert fields["traceparent"].startswith("00-")


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies(shop: Shop, size: int, chunked: bool) -> None:
    body = hashlib.shake_128(b"body").digest(min(size, 65_536)) * (size // 65_536 + 1)
    body = body[:size]
    with closing(shop.client()) as client:
        pieces = iter([body[at:at + 30_000] for at in range(0, size, 30_000)]) if chunked else body
        client.request("POST", "/echo", pieces, encode_chunked=chunked,
                       headers={"Transfer-Encoding": "chunked"} if chunked else {})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, body)


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_statuses_and_bodiless_answers_keep_the_connection(shop: Shop, status: int) -> None:
    with closing(shop.client()) as client:
        for method in ("POST", "HEAD", "POST"):
            client.request(method, f"/status/{status}")
            answer = client.getresponse()
            assert answer.status == status
            body = answer.read()
            assert (body == b"") == (status in (204, 304) or method == "HEAD")


def test_chunks_and_trailers_reach_the_caller(shop: Shop) -> None:
    answer = raw(shop.address, b"GET /chunks/40 HTTP/1.1\r\nHost: shop\r\nTE: trailers\r\nConnection: close\r\n\r\n")
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding: chunked" in head.lower()
    assert rest.count(b"c") == 40_000 + rest.count(b"x-count")
    assert rest.endswith(b"0\r\nx-count: 40\r\n\r\n")


def test_a_body_that_ends_with_the_connection(shop: Shop) -> None:
    assert shop.ask("/until-close") == (200, b"u" * 100_000)


def test_http_1_0(shop: Shop) -> None:
    answer = raw(shop.address, b"GET /chunks/3 HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"c" * 3000
    with socket.create_connection(shop.address, timeout=10) as sock:
        for _ in range(2):
            sock.sendall(b"GET /status/200 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head = sock.recv(65_536)
            assert b"connection: keep-alive" in head.lower()


def test_pipelined_requests_are_answered_in_order(shop: Shop) -> None:
    asked = b"".join(b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\n\r\nnum%03d" % n for n in range(50))
    answer = raw(shop.address, asked + b"GET /whoami HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 51
    places = [answer.index(b"num%03d" % n) for n in range(50)]
    assert places == sorted(places)


def test_expect_100_continue(shop: Shop) -> None:
    with socket.create_connection(shop.address, timeout=10) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 100 Continue\r\n")
        sock.sendall(b"body")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_early_hints_pass(shop: Shop) -> None:
    answer = raw(shop.address, b"GET /early HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert answer.endswith(b"late")


def test_websocket(shop: Shop) -> None:
    key = base64.b64encode(b"0123456789abcdef")
    with socket.create_connection(shop.address, timeout=10) as sock:
        sock.sendall(b"GET /socket HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        head = sock.recv(65_536)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert b"sec-websocket-accept: " + accept in head.lower().replace(accept.lower(), accept)
        for n in range(20):
            sock.sendall(b"frame %d" % n)
            assert sock.recv(65_536) == b"frame %d" % n
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65_536) == b""


def test_a_connection_that_the_app_closes_after_an_answer_is_not_used_again(shop: Shop) -> None:
    with closing(shop.client()) as client:
        for _ in range(6):
            client.request("GET", "/once")
            assert client.getresponse().read() == b"once"


def test_an_idle_connection_that_the_app_gave_up_costs_no_request(shop: Shop) -> None:
    """The app closes after 20 ms without a word; what is asked then goes over a new connection."""
    quiet = threading.Event()
    with closing(shop.client()) as client:
        for _ in range(12):
            client.request("GET", "/idle/0.02")
            answer = client.getresponse()
            assert (answer.status, len(answer.read())) == (200, 6)
            quiet.wait(0.025)


def test_no_answer_is_a_failure_with_its_reason(shop: Shop) -> None:
    answer = raw(shop.address, b"GET /drop HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"mesh-reason: upstream_connection_lost" in answer.lower()


@pytest.mark.parametrize("octets", [
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"\x00\x01\x02nonsense that is no protocol\r\n\r\n",
])
def test_what_is_ambiguous_is_refused(shop: Shop, octets: bytes) -> None:
    answer = raw(shop.address, octets)
    assert answer[:9] == b"HTTP/1.1 "
    assert answer[9:12] in (b"400", b"501")
    assert b"connection: close" in answer.lower()


def test_the_shared_port_goes_by_host(shop: Shop) -> None:
    address = split(shop.web.shared)
    answer = raw(address, b"GET /whoami HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"shop-" in answer
    answer = raw(address, b"GET /whoami HTTP/1.1\r\nHost: nobody.here!\r\nConnection: close\r\n\r\n")
    assert answer[9:12] in (b"400", b"404")


def test_the_two_sidecars_share_few_connections(shop: Shop) -> None:
    """Forty calls at once ride one HTTP/2 connection to each callee's sidecar."""
    def ask() -> None:
        answers.append(shop.ask("/pause/0.3"))

    answers: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    eventually(lambda: shop.web.statistics()["outbound"][0]["http"]["active"] == 40, "all are under way")
    inbound = [replica.sidecar.statistics()["inbound"]["http"]["connections"] for replica in shop.replicas]
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 40
    assert all(connections <= 2 for connections in inbound)


def test_an_endpoint_without_a_sidecar_is_spoken_to_in_its_own_protocol(shop: Shop) -> None:
    app = shop.mesh.app("plain-0", kind="http1")
    shop.mesh.apply(service("plain", "HTTP1"), endpoints=[
        endpoint_pb2.Endpoint(service="plain", name="plain-0", host="127.0.0.1", port=app.port)])
    answer = b""

    def served() -> bool:
        nonlocal answer
        answer = raw(split(shop.web.shared), b"GET /whoami HTTP/1.1\r\nHost: plain\r\nConnection: close\r\n\r\n")
        return answer.startswith(b"HTTP/1.1 200 ")

    eventually(served, "the endpoint has been discovered")
    assert answer.endswith(b"plain-0")


def test_the_trace_says_http_1_1(shop: Shop) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    shop.ask("/whoami", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    spans = shop.mesh.trace(trace, 2)
    kinds = {span.kind: span for span in spans}
    assert len(kinds) == 2
    assert all("GET" in span.name for span in spans)


def sidecars(shop: Shop) -> list[Sidecar]:
    return [shop.web, *(replica.sidecar for replica in shop.replicas)]


def test_callers_that_vanish_leave_nothing(shop: Shop) -> None:
    for n in range(30):
        with socket.create_connection(shop.address, timeout=10) as sock:
            sock.sendall(b"POST /echo HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n"[:10 + 3 * n])
            if n % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    for sidecar in sidecars(shop):
        sidecar.wait_idle()
