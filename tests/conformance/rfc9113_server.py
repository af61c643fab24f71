"""What RFC 9113, 8441 and 9110 ask of a server beyond h2spec's cases, section by section: frames and streams."""

from __future__ import annotations

import itertools

from conf_peer import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
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
    NO_ERROR,
    PADDED,
    PREFACE,
    PRIORITIZED,
    PROTOCOL_ERROR,
    SETTINGS,
    STREAM_CLOSED,
    TABLE_SIZE,
    WINDOW_UPDATE,
    Case,
    Peer,
    answered,
    connection_error,
    data_of,
    ended,
    goes_on,
    pong,
    reset_of,
    settings_acknowledged,
    stream_ends,
    stream_error,
)

LAST_ID = 2**31 - 1


def unknown(stream: int = 0, flags: int = 0xFF, octets: bytes = b"whatever") -> bytes:
    return len(octets).to_bytes(3, "big") + b"\xbe" + bytes((flags,)) + stream.to_bytes(4, "big") + octets


def malformed(peer: Peer, stream: int = 1, end: bool = False) -> None:
    """A request that is reset, so that the stream is closed by the server."""
    peer.headers(stream, [*peer.post, (b"x y", b"z")], end)


def octet_by_octet(peer: Peer) -> None:
    for octet in PREFACE:
        peer.send(bytes((octet,)))
    peer.set()
    peer.headers(1)


def at_once(peer: Peer) -> None:
    """RFC 9113, section 3.4: a client need not wait for the server's preface."""
    block = peer.block(peer.get)
    head = len(block).to_bytes(3, "big") + bytes((HEADERS, END_STREAM | END_HEADERS)) + (1).to_bytes(4, "big")
    peer.send(PREFACE + b"\0\0\0\4\0\0\0\0\0" + head + block)


def in_pieces(n: int):  # type: ignore[no-untyped-def]
    """A header block in `n` frames; some of them may be empty."""

    def run(peer: Peer) -> None:
        block = peer.block(peer.get)
        cuts = [len(block) * i // n for i in range(n + 1)]
        parts = [block[a:b] for a, b in itertools.pairwise(cuts)]
        peer.frame(HEADERS, END_STREAM, 1, parts[0])
        for number, part in enumerate(parts[1:], 1):
            peer.frame(CONTINUATION, END_HEADERS if number == n - 1 else 0, 1, part)

    return run


def table_survives(peer: Peer) -> None:
    """Blocks of requests that are refused count for the table as any other (RFC 9113, section 4.3)."""
    peer.headers(1, [*peer.get, (b"x-a", b"1"), (b"UPPER", b"2")])
    peer.headers(3, [*peer.get, (b"x-b", b"3"), *[(b"x-%d" % i, b"v" * 4000) for i in range(30)]][:6])
    peer.headers(5, [*peer.get, (b"x-a", b"1"), (b"x-b", b"3")])
    peer.until(lambda frame: frame.kind == HEADERS and frame.stream == 5, "the answer to the third request")


def more_than_the_window(stream_only: bool):  # type: ignore[no-untyped-def]
    def run(peer: Peer) -> None:
        peer.headers(1, peer.post, False)
        left = peer.settings.get(INITIAL_WINDOW, 65_535) + 1
        while left:
            n = min(left, 16_384)
            peer.data(1, bytes(n), False)
            left -= n

    return run


def max_stream_id(peer: Peer) -> None:
    peer.headers(LAST_ID)
    answered(LAST_ID)(peer)


def no_table(peer: Peer) -> None:
    """The server's encoder has to say that it follows, in the next block (RFC 7541, section 4.2)."""
    peer.set((TABLE_SIZE, 0))
    settings_acknowledged(peer)
    peer.headers(1)
    frame = peer.until(lambda frame: frame.kind == HEADERS, "HEADERS")
    assert frame.payload[0] & 0xE0 == 0x20
    peer.decoder.max_allowed_table_size = 0
    assert (b":status", b"200") in peer.fields_of(frame)


def leave(peer: Peer) -> None:
    """GOAWAY of the client while a request is under way: it is answered, then the connection ends."""
    peer.headers(1, peer.post, False)
    peer.goaway()
    peer.data(1)
    stream_ends(peer)


def said_goaway_and_ended(peer: Peer) -> None:
    ended(peer)
    last = [frame for frame in peer.seen if frame.kind == GOAWAY][-1]
    assert (last.code, last.payload[:4]) == (NO_ERROR, (1).to_bytes(4, "big"))


def trailers(peer: Peer, end: bool = True) -> None:
    peer.headers(1, peer.post, False)
    peer.data(1, end=False)
    peer.headers(1, [(b"x-test", b"ok")], end)


def split_trailers(peer: Peer) -> None:
    peer.headers(1, peer.post, False)
    block = peer.block([(b"x-test", b"ok"), (b"x-more", b"ok")])
    peer.frame(HEADERS, END_STREAM, 1, block[:5])
    peer.frame(CONTINUATION, END_HEADERS, 1, block[5:])


FRAMES = [
    Case("9113/3.4/1", "the preface octet by octet", octet_by_octet, answered(), fresh=True),
    Case("9113/3.4/2", "a request before the server's SETTINGS are here", at_once, answered(), fresh=True),
    Case("9113/3.4/3", "HEADERS before SETTINGS", lambda p: (p.send(PREFACE), p.headers(1)),
         connection_error(PROTOCOL_ERROR), fresh=True),
    Case("9113/3.4/4", "an acknowledgement before SETTINGS", lambda p: (p.send(PREFACE), p.frame(SETTINGS, ACK)),
         connection_error(PROTOCOL_ERROR), fresh=True),
    Case("9113/3.4/5", "an unknown frame before SETTINGS", lambda p: (p.send(PREFACE), p.send(unknown())),
         connection_error(PROTOCOL_ERROR), fresh=True),
    Case("9113/3.4/6", "a preface with one octet wrong", lambda p: p.send(PREFACE[:-1] + b"\r"),
         ended, fresh=True),
    Case("9113/4.1/1", "unknown frames anywhere but within a header block",
         lambda p: (p.send(unknown()), p.send(unknown(1)), p.send(unknown(2)), p.headers(1, end=False),
                    p.send(unknown(1)), p.data(1)), answered()),
    Case("9113/4.1/2", "reserved bits of stream identifiers",
         lambda p: (p.frame(HEADERS, END_HEADERS, 1 | 1 << 31, p.block(p.post)), p.data(1 | 1 << 31)), answered()),
    Case("9113/4.1/3", "undefined flags",
         lambda p: (p.headers(1, p.post, False, flags=END_HEADERS | 0xD2), p.frame(DATA, END_STREAM | 0xF6, 1, b"x")),
         answered()),
    Case("9113/4.2/1", "an unknown frame over the frame size", lambda p: p.send(unknown(0, 0, bytes(16_385))),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113/4.2/2", "a frame that claims 16 MiB", lambda p: p.frame(DATA, 0, 1, b"", length=2**24 - 1),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113/4.2/3", "an unknown frame as large as allowed",
         lambda p: (p.send(unknown(0, 0, bytes(16_384))), p.headers(1)), answered()),
    Case("9113/4.2/4", "the size of a PING is judged before all of it is here",
         lambda p: p.frame(6, 0, 0, b"", length=9), connection_error(FRAME_SIZE_ERROR)),
    Case("9113/4.2/5", "the size of a WINDOW_UPDATE is judged before all of it is here",
         lambda p: p.frame(WINDOW_UPDATE, 0, 0, b"", length=5), connection_error(FRAME_SIZE_ERROR)),
    Case("9113/4.3/1", "a header block in two frames", in_pieces(2), answered()),
    Case("9113/4.3/2", "a header block in sixteen frames", in_pieces(16), answered()),
    Case("9113/4.3/3", "a header block in frames of which some are empty",
         lambda p: (p.frame(HEADERS, END_STREAM, 1, b""), p.frame(CONTINUATION, 0, 1, b""),
                    p.frame(CONTINUATION, END_HEADERS, 1, p.block(p.get))), answered()),
    Case("9113/4.3/4", "the table goes on over refused requests", table_survives, goes_on),
    Case("9113/4.3/5", "an undecodable block on a closed stream",
         lambda p: (malformed(p), p.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\x0f")),
         connection_error(COMPRESSION_ERROR)),
    Case("9113/5.1/1", "closed by the server: frames that were under way are ignored",
         lambda p: (malformed(p), p.data(1, end=False), p.window(1, 5), p.headers(1, [(b"a", b"b")])),
         reset_of(1, PROTOCOL_ERROR)),
    Case("9113/5.1/2", "closed by the server: RST_STREAM crosses ours",
         lambda p: (malformed(p), p.reset(1)), reset_of(1, PROTOCOL_ERROR)),
    Case("9113/5.1/3", "closed: WINDOW_UPDATE and RST_STREAM are ignored",
         lambda p: (p.headers(1), stream_ends(p), p.window(1, 1), p.window(1, 0), p.reset(1)), goes_on),
    Case("9113/5.1/4", "half-closed (remote): RST_STREAM and PRIORITY are taken",
         lambda p: (p.headers(1), p.priority(1), p.reset(1)), goes_on),
    Case("9113/5.1.1/1", "identifiers that were left out are closed: HEADERS",
         lambda p: (p.headers(7), p.headers(3)), connection_error(PROTOCOL_ERROR)),
    Case("9113/5.1.1/2", "identifiers that were left out are closed: DATA",
         lambda p: (p.headers(7), p.data(3)), stream_error(STREAM_CLOSED)),
    Case("9113/5.1.1/3", "the highest identifier of all", max_stream_id, goes_on),
    Case("9113/5.1.1/4", "DATA on a stream of the server", lambda p: p.data(2), connection_error(PROTOCOL_ERROR)),
    Case("9113/5.1.1/5", "RST_STREAM on a stream of the server", lambda p: p.reset(2),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/5.2.1/1", "DATA past the stream's window", more_than_the_window(True), stream_error(FLOW_CONTROL_ERROR),
         codec_only=True),
    Case("9113/6.1/1", "padding of no octets",
         lambda p: (p.headers(1, p.post, False), p.frame(DATA, END_STREAM | PADDED, 1, b"\0test")), answered()),
    Case("9113/6.1/2", "nothing but padding",
         lambda p: (p.headers(1, p.post, False), p.frame(DATA, END_STREAM | PADDED, 1, b"\xff" + bytes(255))),
         answered()),
    Case("9113/6.1/3", "a padded frame without a pad length",
         lambda p: (p.headers(1, p.post, False), p.frame(DATA, PADDED, 1, b"")), connection_error(FRAME_SIZE_ERROR)),
    Case("9113/6.1/4", "padding as long as the frame",
         lambda p: (p.headers(1, p.post, False), p.frame(DATA, PADDED, 1, b"\1")), connection_error(PROTOCOL_ERROR)),
    Case("9113/6.1/5", "no octets, and the end", lambda p: (p.headers(1, p.post, False), p.data(1, b"")), answered()),
    Case("9113/6.2/1", "HEADERS with priority and padding",
         lambda p: p.headers(1, flags=END_HEADERS | PRIORITIZED | PADDED, before=b"\3\x80\0\0\3\x10", after=bytes(3)),
         answered()),
    Case("9113/6.2/2", "HEADERS too short for its priority",
         lambda p: p.frame(HEADERS, END_HEADERS | PRIORITIZED, 1, bytes(4)), connection_error(FRAME_SIZE_ERROR)),
    Case("9113/6.2/3", "HEADERS whose padding reaches into its priority",
         lambda p: p.frame(HEADERS, END_HEADERS | PRIORITIZED | PADDED, 1, b"\4" + bytes(8)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/6.2/4", "padded HEADERS without a pad length",
         lambda p: p.frame(HEADERS, END_HEADERS | PADDED, 1, b""), connection_error(FRAME_SIZE_ERROR)),
    Case("9113/6.3/1", "PRIORITY on any stream", lambda p: [p.priority(stream) for stream in (1, 2, 3, 2**31 - 1)],
         goes_on),
    Case("9113/6.5/1", "SETTINGS of nothing", lambda p: p.set(), settings_acknowledged),
    Case("9113/6.5/2", "values at their bounds",
         lambda p: (p.set((INITIAL_WINDOW, 2**31 - 1), (MAX_FRAME, 2**24 - 1), (ENABLE_PUSH, 1), (MAX_STREAMS, 0),
                          (TABLE_SIZE, 2**32 - 1), (6, 2**32 - 1)), p.headers(1)), answered()),
    Case("9113/6.5/3", "an acknowledgement of nothing", lambda p: p.frame(SETTINGS, ACK), goes_on),
    Case("9113/6.5/4", "no dynamic table", no_table, goes_on),
    Case("9113/6.5/5", "SETTINGS whose last entry is cut off",
         lambda p: p.frame(SETTINGS, 0, 0, bytes(11)), connection_error(FRAME_SIZE_ERROR)),
    Case("9218/2.1/1", "SETTINGS_NO_RFC7540_PRIORITIES after the first SETTINGS",
         lambda p: p.set((9, 1)), connection_error(PROTOCOL_ERROR)),
    Case("8441/3/1", "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", lambda p: p.set((8, 2)),
         connection_error(PROTOCOL_ERROR)),
    Case("8441/4/1", "an upgrade is answered, whatever the app makes of it",
         lambda p: p.headers(1, [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *p.get[1:]]), answered()),
    Case("9113/6.7/1", "many PINGs at once",
         lambda p: [p.ping(bytes((n,)) * 8) for n in range(20)], pong(bytes(8))),
    Case("9113/6.8/1", "GOAWAY while a request is under way", leave, said_goaway_and_ended),
    Case("9113/6.8/2", "GOAWAY of 7 octets", lambda p: p.frame(GOAWAY, 0, 0, bytes(7)),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113/6.9/1", "the largest window of all",
         lambda p: (p.headers(1, p.post, False), p.window(0, 2**31 - 1 - 65_535), p.window(1, 2**31 - 1 - 65_535),
                    p.data(1)), answered()),
    Case("9113/6.9/2", "reserved bit of an increment",
         lambda p: (p.window(0, 1 | 1 << 31), p.headers(1)), answered()),
    Case("9113/6.9/3", "an increment of nothing but the reserved bit", lambda p: p.window(0, 1 << 31),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/6.9/4", "an increment of 0 on an idle stream", lambda p: p.window(1, 0),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/6.9/5", "WINDOW_UPDATE of 5 octets on a stream",
         lambda p: (p.headers(1, end=False), p.frame(WINDOW_UPDATE, 0, 1, bytes(5))),
         connection_error(FRAME_SIZE_ERROR)),
    Case("9113/6.9.2/1", "an initial window that makes a stream's overflow",
         lambda p: (p.headers(1, end=False), p.window(1, 2**31 - 1 - 65_535), p.set((INITIAL_WINDOW, 65_536))),
         connection_error(FLOW_CONTROL_ERROR)),
    Case("9113/6.9.2/2", "no window, then one octet of it, then the rest",
         lambda p: (p.set((INITIAL_WINDOW, 0)), p.headers(1), p.window(1, 1), data_of(1)(p), p.window(1, 1000)),
         stream_ends),
    Case("9113/6.10/1", "more CONTINUATION frames than a header block needs",
         lambda p: (p.headers(1, flags=0), [p.frame(CONTINUATION, 0, 1, b"") for _ in range(200)]),
         connection_error(11)),
    Case("9113/7/1", "every code in RST_STREAM",
         lambda p: [(p.headers(stream, p.post, False), p.reset(stream, stream)) for stream in range(1, 31, 2)],
         goes_on),
    Case("9113/8.1/1", "trailers", trailers, answered()),
    Case("9113/8.1/2", "trailers in two frames", split_trailers, answered()),
    Case("9113/8.1/3", "DATA after trailers", lambda p: (trailers(p), p.data(1)), stream_error(STREAM_CLOSED)),
    Case("9113/8.1/4", "trailers after trailers",
         lambda p: (trailers(p), p.headers(1, [(b"x-test", b"ok")])), stream_error(STREAM_CLOSED)),
    Case("9113/8.1/5", "trailers at once", lambda p: (p.headers(1, p.post, False), p.headers(1, [(b"a", b"b")])),
         answered()),
    Case("9113/8.1/6", "a request cancelled, and the next", lambda p: (p.headers(1, p.post, False), p.reset(1, CANCEL),
         p.headers(3)), answered(3)),
]  # fmt: skip
