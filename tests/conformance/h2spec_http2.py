"""The cases of h2spec's `http2` group, sections 3 to 6.5: what a server must refuse, and with which codes.

Ids and titles are h2spec's (release 2.6); where it knows older versions of a case with other octets, both are here.
"""

from __future__ import annotations

from conf_peer import (
    CANCEL,
    COMPRESSION_ERROR,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_STREAMS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    Case,
    Peer,
    answered,
    connection_error,
    data_of,
    dummy,
    ended,
    pong,
    settings_acknowledged,
    stream_ends,
    stream_error,
)

UNKNOWN = b"\0\0\x08\x16\0\0\0\0\0" + bytes(8)


def close_stream_1(peer: Peer) -> None:
    peer.headers(1)
    stream_ends(peer)


def begin_block(peer: Peer, stream: int = 1, end: bool = True, post: bool = False) -> None:
    peer.headers(stream, peer.post if post else None, end, flags=0)


def max_frame(peer: Peer) -> int:
    return peer.settings.get(MAX_FRAME, 16_384)


def server_preface(peer: Peer) -> None:
    frame = peer.next()
    assert frame is not None
    assert (frame.kind, frame.flags) == (SETTINGS, 0)


def more_streams_than_allowed(peer: Peer) -> None:
    most = peer.settings[MAX_STREAMS]
    peer.set((INITIAL_WINDOW, 0))
    for stream in range(1, 2 * most + 3, 2):
        peer.headers(stream)


def self_dependent(peer: Peer) -> None:
    peer.headers(1, flags=END_HEADERS | PRIORITIZED, before=b"\0\0\0\1\xff")


def invalid_ping(peer: Peer) -> None:
    peer.frame(PING, 0, 3, bytes(8))


def goaway(peer: Peer) -> None:
    peer.until(lambda frame: frame.kind == GOAWAY, "GOAWAY")


def padded_too_long(peer: Peer) -> None:
    peer.headers(1, [*peer.post, (b"content-length", b"4")], False)
    peer.frame(DATA, END_STREAM | PADDED, 1, b"\x06test")


def padded_headers_too_long(peer: Peer) -> None:
    block = peer.block(peer.get)
    peer.frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, bytes((len(block) + 2,)) + block)


def two_windows(peer: Peer) -> None:
    peer.set((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1))
    settings_acknowledged(peer)
    peer.headers(1)


HTTP2 = [
    Case("http2/3.5/1", "Sends client connection preface",
         lambda p: (p.send(PREFACE), p.set((INITIAL_WINDOW, 65_535))), server_preface, fresh=True),
    Case("http2/3.5/2", "Sends invalid connection preface",
         lambda p: p.send(b"INVALID CONNECTION PREFACE\r\n\r\n"), ended, fresh=True),
    Case("http2/4.1/1", "Sends a frame with unknown type", lambda p: (p.send(UNKNOWN), p.ping()), pong()),
    Case("http2/4.1/2", "Sends a frame with undefined flag",
         lambda p: p.send(b"\0\0\x08\x06\x16\0\0\0\0" + bytes(8)), pong(bytes(8))),
    Case("http2/4.1/3", "Sends a frame with reserved field bit",
         lambda p: p.send(b"\0\0\x08\x06\x16\x80\0\0\0" + bytes(8)), pong(bytes(8))),
    Case("http2/4.2/1", "Sends a DATA frame with 2^14 octets in length",
         lambda p: (p.headers(1, p.post, False), p.data(1, b"x" * max_frame(p))), answered()),
    Case("http2/4.2/2", "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
         lambda p: (p.headers(1, p.post, False), p.data(1, b"x" * (max_frame(p) + 1))),
         stream_error(FRAME_SIZE_ERROR)),
    Case("http2/4.2/3", "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
         lambda p: p.headers(1, [*p.get, *dummy(5)]), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/4.3/1", "Sends invalid header block fragment",
         lambda p: p.frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40"), connection_error(COMPRESSION_ERROR)),
    Case("http2/4.3/2", "Sends a PRIORITY frame while sending the header blocks",
         lambda p: (begin_block(p, end=False), p.priority(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/4.3/3", "Sends a HEADERS frame to another stream while sending the header blocks",
         lambda p: (begin_block(p, end=False), p.headers(3), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1/1", "idle: Sends a DATA frame", lambda p: p.data(1), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1/2", "idle: Sends a RST_STREAM frame", lambda p: p.reset(1), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1/3", "idle: Sends a WINDOW_UPDATE frame",
         lambda p: p.window(1, 100), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1/4", "idle: Sends a CONTINUATION frame",
         lambda p: p.continuation(1, p.get), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1/5", "half closed (remote): Sends a DATA frame",
         lambda p: (p.headers(1), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1/6", "half closed (remote): Sends a HEADERS frame",
         lambda p: (p.headers(1), p.headers(1)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1/7", "half closed (remote): Sends a CONTINUATION frame",
         lambda p: (p.headers(1), p.continuation(1, p.get)), stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1/8", "closed: Sends a DATA frame after sending RST_STREAM frame",
         lambda p: (p.headers(1, end=False), p.reset(1), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1/9", "closed: Sends a HEADERS frame after sending RST_STREAM frame",
         lambda p: (p.headers(1, end=False), p.reset(1), p.headers(1)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1/10", "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
         lambda p: (p.headers(1, end=False), p.reset(1), p.continuation(1)),
         stream_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1/11", "closed: Sends a DATA frame",
         lambda p: (close_stream_1(p), p.data(1)), connection_error(STREAM_CLOSED)),
    Case("http2/5.1/12", "closed: Sends a HEADERS frame",
         lambda p: (close_stream_1(p), p.headers(1)), connection_error(STREAM_CLOSED)),
    Case("http2/5.1/13", "closed: Sends a CONTINUATION frame",
         lambda p: (close_stream_1(p), p.continuation(1)), connection_error(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1.1/1", "Sends even-numbered stream identifier",
         lambda p: p.headers(2), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1.1/2", "Sends stream identifier that is numerically smaller than previous",
         lambda p: (p.headers(5), p.headers(3)), connection_error(PROTOCOL_ERROR)),
    Case("http2/5.1.1/3", "Sends HEADERS frame with the stream which is in half-closed (remote) state",
         lambda p: (p.headers(5), p.headers(5)), stream_error(STREAM_CLOSED)),
    Case("http2/5.1.2/1", "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
         more_streams_than_allowed, stream_error(PROTOCOL_ERROR, REFUSED_STREAM)),
    Case("http2/5.3.1/1", "Sends HEADERS frame that depends on itself", self_dependent, stream_error(PROTOCOL_ERROR)),
    Case("http2/5.3.1/2", "Sends PRIORITY frame that depend on itself",
         lambda p: p.priority(1, on=1), stream_error(PROTOCOL_ERROR)),
    Case("http2/5.4.1/1", "Sends an invalid PING frame for connection close", invalid_ping, ended),
    Case("http2/5.4.1/2", "Sends an invalid PING frame to receive GOAWAY frame", invalid_ping, goaway),
    Case("http2/5.5/1", "Sends an unknown extension frame", lambda p: (p.send(UNKNOWN), p.ping()), pong()),
    Case("http2/5.5/2", "Sends an unknown extension frame in the middle of a header block",
         lambda p: (begin_block(p), p.send(UNKNOWN)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.1/1", "Sends a DATA frame with 0x0 stream identifier",
         lambda p: p.data(0), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.1/2", 'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
         lambda p: (p.headers(1, p.post), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("http2/6.1/3", "Sends a DATA frame with invalid pad length", padded_too_long,
         connection_error(PROTOCOL_ERROR)),
    Case("http2/6.2/1", "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
         lambda p: (begin_block(p, end=False), p.priority(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.2/2", "Sends a HEADERS frame to another stream while sending a HEADERS frame",
         lambda p: (begin_block(p, end=False), p.headers(3), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.2/3", "Sends a HEADERS frame with 0x0 stream identifier",
         lambda p: p.headers(0), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.2/4", "Sends a HEADERS frame with invalid pad length", padded_headers_too_long,
         stream_error(PROTOCOL_ERROR)),
    Case("http2/6.3/1", "Sends a PRIORITY frame with 0x0 stream identifier",
         lambda p: p.priority(0), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.3/2", "Sends a PRIORITY frame with a length other than 5 octets",
         lambda p: (p.headers(1), p.frame(PRIORITY, 0, 1, b"\x80\0\0\1")), stream_error(FRAME_SIZE_ERROR)),
    Case("http2/6.3/2 (closed)", "Sends a PRIORITY frame with a length other than 5 octets, late",
         lambda p: (close_stream_1(p), p.frame(PRIORITY, 0, 1, b"\x80\0\0\1")), stream_error(FRAME_SIZE_ERROR)),
    Case("http2/6.4/1", "Sends a RST_STREAM frame with 0x0 stream identifier",
         lambda p: p.reset(0), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.4/2", "Sends a RST_STREAM frame on a idle stream",
         lambda p: p.reset(1, CANCEL), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.4/3", "Sends a RST_STREAM frame with a length other than 4 octets",
         lambda p: (p.headers(1), p.frame(RST_STREAM, 0, 1, bytes(3))), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/6.5/1", "Sends a SETTINGS frame with ACK flag and payload",
         lambda p: p.frame(SETTINGS, 1, 0, b"\0"), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/6.5/2", "Sends a SETTINGS frame with a stream identifier other than 0x0",
         lambda p: p.frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.5/3", "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
         lambda p: p.frame(SETTINGS, 0, 0, b"\0\3\0"), connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("http2/6.5/3 (9 octets, of which 8 come)",
         "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
         lambda p: p.frame(SETTINGS, 0, 0, b"\0\3\0\0\0\x64\0\2", length=9),
         connection_error(FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    Case("http2/6.5.2/1", "SETTINGS_ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
         lambda p: p.set((ENABLE_PUSH, 2)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.5.2/2", "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window"
         " size", lambda p: p.set((INITIAL_WINDOW, 2**31)), connection_error(FLOW_CONTROL_ERROR)),
    Case("http2/6.5.2/3", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
         lambda p: p.set((MAX_FRAME, 16_383)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.5.2/4", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
         lambda p: p.set((MAX_FRAME, 2**24)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.5.2/5", "Sends a SETTINGS frame with unknown identifier",
         lambda p: (p.set((0xFF, 1)), p.ping()), pong()),
    Case("http2/6.5.3/1", "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE", two_windows, data_of(1)),
    Case("http2/6.5.3/2", "Sends a SETTINGS frame without ACK flag",
         lambda p: p.set((ENABLE_PUSH, 0)), settings_acknowledged),
]  # fmt: skip
