"""The cases of h2spec's `http2` group from section 6.7 on, and of its `hpack` group. Ids and titles are h2spec's."""

from __future__ import annotations

from conf_peer import (
    BODY,
    COMPRESSION_ERROR,
    END_HEADERS,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    INITIAL_WINDOW,
    PING,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    TABLE_SIZE,
    WINDOW_UPDATE,
    Case,
    Fields,
    Peer,
    answered,
    connection_error,
    data_of,
    pong,
    pong_or_end,
    settings_acknowledged,
    stream_error,
)

TEST_OK = (b"x-test", b"ok")


def begin_block(peer: Peer, end: bool = True, post: bool = False) -> None:
    peer.headers(1, peer.post if post else None, end, flags=0)


def small_window(peer: Peer, size: int) -> None:
    peer.set((INITIAL_WINDOW, size))
    settings_acknowledged(peer)
    peer.headers(1)


def late_window(peer: Peer) -> None:
    peer.set((INITIAL_WINDOW, 0))
    settings_acknowledged(peer)
    peer.headers(1)
    peer.set((INITIAL_WINDOW, 1))


def negative_window(peer: Peer) -> None:
    assert len(BODY) >= 5
    small_window(peer, 3)
    data_of(3)(peer)
    peer.set((INITIAL_WINDOW, 2))
    settings_acknowledged(peer)
    peer.window(1, 2)


def window_of_stream_overflows(peer: Peer) -> None:
    frame = peer.until(lambda frame: frame.kind in (RST_STREAM, GOAWAY), "RST_STREAM")
    assert (frame.kind, frame.stream, frame.code) == (RST_STREAM, 1, FLOW_CONTROL_ERROR)


def with_fields(*more: tuple[bytes, bytes]):  # type: ignore[no-untyped-def]
    return lambda p: p.headers(1, [*p.get, *more])


def without_field(index: int):  # type: ignore[no-untyped-def]
    return lambda p: p.headers(1, [field for i, field in enumerate(p.get) if i != index])


def second_headers(trailers: Fields, end: bool = False):  # type: ignore[no-untyped-def]
    def run(peer: Peer) -> None:
        peer.headers(1, peer.post, False)
        peer.data(1, end=False)
        peer.headers(1, trailers, end)

    return run


def with_length(length: bytes, *parts: bytes):  # type: ignore[no-untyped-def]
    def run(peer: Peer) -> None:
        peer.headers(1, [*peer.post, (b"content-length", length)], False)
        for number, part in enumerate(parts, 1):
            peer.data(1, part, end=number == len(parts))

    return run


def push_promise(peer: Peer) -> None:
    peer.frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\3" + peer.block(peer.get))


def too_large_update(peer: Peer) -> None:
    size = peer.settings.get(TABLE_SIZE, 4096) + 1 - 31
    update = bytearray(b"\x3f")
    while size >= 128:
        update.append(0x80 | (size & 0x7F))
        size >>= 7
    update.append(size)
    peer.headers(1, before=bytes(update))


MORE = [
    Case("http2/6.7/1", "Sends a PING frame", lambda p: p.ping(), pong()),
    Case("http2/6.7/2", "Sends a PING frame with ACK",
         lambda p: (p.ping(b"invalid\0", ack=True), p.ping()), pong()),
    Case("http2/6.7/3", "Sends a PING frame with a stream identifier field value other than 0x0",
         lambda p: p.frame(PING, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.7/4", "Sends a PING frame with a length field value other than 8",
         lambda p: p.frame(PING, 0, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/6.7/4 (on stream 1)", "Sends a PING frame with a length field value other than 8",
         lambda p: p.frame(PING, 0, 1, bytes(6)), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/6.8/1", "Sends a GOAWAY frame with a stream identifier other than 0x0",
         lambda p: p.frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.9/1", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
         lambda p: p.window(0, 0), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.9/2", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
         lambda p: (p.headers(1, end=False), p.window(1, 0)), stream_error(PROTOCOL_ERROR)),
    Case("http2/6.9/3", "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
         lambda p: p.frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), connection_error(FRAME_SIZE_ERROR)),
    Case("http2/6.9.1/1", "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
         lambda p: small_window(p, 1), data_of(1)),
    Case("http2/6.9.1/2",
         "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
         lambda p: (p.window(0, 2**31 - 1), p.window(0, 2**31 - 1)), connection_error(FLOW_CONTROL_ERROR)),
    Case("http2/6.9.1/3",
         "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
         lambda p: (p.headers(1, end=False), p.window(1, 2**31 - 1), p.window(1, 2**31 - 1)),
         window_of_stream_overflows),
    Case("http2/6.9.2/1", "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame", late_window, data_of(1)),
    Case("http2/6.9.2/2", "Sends a SETTINGS frame for window size to be negative", negative_window, data_of(1)),
    Case("http2/6.9.2/3", "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
         lambda p: p.set((INITIAL_WINDOW, 2**31)), connection_error(FLOW_CONTROL_ERROR)),
    Case("http2/6.10/1", "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
         lambda p: (begin_block(p), p.continuation(1, end=False), p.continuation(1)), answered()),
    Case("http2/6.10/2", "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
         lambda p: (begin_block(p, False, True), p.continuation(1, end=False), p.data(1)),
         connection_error(PROTOCOL_ERROR)),
    Case("http2/6.10/3", "Sends a CONTINUATION frame with 0x0 stream identifier",
         lambda p: (begin_block(p), p.continuation(0)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.10/4", "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
         lambda p: (p.headers(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.10/5", "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
         lambda p: (begin_block(p), p.continuation(1), p.continuation(1)), connection_error(PROTOCOL_ERROR)),
    Case("http2/6.10/6", "Sends a CONTINUATION frame preceded by a DATA frame",
         lambda p: (begin_block(p, False, True), p.data(1), p.continuation(1, end=False), p.continuation(0)),
         connection_error(PROTOCOL_ERROR)),
    Case("http2/7/1", "Sends a GOAWAY frame with unknown error code", lambda p: p.goaway(0, 0xFF), pong_or_end),
    Case("http2/7/2", "Sends a RST_STREAM frame with unknown error code",
         lambda p: (p.headers(1, p.post, False), p.reset(1, 0xFF), p.ping()), pong()),
    Case("http2/8.1/1", "Sends a second HEADERS frame without the END_STREAM flag",
         second_headers([TEST_OK]), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2/1", "Sends a HEADERS frame that contains the header field name in uppercase letters",
         with_fields((b"X-TEST", b"ok")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/1", "Sends a HEADERS frame that contains a unknown pseudo-header field",
         with_fields((b":test", b"ok")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/2", "Sends a HEADERS frame that contains the pseudo-header field defined for response",
         with_fields((b":status", b"200")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/3", "Sends a HEADERS frame that contains a pseudo-header field as trailers",
         second_headers([(b":method", b"POST")]), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/3 (END_STREAM)", "Sends a HEADERS frame that contains a pseudo-header field as trailers",
         second_headers([(b":method", b"POST")], True), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/4", "Sends a HEADERS frame that contains a pseudo-header field that appears in a header block"
         " after a regular header field", lambda p: p.headers(1, [TEST_OK, *p.get]), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1/4 (per call)", "The same after a field that differs in every call",
         lambda p: p.headers(1, [(b"traceparent", b"00-1-1-01"), *p.get]), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.2/1", "Sends a HEADERS frame that contains the connection-specific header field",
         with_fields((b"connection", b"keep-alive")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.2/2", 'Sends a HEADERS frame that contains the TE header field with any value other than'
         ' "trailers"', with_fields((b"trailers", b"test"), (b"te", b"trailers, deflate")),
         stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/1", 'Sends a HEADERS frame with empty ":path" pseudo-header field',
         lambda p: p.headers(1, [p.get[0], p.get[1], (b":path", b""), p.get[3]]), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/2", 'Sends a HEADERS frame that omits ":method" pseudo-header field',
         without_field(0), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/3", 'Sends a HEADERS frame that omits ":scheme" pseudo-header field',
         without_field(1), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/4", 'Sends a HEADERS frame that omits ":path" pseudo-header field',
         without_field(2), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/5", 'Sends a HEADERS frame with duplicated ":method" pseudo-header field',
         with_fields((b":method", b"GET")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/6", 'Sends a HEADERS frame with duplicated ":scheme" pseudo-header field',
         with_fields((b":scheme", b"http")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3/7", 'Sends a HEADERS frame with duplicated ":path" pseudo-header field',
         with_fields((b":path", b"/")), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.6/1", 'Sends a HEADERS frame with the "content-length" header field which does not equal the'
         " DATA frame payload length", with_length(b"1", b"test"), stream_error(PROTOCOL_ERROR)),
    Case("http2/8.1.2.6/2", 'Sends a HEADERS frame with the "content-length" header field which does not equal the'
         " sum of the multiple DATA frames payload length", with_length(b"1", b"test", b"test"),
         stream_error(PROTOCOL_ERROR)),
    Case("http2/8.2/1", "Sends a PUSH_PROMISE frame", push_promise, connection_error(PROTOCOL_ERROR)),
    Case("hpack/2.3.3/1", "Sends a indexed header field representation with invalid index",
         lambda p: p.headers(1, after=b"\xc6"), connection_error(COMPRESSION_ERROR)),
    Case("hpack/2.3.3/1 (126)", "Sends a header field representation with invalid index",
         lambda p: p.headers(1, after=b"\xfe"), connection_error(COMPRESSION_ERROR)),
    Case("hpack/2.3.3/2", "Sends a literal header field representation with invalid index",
         lambda p: p.headers(1, after=b"\x7f\x07\0"), connection_error(COMPRESSION_ERROR)),
    Case("hpack/4.2/1", "Sends a dynamic table size update at the end of header block",
         lambda p: p.headers(1, after=b"\x21"), connection_error(COMPRESSION_ERROR)),
    Case("hpack/5.2/1", "Sends a Huffman-encoded string literal representation with padding longer than 7 bits",
         lambda p: p.headers(1, after=bytes.fromhex("0085f2b24a84ff8449509fff")),
         connection_error(COMPRESSION_ERROR)),
    Case("hpack/5.2/2", "Sends a Huffman-encoded string literal representation padded by zero",
         lambda p: p.headers(1, after=bytes.fromhex("0085f2b24a84ff83495090")),
         connection_error(COMPRESSION_ERROR)),
    Case("hpack/5.2/3", "Sends a Huffman-encoded string literal representation containing the EOS symbol",
         lambda p: p.headers(1, after=bytes.fromhex("0085f2b24a87fffffffd25427f")),
         connection_error(COMPRESSION_ERROR)),
    Case("hpack/6.1/1", "Sends a indexed header field representation with index 0",
         lambda p: p.headers(1, after=b"\x80"), connection_error(COMPRESSION_ERROR)),
    Case("hpack/6.3/1", "Sends a dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
         too_large_update, connection_error(COMPRESSION_ERROR)),
]  # fmt: skip
