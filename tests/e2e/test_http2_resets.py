"""HTTP/2 against an independent peer (the `h2` package): resets, GOAWAY, lost connections, limits, statuses."""

from __future__ import annotations

import socket
import struct
import threading

import h2.errors
import h2.events
import pytest
from e2e_h2peer import GET, POST, Gone, Peer, serve
from e2e_h2stage import OK, Stager, echo, reset_code

pytestmark = pytest.mark.e2e


# -- resets


@pytest.mark.parametrize("when", ["after headers", "in the body", "after the request", "in the response"])
def test_reset_by_the_caller_reaches_the_endpoint(stage: Stager, when: str) -> None:
    arrived = threading.Event()
    resets: list[int] = []

    def script(peer: Peer) -> None:
        stream = peer.wait(h2.events.RequestReceived).stream_id
        if when == "in the body":
            peer.wait(h2.events.DataReceived)
        if when == "in the response":
            peer.h2.send_headers(stream, OK)
            peer.h2.send_data(stream, b"part")
            peer.flush()
        arrived.set()
        resets.append(reset_code(peer, stream))
        echo(peer, peer.wait(h2.events.RequestReceived))  # the connection goes on

    at = stage(script)
    peer = at.dial()
    stream = peer.request(at.head(POST), end=when in ("after the request", "in the response"))
    if when == "in the body":
        peer.h2.send_data(stream, b"part")
        peer.flush()
    if when == "in the response":
        peer.wait(h2.events.DataReceived, stream)
    assert arrived.wait(5)
    peer.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    peer.flush()
    assert peer.answer(peer.request(at.head(GET, (b"x-next", b"1"))))[0][b"x-next"] == b"1"
    assert resets == [h2.errors.ErrorCodes.CANCEL]


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_caller_that_vanishes_resets_its_streams_at_the_endpoint(stage: Stager, how: str) -> None:
    """In each state of a request; others' requests go on over the same upstream connection."""
    resets: list[int] = []
    arrived = threading.Barrier(2)

    def script(peer: Peer) -> None:
        streams = [peer.wait(h2.events.RequestReceived).stream_id for _ in range(3)]
        peer.h2.send_headers(streams[2], OK)
        peer.flush()
        arrived.wait(5)
        for stream in streams:
            resets.append(reset_code(peer, stream))
        echo(peer, peer.wait(h2.events.RequestReceived))

    at = stage(script)
    peer, other = at.dial(), at.dial()
    peer.request(at.head(POST), end=False)
    half = peer.request(at.head(POST), end=False)
    peer.h2.send_data(half, b"half")
    answered = peer.request(at.head(GET))
    peer.wait(h2.events.ResponseReceived, answered)
    arrived.wait(5)
    if how == "half-close":
        peer.sock.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    assert other.answer(other.request(at.head(GET, (b"x-next", b"1"))))[0][b"x-next"] == b"1"
    assert resets == [h2.errors.ErrorCodes.CANCEL] * 3
    assert at.backends[0].connections == 1


def test_reset_by_the_endpoint_before_its_answer(stage: Stager) -> None:
    """502 with the reason; a POST is not repeated, for it may have run."""
    def refuse(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()

    at = stage(serve(refuse), serve(refuse))
    peer = at.dial()
    headers, body = peer.answer(peer.request(at.head(POST)))
    assert (headers[b":status"], headers[b"mesh-reason"], body) == (b"502", b"upstream_reset", b"")
    assert sum(backend.connections for backend in at.backends) == 1


def test_a_get_that_is_reset_is_asked_for_again(stage: Stager) -> None:
    def refuse(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()

    at = stage(serve(refuse), serve(refuse))
    peer = at.dial()
    headers, _ = peer.answer(peer.request(at.head(GET)))
    assert (headers[b":status"], headers[b"mesh-reason"]) == (b"502", b"upstream_reset")
    assert sum(backend.connections for backend in at.backends) == 2


def test_reset_by_the_endpoint_in_its_answer(stage: Stager) -> None:
    def break_off(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.send_headers(request.stream_id, OK)
        peer.h2.send_data(request.stream_id, b"half")
        peer.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()

    at = stage(serve(break_off))
    peer = at.dial()
    stream = peer.request(at.head(GET))
    assert dict(peer.wait(h2.events.ResponseReceived, stream).headers)[b":status"] == b"200"
    assert reset_code(peer, stream) == h2.errors.ErrorCodes.INTERNAL_ERROR
    assert not peer.closed


def test_refused_stream_goes_elsewhere(stage: Stager) -> None:
    """REFUSED_STREAM: not processed, so even a POST with a body is repeated (RFC 9113 8.7)."""
    def refuse(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        peer.flush()

    at = stage(serve(refuse), serve(echo), balance={"algorithm": "ALGORITHM_ROUND_ROBIN"})
    peer = at.dial()
    for n in range(4):
        stream = peer.request(at.head(POST, (b"x-n", b"%d" % n)), end=False)
        peer.send_all(stream, b"body %d" % n)
        headers, body = peer.answer(stream)
        assert (headers[b":status"], headers.get(b"x-n"), body) == (b"200", b"%d" % n, b"body %d" % n)


# -- GOAWAY and lost connections


def test_streams_above_goaways_last_id_are_repeated(stage: Stager) -> None:
    """Three requests, GOAWAY names the first: that one is answered, the others come again on a new connection."""
    served: list[bytes] = []

    def script(peer: Peer) -> None:
        requests = [peer.wait(h2.events.RequestReceived) for _ in range(3 if not served else 1)]
        first = requests[0]
        if len(requests) == 3:
            peer.raw(b"\0\0\x08\7\0\0\0\0\0" + first.stream_id.to_bytes(4, "big") + bytes(4))
            served.append(dict(first.headers)[b"x-n"])
            peer.respond(first.stream_id, [*OK, (b"x-n", served[0])])
            while True:
                peer.read(5)
        while True:
            served.append(dict(first.headers)[b"x-n"])
            echo(peer, first)
            first = peer.wait(h2.events.RequestReceived, timeout=30)

    at = stage(script)
    peer = at.dial()
    streams = [peer.request(at.head(POST, (b"x-n", b"%d" % n))) for n in range(3)]
    for n, stream in enumerate(streams):
        headers, _ = peer.answer(stream)
        assert (headers[b":status"], headers.get(b"x-n")) == (b"200", b"%d" % n)
    assert sorted(served) == [b"0", b"1", b"2"]
    assert at.backends[0].connections == 2


def test_graceful_goaway_moves_new_requests(stage: Stager) -> None:
    """GOAWAY 2^31-1: what is open is finished, what comes next takes a new connection."""
    def script(peer: Peer) -> None:
        first = peer.wait(h2.events.RequestReceived, timeout=30)
        peer.raw(b"\0\0\x08\7\0\0\0\0\0\x7f\xff\xff\xff" + bytes(4))
        peer.h2.ping(b"goawayed")
        peer.wait(h2.events.PingAckReceived)
        echo(peer, first)
        while True:
            peer.read(30)

    at = stage(script)
    peer = at.dial()
    for n in range(3):
        stream = peer.request(at.head(POST, (b"x-n", b"%d" % n)))
        assert peer.answer(stream)[0][b"x-n"] == b"%d" % n
    assert at.backends[0].connections == 3


def test_connection_lost_in_the_answer(stage: Stager) -> None:
    """Nothing can be repeated: the caller's stream is reset, its connection stays."""
    passed_on = threading.Event()

    def drop(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.send_headers(request.stream_id, OK)
        peer.h2.send_data(request.stream_id, b"half")
        peer.flush()
        passed_on.wait(5)
        raise Gone

    at = stage(serve(drop))
    peer = at.dial()
    stream = peer.request(at.head(GET))
    assert dict(peer.wait(h2.events.ResponseReceived, stream).headers)[b":status"] == b"200"
    passed_on.set()
    reset_code(peer, stream)
    peer.h2.ping(b"12345678")
    peer.wait(h2.events.PingAckReceived)


def test_connection_lost_before_the_answer(stage: Stager) -> None:
    def drop(peer: Peer, request: h2.events.RequestReceived) -> None:
        raise Gone

    at = stage(serve(drop), serve(drop))
    peer = at.dial()
    headers, _ = peer.answer(peer.request(at.head(POST)))
    assert (headers[b":status"], headers[b"mesh-reason"]) == (b"502", b"upstream_connection_lost")
    assert sum(backend.connections for backend in at.backends) == 1
    headers, _ = peer.answer(peer.request(at.head(POST, (b"idempotency-key", b"k"))))
    assert headers[b":status"] == b"502"
    assert sum(backend.connections for backend in at.backends) == 4, "three attempts"


def test_endpoint_that_speaks_no_http2(stage: Stager) -> None:
    def script(peer: Peer) -> None:
        raise AssertionError("never called")

    at = stage(script)
    at.backends[0].script = lambda peer: None
    at.backends[0]._serve = lambda sock: (sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), sock.close())  # type: ignore
    peer = at.dial()
    headers, _ = peer.answer(peer.request(at.head(GET)))
    assert headers[b":status"] in (b"502", b"503")
    assert headers[b"mesh-reason"].startswith(b"upstream_")


@pytest.mark.parametrize("bad", [
    [(b":status", b"200"), (b"Upper", b"case")], [(b"content-type", b"none")], [(b":status", b"20x")],
    [(b":status", b"200"), (b"connection", b"close")], [(b":status", b"200"), (b"content-length", b"5")]])
def test_malformed_answers_are_not_passed_on(stage: Stager, bad: list[tuple[bytes, bytes]]) -> None:
    """RFC 9113 8.1.1: a stream error towards the endpoint, 502 towards the caller (or a reset once it has begun)."""
    def script(peer: Peer) -> None:
        while True:
            stream = peer.wait(h2.events.RequestReceived, timeout=30).stream_id
            block = b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in bad)
            peer.raw(len(block).to_bytes(3, "big") + b"\1\5" + stream.to_bytes(4, "big") + block)

    at = stage(script)
    peer = at.dial()
    stream = peer.request(at.head(GET))
    try:
        headers, _ = peer.answer(stream)
        assert headers[b":status"] == b"502", headers
        assert headers[b"mesh-reason"] == b"upstream_protocol_error"
    except Gone:
        assert bad[-1][0] == b"content-length", "headers that are all right, a body that is too short"


# -- limits and policies


def test_max_concurrent_streams_of_the_endpoint(stage: Stager) -> None:
    """2 per connection: twenty requests wait for their turn, and none is lost to what a new connection can't know yet.

    What comes before the endpoint's SETTINGS can have been read is refused, as RFC 9113 5.1.2 has it.
    """
    most = [0]

    def script(peer: Peer) -> None:
        peer.raw(b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\2")
        open_: list[int] = []
        while True:
            peer.read(0.01 if open_ else 60)
            came = [event.stream_id for event in peer.events if isinstance(event, h2.events.RequestReceived)]
            peer.events.clear()
            for stream in came[max(0, 2 - len(open_)):]:
                peer.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            open_ += came[:max(0, 2 - len(open_))]
            most[0] = max(most[0], len(open_))
            if open_:
                peer.respond(open_.pop(0), OK, b"done")

    at = stage(script)
    peer = at.dial()
    streams = [peer.request(at.head(GET)) for _ in range(20)]
    answers = [peer.answer(stream) for stream in streams]
    assert [headers[b":status"] for headers, _ in answers] == [b"200"] * 20
    assert most[0] <= 2
    assert at.backends[0].connections <= 8


def test_http_status_is_the_outcome(stage: Stager) -> None:
    """503 is repeated elsewhere with an idempotency key, passed on without one; 404 is nobody's failure."""
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, [(b":status", b"503")])), serve(echo),
               balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}, outlier={"consecutive_failures": 0})
    peer = at.dial()
    statuses = [peer.answer(peer.request(at.head(POST)))[0][b":status"] for _ in range(6)]
    assert sorted(statuses) == [b"200"] * 3 + [b"503"] * 3
    keyed = [peer.answer(peer.request(at.head(POST, (b"idempotency-key", b"k"))))[0][b":status"] for _ in range(6)]
    assert keyed == [b"200"] * 6


def test_request_timeout_is_a_504(stage: Stager) -> None:
    at = stage(serve(lambda peer, request: None), timeout={"request": "0.3s"})
    peer = at.dial()
    headers, _ = peer.answer(peer.request(at.head(GET)))
    assert (headers[b":status"], headers[b"mesh-reason"]) == (b"504", b"deadline_exceeded")


def test_unknown_authority_is_a_404(stage: Stager) -> None:
    peer = stage(serve(echo)).dial()
    for authority in (b"nobody-here", b"example.com"):
        headers, _ = peer.answer(peer.request([*GET, (b":authority", authority)]))
        assert (headers[b":status"], headers[b"mesh-reason"]) == (b"404", b"no_route")
