"""The cases of h2spec's `client` group: what a client must refuse of a server. Ids and titles are h2spec's.

A request is under way on stream 1, complete.
"""

from __future__ import annotations

from conf_peer import (
    CANCEL,
    COMPRESSION_ERROR,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Case,
    Peer,
    connection_error,
    dummy,
    ended,
    pong,
    settings_acknowledged,
    stream_error,
)

UNKNOWN = b"\0\0\x08\x16\0\0\0\0\0" + bytes(8)


def begin_block(peer: Peer, end: bool = False) -> None:
    peer.headers(1, end=end, flags=0)


def max_frame(peer: Peer) -> int:
    return peer.settings.get(MAX_FRAME, 16_384)


def padded_too_long(peer: Peer) -> None:
    peer.headers(1, [*peer.ok, (b"content-length", b"4")], False)
    peer.frame(DATA, END_STREAM | PADDED, 1, b"\x06test")


def answer_and(peer: Peer, end: bool = True) -> None:
    peer.headers(1, end=end)


def goaway_of_stream_overflow(peer: Peer) -> None:
    frame = peer.until(lambda frame: frame.kind in (RST_STREAM, GOAWAY), "RST_STREAM")
    assert (frame.kind, frame.stream, frame.code) == (RST_STREAM, 1, FLOW_CONTROL_ERROR)


CLIENT = [
    Case("client/1/1", "Sends a client connection preface",
         lambda p: (answer_and(p, False), p.data(1, b"success"), p.ping()), pong()),
    Case("client/4.1/1", "Sends a frame with unknown type", lambda p: (p.send(UNKNOWN), p.ping()), pong()),
    Case("client/4.1/2", "Sends a frame with undefined flag",
         lambda p: p.send(b"\0\0\x08\x06\x16\0\0\0\0" + bytes(8)), pong(bytes(8))),
    Case("client/4.1/3", "Sends a frame with reserved field bit",
         lambda p: p.send(b"\0\0\x08\x06\x16\x80\0\0\0" + bytes(8)), pong(bytes(8))),
    Case("client/4.2/1", "Sends a DATA frame with 2^14 octets in length",
         lambda p: (answer_and(p, False), p.data(1, b"x" * max_frame(p)), p.ping()), pong()),
    Case("client/4.2/2", "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
         lambda p: (answer_and(p, False), p.data(1, b"x" * (max_frame(p) + 1))), stream_error(FRAME_SIZE_ERROR)),
    Case("client/4.2/3", "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
         lambda p: p.headers(1, [*p.ok, *dummy(5)]), connection_error(FRAME_SIZE_ERROR)),
    Case("client/4.3/1", "Sends invalid header block fragment",
         lambda p: p.frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40"), connection_error(COMPRESSION_ERROR)),
    Case("client/4.3/1 (stream id backwards)", "Sends invalid header block fragment",
         lambda p: p.frame(HEADERS, END_STREAM | END_HEADERS, 1 << 24, b"\x40"),
         connection_error(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    Case("client/5.1/1", "idle: Sends a DATA frame", lambda p: p.data(2), connection_error(PROTOCOL_ERROR)),
    Case("client/5.1/2", "idle: Sends a RST_STREAM frame", lambda p: p.reset(2), connection_error(PROTOCOL_ERROR)),
    Case("client/5.1/3", "idle: Sends a WINDOW_UPDATE frame",
         lambda p: p.window(2, 100), connection_error(PROTOCOL_ERROR)),
    Case("client/5.1/4", "idle: Sends a CONTINUATION frame",
         lambda p: p.continuation(2, p.ok), connection_error(PROTOCOL_ERROR)),
    Case("client/5.1/5", "closed: Sends a DATA frame after sending RST_STREAM frame",
         lambda p: (answer_and(p, False), p.reset(1), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("client/5.1/6", "closed: Sends a HEADERS frame after sending RST_STREAM frame",
         lambda p: (answer_and(p, False), p.reset(1), p.headers(1)), stream_error(STREAM_CLOSED)),
    Case("client/5.1/7", "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
         lambda p: (answer_and(p, False), p.reset(1), p.continuation(1)),
         stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("client/5.1/8", "closed: Sends a DATA frame",
         lambda p: (answer_and(p), p.data(1)), connection_error(STREAM_CLOSED)),
    Case("client/5.1/9", "closed: Sends a HEADERS frame",
         lambda p: (answer_and(p), p.headers(1)), connection_error(STREAM_CLOSED)),
    Case("client/5.1/10", "closed: Sends a CONTINUATION frame",
         lambda p: (answer_and(p), p.continuation(1)), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("client/5.1.1/1", "Sends an unexpected stream identifier",
         lambda p: p.headers(101), connection_error(PROTOCOL_ERROR)),
    Case("client/5.4.1/1", "Sends an invalid PING frame for connection close",
         lambda p: p.frame(PING, 0, 3, bytes(8)), ended),
    Case("client/5.4.1/2", "Sends an invalid PING frame to receive GOAWAY frame",
         lambda p: p.frame(PING, 0, 3, bytes(8)), connection_error(PROTOCOL_ERROR)),
    Case("client/5.5/1", "Sends an unknown extension frame", lambda p: (p.send(UNKNOWN), p.ping()), pong()),
    Case("client/6.1/1", "Sends a DATA frame with 0x0 stream identifier",
         lambda p: p.data(0), connection_error(PROTOCOL_ERROR)),
    Case("client/6.1/2", 'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
         lambda p: (answer_and(p), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("client/6.1/3", "Sends a DATA frame with invalid pad length", padded_too_long, stream_error(PROTOCOL_ERROR)),
    Case("client/6.2/1", "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
         lambda p: (begin_block(p), p.priority(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.2/2", "Sends a HEADERS frame with 0x0 stream identifier",
         lambda p: p.headers(0), connection_error(PROTOCOL_ERROR)),
    Case("client/6.2/3", "Sends a HEADERS frame with invalid pad length",
         lambda p: p.frame(HEADERS, PADDED, 1, b"\x11" + p.block(p.ok)), stream_error(PROTOCOL_ERROR)),
    Case("client/6.3/1", "Sends a PRIORITY frame with 0x0 stream identifier",
         lambda p: p.priority(0), connection_error(PROTOCOL_ERROR)),
    Case("client/6.3/2", "Sends a PRIORITY frame with a length other than 5 octets",
         lambda p: (answer_and(p), p.frame(PRIORITY, 0, 1, b"\x80\0\0\1")), stream_error(FRAME_SIZE_ERROR)),
    Case("client/6.4/1", "Sends a RST_STREAM frame with 0x0 stream identifier",
         lambda p: p.reset(0, CANCEL), connection_error(PROTOCOL_ERROR)),
    Case("client/6.4/2", "Sends a RST_STREAM frame on a idle stream",
         lambda p: p.reset(2, CANCEL), connection_error(PROTOCOL_ERROR)),
    Case("client/6.4/3", "Sends a RST_STREAM frame with a length other than 4 octets",
         lambda p: (answer_and(p), p.frame(RST_STREAM, 0, 1, bytes(3))), stream_error(FRAME_SIZE_ERROR)),
    Case("client/6.5/1", "Sends a SETTINGS frame with ACK flag and payload",
         lambda p: p.frame(SETTINGS, 1, 0, b"\0"), connection_error(FRAME_SIZE_ERROR)),
    Case("client/6.5/2", "Sends a SETTINGS frame with a stream identifier other than 0x0",
         lambda p: p.frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), connection_error(PROTOCOL_ERROR)),
    Case("client/6.5/3", "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
         lambda p: p.frame(SETTINGS, 0, 0, b"\0\3\0"), stream_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("client/6.5.2/1", "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window"
         " size", lambda p: p.set((INITIAL_WINDOW, 2**31)), connection_error(FLOW_CONTROL_ERROR)),
    Case("client/6.5.2/2", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
         lambda p: p.set((MAX_FRAME, 16_383)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.5.2/3", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
         lambda p: p.set((MAX_FRAME, 2**24)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.5.2/4", "Sends a SETTINGS frame with unknown identifier",
         lambda p: (p.set((0xFF, 1)), p.ping()), pong()),
    Case("client/6.5.3/1", "Sends a SETTINGS frame without ACK flag", lambda p: p.set((2, 0)), settings_acknowledged),
    Case("client/6.7/1", "Sends a PING frame", lambda p: p.ping(), pong()),
    Case("client/6.7/2", "Sends a PING frame with ACK",
         lambda p: (p.ping(b"invalid\0", ack=True), p.ping()), pong()),
    Case("client/6.7/3", "Sends a PING frame with a stream identifier field value other than 0x0",
         lambda p: p.frame(PING, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.7/4", "Sends a PING frame with a length field value other than 8",
         lambda p: p.frame(PING, 0, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR)),
    Case("client/6.8/1", "Sends a GOAWAY frame with a stream identifier other than 0x0",
         lambda p: p.frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.9/1", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
         lambda p: p.window(0, 0), connection_error(PROTOCOL_ERROR)),
    Case("client/6.9/2", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
         lambda p: (answer_and(p, False), p.window(1, 0)), stream_error(PROTOCOL_ERROR)),
    Case("client/6.9/3", "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
         lambda p: p.frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), connection_error(FRAME_SIZE_ERROR)),
    Case("client/6.9.1/1",
         "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
         lambda p: (p.window(0, 2**31 - 1), p.window(0, 2**31 - 1)), connection_error(FLOW_CONTROL_ERROR)),
    Case("client/6.9.1/2",
         "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
         lambda p: (answer_and(p, False), p.window(1, 2**31 - 1), p.window(1, 2**31 - 1)), goaway_of_stream_overflow),
    Case("client/6.10/1", "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
         lambda p: (begin_block(p, True), p.continuation(1, end=False), p.continuation(1), p.ping()), pong()),
    Case("client/6.10/2", "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
         lambda p: (begin_block(p), p.continuation(1, end=False), p.data(1)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.10/3", "Sends a CONTINUATION frame with 0x0 stream identifier",
         lambda p: (begin_block(p, True), p.continuation(0)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.10/4", "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
         lambda p: (answer_and(p), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.10/5", "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
         lambda p: (begin_block(p, True), p.continuation(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("client/6.10/6", "Sends a CONTINUATION frame preceded by a DATA frame",
         lambda p: (begin_block(p), p.data(1), p.continuation(1, end=False), p.continuation(0)),
         connection_error(PROTOCOL_ERROR)),
]  # fmt: skip
