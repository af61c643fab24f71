"""The reason codes and the error tree."""

from __future__ import annotations

import re

import pytest

from mesh import errors
from mesh.errors import REASONS, Fault, InvalidConfig, InvalidResource, MeshError, Reason, UpstreamError


def test_every_reason_is_in_the_table_under_its_code():
    constants = [value for value in vars(errors).values() if isinstance(value, Reason)]
    assert len(constants) == len(REASONS) == len({reason.code for reason in constants})
    for reason in constants:
        assert REASONS[reason.code] is reason


@pytest.mark.parametrize("reason", REASONS.values(), ids=lambda reason: reason.code)
def test_a_reason_is_fit_for_headers_and_messages(reason: Reason):
    assert re.fullmatch(r"[a-z][a-z_]{2,40}", reason.code)
    assert 1 <= reason.grpc_status <= 16
    assert 400 <= reason.http_status <= 599
    assert reason.message.isascii()
    assert not reason.message.endswith(".")
    if reason.fault is not Fault.CALLER:
        assert reason.http_status >= 500


def test_what_was_not_sent():
    """The list that retries rest on: a code added here must be provably unsent."""
    assert {reason.code for reason in REASONS.values() if not reason.sent_anything} == {
        "no_route", "no_service", "not_discovered", "no_endpoints", "no_healthy_upstream", "upstream_connect_failed",
        "upstream_connect_timeout", "upstream_refused_stream", "not_delivered", "caller_protocol_error", "draining",
        "overloaded", "upgrade_not_supported", "queue_full", "queue_timeout", "limit_requests", "limit_connections",
        "rate_limited", "held_back"}


def test_invalid_resource_shows_its_path():
    error = InvalidResource("max_attempts", "99 is outside 1..10")
    assert str(error) == "max_attempts: 99 is outside 1..10"
    above = error.under("retry").under("services[0]")
    assert str(above) == "services[0].retry.max_attempts: 99 is outside 1..10"
    assert (above.field, above.problem) == ("services[0].retry.max_attempts", "99 is outside 1..10")
    assert str(InvalidResource("", "is empty")) == "is empty"
    assert InvalidResource("", "is empty").under("retry").field == "retry"


def test_the_tree():
    assert issubclass(InvalidResource, ValueError)
    assert issubclass(InvalidConfig, ValueError)
    for kind in (InvalidResource, InvalidConfig, UpstreamError):
        assert issubclass(kind, MeshError)
    assert (MeshError.exit_code, InvalidResource.exit_code, InvalidConfig.exit_code) == (1, 2, 2)
    error = UpstreamError(14, "gone")
    assert (error.status, error.message, str(error), error.exit_code) == (14, "gone", "gone", 1)
