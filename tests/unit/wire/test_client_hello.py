from __future__ import annotations

import random
import ssl
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.client_hello import MAX_CLIENT_HELLO, ClientHello, host_name, parse_client_hello
from mesh.wire.errors import ClientHelloError

TLS12, TLS13 = 0x0303, 0x0304
REST = b"\x17\x03\x03\0\5early"


def parse(octets: bytes) -> ClientHello | None:
    return parse_client_hello(bytearray(octets), len(octets))


def outcome(octets: bytes) -> ClientHello | str | None:
    try:
        return parse(octets)
    except ClientHelloError as error:
        return str(error)


def check_splits(octets: bytes, step: int = 1) -> int:
    """None up to some length, which is returned, and from there on what the whole comes to."""
    final = outcome(octets)
    lengths = [*range(0, len(octets), step), len(octets)]
    found = [outcome(octets[:n]) for n in lengths]
    first = next((n for n, each in enumerate(found) if each is not None), len(found))
    assert found == [None] * first + [final] * (len(found) - first)
    return lengths[first] if first < len(lengths) else -1


# ---- what OpenSSL says


def real(server_name: str | None = "cart.example", alpn: list[str] | None = None,
         lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = lowest, highest
    context.check_hostname = server_name is not None
    if alpn:
        context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name).do_handshake()
    return out.read()


REAL = [
    (real(), ClientHello("cart.example", (), (TLS13, TLS12))),
    (real(None), ClientHello(None, (), (TLS13, TLS12))),
    (real("Cart.EXAMPLE", ["h2", "http/1.1"]), ClientHello("cart.example", (b"h2", b"http/1.1"), (TLS13, TLS12))),
    (real("a" * 63 + ".example", ["x" * 255]), ClientHello("a" * 63 + ".example", (b"x" * 255,), (TLS13, TLS12))),
    (real("a.example", ["h2"], highest=ssl.TLSVersion.TLSv1_2), ClientHello("a.example", (b"h2",), (TLS12,))),
    (real("a.example", lowest=ssl.TLSVersion.TLSv1_3), ClientHello("a.example", (), (TLS13,))),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "expected"), REAL, ids=range(len(REAL)))
def test_real(octets: bytes, expected: ClientHello) -> None:
    assert parse(octets) == expected
    assert check_splits(octets + REST) == len(octets)


def records(message: bytes, *sizes: int, version: int = 0x0301) -> bytes:
    """`message` in records: the first ones of these sizes, the last with the rest."""
    parts, at = [], 0
    for size in (*sizes, len(message)):
        part = message[at : at + size]
        at += size
        if part:
            parts.append(struct.pack(">BHH", 22, version, len(part)) + part)
    return b"".join(parts)


def test_every_place_to_cut_the_message_into_records() -> None:
    octets, expected = REAL[2]
    message = octets[5:]
    for size in range(1, len(message)):
        whole = records(message, size)
        assert parse(whole + REST) == expected
        assert parse(whole[:-1]) is None


def test_many_records_at_every_split() -> None:
    octets, expected = REAL[2]
    message = octets[5:]
    for sizes in ((1,) * len(message), (1, 1, 1, 1, 1), (2, 3, 5, 7, 11, 13), (3, 1)):
        whole = records(message, *sizes)
        assert parse(whole) == expected
        assert check_splits(whole + REST) == len(whole)


def test_what_follows_in_the_same_record_is_not_looked_at() -> None:
    octets, expected = REAL[0]
    whole = records(octets[5:] + b"\x0b\0\0\1x")
    assert parse(whole) == expected
    assert check_splits(whole) == len(octets)


# ---- by hand, RFC 8446, section 4.1.2


def vec(width: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return len(body).to_bytes(width, "big") + body


def ext(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vec(2, body)


def sni(*names: bytes, kind: int = 0) -> bytes:
    return ext(0, vec(2, *(bytes((kind,)) + vec(2, name) for name in names)))


def alpn(*names: bytes) -> bytes:
    return ext(16, vec(2, *(vec(1, name) for name in names)))


def hello(*extensions: bytes, version: int = TLS12, session: bytes = b"", suites: bytes = b"\x13\x01",
          compression: bytes = b"\0", tail: bytes | None = None, kind: int = 1) -> bytes:
    body = struct.pack(">H", version) + bytes(32) + vec(1, session) + vec(2, suites) + vec(1, compression)
    body += vec(2, *extensions) if tail is None else tail
    return bytes((kind,)) + vec(3, body)


GOOD = [
    (hello(), ClientHello(None, (), (TLS12,))),
    (hello(tail=b""), ClientHello(None, (), (TLS12,))),
    (hello(tail=b"", version=0x0300), ClientHello(None, (), (0x0300,))),
    (hello(version=0x0399), ClientHello(None, (), (0x0399,))),
    (hello(session=bytes(32)), ClientHello(None, (), (TLS12,))),
    (hello(compression=b"\1\0"), ClientHello(None, (), (TLS12,))),
    (hello(sni(b"a.Example")), ClientHello("a.example", (), (TLS12,))),
    (hello(sni(b"cart")), ClientHello("cart", (), (TLS12,))),
    (hello(sni(b"_dns.a-b.1.xn--p1ai")), ClientHello("_dns.a-b.1.xn--p1ai", (), (TLS12,))),
    (hello(ext(0, vec(2, b"\7" + vec(2, b"?"), b"\0" + vec(2, b"a")))), ClientHello("a", (), (TLS12,))),
    (hello(alpn(b"h2", b"\x2a\x2a", b"http/1.1")), ClientHello(None, (b"h2", b"\x2a\x2a", b"http/1.1"), (TLS12,))),
    (hello(ext(43, vec(1, b"\x0a\x0a\x03\x04\x03\x03"))), ClientHello(None, (), (0x0A0A, TLS13, TLS12))),
    (hello(ext(10, b"anything"), sni(b"a"), ext(0x0A0A, b""), alpn(b"h2"), ext(43, vec(1, b"\3\4")), ext(41, b"psk")),
     ClientHello("a", (b"h2",), (TLS13,))),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), GOOD, ids=range(len(GOOD)))
def test_good(message: bytes, expected: ClientHello) -> None:
    for version in (0x0300, 0x0301, 0x0304):
        whole = records(message, version=version)
        assert parse(whole) == expected
        assert check_splits(whole + REST) == len(whole)


def cut(message: bytes, off: int) -> bytes:
    """The message without its last octets, and with a length that says so."""
    return message[:1] + vec(3, message[4 : len(message) - off])


BAD_MESSAGES = {
    "another message": hello(kind=2),
    "a hello request": b"\0\0\0\0",
    "empty": hello(kind=1)[:1] + b"\0\0\0",
    "no version of TLS": hello(version=0x0203),
    "a session id too long": hello(session=bytes(33)),
    "no cipher suites": hello(suites=b""),
    "half a cipher suite": hello(suites=bytes(3)),
    "no compression methods": hello(compression=b""),
    "one octet of extensions": hello(tail=b"\0"),
    "extensions longer than the message": hello(tail=b"\0\1"),
    "octets after the extensions": hello(tail=b"\0\0\0"),
    "half an extension": hello(tail=vec(2, b"\0\1")),
    "an extension longer than all": hello(tail=vec(2, b"\0\x0a\0\1")),
    "an extension twice": hello(ext(5, b""), ext(5, b"")),
    "server name twice": hello(sni(b"a"), sni(b"a")),
    "empty server name": hello(ext(0, b"")),
    "an empty list of server names": hello(sni()),
    "an empty host name": hello(sni(b"")),
    "two host names": hello(sni(b"a", b"b")),
    "only names of another type": hello(sni(b"a", kind=1)),
    "octets after the list of names": hello(ext(0, vec(2, b"\0" + vec(2, b"a")) + b"\0")),
    "a list of names that is too long": hello(ext(0, b"\0\x05\0\0\1a")),
    "a name that is too long": hello(ext(0, vec(2, b"\0\0\2a"))),
    "half a name": hello(ext(0, vec(2, b"\0\0"))),
    "empty alpn": hello(ext(16, b"")),
    "no protocols": hello(alpn()),
    "an empty protocol": hello(alpn(b"h2", b"")),
    "a protocol that is too long": hello(ext(16, vec(2, b"\3h2"))),
    "octets after the protocols": hello(ext(16, vec(2, b"\2h2") + b"x")),
    "no versions": hello(ext(43, vec(1, b""))),
    "half a version": hello(ext(43, vec(1, b"\3\4\3"))),
    "octets after the versions": hello(ext(43, vec(1, b"\3\4") + b"x")),
    "empty versions": hello(ext(43, b"")),
    **{f"{off} octets too few": cut(hello(sni(b"a.example")), off) for off in range(1, 60)},
}


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_malformed_messages(message: bytes) -> None:
    whole = records(message)
    if message == cut(hello(sni(b"a.example")), 20):  # without any extensions it is well-formed
        assert parse(whole) == ClientHello(None, (), (TLS12,))
        return
    with pytest.raises(ClientHelloError):
        parse(whole)
    check_splits(whole + REST)
    check_splits(records(message, 1, 2, 3) + REST)


BAD_RECORDS = {
    "another record": b"\x15\x03\x01\0\2\1\0",
    "a version of the future": b"\x16\x03\x05\0\5\1\0\0\1\0",
    "not TLS": b"\x16\x02\x01\0\5\1\0\0\1\0",
    "an empty record": b"\x16\x03\x01\0\0",
    "an empty record in between": records(hello(), 10)[:15] + b"\x16\x03\x01\0\0",
    "a record that is too long": b"\x16\x03\x01\x40\x01" + hello(),
    "another record in between": records(hello(), 10)[:15] + b"\x17\x03\x03\0\5early",
    "HTTP": b"GET / HTTP/1.1\r\n",
}


@pytest.mark.parametrize("octets", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_malformed_records(octets: bytes) -> None:
    with pytest.raises(ClientHelloError):
        parse(octets)
    check_splits(octets + REST)


def test_only_n_octets_count() -> None:
    buf = bytearray(records(hello()))
    assert parse_client_hello(buf, len(buf) - 1) is None
    assert parse_client_hello(buf, 0) is None
    assert parse_client_hello(bytearray(), 0) is None
    with pytest.raises(IndexError):
        parse_client_hello(buf, len(buf) + 1)


# ---- bounds


def of_size(size: int) -> bytes:
    """A message of `size` octets."""
    return hello(ext(21, bytes(size - len(hello(ext(21, b""))))))


def test_the_longest() -> None:
    longest = records(of_size(MAX_CLIENT_HELLO - 5))
    assert len(longest) == MAX_CLIENT_HELLO
    assert parse(longest + REST) == ClientHello(None, (), (TLS12,))
    assert check_splits(longest + REST, 251) > MAX_CLIENT_HELLO - 251


def test_one_octet_more_is_refused_as_soon_as_it_is_known() -> None:
    octets = records(of_size(MAX_CLIENT_HELLO - 4), MAX_CLIENT_HELLO - 4)
    assert parse(octets[:8]) is None
    with pytest.raises(ClientHelloError, match="at most"):
        parse(octets[:9])
    check_splits(octets, 511)


def test_the_headers_of_records_count_too() -> None:
    message = of_size(8000)
    octets = records(message, *[4] * 2000)
    assert len(octets) == 8000 + 5 * 2000
    assert parse(octets[: MAX_CLIENT_HELLO - 1]) is None
    with pytest.raises(ClientHelloError, match="no end within"):
        parse(octets[:MAX_CLIENT_HELLO])
    assert check_splits(octets, 1999) > 0
    assert parse(records(message, *[8] * 1000)) == ClientHello(None, (), (TLS12,))


# ---- names


@pytest.mark.parametrize("name", ["a", "a.b", "xn--bcher-kva.example", "A-b_c.D0", "1a", "1.a", "0xg", "a.0x0g",
                                  ".".join(["a" * 63] * 3 + ["a" * 61])])
def test_host_names(name: str) -> None:
    assert host_name(name.encode()) == name.lower()


@pytest.mark.parametrize("octets", [
    b"", b".", b"a.", b".a", b"a..b", b"-a", b"a-", b"a.-b", b"a b", b"a\0", b"a\0.example", b"a/b", b"a:443",
    b"*.a", b"a,b",
    b"b\xc3\xbccher", b"\xff", b"a" * 64, b".".join([b"a" * 63] * 3 + [b"a" * 62]),
    b"127.0.0.1", b"1.2.3.4.", b"127.1", b"2130706433", b"0x7f.1", b"0x7f000001", b"0X7F000001", b"1.0x", b"a.1",
    b"::1", b"[::1]",
])  # fmt: skip
def test_what_is_no_host_name(octets: bytes) -> None:
    with pytest.raises(ClientHelloError, match="host name"):
        host_name(octets)
    with pytest.raises(ClientHelloError):
        parse(records(hello(sni(octets))))


# ---- anything at all


def test_mutations_raise_nothing_else_and_do_not_depend_on_the_split() -> None:
    rng = random.Random(13)
    examples = [records(message, *rng.choices(range(1, 60), k=3)) for message, _ in GOOD]
    examples += [records(message) for message in BAD_MESSAGES.values()] + [octets for octets, _ in REAL]
    for _ in range(400):
        octets = bytearray(rng.choice(examples))
        for _ in range(rng.randint(1, 3)):
            what, at = rng.randrange(3), rng.randrange(len(octets) or 1)
            if what == 0 and octets:
                octets[at] = rng.choice((0, 1, 2, 3, 22, 255, octets[at] ^ 1, rng.randrange(256)))
            elif what == 1:
                del octets[at : at + rng.randint(1, 4)]
            else:
                octets[at:at] = rng.randbytes(rng.randint(1, 4))
        check_splits(bytes(octets) + REST, 1 if len(octets) < 100 else 7)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x01\0\x20\1\0\0\x1c", records(hello())[:48]]),
       st.binary(max_size=80))
def test_anything(start: bytes, more: bytes) -> None:
    check_splits(start + more)
