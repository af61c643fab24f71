"""Verdicts there and back, and what is none."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidResource
from mesh.model import Verdict, VerdictKind
from mesh.resource.verdicts import key_from_proto, key_to_proto, verdict_from_proto, verdict_to_proto
from mesh.v1 import health_pb2


@pytest.mark.parametrize("verdict", [
    Verdict("cart/cart-0", VerdictKind.EJECTED, "5 failures in a row", 1_700_000_000.25, 1_700_000_030.5),
    Verdict("cart/cart-0", VerdictKind.CHECK_FAILED, "", 0.0),
])
def test_there_and_back(verdict: Verdict):
    message = health_pb2.Verdict.FromString(verdict_to_proto(verdict).SerializeToString())
    assert verdict_from_proto(message) == verdict
    key = verdict.endpoint, verdict.kind
    assert key_from_proto(key_to_proto(key)) == key


@pytest.mark.parametrize(("fields", "message"), [
    ({"kind": 0}, "kind: 0 is none of 1..2"), ({"kind": 3}, "kind: 3 is none of 1..2"),
    ({"endpoint": "cart"}, "endpoint: 'cart' is not <service>/<endpoint>"),
    ({"endpoint": "cart/a/b"}, "endpoint: 'a/b' is not a name"),
    ({"reason": "x" * 301}, "reason: 301 bytes, at most 300"),
    ({"since": Timestamp(seconds=-1)}, "since: -1 s and 0 ns are no time from 1970 on"),
    ({"until": Timestamp(nanos=2_000_000_000)}, "until: 0 s and 2000000000 ns are no time"),
])
def test_what_is_no_verdict_is_refused(fields: dict, message: str):
    with pytest.raises(InvalidResource) as caught:
        verdict_from_proto(health_pb2.Verdict(**{"endpoint": "cart/a", "kind": 1, **fields}))
    assert str(caught.value).startswith(message)


def test_a_key_that_names_no_endpoint_is_refused():
    with pytest.raises(InvalidResource, match="not <service>/<endpoint>"):
        key_from_proto(health_pb2.VerdictKey(endpoint="x", kind=1))
