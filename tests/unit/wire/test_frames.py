from __future__ import annotations

import hyperframe.frame as hf
import pytest
from h2_peer import PREFACE, Side, data, headers, parse, settings

from mesh.wire.h2 import Connection
from mesh.wire.h2_events import EventLog


def hyper(octets: bytes) -> list[hf.Frame]:
    frames = []
    while octets:
        frame, n = hf.Frame.parse_frame_header(memoryview(octets[:9]))
        frame.parse_body(memoryview(octets[9 : 9 + n]))
        frames.append(frame)
        octets = octets[9 + n :]
    return frames


def test_the_preface_of_a_client() -> None:
    side = Side(client=True, fresh=True)
    side.conn.start()
    octets = side.conn.take_output()
    assert octets.startswith(PREFACE)
    announced, window = hyper(octets[len(PREFACE) :])
    assert isinstance(announced, hf.SettingsFrame)
    assert announced.settings == {2: 0, 4: 262_144, 6: 65_536}
    assert isinstance(window, hf.WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, 1_048_576 - 65_535)


def test_the_preface_of_a_server() -> None:
    side = Side(fresh=True)
    side.conn.start()
    announced, _ = hyper(side.conn.take_output())
    assert announced.settings == {3: 1000, 4: 262_144, 6: 65_536}


def test_every_frame_is_what_another_implementation_reads() -> None:
    side = Side()
    side.feed(headers(1))
    stream = side.stream(1)
    side.conn.ping(b"12345678")
    side.conn.send_headers(stream, b"\x88", False)
    side.conn.send_data(stream, b"..hello..", 2, 5, False)
    side.conn.send_data(stream, bytearray(b"world"), 0, 5, True)
    side.conn.reset(stream, 8)
    side.conn.goaway(2, b"why")
    ping, head, one, two, reset, goaway = hyper(side.conn.take_output())
    assert ping.opaque_data == b"12345678"
    assert (head.stream_id, head.data, head.flags) == (1, b"\x88", {"END_HEADERS"})
    assert (one.data, one.flags) == (b"hello", set())
    assert (two.data, two.flags) == (b"world", {"END_STREAM"})
    assert (reset.stream_id, reset.error_code) == (1, 8)
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (1, 2, b"why")


@pytest.mark.parametrize("n", [16_383, 16_384, 16_385, 40_000, 3 * 16_384])
def test_long_blocks_and_data_are_split_by_the_peers_frame_size(n: int) -> None:
    side = Side()
    side.feed(headers(1))
    side.conn.send_headers(side.stream(1), b"\x00" * n, False)
    first, *rest = side.sent()
    assert first[0] == "HEADERS"
    assert {frame[0] for frame in rest} <= {"CONTINUATION"}
    assert [bool(frame[1] & 4) for frame in [first, *rest]] == [False] * len(rest) + [True]
    assert sum(len(frame[3]) for frame in [first, *rest]) == n
    assert max(len(frame[3]) for frame in [first, *rest]) == min(n, 16_384)
    side.conn.send_data(side.stream(1), bytes(range(256)) * 256, 3, n, True)
    frames = side.sent()
    assert b"".join(frame[3] for frame in frames) == (bytes(range(256)) * 256)[3 : 3 + n]
    assert [frame[1] for frame in frames] == [0] * (len(frames) - 1) + [1]
    assert max(len(frame[3]) for frame in frames) == min(n, 16_384)


def test_larger_frames_where_the_peer_takes_them() -> None:
    side = Side()
    side.feed(settings((5, 65_536), (4, 1_000_000)) + headers(1))
    side.conn.send_headers(side.stream(1), b"\x88", False)
    side.sent()
    side.conn.send_data(side.stream(1), bytes(65_535), 0, 65_535, True)
    assert [len(frame[3]) for frame in side.sent()] == [65_535]


def test_connections_with_output_are_listed_once() -> None:
    dirty: list[Connection] = []
    conn = Connection(True, EventLog(), dirty)
    assert dirty == []
    conn.start()
    conn.ping(b"12345678")
    assert dirty == [conn]
    dirty.clear()
    conn.out_len = 0
    conn.ping(b"12345678")
    assert dirty == [conn]


def test_a_view_of_the_output_may_be_held_while_more_comes() -> None:
    side = Side()
    side.conn.ping(b"12345678")
    view = memoryview(side.conn.out)[: side.conn.out_len]
    for _ in range(100):
        side.conn.ping(b"abcdefgh")
    assert parse(bytes(view)) == [("PING", 0, 0, b"12345678")]
    assert len(side.sent()) == 101


def test_trim_gives_a_large_buffer_back() -> None:
    side = Side()
    side.feed(headers(1))
    side.conn.send_headers(side.stream(1), b"\x88" * 60_000, False)
    side.conn.trim()
    assert len(side.conn.out) > 60_000
    side.sent()
    side.conn.trim()
    assert len(side.conn.out) < 1000
    side.feed(data(1, b"x", True))
    side.conn.ping(b"12345678")
    assert len(side.sent()) == 1
