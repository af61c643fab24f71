"""The process on the load's core: a backend, or a load generator that takes one job after the other.

What lives here: command line and job protocol. `worker.py serve-grpc|serve-tcp|serve-http1 --fd N` serves for ever on
an inherited listening socket. `worker.py load` reads one job per line (JSON) on stdin and answers each with one line.
What this must not know: which proxy stands between.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import procstat

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "build" / "bench"
POOL = 16_384  # distinct per-call values before they come again; more than any cache of theirs or ours holds
PATH = b"/bench.Echo/Unary"
SERVERS = {"grpc": "h2answerer", "tcp": "tcpload", "http1": "h1load"}


def huffman(values: list[bytes]) -> list[bytes]:
    """HPACK strings of `values`, Huffman coded (as grpc-go and nghttp2 write them)."""
    from hpack.huffman import HuffmanEncoder
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    coded = [encoder.encode(value) for value in values]
    return [bytes([0x80 | len(value)]) + value for value in coded]


def per_call_values(vary: str) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Pools of (traceparent, grpc-timeout) and of :path, as HPACK strings."""
    from h2bits import string

    rng = random.Random(1)
    paths = huffman([b"/bench.Echo/Unary-%08d" % n for n in range(POOL)]) if vary in ("path", "all") else []
    if vary in ("", "path"):
        return [], paths
    parents = [b"00-%032x-%016x-01" % (rng.getrandbits(128) | 1, rng.getrandbits(64) | 1) for _ in range(POOL)]
    timeouts = [b"%06dm" % rng.randrange(900_000, 1_000_000) for _ in range(POOL)]  # never reached
    if vary == "indexed":
        return list(zip(huffman(parents), huffman(timeouts), strict=True)), paths
    return [(string(parent), string(timeout)) for parent, timeout in zip(parents, timeouts, strict=True)], paths


class Measured:
    """CPU of the proxy's processes, and of the load itself, between the begin and the end of the measured part."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.cpu: list[int] = []
        self.at = self.load = 0

    def begin(self) -> None:
        self.load = time.process_time_ns()
        self.cpu = [procstat.cpu_ns(pid) for pid in self.pids]
        self.at = time.monotonic_ns()

    def end(self) -> dict[str, Any]:
        took = time.monotonic_ns() - self.at
        cpu = [procstat.cpu_ns(pid) - before for pid, before in zip(self.pids, self.cpu, strict=True)]
        return {"cpu_ns": sum(cpu), "cpu_ns_each": cpu, "seconds": took / 1e9,
                "load_cpu_ns": time.process_time_ns() - self.load}


class Load:
    """Jobs, and what outlives one: values made beforehand, pages of the histogram."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.requests: dict[tuple[Any, ...], list[bytes]] = {}

    def clients(self, job: dict[str, Any], engine: Any, histogram: Any) -> list[Any]:
        """The connections that a job asks for."""
        import h1load
        import h2bits
        import h2caller
        import tcpload

        work, port, conns = job["work"], job["port"], job["conns"]
        pace = [(job["rate"] / conns, n / conns) for n in range(conns)]
        if work == "bulk":
            return [tcpload.Taker(engine, histogram, port, n) for n in range(conns)]
        if work == "tcp":
            requests = [tcpload.CLOSING if job["churn"] else tcpload.REQUEST]
            return [tcpload.Asker(engine, histogram, rate, phase, port, n, requests, job["churn"])
                    for n, (rate, phase) in enumerate(pace)]
        if work == "http1":
            key = (job["size"], job["host"], job["churn"], job["vary"])
            if key not in self.requests:
                self.requests[key] = h1load.make_requests(*key, POOL)
            return [h1load.H1Asker(engine, histogram, rate, phase, port, n * 97, self.requests[key], job["churn"],
                                   job["size"]) for n, (rate, phase) in enumerate(pace)]
        vary = job["vary"]
        if vary not in self.values:
            self.values[vary] = per_call_values(vary)
        pool, paths = self.values[vary]
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", PATH),
                  (b":authority", job["host"].encode()), (b"te", b"trailers"),
                  (b"content-type", b"application/grpc"), (b"user-agent", b"grpc-bench/1.0"),
                  (b"grpc-accept-encoding", b"identity, deflate, gzip"), (b"x-tenant", b"acme")]
        if vary in ("path", "all"):
            del fields[2]
        body = h2bits.message(job["size"], h2bits.order(job["mode"], job["size"], job["count"]))
        return [h2caller.Caller(
            engine, histogram, rate, phase, port, n, job["streams"],
            h2bits.Blocks(fields, vary, pool[at:] + pool[:at], paths[at:] + paths[:at]), body, job["size"] + 5,
            job["mode"], job["count"]) for n, (at, (rate, phase)) in enumerate(zip(range(0, 997 * conns, 997), pace,
                                                                                 strict=True))]

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        if job["work"] == "idle":
            import idle

            return idle.measure(job["kind"], job["port"], job["conns"], job["pids"], job["host"])
        if job["tool"]:
            return self.run_external(job)
        import engine as engines
        import histogram as histograms

        engine, histogram = engines.Engine(), histograms.Histogram()
        measured = Measured(job["pids"])
        started = time.monotonic_ns() + int(job["warm"] * 1e9)
        clients: list[Any] = []
        try:
            clients += self.clients(job, engine, histogram)
            engine.run(clients, started + int(job["seconds"] * 1e9), started, measured.begin, job["limit"])
        finally:
            engine.close()
        errors: dict[str, int] = {}
        for client in clients:
            for why, count in client.errors.items():
                errors[str(why)] = errors.get(str(why), 0) + count
        if not measured.at:
            return {"problem": "; ".join(sorted(errors)) or "no answers"}
        result: dict[str, Any] = {
            **measured.end(), "errors": errors, "done": sum(client.done for client in clients),
            "failed": sum(client.failed for client in clients)}
        if histogram.total():
            result.update({f"p{name}_us": histogram.quantile(ratio)
                           for name, ratio in (("50", 0.5), ("99", 0.99), ("999", 0.999))})
        return result

    def run_external(self, job: dict[str, Any]) -> dict[str, Any]:
        """The same by h2load or wrk; CPU from before it starts until after it ends."""
        import external
        import h2bits

        body = Path(job["scratch"]) / f"body-{job['size']}"
        body.write_bytes(h2bits.message(job["size"], h2bits.order("u", job["size"], 1)))

        def once(seconds: float, per_s: float) -> dict[str, Any]:
            if job["tool"] == "wrk":
                return external.parse_wrk(external.run(external.wrk_command(
                    job["port"], job["conns"], seconds, job["size"], job["host"], job["churn"],
                    "https" if job["kind"] == "tls" else "http")))
            return external.parse_h2load(external.run(external.h2load_command(
                job["port"], job["conns"], job["streams"], max(job["conns"], round(per_s * seconds)), body,
                job["host"])))

        measured = Measured(job["pids"])
        try:
            per_s = 0.0
            if job["tool"] == "h2load":  # counts requests, not seconds: ask how many are done in one
                first = once(1.0, 3000.0)
                per_s = first["done"] / first["seconds"]
            measured.begin()
            result = once(job["seconds"], per_s)
        except external.Unusable as e:
            return {"problem": str(e)}
        ended = measured.end()
        return {**ended, **result}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["load", *(f"serve-{kind}" for kind in SERVERS)])
    parser.add_argument("--fd", type=int)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.path.insert(0, str(BUILT))
    if args.role != "load":
        importlib.import_module(SERVERS[args.role.removeprefix("serve-")]).serve(args.fd)
    load = Load()
    for line in sys.stdin:
        try:
            answer = load.run(json.loads(line))
        except OSError as e:
            answer = {"problem": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
