"""HealthService: what is taken, what is refused and how."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.api.health import HealthService
from controlplane.status import Verdicts
from mesh.errors import InvalidResource
from mesh.model import Verdict, VerdictKind
from mesh.resource.verdicts import key_to_proto, verdict_to_proto
from mesh.v1 import health_pb2

EJECTED = Verdict("cart/cart-0", VerdictKind.EJECTED, "5 failures in a row", 10.0, 40.0)


def report(service: HealthService, **fields: Any) -> health_pb2.ReportVerdictsResponse:
    return asyncio.run(service.report_verdicts(health_pb2.ReportVerdictsRequest(**{"sidecar": "web/web-0", **fields})))


def listed(service: HealthService, name: str = "") -> list[tuple[str, str]]:
    found = asyncio.run(service.list_verdicts(health_pb2.ListVerdictsRequest(service=name)))
    return [(seen.sidecar, seen.verdict.endpoint) for seen in found.verdicts]


def test_reports_are_listed():
    service = HealthService(Verdicts())
    down = [verdict_to_proto(EJECTED)]
    answer = report(service, down=down)
    assert (answer.unknown, answer.time_to_live.seconds) == (True, 30)
    assert listed(service) == []
    assert not report(service, down=down, complete=True).unknown
    assert not report(service, down=down, complete=True, sidecar="web/web-0/3").unknown
    assert listed(service, "cart") == [("web/web-0", "cart/cart-0"), ("web/web-0/3", "cart/cart-0")]
    assert listed(service, "stock") == []
    report(service, up=[key_to_proto((EJECTED.endpoint, EJECTED.kind))])
    assert listed(service) == [("web/web-0/3", "cart/cart-0")]


@pytest.mark.parametrize(("fields", "message"), [
    ({"sidecar": "web"}, "sidecar: 'web' is not <service>/<instance>[/<worker>]"),
    ({"sidecar": "web/a/0"}, "sidecar: "), ({"sidecar": ""}, "sidecar: "),
    ({"down": [health_pb2.Verdict(endpoint="x", kind=1)]}, "down[0].endpoint: 'x' is not"),
    ({"down": [health_pb2.Verdict()] * 1001}, "down: 1,001 entries, at most 1,000"),
    ({"up": [health_pb2.VerdictKey(endpoint="a/b", kind=7)]}, "up[0].kind: 7 is none of 1..2"),
    ({"up": [health_pb2.VerdictKey()] * 1001}, "up: 1,001 entries, at most 1,000"),
])
def test_what_breaks_a_rule_is_refused_with_its_place(fields: dict[str, Any], message: str):
    service = HealthService(Verdicts())
    with pytest.raises(InvalidResource) as caught:
        report(service, complete=True, **fields)
    assert str(caught.value).startswith(message)


def test_a_name_that_is_none():
    with pytest.raises(InvalidResource, match=r"^service: 'A' is not a name"):
        listed(HealthService(Verdicts()), "A")
