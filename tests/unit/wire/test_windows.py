"""Receive windows: whose octets they count, when they are given back, and how they grow."""

from __future__ import annotations

import pytest
from h2_peer import Side, data, frame, headers, reset

from mesh.wire.limits import Settings
from mesh.wire.windows import Memory

Sent = list[tuple[str, int, int, bytes]]
SMALL = Settings(initial_window=70_000, connection_window=100_000, max_held=200_000)


def grants(sent: Sent) -> list[tuple[int, int]]:
    """(stream id, increment) of each WINDOW_UPDATE."""
    return [(stream_id, int.from_bytes(payload, "big")) for kind, _, stream_id, payload in sent if kind[0] == "W"]


def upload(side: Side, stream_id: int, n: int) -> list[tuple[int, int]]:
    """Send `n` octets, consume nothing; the windows that were given."""
    while n > 0:
        side.feed(data(stream_id, bytes(min(n, 16_000))))
        n -= 16_000
    return grants(side.sent())


def small(*stream_ids: int) -> Side:
    side = Side(settings_=SMALL, auto_release=False)
    for stream_id in stream_ids:
        side.feed(headers(stream_id))
    return side


def test_the_connections_window_is_topped_up_when_half_of_it_is_used_whoever_holds_it() -> None:
    side = small(1)
    assert upload(side, 1, 48_000) == []
    assert upload(side, 1, 3_000) == [(0, 51_000)]
    assert (side.conn.recv_window, side.conn.held) == (100_000, 51_000)


def test_a_streams_window_is_given_back_by_halves_when_its_user_has_consumed() -> None:
    side = small(1)
    upload(side, 1, 40_000)
    stream = side.stream(1)
    side.conn.release(stream, 34_000)
    assert side.sent() == []
    side.conn.release(stream, 2_000)
    assert grants(side.sent()) == [(1, 36_000)]
    assert (stream.recv_window, side.conn.held) == (70_000 - 4_000, 4_000)


def test_slow_readers_hold_their_own_octets_and_stall_nobody_else() -> None:
    side = small(1, 3, 5)
    upload(side, 1, 70_000)
    upload(side, 3, 70_000)
    assert side.conn.held == 140_000
    assert side.conn.recv_window > 0, "the third still gets something"
    for _ in range(20):
        side.feed(data(5, bytes(5_000)))
        side.conn.release(side.stream(5), 5_000)
    assert side.events()[-1] == ("data", 5, bytes(5_000), False)
    upload(side, 1, 1)
    assert side.events()[-1] == ("reset", 1, 3, False), "its own window binds it"


def test_what_one_connection_holds_is_bounded() -> None:
    side = small(*range(1, 21, 2))
    held = 0
    for stream_id in range(1, 21, 2):
        n = min(70_000, side.conn.recv_window)
        upload(side, stream_id, n)
        held += n
    assert held == side.conn.held == 200_000
    assert side.conn.recv_window == 0
    side.conn.release(side.stream(1), 4_000)
    assert grants(side.sent()) == [(0, 4_000)]
    assert side.fails(data(3, bytes(4_001))) == 3


def test_connections_share_the_memory_and_nobody_starves() -> None:
    memory = Memory(100_000)
    sides = [small(1, 3), small(1), small(1)]
    for side in sides:
        side.conn.memory = memory
    upload(sides[0], 1, 70_000)
    upload(sides[0], 3, 70_000)
    assert memory.held == 140_000
    assert sides[0].conn.recv_window < 50_000, "it is given nothing more"
    assert upload(sides[1], 1, 60_000) == [], "there is no room beyond what it has"
    assert upload(sides[2], 1, 10_000) == []
    for _ in range(50):  # but who consumes goes on
        sides[2].conn.release(sides[2].stream(1), 10_000)
        upload(sides[2], 1, 10_000)
    assert memory.held == 140_000 + 60_000 + 10_000
    for side in sides:
        side.conn.end()
    assert memory.held == 0
    sides[0].conn.release(sides[0].stream(1), 70_000)
    assert memory.held == 0, "what comes back after the end was counted already"


def test_a_dead_stream_gives_back_the_connections_share_only() -> None:
    side = small(1)
    upload(side, 1, 48_000)
    side.feed(reset(1))
    side.conn.release(side.stream(1), 48_000)
    assert side.conn.held == 0
    assert side.sent() == []


def test_no_window_for_a_stream_that_has_ended() -> None:
    side = Side(auto_release=False)
    side.feed(headers(1) + b"".join(data(1, bytes(16_000)) for _ in range(10)) + data(1, b"", True))
    side.conn.release(side.stream(1), 160_000)
    assert side.sent() == []


# -- Growth. A peer that is `rtt` away and always sends all it may.


class Uplink:
    """An upload through a link with a delay and no other bound; the user consumes `rate` octets a second at most."""

    def __init__(self, rtt: float, settings: Settings | None = None, rate: float = 1e12) -> None:
        self.side = Side(settings_=settings, auto_release=False)
        self.rtt, self.rate = rtt, rate
        self.side.conn.now = 1.0
        self.window = {0: self.side.conn.recv_window, 1: 262_144 if settings is None else settings.initial_window}
        self.answers: list[tuple[float, bytes]] = []  # to our PINGs, and when they arrive
        self.pings = 0
        self.granted: list[tuple[int, int]] = []
        self.side.feed(headers(1))

    def step(self, seconds: float) -> None:
        self.side.conn.now += seconds
        while self.answers and self.answers[0][0] <= self.side.conn.now:
            self.side.feed(frame("PING", 1, 0, self.answers.pop(0)[1]))
        sent = self.side.sent()
        self.granted += grants(sent)
        for payload in (payload for kind, _, _, payload in sent if kind == "PING"):
            self.pings += 1
            self.answers.append((self.side.conn.now + self.rtt, payload))

    def round(self) -> None:
        """Half a round trip there: what the windows allow; consumed; half a round trip back: what that gave."""
        conn, stream = self.side.conn, self.side.stream(1)
        sent = min(self.window.values())
        self.step(self.rtt / 2)
        for at in range(0, sent, 16_000):
            n = min(16_000, sent - at)
            self.side.feed(data(1, bytes(n)))
            self.step(n / self.rate)
            conn.release(stream, n)
        for key in self.window:
            self.window[key] -= sent
        self.step(self.rtt / 2)
        for key, grown in self.granted:
            self.window[key] += grown
        self.granted.clear()


@pytest.mark.parametrize("rtt", [0.001, 0.02, 0.2])
def test_windows_grow_to_their_bound_while_they_are_what_holds_the_peer_up(rtt: float) -> None:
    link = Uplink(rtt)
    for _ in range(8):
        link.round()
    assert link.side.stream(1).window == 4_194_304
    assert 4_194_304 * 3 // 2 <= link.side.conn.window <= 16_777_216
    assert link.side.conn.rtt == pytest.approx(rtt, rel=0.3)
    before = link.window[1]
    for _ in range(20):
        link.round()
    assert (link.side.stream(1).window, link.window[1]) == (4_194_304, before), "never beyond it"


def test_a_slow_reader_does_not_grow_its_window() -> None:
    link = Uplink(0.01, rate=1_000_000)
    for _ in range(20):
        link.round()
    assert link.side.stream(1).window == 262_144
    assert link.side.conn.window == 1_048_576


def test_nothing_grows_without_a_clock() -> None:
    link = Uplink(0.0)
    link.side.conn.now = 0.0
    link.rate = float("inf")
    for _ in range(20):
        link.round()
    assert link.side.stream(1).window == 262_144
    assert link.pings == 0


def test_the_round_trip_is_measured_seldom_and_only_where_there_is_bulk() -> None:
    link = Uplink(0.1)
    for _ in range(100):
        link.round()
    assert link.pings == 1
    for _ in range(10):
        link.round()
    assert link.pings == 2
    side = Side()
    side.conn.now = 1.0
    for i in range(1, 2001, 2):
        side.feed(headers(i) + data(i, bytes(500), True))
    assert not [kind for kind, _, _, _ in side.sent() if kind == "PING"]


def test_growth_stops_where_memory_is_short() -> None:
    link = Uplink(0.01)
    other = small(1, 3)
    other.conn.memory = link.side.conn.memory = Memory(250_000)
    upload(other, 1, 70_000)
    upload(other, 3, 70_000)
    for _ in range(20):
        link.round()
    assert link.side.stream(1).window == 262_144


def test_a_window_that_grew_is_counted_right() -> None:
    """What the peer was told and what we let it send stay the same."""
    link = Uplink(0.05, Settings(initial_window=30_000, connection_window=65_535, max_window=500_000))
    for _ in range(30):
        link.round()
        assert link.window[0] == link.side.conn.recv_window
        assert link.window[1] == link.side.stream(1).recv_window
    assert link.side.stream(1).window == 500_000
