"""HTTP/2 against an independent peer (the `h2` package), as caller and as endpoint: fields, frames, windows."""

from __future__ import annotations

import itertools
import os
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import hpack
import pytest
from e2e_h2peer import GET, POST, Peer, Script, serve
from e2e_h2stage import OK, Stager, echo, reset_code
from h2.settings import SettingCodes

pytestmark = pytest.mark.e2e


# -- requests and responses


def test_headers_body_and_trailers_both_ways(stage: Stager) -> None:
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


def test_header_fields_arrive_as_they_were_sent(stage: Stager) -> None:
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
def test_answers_without_a_body(stage: Stager, method: bytes, status: bytes, length: bytes | None) -> None:
    fields = [(b":status", status)] + ([(b"content-length", length)] if length else [])
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, fields)))
    peer = at.dial()
    headers, body = peer.answer(peer.request(at.head([(b":method", method), *GET[1:]])))
    assert (headers[b":status"], body) == (status, b"")
    assert headers.get(b"content-length") == length


def test_informational_responses_are_passed_on(stage: Stager) -> None:
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


def test_never_indexed_fields_stay_never_indexed(stage: Stager) -> None:
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


def test_continuation_frames_and_padding(stage: Stager) -> None:
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


def test_padding_is_dropped_and_its_credit_returned(stage: Stager) -> None:
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


def test_padding_of_the_endpoint(stage: Stager) -> None:
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


def test_unknown_frames_settings_and_priority_are_ignored(stage: Stager) -> None:
    at = stage(serve(echo))
    peer = at.dial()
    peer.raw(b"\0\0\4\xee\xff\0\0\0\0junk" + b"\0\0\6\4\0\0\0\0\0\xff\xf0\0\0\0\1" + b"\0\0\5\2\0\0\0\0\5\0\0\0\0\x10"
             + b"\0\0\3\xaa\0\0\0\0\7abc")
    assert peer.answer(peer.request(at.head(GET, (b"x-still", b"here"))))[0][b"x-still"] == b"here"


def test_ping_is_answered(stage: Stager) -> None:
    peer = stage(serve(echo)).dial()
    peer.h2.ping(b"12345678")
    assert peer.wait(h2.events.PingAckReceived).ping_data == b"12345678"


@pytest.mark.parametrize("size", [0, 100, 65_536])
def test_header_tables_of_other_sizes(stage: Stager, size: int) -> None:
    """Both peers change the table's size; the h2 package refuses a block that breaks it."""
    at = stage(serve(echo), settings={SettingCodes.HEADER_TABLE_SIZE: size})
    peer = at.dial(HEADER_TABLE_SIZE=size)
    for n in range(30):
        stream = peer.request(at.head(GET, (b"x-n", b"%d" % n), (b"x-same", b"same")))
        assert peer.answer(stream)[0][b"x-n"] == b"%d" % n


# -- flow control


@pytest.mark.parametrize("window", [1, 10, 1000])
def test_tiny_windows_of_the_caller(stage: Stager, window: int) -> None:
    """The h2 package raises when a byte more than the window comes."""
    body = os.urandom(50 * window)
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, OK, body)))
    peer = at.dial(INITIAL_WINDOW_SIZE=window)
    streams = [peer.request(at.head(GET)) for _ in range(3)]
    assert [peer.body(stream) for stream in streams] == [body] * 3


@pytest.mark.parametrize("window", [1, 10, 1000])
def test_tiny_windows_of_the_endpoint(stage: Stager, window: int) -> None:
    at = stage(serve(echo), settings={SettingCodes.INITIAL_WINDOW_SIZE: window})
    peer = at.dial()
    peer.answer(peer.request(at.head(GET)))  # until the endpoint's SETTINGS have come, 65,535 is the window
    body = os.urandom(50 * window)
    for _ in range(3):
        stream = peer.request(at.head(POST), end=False)
        peer.send_all(stream, body)
        assert peer.answer(stream)[1] == body


def test_window_shrinks_below_zero_and_grows_again(stage: Stager) -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE 0 in the middle of a response (RFC 9113 6.9.2)."""
    body = os.urandom(300_000)
    at = stage(serve(lambda peer, request: peer.respond(request.stream_id, OK, body)))
    peer = at.dial(INITIAL_WINDOW_SIZE=50_000)
    stream = peer.request(at.head(GET))
    peer.wait(h2.events.ResponseReceived, stream)

    def got() -> int:
        return sum(len(event.data) for event in peer.events if isinstance(event, h2.events.DataReceived))

    while got() < 50_000:  # else less is sent: what is under way when the window shrinks counts against it
        assert peer.read(5)
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    peer.wait(h2.events.SettingsAcknowledged)
    while peer.read(0.2):
        pass
    assert got() == 50_000
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
    # The connection's window of 65,535 is the next to end; reading gives both back.
    assert peer.body(stream) == body


def test_stalled_stream_holds_no_other_up(stage: Stager) -> None:
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


def test_early_answer_stops_the_upload_and_returns_the_credit(stage: Stager) -> None:
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


@pytest.mark.parametrize("bad", [
    [*GET, (b"X-Upper", b"1")], [*GET, (b"connection", b"close")], [*GET, (b"te", b"gzip")],
    [(b":method", b"GET"), (b":scheme", b"http")], [*GET, (b"x-a", b"1"), (b":extra", b"1")],
    [*GET, (b":path", b"/twice")], [*GET, (b"x-line", b"a\nb")], [*GET, (b"content-length", b"12")],
    [*GET, (b"x\0y", b"1")], [*GET, (b"", b"1")]], ids=lambda bad: str(bad[-1]))
def test_malformed_requests_end_their_stream_only(stage: Stager, bad: list[tuple[bytes, bytes]]) -> None:
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
