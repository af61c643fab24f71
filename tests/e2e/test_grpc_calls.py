"""A stock grpcio client and server through two sidecars: what gRPC promises holds as if nothing stood between them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import grpc
import pytest
from e2e_calls import Client, trailers
from e2e_mesh import Mesh, Replica
from e2e_processes import Sidecar, eventually
from google.protobuf import wrappers_pb2
from grpc_status import rpc_status

pytestmark = pytest.mark.e2e
MIB = 1 << 20


class Path(NamedTuple):
    """caller ─ web's sidecar (outbound) ─ echo's sidecar (inbound) ─ app."""

    mesh: Mesh
    web: Sidecar
    echo: Replica

    @property
    def target(self) -> str:
        return self.web.outbound("echo")


@pytest.fixture(scope="module")
def path(mesh: Mesh) -> Path:
    [echo] = mesh.replicas("echo", 1)
    web = mesh.sidecar("web", "web-0", outbound=["echo"], shared=True)
    mesh.wait_seen(web, "echo")
    return Path(mesh, web, echo)


@pytest.fixture
def client(path: Path, connect: Callable[..., Client]) -> Client:
    return connect(path.target)


def test_unary_call_comes_back_unchanged(client: Client) -> None:
    for payload in (b"", b"x", bytes(range(256)), os.urandom(16_384), os.urandom(16_385)):
        assert client.call("Echo", payload) == payload


def test_server_stream_arrives_whole_and_in_order(client: Client) -> None:
    messages = list(client.serve("Count", json.dumps({"n": 2000, "size": 100}).encode()))
    assert [int.from_bytes(message[:8], "big") for message in messages] == list(range(2000))
    assert {len(message) for message in messages} == {100}


def test_empty_server_stream(client: Client) -> None:
    assert list(client.serve("Count", b'{"n": 0}')) == []


def test_client_stream_arrives_whole_and_in_order(client: Client) -> None:
    chunks = [os.urandom(1000) for _ in range(2000)]
    report = client.collect(chunks)
    assert (report["messages"], report["bytes"]) == (2000, 2_000_000)
    assert report["sha256"] == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_empty_client_stream(client: Client) -> None:
    assert client.collect([])["messages"] == 0


def test_bidi_stream_answers_message_by_message(client: Client) -> None:
    answered = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for i in range(200):
            assert answered.acquire(timeout=10)  # the next one goes out only after the answer to the last
            yield b"%d" % i

    answers = []
    for answer in client.chat(requests()):
        answers.append(answer)
        answered.release()
    assert answers == [b"%d" % i for i in range(200)]


def test_idle_bidi_stream_stays_open(client: Client) -> None:
    go_on = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"before"
        go_on.wait(20)
        yield b"after"

    stream = client.chat(requests())
    assert next(stream) == b"before"
    threading.Timer(3, go_on.set).start()
    assert next(stream) == b"after"
    assert list(stream) == []


def test_messages_of_20_mib_both_ways(client: Client) -> None:
    payload = os.urandom(20 * MIB)
    assert client.call("Echo", payload, timeout=60) == payload


def test_large_messages_in_parallel(client: Client) -> None:
    payloads = [os.urandom(3 * MIB) for _ in range(8)]
    calls = [client.method("Echo").future(payload, timeout=60) for payload in payloads]
    for call, payload in zip(calls, payloads, strict=True):
        assert call.result() == payload


def test_metadata_with_binary_values(client: Client) -> None:
    binary = bytes(range(256))
    sent = [("echo-text", "plain, with commas and = signs"), ("echo-twice", "one"), ("echo-twice", "two"),
            ("echo-raw-bin", binary), ("echo-empty-bin", b""), ("echo-empty", ""), ("other-bin", b"\0\1")]
    reply, call = client.method("Metadata").with_call(b"", timeout=10, metadata=sent)
    seen = [(key, base64.b64decode(value)) for key, value in json.loads(reply)]
    for key, value in sent:
        assert (key, value if isinstance(value, bytes) else value.encode()) in seen
    echoed = [pair for pair in sent if pair[0].startswith("echo-")]
    for got in (call.initial_metadata(), call.trailing_metadata()):
        assert [(key, value) for key, value in got if key.startswith("echo-")] == echoed


def test_metadata_near_the_limit(client: Client) -> None:
    """64 KiB in all, 32 octets counted per field; what the mesh adds has to fit as well."""
    value = "v" * 64_000
    assert base64.b64encode(value.encode()).decode() in client.call("Metadata", metadata=[("large", value)]).decode()


def test_what_one_sidecar_takes_the_next_takes_too(path: Path, client: Client) -> None:
    """Around 64 KiB a call passes, or the caller's own sidecar refuses it; it is never held against the endpoint."""
    calls = {size: client.method("Whoami").future(b"", timeout=10, metadata=[("large", "v" * size)])
             for size in range(64_300, 66_000, 50)}
    failed = {size: trailers(call) for size, call in calls.items() if call.exception() is not None}
    assert failed, "the limit is near 64 KiB"
    assert {size: why for size, why in failed.items() if "mesh-reason" in why} == {}
    assert [node["consecutive_failures"] for node in path.web.endpoints("echo").values()] == [0]


@pytest.mark.parametrize("size", [1_000, 15_000, 30_000])
def test_large_metadata(client: Client, size: int) -> None:
    """Beyond 16,384 bytes a header block needs CONTINUATION frames. The answer carries it twice."""
    value = base64.b64encode(os.urandom(size))[:size].decode()
    _, call = client.method("Metadata").with_call(b"", timeout=10, metadata=[("echo-large", value)])
    assert dict(call.initial_metadata())["echo-large"] == value
    assert dict(call.trailing_metadata())["echo-large"] == value


def test_too_large_metadata_fails_this_call_only(client: Client) -> None:
    """More than the 64 KiB that the codec allows for a header list."""
    slow = client.method("Pause").future(b"1", timeout=10)
    error = client.code("Echo", b"", timeout=10, metadata=[(f"key-{i}", "v" * 8000) for i in range(12)])
    assert error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    assert slow.result() == b"echo-0"
    assert client.call("Echo", b"still here") == b"still here"


def test_metadata_of_the_mesh_stays_out_of_the_apps_sight(client: Client) -> None:
    seen = {key for key, _ in json.loads(client.call("Metadata"))}
    assert "mesh-not-delivered" not in seen
    assert "traceparent" in seen


# -- deadlines and cancellation


def test_deadline_is_passed_on_shrunk(client: Client) -> None:
    left = float(client.call("Remaining", timeout=5))
    assert 4 < left < 5.02  # gRPC core rounds what it sends up to 10 ms
    assert client.method("Remaining")(b"") == b"none"


def test_deadline_ends_a_silent_call(path: Path, client: Client) -> None:
    started = time.monotonic()
    error = client.code("Sleep", timeout=0.5)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.4 < time.monotonic() - started < 2
    eventually(lambda: client.stats()["sleeping"] == 0, "the app's handler is cancelled")
    path.web.wait_idle()


def test_cancel_reaches_the_app(path: Path, client: Client) -> None:
    before = client.stats()["cancelled"]
    call = client.method("Sleep").future(b"", timeout=30)
    eventually(lambda: client.stats()["sleeping"] == 1, "the call is at the app")
    call.cancel()
    eventually(lambda: client.stats()["sleeping"] == 0, "the app sees the cancellation", 3)
    assert client.stats()["cancelled"] == before + 1
    path.web.wait_idle()
    path.echo.sidecar.wait_idle()


def test_cancel_in_the_middle_of_an_endless_stream(path: Path, client: Client) -> None:
    stream = client.serve("Endless", b"", timeout=30)
    for _ in range(100):
        next(stream)
    stream.cancel()
    eventually(lambda: client.stats()["endless"] == 0, "the app sees the cancellation", 3)
    path.web.wait_idle()
    path.echo.sidecar.wait_idle()


def test_slow_reader_holds_the_app_back_and_nobody_else(path: Path, client: Client,
                                                        connect: Callable[..., Client]) -> None:
    """Back-pressure: with nobody reading, what the app can send is bounded by windows and buffers."""
    lazy = connect(path.target, ("grpc.http2.bdp_probe", 0))
    stream = lazy.serve("Endless", b"", timeout=60)
    next(stream)

    def sent() -> int:
        return client.stats()["endless sent"]

    def stalled() -> bool:
        before = sent()
        time.sleep(0.3)
        return sent() == before

    eventually(stalled, "the app is held back", 20)
    assert client.call("Echo", bytes(MIB)) == bytes(MIB)
    assert lazy.call("Echo", b"same connection") == b"same connection"
    assert path.web.resident_kib() < 80 * 1024
    stream.cancel()
    eventually(lambda: client.stats()["endless"] == 0, "the app sees the cancellation", 5)


# -- errors


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_comes_back_unchanged(client: Client, code: grpc.StatusCode) -> None:
    """Trailers-only answers: status and a message that needs percent-encoding."""
    message = "100 % wrong: ümläut → ☃\nsecond line"
    error = client.code("Fail", json.dumps({"code": code.value[0], "message": message}).encode())
    assert error.code() is code
    assert error.details() == message
    assert "mesh-reason" not in trailers(error), "it is the app's error, not the mesh's"


def test_error_details(client: Client) -> None:
    error = client.code("Fail", json.dumps({"code": 9, "message": "no", "details": "because ☃"}).encode())
    status = rpc_status.from_call(error)
    assert status is not None
    assert (status.code, status.message) == (9, "no")
    value = wrappers_pb2.StringValue()
    assert status.details[0].Unpack(value)
    assert value.value == "because ☃"


def test_error_in_the_middle_of_a_stream(client: Client) -> None:
    stream = client.serve("Count", b'{"n": 10, "fail_after": 4}')
    messages = []
    with pytest.raises(grpc.RpcError) as caught:
        messages.extend(stream)
    assert len(messages) <= 4
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert caught.value.details() == "lost after 4"


def test_early_error_stops_the_upload(path: Path, client: Client) -> None:
    """The status comes before the client has sent everything, and sending ends."""
    sent = [0]

    def requests() -> Iterator[bytes]:
        while True:
            sent[0] += 1
            yield bytes(100_000)

    with pytest.raises(grpc.RpcError) as caught:
        client.channel.stream_unary("/test.Echo/Reject")(requests(), timeout=10)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "one is enough")
    before = eventually(lambda: sent[0], "something was sent")
    path.web.wait_idle()
    path.echo.sidecar.wait_idle()
    assert sent[0] <= before + 20


def test_method_that_does_not_exist(client: Client) -> None:
    error = client.code("Nothing")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "mesh-reason" not in trailers(error)


# -- many


def test_400_calls_at_one_time(client: Client) -> None:
    """All are in the app together before one of them is answered."""
    calls = [client.method("Barrier").future(b"400", timeout=30) for _ in range(400)]
    assert {call.result() for call in calls} == {b"through"}


def test_more_calls_than_streams_fit_one_connection(client: Client) -> None:
    """A sidecar allows 1,000 streams per connection; the rest wait in the caller or take a second connection."""
    calls = [client.method("Pause").future(b"1", timeout=30) for _ in range(1500)]
    assert {call.result() for call in calls} == {b"echo-0"}


def test_many_calls_one_after_the_other(client: Client) -> None:
    echo = client.method("Echo")
    for i in range(3000):
        assert echo(b"%d" % i, timeout=5) == b"%d" % i


def test_many_callers_share_the_upstream_connection(path: Path, connect: Callable[..., Client]) -> None:
    before = path.echo.sidecar.descriptors()
    clients = [connect(path.target) for _ in range(20)]
    for client in clients:
        assert client.call("Echo", b"hello") == b"hello"
    assert path.echo.sidecar.descriptors() <= before + 2


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compression_is_between_the_ends(path: Path, connect: Callable[..., Client],
                                         compression: grpc.Compression) -> None:
    payload = b"compress me " * 100_000
    assert len(gzip.compress(payload)) < len(payload) // 10
    client = connect(path.target, compression=compression)
    assert client.call("Echo", payload) == payload
    assert client.collect([payload] * 3)["sha256"] == hashlib.sha256(payload * 3).hexdigest()


# -- the shared outbound port


def test_shared_port_goes_by_authority(path: Path, connect: Callable[..., Client]) -> None:
    for authority in ("echo", "echo:80", "echo.mesh"):
        client = connect(path.web.shared, ("grpc.default_authority", authority))
        try:
            assert client.call("Whoami") == b"echo-0"
        except grpc.RpcError as error:
            pytest.fail(f"{authority}: {error.details()}")


def test_shared_port_refuses_an_unknown_service(path: Path, connect: Callable[..., Client]) -> None:
    for authority in ("nobody", "no.such.host.example", "UPPER_case!", "127.0.0.1:9"):
        error = connect(path.web.shared, ("grpc.default_authority", authority)).code("Echo", b"", timeout=5)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED, f"{authority}: {error.details()}"
        assert trailers(error).get("mesh-reason") == "no_route", authority
        assert "\n" not in error.details()


def test_shared_port_finds_a_service_that_comes_later(path: Path, connect: Callable[..., Client]) -> None:
    client = connect(path.web.shared, ("grpc.default_authority", "later"))
    assert client.code("Whoami", timeout=5).code() is grpc.StatusCode.UNIMPLEMENTED
    path.mesh.replicas("later", 1)
    path.mesh.wait_seen(path.web, "later")
    assert client.call("Whoami") == b"later-0"


def test_caller_that_vanishes_is_cleaned_up(path: Path, client: Client, connect: Callable[..., Client]) -> None:
    gone = connect(path.target)
    calls = [gone.method("Sleep").future(b"", timeout=60) for _ in range(10)]
    eventually(lambda: client.stats()["sleeping"] == 10, "ten calls are at the app")
    gone.close()
    eventually(lambda: client.stats()["sleeping"] == 0, "the app sees that nobody waits", 3)
    assert all(call.done() for call in calls)
    path.web.wait_idle()
    path.echo.sidecar.wait_idle()
