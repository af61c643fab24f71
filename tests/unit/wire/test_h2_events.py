from __future__ import annotations

from h2_peer import REQUEST, Side, block, data, frame, headers, reset

from mesh.wire.hpack import literal


def test_everything_a_connection_tells_is_written_down() -> None:
    side = Side(client=True)
    stream = side.open()
    side.conn.ping(b"12345678")
    side.feed(headers(1, [(b":status", b"200")]) + data(1, b"abc") + headers(1, [(b"grpc-status", b"0")], True))
    side.feed(frame("PING", 1, 0, b"12345678") + frame("GOAWAY", 0, 0, bytes((0, 0, 0, 1, 0, 0, 0, 2)) + b"bye"))
    assert side.events() == [
        ("headers", 1, ((b":status", b"200"),), False),
        ("data", 1, b"abc", False),
        ("headers", 1, ((b"grpc-status", b"0"),), True),
        ("ping_ack", b"12345678"),
        ("goaway", 1, 2, b"bye"),
    ]
    assert side.stream(1) is stream
    assert side.events() == []


def test_per_call_fields_come_last() -> None:
    side = Side()
    octets = literal(b"grpc-timeout", b"1S") + literal(b"traceparent", b"x") + literal(b"tracestate", b"a=1")
    side.feed(frame("HEADERS", 5, 1, octets[:0] + block(REQUEST) + octets))
    assert side.events() == [
        ("headers", 1, (*REQUEST, (b"traceparent", b"x"), (b"tracestate", b"a=1"), (b"grpc-timeout", b"1S")), True)
    ]


def test_the_hook_hears_every_event() -> None:
    side = Side()
    heard: list[str] = []
    side.log.hook = lambda event, stream: heard.append(event[0] + str(stream.id))
    side.feed(headers(1) + data(1, b"x") + reset(1))
    assert heard == ["headers1", "data1", "reset1"]
