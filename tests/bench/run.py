"""CPU per request, latency and memory of our sidecar beside other proxies, on this machine.

What lives here: the command, the order of rounds, the table. What this must not know: configuration of any proxy
(peers, ours), sockets (worker). The proxy runs on core 0, load and backends on core 1. Proxies are measured in turn,
round by round, so that a slow minute of a shared machine hits all of them. No number makes it fail.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT))

import peers  # noqa: E402
import procstat  # noqa: E402
from cases import CASES, Case  # noqa: E402
from ours import Mesh, NotReady  # noqa: E402
from peers import Running, Site  # noqa: E402
from report import Samples, describe_machine, markdown, print_case  # noqa: E402

BUILT = ROOT / "build" / "bench"


def build_tools() -> None:
    """Compile load and backends where they are older than their source."""
    BUILT.mkdir(parents=True, exist_ok=True)
    stale = []
    for name in ("h2bits", "h2caller", "h2answerer", "tcpfast"):
        source = HERE / f"{name}.py"
        if not any(so.stat().st_mtime > source.stat().st_mtime for so in BUILT.glob(f"{name}.*.so")):
            (BUILT / f"{name}.py").write_text(source.read_text())
            stale.append(f"{name}.py")
    if not stale:
        return
    done = subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", "-q", *stale], cwd=BUILT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The load generator does not compile:\n{(done.stderr or done.stdout)[-2000:]}")


def listen() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for(running: Running) -> str:
    """Wait until each port accepts; return the problem, or the empty string."""
    for port in running.ports.values():
        deadline = time.monotonic() + 15
        while True:
            if any(process.poll() is not None for process in running.processes):
                return "ended at once: " + (running.log.read_text()[-400:] if running.log else "")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError as e:
                if time.monotonic() > deadline:
                    return f"does not accept on port {port}: {e}"
                time.sleep(0.05)
    return ""


class Bench:
    """Processes of one run. `close()` ends them all."""

    def __init__(self, scratch: Path) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.running: dict[str, Running] = {}
        self.missing: list[str] = []
        ports = []
        for role in ("backend-h2", "backend-tcp", "backend-h2"):
            sock = listen()
            ports.append(sock.getsockname()[1])
            self.processes.append(procstat.start(
                [sys.executable, str(HERE / "worker.py"), role, "--fd", str(sock.fileno())], procstat.LOAD_CORE,
                scratch / f"{role}.log", (sock.fileno(),)))
            sock.close()
        self.site = Site(ports[0], ports[1], ports[2], scratch, free_port)
        cores = procstat.core_for(procstat.LOAD_CORE)
        with (scratch / "load.log").open("ab") as log:
            self.load = subprocess.Popen([sys.executable, str(HERE / "worker.py"), "load"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=log, text=True,
                                         preexec_fn=lambda: os.sched_setaffinity(0, cores))

    def add(self, running: Running | str) -> None:
        if isinstance(running, str):
            self.missing.append(running)
            return
        self.processes += running.processes
        problem = wait_for(running)
        if problem:
            self.missing.append(f"{running.name}: {problem.strip()}")
            return
        self.running[running.name] = running

    def start_peers(self, wanted: set[str]) -> None:
        site = self.site
        if "envoy" in wanted:
            self.add(peers.envoy(site))
        if "envoy, tracing 1" in wanted:
            self.add(peers.envoy(site, traced=1.0))
        if "envoy pair" in wanted:
            inner = peers.envoy(site)
            if not isinstance(inner, str):
                outer = peers.envoy(site, upstream=inner.ports["grpc"])
                assert isinstance(outer, Running)
                outer.processes += inner.processes
                outer.name = "envoy pair"
                self.add(outer)
        for name, make in (("haproxy", peers.haproxy), ("nghttpx", peers.nghttpx), ("nginx", peers.nginx)):
            if name in wanted:
                self.add(make(site))
        if "direct" in wanted:
            self.running["direct"] = Running("direct", [], {"grpc": site.grpc_backend, "tcp": site.tcp_backend})

    def start_ours(self, wanted: set[str]) -> None:
        if not any(name.startswith("mesh") for name in wanted):
            return
        try:
            mesh = Mesh(self.site)
        except (NotReady, ImportError) as e:
            self.missing.append(f"mesh: the control plane does not start: {e}")
            return
        self.processes.append(mesh.process)
        for name in sorted(wanted):
            if name.startswith("mesh"):
                kind, _, tracing = name.partition(", tracing ")
                try:
                    self.add((mesh.pair if kind == "mesh pair" else mesh.single)(tracing or "off"))
                except (NotReady, KeyError) as e:
                    self.missing.append(f"{name}: {e}")

    def measure(self, case: Case, running: Running, seconds: float, warm: float = 0.3) -> dict[str, Any]:
        kind = "grpc" if case.work == "grpc" else "tcp"
        assert self.load.stdin is not None
        assert self.load.stdout is not None
        self.load.stdin.write(json.dumps({
            "work": case.work, "port": running.ports[kind], "conns": case.conns, "streams": case.streams,
            "vary": case.vary, "rate": case.rate, "authority": running.authority, "pids": running.pids, "warm": warm,
            "seconds": seconds}) + "\n")
        self.load.stdin.flush()
        line = self.load.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended: " + (self.site.scratch / "load.log").read_text()[-2000:])
        result: dict[str, Any] = json.loads(line)
        if "problem" in result:
            return result
        if case.work == "bulk":
            gib = result["done"] / (1 << 30)
            result["gib_s"] = gib / result["seconds"]
            result["cpu_ms"] = result["cpu_ns"] / 1e6 / gib if gib else float("nan")
        else:
            result["per_s"] = result["done"] / result["seconds"]
            result["cpu_us"] = result["cpu_ns"] / 1e3 / result["done"] if result["done"] else float("nan")
        return result

    def close(self) -> None:
        self.processes.append(self.load)  # type: ignore[arg-type]
        for process in reversed(self.processes):
            procstat.stop(process)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a few cases, one short round each, under a minute")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per case; the median is shown (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured seconds per round and proxy (default: 1)")
    parser.add_argument("--case", action="append", metavar="PREFIX", help="only cases whose key begins so; repeatable")
    parser.add_argument("--proxy", action="append", metavar="NAME", help="only these rows; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table for docs/benchmarks.md there")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.list:
        for case in CASES:
            print(f"{case.key:20} {case.title}")
        return 0
    chosen = [case for case in CASES if (not args.case or any(case.key.startswith(key) for key in args.case))
              and (not args.quick or args.case or case.quick)]
    rounds, seconds = (1, min(args.seconds, 0.7)) if args.quick else (args.rounds, args.seconds)
    wanted = {name for case in chosen for name in case.proxies if not args.proxy or name in args.proxy}
    build_tools()
    results: dict[str, Samples] = {}
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
          f"load average {machine['load_average']:.1f}, {machine['date']}")
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", ignore_cleanup_errors=True) as directory:
        bench = Bench(Path(directory))
        try:
            bench.start_peers(wanted)
            bench.start_ours(wanted)
            time.sleep(1.0)
            for running in bench.running.values():
                running.rss_idle_kib = sum(procstat.rss_kib(pid) for pid in running.pids)
            print("measured: " + ", ".join(f"{name} {r.version}".strip() for name, r in bench.running.items()))
            for line in bench.missing:
                print(f"left out: {line}")
            for case in chosen:
                names = [name for name in case.proxies if name in wanted and name in bench.running]
                samples: Samples = {name: [] for name in names}
                for _ in range(rounds):
                    for name in names:
                        running = bench.running[name]
                        sample = bench.measure(case, running, seconds)
                        sample["rss_mb"] = sum(procstat.rss_kib(pid) for pid in running.pids) / 1024
                        samples[name].append(sample)
                results[case.key] = samples
                print_case(case, samples)
                sys.stdout.flush()
            print("\nResident memory idle (tracing as named), MB")
            for name, running in bench.running.items():
                if running.pids:
                    print(f"  {name:22}{running.rss_idle_kib / 1024:9.1f}")
        finally:
            bench.close()
    versions = {name: r.version for name, r in bench.running.items() if r.version}
    idle = {name: r.rss_idle_kib for name, r in bench.running.items() if r.pids}
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "versions": versions, "left_out": bench.missing,
                                         "idle_rss_kib": idle, "cases": results}, indent=1))
    if args.markdown:
        args.markdown.write_text(markdown(machine, versions, idle, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
