from __future__ import annotations

from typing import Any

import pytest
from h1_peer import GET, OK, Side, head, request, response, told

CLOSES, ABORTS = 1, 2
SECTION = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/x"))
POST = b"POST /x HTTP/1.1\r\nHost: cart\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def refused(status: int) -> bytes:
    return b"HTTP/1.1 %d " % status


# -- requests


def test_a_request_without_content_is_one_call() -> None:
    side = Side()
    side.feed(GET)
    assert side.events() == [("headers", 1, SECTION, True)]
    assert side.conn.active == 1


@pytest.mark.parametrize(
    ("octets", "content", "trailers"),
    [
        (POST + b"Content-Length: 5\r\n\r\nhello", b"hello", None),
        (POST + b"Content-Length: 0\r\n\r\n", None, None),
        (CHUNKED + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n", b"hello world", None),
        (CHUNKED + b"0\r\n\r\n", b"", None),
        (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello", ((b"x-sum", b"1"),)),
        (CHUNKED + b"5\r\nhello\r\n0\r\nSet-Cookie: 1\r\n\r\n", b"hello", None),
        (CHUNKED + b"5\r\nhello\r\n0\r\nTraceparent: 1\r\n\r\n", b"hello", ((b"traceparent", b"1"),)),
        (b"\r\n\r\n" + GET, None, None),
        (b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", b"ab", None),
    ],
)
def test_requests_are_the_same_however_they_are_cut(
    octets: bytes, content: bytes | None, trailers: tuple[tuple[bytes, bytes], ...] | None
) -> None:
    whole = Side()
    whole.feed(octets)
    events = told(whole.events())
    assert whole.error is None
    assert events[0][0] == "headers"
    assert events[-1][-1] is True
    assert b"".join(event[2] for event in events if event[0] == "data") == (content or b"")
    assert len(events) == 1 + (content is not None and not (trailers and not content)) + (trailers is not None)
    if trailers is not None:
        assert events[-1][2] == trailers
    for cuts in [(cut,) for cut in range(1, len(octets))] + [tuple(range(1, len(octets)))]:
        side = Side()
        edges = (0, *cuts, len(octets))
        for i, start in enumerate(edges[:-1]):
            side.feed(octets[start : edges[i + 1]])
        assert told(side.events()) == events, cuts
        assert side.rest == b""


def test_what_was_sent_ahead_waits_for_the_answer() -> None:
    side = Side()
    side.feed(GET + GET + b"GET")
    assert side.events() == [("headers", 1, SECTION, True)]
    assert not side.conn.reading()
    assert side.rest == GET + b"GET"
    side.answer(response(204))
    assert side.attended()
    assert side.events() == [("headers", 3, SECTION, True)]
    assert side.rest == b"GET"
    side.answer(response(204))
    side.attended()
    assert side.conn.reading()
    assert side.events() == []
    side.feed(GET[3:])
    assert side.events() == [("headers", 5, SECTION, True)]
    assert side.sent() == b"HTTP/1.1 204 No Content\r\n\r\n" * 2


def test_answers_given_at_once_let_the_next_request_in() -> None:
    side = Side()
    side.log.hook = lambda event, stream: side.conn.send_head(stream, response(204), b"", True)
    side.feed(GET * 50)
    assert len(side.events()) == 50
    assert side.sent() == b"HTTP/1.1 204 No Content\r\n\r\n" * 50
    assert side.rest == b""


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"\n" + GET, 400),
        (b"\r\r\n" + GET, 400),
        (b"\r\n" * 5 + GET, 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b" GET / HTTP/1.1\r\n", 400),
        (b"GET /\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"traceparent: x\r\nHost: a\r\n\r\n", 400),
        (b"Grpc-Timeout: 1S\r\n\r\n", 400),
        (b"GET /" + b"a" * 8192, 414),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n", 414),
        (b"G" * 8193, 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 73_728, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 66_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Expect: x\r\n\r\n", 417),
        (b"tracestate: a=1\r\n" + GET, 400),
        (b"grpc-timeout: 1S\r\n" + GET, 400),
        (POST + b"Content-Length: 1234567890123456789\r\n\r\n", 413),
        (CHUNKED + b"x", 400),
        (CHUNKED + b"5\r\nhello!", 400),
        (CHUNKED + b"5\r\nhello\n", 400),
        (CHUNKED + b"12345678901234567", 413),
        (CHUNKED + b"0\r\n\n", 400),
        (CHUNKED + b"0\r\na: b\n", 400),
        (CHUNKED + b"0\r\nContent-Length: 1\r\n\r\n", 400),
        (CHUNKED + b"0\r\n" + b"a: b\r\n" * 102, 431),
        (CHUNKED + b"0\r\n" + b"a" * 16_385, 431),
        (CHUNKED + b"0\r\na: " + b"b" * 16_385 + b"\r\n", 431),
        (CHUNKED + b"0\r\n" + (b"a: " + b"b" * 5000 + b"\r\n") * 4, 431),
    ],
)
def test_what_is_refused_is_answered_however_it_is_cut(octets: bytes, status: int) -> None:
    for cut in sorted({0, 1, len(octets) // 2, len(octets) - 1, *range(1, min(len(octets), 80))}):
        side = Side()
        if cut:
            side.feed(octets[:cut])
        if side.error is None:
            side.feed(octets[cut:])
        assert side.error is not None, cut
        assert side.sent().startswith(refused(status)), cut
        assert side.conn.ending == CLOSES
        assert side.conn.closed
        events = side.events()
        assert [event[0] for event in events if event[0] == "reset"] == ["reset"] * (octets.startswith(CHUNKED))
        side.feed(GET)
        assert side.events() == []
        assert side.sent() == b""


def test_a_request_line_and_a_section_as_large_as_they_may_be() -> None:
    line = b"GET /" + b"a" * (8192 - 14) + b" HTTP/1.1\r\n"
    assert len(line) == 8194
    side = Side()
    side.feed(line + b"Host: a\r\n" + b"x: y\r\n" * 98 + b"z: " + b"y" * 52_000 + b"\r\n\r\n")
    assert side.error is None
    assert len(side.events()[0][2]) == 3 + 1 + 99


def test_a_million_reads_of_one_octet_cost_no_more_than_one() -> None:
    side = Side()
    octets = bytearray(POST + b"Content-Length: 1\r\nX: " + b"y" * 60_000)
    for n in range(1, len(octets)):
        assert side.conn.receive(octets, n) == 0
    octets += b"\r\n\r\n"
    assert side.conn.receive(octets, len(octets)) == len(octets)
    assert len(side.events()) == 1


def test_an_error_in_the_content_of_a_request_resets_it_first() -> None:
    side = Side()
    side.feed(CHUNKED + b"5\r\nhello\r\nX")
    assert [event[0] for event in side.events()] == ["headers", "data", "reset"]
    assert side.sent().startswith(refused(400))


def test_an_error_in_the_content_after_the_answer_has_begun_is_no_second_answer() -> None:
    side = Side()
    side.feed(CHUNKED)
    side.conn.send_head(side.stream(), response(200), b"", False)
    side.sent()
    side.feed(b"X")
    assert side.events()[-1] == ("reset", 1, 1, False)
    assert side.sent() == b""
    assert side.conn.ending == ABORTS


# -- as client


def opened(method: bytes = b"GET") -> Side:
    side = Side(client=True)
    side.conn.request("owner", request(method), b"", True)
    side.sent()
    return side


def test_the_next_request_may_go_when_the_response_is_complete() -> None:
    side = opened()
    assert not side.conn.can_open()
    side.feed(OK)
    assert side.events() == [
        ("headers", 1, ((b":status", b"200"), (b"content-length", b"2")), False), ("data", 1, b"ok", True)]
    assert side.conn.can_open()
    assert side.conn.active == 0


@pytest.mark.parametrize(
    ("method", "octets", "statuses", "content", "stays"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", [b"200"], b"ok", True),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", [b"204"], b"", True),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", [b"304"], b"", True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", [b"200"], b"", True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [b"200"], b"", True),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\n\r\n" + OK, [b"100", b"103", b"200"], b"ok", True),
        (b"GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", [b"200"], b"ok", False),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", [b"200"], b"ok", False),
        (b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", [b"200"], b"ok", True),
    ],
)
def test_responses_are_the_same_however_they_are_cut(
    method: bytes, octets: bytes, statuses: list[bytes], content: bytes, stays: bool
) -> None:
    for cuts in [(), *((cut,) for cut in range(1, len(octets))), tuple(range(1, len(octets)))]:
        side = opened(method)
        edges = (0, *cuts, len(octets))
        for i, start in enumerate(edges[:-1]):
            side.feed(octets[start : edges[i + 1]])
        events = told(side.events())
        assert [event[2][0][1] for event in events if event[0] == "headers"] == statuses
        assert b"".join(event[2] for event in events if event[0] == "data") == content
        assert events[-1][-1] is True
        assert side.conn.can_open() is stays, cuts
        assert side.conn.ending == (0 if stays else CLOSES)


def test_content_until_the_connection_ends() -> None:
    side = opened()
    side.feed(b"HTTP/1.1 200 OK\r\n\r\nab")
    side.feed(b"cd")
    assert side.conn.receive_eof() is False
    assert told(side.events())[1:] == [("data", 1, b"abcd", True)]
    assert not side.conn.can_open()


@pytest.mark.parametrize("octets", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"HTTP/1.1 200", b"",
                                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"])
def test_an_end_in_the_middle_is_not_the_end_of_the_response(octets: bytes) -> None:
    side = opened()
    side.feed(octets)
    assert side.conn.receive_eof() is False
    assert not any(event[-1] is True for event in side.events())
    assert side.conn.active == 1


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n" + OK,
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101,
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 80_000,
        b"HTTP/1.1 200 " + b"b" * 9_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 33,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
    ],
)
def test_a_malformed_response_ends_its_stream_and_the_connection(octets: bytes) -> None:
    side = opened()
    side.feed(octets)
    assert side.error is not None
    assert side.events()[-1] == ("reset", 1, 1, False)
    assert side.conn.ending == ABORTS
    assert not side.conn.can_open()
    assert side.sent() == b""


@pytest.mark.parametrize("octets", [b"x", OK, b"\r\n"])
def test_octets_that_nobody_asked_for_end_the_connection(octets: bytes) -> None:
    side = opened()
    side.feed(OK + octets)
    assert side.error is not None
    assert [event[0] for event in side.events()] == ["headers", "data"]
    assert not side.conn.can_open()
    idle = Side(client=True)
    idle.feed(octets)
    assert idle.error is not None
    assert not idle.conn.can_open()


def test_keep_alive_of_the_last_answer() -> None:
    side = opened()
    side.feed(b"HTTP/1.1 204 x\r\nKeep-Alive: timeout=5\r\n\r\n")
    assert side.conn.keep_alive_timeout == 5
    side.conn.request(None, request(), b"", True)
    side.feed(b"HTTP/1.1 204 x\r\n\r\n")
    assert side.conn.keep_alive_timeout == 0


# -- what the shell's timers ask


def test_since_when_a_peer_has_been_at_a_section() -> None:
    side = Side()
    side.conn.now = 5.0
    side.conn.start()
    assert side.conn.oldest_unfinished() == 5.0  # it owes the first one
    side.conn.now = 6.0
    side.feed(GET[:5])
    side.conn.now = 7.0
    side.feed(GET[5:9])
    assert side.conn.oldest_unfinished() == 5.0
    side.feed(GET[9:])
    assert side.conn.oldest_unfinished() == 0.0
    side.answer(response(204))
    assert side.conn.oldest_unfinished() == 0.0
    side.conn.now = 9.0
    side.feed(CHUNKED + b"0\r\na: b")
    side.conn.now = 10.0
    side.feed(b"c")
    assert side.conn.oldest_unfinished() == 9.0
    side.feed(b"\r\n\r\n" + GET)
    assert side.conn.oldest_unfinished() == 0.0
    assert not side.conn.reading()


def test_a_server_at_its_head() -> None:
    side = opened()
    side.conn.now = 3.0
    assert side.conn.oldest_unfinished() == 0.0
    side.feed(b"HTTP/1.1 200")
    assert side.conn.oldest_unfinished() == 3.0
    side.feed(b" OK\r\n\r\n")
    assert side.conn.oldest_unfinished() == 0.0


def test_a_stream_that_waits_is_told_in_its_turn() -> None:
    side = Side()
    side.feed(GET)
    stream, conn = side.stream(), side.conn
    conn.send_head(stream, response(200), b"", False)
    conn.send_data(stream, bytes(1_000_000), 0, 1_000_000, False)
    conn.wait(stream)
    assert conn.waiters() == 1
    side.events()
    side.sent()
    conn.serve()
    assert side.events() == [("writable", 1)]
    assert conn.waiters() == 0
    conn.serve()
    assert side.events() == []


def test_errors_are_counted_by_their_cause() -> None:
    for octets, cause in ((b"x\n", "protocol_error"), (b"G" * 9000, "header_list_too_large")):
        side = Side()
        side.feed(octets)
        assert side.error is not None
        assert side.error.cause == cause
        assert side.conn.counts == {cause: 1}


def test_the_end_is_final() -> None:
    side = Side()
    side.feed(GET)
    side.conn.end()
    side.conn.send_head(side.stream(), response(200), b"", True)
    assert side.sent() == b""
    assert side.conn.sendable(side.stream()) == 0


def test_what_is_told_can_be_sent_on() -> None:
    """A request and its answer through two sidecars: each codec writes what the other reads."""
    caller, server = Side(client=True), Side()
    sections: list[Any] = []
    server.log.hook = lambda event, stream: sections.append(event)
    stream = caller.conn.request(None, request(b"POST", b"/p", (b"te", b"trailers"), (b"cookie", b"a=1")), b"", False)
    caller.conn.send_data(stream, b"abc", 0, 3, False)
    caller.conn.send_head(stream, head((b"x-sum", b"1")), b"", True)
    server.feed(caller.sent())
    assert told(server.events()) == [
        ("headers", 1, ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"cart"), (b":path", b"/p"),
                        (b"cookie", b"a=1"), (b"te", b"trailers")), False),
        ("data", 1, b"abc", False),
        ("headers", 1, ((b"x-sum", b"1"),), True),
    ]
    answer = server.stream()
    server.conn.send_head(answer, response(200, (b"x", b"y")), b"", False)
    server.conn.send_data(answer, b"def", 0, 3, False)
    server.conn.send_head(answer, head((b"grpc-status", b"0")), server.conn.field(b"a", b"b"), True)
    caller.feed(server.sent())
    assert told(caller.events()) == [
        ("headers", 1, ((b":status", b"200"), (b"x", b"y")), False),
        ("data", 1, b"def", False),
        ("headers", 1, ((b"grpc-status", b"0"), (b"a", b"b")), True),
    ]
    assert caller.conn.can_open()
    assert server.conn.active == 0
