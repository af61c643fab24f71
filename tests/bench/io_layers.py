"""CPU per request of our compiled I/O layer beside uvloop's transports: TCP, HTTP/1.1, HTTP/2, TLS.

What lives here: the command, its rounds and its table. What this must not know: how a server is made of either layer
(io_servers, io_protocols), sockets, what a sidecar does above its I/O. HTTP is answered by the process under test
itself, with the same codec and handler on both layers; TCP and TLS (ended here) are relayed to a backend. The servers
run on core 0, load and backends on core 1. The layers take turns, so that a slow minute hits both. No number makes it
fail.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT))

import procstat  # noqa: E402
import report  # noqa: E402
from cases import Case  # noqa: E402
from figures import Sample, Samples, middle, number, spread, values  # noqa: E402
from io_servers import KINDS, LAYERS  # noqa: E402
from ours import NotReady, start_ready  # noqa: E402
from peers import Running  # noqa: E402
from run import Progress  # noqa: E402
from stage import BUILT, Bench, build_tools  # noqa: E402

SERVER = "from io_servers import main; main()"
CASES = (
    Case("tcp-1", "", "TCP relay, 1 connection", "tcp", 1, LAYERS, kind="tcp"),
    Case("tcp-32", "", "TCP relay, 32 connections", "tcp", 32, LAYERS, kind="tcp"),
    Case("http1-1", "", "HTTP/1.1 server, 1 connection", "http1", 1, LAYERS, kind="http1"),
    Case("http1-32", "", "HTTP/1.1 server, 32 connections", "http1", 32, LAYERS, kind="http1"),
    Case("http2-1x1", "", "HTTP/2 (gRPC) server, 1 x 1", "grpc", 1, LAYERS, kind="http2", streams=1),
    Case("http2-1x32", "", "HTTP/2 (gRPC) server, 1 x 32", "grpc", 1, LAYERS, kind="http2", streams=32),
    Case("http2-32x1", "", "HTTP/2 (gRPC) server, 32 x 1", "grpc", 32, LAYERS, kind="http2", streams=1),
    Case("tls-1", "", "TLS relay, 1 connection", "http1", 1, LAYERS, kind="tls", tool="wrk"),
    Case("tls-32", "", "TLS relay, 32 connections", "http1", 32, LAYERS, kind="tls", tool="wrk"),
)
# A sample for which the server had to wait longer than this for its core, in % of the time, is taken again, so often.
NOISY_PCT, AGAIN = 3.0, 3
BACKENDS = {"tcp": "tcp", "tls": "http1"}
EXAMPLE = """example:
  python tests/bench/io_layers.py --rounds 5 --case tcp --case tls-32 --json io.json
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds per case; the median is shown (default: 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds per round and layer (default: 2)")
    parser.add_argument("--case", action="append", metavar="PREFIX",
                        help=f"only cases whose key begins so; repeatable: {', '.join(case.key for case in CASES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    for prefix in args.case or ():
        if not any(case.key.startswith(prefix) for case in CASES):
            parser.error(f"--case {prefix}: no case begins so")
    return args


def build() -> None:
    """Compile io_protocols into build/bench when it, or what it is compiled against, has changed."""
    names = ("io_protocols.py", "io_protocols.pxd")
    built = sorted(BUILT.glob("io_protocols.*.so"))
    newest = max(path.stat().st_mtime for path in (*(HERE / name for name in names), *(ROOT / "mesh").rglob("*.pxd")))
    if built and built[0].stat().st_mtime > newest:
        return
    for name in names:
        (BUILT / name).write_text((HERE / name).read_text())
    done = subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", "-f", names[0]], cwd=BUILT,
                          capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        sys.exit(f"io_protocols does not compile:\n{(done.stderr or done.stdout)[-2000:]}")


def check_compiled() -> None:
    from mesh.dataplane import reactor

    if str(reactor.__file__).endswith(".py"):
        sys.exit("mesh.dataplane is not compiled: these would be the numbers of another program")


def start(bench: Bench, layer: str, kind: str) -> Running | str:
    """The server of `kind` on `layer`, or why there is none."""
    argv = [layer, kind]
    if kind in BACKENDS:
        argv += ["--backend", str(bench.site.backends[BACKENDS[kind]])]
    if kind == "tls":
        if bench.site.certificate is None:
            return "a certificate (pip install trustme)"
        argv += ["--certificate", str(bench.scratch / "cert.pem"), "--key", str(bench.scratch / "key.pem")]
    log = bench.scratch / f"{layer}-{kind}.log"
    try:
        process, ready = start_ready(SERVER, argv, procstat.PROXY_CORE, log,
                                     {"PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE)))})
    except NotReady as error:
        return str(error)
    bench.processes.append(process)
    return Running(layer, [process], {kind: ready["port"]}, log=log)


def waited_ns(pid: int) -> int:
    """How long the threads of `pid` could have run and had no core, in ns (second number of schedstat)."""
    return sum(int((task / "schedstat").read_text().split()[1]) for task in Path(f"/proc/{pid}/task").iterdir())


def measure_calm(bench: Bench, case: Case, server: Running, seconds: float) -> Sample:
    """One sample, the calmest of some where others used the server's core meanwhile."""
    best: Sample = {}
    failed = 0
    errors: dict[str, int] = {}
    for _ in range(1 + AGAIN):
        before, begun = waited_ns(server.pids[0]), time.monotonic_ns()
        sample = bench.measure(case, server, seconds)
        sample["waited_pct"] = 100 * (waited_ns(server.pids[0]) - before) / (time.monotonic_ns() - begun)
        failed += sample.get("failed", 0)
        errors.update(sample.get("errors", {}))
        if not best or "problem" in sample or sample["waited_pct"] < best["waited_pct"]:
            best = sample
        if "problem" in sample or sample["waited_pct"] <= NOISY_PCT:
            break
    return {**best, "failed": failed, "errors": errors}


def measure_round(bench: Bench, case: Case, servers: dict[tuple[str, str], Running | str], seconds: float, turn: int,
                  ) -> Samples:
    """One sample of each layer; the other one begins in the next turn."""
    found: Samples = {}
    for layer in LAYERS[::1 - 2 * (turn % 2)]:
        server = servers[layer, case.kind]
        found[layer] = [{"problem": server} if isinstance(server, str)
                        else measure_calm(bench, case, server, seconds)]
    return found


def shown(samples: Samples, layer: str) -> str:
    """`12.3 (12.1-12.9)`, median and range of the CPU per request."""
    least, most = spread(samples[layer], "cpu_us")
    if math.isnan(least):
        return "–"
    return f"{number(middle(samples[layer], 'cpu_us'), 'cpu_us')} ({number(least, 'cpu_us')}-{number(most, 'cpu_us')})"


def ratios_of(samples: Samples) -> list[float]:
    """Ours to uvloop's, of each round that has both, in order of size; below 1 where ours is cheaper."""
    pairs = [values([ours], "cpu_us") + values([theirs], "cpu_us")
             for ours, theirs in zip(samples[LAYERS[0]], samples[LAYERS[1]], strict=True)]
    return sorted(pair[0] / pair[1] for pair in pairs if len(pair) == 2)


def trouble_of(samples: Samples) -> list[str]:
    """What failed or was disturbed, one line per layer and cause."""
    found = {f"{layer}: {sample['problem']}" for layer in LAYERS for sample in samples[layer] if "problem" in sample}
    for layer in LAYERS:
        failed = sum(sample.get("failed", 0) for sample in samples[layer])
        if failed:
            whys = sorted({why for sample in samples[layer] for why in sample.get("errors", {})})
            found.add(f"{layer}: {failed} FAILED ({'; '.join(whys)})")
        waited = max((sample.get("waited_pct", 0.0) for sample in samples[layer]), default=0.0)
        if waited > NOISY_PCT:
            found.add(f"{layer}: noisy, waited for its core {waited:.0f} % of the time")
    return sorted(found)


HEADINGS = (f"{'CPU, µs per request':34}{'reactor':>22}{'uvloop':>22}{'ratio':>18}{'req/s':>10}{'uvloop':>10}"
            f"{'failed':>9}")


def line(case: Case, samples: Samples) -> str:
    ratios = ratios_of(samples)
    ratio = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})" if ratios else "–"
    failed = sum(sample.get("failed", 0) for layer in LAYERS for sample in samples[layer])
    rates = "".join(f"{number(middle(samples[layer], 'per_s'), 'per_s'):>10}" for layer in LAYERS)
    return (f"{case.title:34}{shown(samples, LAYERS[0]):>22}{shown(samples, LAYERS[1]):>22}"
            f"{ratio:>18}{rates}{failed:>9}")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, printed as it comes; return what --json writes."""
    cases = [case for case in CASES if not args.case or any(case.key.startswith(key) for key in args.case)]
    build_tools()
    build()
    check_compiled()
    machine, version = report.describe_machine(), importlib.metadata.version("uvloop")
    print(report.machine_line(machine))
    print(f"uvloop {version}, {args.rounds} rounds of {args.seconds:g} s; load average "
          f"{os.getloadavg()[0]:.2f}\n\n{HEADINGS}")
    results: dict[str, Samples] = {}
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", ignore_cleanup_errors=True) as directory:
        bench = Bench(Path(directory))
        try:
            kinds = [kind for kind in KINDS if any(case.kind == kind for case in cases)]
            servers = {(layer, kind): start(bench, layer, kind) for kind in kinds for layer in LAYERS}
            time.sleep(1.0)
            progress = Progress(len(cases) * args.rounds)
            for case in cases:
                results[case.key] = {layer: [] for layer in LAYERS}
                for turn in range(args.rounds):
                    progress.step(case.key)
                    for layer, samples in measure_round(bench, case, servers, args.seconds, turn).items():
                        results[case.key][layer] += samples
                progress.clear()
                print(line(case, results[case.key]), flush=True)
                for why in trouble_of(results[case.key]):
                    print(f"  {why}", flush=True)
        finally:
            bench.close()
    return {"machine": machine, "uvloop": version, "rounds": args.rounds, "seconds": args.seconds,
            "cases": results}


def main() -> int:
    args = parse()
    try:
        data = measure(args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    if args.json:
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
