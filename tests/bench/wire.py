"""Nanoseconds per request in the codecs alone: header blocks decoded and encoded, whole requests in a connection.

What lives here: the command and its table. What this must not know: sockets, processes. No number makes it fail.
`python tests/bench/wire.py [--json FILE]`; needs the compiled modules. Figures hold the cost of calling from Python,
about 50 ns a call; the best of several rounds counts, since a busy machine only ever adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import hpack
import wire_h1

from mesh.wire import h2, tracecontext
from mesh.wire.codec import Handler
from mesh.wire.grpc import format_timeout, parse_timeout
from mesh.wire.h2 import Connection
from mesh.wire.hpack import Decoder, Encoder, literal, make_head

Fields = list[tuple[bytes, bytes]]
REQUESTS = 3000
ROUNDS = 9
REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.Cart/GetItems"),
    (b":authority", b"cart.local:50051"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-python/1.85.1 grpc-c/41.0.0 (linux; chttp2)"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    (b"x-user", b"42"),
]
RESPONSE = Encoder().encode(make_head([(b":status", b"200"), (b"content-type", b"application/grpc")]))
TRAILERS = Encoder().encode(make_head([(b"grpc-status", b"0")]))


def per_call(i: int) -> Fields:
    return [(b"traceparent", b"00-%032x-%016x-01" % (i + 1, i + 1)), (b"grpc-timeout", b"%dm" % (1000 + i))]


def with_path(i: int) -> Fields:
    return [(name, b"/shop.Cart/Get/%d" % i if name == b":path" else value) for name, value in REQUEST]


def ours(fields: Fields, call: Fields) -> bytes:
    """A block as another sidecar sends it."""
    return Encoder().encode(make_head(fields)) + b"".join(literal(name, value) for name, value in call)


def unique(round_: int) -> range:
    """Numbers that no other round has: what must never repeat must not repeat from round to round either."""
    return range(round_ * REQUESTS, (round_ + 1) * REQUESTS)


def sidecar_same(round_: int) -> list[bytes]:
    return [ours(REQUEST, [])] * REQUESTS


def sidecar_calls(round_: int) -> list[bytes]:
    return [ours(REQUEST, per_call(i)) for i in unique(round_)]


def sidecar_paths(round_: int) -> list[bytes]:
    return [ours(with_path(i), []) for i in unique(round_)]


def indexed_same(round_: int) -> list[bytes]:
    peer = hpack.Encoder()
    return [peer.encode(REQUEST) for _ in unique(round_)]


def indexed_calls(round_: int) -> list[bytes]:
    peer = hpack.Encoder()
    return [peer.encode(REQUEST + per_call(i)) for i in unique(round_)]


def indexed_paths(round_: int) -> list[bytes]:
    peer = hpack.Encoder()
    return [peer.encode([hpack.NeverIndexedHeaderTuple(n, v) if n == b":path" else (n, v) for n, v in with_path(i)])
            for i in unique(round_)]


CASES: dict[str, Callable[[int], list[bytes]]] = {
    "the same block, from a sidecar": sidecar_same,
    "traceparent and grpc-timeout vary, from a sidecar": sidecar_calls,
    "every path differs, from a sidecar": sidecar_paths,
    "the same block, indexed": indexed_same,
    "traceparent and grpc-timeout vary, indexed and Huffman-coded": indexed_calls,
    "every path differs, a Huffman-coded literal": indexed_paths,
}


def decode(blocks: list[bytes]) -> Callable[[], None]:
    """Decoding alone."""
    buffers = [bytearray(block) for block in blocks]

    def run() -> None:
        decode = Decoder().decode
        for buf in buffers:
            decode(buf, 0, len(buf))

    return run


def decode_encode(blocks: list[bytes]) -> Callable[[], None]:
    """Decoding, and encoding what came out."""
    buffers = [bytearray(block) for block in blocks]

    def run() -> None:
        decode, encode = Decoder().decode, Encoder().encode
        for buf in buffers:
            encode(decode(buf, 0, len(buf)).head)

    return run


def best(make: Callable[[int], Callable[[], object]]) -> float:
    least = float("inf")
    for round_ in range(ROUNDS):
        run = make(round_)
        start = time.thread_time()
        run()
        least = min(least, time.thread_time() - start)
    return least / REQUESTS * 1e9


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def serve(blocks: list[bytes]) -> Callable[[], None]:
    """A unary call at a server: HEADERS and DATA in; HEADERS, DATA and trailers out; 32 of them in each read."""
    octets = []
    for at in range(0, len(blocks), 32):
        part = enumerate(blocks[at : at + 32], at)
        octets.append(bytearray(b"".join(frame(1, 4, 2 * i + 1, block) + frame(0, 1, 2 * i + 1, b"\0\0\0\0\x05hello")
                                         for i, block in part)))
    hello = bytearray(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    answer = b"\0\0\0\0\x05world"

    def run() -> None:
        conn = Connection(False, Handler())
        conn.start()
        conn.receive(hello, len(hello))
        send_headers, send_data = conn.send_headers, conn.send_data
        conn.receive(bytearray(frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff") + frame(8, 0, 0, b"\x7f\0\0\0")), 6 + 9 + 4 + 9)
        for buf in octets:
            conn.receive(buf, len(buf))
            for stream in conn.all_streams():
                send_headers(stream, RESPONSE, False)
                send_data(stream, answer, 0, 10, False)
                send_headers(stream, TRAILERS, True)
            conn.out_len = 0

    return run


def h1_figures() -> dict[str, dict[str, float]]:
    print(f"\n{'':<62}{'server':>9}{'client':>9}{'llhttp':>9}{'octets':>8}")
    result = {}
    for name, make in wire_h1.CASES.items():
        figures = {what.__name__: best(lambda round_, what=what, make=make: what(list(map(make, unique(round_)))))
                   for what in (wire_h1.serve, wire_h1.call, wire_h1.llhttp)}
        result[name] = figures
        octets = sum(map(len, make(1)))
        print(f"{name:<62}{''.join(f'{figure:>9.0f}' for figure in figures.values())}{octets:>8}")
    print()
    return result


def small_figures() -> dict[str, float]:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def times(call: Callable[[], object]) -> float:
        def run() -> None:
            for _ in range(REQUESTS):
                call()

        return best(lambda round_: run)

    empty = times(lambda: None)
    return {
        "parse traceparent": times(lambda: tracecontext.parse_traceparent(parent)) - empty,
        "format traceparent": times(lambda: tracecontext.format_traceparent(1 << 60, 2 << 60, 3 << 60, 1)) - empty,
        "parse grpc-timeout": times(lambda: parse_timeout(b"1234m")) - empty,
        "format grpc-timeout": times(lambda: format_timeout(1.234)) - empty,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if str(h2.__file__).endswith(".py"):
        print("(not compiled)")
    result: dict[str, object] = {}
    print(f"{'ns per request':<62}{'decode':>9}{'+encode':>9}{'server':>9}{'octets':>8}")
    for name, make in CASES.items():
        figures = {what.__name__: best(lambda round_, what=what, make=make: what(make(round_)))  # type: ignore[misc]
                   for what in (decode, decode_encode, serve)}
        result[name] = figures
        print(f"{name:<62}{''.join(f'{figure:>9.0f}' for figure in figures.values())}{len(make(0)[-1]):>8}")
    result.update(h1_figures())
    for name, figure in small_figures().items():
        result[name] = figure
        print(f"{name:<62}{figure:>9.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
