from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from controlplane.traces.intake import MAX_SPAN, sort_out

GOOD = {"trace_id": b"\1" * 16, "span_id": b"\2" * 8, "name": "s", "start_time_unix_nano": 10, "end_time_unix_nano": 20}


def request(*spans: Span, service: str | None = "cart") -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    of_resource = made.resource_spans.add()
    if service is not None:
        of_resource.resource.attributes.add(key="service.name").value.string_value = service
    of_resource.scope_spans.add().spans.extend(spans)
    return made


def test_a_good_span_is_kept_whole():
    span = Span(**GOOD, status=Status(code=Status.STATUS_CODE_ERROR))
    found = sort_out(request(span))
    (row,) = found.spans
    assert (row.trace_id, row.span_id, row.start, row.end, row.error) == (b"\1" * 16, b"\2" * 8, 10, 20, True)
    assert row.resource.service == "cart"
    assert Span.FromString(row.message) == span
    assert (found.refused, found.reason) == (0, "")


@pytest.mark.parametrize(("fields", "words"), [
    ({"trace_id": b""}, "trace_id '' is not 16 bytes"),
    ({"trace_id": b"\1" * 15}, "is not 16 bytes"),
    ({"trace_id": bytes(16)}, "with one above zero"),
    ({"trace_id": b"\1" * 5000}, "is not 16 bytes"),
    ({"span_id": b"\1" * 9}, "span_id '010101010101010101' is not 8 bytes"),
    ({"span_id": bytes(8)}, "with one above zero"),
    ({"parent_span_id": b"\1"}, "parent_span_id '01' is not 8 bytes"),
    ({"end_time_unix_nano": 9}, "ends before it starts"),
    ({"end_time_unix_nano": (1 << 64) - 1}, "after the year 2262"),
    ({"name": "x" * MAX_SPAN}, f"bytes, at most {MAX_SPAN}"),
])
def test_a_malformed_span_is_refused_alone(fields, words):
    found = sort_out(request(Span(**(GOOD | fields)), Span(**GOOD), Span(**(GOOD | fields))))
    assert len(found.spans) == 1
    assert found.refused == 2
    assert words in found.reason
    assert len(found.reason) < 300


@pytest.mark.parametrize("service", [None, ""])
def test_a_resource_without_a_name_is_called_as_the_conventions_say(service):
    assert sort_out(request(Span(**GOOD), service=service)).spans[0].resource.service == "unknown_service"


def test_spans_of_equal_resources_share_a_key():
    one, two, three = (sort_out(request(Span(**GOOD), service=name)).spans[0].resource for name in ("a", "a", "b"))
    assert one == two != three


def test_an_empty_request_is_fine():
    assert sort_out(ExportTraceServiceRequest()).spans == []
