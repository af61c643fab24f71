"""Plays seeded beginnings of connections through the codecs that judge them; run once compiled, once plain."""

from __future__ import annotations

import hashlib
import random

from mesh.wire import client_hello, detect, ip_address, octets, proxy_protocol
from mesh.wire.errors import WireError

V2 = b"\r\n\r\n\0\r\nQUIT\n"
BODY = (b"\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0\0\x1a" + b"\0\0\0\6\0\4\0\0\1a" + b"\0\x10\0\5\0\3\2h2"
        + b"\0\x2b\0\3\2\3\4")
HELLO = b"\1\0\0" + bytes((len(BODY),)) + BODY
PIECES = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /index?q HTTP/1.1\r\n",
    b"AUTH " + b"x" * 9000 + b" HTTP/1.1",
    b"PING\r\n",
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 65535\r\n",
    b"PROXY UNKNOWN of course\r\n",
    V2 + b"\x21\x11\0\x12\1\2\3\4\5\6\7\x08\0\1\0\2\2\0\3a.b",
    V2 + b"\x21\x21\0\x24" + bytes(range(36)),
    V2 + b"\x21\x31\0\xd8" + b"/run/a".ljust(108, b"\0") * 2,
    V2 + b"\x20\0\0\0",
    b"\x16\3\1\0" + bytes((len(HELLO),)) + HELLO,
    b"\x16\3\1\0\x0a" + HELLO[:10] + b"\x16\3\1\0" + bytes((len(HELLO) - 10,)) + HELLO[10:],
]


def attempt(parse: object, *arguments: object) -> object:
    try:
        return parse(*arguments)  # type: ignore[operator]
    except (WireError, ValueError, IndexError) as error:
        return repr(error)


def beginning(rng: random.Random) -> list[object]:
    buf = bytearray(rng.choice(PIECES))
    for _ in range(rng.randrange(3)):
        buf[rng.randrange(min(len(buf), 80))] = rng.choice((0, 1, 0x20, 0x2E, 0x31, 0x3A, 0xFF, rng.randrange(256)))
    log: list[object] = []
    for n in sorted({len(buf), len(buf) + 1, *(rng.randrange(len(buf) + 1) for _ in range(8))}):
        log.append([n, *(attempt(parse, buf, n) for parse in (
            detect.detect, proxy_protocol.parse_proxy, client_hello.parse_client_hello))])
    return log


def values(rng: random.Random) -> list[object]:
    text = "".join(rng.choice(("::", ":", ".", "1", "0", "ab", "255")) for _ in range(rng.randrange(12))).encode()
    found = [rng.randbytes(rng.choice((4, 4, 16, 16, 5))) for _ in range(2)]
    ends = [proxy_protocol.ProxyAddress(str(attempt(ip_address.format_ip, octets)), rng.getrandbits(17))
            for octets in found]
    return [ip_address.parse_ipv4(text), ip_address.parse_ipv6(text), ends, proxy_protocol.crc32c(found[0]),
            attempt(proxy_protocol.encode_v1, *ends), attempt(client_hello.host_name, text),
            attempt(proxy_protocol.encode_v2, *ends, rng.randrange(4), [(0xE0, found[1])], rng.random() < 0.5)]


def main() -> None:
    modules = (client_hello, detect, ip_address, octets, proxy_protocol)
    plain = [module.__name__ for module in modules if str(module.__file__).endswith(".py")]
    assert len(plain) in (0, len(modules)), f"half of it is plain: {plain}"
    print("plain" if plain else "compiled")
    rng = random.Random(17)
    for round_ in range(300):
        lines = repr([beginning(rng), values(rng)])
        print(round_, hashlib.sha256(lines.encode()).hexdigest()[:16], lines[:4000])


if __name__ == "__main__":
    main()
