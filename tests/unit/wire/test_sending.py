from __future__ import annotations

import pytest
from h2_peer import RESPONSE, Side, block, data, frame, headers, pump, reset, settings, window_update

from mesh.wire.errors import StreamStateError
from mesh.wire.limits import Settings

PAIR = [b"\x88", b"\x00\x01a\x01b"]


def server(stream_id: int = 1, end: bool = False) -> Side:
    side = Side()
    side.feed(headers(stream_id, end=end))
    side.conn.send_headers(side.stream(stream_id), block(RESPONSE), False)
    side.sent()
    return side


def test_a_response_closes_the_stream() -> None:
    side = server(end=True)
    stream = side.stream(1)
    assert (stream.remote_closed, stream.local_closed, stream.closed, side.conn.active) == (True, False, False, 1)
    side.conn.send_data(stream, b"x", 0, 1, True)
    assert (stream.local_closed, stream.closed, side.conn.active) == (True, True, 0)


def test_nothing_goes_out_on_a_dead_stream() -> None:
    side = server()
    stream = side.stream(1)
    side.feed(reset(1))
    side.sent()
    side.conn.send_headers(stream, b"\x88", True)
    side.conn.send_data(stream, b"x", 0, 1, True)
    side.conn.reset(stream, 8)
    assert side.conn.sendable(stream) == 0
    assert side.sent() == []


def test_our_own_mistakes_are_refused() -> None:
    side = Side()
    side.feed(headers(1))
    stream = side.stream(1)
    with pytest.raises(StreamStateError):
        side.conn.send_data(stream, b"x", 0, 1, False)
    side.conn.send_headers(stream, b"\x88", False)
    with pytest.raises(StreamStateError):
        side.conn.send_data(stream, bytes(65_536), 0, 65_536, False)
    with pytest.raises(IndexError):
        side.conn.send_data(stream, b"abc", 2, 2, False)
    side.sent()
    side.conn.send_data(stream, b"", 0, 0, True)
    with pytest.raises(StreamStateError):
        side.conn.send_data(stream, b"x", 0, 1, True)
    with pytest.raises(StreamStateError):
        side.conn.send_headers(stream, b"\x88", True)
    with pytest.raises(StreamStateError):
        side.conn.open(None, b"\x82", True)
    assert side.sent() == [("DATA", 1, 1, b"")]


def test_both_windows_bound_what_can_be_sent() -> None:
    side = server()
    side.feed(headers(3))
    one, three = side.stream(1), side.stream(3)
    side.conn.send_headers(three, b"\x88", False)
    assert side.conn.sendable(one) == 65_535
    side.conn.send_data(one, bytes(65_535), 0, 65_535, False)
    assert side.conn.sendable(one) == side.conn.sendable(three) == 0
    side.feed(window_update(0, 100_000))
    assert (side.conn.sendable(one), side.conn.sendable(three)) == (0, 65_535)
    side.feed(window_update(1, 7))
    assert side.conn.sendable(one) == 7
    side.conn.send_data(one, b"", 0, 0, True)  # an empty one needs no window


def test_a_smaller_initial_window_makes_windows_negative() -> None:
    side = server()
    stream = side.stream(1)
    side.conn.send_data(stream, bytes(60_000), 0, 60_000, False)
    side.feed(window_update(0, 1_000_000) + settings((4, 10_000)))
    assert stream.send_window == 10_000 - 60_000
    assert side.conn.sendable(stream) == 0
    side.conn.send_data(stream, b"", 0, 0, False)
    side.feed(window_update(1, 50_001))
    assert side.conn.sendable(stream) == 1
    side.feed(settings((4, 65_535)))
    assert side.conn.sendable(stream) == 1 + 55_535
    side.feed(headers(3))
    assert side.stream(3).send_window == 65_535


def test_windows_are_given_back_by_halves() -> None:
    side = Side(settings_=Settings(initial_window=70_000, connection_window=100_000), auto_release=False)
    side.feed(headers(1))
    stream = side.stream(1)
    for _ in range(3):
        side.feed(data(1, bytes(10_000)))
    side.conn.release(stream, 30_000)
    assert side.sent() == []
    side.feed(data(1, bytes(5_000)))
    side.conn.release(stream, 5_000)
    assert side.sent() == [("WINDOW_UPDATE", 0, 1, (35_000).to_bytes(4, "big"))]
    side.feed(data(1, bytes(15_000)))
    side.conn.release(stream, 15_000)
    assert side.sent() == [("WINDOW_UPDATE", 0, 0, (50_000).to_bytes(4, "big"))]
    assert (side.conn.recv_window, stream.recv_window) == (100_000, 70_000 - 15_000)


def test_a_dead_stream_gives_back_the_connections_share_only() -> None:
    side = Side(settings_=Settings(connection_window=65_535), auto_release=False)
    side.feed(headers(1) + data(1, bytes(16_000)) + data(1, bytes(16_000)) + data(1, bytes(16_000)) + reset(1))
    side.conn.release(side.stream(1), 48_000)
    assert side.sent() == [("WINDOW_UPDATE", 0, 0, (48_000).to_bytes(4, "big"))]


def test_no_window_for_a_stream_that_has_ended() -> None:
    side = Side(auto_release=False)
    side.feed(headers(1) + b"".join(data(1, bytes(16_000)) for _ in range(10)) + data(1, b"", True))
    side.conn.release(side.stream(1), 160_000)
    assert side.sent() == []


def test_reset() -> None:
    side = server()
    side.conn.reset(side.stream(1), 7)
    assert side.resets() == [(1, 7)]
    side.feed(data(1, b"late") + headers(1, [(b"a", b"b")], True) + window_update(1, 5) + reset(1))
    assert side.events()[1:] == []
    assert side.conn.active == 0


def test_drain_lets_what_is_under_way_in() -> None:
    side = Side()
    side.feed(headers(1))
    side.conn.drain()
    goaway, ping = side.sent()
    assert goaway == ("GOAWAY", 0, 0, (2**31 - 1).to_bytes(4, "big") + bytes(4))
    side.feed(headers(3))
    assert side.conn.active == 2
    side.feed(frame("PING", 1, 0, ping[3]))
    assert side.sent() == [("GOAWAY", 0, 0, (3).to_bytes(4, "big") + bytes(4))]
    side.events()
    side.feed(headers(5) + data(5, b"x") + data(3, b"y"))
    assert side.events() == [("data", 3, b"y", False)]
    assert side.conn.active == 2
    side.conn.drain()
    assert side.sent() == []


def test_an_answer_to_a_ping_that_never_was_makes_nobody_leave() -> None:
    """The eight octets of the drain's PING are no secret."""
    for client in (False, True):
        side = Side(client=client)
        side.feed(frame("PING", 1, 0, b"mesh-drn"))
        assert side.sent() == []
        assert not side.conn.local_goaway


def test_a_client_that_drains_opens_no_more() -> None:
    one, two = Side(client=True), Side()
    stream = one.conn.open(None, block([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]), True)
    one.conn.drain()
    assert not one.conn.can_open()
    pump(one, two)
    two.conn.send_headers(two.stream(1), b"\x88", True)
    pump(one, two)
    assert stream.closed
    assert ("goaway", 0, 0, b"") in two.events()


def test_ping_takes_eight_octets() -> None:
    with pytest.raises(ValueError, match="8 octets"):
        Side().conn.ping(b"short")


def test_a_closed_connection_sends_nothing() -> None:
    side = server()
    side.conn.closed = True
    stream = side.stream(1)
    side.conn.send_data(stream, b"x", 0, 1, False)
    side.conn.send_headers(stream, b"\x88", True)
    side.conn.release(stream, 10**6)
    side.conn.reset(stream, 8)
    side.conn.ping(b"12345678")
    side.conn.goaway()
    side.conn.drain()
    assert side.sent() == []
    assert not side.conn.can_open()
