from __future__ import annotations

import pytest
from h1_peer import GET, OK, Side, head, request, response, told

from mesh.wire.errors import StreamStateError

STAYS, CLOSES, ABORTS = 0, 1, 2
POST = b"POST /x HTTP/1.1\r\nHost: cart\r\n"
OLD = b"GET /x HTTP/1.0\r\n"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
CHAT = (b"GET /chat HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + KEY
        + b"\r\n\r\n")
HEAD = GET.replace(b"GET", b"HEAD")
CLOSE = b"connection: close\r\n"


def asked(octets: bytes = GET) -> Side:
    side = Side()
    side.feed(octets)
    assert side.error is None
    side.events()
    return side


# -- how a response is framed


@pytest.mark.parametrize(
    ("octets", "answer", "body", "sent", "ending"),
    [
        (GET, response(200), b"hello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", STAYS),
        (GET, response(200), b"x" * 300,
         b"transfer-encoding: chunked\r\n\r\n12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n", STAYS),
        (GET, response(200), b"", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", STAYS),
        (GET, response(200), None, b"content-length: 0\r\n\r\n", STAYS),
        (GET, response(200, (b"content-length", b"5")), b"hello", b"content-length: 5\r\n\r\nhello", STAYS),
        (GET, response(200, (b"content-length", b"0")), b"", b"content-length: 0\r\n\r\n", STAYS),
        (GET, response(204), None, b"\r\n", STAYS),
        (GET, response(204), b"no", b"\r\n", STAYS),
        (GET, response(304, (b"content-length", b"5")), None, b"content-length: 5\r\n\r\n", STAYS),
        (GET, response(304), b"no", b"\r\n", STAYS),
        (HEAD, response(200, (b"content-length", b"5")), None, b"content-length: 5\r\n\r\n", STAYS),
        (HEAD, response(200), b"no", b"\r\n", STAYS),
        (OLD + b"\r\n", response(200), b"hello", CLOSE + b"\r\nhello", CLOSES),
        (OLD + b"\r\n", response(200, (b"content-length", b"5")), b"hello",
         b"content-length: 5\r\n" + CLOSE + b"\r\nhello", CLOSES),
        (OLD + b"Connection: keep-alive\r\n\r\n", response(200), b"hello", CLOSE + b"\r\nhello", CLOSES),
        (OLD + b"Connection: keep-alive\r\n\r\n", response(200, (b"content-length", b"5")), b"hello",
         b"content-length: 5\r\nconnection: keep-alive\r\n\r\nhello", STAYS),
        (OLD + b"Connection: keep-alive\r\n\r\n", response(204), None, b"connection: keep-alive\r\n\r\n", STAYS),
        (GET[:-2] + b"Connection: close\r\n\r\n", response(200), None,
         b"content-length: 0\r\n" + CLOSE + b"\r\n", CLOSES),
    ],
)
def test_framing_of_responses(octets: bytes, answer: object, body: bytes | None, sent: bytes, ending: int) -> None:
    side = asked(octets)
    side.answer(answer, body)  # type: ignore[arg-type]
    status, _, rest = side.sent().partition(b"\r\n")
    assert status.startswith(b"HTTP/1.1 ")
    assert rest == sent
    assert side.conn.ending == ending
    assert side.conn.active == 0


def test_data_in_pieces() -> None:
    side = asked()
    stream = side.stream()
    side.conn.send_head(stream, response(200), b"a: b\r\n", False)
    side.conn.send_data(stream, bytearray(b"xhellox"), 1, 5, False)
    side.conn.send_data(stream, b"", 0, 0, False)
    side.conn.send_data(stream, b"!", 0, 1, False)
    side.conn.send_head(stream, head((b"t", b"1")), b"u: 2\r\n", True)
    assert side.sent() == (b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n"
                           b"t: 1\r\nu: 2\r\n\r\n")


@pytest.mark.parametrize("octets", [OLD + b"\r\n", HEAD])
def test_trailers_are_left_out_where_there_is_no_place(octets: bytes) -> None:
    side = asked(octets)
    stream = side.stream()
    side.conn.send_head(stream, response(200), b"", False)
    side.conn.send_head(stream, head((b"t", b"1")), b"", True)
    assert b"t: 1" not in side.sent()
    assert stream.closed


def test_interim_responses() -> None:
    side = asked()
    side.conn.send_head(side.stream(), response(103, (b"link", b"x")), b"", False)
    assert side.sent() == b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    side.answer(response(200))
    assert side.sent() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def test_none_to_http_1_0() -> None:
    side = asked(OLD + b"\r\n")
    side.conn.send_head(side.stream(), response(100), b"", False)
    assert side.sent() == b""
    side.answer(response(200))
    assert side.sent().startswith(b"HTTP/1.1 200 OK\r\n")


EXPECTS = POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"


def test_a_final_answer_to_an_expectation_ends_the_connection() -> None:
    side = asked(EXPECTS)
    side.answer(response(403))
    assert side.sent() == b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("how", ["asked", "sent anyway"])
def test_it_does_not_once_the_content_is_on_its_way(how: str) -> None:
    side = asked(EXPECTS)
    if how == "asked":
        side.conn.send_head(side.stream(), response(100), b"", False)
        assert side.sent() == b"HTTP/1.1 100 Continue\r\n\r\n"
    else:
        side.feed(b"a")
    side.answer(response(403))
    assert b"connection: close" not in side.sent()


# -- misuse: nothing is written


@pytest.mark.parametrize(
    "answer",
    [response(200, (b"x", b"a\r\nb: c")), response(101), head((b"x", b"y")), response(200, (b"upgrade", b"x"))])
def test_a_response_that_can_not_be_said_is_not_begun(answer: object) -> None:
    side = asked()
    with pytest.raises(StreamStateError):
        side.conn.send_head(side.stream(), answer, b"", True)  # type: ignore[arg-type]
    assert side.sent() == b""
    side.answer(response(502))
    assert side.sent().startswith(b"HTTP/1.1 502 ")


def test_order_is_kept() -> None:
    side = asked()
    stream, conn = side.stream(), side.conn
    with pytest.raises(StreamStateError):
        conn.send_data(stream, b"x", 0, 1, False)
    with pytest.raises(StreamStateError):
        conn.send_head(stream, response(100), b"", True)
    with pytest.raises(StreamStateError):
        conn.send_head(stream, response(200, (b"content-length", b"1")), b"", True)
    assert side.sent() == b""
    conn.send_head(stream, response(200), b"", False)
    with pytest.raises(StreamStateError):
        conn.send_head(stream, response(200), b"", True)
    with pytest.raises(StreamStateError):
        conn.send_head(stream, head((b"t", b"1")), b"", False)


def test_nothing_after_the_end() -> None:
    side = asked(POST + b"Content-Length: 1\r\n\r\n")
    stream = side.stream()
    side.conn.send_head(stream, response(200), b"", True)
    with pytest.raises(StreamStateError):
        side.conn.send_data(stream, b"x", 0, 1, True)
    with pytest.raises(StreamStateError):
        side.conn.send_head(stream, head((b"t", b"1")), b"", True)


def test_a_dead_stream_is_sent_nothing() -> None:
    side = asked()
    stream = side.stream()
    side.answer(response(204))
    side.sent()
    side.conn.send_head(stream, response(200), b"", False)
    side.conn.send_data(stream, b"x", 0, 1, True)
    side.conn.reset(stream, 8)
    assert side.sent() == b""
    assert side.conn.sendable(stream) == 0
    assert side.conn.ending == STAYS


@pytest.mark.parametrize(("n", "end"), [(1, True), (3, False), (3, True)])
def test_neither_more_nor_less_than_promised(n: int, end: bool) -> None:
    side = asked()
    stream = side.stream()
    side.conn.send_head(stream, response(200, (b"content-length", b"2")), b"", False)
    side.sent()
    with pytest.raises(StreamStateError):
        side.conn.send_data(stream, b"xxx", 0, n, end)
    with pytest.raises(StreamStateError):
        side.conn.send_head(stream, head((b"t", b"1")), b"", True)
    assert side.sent() == b""


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\rb", b"a\x00"])
def test_a_field_stays_on_its_line(value: bytes) -> None:
    with pytest.raises(StreamStateError):
        Side().conn.field(b"x", value)
    assert Side().conn.field(b"x", b"a b") == b"x: a b\r\n"


def test_pending_output_is_bounded() -> None:
    side = asked()
    stream, conn = side.stream(), side.conn
    conn.send_head(stream, response(200), b"", False)
    sendable = conn.sendable(stream)
    assert sendable > 1_000_000
    conn.send_data(stream, bytes(sendable), 0, sendable, False)
    assert conn.sendable(stream) == 0
    with pytest.raises(StreamStateError):
        conn.send_data(stream, b"x", 0, 1, False)
    side.sent()
    assert conn.sendable(stream) == 1 << 20


# -- requests


@pytest.mark.parametrize(
    ("section", "end", "framing"),
    [
        (request(b"GET"), True, b""),
        (request(b"DELETE"), True, b""),
        (request(b"POST"), True, b"content-length: 0\r\n"),
        (request(b"PUT"), True, b"content-length: 0\r\n"),
        (request(b"PATCH"), True, b"content-length: 0\r\n"),
        (request(b"POST", b"/x", (b"content-length", b"0")), True, b"content-length: 0\r\n"),
        (request(b"POST", b"/x", (b"content-length", b"3")), False, b"content-length: 3\r\n"),
        (request(b"POST"), False, b"transfer-encoding: chunked\r\n"),
        (request(b"GET"), False, b"transfer-encoding: chunked\r\n"),
    ],
)
def test_framing_of_requests(section: object, end: bool, framing: bytes) -> None:
    side = Side(client=True)
    stream = side.conn.request("me", section, b"a: b\r\n", end)  # type: ignore[arg-type]
    assert stream.owner == "me"
    _, _, rest = side.sent().partition(b"\r\n")
    assert rest == b"host: cart\r\na: b\r\n" + framing + b"\r\n"
    assert stream.local_closed is end


@pytest.mark.parametrize(
    ("section", "end"),
    [(request(b"GET", b"/a b"), True), (response(200), True), (head((b"x", b"y")), True),
     (request(b"POST", b"/x", (b"content-length", b"3")), True), (request(b"GET", b"/", (b"x", b"a\r\nb")), True)],
)
def test_a_request_that_can_not_be_said_is_not_begun(section: object, end: bool) -> None:
    side = Side(client=True)
    promise = getattr(section, "content_length", 0) > 0  # which only `end` breaks
    assert (side.conn.request_problem(section) is None) is promise  # type: ignore[arg-type]
    with pytest.raises(StreamStateError):
        side.conn.request(None, section, b"", end)  # type: ignore[arg-type]
    assert side.sent() == b""
    assert side.conn.can_open()
    assert side.conn.request_problem(request()) is None


def test_one_request_at_a_time() -> None:
    side = Side(client=True)
    side.conn.request(None, request(), b"", True)
    with pytest.raises(StreamStateError):
        side.conn.request(None, request(), b"", True)
    with pytest.raises(StreamStateError):
        Side().conn.request(None, request(), b"", True)


def test_a_response_before_the_request_is_complete() -> None:
    side = Side(client=True)
    stream = side.conn.request(None, request(b"POST", b"/x", (b"content-length", b"2")), b"", False)
    side.feed(OK)
    assert stream.remote_closed
    assert not side.conn.can_open()
    side.conn.send_data(stream, b"ab", 0, 2, True)
    assert stream.closed
    assert side.conn.can_open()


# -- tunnels


def test_an_upgrade_is_granted() -> None:
    side = asked(CHAT + b"early")
    assert side.rest == b"early"
    side.conn.send_head(side.stream(), response(200, (b"x", b"y")), b"", False)
    assert side.sent() == (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                           b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nx: y\r\n\r\n")
    assert side.attended()
    side.feed(b" bird")
    assert told(side.events()) == [("data", 1, b"early bird", False)]
    side.conn.send_data(side.stream(), b"\x00\r\n", 0, 3, False)
    assert side.sent() == b"\x00\r\n"
    assert side.conn.receive_eof() is True
    assert side.events() == [("data", 1, b"", True)]
    side.conn.send_data(side.stream(), b"bye", 0, 3, True)
    assert side.sent() == b"bye"
    assert side.conn.ending == CLOSES
    assert side.conn.active == 0


def test_a_response_that_breaks_its_promise_changes_nothing() -> None:
    side = asked(CHAT)
    with pytest.raises(StreamStateError):
        side.conn.send_head(side.stream(), response(200, (b"content-length", b"1")), b"", True)
    assert side.sent() == b""
    side.conn.send_head(side.stream(), response(200), b"", False)
    assert side.sent().startswith(b"HTTP/1.1 101 ")


def test_the_stream_says_whether_it_is_a_tunnel() -> None:
    server, client, plain = asked(CHAT), Side(client=True), asked()
    stream = client.conn.request(None, WITH_KEY, b"", False)
    assert (server.stream().tunnel, stream.tunnel, plain.stream().tunnel) == (1, 1, 0)
    server.conn.send_head(server.stream(), response(200), b"", False)
    client.feed(server.sent())
    assert (server.stream().tunnel, stream.tunnel) == (2, 2)


def test_an_accept_that_is_there_is_kept() -> None:
    side = asked(CHAT)
    side.conn.send_head(side.stream(), response(200, (b"sec-websocket-accept", b"theirs")), b"", False)
    sent = side.sent()
    assert sent.count(b"sec-websocket-accept") == 1
    assert b"sec-websocket-accept: theirs\r\n" in sent


@pytest.mark.parametrize("octets", [CHAT, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"])
def test_what_was_sent_ahead_into_a_refused_tunnel_is_no_request(octets: bytes) -> None:
    side = asked(octets + GET)
    assert side.events() == []
    side.answer(response(403), b"no")
    assert CLOSE in side.sent()
    assert side.conn.ending == CLOSES
    side.attended()
    assert side.events() == []


def test_connect_is_granted() -> None:
    side = asked(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    side.conn.send_head(side.stream(), response(200, (b"content-length", b"0"), (b"x", b"y")), b"", False)
    assert side.sent() == b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"
    side.feed(b"abc")
    assert side.events() == [("data", 1, b"abc", False)]
    side.conn.send_data(side.stream(), b"d", 0, 1, True)
    assert side.sent() == b"d"
    assert side.conn.shut  # one side may end before the other
    assert side.conn.ending == STAYS
    assert not side.conn.receive_eof()
    assert side.conn.ending == CLOSES


EXTENDED = head((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a"),
                (b":path", b"/c"))
WITH_KEY = head((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"a"),
                (b":path", b"/c"), (b"sec-websocket-key", KEY))
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"


def test_an_upgrade_is_asked_for_and_granted() -> None:
    side = Side(client=True)
    stream = side.conn.request(None, WITH_KEY, b"", False)
    assert side.sent() == (b"GET /c HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                           b"sec-websocket-key: " + KEY + b"\r\n\r\n")
    assert side.conn.sendable(stream) == 0
    side.feed(SWITCHED + b"Sec-WebSocket-Accept: theirs\r\n\r\nhello")
    assert side.events() == [("headers", 1, ((b":status", b"200"), (b"sec-websocket-accept", b"theirs")), False),
                             ("writable", 1), ("data", 1, b"hello", False)]
    side.conn.send_data(stream, b"hi", 0, 2, False)
    assert side.sent() == b"hi"
    assert side.conn.receive_eof() is True
    assert side.events() == [("data", 1, b"", True)]
    side.conn.send_data(stream, b"", 0, 0, True)
    assert side.conn.ending == CLOSES


def accepted(side: Side) -> bytes:
    from mesh.wire.h1_write import accept_of

    for line in side.sent().split(b"\r\n"):
        if line.startswith(b"sec-websocket-key: "):
            assert len(line) == 19 + 24
            return accept_of(line[19:])
    raise AssertionError("no key")


def test_a_key_of_our_own_is_ours_to_check() -> None:
    side = Side(client=True)
    side.conn.request(None, EXTENDED, b"", False)
    side.feed(SWITCHED + b"Sec-WebSocket-Accept: " + accepted(side) + b"\r\n\r\n")
    assert side.events()[0] == ("headers", 1, ((b":status", b"200"),), False)


@pytest.mark.parametrize("lines", [b"", b"Sec-WebSocket-Accept: x\r\n"])
def test_a_wrong_answer_to_our_key_is_an_error(lines: bytes) -> None:
    side = Side(client=True)
    side.conn.request(None, EXTENDED, b"", False)
    side.feed(SWITCHED + lines + b"\r\n")
    assert side.error is not None
    assert side.events() == [("reset", 1, 1, False)]


@pytest.mark.parametrize("octets", [
    b"HTTP/1.1 101 x\r\n\r\n", b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", OK])
def test_neither_another_protocol_nor_a_success_without_one(octets: bytes) -> None:
    side = Side(client=True)
    side.conn.request(None, WITH_KEY, b"", False)
    side.feed(octets)
    assert side.error is not None
    assert side.events() == [("reset", 1, 1, False)]


def test_a_refused_upgrade_is_told_as_it_is() -> None:
    side = Side(client=True)
    stream = side.conn.request(None, WITH_KEY, b"", False)
    side.feed(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert side.events() == [("headers", 1, ((b":status", b"403"), (b"content-length", b"2")), False),
                             ("data", 1, b"no", True)]
    side.conn.reset(stream, 8)
    assert side.conn.ending == ABORTS


# -- ends


def test_reset_before_the_answer_closes() -> None:
    side = asked()
    side.conn.reset(side.stream(), 7)
    assert side.sent() == b""
    assert side.conn.ending == CLOSES
    assert side.conn.active == 0


def test_reset_in_the_middle_of_the_answer_aborts() -> None:
    side = asked()
    side.conn.send_head(side.stream(), response(200), b"", False)
    side.conn.reset(side.stream(), 2)
    assert side.conn.ending == ABORTS


@pytest.mark.parametrize(
    ("lines", "upload"),
    [(b"Content-Length: 5\r\n\r\n", b"hello"),
     (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\na: b\r\n\r\n"),
     (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n")])
def test_the_rest_of_an_upload_is_dropped(lines: bytes, upload: bytes) -> None:
    for cut in range(len(upload)):
        side = asked(POST + lines + upload[:cut])
        stream = side.stream()
        side.answer(response(413))
        side.conn.reset(stream, 0)
        side.feed(upload[cut:] + GET)
        assert [event[:2] for event in side.events()] == [("headers", 3)]
        assert side.conn.ending == STAYS


def test_not_more_than_is_worth_it() -> None:
    side = asked(POST + b"Content-Length: 65537\r\n\r\n")
    stream = side.stream()
    side.answer(response(413))
    side.conn.reset(stream, 0)
    assert side.conn.ending == CLOSES
    side = asked(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    stream = side.stream()
    side.answer(response(413))
    side.conn.reset(stream, 0)
    for _ in range(16):
        side.feed(b"1000\r\n" + bytes(4096) + b"\r\n")
    assert side.conn.ending == STAYS
    side.feed(b"1\r\nx\r\n")
    assert side.conn.ending == CLOSES


def test_a_mistake_in_what_is_dropped_is_not_answered() -> None:
    side = asked(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    stream = side.stream()
    side.answer(response(413))
    side.conn.reset(stream, 0)
    side.sent()
    side.feed(b"x")
    assert side.error is not None
    assert side.sent() == b""
    assert side.conn.ending == CLOSES


def test_a_caller_that_gives_up_aborts() -> None:
    side = Side(client=True)
    side.conn.reset(side.conn.request(None, request(), b"", True), 8)
    assert side.conn.ending == ABORTS
    assert not side.conn.can_open()


def test_drain() -> None:
    idle = Side()
    idle.conn.drain()
    assert idle.conn.ending == CLOSES
    assert idle.conn.settled()
    busy = asked()
    busy.conn.drain()
    assert busy.conn.ending == STAYS
    busy.answer(response(204))
    assert busy.sent() == b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    assert busy.conn.ending == CLOSES


def test_drain_waits_for_a_request_that_has_begun() -> None:
    side = asked(GET[:5])
    side.conn.drain()
    assert side.conn.ending == STAYS
    side.feed(GET[5:])
    side.answer(response(204))
    assert CLOSE in side.sent()
    assert side.conn.ending == CLOSES


def test_a_draining_client_takes_no_more() -> None:
    side = Side(client=True)
    side.conn.request(None, request(), b"", True)
    side.conn.drain()
    side.feed(OK)
    assert not side.conn.can_open()
    assert side.conn.ending == CLOSES


def test_a_caller_that_has_closed_its_side_gets_its_answers() -> None:
    side = asked(GET + GET)
    assert side.conn.receive_eof() is True
    side.answer(response(204))
    assert side.conn.ending == STAYS
    side.attended()
    side.answer(response(204))
    assert side.sent().count(b"204") == 2
    assert side.conn.ending == CLOSES


def test_a_caller_that_has_closed_in_the_middle_does_not() -> None:
    assert asked(POST + b"Content-Length: 2\r\n\r\na").conn.receive_eof() is False
    assert asked(GET[:9]).conn.receive_eof() is False
    assert Side().conn.receive_eof() is False


# -- flow control


def test_a_slow_reader_stops_the_reading_until_half_is_given_back() -> None:
    side = Side(auto_release=False)
    side.feed(POST + b"Content-Length: 1000000\r\n\r\n" + bytes(100_000))
    assert side.conn.reading()
    side.feed(bytes(200_000))
    assert not side.conn.reading()
    side.feed(b"x")
    assert side.rest == b"x"
    side.dirty.clear()
    side.conn.release(side.stream(), 100_000)
    assert not side.conn.reading()
    assert not side.dirty
    side.conn.release(side.stream(), 100_000)
    assert side.attended()
    assert side.conn.reading()
    assert side.rest == b""
