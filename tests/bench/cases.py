"""What is measured: one entry per row group of the table.

What lives here: the cases and the goals of each. What this must not know: processes.
"""

from __future__ import annotations

from dataclasses import dataclass

MESH = ("mesh", "mesh, tracing 0.01", "mesh, tracing 1")
HTTP2 = (*MESH, "envoy", "envoy, tracing 1", "haproxy", "nghttpx")
TCP = ("mesh", "envoy", "haproxy", "nginx")
PAIRS = ("mesh pair", "mesh pair, tracing 1", "envoy pair")


@dataclass(frozen=True)
class Goal:
    """Our row `ours` is to be at most `ratio` times the best of `theirs`."""

    ours: str
    ratio: float
    theirs: tuple[str, ...]
    metric: str = "cpu_us"


@dataclass(frozen=True)
class Case:
    """`vary`: see h2bits.Blocks. `rate` > 0: calls per second in all, open loop. `conns` x `streams` in flight."""

    key: str
    title: str
    work: str
    conns: int
    streams: int
    proxies: tuple[str, ...]
    vary: str = ""
    rate: float = 0.0
    quick: bool = False
    goals: tuple[Goal, ...] = ()


LIGHT = ("haproxy", "nghttpx")
TRACED = (Goal("mesh, tracing 1", 0.3, ("envoy",)), Goal("mesh, tracing 1", 0.9, LIGHT))
# As GiB per second of CPU: 1.4 times the best peer. On a busy machine the wall clock tells of the load, not of proxies.
BULK = Goal("mesh", 1 / 1.4, ("envoy", "haproxy", "nginx"), "cpu_ms")
CASES = (
    Case("grpc-1x32-literal", "gRPC unary, 1 × 32, per-call traceparent and grpc-timeout as literals (grpc C-core)",
         "grpc", 1, 32, HTTP2, vary="literal", quick=True, goals=TRACED),
    Case("grpc-8x16-literal", "gRPC unary, 8 × 16, per-call literals", "grpc", 8, 16, HTTP2, vary="literal",
         goals=TRACED),
    Case("grpc-1x32-indexed", "gRPC unary, 1 × 32, per-call fields entered into the HPACK table (grpc-go)",
         "grpc", 1, 32, HTTP2, vary="indexed", goals=TRACED),
    Case("grpc-1x1-literal", "gRPC unary, 1 × 1 (latency bound), per-call literals", "grpc", 1, 1, HTTP2,
         vary="literal"),
    Case("grpc-1x32-same", "gRPC unary, 1 × 32, identical headers", "grpc", 1, 32, HTTP2),
    Case("grpc-8x16-same", "gRPC unary, 8 × 16, identical headers", "grpc", 8, 16, HTTP2, quick=True),
    Case("grpc-1x32-path", "gRPC unary, 1 × 32, every :path different", "grpc", 1, 32, HTTP2, vary="path",
         goals=(Goal("mesh", 1.0, ("nghttpx",)),)),
    Case("rate", "gRPC unary at a fixed 5,000/s, 8 connections, per-call literals", "grpc", 8, 16, ("direct", *HTTP2),
         vary="literal", rate=5000,
         goals=(Goal("mesh, tracing 1", 1.0, ("envoy", *LIGHT), "p50_us"),
                Goal("mesh, tracing 1", 1.0, ("envoy", *LIGHT), "p99_us"))),
    Case("pair", "gRPC unary through two proxies, 1 × 32, per-call literals (CPU of both)", "grpc", 1, 32, PAIRS,
         vary="literal", quick=True),
    Case("tcp-1", "TCP, 100 B up, 200 B down, 1 connection", "small", 1, 1, TCP,
         goals=(Goal("mesh", 0.9, ("nginx",)),)),
    Case("tcp-32", "the same, 32 connections", "small", 32, 1, TCP, quick=True, goals=(Goal("mesh", 0.9, ("nginx",)),)),
    Case("tcp-churn", "TCP, a new connection per request, 32 at once", "churn", 32, 1, TCP,
         goals=(Goal("mesh", 1.0, ("nginx",)),)),
    Case("bulk-1", "TCP bulk, 1 connection", "bulk", 1, 1, TCP,
         goals=(BULK,)),
    Case("bulk-4", "TCP bulk, 4 connections", "bulk", 4, 1, TCP,
         goals=(BULK,)),
)
