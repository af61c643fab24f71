"""The sidecar's own answers."""

from __future__ import annotations

import pytest

from mesh import errors
from mesh.dataplane.reply import failure_head, failure_message, failure_trailers


def fields(head: object) -> dict[bytes, bytes]:
    return {field.name: field.value for field in head.fields}  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", errors.REASONS.values(), ids=lambda reason: reason.code)
def test_every_reason_has_a_well_formed_answer(reason: errors.Reason) -> None:
    grpc = failure_head(reason, True, True)
    assert grpc.response_problem is None
    assert grpc.grpc_status == reason.grpc_status
    assert grpc.reason == reason.code.encode()
    assert grpc.not_delivered is (not reason.sent_anything)
    plain = failure_head(reason, False, False)
    assert plain.response_problem is None
    assert plain.status == reason.http_status
    assert b"mesh-not-delivered" not in fields(plain)
    assert failure_trailers(reason).trailers_problem is None


def test_the_message_names_reason_and_place_and_survives_any_text() -> None:
    message = failure_message(errors.RESET, "cart/a, 100 % – attempt 2\r\n")
    assert b"[upstream_reset]: cart/a, 100 %25 " in message
    assert b"\r" not in message


def test_a_long_detail_is_cut() -> None:
    assert len(failure_message(errors.RESET, "x" * 10_000)) < 700
