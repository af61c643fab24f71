from __future__ import annotations

import pytest
from h2_peer import RESPONSE, Side, block, data, frame, headers, pump, reset, settings, window_update

from mesh.wire.codec import Stream
from mesh.wire.errors import StreamStateError


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


# -- Turns: who may send when the connection's window or the kernel is what is short.


class Answering:
    """A server whose streams have answers waiting; each sends what it may when it is told, as a relay does."""

    def __init__(self, answers: dict[int, int]) -> None:
        self.side = Side(auto_release=False)
        self.side.feed(settings((4, 1 << 30)))
        self.side.feed(b"".join(headers(stream_id, end=True) for stream_id in answers))
        self.left = dict(answers)
        self.told: list[int] = []
        for stream_id in answers:
            self.side.conn.send_headers(self.side.stream(stream_id), block(RESPONSE), False)
        self.side.log.hook = self.on_event
        self.side.sent()

    def on_event(self, event: tuple[object, ...], stream: Stream | None) -> None:
        if event == ("writable", 0):
            self.side.conn.serve()
        elif stream is not None and event[0] == "writable":
            self.told.append(stream.id)
            self.push(stream)

    def push(self, stream: Stream) -> None:
        conn, left = self.side.conn, self.left[stream.id]
        n = min(conn.sendable(stream), left)
        if n:
            conn.send_data(stream, bytes(n), 0, n, n == left)
            self.left[stream.id] = left - n
        if n < left:
            conn.wait(stream)

    def begin(self) -> dict[int, int]:
        for stream_id in self.left:
            self.push(self.side.stream(stream_id))
        return self.sent()

    def sent(self) -> dict[int, int]:
        """Octets of DATA by stream, in the order of their first."""
        octets: dict[int, int] = {}
        for kind, _, stream_id, payload in self.side.sent():
            if kind == "DATA":
                octets[stream_id] = octets.get(stream_id, 0) + len(payload)
        return octets


def test_the_connections_window_is_shared_in_turns() -> None:
    server = Answering({1: 10**6, 3: 10**6, 5: 1000, 7: 10**6})
    assert server.begin() == {1: 65_535}
    server.side.feed(window_update(0, 60_000))
    assert server.told == [1, 3, 5, 7, 1]
    assert server.sent() == {1: 16_384 + 60_000 - 3 * 16_384 - 1000, 3: 16_384, 5: 1000, 7: 16_384}
    assert server.side.stream(5).closed
    assert server.side.conn.send_window == 0
    assert server.side.conn.waiters() == 3


def test_a_bulk_stream_does_not_starve_short_answers() -> None:
    server = Answering({1: 10**7} | dict.fromkeys(range(3, 203, 2), 100))
    server.begin()
    server.side.feed(window_update(0, 30_000))
    assert sum(server.left[stream_id] for stream_id in range(3, 203, 2)) == 0
    sent = server.sent()
    assert sent[1] == 30_000 - 100 * 100


def test_turns_go_round_however_small_the_window_grows() -> None:
    server = Answering(dict.fromkeys((1, 3, 5), 10**6))
    server.begin()
    got = dict.fromkeys((1, 3, 5), 0)
    for _ in range(300):
        server.side.feed(window_update(0, 1000))
        for stream_id, n in server.sent().items():
            got[stream_id] += n
    assert sum(got.values()) == 300_000
    assert max(got.values()) - min(got.values()) <= 16_384


def test_who_waits_for_its_own_window_holds_up_nobody() -> None:
    server = Answering({1: 10**6, 3: 10**6})
    server.side.feed(settings((4, 1000)))
    server.begin()
    server.side.feed(window_update(0, 10**6))
    assert server.side.conn.waiters() == 0
    assert server.told == []
    server.side.feed(window_update(3, 500))
    assert server.told == [3]
    assert server.sent() == {3: 500}
    server.side.feed(settings((4, 2000)))
    assert server.sent() == {1: 1000, 3: 1000}


def test_no_more_than_some_output_is_made_at_once() -> None:
    server = Answering(dict.fromkeys((1, 3), 10**6))
    server.begin()
    server.side.feed(window_update(0, 10**7))
    sent = server.sent()
    assert 262_144 - 32_768 < sum(sent.values()) <= 262_144 + 32_768
    assert abs(sent[1] - sent[3]) <= 16_384
    while server.side.conn.waiters():
        server.side.conn.serve()
        assert sum(server.sent().values()) <= 262_144 + 32_768
    assert server.left == {1: 0, 3: 0}


def test_a_stream_that_died_while_it_waited_gets_no_turn() -> None:
    server = Answering(dict.fromkeys((1, 3, 5), 10**6))
    server.begin()
    server.side.feed(reset(3) + window_update(0, 40_000))
    assert 3 not in server.told
    assert set(server.sent()) == {1, 5}


def test_turns_end_though_nobody_uses_them() -> None:
    """A user who asks to wait and sends nothing, say because its kernel takes no more."""
    server = Answering(dict.fromkeys((1, 3, 5), 10**6))
    server.begin()
    server.side.log.hook = lambda event, stream: (
        server.side.conn.serve() if event == ("writable", 0) else server.side.conn.wait(stream)
    )
    server.side.feed(window_update(0, 10**6))
    assert server.sent() == {}
    assert server.side.conn.waiters() == 3
    server.side.log.hook = server.on_event
    server.side.conn.serve()
    assert len(server.sent()) == 3


def test_outside_its_turn_a_stream_may_send_all_the_windows_allow() -> None:
    server = Answering({1: 10**6, 3: 60_000})
    server.push(server.side.stream(3))
    assert server.sent() == {3: 60_000}
