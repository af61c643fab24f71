from __future__ import annotations

import itertools

import pytest
from h2_peer import (
    ACK,
    PADDED,
    PREFACE,
    PRIORITIZED,
    REQUEST,
    RESPONSE,
    TRAILERS,
    Side,
    block,
    data,
    frame,
    headers,
    pump,
    reset,
    settings,
    window_update,
)

from mesh.wire.errors import ConnectionError_, StreamStateError
from mesh.wire.hpack import make_head
from mesh.wire.limits import Limits, Settings

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = 1, 3, 5, 6, 7
CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 8, 9, 11
GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))


# -- A whole exchange, in every cut.

TO_SERVER = (
    PREFACE
    + settings((3, 100))
    + frame("SETTINGS", ACK)
    + headers(1)
    + data(1, b"hello ")
    + data(1, b"world", True)
    + headers(3, end=True)
    + frame("PING", 0, 0, b"12345678")
    + headers(5)
    + data(5, b"x")
    + headers(5, [(b"x-end", b"1")], True)
    + window_update(0, 10)
    + reset(3)
)
AT_SERVER = [
    ("settings",),
    ("headers", 1, REQUEST, False),
    ("data", 1, b"hello ", False),
    ("data", 1, b"world", True),
    ("headers", 3, REQUEST, True),
    ("headers", 5, REQUEST, False),
    ("data", 5, b"x", False),
    ("headers", 5, ((b"x-end", b"1"),), True),
    ("writable", 0),
    ("reset", 3, 8, True),
]


@pytest.mark.parametrize("step", [1, 2, 7, 9, 10, 100, 10_000])
def test_a_server_in_every_cut(step: int) -> None:
    side = Side(fresh=True)
    side.conn.start()
    for at in range(0, len(TO_SERVER), step):
        side.feed(TO_SERVER[at : at + step])
    assert side.rest == b""
    assert side.events() == AT_SERVER
    kinds = [(kind, flags) for kind, flags, _, _ in side.sent()]
    assert kinds == [("SETTINGS", 0), ("WINDOW_UPDATE", 0), ("SETTINGS", ACK), ("PING", ACK)]


def test_what_follows_a_frame_is_left_alone() -> None:
    side = Side(fresh=True)
    side.conn.start()
    side.feed(TO_SERVER + b"\x00\x00\x05\x00")
    assert side.rest == b"\x00\x00\x05\x00"
    assert side.events() == AT_SERVER


@pytest.mark.parametrize("step", [1, 5, 9, 1000])
def test_a_client_in_every_cut(step: int) -> None:
    side = Side(client=True)
    stream = side.open(end=True)
    octets = (
        headers(1, [(b":status", b"100")])
        + headers(1, RESPONSE)
        + data(1, b"abc")
        + data(1)
        + headers(1, TRAILERS, True)
    )
    for at in range(0, len(octets), step):
        side.feed(octets[at : at + step])
    assert side.events() == [
        ("headers", 1, ((b":status", b"100"),), False),
        ("headers", 1, RESPONSE, False),
        ("data", 1, b"abc", False),
        ("headers", 1, TRAILERS, True),
    ]
    assert stream.closed
    assert side.conn.active == 0


def test_two_of_ours() -> None:
    client, server = Side(client=True, fresh=True), Side(fresh=True)
    client.conn.start()
    server.conn.start()
    pump(client, server)
    assert client.conn.settings_acknowledged
    assert server.conn.settings_acknowledged
    assert client.conn.peer_max_streams == 1000
    streams = [client.conn.open(i, block(REQUEST), False) for i in range(20)]
    assert [stream.owner for stream in streams] == list(range(20))
    for stream in streams:
        client.conn.send_data(stream, b"ping", 0, 4, True)
    pump(client, server)
    for stream in streams:
        mine = server.stream(stream.id)
        server.conn.send_headers(mine, block(RESPONSE), False)
        server.conn.send_data(mine, b"pong", 0, 4, False)
        server.conn.send_headers(mine, block(TRAILERS), True)
    pump(client, server)
    assert client.conn.statistics() == (20, 0, 0, 0, 80, 80)
    assert server.conn.all_streams() == []
    assert all(stream.closed for stream in streams)


# -- Frames that end the connection, with nothing open but stream 1 (its headers received, ours not sent).

BLOCK = block(REQUEST)
FATAL = {
    "data on stream 0": (data(0, b"x"), PROTOCOL_ERROR),
    "data on an idle stream": (data(3, b"x"), PROTOCOL_ERROR),
    "data on an even stream": (data(2, b"x"), PROTOCOL_ERROR),
    "headers on stream 0": (headers(0), PROTOCOL_ERROR),
    "headers on an even stream": (headers(2), PROTOCOL_ERROR),
    "rst on stream 0": (reset(0), PROTOCOL_ERROR),
    "rst on an idle stream": (reset(3), PROTOCOL_ERROR),
    "rst of 3 octets": (frame("RST_STREAM", 0, 1, b"abc"), FRAME_SIZE_ERROR),
    "rst of 5 octets": (frame("RST_STREAM", 0, 1, b"abcde"), FRAME_SIZE_ERROR),
    "window update on an idle stream": (window_update(3, 1), PROTOCOL_ERROR),
    "window update of 0": (window_update(0, 0), PROTOCOL_ERROR),
    "window update of 3 octets": (frame("WINDOW_UPDATE", 0, 0, b"abc"), FRAME_SIZE_ERROR),
    "window overflow": (window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
    "priority on stream 0": (frame("PRIORITY", 0, 0, bytes(5)), PROTOCOL_ERROR),
    "priority of 4 octets on an idle stream": (frame("PRIORITY", 0, 3, bytes(4)), FRAME_SIZE_ERROR),
    "priority on itself, idle": (frame("PRIORITY", 0, 3, b"\0\0\0\3\0"), PROTOCOL_ERROR),
    "push promise": (frame("PUSH_PROMISE", 4, 1, b"\0\0\0\2" + BLOCK), PROTOCOL_ERROR),
    "settings on a stream": (frame("SETTINGS", 0, 1), PROTOCOL_ERROR),
    "settings of 5 octets": (frame("SETTINGS", 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    "settings acknowledged with a payload": (frame("SETTINGS", ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "enable push of 2": (settings((2, 2)), PROTOCOL_ERROR),
    "initial window of 2^31": (settings((4, 2**31)), FLOW_CONTROL_ERROR),
    "initial window overflows": (window_update(1, 2**31 - 1 - 65_535) + settings((4, 65_536)), FLOW_CONTROL_ERROR),
    "frame size of 16383": (settings((5, 16_383)), PROTOCOL_ERROR),
    "frame size of 2^24": (settings((5, 2**24)), PROTOCOL_ERROR),
    "connect protocol of 2": (settings((8, 2)), PROTOCOL_ERROR),
    "no priorities of 2": (settings((9, 2)), PROTOCOL_ERROR),
    "ping on a stream": (frame("PING", 0, 1, bytes(8)), PROTOCOL_ERROR),
    "ping of 7 octets": (frame("PING", 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "goaway on a stream": (frame("GOAWAY", 0, 1, bytes(8)), PROTOCOL_ERROR),
    "goaway of 7 octets": (frame("GOAWAY", 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "continuation of nothing": (frame("CONTINUATION", 4, 1, b""), PROTOCOL_ERROR),
    "continuation of another stream": (frame("HEADERS", 0, 3, b"\x82") + frame("CONTINUATION", 4, 5), PROTOCOL_ERROR),
    "data within a header block": (frame("HEADERS", 0, 3, b"\x82") + data(1, b"x"), PROTOCOL_ERROR),
    "unknown within a header block": (frame("HEADERS", 0, 3, b"\x82") + b"\0\0\0\x77\0\0\0\0\3", PROTOCOL_ERROR),
    "headers within a header block": (frame("HEADERS", 0, 3, b"\x82") + headers(5), PROTOCOL_ERROR),
    "settings within a header block": (frame("HEADERS", 0, 3, b"\x82") + settings(), PROTOCOL_ERROR),
    "padding as long as the frame": (frame("DATA", PADDED, 1, b"\x01"), PROTOCOL_ERROR),
    "padded data without a length": (frame("DATA", PADDED, 1, b""), FRAME_SIZE_ERROR),
    "padded headers without a length": (frame("HEADERS", 4 | PADDED, 3, b""), FRAME_SIZE_ERROR),
    "padding over the block": (frame("HEADERS", 4 | PADDED, 3, b"\x05\x82"), PROTOCOL_ERROR),
    "headers shorter than a priority": (frame("HEADERS", 4 | PRIORITIZED, 3, b"abcd"), FRAME_SIZE_ERROR),
    "priority in the padding": (frame("HEADERS", 4 | PRIORITIZED | PADDED, 3, b"\x02abcdef"), PROTOCOL_ERROR),
    "a frame of 16385 octets": (b"\0\x40\x01\0\0\0\0\0\1", FRAME_SIZE_ERROR),
    "an unknown frame of 16 MiB": (b"\xff\xff\xff\x99\0\0\0\0\1", FRAME_SIZE_ERROR),
    "an undecodable block": (frame("HEADERS", 5, 3, b"\x80"), COMPRESSION_ERROR),
    "undecodable trailers": (frame("HEADERS", 5, 1, b"\xff\xff\xff\xff\xff\x0f"), COMPRESSION_ERROR),
    "a stream id that goes back": (headers(7, end=True) + headers(5, end=True), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", FATAL)
@pytest.mark.parametrize("step", [1, 10_000])
def test_connection_errors(name: str, step: int) -> None:
    octets, code = FATAL[name]
    side = Side()
    side.feed(headers(1))
    side.sent()
    if step == 1:
        for at in range(len(octets) - 1):
            try:
                side.feed(octets[at : at + 1])
            except ConnectionError_ as error:
                ended = error.code
                break
        else:
            ended = side.fails(octets[-1:])
        assert ended == code
        return
    assert side.fails(octets) == code
    side.events()
    side.feed(headers(9) + b"garbage")
    assert side.events() == []
    assert side.sent() == []


CLIENT_FATAL = {
    "response on an idle stream": (headers(3, RESPONSE), PROTOCOL_ERROR),
    "response on an even stream": (headers(2, RESPONSE), PROTOCOL_ERROR),
    "data on an idle stream": (data(3, b"x"), PROTOCOL_ERROR),
    "push promise": (frame("PUSH_PROMISE", 4, 1, b"\0\0\0\2" + BLOCK), PROTOCOL_ERROR),
    "push enabled by a server": (settings((2, 1)), PROTOCOL_ERROR),
    "rst on an idle stream": (reset(3), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", CLIENT_FATAL)
def test_connection_errors_of_a_client(name: str) -> None:
    octets, code = CLIENT_FATAL[name]
    side = Side(client=True)
    side.open()
    assert side.fails(octets) == code


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01", b"PRI * HTTP/1"]
)
def test_what_is_no_preface(octets: bytes) -> None:
    side = Side(fresh=True)
    side.conn.start()
    assert side.fails(octets) == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "octets", [headers(1), frame("PING", 0, 0, bytes(8)), frame("SETTINGS", ACK), b"\0\0\0\x99\0\0\0\0\0"]
)
@pytest.mark.parametrize("client", [False, True])
def test_settings_come_first(octets: bytes, client: bool) -> None:
    side = Side(client=client, fresh=True)
    side.conn.start()
    assert side.fails((b"" if client else PREFACE) + octets) == PROTOCOL_ERROR


# -- Frames on streams that are closed (RFC 9113, section 5.1).


def closed_by(how: str) -> Side:
    side = Side()
    side.feed(headers(1, end=how == "both"))
    if how == "both":
        side.conn.send_headers(side.stream(1), b"\x88", True)
    elif how == "peer":
        side.feed(reset(1))
    else:
        side.conn.reset(side.stream(1), CANCEL)
    side.sent()
    side.events()
    assert side.conn.active == 0
    return side


@pytest.mark.parametrize("octets", [data(1, b"x"), headers(1, TRAILERS, True)])
def test_frames_after_the_end(octets: bytes) -> None:
    assert closed_by("both").fails(octets) == STREAM_CLOSED
    side = closed_by("peer")
    side.feed(octets)
    assert side.resets() == [(1, STREAM_CLOSED)]
    side.feed(octets)
    assert side.sent() == []
    side = closed_by("us")
    side.feed(octets)
    assert side.sent() == []
    assert side.events() == []


@pytest.mark.parametrize("how", ["both", "peer", "us"])
def test_harmless_frames_after_the_end(how: str) -> None:
    side = closed_by(how)
    side.feed(
        window_update(1, 5)
        + window_update(1, 0)
        + reset(1)
        + frame("PRIORITY", 0, 1, bytes(5))
    )
    assert side.sent() == []
    assert side.events() == []


@pytest.mark.parametrize("how", ["both", "peer", "us"])
@pytest.mark.parametrize(("payload", "code"), [(b"\0\0\0\1\0", PROTOCOL_ERROR), (bytes(4), FRAME_SIZE_ERROR)])
def test_a_malformed_priority_after_the_end(how: str, payload: bytes, code: int) -> None:
    side = closed_by(how)
    side.feed(frame("PRIORITY", 0, 1, payload) * 2)
    assert side.resets() == ([] if how == "us" else [(1, code)]), "a peer that we reset may not know it yet"
    assert side.events() == []


def test_data_for_a_dead_stream_is_given_back() -> None:
    side = Side(settings_=Settings(connection_window=65_535))
    side.feed(headers(1))
    side.conn.reset(side.stream(1), CANCEL)
    side.sent()
    for _ in range(3):
        side.feed(data(1, bytes(16_000)))
    assert side.sent() == [("WINDOW_UPDATE", 0, 0, (48_000).to_bytes(4, "big"))]


def test_the_connections_window_binds() -> None:
    side = Side(settings_=Settings(connection_window=65_535, max_held=65_535), auto_release=False)
    side.feed(headers(1) + headers(3))
    for _ in range(2):
        side.feed(data(1, bytes(16_383)) + data(3, bytes(16_383)))
    side.feed(data(1, b"abc"))
    assert side.fails(data(3, b"x")) == FLOW_CONTROL_ERROR


def test_padding_counts_for_flow_control() -> None:
    side = Side(auto_release=False)
    side.feed(headers(1))
    before = side.conn.recv_window
    side.feed(frame("DATA", PADDED, 1, b"\x05hello" + bytes(5)) + frame("DATA", PADDED, 1, b"\xff" + bytes(255)))
    assert side.events()[1:] == [("data", 1, b"hello", False)]
    assert before - side.conn.recv_window == 11 + 256


def test_a_smaller_window_of_ours_binds_when_it_is_acknowledged() -> None:
    side = Side(settings_=Settings(initial_window=1000), fresh=True, auto_release=False)
    side.conn.start()
    side.feed(PREFACE + settings() + headers(1) + data(1, bytes(2000)))
    assert side.stream(1).recv_window == 63_535
    side.feed(frame("SETTINGS", ACK))
    assert side.stream(1).recv_window == -1000
    side.feed(data(1, b"x"))
    assert side.events()[-1] == ("reset", 1, FLOW_CONTROL_ERROR, False)
    side.feed(headers(3) + data(3, bytes(1000)))
    assert side.events()[-1][0] == "data"


# -- Header blocks in several frames, bounds, SETTINGS, GOAWAY.


@pytest.mark.parametrize("parts", [2, 3, 16])
def test_continuation(parts: int) -> None:
    side = Side()
    cuts = [len(BLOCK) * i // parts for i in range(parts + 1)]
    pieces = [BLOCK[a:b] for a, b in itertools.pairwise(cuts)]
    side.feed(frame("HEADERS", 1, 1, pieces[0]))
    for piece in pieces[1:-1]:
        side.feed(frame("CONTINUATION", 0, 1, piece))
    assert side.events() == []
    side.feed(frame("CONTINUATION", 4, 1, pieces[-1]))
    assert side.events() == [("headers", 1, REQUEST, True)]


def test_a_list_over_the_limit_costs_the_stream_only() -> None:
    side = Side(settings_=Settings(max_header_list=500))
    side.feed(headers(1, (*REQUEST, (b"x", b"v" * 500))) + headers(3))
    assert side.resets() == [(1, ENHANCE_YOUR_CALM)]
    assert side.events() == [("headers", 3, REQUEST, False)]
    side.feed(headers(3, [(b"x", b"v" * 500)], True))
    assert side.events() == [("reset", 3, ENHANCE_YOUR_CALM, False)]


def test_streams_over_the_limit_are_refused() -> None:
    side = Side(settings_=Settings(max_concurrent_streams=2))
    side.feed(headers(1) + headers(3) + headers(5) + data(5, b"x"))
    assert side.resets() == [(5, REFUSED_STREAM)]
    assert [event[1] for event in side.events()] == [1, 3]
    side.feed(reset(1) + headers(7))
    assert side.events()[-1] == ("headers", 7, REQUEST, False)


def test_settings_of_the_peer_are_applied_and_acknowledged() -> None:
    side = Side(client=True, fresh=True)
    side.conn.start()
    side.sent()
    assert side.conn.peer_max_streams == 100
    assert side.conn.can_open()
    side.feed(settings((3, 1), (4, 100), (5, 20_000), (1, 0), (0x99, 7)))
    assert side.sent() == [("SETTINGS", ACK, 0, b"")]
    assert side.events() == [("settings",)]
    assert (side.conn.peer_max_streams, side.conn.peer_max_frame) == (1, 20_000)
    stream = side.open()
    assert stream.send_window == 100
    assert not side.conn.can_open()
    assert side.conn.encoder.encode(make_head(GET)).startswith(b"\x20"), "a table size update to 0"
    side.feed(settings((3, 5), (4, 300)))
    assert side.events() == [("settings",), ("writable", 0)]
    assert stream.send_window == 300
    assert side.conn.can_open()


def test_no_limit_of_streams_unless_the_peer_sets_one() -> None:
    side = Side(client=True)
    assert side.conn.peer_max_streams == 2**31 - 1


def test_ping_is_answered() -> None:
    side = Side()
    side.feed(frame("PING", 0, 0, b"abcdefgh"))
    assert side.sent() == [("PING", ACK, 0, b"abcdefgh")]


def test_goaway_refuses_what_the_peer_has_not_taken() -> None:
    side = Side(client=True)
    streams = [side.open() for _ in range(3)]
    side.feed(frame("GOAWAY", 0, 0, (1).to_bytes(4, "big") + (0).to_bytes(4, "big") + b"bye"))
    assert side.events() == [
        ("reset", 3, REFUSED_STREAM, True),
        ("reset", 5, REFUSED_STREAM, True),
        ("goaway", 1, 0, b"bye"),
    ]
    assert [stream.closed for stream in streams] == [False, True, True]
    assert side.conn.peer_goaway
    assert not side.conn.can_open()
    with pytest.raises(StreamStateError):
        side.open()
    side.feed(headers(3, RESPONSE) + data(3, b"x") + headers(1, RESPONSE, True))
    assert side.events() == [("headers", 1, RESPONSE, True)]


def test_the_goaway_of_an_error_says_the_last_stream() -> None:
    side = Side()
    side.feed(headers(1) + headers(5))
    with pytest.raises(ConnectionError_, match="PROTOCOL_ERROR: DATA on stream 0"):
        side.feed(data(0, b"x"))
    assert side.sent() == [("GOAWAY", 0, 0, (5).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"DATA on stream 0")]


def test_unknown_frames_flags_and_reserved_bits_are_ignored() -> None:
    side = Side()
    side.feed(
        b"\0\0\x03\x99\xff\x80\0\0\x07abc"
        + frame("HEADERS", 0xD4, 1, BLOCK)
        + b"\0\0\x01\x00\xf6\x80\0\0\x01x"
        + frame("PING", 0xFE, 0, bytes(8))
    )
    assert side.events() == [("headers", 1, REQUEST, False), ("data", 1, b"x", False)]


def test_a_handler_may_reset_the_stream_it_is_told_of() -> None:
    side = Side()
    side.log.hook = lambda event, stream: side.conn.reset(stream, CANCEL)
    side.feed(headers(1) + data(1, b"x") + headers(3, end=True))
    assert [event[0] for event in side.events()] == ["headers", "headers"]
    assert side.resets() == [(1, CANCEL), (3, CANCEL)]
    assert side.conn.active == 0


def test_a_handler_may_close_the_connection() -> None:
    side = Side()

    def close(event: object, stream: object) -> None:
        side.conn.goaway(2)
        side.conn.closed = True

    side.log.hook = close
    side.feed(headers(1) + headers(3))
    assert len(side.events()) == 1


def test_more_than_the_buffer_holds_is_refused() -> None:
    with pytest.raises(IndexError):
        Side().conn.receive(bytearray(5), 6)


# -- What a shell's timers ask.


def test_the_first_octets_have_their_time() -> None:
    side = Side(fresh=True)
    side.conn.now = 5.0
    side.conn.start()
    assert side.conn.oldest_unfinished() == 5.0
    octets = PREFACE + settings()
    for at in range(len(octets) - 1):
        side.conn.now += 1.0
        side.feed(octets[at : at + 1])
        assert side.conn.oldest_unfinished() == 5.0
    side.feed(octets[-1:])
    assert side.conn.oldest_unfinished() == 0.0


@pytest.mark.parametrize(
    ("octets", "counts"),
    [
        (headers(1)[:-1], True),
        (headers(1)[:5], True),
        (frame("HEADERS", 0, 1, b"\x82"), True),
        (frame("HEADERS", 0, 1, b"\x82") + frame("CONTINUATION", 0, 1, b"\x86")[:-1], True),
        (frame("PING", 0, 0, bytes(8))[:-1], True),
        (headers(1) + data(1, b"abc")[:-1], False),
        (headers(1), False),
    ],
)
def test_a_header_section_that_is_not_finished_has_its_time(octets: bytes, counts: bool) -> None:
    side = Side()
    side.conn.now = 5.0
    side.feed(octets)
    assert side.conn.oldest_unfinished() == (5.0 if counts else 0.0)
    side.conn.now = 6.0
    side.feed(b"")
    assert side.conn.oldest_unfinished() == (5.0 if counts else 0.0)


def test_time_starts_anew_with_every_frame() -> None:
    """A busy connection whose reads always end in the middle of some frame is not slow."""
    side = Side()
    octets = b"".join(headers(stream_id, end=True) for stream_id in range(1, 201, 2))
    for at in range(0, len(octets), 7):
        side.conn.now += 1.0
        side.feed(octets[at : at + 7])
        assert side.conn.oldest_unfinished() == 0.0 or side.conn.now - side.conn.oldest_unfinished() < 10.0


@pytest.mark.parametrize(("begun", "code", "text"), [(True, ENHANCE_YOUR_CALM, b"slow_headers"), (False, 0, b"idle")])
def test_a_connection_that_is_waited_for_no_longer_says_what_it_took(begun: bool, code: int, text: bytes) -> None:
    side = Side()
    side.feed(headers(1, end=True) + headers(3, end=True))
    for stream_id in (1, 3):
        side.conn.send_headers(side.stream(stream_id), b"\x88", True)
    side.sent()
    side.conn.expire(begun)
    assert side.sent() == [("GOAWAY", 0, 0, (3).to_bytes(4, "big") + code.to_bytes(4, "big") + text)]
    assert side.conn.counts == ({"slow_headers": 1} if begun else None)


# -- One read starts so many requests and no more.


def test_the_rest_of_many_requests_waits_for_the_others_turn() -> None:
    side = Side(settings_=Settings(limits=Limits(requests_per_pass=32)))
    octets = b"".join(headers(stream_id) + data(stream_id, b"x", True) for stream_id in range(1, 201, 2))
    buf = bytearray(octets)
    taken = []
    while buf:
        used = side.conn.receive(buf, len(buf))
        del buf[:used]
        taken.append(len(side.events()) // 2)
        assert side.conn.deferred == bool(buf)
    assert taken == [32, 32, 32, 4]


def test_trailers_and_responses_are_no_requests() -> None:
    side = Side(client=True, settings_=Settings(limits=Limits(requests_per_pass=1)))
    for _ in range(10):
        side.open(end=True)
    side.feed(b"".join(headers(stream_id, RESPONSE, True) for stream_id in range(1, 21, 2)))
    assert side.conn.active == 0
    assert not side.conn.deferred
