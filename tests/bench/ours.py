"""Our control plane and sidecars, set up for the same work as the other proxies.

What lives here: starting them through their own command lines and applying the services. What this must not know: how
they are measured. The control plane runs on the load's core; it has nothing to do while requests flow.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import procstat
from peers import Running, Site

ROOT = Path(__file__).resolve().parents[2]
SIDECAR = "from mesh.sidecar.app import main; import sys; sys.exit(main(sys.argv[1:]))"
CONTROL_PLANE = "from controlplane.command import main; import sys; sys.exit(main(sys.argv[1:]))"
# What tracing means in a row's name -> the standard variables that make it so.
TRACING = {
    "off": {"OTEL_TRACES_EXPORTER": "none"},
    "1": {"OTEL_TRACES_SAMPLER": "always_on"},
    "0.01": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
}

# Eight endpoints, all of them the one backend: with the default policy, and with a turn each and nothing else.
EIGHT, EIGHT_ALONE = "echo-8", "echo-8-alone"

WRAPPER: list[str] = []  # what the sidecar's interpreter is run by (a profiler)


class NotReady(Exception):
    """A process of ours ended or stayed silent instead of becoming ready; the message has its last output."""


def start_ready(code: str, argv: list[str], core: int, log: Path, env: dict[str, str] | None = None,
                timeout: float = 90) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a process of ours and wait for its ready line."""
    readable, writable = os.pipe()
    command = [*(WRAPPER if code is SIDECAR else []), sys.executable, "-c", code, *argv, "--ready-fd", str(writable)]
    process = procstat.start(command, core, log, (writable,), {"PYTHONPATH": str(ROOT), **(env or {})})
    os.close(writable)
    text = b""
    deadline = time.monotonic() + timeout
    while b"\n" not in text and time.monotonic() < deadline:
        if select.select([readable], [], [], 0.1)[0]:
            part = os.read(readable, 65_536)
            if not part:
                break
            text += part
    os.close(readable)
    if b"\n" not in text:
        procstat.stop(process)
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise NotReady(last or f"no ready line within {timeout} s")
    ready: dict[str, Any] = json.loads(text.splitlines()[0])
    return process, ready


class Mesh:
    """A control plane that knows the services `echo` (gRPC), `relay` (TCP), `web` (HTTP/1.1) at the backends."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.count = 0
        self.process, ready = start_ready(CONTROL_PLANE, ["--listen", "127.0.0.1:0", "--data-dir",
                                                          str(site.scratch / "controlplane")],
                                          procstat.LOAD_CORE, site.scratch / "controlplane.log")
        self.address = str(ready["listen"])
        import grpc

        from mesh.v1 import registry_pb2, registry_pb2_grpc, service_pb2

        known = service_pb2.Protocol.items()
        self.services = {kind: name for kind, name, protocol in (
            ("grpc", "echo", "PROTOCOL_GRPC"), ("tcp", "relay", "PROTOCOL_TCP"), ("http1", "web", "PROTOCOL_HTTP1"))
            if protocol in dict(known)}
        protocols = {"grpc": "PROTOCOL_GRPC", "tcp": "PROTOCOL_TCP", "http1": "PROTOCOL_HTTP1"}
        request = registry_pb2.ApplyRequest()
        for kind, name in self.services.items():
            request.services.add(name=name, protocol=dict(known)[protocols[kind]])
            request.endpoints.add(service=name, name=f"{name}-0", host="127.0.0.1", port=site.backends[kind])
        for name, alone in ((EIGHT, False), (EIGHT_ALONE, True)):
            service = request.services.add(name=name, protocol="PROTOCOL_GRPC")
            if alone:
                service.balance.algorithm = service_pb2.ALGORITHM_ROUND_ROBIN
                service.retry.max_attempts = 1
                service.outlier.consecutive_failures = 0
                service.outlier.success_rate.deviations = 0
            for i in range(8):
                request.endpoints.add(service=name, name=f"{name}-{i}", host="127.0.0.1", port=site.backends["grpc"])
        with grpc.insecure_channel(self.address) as channel:
            stub = registry_pb2_grpc.RegistryServiceStub(channel)  # type: ignore[no-untyped-call]
            stub.Apply(request, timeout=10, wait_for_ready=True)

    def sidecar(self, name: str, tracing: str, argv: list[str], core: int = procstat.PROXY_CORE,
                ) -> tuple[subprocess.Popen[bytes], dict[str, Any], Path]:
        self.count += 1
        log = self.site.scratch / f"sidecar-{self.count}.log"
        env = {**TRACING[tracing], "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.site.sink}"}
        process, ready = start_ready(
            SIDECAR, ["--service", name, "--instance", f"{name}-{self.count}", "--control-plane", self.address,
                      "--state-dir", str(self.site.scratch / f"state-{self.count}"), *argv], core, log, env)
        return process, ready, log

    def lacking(self) -> dict[str, str]:
        return {} if "http1" in self.services else {"http1": "the sidecar of this tree has no HTTP/1.1"}

    def single(self, name: str) -> Running:
        """One sidecar, outbound to the backends. `name`: `mesh`, `mesh, tracing 1`, `mesh, spin 50`, `mesh, 8
        endpoints`, `mesh, 8 endpoints, round robin alone`."""
        tracing = name.partition(", tracing ")[2] or "off"
        spin = name.partition(", spin ")[2]
        argv = ["--spin", spin] if spin else []
        services = dict(self.services)
        if "8 endpoints" in name:
            services["grpc"] = EIGHT_ALONE if "alone" in name else EIGHT
        argv += [word for kind, service in services.items()
                for word in ("--outbound", f"{service}=0{'/tcp' if kind == 'tcp' else ''}")]
        process, ready, log = self.sidecar("caller", tracing, argv)
        ports = {kind: port_of(ready["outbound"][service]) for kind, service in services.items()}
        return Running(name, [process], ports, log=log, version="this tree", lacks=self.lacking())

    def pair(self, name: str) -> Running | str:
        """Caller's sidecar, then the callee's sidecar, then the app. `name`: `mesh pair`, `mesh http1 pair`, ..."""
        tracing = name.partition(", tracing ")[2] or "off"
        kind = "http1" if "http1" in name else "grpc"
        if kind in self.lacking():
            return Running(name, [], {}, version="this tree", lacks=self.lacking())
        service = f"pair-{kind}-{'on' if tracing != 'off' else 'off'}"
        callee, _, _ = self.sidecar(service, tracing, ["--app", f"127.0.0.1:{self.site.backends[kind]}",
                                                       "--protocol", kind])
        caller, ready, log = self.sidecar("caller", tracing, ["--outbound", f"{service}=0"])
        return Running(name, [caller, callee], {kind: port_of(ready["outbound"][service])}, {kind: service}, log=log,
                       version="this tree")

    def ending_tls(self, name: str) -> Running | str:
        """The sidecar of the HTTP/1.1 backend, which ends its callers' TLS and relays what is inside."""
        certificate = self.site.certificate
        if certificate is None:
            return "a certificate (pip install trustme)"
        process, ready, log = self.sidecar("secure", "off", [
            "--app", f"127.0.0.1:{self.site.backends['http1']}", "--protocol", "tcp", "--tls-certificate",
            str(certificate.with_name("cert.pem")), "--tls-key", str(certificate.with_name("key.pem"))])
        return Running(name, [process], {"tls": port_of(ready["inbound"])}, log=log, version="this tree")

    def start(self, name: str) -> Running | str:
        if name == "mesh, tls":
            return self.ending_tls(name)
        return self.pair(name) if "pair" in name else self.single(name)


def port_of(listening: str) -> int:
    return int(listening.rpartition(":")[2])
