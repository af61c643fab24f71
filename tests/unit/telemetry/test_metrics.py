"""The text of the metrics, read by Prometheus' own parsers."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from mesh.dataplane.record import CLIENT, GRPC, HTTP1, RETRY, SERVER, Record
from mesh.dataplane.tally import Tallies
from mesh.telemetry.metrics import render


def statistics() -> dict[str, Any]:
    tallies = Tallies()
    for fields in ({}, {"reason": "upstream_reset", "grpc_status": 14, "attempts": 2},
                   {"kind": RETRY, "why": "not sent"}, {"kind": SERVER, "service": "web"},
                   {"protocol": HTTP1, "http_status": 404, "service": 'a"\\\nb'}):
        record = Record()
        for name, value in {"kind": CLIENT, "protocol": GRPC, "service": "cart", "endpoint": "cart/0", "grpc_status": 0,
                            "end_ns": 3_000_000, "request_bytes": 10, **fields}.items():
            setattr(record, name, value)
        tallies.add(record)
    http = {"connections": 3, "active": 2, "limits": {"rapid_reset": 1}, "slow_headers": 0, "slow_bodies": 4,
            "stalled_readers": 0, "idle_closed": 0, "probation": {"offences": 2, "held_back": 1, "refused": 0}}
    return {
        "transports": 7, "traffic": tallies.statistics(), "spans": {"exported": 5, "dropped": 1},
        "access_log": {"written": 9, "dropped": 0, "waiting": 0},
        "id": "web/web-0",
        "inbound": {"http": http, "tcp": 1, "inspector": {}, "limits": {"connections": 1, "pending": 2}},
        "outbound": [{"service": "cart", "http": http, "tcp": {"connections": 6}, "inspector": {"refused": 2}},
                     {"service": None, "http": http, "inspector": {}}],
        "clusters": [{"service": "cart", "budget": 12.5, "ejected": 3, "limits": {
            "connections": 4, "pending": 8, "retries": 0, "refused": {}, "adaptive_limit": 17}, "endpoints": {
            "a": {"in_flight": 2, "eligible": True}, "b": {"in_flight": 1, "eligible": False}}}]}


def read(parse: Any, text: str) -> dict[tuple[Any, ...], float]:
    return {(sample.name, *sorted(sample.labels.items())): sample.value
            for family in parse(text) for sample in family.samples}


@pytest.mark.parametrize(("parse", "form"), [(openmetrics, True), (plain, False)])
def test_both_forms_say_the_same(parse: Any, form: bool) -> None:
    samples = read(parse, render(statistics(), form))
    out = ("direction", "outbound")
    cart = ("service", "cart")
    assert samples["mesh_requests_total", out, ("reason", "ok"), cart] == 1
    assert samples["mesh_requests_total", out, ("reason", "upstream_reset"), cart] == 1
    assert samples["mesh_requests_total", ("direction", "inbound"), ("reason", "ok"), ("service", "web")] == 1
    assert samples["mesh_requests_total", out, ("reason", "ok"), ("service", 'a"\\\nb')] == 1
    assert samples["mesh_responses_total", ("code", "14"), out, ("protocol", "grpc"), cart] == 1
    assert samples["mesh_responses_total", ("code", "4xx"), out, ("protocol", "http"), ("service", 'a"\\\nb')] == 1
    assert samples["mesh_retries_total", out, cart, ("why", "not sent")] == 1
    assert samples["mesh_attempts_total", out, cart] == 3
    assert samples["mesh_request_bytes_total", out, cart] == 20
    assert samples["mesh_request_duration_seconds_count", out, cart] == 2
    assert samples["mesh_request_duration_seconds_sum", out, cart] == pytest.approx(0.006)
    assert samples["mesh_request_duration_seconds_bucket", out, ("le", "0.0025"), cart] == 0
    assert samples["mesh_request_duration_seconds_bucket", out, ("le", "0.005"), cart] == 2
    assert samples["mesh_request_duration_seconds_bucket", out, ("le", "+Inf"), cart] == 2
    assert samples["mesh_active_requests", out, ("listener", "shared")] == 2
    assert samples["mesh_connections", out, ("listener", "cart"), ("protocol", "tcp")] == 6
    assert samples["mesh_connections", ("direction", "inbound"), ("listener", "inbound"), ("protocol", "tcp")] == 1
    assert samples["mesh_limits_total", out, ("limit", "too_many_connections"), ("listener", "cart")] == 2
    assert samples["mesh_limits_total", out, ("limit", "slow_bodies"), ("listener", "shared")] == 4
    assert samples["mesh_limits_total", out, ("limit", "offences"), ("listener", "cart")] == 2
    assert (samples["mesh_pending", out, cart], samples["mesh_upstream_connections", out, cart]) == (8, 4)
    assert samples["mesh_pending", ("direction", "inbound"), ("service", "web")] == 2
    assert samples["mesh_adaptive_limit", out, cart] == 17
    assert samples["mesh_endpoints", cart, ("state", "eligible")] == 1
    assert samples["mesh_endpoints", cart, ("state", "out")] == 1
    assert samples["mesh_in_flight", cart] == 3
    assert samples["mesh_ejections_total", cart] == 3
    assert samples["mesh_retry_budget", cart] == 12.5
    assert samples["mesh_spans_total", ("outcome", "dropped")] == 1
    assert samples["mesh_log_lines_total", ("log", "access_log"), ("outcome", "written")] == 9
    assert samples["mesh_transports",] == 7


def test_only_openmetrics_ends_by_saying_so() -> None:
    assert render({}, True).endswith("# EOF\n")
    assert "EOF" not in render({}, False)
    assert "# TYPE mesh_requests counter" in render(statistics(), True)
    assert "# TYPE mesh_requests_total counter" in render(statistics(), False)


def test_a_sidecar_that_counts_nothing_has_metrics_all_the_same() -> None:
    assert read(openmetrics, render({"traffic": None, "clusters": []}))["mesh_transports",] == 0
