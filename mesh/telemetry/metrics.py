"""A sidecar's statistics as text that Prometheus and everything like it reads.

What lives here: which figure has which name and labels, and the two text formats: OpenMetrics 1.0
(https://prometheus.io/docs/specs/om/open_metrics_spec/) and Prometheus' own 0.0.4. What this must not know: where the
statistics come from, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mesh
from mesh.dataplane.tally import LATENCY_BOUNDS

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

Labels = dict[str, str]
_BOUNDS = (*map(repr, LATENCY_BOUNDS), "+Inf")


class _Text:
    """One metric family after the other."""

    def __init__(self, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, samples: Iterator[tuple[str, Labels, float]]) -> None:
        """Add a family if it has samples: (suffix of the name, labels, value) each."""
        found = [f"{name}{suffix}{_labels(labels)} {value!r}" for suffix, labels, value in samples]
        if found:
            # In the older format a counter's family has the name of its samples.
            family = name if self._openmetrics or kind != "counter" else f"{name}_total"
            self._lines += [f"# HELP {family} {text}", f"# TYPE {family} {kind}", *found]

    def end(self) -> str:
        return "\n".join([*self._lines, *(["# EOF"] if self._openmetrics else []), ""])


def render(statistics: dict[str, Any], openmetrics: bool = True) -> str:
    """Return the text for what `Sidecar.statistics()` said, of one process or summed over several."""
    out = _Text(openmetrics)
    out.family("mesh_build_info", "gauge", "What runs.", iter([("", {"version": mesh.__version__}, 1)]))
    _requests(out, statistics.get("traffic") or {})
    _listeners(out, statistics)
    _clusters(out, statistics.get("clusters") or [])
    _rooms(out, statistics)
    _process(out, statistics)
    return out.end()


def _requests(out: _Text, traffic: dict[str, dict[str, Any]]) -> None:
    tallies = [({"direction": direction, "service": service}, tally)
               for direction, services in traffic.items() for service, tally in sorted(services.items())]

    def by(key: str, label: str) -> Iterator[tuple[str, Labels, float]]:
        return (("_total", {**labels, label: name}, count) for labels, tally in tallies
                for name, count in tally[key].items())

    def simple(key: str) -> Iterator[tuple[str, Labels, float]]:
        return (("_total", labels, tally[key]) for labels, tally in tallies)

    def responses() -> Iterator[tuple[str, Labels, float]]:
        for labels, tally in tallies:
            for protocol in ("grpc", "http"):
                for code, count in tally[protocol].items():
                    yield "_total", {**labels, "protocol": protocol, "code": code}, count

    def durations() -> Iterator[tuple[str, Labels, float]]:
        for labels, tally in tallies:
            total = 0
            for bound, count in zip(_BOUNDS, tally["buckets"], strict=True):
                total += count
                yield "_bucket", {**labels, "le": bound}, total
            yield "_sum", labels, float(tally["seconds"])
            yield "_count", labels, total

    out.family("mesh_requests", "counter", "Requests, connections (TCP) and sessions (UDP) that have ended, by reason "
               "code; ok: no failure of the mesh's, whatever the app answered.", by("reasons", "reason"))
    out.family("mesh_request_duration_seconds", "histogram", "From the first octet to the last, all attempts together.",
               durations())
    out.family("mesh_responses", "counter", "What callers were answered: gRPC status codes, classes of HTTP statuses.",
               responses())
    out.family("mesh_attempts", "counter", "Attempts of what has ended.", simple("attempts"))
    out.family("mesh_retries", "counter", "Further attempts, by why they were made.", by("retries", "why"))
    out.family("mesh_request_bytes", "counter", "Octets of bodies from callers to endpoints.", simple("request_bytes"))
    out.family("mesh_response_bytes", "counter", "Octets of bodies from endpoints to callers.",
               simple("response_bytes"))


def _listeners(out: _Text, statistics: dict[str, Any]) -> None:
    found: list[tuple[Labels, dict[str, Any]]] = []
    if statistics.get("inbound"):
        found.append(({"direction": "inbound", "listener": "inbound"}, statistics["inbound"]))
    for port in statistics.get("outbound") or []:
        found.append(({"direction": "outbound", "listener": port["service"] or "shared"}, port))

    def connections() -> Iterator[tuple[str, Labels, float]]:
        for labels, port in found:
            yield "", {**labels, "protocol": "http"}, port["http"]["connections"]
            relayed = port.get("tcp", 0)
            yield "", {**labels, "protocol": "tcp"}, relayed["connections"] if isinstance(relayed, dict) else relayed

    def limits() -> Iterator[tuple[str, Labels, float]]:
        for labels, port in found:
            http = port["http"]
            counts = {**http["limits"], **{key: http[key] for key in ("slow_headers", "slow_bodies", "stalled_readers",
                                                                       "idle_closed")}}
            counts["too_many_connections"] = port["inspector"].get("refused", 0)
            counts["tls_handshake_failed"] = port["inspector"].get("tls_handshakes_failed", 0)
            counts["tls_required"] = port["inspector"].get("without_tls", 0)
            counts["offences"] = http["probation"]["offences"]
            for name, count in counts.items():
                if count:
                    yield "_total", {**labels, "limit": name}, count

    out.family("mesh_active_requests", "gauge", "HTTP requests that are open.",
               (("", labels, port["http"]["active"]) for labels, port in found))
    out.family("mesh_connections", "gauge", "Connections of callers.", connections())
    out.family("mesh_limits", "counter", "Callers that met a limit, before or beside a request.", limits())


def _clusters(out: _Text, clusters: list[dict[str, Any]]) -> None:
    def endpoints() -> Iterator[tuple[str, Labels, float]]:
        for cluster in clusters:
            eligible = sum(node["eligible"] is True for node in cluster["endpoints"].values())
            yield "", {"service": cluster["service"], "state": "eligible"}, eligible
            yield "", {"service": cluster["service"], "state": "out"}, len(cluster["endpoints"]) - eligible

    def in_flight() -> Iterator[tuple[str, Labels, float]]:
        for cluster in clusters:
            yield ("", {"service": cluster["service"]},
                   sum(node["in_flight"] for node in cluster["endpoints"].values()))

    out.family("mesh_endpoints", "gauge", "Endpoints as this sidecar sees them: those that may be picked, and those "
               "that are ejected, draining or without a weight.", endpoints())
    out.family("mesh_in_flight", "gauge", "Attempts that are under way.", in_flight())
    out.family("mesh_ejections", "counter", "Endpoints taken out because their calls failed.",
               (("_total", {"service": cluster["service"]}, cluster["ejected"]) for cluster in clusters))
    out.family("mesh_retry_budget", "gauge", "Retries that the budget has left.",
               (("", {"service": cluster["service"]}, float(cluster["budget"])) for cluster in clusters))


def _rooms(out: _Text, statistics: dict[str, Any]) -> None:
    """What limits say, of the services that are called and of the app behind this sidecar."""
    found: list[tuple[Labels, dict[str, Any]]] = [
        ({"direction": "outbound", "service": cluster["service"]}, cluster["limits"])
        for cluster in statistics.get("clusters") or []]
    if statistics.get("inbound"):
        own = statistics["id"].partition("/")[0]
        found.append(({"direction": "inbound", "service": own}, statistics["inbound"]["limits"]))
    for name, key, text in (
            ("mesh_pending", "pending", "Requests that wait for room at a service, or for a connection."),
            ("mesh_upstream_connections", "connections", "Connections to endpoints."),
            ("mesh_adaptive_limit", "adaptive_limit", "Requests in flight that the adaptive limit allows.")):
        out.family(name, "gauge", text, iter([("", labels, limits[key]) for labels, limits in found if key in limits]))


def _process(out: _Text, statistics: dict[str, Any]) -> None:
    def spans() -> Iterator[tuple[str, Labels, float]]:
        for name in ("exported", "dropped"):
            if statistics.get("spans"):
                yield "_total", {"outcome": name}, statistics["spans"][name]

    def lines() -> Iterator[tuple[str, Labels, float]]:
        for log in ("access_log", "decisions"):
            for name in ("written", "dropped"):
                if statistics.get(log):
                    yield "_total", {"log": log, "outcome": name}, statistics[log][name]

    out.family("mesh_spans", "counter", "Spans handed to the collector, and lost.", spans())
    out.family("mesh_log_lines", "counter", "Lines of the access log and of recorded decisions, and those lost.",
               lines())
    out.family("mesh_transports", "gauge", "Open connections, to callers and endpoints.",
               iter([("", {}, statistics.get("transports", 0))]))


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
