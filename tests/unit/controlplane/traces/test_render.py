from __future__ import annotations

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from controlplane.errors import InvalidRequest
from controlplane.traces.render import id_range, summary, trace
from controlplane.traces.store import Found

SECOND = 1_000_000_000
TRACE = bytes(range(16))


def found(*spans: tuple[str, Span]) -> Found:
    rows = []
    for service, span in spans:
        name = KeyValue(key="service.name", value=AnyValue(string_value=service))
        rows.append((service, Resource(attributes=[name]).SerializeToString(), span.SerializeToString()))
    return Found(TRACE, rows)


def span(number: int, parent: int = 0, start: float = 0, end: float = 1, **fields) -> Span:
    return Span(trace_id=TRACE, span_id=bytes([number]) * 8, parent_span_id=bytes([parent]) * 8 if parent else b"",
                start_time_unix_nano=round(start * SECOND), end_time_unix_nano=round(end * SECOND), **fields)


def test_a_summary_names_the_first_span_without_a_known_parent():
    made = summary(found(
        ("cart", span(2, 1, 1.5, 2, name="child", status=Status(code=Status.STATUS_CODE_ERROR))),
        ("web", span(1, 9, 1, 3.25, name="root")),
        ("pay", span(3, 8, 1.2, 1.4, name="orphan"))))
    assert (made.root_name, made.root_service, made.spans, made.errors) == ("root", "web", 3, 1)
    assert (made.start.ToNanoseconds(), made.duration.ToNanoseconds()) == (SECOND, 2.25 * SECOND)
    assert list(made.services) == ["cart", "pay", "web"]
    assert made.trace_id == TRACE.hex()


def test_spans_that_only_have_each_other_still_make_a_summary():
    made = summary(found(("a", span(1, 2)), ("a", span(2, 1))))
    assert (made.root_name, made.spans) == ("", 2)


def test_a_trace_is_shown_by_start_time_with_everything_as_text():
    values = {
        "text": AnyValue(string_value="x"), "yes": AnyValue(bool_value=True), "no": AnyValue(bool_value=False),
        "int": AnyValue(int_value=-7), "double": AnyValue(double_value=1.5), "bytes": AnyValue(bytes_value=b"\x01\xff"),
        "none": AnyValue(), "array": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])),
        "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(bool_value=True))]))}
    full = span(1, 0, 1, 2, name="full", kind=Span.SPAN_KIND_CLIENT,
                status=Status(code=Status.STATUS_CODE_ERROR, message="broke"),
                attributes=[KeyValue(key=key, value=value) for key, value in values.items()],
                events=[Span.Event(name="retry", time_unix_nano=SECOND, attributes=[
                    KeyValue(key="attempt", value=AnyValue(int_value=2))])])
    late, same = span(2, 1, 1.5, 1.6, name="late"), span(3, 1, 1, 1.1, name="same")
    made = trace(found(("web", late), ("web", full), ("web", same)))
    assert [one.name for one in made.spans] == ["full", "same", "late"]
    first = made.spans[0]
    assert (first.span_id, first.parent_span_id, first.kind, first.service) == ("01" * 8, "", "client", "web")
    assert (first.error, first.status_message, dict(first.resource)) == (True, "broke", {"service.name": "web"})
    attributes = dict(first.attributes)
    assert attributes.pop("array").replace(" ", "") == '{"values":[{"intValue":"1"}]}'
    assert '"boolValue":' in attributes.pop("map").replace(" ", "")
    assert attributes == {"text": "x", "yes": "true", "no": "false", "int": "-7", "double": "1.5", "bytes": "01ff",
                          "none": ""}
    (event,) = first.events
    assert (event.name, event.at.ToNanoseconds(), dict(event.attributes)) == ("retry", SECOND, {"attempt": "2"})
    assert made.spans[2].parent_span_id == "01" * 8
    assert made.spans[2].kind == "internal"


def test_id_ranges():
    assert id_range("ABCD") == (bytes.fromhex("abcd" + "0" * 28), bytes.fromhex("abcd" + "f" * 28))
    assert id_range("abcde") == (bytes.fromhex("abcde" + "0" * 27), bytes.fromhex("abcde" + "f" * 27))
    assert id_range("0" * 32) == (bytes(16), bytes(16))


@pytest.mark.parametrize("prefix", ["", "abc", "x" * 32, "a" * 33, "ab cd", "0xabcd", "abcd\n", "a" * 100_000])
def test_wrong_ids(prefix):
    with pytest.raises(InvalidRequest, match=r"is not 4\.\.32 hex digits"):
        id_range(prefix)
