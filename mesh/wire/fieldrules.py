# cython: language_level=3, wraparound=False, initializedcheck=False
"""What makes a single header field malformed in HTTP/2, whatever else the section holds (RFC 9113, section 8.2 and
8.3).

What lives here: the rules of one name and one value, and the names that mean something to the codec. What this must not
know: HPACK, order and number of fields (`hpack.Head` does those).
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from mesh.wire.octets import is_text

# What a name means to us. METHOD..STATUS are the pseudo-header fields; TRACEPARENT..GRPC_TIMEOUT differ in every call.
OTHER: int = 0
METHOD: int = 1
SCHEME: int = 2
AUTHORITY: int = 3
PATH: int = 4
PROTOCOL: int = 5
STATUS: int = 6
TRACEPARENT: int = 7
TRACESTATE: int = 8
GRPC_TIMEOUT: int = 9
CONTENT_TYPE: int = 10
GRPC_STATUS: int = 11
GRPC_MESSAGE: int = 12
CONTENT_LENGTH: int = 13
IDEMPOTENCY_KEY: int = 14
NOT_DELIVERED: int = 15
REASON: int = 16
ATTEMPTS: int = 17
HOST: int = 18
TE: int = 19
# What only HTTP/1.1 asks about.
CONNECTION: int = 20
KEEP_ALIVE: int = 21
PROXY_CONNECTION: int = 22
TRANSFER_ENCODING: int = 23
UPGRADE: int = 24
HTTP2_SETTINGS: int = 25
EXPECT: int = 26
COOKIE: int = 27
WEBSOCKET_KEY: int = 28
WEBSOCKET_ACCEPT: int = 29

KINDS: dict[bytes, int] = {
    b":method": METHOD,
    b":scheme": SCHEME,
    b":authority": AUTHORITY,
    b":path": PATH,
    b":protocol": PROTOCOL,
    b":status": STATUS,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"grpc-timeout": GRPC_TIMEOUT,
    b"content-type": CONTENT_TYPE,
    b"grpc-status": GRPC_STATUS,
    b"grpc-message": GRPC_MESSAGE,
    b"content-length": CONTENT_LENGTH,
    b"idempotency-key": IDEMPOTENCY_KEY,
    b"mesh-not-delivered": NOT_DELIVERED,
    b"mesh-reason": REASON,
    b"mesh-attempts": ATTEMPTS,
    b"host": HOST,
    b"te": TE,
    b"connection": CONNECTION,
    b"keep-alive": KEEP_ALIVE,
    b"proxy-connection": PROXY_CONNECTION,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"http2-settings": HTTP2_SETTINGS,
    b"expect": EXPECT,
    b"cookie": COOKIE,
    b"sec-websocket-key": WEBSOCKET_KEY,
    b"sec-websocket-accept": WEBSOCKET_ACCEPT,
}
# RFC 9113, section 8.2.2; `te` is allowed with the one value "trailers".
CONNECTION_SPECIFIC: frozenset[bytes] = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)

# Names that servers with CGI in their ancestry take for others.
LOOK_ALIKES: frozenset[bytes] = frozenset((b"content_length", b"transfer_encoding"))

# Classes of octets, as bits.
NAME, VALUE, TOKEN, TARGET, HOSTPORT = 1, 2, 4, 8, 16
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2
_HOST = frozenset(b"!$&'()*+,;=-._~%:[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # RFC 3986, 3.2
CLASSES: bytearray = bytearray(
    (NAME if c in _TOKEN and not 0x41 <= c <= 0x5A else 0)
    # RFC 9113 forbids NUL, CR and LF; RFC 9110, section 5.5, calls every other control character but HTAB invalid too.
    | (VALUE if c == 9 or (c >= 0x20 and c != 0x7F) else 0)
    | (TOKEN if c in _TOKEN else 0)
    # A request target has neither spaces nor a fragment; octets above 0x7F are let through, as all proxies do.
    | (TARGET if c > 0x20 and c not in (0x23, 0x7F) else 0)
    | (HOSTPORT if c in _HOST else 0)
    for c in range(256)
)


def all_of(text: bytes, wanted: cython.int) -> cython.bint:
    """True if every octet of `text` is in the class, a single bit."""
    classes: bytearray = CLASSES
    octet: cython.uchar
    for octet in text:
        wanted &= classes[octet]
    return wanted != 0


def name_problem(name: bytes) -> str | None:
    """Why `name` can't be a field name in any section, or None."""
    if name[:1] == b":":
        if KINDS.get(name) is None:
            return "unknown pseudo-header field"
        return None
    if not name:
        return "empty field name"
    if not all_of(name, 1):
        return "illegal octet in a field name" if name == name.lower() else "upper-case field name"
    if name in CONNECTION_SPECIFIC:
        return "connection-specific field"
    return None


def value_problem(kind: cython.int, value: bytes) -> str | None:
    """Why `value` can't stand under a name of that kind, or None."""
    if not is_text(value):
        return "illegal octet in a field value"
    n: cython.Py_ssize_t = len(value)
    if n and (value[0] == 0x20 or value[0] == 9 or value[n - 1] == 0x20 or value[n - 1] == 9):
        return "field value starts or ends with white space"
    if kind == OTHER or kind >= TRACEPARENT:
        if kind == TE and value.lower() != b"trailers":
            return "te is not trailers"
        if kind == CONTENT_LENGTH and digits(value, 18) < 0:
            return "content-length is not a number"
        if kind == HOST and not all_of(value, 16):
            return "illegal octet in host"
        return None
    if kind == PATH:
        if n == 0:
            return "empty :path"
        if value[0] != 0x2F and value != b"*":
            return ":path does not start with a slash"
        if not all_of(value, 8):
            return "illegal octet in :path"
    elif kind == METHOD:
        if n == 0 or not all_of(value, 4):
            return ":method is not a token"
    elif kind == SCHEME:
        if n == 0 or not all_of(value, 4):
            return ":scheme is not a token"
    elif kind == AUTHORITY:
        if not all_of(value, 16):
            return "illegal octet in :authority"
    elif kind == PROTOCOL:
        if n == 0 or not all_of(value, 4):
            return ":protocol is not a token"
    elif n != 3 or digits(value, 3) < 100:
        return ":status is not a three-digit number"
    return None


def digits(text: bytes, most: cython.Py_ssize_t) -> cython.longlong:
    """The number that 1 to `most` (18 at the highest) ASCII digits write, or -1."""
    n: cython.Py_ssize_t = len(text)
    if n == 0 or n > most:
        return -1
    number: cython.longlong = 0
    octet: cython.uchar
    for octet in text:
        if octet < 0x30 or octet > 0x39:
            return -1
        number = number * 10 + (octet - 0x30)
    return number
