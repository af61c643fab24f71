"""Writes `stories/*.json`: header blocks in sequence as other encoders make them, in the format of hpack-test-case.

`python tests/conformance/make_stories.py`. Encoders: the `hpack` package, and nghttp2's where its library is installed
(through its C interface). A case is one block: the table size that its decoder announced before it, the octets, the
fields. Seeded: a run writes the same files again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import hpack

STORIES = Path(__file__).resolve().parent / "stories"
Fields = list[tuple[bytes, bytes]]
Encode = Callable[[Fields, int | None], bytes]  # (fields, new table size or None) -> block
BLOCKS = 12
AGENTS = [b"grpc-python/1.85.1 grpc-c/41.0.0 (linux; chttp2)",
          b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"]  # fmt: skip


def requests(rng: random.Random) -> Iterator[Fields]:
    """What a browser and a gRPC client say one after the other: much repeats, some differs, some is sensitive."""
    host = rng.choice([b"www.example.org", b"cart.shop.svc:50051", b"[::1]:8080"])
    agent = rng.choice(AGENTS)
    for number in range(BLOCKS):
        fields = [(b":method", rng.choice([b"GET", b"POST", b"PUT"])), (b":scheme", rng.choice([b"http", b"https"])),
                  (b":path", rng.choice([b"/", b"/index.html", b"/shop.Cart/Get", b"/p/%d?q=%d" % (number, number)])),
                  (b":authority", host), (b"user-agent", agent)]  # fmt: skip
        fields += rng.sample(
            [(b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"accept-encoding", b"gzip, deflate"),
             (b"grpc-timeout", b"%dm" % rng.randrange(1, 99999)), (b"cookie", b"session=%032x" % rng.getrandbits(128)),
             (b"traceparent", b"00-%032x-%016x-01" % (rng.getrandbits(128), rng.getrandbits(64))),
             (b"x-request-id", b"%016x" % rng.getrandbits(64)), (b"x-empty", b""),
             (b"x-long", b"l" * rng.randrange(200)),
             (b"x-bin", bytes(rng.randrange(32, 255) for _ in range(20)).replace(b"\x7f", b"")),
             (b"accept-language", b"de-CH,de;q=0.7,en;q=0.3"), (b"authorization", b"Bearer %x" % rng.getrandbits(200))],
            rng.randrange(2, 11))  # fmt: skip
        yield fields


def responses(rng: random.Random) -> Iterator[Fields]:
    for number in range(BLOCKS):
        fields = [(b":status", rng.choice([b"200", b"204", b"206", b"302", b"304", b"404", b"503", b"418"]))]
        fields += rng.sample(
            [(b"date", b"Mon, 21 Oct 2013 20:13:%02d GMT" % (number % 60)), (b"server", b"nginx"),
             (b"cache-control", rng.choice([b"private", b"no-cache", b"max-age=%d" % number])),
             (b"content-length", b"%d" % rng.randrange(10**6)), (b"content-type", b"text/html; charset=utf-8"),
             (b"set-cookie", b"foo=%s; max-age=3600; version=1" % (b"%x" % rng.getrandbits(300))),
             (b"set-cookie", b"bar=1"), (b"location", b"https://www.example.org/%d" % rng.randrange(5)),
             (b"grpc-status", b"%d" % rng.randrange(17)), (b"vary", b"accept-encoding"), (b"etag", b'"%x"' % number)],
            rng.randrange(1, 10))  # fmt: skip
        yield fields


def with_hpack(huffman: bool, sensitive: bool, size: int) -> Encode:
    encoder = hpack.Encoder()
    encoder.header_table_size = size
    rng = random.Random(7)

    def encode(fields: Fields, size: int | None) -> bytes:
        if size is not None:
            encoder.header_table_size = size
        make: list[hpack.HeaderTuple] = [
            (hpack.NeverIndexedHeaderTuple if sensitive and rng.random() < 0.3 else hpack.HeaderTuple)(name, value)
            for name, value in fields]  # fmt: skip
        return bytes(encoder.encode(make, huffman=huffman))

    return encode


class Nv(ctypes.Structure):
    """nghttp2_nv."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("namelen", ctypes.c_size_t),
                ("valuelen", ctypes.c_size_t), ("flags", ctypes.c_uint8))  # fmt: skip


def with_nghttp2(sensitive: bool, size: int) -> Encode | None:
    path = ctypes.util.find_library("nghttp2")
    if path is None:
        return None
    library = ctypes.CDLL(path)
    deflater = ctypes.c_void_p()
    assert library.nghttp2_hd_deflate_new(ctypes.byref(deflater), ctypes.c_size_t(4096)) == 0
    if size != 4096:
        assert library.nghttp2_hd_deflate_change_table_size(deflater, ctypes.c_size_t(size)) == 0
    rng = random.Random(8)

    def encode(fields: Fields, size: int | None) -> bytes:
        if size is not None:
            assert library.nghttp2_hd_deflate_change_table_size(deflater, ctypes.c_size_t(size)) == 0
        flags = [1 if sensitive and rng.random() < 0.3 else 0 for _ in fields]  # NGHTTP2_NV_FLAG_NO_INDEX
        array = (Nv * len(fields))(*(Nv(name, value, len(name), len(value), flag)
                                     for (name, value), flag in zip(fields, flags, strict=True)))  # fmt: skip
        out = ctypes.create_string_buffer(65_536)
        library.nghttp2_hd_deflate_hd.restype = ctypes.c_ssize_t
        n = library.nghttp2_hd_deflate_hd(deflater, out, ctypes.c_size_t(len(out)), array, ctypes.c_size_t(len(fields)))
        assert n >= 0
        return out.raw[:n]

    return encode


def story(description: str, encode: Encode, lists: Iterator[Fields], size: int,
          changes: list[int]) -> dict[str, object]:
    """`changes`: table sizes to go on with, one every few blocks."""
    cases = []
    for number, fields in enumerate(lists):
        change = changes[(number // 4 - 1) % len(changes)] if changes and number and number % 4 == 0 else None
        size = size if change is None else change
        wire = encode(fields, change)
        text = [{name.decode("latin-1"): value.decode("latin-1")} for name, value in fields]
        cases.append({"seqno": number, "header_table_size": size, "wire": wire.hex(), "headers": text})
    return {"description": description, "cases": cases}


def main() -> None:
    STORIES.mkdir(exist_ok=True)
    number = 0
    for size in (0, 64, 256, 4096, 16_384):
        for kind, lists in (("requests", requests), ("responses", responses)):
            for huffman in (False, True):
                for changes in ([], [0, 4096], [100, 2000, 50]):
                    if (changes and not (huffman and size == 4096)) or (not huffman and size not in (64, 4096)):
                        continue
                    encoders = [("hpack", with_hpack(huffman, size == 256, size))]
                    if huffman and (nghttp2 := with_nghttp2(size == 256, size)) is not None:
                        encoders.append(("nghttp2", nghttp2))
                    for name, encode in encoders:
                        code = "Huffman code" if huffman else "no Huffman code"
                        what = f"{kind} by {name}, table {size}, changes {changes}, {code}"
                        made = story(what, encode, lists(random.Random(number)), size, changes)
                        text = json.dumps(made, indent=None, separators=(",", ":"))
                        (STORIES / f"story_{number:02}.json").write_text(text.replace('{"seqno"', '\n{"seqno"') + "\n")
                        number += 1
    print(f"{number} stories in {STORIES}")


if __name__ == "__main__":
    main()
