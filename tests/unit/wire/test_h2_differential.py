"""Against the `h2` package, in both roles: what either sends, the other must read as meant."""

from __future__ import annotations

import random
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2_peer import (
    PREFACE,
    REQUEST,
    RESPONSE,
    TRAILERS,
    Side,
    block,
    data,
    frame,
    headers,
    reset,
    settings,
    window_update,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mesh.wire.errors import ConnectionError_

# What can happen on a stream, as (what, which of the open streams, size).
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "data", "data", "data", "end", "trailers", "reset", "ping", "settings"]),
        st.integers(0, 9),
        st.integers(0, 40_000),
    ),
    min_size=1,
    max_size=40,
)


class Oracle:
    """The `h2` package's connection, and what it was told, in the words of our event log."""

    def __init__(self, client: bool) -> None:
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
        self.told: list[tuple[Any, ...]] = []

    def feed(self, octets: bytes) -> None:
        for event in self.conn.receive_data(octets):
            match event:
                case h2.events.RequestReceived() | h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                    self.told.append(("headers", event.stream_id, fields, event.stream_ended is not None))
                case h2.events.DataReceived():
                    self.told.append(("data", event.stream_id, event.data, event.stream_ended is not None))
                    self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamReset():
                    self.told.append(("reset", event.stream_id, int(event.error_code), event.remote_reset))
                case h2.events.PingAckReceived():
                    self.told.append(("ping_ack", event.ping_data))


def carry(side: Side, oracle: Oracle) -> None:
    while True:
        ours, theirs = side.conn.take_output(), oracle.conn.data_to_send()
        if not ours and not theirs:
            return
        oracle.feed(ours)
        side.feed(theirs)


def merge(events: list[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """Per stream, with neighbouring DATA joined: frames may be cut differently."""
    streams: dict[int, list[tuple[Any, ...]]] = {}
    for event in events:
        if event[0] not in ("headers", "data", "reset"):
            continue
        log = streams.setdefault(event[1], [])
        if event[0] == "data" and log and log[-1][0] == "data":
            log[-1] = ("data", event[1], log[-1][2] + event[2], event[3])
        elif event[0] != "data" or event[2] or event[3]:
            log.append(event)
    return streams


@hypothesis_settings(derandomize=True, max_examples=60, deadline=None)
@given(STEPS)
def test_the_oracle_asks_us(steps: list[tuple[str, int, int]]) -> None:
    oracle, side = Oracle(True), Side(fresh=True)
    oracle.conn.initiate_connection()
    side.conn.start()
    carry(side, oracle)
    meant: dict[int, list[tuple[Any, ...]]] = {}
    open_ids: list[int] = []
    for what, which, n in steps:
        if what == "open":
            stream_id = oracle.conn.get_next_available_stream_id()
            oracle.conn.send_headers(stream_id, list(REQUEST), end_stream=n == 0)
            meant[stream_id] = [("headers", stream_id, REQUEST, n == 0)]
            if n:
                open_ids.append(stream_id)
        elif what == "ping":
            oracle.conn.ping(b"12345678")
        elif what == "settings":
            oracle.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535 + n})
        elif open_ids:
            stream_id = open_ids[which % len(open_ids)]
            if what == "data":
                n = min(n, oracle.conn.local_flow_control_window(stream_id), oracle.conn.max_outbound_frame_size)
                oracle.conn.send_data(stream_id, b"d" * n)
                meant[stream_id].append(("data", stream_id, b"d" * n, False))
            elif what == "end":
                oracle.conn.end_stream(stream_id)
                meant[stream_id].append(("data", stream_id, b"", True))
            elif what == "trailers":
                oracle.conn.send_headers(stream_id, list(TRAILERS), end_stream=True)
                meant[stream_id].append(("headers", stream_id, TRAILERS, True))
            else:
                oracle.conn.reset_stream(stream_id, 8)
                meant[stream_id].append(("reset", stream_id, 8, True))
            if what != "data":
                open_ids.remove(stream_id)
        carry(side, oracle)
    assert merge(side.events()) == merge([event for events in meant.values() for event in events])
    for stream in side.conn.all_streams():
        side.conn.send_headers(stream, block(RESPONSE), False)
        side.conn.send_data(stream, b"answer", 0, 6, False)
        side.conn.send_headers(stream, block(TRAILERS), True)
    carry(side, oracle)
    for log in merge(oracle.told).values():
        assert [event[2] for event in log] == [RESPONSE, b"answer", TRAILERS]


@hypothesis_settings(derandomize=True, max_examples=60, deadline=None)
@given(STEPS)
def test_we_ask_the_oracle(steps: list[tuple[str, int, int]]) -> None:
    oracle, side = Oracle(False), Side(client=True, fresh=True)
    oracle.conn.initiate_connection()
    side.conn.start()
    carry(side, oracle)
    meant: dict[int, list[tuple[Any, ...]]] = {}
    open_streams = []
    for what, which, n in steps:
        if what == "open":
            stream = side.conn.open(None, block(REQUEST), n == 0)
            meant[stream.id] = [("headers", stream.id, REQUEST, n == 0)]
            if n:
                open_streams.append(stream)
        elif what == "ping":
            side.conn.ping(b"12345678")
        elif what == "settings":
            oracle.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535 + n})
        elif open_streams:
            stream = open_streams[which % len(open_streams)]
            if what == "data":
                n = min(n, side.conn.sendable(stream))
                side.conn.send_data(stream, bytearray(b"d" * n), 0, n, False)
                meant[stream.id].append(("data", stream.id, b"d" * n, False))
            elif what == "end":
                side.conn.send_data(stream, b"", 0, 0, True)
                meant[stream.id].append(("data", stream.id, b"", True))
            elif what == "trailers":
                side.conn.send_headers(stream, block(TRAILERS), True)
                meant[stream.id].append(("headers", stream.id, TRAILERS, True))
            else:
                side.conn.reset(stream, 8)
                meant[stream.id].append(("reset", stream.id, 8, True))
            if what != "data":
                open_streams.remove(stream)
        carry(side, oracle)
    assert merge(oracle.told) == merge([event for events in meant.values() for event in events])


@hypothesis_settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=12), st.integers(1, 5))
def test_large_bodies_under_flow_control(sizes: list[int], streams: int) -> None:
    """We send bodies larger than the oracle's windows; it gives them back as it reads."""
    oracle, side = Oracle(False), Side(client=True, fresh=True)
    oracle.conn.initiate_connection()
    side.conn.start()
    carry(side, oracle)
    total = sum(sizes)
    bodies = [bytes((65 + i,)) * total for i in range(streams)]
    left = []
    for i in range(streams):
        left.append([side.conn.open(None, block(REQUEST), False), 0, bodies[i]])
    while left:
        for entry in list(left):
            stream, at, body = entry
            n = min(side.conn.sendable(stream), len(body) - at)
            side.conn.send_data(stream, body, at, n, at + n == len(body))
            entry[1] = at + n
            if entry[1] == len(body):
                left.remove(entry)
        carry(side, oracle)
    got = merge(oracle.told)
    assert [got[1 + 2 * i][1][2] for i in range(streams)] == bodies


# Frames that make sense, frames that don't, and what the two make of them.
PIECES = [
    headers(1),
    headers(1, end=True),
    headers(3),
    headers(3, REQUEST, True),
    headers(1, TRAILERS, True),
    data(1, b"abc"),
    data(1, b"", True),
    data(3, b"x" * 100, True),
    data(5, b"y"),
    reset(1),
    reset(3),
    reset(7),
    window_update(0, 10),
    window_update(1, 10),
    window_update(1, 0),
    window_update(3, 2**31 - 1),
    window_update(9, 1),
    settings((4, 100)),
    settings((4, 2**31)),
    settings((5, 1)),
    frame("SETTINGS", 1),
    frame("PING", 0, 0, b"12345678"),
    frame("PING", 0, 0, b"1"),
    frame("GOAWAY", 0, 0, bytes(8)),
    frame("PRIORITY", 0, 1, bytes(5)),
    frame("CONTINUATION", 4, 1, b""),
    frame("HEADERS", 0, 5, block(REQUEST)[:4]),
    frame("CONTINUATION", 4, 5, block(REQUEST)[4:]),
    headers(2),
    data(0, b"x"),
    headers(5, REQUEST[1:]),
    headers(7, (*REQUEST, (b"connection", b"x"))),
    frame("DATA", 8, 1, b"\x01ab"),
    frame("DATA", 8, 1, b"\x05ab"),
    b"\0\0\1\x99\0\0\0\0\0x",
    frame("HEADERS", 5, 9, b"\xff\xff\xff\xff\xff\xff"),
]


def test_random_conversations_never_do_more_harm_here_than_there() -> None:
    """Garbage ends our connection cleanly or not at all; where the oracle is content, so are we."""
    rng = random.Random(17)
    same = ended = 0
    for _ in range(1500):
        pieces = [rng.choice(PIECES) for _ in range(rng.randrange(1, 7))]
        oracle, side = Oracle(False), Side(fresh=True)
        oracle.conn.initiate_connection()
        side.conn.start()
        octets = PREFACE + settings() + b"".join(pieces)
        try:
            oracle.feed(octets)
            content = not any(event[0] == "reset" and not event[3] for event in oracle.told)
        except h2.exceptions.ProtocolError:
            content = False
        try:
            side.feed(octets)
        except ConnectionError_ as error:
            ended += 1
            # RFC 9113, section 6.4, is plain about this one; the oracle lets it pass.
            harsh = content and error.reason != "RST_STREAM on an idle stream"
        else:
            harsh = False
            if content and not side.resets():
                same += 1
                assert merge(side.events()) == merge(oracle.told), pieces
        assert not harsh, pieces
    assert same > 100
    assert ended > 500


def test_seeded_garbage_never_crashes() -> None:
    """Whatever comes in: consumed, or a ConnectionError_ with its GOAWAY queued; nothing after that."""
    rng = random.Random(23)
    for round_ in range(1500):
        client = bool(round_ & 1)
        side = Side(client=client)
        if client:
            side.open()
            side.open(end=True)
        octets = bytearray(b"".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 10))))
        for _ in range(rng.randrange(6)):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        if rng.random() < 0.2:
            octets = bytearray(rng.randbytes(rng.randrange(1, 200)))
        code = -1
        try:
            for at in range(0, len(octets), 50):
                side.feed(bytes(octets[at : at + 50]))
        except ConnectionError_ as error:
            code = error.code
        if code >= 0:
            kind, _, _, payload = side.sent()[-1]
            assert (kind, int.from_bytes(payload[4:8], "big")) == ("GOAWAY", code)
            side.feed(b"more")
            assert side.sent() == []
