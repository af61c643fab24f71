"""ClientHello: where OpenSSL reads a server name, we read that one or refuse; however records cut it, it says the same.

So nobody is passed on under a name that the server behind would not see.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import sys
from collections.abc import Callable

from first_octets import settled

from mesh.wire.client_hello import MAX_CLIENT_HELLO, ClientHello, parse_client_hello
from mesh.wire.errors import ClientHelloError

MAX_LEN = 2000
TOKENS = (
    b"\x16\3\1",
    b"\1\0",
    b"\0\0\0\6\0\4\0\0\1a",
    b"\0\x10\0\5\0\3\2h2",
    b"\0\x2b\0\3\2\3\4",
    b"a.example",
    b"127.0.0.1",
)
GARBAGE = (b"", b"\0", b"\0\0", b"\0\1\0", bytes(5), b"\0\3\0\0\0", b"\0\5\0\0\2a.", b"\0\x0a\0\0\7a\0b.org")
NAMES = (
    b"a",
    b"a.example",
    b"A.eXample",
    b"a..b",
    b".a",
    b"a.",
    b"1.2.3.4",
    b"[::1]",
    b"a_b",
    b"-a",
    b"x" * 64,
    b"a\0b",
    b"\xc3\xbc",
)
Parts = tuple[bytes, list[tuple[int, bytes]]]


def build(start: bytes, extensions: list[tuple[int, bytes]]) -> bytes:
    """The message, all lengths right. `start`: everything before the extensions, behind the message's own header."""
    listed = b"".join(kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions)
    body = start + len(listed[:65535]).to_bytes(2, "big") + listed[:65535]
    return b"\1" + len(body).to_bytes(3, "big") + body


def records(message: bytes, rng: random.Random | None) -> bytes:
    """The message in one record, or cut into several."""
    out = b""
    while message:
        n = rng.choice((1, 2, 3, 5, 60, 1000)) if rng else 16_000
        out += b"\x16\3\1" + len(message[:n]).to_bytes(2, "big") + message[:n]
        message = message[n:]
    return out


def message_of(octets: bytes) -> bytes:
    """What the records carry, as far as they go."""
    out = b""
    while len(octets) >= 5:
        n = 5 + int.from_bytes(octets[3:5], "big")
        out += octets[5:n]
        octets = octets[n:]
    return out


def take_apart(message: bytes) -> Parts | None:
    """What `build` puts together; None if the lengths don't allow it."""
    at = 38
    for width in (1, 2, 1):
        if at + width > len(message):
            return None
        at += width + int.from_bytes(message[at : at + width], "big")
    if at + 2 > len(message):
        return None
    start, rest, extensions = message[4:at], message[at + 2 :], []
    while len(rest) >= 4:
        n = 4 + int.from_bytes(rest[2:4], "big")
        extensions.append((int.from_bytes(rest[:2], "big"), rest[4:n]))
        rest = rest[n:]
    return start, extensions


def server_names(names: list[bytes], kind: int = 0) -> bytes:
    listed = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in names)
    return len(listed).to_bytes(2, "big") + listed


def seeds() -> list[bytes]:
    hello = b"\3\3" + bytes(range(32)) + b"\0\0\4\x13\1\xc0\x2f\1\0"
    extensions = [
        (0, server_names([b"a.example"])),
        (16, b"\0\x0c\2h2\x08http/1.1"),
        (43, b"\4\3\4\3\3"),
        (10, b"\0\2\0\x1d"),
        (13, b"\0\2\4\3"),
        (51, b"\0\x26\0\x24\0\x1d\0\x20" + bytes(range(32))),
        (0x2A2A, b""),
    ]
    full = build(hello, extensions)
    found = [records(full, None), records(full, random.Random(1)), records(b"\1\0\0\x2d" + hello, None)]
    found += [records(build(hello, [extensions[i]]), None) for i in range(len(extensions))]
    found += [records(build(hello, [(0, server_names([name]))]), None) for name in NAMES]
    found += [records(build(hello, [(0, server_names([b"a", b"b"]))]), None), b"\x15\3\1\0\2\2\x28", b"\x16\3\1\0\0"]
    return found


def mutate(data: bytes, rng: random.Random, native: Callable[[bytes], bytes]) -> bytes:
    parts = take_apart(message_of(data))
    what = rng.randrange(9)
    if parts is None or what < 2:
        return native(data)
    start, extensions = parts
    at = rng.randrange(len(extensions) + 1)
    if what == 2:
        return records(message_of(data), rng)
    if what == 3:
        names = [
            native(rng.choice(NAMES))[:300] if rng.random() < 0.3 else rng.choice(NAMES)
            for _ in range(rng.choice((1, 1, 2)))
        ]
        extensions.insert(at, (0, server_names(names, rng.choice((0, 0, 0, 1)))))
    elif what == 4:
        extensions.insert(at, (rng.choice((0, 16, 43, 10, 13, rng.randrange(65536))), rng.choice(GARBAGE)))
    elif what == 5 and extensions:
        del extensions[at - 1]
    elif what == 6 and extensions:
        kind, body = extensions[at - 1]
        extensions[at - 1] = kind, native(body)[:1000]
    else:
        start = native(start)[:500]
    return records(build(start, extensions), rng if rng.random() < 0.3 else None)


def seen_by_openssl(octets: bytes) -> list[str | None]:
    """The server name that a server was told, if it came so far; None: no name."""
    seen: list[str | None] = []

    def on_name(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int:
        seen.append(name)
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE

    CONTEXT.sni_callback = on_name
    incoming = ssl.MemoryBIO()
    incoming.write(octets)
    before = sys.unraisablehook
    sys.unraisablehook = lambda _: None  # a name that isn't ASCII, which the `ssl` module refuses there
    try:
        with contextlib.suppress(ssl.SSLError):
            CONTEXT.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    finally:
        sys.unraisablehook = before
    return seen


CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
CONTEXT.set_ciphers("ALL:@SECLEVEL=0")


def outcome(octets: bytes) -> ClientHello | str | None:
    try:
        return parse_client_hello(bytearray(octets + b"?"), len(octets))
    except ClientHelloError as error:
        return str(error)


def run(data: bytes) -> object:
    found, after = settled(outcome, data, None)
    assert after <= MAX_CLIENT_HELLO
    theirs = seen_by_openssl(data)
    if not isinstance(found, ClientHello):
        return found, after
    if theirs:
        assert theirs[0] == found.server_name or (theirs[0] or "").lower() == found.server_name, f"{theirs} {found}"
    assert outcome(data[:after] + b"anything") == found
    message = message_of(data[:after])
    whole = message[: 4 + int.from_bytes(message[1:4], "big")]
    assert outcome(records(whole, None)) == found
    assert outcome(records(whole, random.Random(len(data)))) in (found, "no end within 16384 octets")
    return found, after
