"""Plays seeded conversations through the codec and prints what came of them; run once compiled, once plain."""

from __future__ import annotations

import hashlib
import random

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

from mesh.wire import frames, grpc, h2, hpack, huffman, octets, tracecontext
from mesh.wire.errors import WireError

PIECES = [
    headers(1),
    headers(1, end=True),
    headers(3, (*REQUEST, (b"grpc-timeout", b"1S"), (b"traceparent", b"x"))),
    headers(3, TRAILERS, True),
    data(1, b"abc"),
    data(1, b"", True),
    data(3, b"x" * 2000, True),
    reset(1),
    reset(3),
    window_update(0, 10),
    window_update(1, 10),
    window_update(1, 0),
    settings((4, 100)),
    settings((4, 2**31)),
    settings((5, 1)),
    frame("SETTINGS", 1),
    frame("PING", 0, 0, b"12345678"),
    frame("GOAWAY", 0, 0, bytes(8) + b"bye"),
    frame("PRIORITY", 0, 1, bytes(5)),
    frame("HEADERS", 0, 5, block(REQUEST)[:4]),
    frame("CONTINUATION", 4, 5, block(REQUEST)[4:]),
    headers(7, REQUEST[1:]),
    frame("DATA", 8, 1, b"\x01ab"),
    headers(1, RESPONSE),
    headers(1, (*RESPONSE, (b"content-length", b"3"))),
    frame("HEADERS", 5, 9, b"\x40\x01a\x83\x1c\x64\x3f"),
    frame("HEADERS", 4, 11, b"\xbe\x82\x86\x84"),
    frame("HEADERS", 5, 13, bytes(range(60, 120))),
]


def conversation(rng: random.Random, client: bool) -> list[object]:
    side = Side(client=client, fresh=True)
    log: list[object] = []
    side.conn.start()
    if client:
        for end in (True, False):
            side.conn.open(None, block(REQUEST), end)
    octets = bytearray(b"".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 12))))
    if rng.random() < 0.5:
        octets[rng.randrange(len(octets))] = rng.randrange(256)
    octets = bytearray(b"" if client else PREFACE) + bytearray(settings()) + octets
    try:
        while octets:
            n = rng.choice((3, 30, 300, 3000))
            side.feed(bytes(octets[:n]))
            del octets[:n]
            for stream in side.conn.all_streams():
                if not client and not stream.local_closed and stream.remote_closed:
                    side.conn.send_headers(stream, block(RESPONSE), False)
                    side.conn.send_data(stream, b"z" * 99, 1, min(50, side.conn.sendable(stream)), False)
                    side.conn.send_headers(stream, block(TRAILERS), True)
    except WireError as error:
        log.append(repr(error))
    log += side.events()
    log += side.sent()
    log.append(tuple(side.conn.statistics()))
    return log


def codecs(rng: random.Random) -> list[object]:
    text = rng.randbytes(rng.randrange(60))
    coded = huffman.huffman_encode(text)
    assert huffman.huffman_decode(bytearray(coded), 0, len(coded)) == text
    numbers = [rng.getrandbits(64) for _ in range(3)]
    parent = tracecontext.parse_traceparent(tracecontext.format_traceparent(*numbers, rng.getrandbits(8)))
    seconds = 10 ** rng.uniform(-7, 9)
    log: list[object] = [
        coded,
        None if parent is None else (parent.trace_hi, parent.trace_lo, parent.span_id, parent.flags),
        grpc.format_timeout(seconds),
        grpc.parse_timeout(b"%d%c" % (rng.getrandbits(24), rng.choice(b"HMSmunx"))),
        grpc.MessageDecoder(100).feed(grpc.frame(text) * 2),
        grpc.encode_message(repr(text)),
    ]
    decoder = hpack.Decoder()
    for _ in range(3):
        octets = bytearray(rng.choice(PIECES)[9:])
        if octets and rng.random() < 0.3:
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        try:
            log.append(repr(decoder.decode(octets, 0, len(octets))))
        except WireError as error:
            log.append(repr(error))
            break
    return log


def main() -> None:
    plain = [
        module.__name__
        for module in (frames, grpc, h2, hpack, huffman, octets, tracecontext)
        if str(module.__file__).endswith(".py")
    ]
    assert len(plain) in (0, 7), f"half of it is plain: {plain}"
    print("plain" if plain else "compiled")
    rng = random.Random(31)
    for round_ in range(300):
        lines = repr([conversation(rng, bool(round_ & 1)), codecs(rng)])
        print(round_, hashlib.sha256(lines.encode()).hexdigest()[:16], lines[:4000])


if __name__ == "__main__":
    main()
