"""The processes of one run: backends, load, and the proxies, each started once (or anew for a case that asks for it).

What lives here: starting, waiting until each port accepts, handing jobs to the load. What this must not know:
configuration of any proxy (peers, ours), what is compared (cases), how figures are shown.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import figures
import peers
import procstat
from cases import Case
from ours import Mesh, NotReady
from peers import Running, Site

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "build" / "bench"
START_DEADLINE = 15.0
WARM = 0.3


def build_tools() -> None:
    """Compile load and backends (tests/bench/load) into build/bench when a source has changed."""
    sources = sorted(path for path in (HERE / "load").iterdir() if path.suffix in (".py", ".pxd"))
    digest = hashlib.sha256(sys.version.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = BUILT / "sources.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    BUILT.mkdir(parents=True, exist_ok=True)
    for path in sources:
        (BUILT / path.name).write_text(path.read_text())
    modules = [path.name for path in sources if path.suffix == ".py"]
    print("Compiling the load generator ...", file=sys.stderr)
    done = subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", "-f", *modules], cwd=BUILT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The load generator does not compile:\n{(done.stderr or done.stdout)[-2000:]}")
    stamp.write_text(digest)


def listen() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    sock.setblocking(False)
    return sock


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for(running: Running) -> str:
    """Wait until each port accepts; return the problem, or the empty string."""
    for port in running.ports.values():
        deadline = time.monotonic() + START_DEADLINE
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


def make_certificate(scratch: Path) -> Path | None:
    """Certificate and key (ECDSA P-256) in one file, `cert.pem` and `key.pem` beside it; None: nothing makes them."""
    try:
        import trustme
    except ImportError:
        return None
    made = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("bench.test", key_type=trustme.KeyType.ECDSA)
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    (scratch / "cert.pem").write_bytes(chain)
    (scratch / "key.pem").write_bytes(made.private_key_pem.bytes())
    both = scratch / "both.pem"
    both.write_bytes(chain + made.private_key_pem.bytes())
    return both


class Bench:
    """Processes of one run. `close()` ends them all."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.processes: list[subprocess.Popen[Any]] = []
        self.running: dict[str, Running] = {}
        self.missing: dict[str, str] = {}
        self.mesh: Mesh | None = None
        ports = {kind: self.serve(kind) for kind in ("grpc", "http1", "tcp")}
        self.site = Site(ports, self.serve("grpc"), scratch, free_port, make_certificate(scratch))
        cores = procstat.core_for(procstat.LOAD_CORE)
        with (scratch / "load.log").open("ab") as log:
            self.load = subprocess.Popen([sys.executable, str(HERE / "worker.py"), "load"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=log, text=True,
                                         preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.processes.append(self.load)

    def serve(self, kind: str) -> int:
        """Start a backend; return its port."""
        with listen() as sock:
            self.processes.append(procstat.start(
                [sys.executable, str(HERE / "worker.py"), f"serve-{kind}", "--fd", str(sock.fileno())],
                procstat.LOAD_CORE, self.scratch / f"serve-{kind}.log", (sock.fileno(),)))
            port: int = sock.getsockname()[1]
            return port

    def start(self, name: str, wide: bool = False) -> Running | str:
        """A new instance of the proxy `name`, or why there is none."""
        if name == "direct":
            return Running(name, [], dict(self.site.backends))
        try:
            made = self.control_plane().start(name) if name.startswith("mesh") else peers.MAKERS[name](self.site, wide)
        except (NotReady, KeyError, ImportError) as e:
            return f"{name}: {e}"
        if isinstance(made, str):
            return made
        self.processes += made.processes
        problem = wait_for(made)
        if problem:
            self.stop(made)
            return f"{name}: {problem.strip()}"
        return made

    def control_plane(self) -> Mesh:
        if self.mesh is None:
            self.mesh = Mesh(self.site)
            self.processes.append(self.mesh.process)
        return self.mesh

    def start_all(self, names: list[str]) -> None:
        for name in names:
            made = self.start(name)
            if isinstance(made, str):
                self.missing[name] = made
            else:
                self.running[name] = made

    def stop(self, running: Running) -> None:
        for process in running.processes:
            procstat.stop(process)
            self.processes.remove(process)

    def measure(self, case: Case, running: Running, seconds: float, limit: int = 0, warm: float = WARM,
                ) -> dict[str, Any]:
        """One sample. What cannot be measured has a `problem` instead of figures."""
        if case.kind in running.lacks:
            return {"problem": running.lacks[case.kind]}
        if case.kind == "tls" and self.site.certificate is None:
            return {"problem": "a certificate (pip install trustme)"}
        if case.kind not in running.ports:
            return {"problem": f"{running.name} is not set up for {case.kind}"}
        sample = self.job({
            "work": case.work, "kind": case.kind, "port": running.ports[case.kind], "conns": case.conns,
            "streams": case.streams, "mode": case.mode, "size": case.size, "count": case.count, "vary": case.vary,
            "rate": case.rate, "churn": case.churn, "tool": case.tool, "host": running.hosts.get(case.kind, "relay"),
            "pids": running.pids, "warm": warm, "seconds": seconds * case.times, "limit": limit,
            "scratch": str(self.scratch)})
        if "problem" not in sample:
            sample["rss_mb"] = self.resident_mb(running)
        return figures.derive(sample, case.work)

    def measure_fresh(self, case: Case, name: str, seconds: float) -> dict[str, Any]:
        """One sample of an instance started for it."""
        made = self.start(name, wide=True)
        if isinstance(made, str):
            return {"problem": made}
        try:
            return self.measure(case, made, seconds)
        finally:
            self.stop(made)

    @staticmethod
    def resident_mb(running: Running) -> float:
        return sum(procstat.rss_kib(pid) for pid in running.pids) / 1024

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self.load.stdin is not None
        assert self.load.stdout is not None
        self.load.stdin.write(json.dumps(job) + "\n")
        self.load.stdin.flush()
        line = self.load.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended: " + (self.scratch / "load.log").read_text()[-2000:])
        result: dict[str, Any] = json.loads(line)
        return result

    def close(self) -> None:
        for process in reversed(self.processes):
            procstat.stop(process)
