"""What a pattern takes, reading takes too, and both make the same of it; what it can't tell, it leaves alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from h1_octets import EVIL_FIELDS, FIELDS, LENGTHS
from h1_peer import Side, response

from mesh.wire.errors import Malformed
from mesh.wire.h1_parse import Message, message_at
from mesh.wire.h1_patterns import Pattern, Patterns, pattern_of
from mesh.wire.h1_write import form_of
from mesh.wire.hpack import Block

REQUEST, RESPONSE = 0, 1
CURL = (b"GET /a?n=1 HTTP/1.1", b"Host: cart:80", b"User-Agent: curl/8", b"X-Id: 1", b"Cookie: a=b", b"Accept: */*",
        b"traceparent: 00-%032x-%016x-01" % (1, 1), b"X-Last: 7")
ANSWER = (b"HTTP/1.1 200 OK", b"Content-Type: text/plain", b"Date: Mon, 23 Nov 2026 05:00:00 GMT", b"Content-Length: 3",
          b"ETag: \"1\"")
FACTS = ("http10", "persistent", "chunked", "length", "expects", "tunnel", "key", "switched", "keep_alive")
SAYS = ("size", "method", "scheme", "authority", "path", "protocol", "status", "is_grpc", "grpc_status", "grpc_message",
        "content_length", "idempotency_key", "not_delivered", "reason", "request_problem", "response_problem",
        "trailers_problem")
NO_CONTENT = response(204)
TEXT = ("kind", "start", "lines", "length", "problem", "with_content", "tunnel", "protocol", "has_key", "has_accept")


def octets_of(lines: tuple[bytes, ...]) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


def read(role: int, octets: bytes) -> tuple[Message, Block]:
    """What reading makes of a head with its empty line, and what a connection refuses before. Malformed: nothing."""
    if b"\n" in octets.replace(b"\r\n", b""):
        raise Malformed(400, "bare LF")
    end = octets.index(b"\r\n\r\n") + 2
    block = Block.__new__(Block)
    line = octets.index(b"\n") + 1
    while line < end and octets[line] | 0x20 not in b"tg":
        line = octets.index(b"\n", line) + 1
    return message_at(role, bytearray(octets), 0, line if line < end else -1, end, block), block


def match(pattern: Pattern, octets: bytes) -> tuple[Message | None, Block]:
    """In the middle of a buffer that must not be looked at."""
    block = Block.__new__(Block)
    buf = bytearray(b"GET " + octets + b"X-More: 1\r\n\r\n")
    return pattern.match(buf, 4, 4 + len(octets), block), block


def learned(role: int, *lines: bytes) -> Pattern:
    octets = octets_of(lines)
    pattern = pattern_of(role, bytearray(octets), 0, len(octets) - 2, read(role, octets)[0])
    assert pattern is not None
    return pattern


def everything(message: Message, block: Block) -> list[Any]:
    head = message.head
    form = form_of(head)
    return [[(field.name, field.value, field.size) for field in head.fields], [getattr(head, name) for name in SAYS],
            [getattr(message, name) for name in FACTS], [getattr(form, name) for name in TEXT], block.traceparent,
            block.tracestate, block.grpc_timeout]


def changed(lines: tuple[bytes, ...], place: int, line: bytes) -> tuple[bytes, ...]:
    return (*lines[:place], line, *lines[place + 1 :])


def assert_same(role: int, pattern: Pattern, lines: tuple[bytes, ...]) -> Message:
    octets = octets_of(lines)
    message, block = match(pattern, octets)
    assert message is not None
    assert pattern.end == 4 + len(octets)
    assert everything(message, block) == everything(*read(role, octets))
    return message


def test_the_same_head_is_the_same_message() -> None:
    pattern = learned(REQUEST, *CURL)
    message = assert_same(REQUEST, pattern, CURL)
    assert match(pattern, octets_of(CURL))[0] is message
    assert pattern.places == []


def test_target_and_per_call_fields_may_differ() -> None:
    pattern = learned(REQUEST, *CURL)
    assert_same(REQUEST, pattern, changed(CURL, 0, b"GET / HTTP/1.1"))
    assert_same(REQUEST, pattern, changed(CURL, 6, b"traceparent:  none\t"))
    assert_same(REQUEST, pattern, changed(changed(CURL, 6, b"traceparent:"), 0, b"GET /b HTTP/1.1"))
    assert pattern.places == []


def test_values_that_mean_nothing_to_us_may_differ_and_stay_where_they_stand() -> None:
    pattern = learned(REQUEST, *CURL)
    lines = CURL
    for i in range(3):
        lines = changed(lines, 3, b"X-Id: %d" % i)
        message = assert_same(REQUEST, pattern, lines)
    assert len(pattern.places) == 1
    for i in range(3):
        lines = changed(changed(lines, 7, b"X-Last:%d \t" % i), 0, b"GET /%d HTTP/1.1" % i)
        message = assert_same(REQUEST, pattern, lines)
    assert len(pattern.places) == 2
    names = [field.name for field in message.head.fields]
    assert names[4:] == [b"user-agent", b"x-id", b"cookie", b"accept", b"x-last"]
    assert_same(REQUEST, pattern, CURL)


def test_answers() -> None:
    pattern = learned(RESPONSE, *ANSWER)
    assert_same(RESPONSE, pattern, ANSWER)
    assert_same(RESPONSE, pattern, changed(ANSWER, 4, b"ETag: \"2\""))
    assert_same(RESPONSE, pattern, changed(ANSWER, 2, b"Date: Mon, 23 Nov 2026 05:00:01 GMT"))
    assert match(pattern, octets_of(changed(ANSWER, 0, b"HTTP/1.1 201 Created")))[0] is None
    assert match(pattern, octets_of(changed(ANSWER, 3, b"Content-Length: 4")))[0] is None


@pytest.mark.parametrize("lines", [
    changed(CURL, 0, b"POST /a?n=1 HTTP/1.1"), changed(CURL, 0, b"GET /a?n=1 HTTP/1.0"),
    changed(CURL, 0, b"GET * HTTP/1.1"),
    changed(CURL, 0, b"GET /a b HTTP/1.1"), changed(CURL, 0, b"GET /# HTTP/1.1"), changed(CURL, 0, b"GET  HTTP/1.1"),
    changed(CURL, 0, b"GET http://cart/ HTTP/1.1"), changed(CURL, 0, b"GET /\x00 HTTP/1.1"),
    changed(CURL, 1, b"Host: other"), changed(CURL, 1, b"host: cart:80"), changed(CURL, 3, b"X-Id: \x00"),
    changed(CURL, 3, b"X-Id: a\rb"), changed(CURL, 3, b"X-Id : 1"), changed(CURL, 3, b" X-Id: 1"),
    changed(CURL, 4, b"Cookie: a=c"), changed(CURL, 6, b"traceparent: \x7f"), CURL[:-1], (*CURL, b"X: y"),
    changed(CURL, 3, b"x-id: 2"), changed(CURL, 3, b"X-Other: 2"), changed(CURL, 7, b"Content-Length: 1"),
    changed(CURL, 7, b"X-Last: " + 2048 * b"x"),
])
def test_anything_else_is_left_to_reading(lines: tuple[bytes, ...]) -> None:
    assert match(learned(REQUEST, *CURL), octets_of(lines))[0] is None


def test_a_name_that_stands_twice_does_not_become_loose() -> None:
    lines = (*CURL, b"x-id: 2")
    pattern = learned(REQUEST, *lines)
    assert_same(REQUEST, pattern, lines)
    assert match(pattern, octets_of(changed(lines, 3, b"X-Id: 5")))[0] is None


@pytest.mark.parametrize("line", [b"Connection: x-id", b"Expect: 100-continue", b"Upgrade: h2c",
                                  b"Connection: traceparent", b"X-Long: " + 2048 * b"x"])
def test_what_no_pattern_is_made_of(line: bytes) -> None:
    octets = octets_of((*CURL, line))
    assert pattern_of(REQUEST, bytearray(octets), 0, len(octets) - 2, read(REQUEST, octets)[0]) is None


def test_a_head_that_is_not_all_there_does_not_match() -> None:
    pattern = learned(REQUEST, *CURL)
    octets = octets_of(CURL)
    for n in range(len(octets)):
        assert pattern.match(bytearray(octets + octets), 0, n, Block.__new__(Block)) is None


@pytest.mark.parametrize(("role", "lines"), [(REQUEST, CURL), (RESPONSE, ANSWER)])
def test_whatever_matches_reads_the_same(role: int, lines: tuple[bytes, ...]) -> None:
    """Heads changed at random, by lines and by octets: a pattern takes nothing that reading refuses, or reads
    otherwise."""
    rng = random.Random(role)
    matched = refused = 0
    pattern = learned(role, *lines)
    for turn in range(6000):
        if turn % 100 == 99:
            pattern = learned(role, *lines)
        mine = list(lines)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(mine))
            what = rng.randrange(8)
            if what < 3:
                mine[place] = mine[place][: rng.randrange(len(mine[place]) + 1)] + b"%d" % rng.randrange(1000)
            elif what == 3:
                mine[place] = rng.choice((rng.choice(FIELDS), rng.choice(EVIL_FIELDS), rng.choice(LENGTHS)))
            elif what == 4:
                mine[place] = mine[place].replace(b": ", rng.choice((b":", b": \t", b" :", b":  ")), 1)
            elif what == 5:
                at = rng.randrange(len(mine[place]) + 1)
                mine[place] = mine[place][:at] + bytes((rng.randrange(256),)) + mine[place][at + 1 :]
            elif what == 6 and place:
                value = bytes(rng.choices(b"ab1 \t\"", k=rng.randrange(9)))
                mine[place] = mine[place].partition(b":")[0] + b": " + value
            elif what == 7 and role == REQUEST:
                mine[0] = b"GET /" + bytes(rng.choices(b"abc/?&%2f", k=rng.randrange(20))) + b" HTTP/1.1"
        octets = octets_of(tuple(mine))
        message, block = match(pattern, octets)
        if message is not None:
            matched += 1
            whole = octets[: pattern.end - 4]
            assert everything(message, block) == everything(*read(role, whole)), octets
            continue
        try:
            read(role, octets)
        except Malformed:
            refused += 1
    assert matched > 600
    assert refused > 600


def test_the_second_of_its_kind_is_learned_and_few_are_kept() -> None:
    patterns = Patterns(REQUEST)

    def arrive(*lines: bytes) -> bool:
        octets = octets_of(lines)
        if patterns.match(None, bytearray(octets), 0, len(octets), Block.__new__(Block)) is not None:
            return True
        patterns.learn(bytearray(octets), 0, len(octets) - 2, read(REQUEST, octets)[0])
        return False

    assert [arrive(*CURL) for _ in range(4)] == [False, False, True, True]
    kinds = [(b"GET / HTTP/1.1", b"Host: h%d" % i) for i in range(40)]
    for _ in range(5):
        for kind in kinds:
            arrive(*kind)
    assert len(patterns.known) == 4
    learned_since = []
    for i in range(300):
        before = list(patterns.known)
        assert not arrive(b"GET / HTTP/1.1", b"Host: other%d" % i)
        learned_since.append(patterns.known != before)
    assert sum(learned_since) <= 7 + 300 // 64  # after 1, 2, 4 ... 64, 64, 64
    patterns.forget()
    assert not patterns.known


def test_a_connection_reads_by_patterns_what_it_would_read_without() -> None:
    """Pipelined, in pieces, and by one connection after the other."""
    rng = random.Random(5)
    stream = b"".join(octets_of(changed(changed(CURL, 0, b"GET /%d HTTP/1.1" % i), 3, b"X-Id: %d" % (i * i)))
                      for i in range(60))
    side = Side()
    paths: list[bytes] = []
    ids: list[bytes] = []

    def answer(event: tuple[Any, ...], stream: Any) -> None:
        if event[0] == "headers":
            fields = dict(event[2])
            paths.append(fields[b":path"])
            ids.append(fields[b"x-id"])
            side.answer(NO_CONTENT)

    side.log.hook = answer
    while stream:
        n = rng.choice((1, 30, 200, 1000))
        side.feed(stream[:n])
        stream = stream[n:]
        while side.attended():
            pass
    assert paths == [b"/%d" % i for i in range(60)]
    assert ids == [b"%d" % (i * i) for i in range(60)]
    assert side.error is None
