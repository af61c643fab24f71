"""What RFC 9113, section 8, RFC 9110 and RFC 8441 say about messages: requests to a server, responses to a client.

Each entry becomes a case: a malformed one costs its stream (PROTOCOL_ERROR) and nothing else, a good one is taken.
"""

from __future__ import annotations

from conf_peer import (
    END_HEADERS,
    HEADERS,
    PADDED,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    Case,
    Fields,
    Peer,
    answered,
    connection_error,
    goes_on,
    reset_of,
)

M, S, P, A = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"cart")
POST = (b":method", b"POST")
CONNECT = (b":method", b"CONNECT")
OPTIONS = (b":method", b"OPTIONS")
WEBSOCKET = (b":protocol", b"websocket")
CONNECTION_SPECIFIC = [(b"connection", b"close"), (b"keep-alive", b"timeout=5"), (b"proxy-connection", b"keep-alive"),
                       (b"transfer-encoding", b"chunked"), (b"upgrade", b"websocket")]  # fmt: skip
BAD_NAMES = [b"", b"A", b"x y", b"x\ty", b"x\0", b"x\r", b"x\n", b"x:y", b"x\x7f", b"x\x80", b"x(", b"x@", b":"]
BAD_VALUES = [b"a\0b", b"a\rb", b"a\nb", b"a\r\nx: y", b" a", b"a ", b"\ta", b"a\t", b"a\x01", b"a\x7f"]

# (section, what, fields of the request)
BAD_REQUESTS: list[tuple[str, str, Fields]] = [
    *[("8.2.1", f"a field named {name!r}", [M, S, P, A, (name, b"v")]) for name in BAD_NAMES],
    *[("8.2.1", f"a field's value is {value!r}", [M, S, P, A, (b"x", value)]) for value in BAD_VALUES],
    *[("8.2.1", f"a per-call field's value is {value!r}", [M, S, P, A, (b"tracestate", value)])
      for value in BAD_VALUES],
    *[("8.2.2", f"{name.decode()}", [M, S, P, A, (name, value)]) for name, value in CONNECTION_SPECIFIC],
    *[("8.2.2", f"te: {value!r}", [M, S, P, A, (b"te", value)])
      for value in (b"gzip", b"trailers, gzip", b"", b"trailers;q=1")],
    *[("8.3", f"{field[0].decode()} twice", [M, S, P, A, field]) for field in (M, S, P, A)],
    *[("8.3", f"{field[0].decode()} behind a field", [*(each for each in (M, S, P, A) if each != field),
                                                       (b"x", b"y"), field]) for field in (M, S, P, A)],
    *[("8.3", f"no {field[0].decode()}", [each for each in (M, S, P, A) if each != field]) for field in (M, S, P)],
    ("8.3", "no field at all", []),
    ("8.3", "an unknown pseudo-header field", [M, S, P, A, (b":path2", b"/")]),
    ("8.3", "a pseudo-header field in upper case", [(b":METHOD", b"GET"), S, P, A]),
    ("8.3.1", "an empty :method", [(b":method", b""), S, P, A]),
    ("8.3.1", "a :method with a space", [(b":method", b"GET /x"), S, P, A]),
    ("8.3.1", "an empty :scheme", [M, (b":scheme", b""), P, A]),
    ("8.3.1", "a :scheme with a slash", [M, (b":scheme", b"http://x/"), P, A]),
    ("8.3.1", "an empty :path", [M, S, (b":path", b""), A]),
    ("8.3.1", "a :path that is none", [M, S, (b":path", b"x"), A]),
    ("8.3.1", "a :path that is a URI", [M, S, (b":path", b"http://cart/"), A]),
    ("8.3.1", "a :path with a space", [M, S, (b":path", b"/ HTTP/1.1"), A]),
    ("8.3.1", "a :path with a line break", [M, S, (b":path", b"/\r\nx: y"), A]),
    ("8.3.1", "a :path with a fragment", [M, S, (b":path", b"/#x"), A]),
    ("8.3.1", "* for a method that is not OPTIONS", [M, S, (b":path", b"*"), A]),
    ("8.3.1", "an :authority with userinfo", [M, S, P, (b":authority", b"me@cart")]),
    ("8.3.1", "an :authority with a space", [M, S, P, (b":authority", b"ca rt")]),
    ("8.3.1", "an :authority with a slash", [M, S, P, (b":authority", b"cart/x")]),
    ("8.3.1", "an empty :authority", [M, S, P, (b":authority", b"")]),
    ("8.3.1", "host differs from :authority", [M, S, P, A, (b"host", b"stock")]),
    ("8.3.1", "host has another port than :authority", [M, S, P, A, (b"host", b"cart:8080")]),
    ("8.3.1", "two hosts", [M, S, P, (b"host", b"cart"), (b"host", b"cart")]),
    ("8.3.1", "a host with a space", [M, S, P, (b"host", b"ca rt")]),
    ("8.5", "CONNECT without :authority", [CONNECT]),
    ("8.5", "CONNECT with :scheme", [CONNECT, S, A]),
    ("8.5", "CONNECT with :path", [CONNECT, P, A]),
    ("8441/4", ":protocol of a method that is not CONNECT", [M, WEBSOCKET, S, P, A]),
    ("8441/4", ":protocol twice", [CONNECT, WEBSOCKET, WEBSOCKET, S, P, A]),
    ("8441/4", "extended CONNECT without :scheme", [CONNECT, WEBSOCKET, P, A]),
    ("8441/4", "extended CONNECT without :path", [CONNECT, WEBSOCKET, S, A]),
    *[("8.1.1", f"content-length: {value!r}", [POST, S, P, A, (b"content-length", value)])
      for value in (b"", b"-1", b"+1", b"1,1", b"0x1", b"1 1", b"1e1", b"9" * 30, b"\xb2")],
    ("8.1.1", "two content-lengths that differ", [POST, S, P, A, (b"content-length", b"1"),
                                                  (b"content-length", b"2")]),
    ("8.1.1", "content-length and no content", [POST, S, P, A, (b"content-length", b"1")]),
]  # fmt: skip
GOOD_REQUESTS: list[tuple[str, str, Fields]] = [
    ("8.2.1", "octets above 0x7f in a value", [M, S, P, A, (b"x", b"\x80\xff")]),
    ("8.2.1", "a tab and a space inside a value", [M, S, P, A, (b"x", b"a\t b")]),
    ("8.2.1", "an empty value", [M, S, P, A, (b"x", b"")]),
    ("8.2.1", "every octet that a name may have", [M, S, P, A, (b"!#$%&'*+-.^_`|~09az", b"v")]),
    ("8.2.2", "te: trailers", [M, S, P, A, (b"te", b"trailers")]),
    ("8.2.3", "cookie crumbs", [M, S, P, A, (b"cookie", b"a=b"), (b"cookie", b"c=d")]),
    ("8.3", "pseudo-header fields in another order", [A, P, S, M]),
    ("8.3.1", "host the same as :authority", [M, S, P, A, (b"host", b"cart")]),
    ("8.3.1", "host the same as :authority but for its case", [M, S, P, A, (b"host", b"CART")]),
    ("8.3.1", "host the same as :authority but for the scheme's port", [M, S, P, A, (b"host", b"cart:80")]),
    ("8.3.1", "host and no :authority", [M, S, P, (b"host", b"cart")]),
    ("8.3.1", "neither host nor :authority", [M, S, P]),
    ("8.3.1", "OPTIONS *", [OPTIONS, S, (b":path", b"*"), A]),
    ("8.3.1", "a query", [M, S, (b":path", b"/?a=b&c=/?%20"), A]),
    ("8.3.1", "an unknown method", [(b":method", b"BREW"), S, P, A]),
    ("8.3.1", "an IPv6 :authority", [M, S, P, (b":authority", b"[::1]:80")]),
    ("8.1.1", "content-length of 0 and no content", [POST, S, P, A, (b"content-length", b"0")]),
    ("8.1.1", "content-length of 0 with zeros", [POST, S, P, A, (b"content-length", b"000")]),
]  # fmt: skip


def request(peer: Peer, fields: Fields) -> None:
    """As literals without indexing: a table would hide what is wrong."""
    literals = b"".join(literal(name, value) for name, value in fields)
    peer.frame(HEADERS, END_HEADERS | 1, 1, literals)


def literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def name_of(section: str, kind: str, number: int) -> str:
    return f"{section if '/' in section else '9113/' + section}/{kind}{number}"


MESSAGES = [
    Case(name_of(section, "bad-", number), what, lambda p, fields=fields: request(p, fields),  # type: ignore[misc]
         reset_of(1, PROTOCOL_ERROR))
    for number, (section, what, fields) in enumerate(BAD_REQUESTS, 1)
]  # fmt: skip
MESSAGES += [
    Case(name_of(section, "good-", number), what, lambda p, fields=fields: request(p, fields),  # type: ignore[misc]
         answered(), codec_only="but for" in what or what.startswith("neither"))  # the app's library is stricter
    for number, (section, what, fields) in enumerate(GOOD_REQUESTS, 1)
]  # fmt: skip

# -- Responses: header sections and data on stream 1, of a GET. (what, [(fields, end) or octets of DATA])

R = (b":status", b"200")
Section = tuple[Fields, bool]
BAD_RESPONSES: list[tuple[str, str, list[Section | bytes]]] = [
    *[("8.2.1", f"a field named {name!r}", [([R, (name, b"v")], True)]) for name in BAD_NAMES],
    *[("8.2.1", f"a field's value is {value!r}", [([R, (b"x", value)], True)]) for value in BAD_VALUES],
    *[("8.2.2", name.decode(), [([R, (name, value)], True)]) for name, value in CONNECTION_SPECIFIC],
    ("8.3.2", "no :status", [([(b"x", b"y")], True)]),
    ("8.3.2", "no field at all", [([], True)]),
    ("8.3.2", ":status twice", [([R, R], True)]),
    ("8.3.2", ":status behind a field", [([(b"x", b"y"), R], True)]),
    *[("8.3.2", f":status {value!r}", [([(b":status", value)], True)])
      for value in (b"", b"20", b"2000", b"abc", b"099", b"2 0", b"+20", b"200 OK")],
    *[("8.3.2", f"{field[0].decode()} in a response", [([R, field], True)]) for field in (M, S, P, A, WEBSOCKET)],
    ("8.6", ":status 101", [([(b":status", b"101")], False)]),
    ("8.1", "an interim response that ends the stream", [([(b":status", b"103")], True)]),
    ("8.1", "an interim response after the response", [([R], False), ([(b":status", b"103")], False)]),
    ("8.1", "two responses", [([R], False), ([R], False)]),
    ("8.1", "trailers that don't end the stream", [([R], False), b"x", ([(b"x", b"y")], False)]),
    ("8.1", "trailers with :status", [([R], False), ([R], True)]),
    ("8.1", "trailers with an upper-case name", [([R], False), ([(b"X", b"y")], True)]),
    ("8.1", "trailers with a connection-specific field", [([R], False), ([CONNECTION_SPECIFIC[0]], True)]),
    ("8.1", "DATA before the response", [b"x"]),
    ("8.1", "DATA between an interim response and the response", [([(b":status", b"100")], False), b"x"]),
    ("8.1.1", "less than content-length", [([R, (b"content-length", b"3")], False), b"ab", ([(b"x", b"y")], True)]),
    ("8.1.1", "more than content-length", [([R, (b"content-length", b"3")], False), b"abcd"]),
    ("8.1.1", "content-length and no content", [([R, (b"content-length", b"3")], True)]),
    ("8.1.1", "two content-lengths that differ", [([R, (b"content-length", b"3"), (b"content-length", b"4")], False)]),
    ("8.1.1", "DATA of a 304", [([(b":status", b"304"), (b"content-length", b"3")], False), b"abc"]),
    ("8.1.1", "DATA of a 204", [([(b":status", b"204")], False), b"abc"]),
    ("9110/8.6", "content-length of a 204", [([(b":status", b"204"), (b"content-length", b"3")], True)]),
    ("9110/8.6", "content-length of an interim response", [([(b":status", b"103"), (b"content-length", b"0")], False)]),
]  # fmt: skip
GOOD_RESPONSES: list[tuple[str, str, list[Section | bytes]]] = [
    ("8.1", "a response", [([R], True)]),
    ("8.1", "interim responses, then the response",
     [([(b":status", b"100")], False), ([(b":status", b"103"), (b"link", b"<x>")], False), ([R], True)]),
    ("8.1", "trailers", [([R], False), b"x", ([(b"x", b"y")], True)]),
    ("8.1", "trailers at once", [([R], False), ([(b"x", b"y")], True)]),
    ("8.1.1", "content-length that is kept, in parts",
     [([R, (b"content-length", b"3")], False), b"a", b"", b"bc", ([(b"x", b"y")], True)]),
    ("8.1.1", "a 304 with content-length", [([(b":status", b"304"), (b"content-length", b"3")], True)]),
    ("8.1.1", "a 204", [([(b":status", b"204")], True)]),
    ("8.3.2", "a status that nobody knows", [([(b":status", b"799")], True)]),
    ("8.2.3", "several set-cookie", [([R, (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")], True)]),
]  # fmt: skip


def respond(peer: Peer, parts: list[Section | bytes]) -> None:
    for part in parts:
        if isinstance(part, bytes):
            peer.data(1, part, False)
        else:
            block = b"".join(literal(name, value) for name, value in part[0])
            peer.frame(HEADERS, END_HEADERS | part[1], 1, block)


def promise(peer: Peer) -> None:
    peer.frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + peer.block([M, S, P, A]))


RESPONSES = [
    Case(name_of(section, "response-bad-", number), what,
         lambda p, parts=parts: respond(p, parts), reset_of(1, PROTOCOL_ERROR))  # type: ignore[misc]
    for number, (section, what, parts) in enumerate(BAD_RESPONSES, 1)
]  # fmt: skip
RESPONSES += [
    Case(name_of(section, "response-good-", number), what,
         lambda p, parts=parts: respond(p, parts), goes_on)  # type: ignore[misc]
    for number, (section, what, parts) in enumerate(GOOD_RESPONSES, 1)
]  # fmt: skip
RESPONSES += [
    Case("9113/8.4/1", "PUSH_PROMISE", promise, connection_error(PROTOCOL_ERROR)),
    Case("9113/8.4/2", "SETTINGS_ENABLE_PUSH of 1 from a server", lambda p: p.set((2, 1)),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/8.4/3", "a stream of the server's", lambda p: p.headers(2), connection_error(PROTOCOL_ERROR)),
    Case("8441/3/2", "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back", lambda p: (p.set((8, 1)), p.set((8, 0))),
         connection_error(PROTOCOL_ERROR)),
    Case("9113/6.2/5", "padded response headers",
         lambda p: p.headers(1, flags=END_HEADERS | PADDED, before=b"\2", after=bytes(2)), goes_on),
]  # fmt: skip
