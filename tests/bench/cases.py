"""What is measured: the cases, which proxies each of them compares, and the goals.

What lives here: values only. What this must not know: processes, how a figure comes about.
"""

from __future__ import annotations

from dataclasses import dataclass

HAPROXY = ("haproxy", "haproxy pypi")
NGINX = ("nginx", "nginx pypi")
MESH = ("mesh", "mesh, tracing 0.01", "mesh, tracing 1")
TWO = ("mesh", "mesh, tracing 1")
AWAKE = ("mesh, spin 50",)  # where latency is all: one request at a time
LIGHT = (*HAPROXY, "nghttpx")
GRPC = (*MESH, "envoy", "envoy, tracing 1", *LIGHT)
GRPC_SIZES = (*TWO, "envoy", *LIGHT)
HTTP1 = (*TWO, "envoy", *HAPROXY, *NGINX)
TCP = ("mesh", "envoy", *HAPROXY, *NGINX)
TLS = ("mesh, tls", "envoy", *HAPROXY, *NGINX)
DIRECT = ("direct",)
IDLE_CONNECTIONS = 10_000
MESSAGES = 1000  # of one server stream
ROUND_TRIPS = 100  # of one bidirectional stream


@dataclass(frozen=True)
class Goal:
    """A bound on `metric` of the row `ours`: `ratio` times the best of `theirs`, or `limit` where `theirs` is empty.

    `more`: the figure is to be at least the bound, and the best of theirs is the largest.
    """

    ours: str
    metric: str = "cpu_us"
    ratio: float = 0.0
    theirs: tuple[str, ...] = ()
    limit: float = 0.0
    more: bool = False


@dataclass(frozen=True)
class Case:
    """One kind of load. `work` grpc, http1, tcp, bulk, idle, memory, or command; `kind` is the proxy's port it uses.

    `conns` x `streams` in flight; with `rate` > 0 so many requests a second in all are due at set times (open loop).
    `mode`: gRPC "u" unary, "s" server stream, "b" bidirectional; `size`: octets of each message; `vary`: what differs
    from call to call (h2bits.Blocks; for HTTP/1.1 "" or "all"). `churn`: a connection per request. `tool`: load by
    another program. `fresh`: a proxy started for it. `times`: measured so many times as long.
    """

    key: str
    group: str
    title: str
    work: str
    conns: int
    proxies: tuple[str, ...]
    kind: str = "grpc"
    streams: int = 1
    mode: str = "u"
    size: int = 100
    count: int = 1
    vary: str = ""
    rate: float = 0.0
    churn: bool = False
    tool: str = ""
    fresh: bool = False
    times: float = 1.0
    quick: bool = False
    goals: tuple[Goal, ...] = ()


TRACED = (Goal("mesh, tracing 1", ratio=0.3, theirs=("envoy",)), Goal("mesh, tracing 1", ratio=0.9, theirs=LIGHT))
SIZES = ((100, "100 B"), (10_000, "10 KB"), (1_000_000, "1 MB"))
SHAPES = ((1, 1), (1, 32), (8, 16))
QUICK_UNARY = {"grpc-1x32-unique", "grpc-8x16-same", "grpc-8x16-unique-10k", "grpc-1x32-path"}


def unary() -> list[Case]:
    """Every shape with every size, headers that repeat and headers that differ from call to call."""
    made = []
    for size, text in SIZES:
        for conns, streams in SHAPES:
            for vary, how in (("same", "identical headers"), ("unique", "traceparent and grpc-timeout per call")):
                key = f"grpc-{conns}x{streams}-{vary}" + {100: "", 10_000: "-10k", 1_000_000: "-1m"}[size]
                judged = vary == "unique" and size == 100 and streams > 1
                made.append(Case(
                    key, "grpc", f"gRPC unary, {conns} × {streams}, {text} each way, {how}", "grpc", conns,
                    GRPC if size == 100 else GRPC_SIZES, streams=streams, size=size,
                    vary="" if vary == "same" else "literal", quick=key in QUICK_UNARY,
                    times=1.0 if size < 1_000_000 else 2.0 if streams * conns < 100 else 4.0,
                    goals=TRACED if judged else ()))
    made += [
        Case("grpc-1x32-indexed", "grpc", "gRPC unary, 1 × 32, 100 B, the same fields entered into the HPACK table "
             "(grpc-go)", "grpc", 1, GRPC, streams=32, vary="indexed", goals=TRACED),
        Case("grpc-1x32-path", "grpc", "gRPC unary, 1 × 32, 100 B, every :path different", "grpc", 1, GRPC, streams=32,
             vary="path", quick=True, goals=(Goal("mesh", ratio=1.0, theirs=("nghttpx",)),)),
        Case("grpc-1x32-all", "grpc", "gRPC unary, 1 × 32, 100 B, :path, traceparent, grpc-timeout and a request id "
             "different", "grpc", 1, GRPC, streams=32, vary="all"),
        Case("grpc-decision", "grpc", "gRPC unary, 8 × 16, 100 B, per-call fields, 8 endpoints: what deciding costs",
             "grpc", 8, ("mesh, 8 endpoints", "mesh, 8 endpoints, round robin alone"), streams=16, vary="literal"),
        Case("grpc-8x16-h2load", "grpc", "gRPC unary, 8 × 16, 100 B, load by h2load", "grpc", 8, GRPC_SIZES, streams=16,
             tool="h2load"),
        Case("grpc-1x1-h2load", "grpc", "gRPC unary, 1 × 1, 100 B, load by h2load", "grpc", 1, GRPC_SIZES,
             tool="h2load"),
    ]
    return made


STREAMS = (
    Case("stream-server", "grpc", f"gRPC server stream, 1 × 8, {MESSAGES} messages of 100 B each (per message)", "grpc",
         1, GRPC_SIZES, streams=8, mode="s", count=MESSAGES, vary="literal", quick=True),
    Case("stream-bidi", "grpc", f"gRPC bidirectional stream, 1 × 32, {ROUND_TRIPS} round trips of 100 B each (per "
         "round trip)", "grpc", 1, GRPC_SIZES, streams=32, mode="b", count=ROUND_TRIPS, vary="literal"),
)


def http1_goals() -> tuple[Goal, ...]:
    return (Goal("mesh", ratio=0.3, theirs=("envoy",)), Goal("mesh", ratio=1.0, theirs=(*HAPROXY, *NGINX)))


def http1() -> list[Case]:
    made = [Case(f"http1-{conns}", "http1", f"HTTP/1.1 keep-alive, {conns} connection{'s' if conns > 1 else ''}, "
                 "100 B answer, path and ids different", "http1", conns,
                 (*HTTP1, *AWAKE) if conns == 1 else HTTP1, "http1", vary="all", quick=conns == 32,
                 goals=http1_goals()) for conns in (1, 32, 128)]
    return [
        *made,
        Case("http1-32-same", "http1", "HTTP/1.1 keep-alive, 32 connections, identical requests", "http1", 32, HTTP1,
             "http1"),
        Case("http1-32-10k", "http1", "HTTP/1.1 keep-alive, 32 connections, 10 KB answer", "http1", 32, HTTP1, "http1",
             size=10_000, vary="all"),
        Case("http1-churn", "http1", "HTTP/1.1, a connection per request, 32 at once", "http1", 32, HTTP1, "http1",
             vary="all", churn=True, quick=True),
        Case("http1-32-wrk", "http1", "HTTP/1.1 keep-alive, 32 connections, load by wrk", "http1", 32, HTTP1, "http1",
             tool="wrk"),
        Case("http1-128-wrk", "http1", "HTTP/1.1 keep-alive, 128 connections, load by wrk", "http1", 128, HTTP1,
             "http1", tool="wrk"),
    ]


SMALL = (Goal("mesh", ratio=0.9, theirs=NGINX),)
BULK = (Goal("mesh", "gib_s", 1.4, ("envoy", *HAPROXY, *NGINX), more=True),)
TCP_CASES = (
    Case("tcp-1", "tcp", "TCP, 100 B up, 200 B down, 1 connection", "tcp", 1, (*TCP, *AWAKE), "tcp",
         goals=SMALL),
    Case("tcp-32", "tcp", "TCP, 100 B up, 200 B down, 32 connections", "tcp", 32, TCP, "tcp", quick=True, goals=SMALL),
    Case("tcp-256", "tcp", "TCP, 100 B up, 200 B down, 256 connections", "tcp", 256, TCP, "tcp", goals=SMALL),
    Case("tcp-churn", "tcp", "TCP, a connection per request, 32 at once", "tcp", 32, TCP, "tcp", churn=True, quick=True,
         goals=(Goal("mesh", ratio=1.0, theirs=NGINX),)),
    Case("bulk-1", "bulk", "TCP bulk, 1 connection", "bulk", 1, TCP, "tcp", goals=BULK),
    Case("bulk-4", "bulk", "TCP bulk, 4 connections", "bulk", 4, TCP, "tcp", quick=True, goals=BULK),
)


TLS_GOALS = (Goal("mesh, tls", ratio=1.0, theirs=("envoy", *HAPROXY, *NGINX)),)
TLS_CASES = (
    *(Case(f"tls-{conns}", "tls", f"TLS 1.3 ended, TCP behind it, {conns} connection{'s' if conns > 1 else ''}, "
           "HTTP/1.1 requests by wrk", "http1", conns, TLS, "tls", tool="wrk", quick=conns == 32, goals=TLS_GOALS)
      for conns in (1, 32, 128)),
    Case("tls-32-10k", "tls", "TLS 1.3 ended, TCP behind it, 32 connections, 10 KB answers, by wrk", "http1", 32, TLS,
         "tls", tool="wrk", size=10_000),
    Case("tls-churn", "tls", "TLS 1.3 ended, TCP behind it, a connection and a handshake (ECDSA P-256) per request, 32 "
         "at once, by wrk", "http1", 32, TLS, "tls", tool="wrk", churn=True),
)


def added(ours: str, theirs: tuple[str, ...]) -> tuple[Goal, ...]:
    return tuple(Goal(ours, metric, 1.0, theirs) for metric in ("added_p50_us", "added_p99_us"))


RATES = (
    Case("rate-grpc-5k", "rate", "gRPC unary at 5,000/s, 8 connections, traceparent and grpc-timeout per call", "grpc",
         8, (*DIRECT, *GRPC), streams=128, vary="literal", rate=5000, times=2, quick=True,
         goals=added("mesh, tracing 1", ("envoy", *LIGHT))),
    Case("rate-grpc-15k", "rate", "gRPC unary at 15,000/s (half of what Envoy can), 8 connections", "grpc", 8,
         (*DIRECT, *GRPC), streams=128, vary="literal", rate=15_000, times=2,
         goals=added("mesh, tracing 1", ("envoy", *LIGHT))),
    Case("rate-http1-10k", "rate", "HTTP/1.1 at 10,000/s, 32 connections", "http1", 32, (*DIRECT, *HTTP1), "http1",
         vary="all", rate=10_000, times=2, goals=added("mesh", ("envoy", *HAPROXY, *NGINX))),
    Case("rate-tcp-20k", "rate", "TCP at 20,000/s, 32 connections", "tcp", 32, (*DIRECT, *TCP), "tcp", rate=20_000,
         times=2, goals=added("mesh", ("envoy", *HAPROXY, *NGINX))),
)
PAIRS = (
    Case("pair-grpc", "pair", "gRPC unary through two proxies, 1 × 32, 100 B, per-call fields (CPU of both)", "grpc", 1,
         ("mesh pair", "mesh pair, tracing 1", "envoy pair"), streams=32, vary="literal", quick=True),
    Case("pair-http1", "pair", "HTTP/1.1 through two proxies, 32 connections (CPU of both)", "http1", 32,
         ("mesh http1 pair", "envoy pair"), "http1", vary="all"),
)


def idle_goal(limit: float) -> tuple[Goal, ...]:
    return (Goal("mesh", "bytes_per_conn", limit=limit),)


IDLE = (
    Case("idle-tcp", "idle", "TCP", "idle", IDLE_CONNECTIONS, TCP, "tcp", fresh=True, quick=True,
         goals=idle_goal(2.4 * 1024)),
    Case("idle-http1", "idle", "HTTP/1.1", "idle", IDLE_CONNECTIONS, HTTP1, "http1", fresh=True,
         goals=idle_goal(2.4 * 1024)),
    Case("idle-http2", "idle", "HTTP/2", "idle", IDLE_CONNECTIONS, GRPC_SIZES, "grpc", fresh=True,
         goals=idle_goal(8 * 1024)),
)
MEMORY = (
    Case("memory", "memory", "Resident memory before any request", "memory", 0, (*GRPC, *NGINX), quick=True,
         goals=(Goal("mesh, tracing 1", "rss_mb", limit=45),)),
)
# Measured by commands of their own, which print JSON.
COMMANDS = (
    Case("control-weights", "control", "a weight change reaches the picks of 100 sidecars", "command", 100, ("mesh",),
         goals=(Goal("mesh", "p99_ms", limit=500),)),
    Case("control-push", "control", "an endpoint change reaches 10,000 subscribed sidecars", "command", 10_000,
         ("mesh",), goals=(Goal("mesh", "p99_ms", limit=1000),)),
)
CASES: tuple[Case, ...] = (*MEMORY, *unary(), *STREAMS, *http1(), *TCP_CASES, *TLS_CASES, *RATES, *PAIRS, *IDLE,
                           *COMMANDS)
GROUPS = {"grpc": "gRPC", "http1": "HTTP/1.1", "tcp": "TCP", "bulk": "TCP bulk", "tls": "TLS",
          "rate": "Latency at a fixed rate",
          "pair": "Through two proxies", "idle": "Memory per idle connection", "memory": "Memory",
          "control": "Control plane"}
