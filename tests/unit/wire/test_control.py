"""SETTINGS, GOAWAY, PING and the like: what they change, what they say about the peer, what they may not do twice."""

from __future__ import annotations

import pytest
from h2_peer import (
    ACK,
    PREFACE,
    REQUEST,
    RESPONSE,
    Side,
    block,
    data,
    frame,
    headers,
    reset,
    settings,
    window_update,
)

from mesh.wire.errors import ConnectionError_, StreamStateError
from mesh.wire.hpack import make_head
from mesh.wire.limits import Limits, Settings

STAYS, CLOSES = 0, 1  # mesh.wire.codec
PROTOCOL_ERROR, REFUSED_STREAM, COMPRESSION_ERROR = 1, 7, 9
WEBSOCKET = make_head([(b":method", b"CONNECT"), (b":protocol", b"websocket"), *REQUEST[1:]])


def goaway(last_id: int, code: int = 0) -> bytes:
    return frame("GOAWAY", 0, 0, last_id.to_bytes(4, "big") + code.to_bytes(4, "big"))


# -- SETTINGS


def announced(side: Side) -> dict[int, int]:
    side.conn.start()
    payload = next(payload for kind, _, _, payload in side.sent() if kind == "SETTINGS")
    return {int.from_bytes(payload[at : at + 2], "big"): int.from_bytes(payload[at + 2 : at + 6], "big")
            for at in range(0, len(payload), 6)}  # fmt: skip


def test_what_is_announced() -> None:
    assert announced(Side(fresh=True)) == {3: 1000, 4: 262_144, 6: 65_536}
    other = Settings(header_table=0, max_frame=32_768, connect_protocol=True, initial_window=65_535)
    assert announced(Side(fresh=True, settings_=other)) == {1: 0, 3: 1000, 4: 65_535, 5: 32_768, 6: 65_536, 8: 1}
    assert announced(Side(client=True, fresh=True, settings_=other)) == {1: 0, 2: 0, 4: 65_535, 5: 32_768, 6: 65_536}


def test_larger_frames_are_taken_where_they_were_announced() -> None:
    side = Side(settings_=Settings(max_frame=32_768), auto_release=False)
    side.feed(headers(1) + data(1, bytes(32_768)))
    assert side.events()[-1] == ("data", 1, bytes(32_768), False)
    assert side.fails(data(1, bytes(32_769))) == 6


def test_frames_as_large_as_the_peer_takes_are_sent() -> None:
    side = Side()
    side.feed(settings((5, 16_777_215), (4, 1 << 24)) + window_update(0, 1 << 24) + headers(1))
    side.sent()
    side.conn.send_headers(side.stream(1), bytes([0, 1, 97, 127, 225, 255, 3]) + b"v" * 65_504, False)
    side.conn.send_data(side.stream(1), bytes(1_000_000), 0, 1_000_000, True)
    assert [(kind, len(payload)) for kind, _, _, payload in side.sent()] == [("HEADERS", 65_511), ("DATA", 1_000_000)]


def test_a_smaller_table_of_ours_holds_once_it_is_acknowledged() -> None:
    side = Side(settings_=Settings(header_table=100), fresh=True)
    side.conn.start()
    indexed = b"\x40\x01a\x28" + b"v" * 40
    side.feed(PREFACE + settings() + frame("HEADERS", 5, 1, block(REQUEST) + indexed))
    side.feed(frame("HEADERS", 5, 3, block(REQUEST) + b"\xbe"))
    assert side.events()[-1][2][-1] == (b"a", b"v" * 40)
    side.feed(frame("SETTINGS", ACK))
    side.feed(frame("HEADERS", 5, 5, b"\x3f\x45" + block(REQUEST) + indexed))
    assert side.fails(frame("HEADERS", 5, 7, b"\x3f\x46" + block(REQUEST))) == COMPRESSION_ERROR


def test_a_peer_that_does_not_follow_a_smaller_table_is_out_of_step() -> None:
    side = Side(settings_=Settings(header_table=100))
    assert side.fails(headers(1)) == COMPRESSION_ERROR


@pytest.mark.parametrize(
    ("first", "then", "fatal"),
    [(((9, 1),), ((9, 1),), False), (((9, 1),), ((9, 0),), True), ((), ((9, 1),), True), ((), ((9, 0),), False)],
)
def test_priorities_are_given_up_at_the_start_or_not_at_all(
    first: tuple[tuple[int, int], ...], then: tuple[tuple[int, int], ...], fatal: bool
) -> None:
    side = Side(fresh=True)
    side.conn.start()
    side.feed(PREFACE + settings(*first))
    side.sent()
    if fatal:
        assert side.fails(settings(*then)) == PROTOCOL_ERROR
    else:
        side.feed(settings(*then))


def test_extended_connect_only_where_the_server_announced_it() -> None:
    side = Side(client=True)
    with pytest.raises(StreamStateError):
        side.conn.request(None, WEBSOCKET, b"", False)
    side.feed(settings((8, 1)))
    assert side.conn.peer_connect_protocol
    side.conn.request(None, WEBSOCKET, b"", False)
    side.sent()
    assert side.fails(settings((8, 0))) == PROTOCOL_ERROR


def test_what_the_peer_takes_of_a_header_list_is_known() -> None:
    side = Side(client=True)
    assert side.conn.peer_max_header_list == 2**31 - 1
    side.feed(settings((6, 8192)))
    assert side.conn.peer_max_header_list == 8192
    side.feed(settings((6, 2**32 - 1)))
    assert side.conn.peer_max_header_list == 2**31 - 1


def test_settings_are_applied_in_their_order_before_they_are_acknowledged() -> None:
    side = Side()
    side.feed(headers(1) + settings((4, 100), (5, 20_000), (4, 1), (5, 16_384)))
    assert (side.stream(1).send_window, side.conn.peer_max_frame) == (1, 16_384)
    assert side.sent() == [("SETTINGS", ACK, 0, b"")]


# -- GOAWAY


def test_a_second_goaway_takes_back_more() -> None:
    side = Side(client=True)
    for _ in range(3):
        side.open()
    side.feed(goaway(2**31 - 1))
    assert side.events() == [("goaway", 2**31 - 1, 0, b"")]
    side.feed(goaway(3))
    assert side.events() == [("reset", 5, REFUSED_STREAM, True), ("goaway", 3, 0, b"")]
    side.feed(goaway(1))
    assert side.events() == [("reset", 3, REFUSED_STREAM, True), ("goaway", 1, 0, b"")]
    side.feed(goaway(5) + headers(5, RESPONSE, True))
    assert side.events() == [("goaway", 5, 0, b"")], "what was taken back is asked elsewhere already"
    assert side.conn.ending == STAYS
    side.feed(headers(1, RESPONSE, True))
    side.conn.send_headers(side.stream(1), block([(b"a", b"b")]), True)
    assert side.conn.ending == CLOSES, "nothing is open, and nothing can be opened"


def test_a_caller_that_leaves_gets_its_answers_and_is_told_which_requests_were_taken() -> None:
    side = Side()
    side.feed(headers(1, end=True) + headers(3, end=True) + goaway(0))
    assert side.events()[-1] == ("goaway", 0, 0, b"")
    assert side.conn.ending == STAYS
    side.feed(headers(5, end=True))
    assert side.events() == [("headers", 5, REQUEST, True)], "it may still ask"
    for stream_id in (1, 3, 5):
        side.conn.send_headers(side.stream(stream_id), b"\x88", True)
    assert side.sent()[-1] == ("GOAWAY", 0, 0, (5).to_bytes(4, "big") + bytes(4))
    assert side.conn.ending == CLOSES
    side.feed(headers(7, end=True) + goaway(0))
    assert side.events() == [("goaway", 0, 0, b"")]


def test_a_caller_that_leaves_without_a_request_open() -> None:
    side = Side()
    side.dirty.clear()
    side.feed(goaway(0, 0xFF))
    assert side.conn.ending == CLOSES
    assert side.sent() == [("GOAWAY", 0, 0, bytes(8))]
    assert side.conn in side.dirty


def test_what_crosses_our_goaway_is_ignored_but_keeps_the_table_in_step() -> None:
    side = Side()
    side.feed(headers(1))
    side.conn.goaway()
    side.sent()
    side.feed(frame("HEADERS", 5, 3, block(REQUEST) + b"\x40\x01a\x01b"))
    side.feed(data(3, b"x") + window_update(3, 5) + reset(3))
    assert (side.events()[1:], side.sent()) == ([], [])
    side.feed(frame("HEADERS", 5, 1, b"\xbe"))
    assert side.events() == [("headers", 1, ((b"a", b"b"),), True)]


def test_a_client_whose_stream_ids_are_used_up_says_so_in_time() -> None:
    side = Side(client=True, settings_=Settings())
    last = 2**31 - 1
    side.conn.next_id = last - 4
    assert side.conn.can_open()
    side.open(end=True)
    assert side.events() == []
    side.open(end=True)
    assert side.events() == [("goaway", last - 2, 0, b"stream ids used up")]
    assert not side.conn.can_open()
    with pytest.raises(StreamStateError):
        side.open()
    side.feed(headers(last - 2, RESPONSE, True))
    assert side.events() == [("headers", last - 2, RESPONSE, True)]


# -- PING, and what only costs us


def test_an_answer_to_no_ping_is_not_told() -> None:
    side = Side(client=True)
    side.feed(frame("PING", ACK, 0, b"12345678"))
    assert side.events() == []
    side.conn.ping(b"abcdefgh")
    side.feed(frame("PING", ACK, 0, b"abcdefgh") * 2)
    assert side.events() == [("ping_ack", b"abcdefgh")]


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"\0\0\0\x77\0\0\0\0\0" * 1001, "flood_useless_frames"),
        (frame("PING", ACK, 0, bytes(8)) * 1001, "flood_useless_frames"),
        (headers(1, end=True) + reset(1) * 1002, "flood_useless_frames"),
        (frame("PRIORITY", 0, 1, bytes(5)) * 1001, "flood_priority"),
        (frame("PING", 0, 0, bytes(8)) * 101, "flood_ping"),
        (settings() * 51, "flood_settings"),
        (goaway(0) * 52, "flood_goaway"),
        (headers(1) + data(1) * 101, "flood_empty_data"),
        (window_update(0, 1) * 1001, "flood_window_update"),
        (frame("HEADERS", 0, 1, b"\x82") + frame("CONTINUATION", 0, 1) * 17, "flood_continuation"),
        (frame("HEADERS", 0, 1, b"\x82") + frame("CONTINUATION", 0, 1, bytes(16_384)) * 8, "header_block_too_large"),
        (b"".join(headers(n) + window_update(n, 0) for n in range(1, 403, 2)), "made_you_reset"),
        (b"".join(headers(n) for n in range(1, 4003, 2)), "refused_streams"),
        (b"".join(headers(n) + reset(n) for n in range(1, 103, 2)), "rapid_reset"),
    ],
)  # fmt: skip
def test_each_bound_has_its_reason_code_and_is_counted(octets: bytes, cause: str) -> None:
    side = Side()
    side.conn.now = 1.0
    with pytest.raises(ConnectionError_) as caught:
        side.feed(octets)
    assert (caught.value.code, caught.value.cause) == (11, cause)
    assert side.conn.counts == {cause: 1}


def test_a_peer_that_makes_us_answer_and_does_not_read() -> None:
    side = Side()
    for second in range(1, 11):
        side.conn.now = float(second)
        side.feed(frame("PING", 0, 0, bytes(8)) * 100)
    with pytest.raises(ConnectionError_) as caught:
        side.feed(settings())
    assert caught.value.cause == "control_backlog"


def test_a_peer_that_reads_its_answers_may_ask_for_ever() -> None:
    side = Side()
    side.feed(headers(1))
    side.conn.send_headers(side.stream(1), b"\x88", False)
    for second in range(1, 31):
        side.conn.now = float(second)
        side.conn.send_data(side.stream(1), b"x", 0, 1, False)
        side.feed(frame("PING", 0, 0, bytes(8)) * 100)
        side.sent()


def test_errors_of_the_protocol_are_counted_by_their_code() -> None:
    side = Side()
    side.conn.counts = {"protocol_error": 2}
    assert side.fails(data(0, b"x")) == PROTOCOL_ERROR
    assert side.conn.counts == {"protocol_error": 3}


def test_bounds_can_be_set() -> None:
    side = Side(settings_=Settings(limits=Limits(pings=3)))
    side.feed(frame("PING", 0, 0, bytes(8)) * 3)
    assert side.fails(frame("PING", 0, 0, bytes(8)) * 2) == 11
