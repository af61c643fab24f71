"""HTTP/2 against an independent peer (the `h2` package), as caller and as endpoint: frames, windows, resets."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h2.errors
import h2.events
import hpack
import pytest
from e2e_h2peer import GET, POST, Backend, Gone, Headers, Peer, Script, serve
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar
from h2.settings import SettingCodes

from mesh.v1 import endpoint_pb2

pytestmark = pytest.mark.e2e
OK = [(b":status", b"200")]
_numbers = itertools.count()


class Stage(NamedTuple):
    """A caller and its endpoints. `name` goes into `:authority`."""

    sidecar: Sidecar
    name: str
    backends: list[Backend]
    settings: Any

    def dial(self, **settings: int) -> Peer:
        host, port = self.sidecar.shared.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=10)
        peer = Peer(sock, True, {SettingCodes[name]: value for name, value in settings.items()})
        _dialled.append(peer)
        return peer

    def head(self, base: Headers, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        return [*base, (b":authority", self.name.encode()), *more]


_dialled: list[Peer] = []
Staged = Callable[..., Stage]


@pytest.fixture(scope="module")
def web(mesh: Mesh) -> Sidecar:
    return mesh.sidecar("web", "web-0", shared=True)


@pytest.fixture
def stage(mesh: Mesh, web: Sidecar) -> Iterator[Staged]:
    """Make a service of protocol HTTP2 (or another) whose endpoints are scripts."""
    made: list[Backend] = []

    def make(*scripts: Script, protocol: str = "HTTP2", settings: dict[SettingCodes, int] | None = None,
             **policies: dict[str, Any]) -> Stage:
        name = f"raw-{next(_numbers)}"
        backends = [Backend(script, settings) for script in scripts]
        made.extend(backends)
        mesh.apply(service(name, protocol, **policies), endpoints=[
            endpoint_pb2.Endpoint(service=name, name=f"{name}-{n}", host="127.0.0.1", port=backend.port)
            for n, backend in enumerate(backends)])
        return Stage(web, name, backends, settings)

    yield make
    for peer in _dialled:
        peer.close()
    _dialled.clear()
    for backend in made:
        backend.close()
    web.wait_idle()


def reset_code(peer: Peer, stream: int) -> int:
    return int(peer.wait(h2.events.StreamReset, stream).error_code)


def echo(peer: Peer, request: h2.events.RequestReceived) -> None:
    """Headers `x-*` and the body back, trailers too."""
    body = peer.body(request.stream_id)
    trailers = [header for event in peer.events if isinstance(event, h2.events.TrailersReceived)
                for header in event.headers]
    headers = [header for header in request.headers if header[0].startswith(b"x-")]
    peer.respond(request.stream_id, [*OK, *headers], body, trailers)


# -- requests and responses


def test_headers_body_and_trailers_both_ways(stage: Staged) -> None:
    peer = (at := stage(serve(echo))).dial()
    stream = peer.request(at.head(POST, (b"x-one", b"1"), (b"te", b"trailers")), end=False)
    body = os.urandom(100_000)
    peer.send_all(stream, body, end=False)
    peer.h2.send_headers(stream, [(b"x-checksum", b"abc"), (b"x-raw", bytes(range(0xA0, 0xFF)))], end_stream=True)
    headers, answer = peer.answer(stream)
    assert (headers[b":status"], headers[b"x-one"]) == (b"200", b"1")
    assert answer == body
    trailers = dict(peer.wait(h2.events.TrailersReceived, stream).headers)
    assert trailers == {b"x-checksum": b"abc", b"x-raw": bytes(range(0xA0, 0xFF))}


def test_header_fields_arrive_as_they_were_sent(stage: Staged) -> None:
    """Order of equal names, cookies, odd bytes; the pseudo-header fields first; one traceparent of the mesh's."""
    seen: list[tuple[bytes, bytes]] = []

    def look(peer: Peer, request: h2.events.RequestReceived) -> None:
        seen.extend(request.headers)
        peer.respond(request.stream_id)

    at = stage(serve(look))
    peer = at.dial()
    sent = [(b"x-a", b"1"), (b"cookie", b"a=b"), (b"x-a", b"2"), (b"cookie", b"c=d"), (b"x-obs", b"\x80\xff"),
            (b"x-empty", b""), (b"user-agent", b"raw")]
    stream = peer.request(at.head([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a?b=%20&c=;")], *sent))
    assert peer.answer(stream)[0][b":status"] == b"200"
    pseudo = [name.startswith(b":") for name, _ in seen]
    assert pseudo == sorted(pseudo, reverse=True)
    assert dict(seen)[b":path"] == b"/a?b=%20&c=;"
    assert [field for field in seen if field in sent] == sent
    assert [name for name, _ in seen].count(b"traceparent") == 1
    assert b"mesh-not-delivered" not in dict(seen)


@pytest.mark.parametrize(("method", "status", "length"), [(b"HEAD", b"200", b"1000"), (b"GET", b"204", None),
                                                         (b"GET", b"304", b"1000")])
def test_answers_without_a_body(stage: Staged, method: bytes, status: bytes, length: bytes | None) -> None:
    fields = [(b":status", status)] + ([(b"content-length", length)] if length else [])
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, fields)))
    peer = at.dial()
    headers, body = peer.answer(peer.request(at.head([(b":method", method), *GET[1:]])))
    assert (headers[b":status"], body) == (status, b"")
    assert headers.get(b"content-length") == length


def test_informational_responses_are_passed_on(stage: Staged) -> None:
    def hints(peer: Peer, request: h2.events.RequestReceived) -> None:
        for n in range(2):
            peer.h2.send_headers(request.stream_id, [(b":status", b"103"), (b"link", b"<%d>" % n)])
        peer.respond(request.stream_id, OK, b"body")

    at = stage(serve(hints))
    peer = at.dial()
    stream = peer.request(at.head(GET))
    for n in range(2):
        assert dict(peer.wait(h2.events.InformationalResponseReceived, stream).headers)[b"link"] == b"<%d>" % n
    assert peer.answer(stream)[1] == b"body"


def test_never_indexed_fields_stay_never_indexed(stage: Staged) -> None:
    """RFC 7541 7.1.3: an intermediary must use the same representation."""
    kinds: list[Any] = []

    def look(peer: Peer, request: h2.events.RequestReceived) -> None:
        kinds.extend(header for header in request.headers if bytes(header[0]) == b"authorization")
        peer.respond(request.stream_id)

    at = stage(serve(look))
    peer = at.dial()
    secret = hpack.NeverIndexedHeaderTuple(b"authorization", b"Basic c2VjcmV0")
    for _ in range(2):
        assert peer.answer(peer.request(at.head(GET, secret)))[0][b":status"] == b"200"
    assert [tuple(kind) for kind in kinds] == [tuple(secret)] * 2
    assert all(isinstance(kind, hpack.NeverIndexedHeaderTuple) for kind in kinds)


# -- frames


def test_continuation_frames_and_padding(stage: Staged) -> None:
    """A header block in twelve CONTINUATION frames, padding and priority on the HEADERS frame, seven bytes a packet."""
    at = stage(serve(echo))
    peer = at.dial()
    block = peer.pretend_request(at.head(GET, (b"x-cut", b"fine")))
    frames = (len(block[:1]) + 1 + 5 + 7).to_bytes(3, "big") + b"\x01\x29" + (1).to_bytes(4, "big") + b"\x07" \
        + b"\0\0\0\0\x10" + block[:1] + bytes(7)
    cuts = [1, *range(2, 12), 12, len(block)]
    for i, j in itertools.pairwise(cuts):
        frames += b"\0\0" + bytes([j - i, 9, 4 if j == len(block) else 0]) + (1).to_bytes(4, "big") + block[i:j]
    for start in range(0, len(frames), 7):
        peer.raw(frames[start:start + 7])
    assert peer.answer(1)[0][b"x-cut"] == b"fine"


def test_padding_is_dropped_and_its_credit_returned(stage: Staged) -> None:
    """More padding than any window: 1 byte of data and 255 of padding per frame."""
    at = stage(serve(echo))
    peer = at.dial()
    stream = peer.request(at.head(POST), end=False)
    data = os.urandom(3000)
    for i in range(0, len(data), 1):
        while peer.h2.local_flow_control_window(stream) < 257:
            assert peer.read(5), "no window: the padding's credit is not given back"
        peer.h2.send_data(stream, data[i:i + 1], pad_length=255)
        if i % 50 == 0:
            peer.flush()
    peer.h2.end_stream(stream)
    assert peer.answer(stream)[1] == data


def test_padding_of_the_endpoint(stage: Staged) -> None:
    body = os.urandom(2000)

    def padded(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.send_headers(request.stream_id, OK)
        for i in range(0, len(body), 2):
            while peer.h2.local_flow_control_window(request.stream_id) < 300:
                assert peer.read(5), "no window: the padding's credit is not given back"
            peer.h2.send_data(request.stream_id, body[i:i + 2], pad_length=250)
        peer.h2.end_stream(request.stream_id)
        peer.flush()

    at = stage(serve(padded))
    peer = at.dial()
    for _ in range(3):
        assert peer.answer(peer.request(at.head(GET)))[1] == body


def test_unknown_frames_settings_and_priority_are_ignored(stage: Staged) -> None:
    at = stage(serve(echo))
    peer = at.dial()
    peer.raw(b"\0\0\4\xee\xff\0\0\0\0junk" + b"\0\0\6\4\0\0\0\0\0\xff\xf0\0\0\0\1" + b"\0\0\5\2\0\0\0\0\5\0\0\0\0\x10"
             + b"\0\0\3\xaa\0\0\0\0\7abc")
    assert peer.answer(peer.request(at.head(GET, (b"x-still", b"here"))))[0][b"x-still"] == b"here"


def test_ping_is_answered(stage: Staged) -> None:
    peer = stage(serve(echo)).dial()
    peer.h2.ping(b"12345678")
    assert peer.wait(h2.events.PingAckReceived).ping_data == b"12345678"


@pytest.mark.parametrize("size", [0, 100, 65_536])
def test_header_tables_of_other_sizes(stage: Staged, size: int) -> None:
    """Both peers change the table's size; the h2 package refuses a block that breaks it."""
    at = stage(serve(echo), settings={SettingCodes.HEADER_TABLE_SIZE: size})
    peer = at.dial(HEADER_TABLE_SIZE=size)
    for n in range(30):
        stream = peer.request(at.head(GET, (b"x-n", b"%d" % n), (b"x-same", b"same")))
        assert peer.answer(stream)[0][b"x-n"] == b"%d" % n


# -- flow control


@pytest.mark.parametrize("window", [1, 10, 1000])
def test_tiny_windows_of_the_caller(stage: Staged, window: int) -> None:
    """The h2 package raises when a byte more than the window comes."""
    body = os.urandom(50 * window)
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, OK, body)))
    peer = at.dial(INITIAL_WINDOW_SIZE=window)
    streams = [peer.request(at.head(GET)) for _ in range(3)]
    assert [peer.body(stream) for stream in streams] == [body] * 3


@pytest.mark.parametrize("window", [1, 10, 1000])
def test_tiny_windows_of_the_endpoint(stage: Staged, window: int) -> None:
    at = stage(serve(echo), settings={SettingCodes.INITIAL_WINDOW_SIZE: window})
    peer = at.dial()
    peer.answer(peer.request(at.head(GET)))  # until the endpoint's SETTINGS have come, 65,535 is the window
    body = os.urandom(50 * window)
    for _ in range(3):
        stream = peer.request(at.head(POST), end=False)
        peer.send_all(stream, body)
        assert peer.answer(stream)[1] == body


def test_window_shrinks_below_zero_and_grows_again(stage: Staged) -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE 0 in the middle of a response (RFC 9113 6.9.2)."""
    body = os.urandom(300_000)
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, OK, body)))
    peer = at.dial(INITIAL_WINDOW_SIZE=50_000)
    stream = peer.request(at.head(GET))
    peer.wait(h2.events.ResponseReceived, stream)
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    peer.wait(h2.events.SettingsAcknowledged)
    while peer.read(0.2):
        pass
    got = sum(len(event.data) for event in peer.events if isinstance(event, h2.events.DataReceived))
    assert got == 50_000
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
    # The connection's window of 65,535 is the next to end; reading gives both back.
    assert peer.body(stream) == body


def test_stalled_stream_holds_no_other_up(stage: Staged) -> None:
    """One stream whose caller gives no window; its response waits, others pass on the same connections."""
    body = os.urandom(200_000)
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, OK, body)))
    threaded = stage(_parallel(body))
    for where in (at, threaded):
        peer = where.dial(INITIAL_WINDOW_SIZE=100)
        stalled = peer.request(where.head(GET))
        peer.wait(h2.events.ResponseReceived, stalled)
        if where is threaded:
            other = where.dial()
            for _ in range(3):
                assert other.answer(other.request(where.head(GET)))[1] == body
        assert peer.body(stalled, 30) == body


def _parallel(body: bytes) -> Script:
    """Answers that share the connection fairly: a chunk of each open stream in turn."""
    def script(peer: Peer) -> None:
        left: dict[int, int] = {}
        while True:
            peer.read(0.01)
            for event in list(peer.events):
                if isinstance(event, h2.events.RequestReceived):
                    peer.events.remove(event)
                    peer.h2.send_headers(event.stream_id, OK)
                    left[event.stream_id] = 0
            for stream, at in list(left.items()):
                room = min(peer.h2.local_flow_control_window(stream), 16_384, len(body) - at)
                if room > 0:
                    peer.h2.send_data(stream, body[at:at + room], end_stream=at + room == len(body))
                    left[stream] = at + room
                    if at + room == len(body):
                        del left[stream]
            peer.flush()

    return script


def test_early_answer_stops_the_upload_and_returns_the_credit(stage: Staged) -> None:
    """RFC 9113 8.1: the whole answer, then RST_STREAM(NO_ERROR). 8 MiB of what was on its way: no window is lost."""
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, [(b":status", b"413")], b"too large")))
    peer = at.dial()
    for _ in range(130):
        stream = peer.request(at.head(POST), end=False)
        sent = 0
        while sent < 65_000:
            room = min(peer.h2.local_flow_control_window(stream), 16_000)
            if room < 16_000:
                assert peer.read(5), "the connection's window is gone"
                continue
            try:
                peer.h2.send_data(stream, bytes(room))
            except h2.exceptions.ProtocolError:  # the reset has come already
                break
            sent += room
        peer.flush()
        response = peer.wait(h2.events.ResponseReceived, stream)
        assert dict(response.headers)[b":status"] == b"413"


# -- resets


@pytest.mark.parametrize("when", ["after headers", "in the body", "after the request", "in the response"])
def test_reset_by_the_caller_reaches_the_endpoint(stage: Staged, when: str) -> None:
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
def test_caller_that_vanishes_resets_its_streams_at_the_endpoint(stage: Staged, how: str) -> None:
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


def test_reset_by_the_endpoint_before_its_answer(stage: Staged) -> None:
    """502 with the reason; not repeated, for it may have run."""
    def refuse(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.reset_stream(request.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()

    at = stage(serve(refuse), serve(refuse))
    peer = at.dial()
    headers, body = peer.answer(peer.request(at.head(GET)))
    assert (headers[b":status"], headers[b"mesh-reason"], body) == (b"502", b"upstream_reset", b"")
    assert sum(backend.connections for backend in at.backends) == 1


def test_reset_by_the_endpoint_in_its_answer(stage: Staged) -> None:
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


def test_refused_stream_goes_elsewhere(stage: Staged) -> None:
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


def test_streams_above_goaways_last_id_are_repeated(stage: Staged) -> None:
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


def test_graceful_goaway_moves_new_requests(stage: Staged) -> None:
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


def test_connection_lost_in_the_answer(stage: Staged) -> None:
    """Nothing can be repeated: the caller's stream is reset, its connection stays."""
    def drop(peer: Peer, request: h2.events.RequestReceived) -> None:
        peer.h2.send_headers(request.stream_id, OK)
        peer.h2.send_data(request.stream_id, b"half")
        peer.flush()
        raise Gone

    at = stage(serve(drop))
    peer = at.dial()
    stream = peer.request(at.head(GET))
    peer.wait(h2.events.ResponseReceived, stream)
    reset_code(peer, stream)
    peer.h2.ping(b"12345678")
    peer.wait(h2.events.PingAckReceived)


def test_connection_lost_before_the_answer(stage: Staged) -> None:
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


def test_endpoint_that_speaks_no_http2(stage: Staged) -> None:
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
def test_malformed_answers_are_not_passed_on(stage: Staged, bad: list[tuple[bytes, bytes]]) -> None:
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


def test_max_concurrent_streams_of_the_endpoint(stage: Staged) -> None:
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


def test_http_status_is_the_outcome(stage: Staged) -> None:
    """503 is repeated elsewhere with an idempotency key, passed on without one; 404 is nobody's failure."""
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, [(b":status", b"503")])), serve(echo),
               balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}, outlier={"consecutive_failures": 0})
    peer = at.dial()
    statuses = [peer.answer(peer.request(at.head(POST)))[0][b":status"] for _ in range(6)]
    assert sorted(statuses) == [b"200"] * 3 + [b"503"] * 3
    keyed = [peer.answer(peer.request(at.head(POST, (b"idempotency-key", b"k"))))[0][b":status"] for _ in range(6)]
    assert keyed == [b"200"] * 6


def test_request_timeout_is_a_504(stage: Staged) -> None:
    at = stage(serve(lambda peer, request: None), timeout={"request": "0.3s"})
    peer = at.dial()
    headers, _ = peer.answer(peer.request(at.head(GET)))
    assert (headers[b":status"], headers[b"mesh-reason"]) == (b"504", b"deadline_exceeded")


def test_unknown_authority_is_a_404(web: Sidecar, stage: Staged) -> None:
    peer = stage(serve(echo)).dial()
    for authority in (b"nobody-here", b"example.com"):
        headers, _ = peer.answer(peer.request([*GET, (b":authority", authority)]))
        assert (headers[b":status"], headers[b"mesh-reason"]) == (b"404", b"no_route")


@pytest.mark.parametrize("bad", [
    [*GET, (b"X-Upper", b"1")], [*GET, (b"connection", b"close")], [*GET, (b"te", b"gzip")],
    [(b":method", b"GET"), (b":scheme", b"http")], [*GET, (b"x-a", b"1"), (b":extra", b"1")],
    [*GET, (b":path", b"/twice")], [*GET, (b"x-line", b"a\nb")], [*GET, (b"content-length", b"12")],
    [*GET, (b"x\0y", b"1")], [*GET, (b"", b"1")]], ids=lambda bad: str(bad[-1]))
def test_malformed_requests_end_their_stream_only(stage: Staged, bad: list[tuple[bytes, bytes]]) -> None:
    """RFC 9113 8.1.1; nothing of it reaches the endpoint, the connection goes on."""
    at = stage(serve(echo))
    peer = at.dial()
    block = b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
                     for name, value in [*bad[:3], (b":authority", at.name.encode()), *bad[3:]])
    peer.pretend_request(at.head(GET))
    peer.h2.encoder = hpack.Encoder()  # the block above adds nothing to the table
    peer.raw(len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1" + block)
    assert reset_code(peer, 1) == h2.errors.ErrorCodes.PROTOCOL_ERROR
    assert peer.answer(peer.request(at.head(GET, (b"x-next", b"1"))))[0][b"x-next"] == b"1"
    assert at.backends[0].connections == 1
