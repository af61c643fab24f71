"""Each flood of section "Limits" in `mesh.wire.limits`: what is allowed, and that the next one ends the connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from h2_peer import PREFACE, REQUEST, RESPONSE, Side, block, data, frame, headers, reset, settings, window_update

from mesh.wire.errors import ConnectionError_
from mesh.wire.limits import Settings

ENHANCE_YOUR_CALM = 11
PING = frame("PING", 0, 0, bytes(8))


def clocked(client: bool = False, settings_: Settings | None = None) -> Side:
    """A side whose clock stands still."""
    side = Side(client, settings_=settings_)
    side.conn.now = 1.0
    return side


def allowed(side: Side, octets: bytes, most: int = 5000) -> int:
    """How many times `octets` are taken in one read."""
    with pytest.raises(ConnectionError_, match="ENHANCE_YOUR_CALM"):
        side.feed(octets * most)
    kinds = [kind for kind, _, _, _ in side.sent()]
    return kinds.count("PING") + kinds.count("SETTINGS")


def cut_off(side: Side, octets: bytes) -> None:
    assert side.fails(octets) == ENHANCE_YOUR_CALM


def test_pings() -> None:
    assert allowed(clocked(), PING) == 100


def test_settings() -> None:
    side = clocked()
    assert allowed(side, settings()) == 50


def test_acknowledgements_of_nothing() -> None:
    cut_off(clocked(), frame("SETTINGS", 1) * 60)


def test_goaways() -> None:
    cut_off(clocked(client=True), frame("GOAWAY", 0, 0, bytes(8)) * 60)


def test_empty_data() -> None:
    side = clocked()
    side.feed(headers(1) + data(1) * 100)
    cut_off(side, data(1))


def test_padding_is_empty_too() -> None:
    side = clocked()
    side.feed(headers(1))
    cut_off(side, frame("DATA", 8, 1, b"\x05" + bytes(5)) * 101)


def test_window_updates() -> None:
    side = clocked()
    side.feed(window_update(0, 1) * 1000)
    cut_off(side, window_update(0, 1))


def test_window_updates_are_earned_by_data() -> None:
    side = clocked()
    side.feed(headers(1))
    side.conn.send_headers(side.stream(1), block(RESPONSE), False)
    for _ in range(2000):
        side.conn.send_data(side.stream(1), b"x", 0, 1, False)
        side.feed(window_update(0, 1) * 2 + window_update(1, 1) + PING)
        side.sent()


def test_continuations() -> None:
    side = clocked()
    side.feed(frame("HEADERS", 0, 1, b"\x82") + frame("CONTINUATION", 0, 1) * 16)
    cut_off(side, frame("CONTINUATION", 0, 1))


def test_continuations_in_octets() -> None:
    side = clocked()
    side.feed(frame("HEADERS", 0, 1, bytes(16_384)) + frame("CONTINUATION", 0, 1, bytes(16_384)) * 7)
    cut_off(side, frame("CONTINUATION", 0, 1, b"x"))


def rapid(first: int, n: int) -> bytes:
    return b"".join(headers(stream_id) + reset(stream_id) for stream_id in range(first, first + 2 * n, 2))


def test_rapid_resets() -> None:
    side = clocked()
    side.feed(rapid(1, 50))
    cut_off(side, rapid(101, 1))


def test_slower_rapid_resets() -> None:
    side = clocked()
    for i in range(0, 2000, 200):
        side.feed(b"".join(headers(stream_id) for stream_id in range(i + 1, i + 201, 2)))
        side.conn.now += 0.0125
        side.feed(b"".join(reset(stream_id) for stream_id in range(i + 1, i + 201, 2)))
        side.conn.now -= 0.0125
    side.feed(headers(2001))
    side.conn.now += 0.0125
    cut_off(side, reset(2001))


def test_a_caller_may_cancel_all_it_has_open() -> None:
    side = clocked()
    ids = range(1, 2001, 2)
    side.feed(b"".join(headers(stream_id) for stream_id in ids))
    side.conn.now += 0.02
    side.feed(b"".join(reset(stream_id) for stream_id in ids))
    assert side.conn.active == 0


def test_streams_that_end_well_earn_resets() -> None:
    side = clocked()
    for i in range(0, 4000, 4):
        side.feed(rapid(i + 1, 1) + headers(i + 3, end=True))
        side.conn.send_headers(side.stream(i + 3), block(RESPONSE), True)
    assert side.conn.active == 0


def test_a_stream_that_lived_is_no_rapid_reset() -> None:
    side = clocked(settings_=Settings(max_concurrent_streams=100))
    for i in range(50):
        first = 1 + 200 * i
        side.feed(b"".join(headers(first + 2 * k) for k in range(100)))
        side.conn.now += 0.125
        side.feed(b"".join(reset(first + 2 * k) for k in range(100)))


def test_an_answered_stream_is_no_rapid_reset() -> None:
    side = clocked()
    for stream_id in range(1, 5001, 2):
        side.feed(headers(stream_id))
        side.conn.send_headers(side.stream(stream_id), block(RESPONSE), False)
        side.feed(reset(stream_id))


def test_resets_by_a_server_are_not_counted() -> None:
    side = clocked(client=True)
    for stream_id in range(1, 5001, 2):
        side.open()
        side.feed(reset(stream_id, 7))


PROVOCATIONS: dict[str, Callable[[int], bytes]] = {
    "window update of 0": lambda stream_id: window_update(stream_id, 0),
    "window overflow": lambda stream_id: window_update(stream_id, 2**31 - 1),
    "data after the end": lambda stream_id: data(stream_id, b"", True) + data(stream_id, b"x"),
    "headers after the end": lambda stream_id: data(stream_id, b"", True) + headers(stream_id, [(b"a", b"b")], True),
    "trailers that don't end": lambda stream_id: headers(stream_id, [(b"a", b"b")]),
    "priority of 4 octets": lambda stream_id: frame("PRIORITY", 0, stream_id, bytes(4)),
}


@pytest.mark.parametrize("name", PROVOCATIONS)
def test_resets_that_we_are_made_to_send(name: str) -> None:
    side = clocked()
    for stream_id in range(1, 401, 2):
        side.feed(headers(stream_id) + PROVOCATIONS[name](stream_id))
    assert side.conn.statistics().own_resets == 200
    cut_off(side, headers(401) + PROVOCATIONS[name](401))


def test_frames_on_a_stream_that_the_peer_has_reset_are_counted() -> None:
    side = clocked()
    for stream_id in range(1, 401, 2):
        side.feed(headers(stream_id))
        side.conn.now += 0.25
        side.feed(reset(stream_id) + data(stream_id, b"x"))
        side.conn.now -= 0.25
    side.feed(headers(401) + reset(401))
    cut_off(side, data(401, b"x"))


def test_malformed_requests_are_counted() -> None:
    side = clocked()
    side.feed(b"".join(headers(stream_id, REQUEST[1:]) for stream_id in range(1, 401, 2)))
    cut_off(side, headers(401, REQUEST[1:]))


def test_with_a_clock_the_limits_are_rates() -> None:
    side = Side()
    for second in range(20):
        side.conn.now = float(second)
        side.feed(PING * 90)
        side.sent()
    side.conn.now += 0.5
    cut_off(side, PING * 101)


def test_one_frame_per_read_does_not_get_around_a_clock() -> None:
    side = clocked()
    for _ in range(100):
        side.feed(PING)
    cut_off(side, PING)


def test_slow_peers_are_never_cut_off_without_a_clock() -> None:
    side = Side()
    side.feed(headers(1))
    for _ in range(3000):
        side.feed(PING)
        side.feed(settings())
        side.feed(data(1))
        side.feed(window_update(0, 1))
        side.sent()


def test_octets_before_the_preface_is_complete_are_bounded() -> None:
    side = Side(fresh=True)
    for i in range(len(PREFACE)):
        side.feed(PREFACE[i : i + 1])
    assert side.rest == b""


def test_no_stream_is_forgotten_when_it_is_the_one_too_many() -> None:
    """The handler is told of its end, or finds it among those that end with the connection."""
    side = clocked()
    cut_off(side, b"".join(headers(stream_id) + window_update(stream_id, 0) for stream_id in range(1, 1001, 2)))
    events = side.events()
    begun = {event[1] for event in events if event[0] == "headers"}
    told = {event[1] for event in events if event[0] == "reset"}
    assert len(begun) > 100
    assert begun - told == {stream.id for stream in side.conn.all_streams()}
