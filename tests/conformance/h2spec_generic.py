"""The cases of h2spec's `generic` group: what every server must take. Ids and titles are h2spec's (release 2.6)."""

from __future__ import annotations

from conf_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    MAX_LIST,
    MAX_STREAMS,
    PADDED,
    PREFACE,
    PRIORITIZED,
    SETTINGS,
    TABLE_SIZE,
    Case,
    Peer,
    answered,
    pong,
    pong_or_end,
    settings_acknowledged,
    stream_ends,
)

TEST_OK = (b"x-test", b"ok")
# Representations of `user-agent: h2spec` and `x-test: h2spec`, as RFC 7541, section 6.2, has them.
PLAIN_AGENT = bytes.fromhex("0a757365722d6167656e74" + "06683273706563")
CODED_AGENT = bytes.fromhex("87b505b161cc5a93" + "849c48aca4")
PLAIN_NAME = bytes.fromhex("06782d74657374" + "06683273706563")
CODED_NAME = bytes.fromhex("85f2b24a84ff" + "849c48aca4")

def first_frame_is_settings(peer: Peer) -> None:
    frame = peer.next()
    assert frame is not None
    assert (frame.kind, frame.flags) == (SETTINGS, 0)

def blocked_request(peer: Peer) -> None:
    """A request whose answer can't end: there is no window for its DATA."""
    peer.set((INITIAL_WINDOW, 0))
    peer.headers(1)

def some_data(peer: Peer) -> None:
    frame = peer.until(lambda frame: frame.kind == DATA and len(frame.payload) > 0, "DATA")
    assert len(frame.payload) == 1

def close_stream_1(peer: Peer) -> None:
    peer.headers(1)
    stream_ends(peer)

def prioritised(peer: Peer) -> None:
    peer.headers(1, flags=END_HEADERS | PRIORITIZED, before=b"\0\0\0\0\xff")

def split_block(*cuts: int):  # type: ignore[no-untyped-def]
    def run(peer: Peer) -> None:
        block = peer.block(peer.get)
        parts = [block[a:b] for a, b in zip((0, *cuts), (*cuts, len(block)), strict=True)]
        peer.frame(HEADERS, END_STREAM, 1, parts[0])
        for part in parts[1:-1]:
            peer.frame(CONTINUATION, 0, 1, part)
        peer.frame(CONTINUATION, END_HEADERS, 1, parts[-1])

    return run

def post_with_trailers(peer: Peer) -> None:
    peer.headers(1, [*peer.post, (b"trailer", b"x-test")], False)
    peer.data(1, end=False)
    peer.headers(1, [TEST_OK])

GENERIC = [
    Case("generic/1/1", "Sends a client connection preface",
         lambda p: (p.send(PREFACE), p.set((INITIAL_WINDOW, 65_535))), first_frame_is_settings, fresh=True),
    Case("generic/2/1", "Sends a PRIORITY frame on idle stream", lambda p: (p.priority(1), p.ping()), pong()),
    Case("generic/2/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
         lambda p: (blocked_request(p), p.window(1, 1)), some_data),
    Case("generic/2/3", "Sends a PRIORITY frame on half-closed (remote) stream",
         lambda p: (blocked_request(p), p.priority(1), p.window(1, 1)), some_data),
    Case("generic/2/4", "Sends a RST_STREAM frame on half-closed (remote) stream",
         lambda p: (p.headers(1), p.reset(1), p.ping()), pong()),
    Case("generic/2/5", "Sends a PRIORITY frame on closed stream",
         lambda p: (close_stream_1(p), p.priority(1), p.ping()), pong()),
    Case("generic/3.1/1", "Sends a DATA frame", lambda p: (p.headers(1, p.post, False), p.data(1)), answered()),
    Case("generic/3.1/2", "Sends multiple DATA frames",
         lambda p: (p.headers(1, p.post, False), p.data(1, end=False), p.data(1)), answered()),
    Case("generic/3.1/3", "Sends a DATA frame with padding",
         lambda p: (p.headers(1, p.post, False), p.frame(DATA, END_STREAM | PADDED, 1, b"\6test" + bytes(6))),
         answered()),
    Case("generic/3.2/1", "Sends a HEADERS frame", lambda p: p.headers(1), answered()),
    Case("generic/3.2/2", "Sends a HEADERS frame with padding",
         lambda p: p.headers(1, flags=END_HEADERS | PADDED, before=b"\x08", after=bytes(8)), answered()),
    Case("generic/3.2/3", "Sends a HEADERS frame with priority", prioritised, answered()),
    Case("generic/3.3/1", "Sends a PRIORITY frame with priority 1",
         lambda p: (p.priority(1, weight=0), p.headers(1)), answered()),
    Case("generic/3.3/2", "Sends a PRIORITY frame with priority 256",
         lambda p: (p.priority(1), p.headers(1)), answered()),
    Case("generic/3.3/3", "Sends a PRIORITY frame with stream dependency",
         lambda p: (p.priority(3, on=1, weight=0), p.headers(1)), answered()),
    Case("generic/3.3/4", "Sends a PRIORITY frame with exclusive",
         lambda p: (p.priority(1, weight=0, exclusive=True), p.headers(1)), answered()),
    Case("generic/3.3/5", "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID",
         lambda p: (p.priority(3), p.headers(1)), answered()),
    Case("generic/3.4/1", "Sends a RST_STREAM frame",
         lambda p: (p.headers(1, end=False), p.reset(1), p.ping()), pong()),
    Case("generic/3.5/1", "Sends a SETTINGS frame",
         lambda p: p.set((TABLE_SIZE, 4096), (2, 1), (MAX_STREAMS, 100), (INITIAL_WINDOW, 65_535), (MAX_FRAME, 16_384),
                         (MAX_LIST, 100)), settings_acknowledged),
    Case("generic/3.7/1", "Sends a PING frame", lambda p: p.ping(), pong()),
    Case("generic/3.8/1", "Sends a GOAWAY frame", lambda p: p.goaway(0, 0, b"h2spec"), pong_or_end),
    Case("generic/3.9/1", "Sends a WINDOW_UPDATE frame with stream ID 0",
         lambda p: (p.window(0, 1), p.ping()), pong()),
    Case("generic/3.9/2", "Sends a WINDOW_UPDATE frame with stream ID 1",
         lambda p: (p.headers(1), p.window(1, 1)), answered()),
    Case("generic/3.10/1", "Sends a CONTINUATION frame", split_block(5), answered()),
    Case("generic/3.10/2", "Sends multiple CONTINUATION frames", split_block(5, 10), answered()),
    Case("generic/4/1", "Sends a GET request", lambda p: p.headers(1), answered()),
    Case("generic/4/2", "Sends a HEAD request",
         lambda p: p.headers(1, [(b":method", b"HEAD"), *p.get[1:]]), answered()),
    Case("generic/4/3", "Sends a POST request", lambda p: (p.headers(1, p.post, False), p.data(1)), answered()),
    Case("generic/4/4", "Sends a POST request with trailers", post_with_trailers, answered()),
]  # fmt: skip

# (title, representation): each stands behind the request's own fields.
REPRESENTATIONS = [
    ("Sends a indexed header field representation", b"\xba"),
    ("Sends a literal header field with incremental indexing - indexed name", b"\x40" + CODED_AGENT),
    ("Sends a literal header field with incremental indexing - indexed name (with Huffman coding)",
     b"\x40" + PLAIN_AGENT),
    ("Sends a literal header field with incremental indexing - new name", b"\x40" + PLAIN_NAME),
    ("Sends a literal header field with incremental indexing - new name (with Huffman coding)", b"\x40" + CODED_NAME),
    ("Sends a literal header field without indexing - indexed name", b"\0" + PLAIN_AGENT),
    ("Sends a literal header field without indexing - indexed name (with Huffman coding)", b"\0" + CODED_AGENT),
    ("Sends a literal header field without indexing - new name", b"\0" + PLAIN_NAME),
    ("Sends a literal header field without indexing - new name (huffman encoded)", b"\0" + CODED_NAME),
    ("Sends a literal header field never indexed - indexed name", b"\x10" + PLAIN_AGENT),
    ("Sends a literal header field never indexed - indexed name (huffman encoded)", b"\x10" + CODED_AGENT),
    ("Sends a literal header field never indexed - new name", b"\x10" + CODED_NAME),
    ("Sends a literal header field never indexed - new name (huffman encoded)", b"\x10" + CODED_NAME),
]  # fmt: skip

def with_representation(number: int, title: str, octets: bytes) -> Case:
    return Case(f"generic/5/{number}", title, lambda p: p.headers(1, after=octets), answered())

GENERIC += [with_representation(number, *each) for number, each in enumerate(REPRESENTATIONS, 1)]
GENERIC += [
    Case("generic/5/14", "Sends a dynamic table size update", lambda p: p.headers(1, before=b"\x20"), answered()),
    Case("generic/5/15", "Sends multiple dynamic table size update",
         lambda p: p.headers(1, before=b"\x20\x3f\xe1\x1f"), answered()),
]  # fmt: skip
