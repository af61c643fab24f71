"""The process on the load's core: a backend, or a load generator that takes one job after the other.

What lives here: command line and job protocol. `worker.py backend-h2|backend-tcp --fd N` serves for ever on an
inherited listening socket. `worker.py load` reads one job per line (JSON) on stdin and answers each with one line.
What this must not know: which proxy stands between.
"""

from __future__ import annotations

import argparse
import array
import json
import random
import socket
import sys
import time
from pathlib import Path
from typing import Any

import procstat

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "build" / "bench"
BODY_BYTES = 64  # of each request message and each answer: small, as most unary calls are
POOL = 16_384  # distinct per-call values before they come again; more than any cache of theirs or ours holds


def huffman(values: list[bytes], short: Any) -> list[bytes]:
    """HPACK strings of `values`, Huffman coded (as grpc-go and nghttp2 write them)."""
    from hpack.huffman import HuffmanEncoder
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    coded = [encoder.encode(value) for value in values]
    return [bytes([0x80 | len(value)]) + value for value in coded]


def per_call_values(vary: str, short: Any) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Pools of (traceparent, grpc-timeout) and of :path, as HPACK strings."""
    rng = random.Random(1)
    if vary == "path":
        return [], huffman([b"/bench.Echo/Unary-%08d" % n for n in range(POOL)], short)
    if not vary:
        return [], []
    parents = [b"00-%032x-%016x-01" % (rng.getrandbits(128) | 1, rng.getrandbits(64) | 1) for _ in range(POOL)]
    timeouts = [b"%06du" % rng.randrange(900_000, 1_000_000) for _ in range(POOL)]
    if vary == "indexed":
        return list(zip(huffman(parents, short), huffman(timeouts, short), strict=True)), []
    return [(short(parent), short(timeout)) for parent, timeout in zip(parents, timeouts, strict=True)], []


def quantile(histogram: Any, ratio: float) -> int:
    """Smallest bucket (microseconds) at or below which `ratio` of the counts lie."""
    left = sum(histogram) * ratio
    for bucket, count in enumerate(histogram):
        left -= count
        if count and left <= 0:
            return bucket
    return 0


class Measured:
    """CPU of the proxy's processes and wall time between the begin and the end of the measured part."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.cpu: list[int] = []
        self.at = 0

    def begin(self) -> None:
        self.cpu = [procstat.cpu_ns(pid) for pid in self.pids]
        self.at = time.monotonic_ns()

    def end(self) -> dict[str, Any]:
        cpu = [procstat.cpu_ns(pid) - before for pid, before in zip(self.pids, self.cpu, strict=True)]
        return {"cpu_ns": sum(cpu), "cpu_ns_each": cpu, "seconds": (time.monotonic_ns() - self.at) / 1e9}


def run(job: dict[str, Any], pools: dict[str, Any]) -> dict[str, Any]:
    import h2bits
    import h2caller
    import tcpfast

    begun = time.monotonic_ns()
    start_ns = begun + int(job["warm"] * 1e9)
    until_ns = start_ns + int(job["seconds"] * 1e9)
    measured = Measured(job["pids"])
    histogram = array.array("q", bytes(8 * h2caller.BUCKETS))
    result: dict[str, Any] = {"errors": {}}
    before: Any = None

    def at_start() -> None:
        nonlocal before
        before = array.array("q", histogram)
        measured.begin()

    if job["work"] == "grpc":
        if job["vary"] not in pools:
            pools[job["vary"]] = per_call_values(job["vary"], h2bits.string)
        pool, paths = pools[job["vary"]]
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/bench.Echo/Unary"),
                  (b":authority", job["authority"].encode()), (b"te", b"trailers"),
                  (b"content-type", b"application/grpc"), (b"user-agent", b"grpc-bench/1.0"),
                  (b"grpc-accept-encoding", b"identity, deflate, gzip"), (b"x-tenant", b"acme")]
        if job["vary"] == "path":
            del fields[2]
        callers = [h2caller.Caller(job["port"], job["streams"],
                                 h2bits.Blocks(fields, job["vary"], pool[n:] + pool[:n], paths[n:] + paths[:n]),
                                 h2bits.message(BODY_BYTES), BODY_BYTES + 5, histogram, job["rate"] / job["conns"],
                                 n / (job["conns"] * 997))
                   for n in range(0, job["conns"] * 997, 997)]
        h2caller.run_load(callers, until_ns, start_ns, at_start)
        if before is None:
            return {"problem": "; ".join({why for caller in callers for why in caller.results()[2]}) or "no answers"}
        result.update(measured.end())
        totals = [caller.results() for caller in callers]
        result["done"] = sum(done for done, _, _ in totals)
        result["failed"] = sum(failed for _, failed, _ in totals)
        for _, _, errors in totals:
            for why, count in errors.items():
                result["errors"][why] = result["errors"].get(why, 0) + count
    elif job["work"] == "bulk":
        result["done"], result["failed"] = tcpfast.run_bulk(job["port"], job["conns"], start_ns, until_ns, at_start)
        result.update(measured.end())
    else:
        result["done"], result["failed"] = tcpfast.run_small(job["port"], job["conns"], job["work"] == "churn",
                                                             start_ns, until_ns, at_start, histogram)
        result.update(measured.end())
    for n, count in enumerate(before):
        histogram[n] -= count
    result["p50_us"], result["p99_us"] = quantile(histogram, 0.5), quantile(histogram, 0.99)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["backend-h2", "backend-tcp", "load"])
    parser.add_argument("--fd", type=int)
    args = parser.parse_args()
    sys.path.insert(0, str(BUILT))
    sys.path.append(str(HERE))
    if args.role == "backend-h2":
        import h2answerer
        import h2bits

        h2answerer.serve(socket.socket(fileno=args.fd), h2bits.message(BODY_BYTES))
    elif args.role == "backend-tcp":
        import tcpfast

        tcpfast.serve(socket.socket(fileno=args.fd))
    pools: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer = run(json.loads(line), pools)
        except OSError as e:
            answer = {"problem": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
